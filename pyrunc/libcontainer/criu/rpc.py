"""CRIU's messages: the fields of its rpc.proto that checkpoint and restore use.

Source: images/rpc.proto of CRIU 3.17 to 4.2 (https://github.com/checkpoint-restore/criu). Numbers of fields never
change. CRIU ignores unknown fields.
"""

from __future__ import annotations

from .protobuf import BOOL, INT32, MESSAGE, TEXT, UINT32, Field, Table

# criu_req_type
DUMP = 1
RESTORE = 2
PRE_DUMP = 4
NOTIFY = 6
FEATURE_CHECK = 9
VERSION = 10

TYPES = {
    0: "EMPTY", DUMP: "DUMP", RESTORE: "RESTORE", PRE_DUMP: "PRE_DUMP", NOTIFY: "NOTIFY",
    FEATURE_CHECK: "FEATURE_CHECK", VERSION: "VERSION",
}  # fmt: skip

# criu_cg_mode, by the values of --manage-cgroups-mode; "" is CRIU's default, soft.
CGROUP_MODES = {"": 6, "ignore": 0, "soft": 3, "full": 4, "strict": 5}

# criu_network_lock_method, by the values of crun's --network-lock.
NETWORK_LOCKS = {"iptables": 1, "nftables": 2, "skip": 3}

_PAGE_SERVER: Table = {1: Field("address", TEXT), 2: Field("port", INT32)}
_EXT_MOUNT: Table = {1: Field("key", TEXT, required=True), 2: Field("val", TEXT, required=True)}
_JOIN_NAMESPACE: Table = {1: Field("ns", TEXT, required=True), 2: Field("ns_file", TEXT, required=True)}
_INHERIT_FD: Table = {1: Field("key", TEXT, required=True), 2: Field("fd", INT32, required=True)}
_CGROUP_ROOT: Table = {1: Field("ctrl", TEXT), 2: Field("path", TEXT, required=True)}

_OPTS: Table = {
    1: Field("images_dir_fd", INT32, required=True),
    2: Field("pid", INT32),
    3: Field("leave_running", BOOL),
    4: Field("ext_unix_sk", BOOL),
    5: Field("tcp_established", BOOL),
    6: Field("evasive_devices", BOOL),
    7: Field("shell_job", BOOL),
    8: Field("file_locks", BOOL),
    9: Field("log_level", INT32),
    10: Field("log_file", TEXT),
    11: Field("ps", MESSAGE, message=_PAGE_SERVER),
    12: Field("notify_scripts", BOOL),
    13: Field("root", TEXT),
    14: Field("parent_img", TEXT),
    15: Field("track_mem", BOOL),
    16: Field("auto_dedup", BOOL),
    17: Field("work_dir_fd", INT32),
    18: Field("link_remap", BOOL),
    23: Field("ext_mnt", MESSAGE, repeated=True, message=_EXT_MOUNT),
    24: Field("manage_cgroups", BOOL),
    25: Field("cg_root", MESSAGE, repeated=True, message=_CGROUP_ROOT),
    26: Field("rst_sibling", BOOL),
    27: Field("inherit_fd", MESSAGE, repeated=True, message=_INHERIT_FD),
    34: Field("manage_cgroups_mode", INT32),
    37: Field("external", TEXT, repeated=True),
    38: Field("empty_ns", UINT32),
    39: Field("join_ns", MESSAGE, repeated=True, message=_JOIN_NAMESPACE),
    44: Field("freeze_cgroup", TEXT),
    46: Field("tcp_skip_in_flight", BOOL),
    48: Field("lazy_pages", BOOL),
    50: Field("orphan_pts_master", BOOL),
    51: Field("config_file", TEXT),
    52: Field("tcp_close", BOOL),
    53: Field("lsm_profile", TEXT),
    63: Field("lsm_mount_context", TEXT),
    64: Field("network_lock", INT32),
}
_FEATURES: Table = {1: Field("mem_track", BOOL), 2: Field("lazy_pages", BOOL)}
_RESTORED: Table = {1: Field("pid", INT32, required=True)}
_NOTIFY: Table = {1: Field("script", TEXT), 2: Field("pid", INT32)}
_VERSION: Table = {
    1: Field("major_number", INT32, required=True),
    2: Field("minor_number", INT32, required=True),
    3: Field("gitid", TEXT),
    4: Field("sublevel", INT32),
}

REQUEST: Table = {
    1: Field("type", INT32, required=True),
    2: Field("opts", MESSAGE, message=_OPTS),
    3: Field("notify_success", BOOL),
    5: Field("features", MESSAGE, message=_FEATURES),
}

RESPONSE: Table = {
    1: Field("type", INT32, required=True),
    2: Field("success", BOOL, required=True),
    4: Field("restore", MESSAGE, message=_RESTORED),
    5: Field("notify", MESSAGE, message=_NOTIFY),
    7: Field("cr_errno", INT32),
    8: Field("features", MESSAGE, message=_FEATURES),
    9: Field("cr_errmsg", TEXT),
    10: Field("version", MESSAGE, message=_VERSION),
}
