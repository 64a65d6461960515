"""CRIU's messages: the fields of its rpc.proto that checkpoint and restore use.

Source: images/rpc.proto of CRIU 3.17 to 4.2 (https://github.com/checkpoint-restore/criu). Numbers of fields never
change. CRIU ignores unknown fields.
"""

from __future__ import annotations

from ...protobuf import BOOL, INT32, MESSAGE, TEXT, UINT32, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...protobuf import Table

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

_PAGE_SERVER: Table = {1: field("address", TEXT), 2: field("port", INT32)}
_EXT_MOUNT: Table = {1: field("key", TEXT, required=True), 2: field("val", TEXT, required=True)}
_JOIN_NAMESPACE: Table = {1: field("ns", TEXT, required=True), 2: field("ns_file", TEXT, required=True)}
_INHERIT_FD: Table = {1: field("key", TEXT, required=True), 2: field("fd", INT32, required=True)}
_CGROUP_ROOT: Table = {1: field("ctrl", TEXT), 2: field("path", TEXT, required=True)}

_OPTS: Table = {
    1: field("images_dir_fd", INT32, required=True),
    2: field("pid", INT32),
    3: field("leave_running", BOOL),
    4: field("ext_unix_sk", BOOL),
    5: field("tcp_established", BOOL),
    6: field("evasive_devices", BOOL),
    7: field("shell_job", BOOL),
    8: field("file_locks", BOOL),
    9: field("log_level", INT32),
    10: field("log_file", TEXT),
    11: field("ps", MESSAGE, message=_PAGE_SERVER),
    12: field("notify_scripts", BOOL),
    13: field("root", TEXT),
    14: field("parent_img", TEXT),
    15: field("track_mem", BOOL),
    16: field("auto_dedup", BOOL),
    17: field("work_dir_fd", INT32),
    18: field("link_remap", BOOL),
    23: field("ext_mnt", MESSAGE, repeated=True, message=_EXT_MOUNT),
    24: field("manage_cgroups", BOOL),
    25: field("cg_root", MESSAGE, repeated=True, message=_CGROUP_ROOT),
    26: field("rst_sibling", BOOL),
    27: field("inherit_fd", MESSAGE, repeated=True, message=_INHERIT_FD),
    34: field("manage_cgroups_mode", INT32),
    37: field("external", TEXT, repeated=True),
    38: field("empty_ns", UINT32),
    39: field("join_ns", MESSAGE, repeated=True, message=_JOIN_NAMESPACE),
    44: field("freeze_cgroup", TEXT),
    46: field("tcp_skip_in_flight", BOOL),
    48: field("lazy_pages", BOOL),
    50: field("orphan_pts_master", BOOL),
    51: field("config_file", TEXT),
    52: field("tcp_close", BOOL),
    53: field("lsm_profile", TEXT),
    63: field("lsm_mount_context", TEXT),
    64: field("network_lock", INT32),
}
_FEATURES: Table = {1: field("mem_track", BOOL), 2: field("lazy_pages", BOOL)}
_RESTORED: Table = {1: field("pid", INT32, required=True)}
_NOTIFY: Table = {1: field("script", TEXT), 2: field("pid", INT32)}
_VERSION: Table = {
    1: field("major_number", INT32, required=True),
    2: field("minor_number", INT32, required=True),
    3: field("gitid", TEXT),
    4: field("sublevel", INT32),
}

REQUEST: Table = {
    1: field("type", INT32, required=True),
    2: field("opts", MESSAGE, message=_OPTS),
    3: field("notify_success", BOOL),
    5: field("features", MESSAGE, message=_FEATURES),
}

RESPONSE: Table = {
    1: field("type", INT32, required=True),
    2: field("success", BOOL, required=True),
    4: field("restore", MESSAGE, message=_RESTORED),
    5: field("notify", MESSAGE, message=_NOTIFY),
    7: field("cr_errno", INT32),
    8: field("features", MESSAGE, message=_FEATURES),
    9: field("cr_errmsg", TEXT),
    10: field("version", MESSAGE, message=_VERSION),
}
