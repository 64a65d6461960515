"""The shim's messages for the tests: protobuf by tables, written from the .proto files and without pyrunc's code.

A message is a dict. What is absent has protobuf's default: 0, "", b"", False, an empty list; None for a message.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

Message = dict[str, Any]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

# Each line: the message, then `number name type`; a type with * is repeated, a capital letter begins a message's name.
TABLE = """
Any: 1 type_url string, 2 value bytes
Timestamp: 1 seconds int64, 2 nanos int32
Mount: 1 type string, 2 source string, 3 target string, 4 options string*
Entry: 1 key string, 2 value string
Request: 1 service string, 2 method string, 3 payload bytes, 4 timeout_nano int64, 5 metadata Entry*
Response: 1 status Status, 2 payload bytes
Status: 1 code int32, 2 message string, 3 details Any*
CreateTaskRequest: 1 id string, 2 bundle string, 3 rootfs Mount*, 4 terminal bool, 5 stdin string, 6 stdout string, \
7 stderr string, 8 checkpoint string, 9 parent_checkpoint string, 10 options Any
CreateTaskResponse: 1 pid uint32
StartRequest: 1 id string, 2 exec_id string
StartResponse: 1 pid uint32
DeleteRequest: 1 id string, 2 exec_id string
DeleteResponse: 1 pid uint32, 2 exit_status uint32, 3 exited_at Timestamp
ExecProcessRequest: 1 id string, 2 exec_id string, 3 terminal bool, 4 stdin string, 5 stdout string, 6 stderr string, \
7 spec Any
ResizePtyRequest: 1 id string, 2 exec_id string, 3 width uint32, 4 height uint32
StateRequest: 1 id string, 2 exec_id string
StateResponse: 1 id string, 2 bundle string, 3 pid uint32, 4 status int32, 5 stdin string, 6 stdout string, \
7 stderr string, 8 terminal bool, 9 exit_status uint32, 10 exited_at Timestamp, 11 exec_id string
KillRequest: 1 id string, 2 exec_id string, 3 signal uint32, 4 all bool
CloseIORequest: 1 id string, 2 exec_id string, 3 stdin bool
PidsRequest: 1 id string
PidsResponse: 1 processes ProcessInfo*
ProcessInfo: 1 pid uint32, 2 info Any
ProcessDetails: 1 exec_id string
CheckpointTaskRequest: 1 id string, 2 path string, 3 options Any
CheckpointOptions: 1 exit bool, 2 open_tcp bool, 3 external_unix_sockets bool, 4 terminal bool, 5 file_locks bool, \
6 empty_namespaces string*, 7 cgroups_mode string, 8 image_path string, 9 work_path string, 10 parent_path string
UpdateTaskRequest: 1 id string, 2 resources Any, 3 annotations Entry*
WaitRequest: 1 id string, 2 exec_id string
WaitResponse: 1 exit_status uint32, 2 exited_at Timestamp
StatsRequest: 1 id string
StatsResponse: 1 stats Any
ConnectRequest: 1 id string
ConnectResponse: 1 shim_pid uint32, 2 task_pid uint32, 3 version string
ShutdownRequest: 1 id string, 2 now bool
PauseRequest: 1 id string
ResumeRequest: 1 id string
Empty:
Options: 1 no_pivot_root bool, 2 no_new_keyring bool, 3 shim_cgroup string, 4 io_uid uint32, 5 io_gid uint32, \
6 binary_name string, 7 root string, 8 criu_path string, 9 systemd_cgroup bool, 10 criu_image_path string, \
11 criu_work_path string, 12 task_api_address string, 13 task_api_version uint32
BootstrapParams: 1 instance_id string, 2 namespace string, 3 log_level int32, 4 containerd_version string, \
5 containerd_ttrpc_address string, 6 containerd_grpc_address string, 7 containerd_binary string, \
8 extensions Extension*, 9 socket_dir string
Extension: 1 value Any
BootstrapResult: 1 version int32, 2 address string, 3 protocol string
RuntimeInfo: 1 name string, 2 version RuntimeVersion, 3 options Any, 4 features Any, 5 annotations Entry*
RuntimeVersion: 1 version string, 2 revision string
ForwardRequest: 1 envelope Envelope
Envelope: 1 timestamp Timestamp, 2 namespace string, 3 topic string, 4 event Any
TaskCreate: 1 container_id string, 2 bundle string, 3 rootfs Mount*, 4 io TaskIO, 5 checkpoint string, 6 pid uint32
TaskIO: 1 stdin string, 2 stdout string, 3 stderr string, 4 terminal bool
TaskStart: 1 container_id string, 2 pid uint32
TaskDelete: 1 container_id string, 2 pid uint32, 3 exit_status uint32, 4 exited_at Timestamp, 5 id string
TaskExit: 1 container_id string, 2 id string, 3 pid uint32, 4 exit_status uint32, 5 exited_at Timestamp
TaskOOM: 1 container_id string
TaskExecAdded: 1 container_id string, 2 exec_id string
TaskExecStarted: 1 container_id string, 2 exec_id string, 3 pid uint32
TaskPaused: 1 container_id string
TaskResumed: 1 container_id string
TaskCheckpointed: 1 container_id string, 2 checkpoint string
Metrics: 1 pids PidsStat, 2 cpu CPUStat, 4 memory MemoryStat, 5 rdma RdmaStat, 6 io IOStat, 7 hugetlb HugeTlbStat*, \
8 memory_events MemoryEvents
PSIData: 1 avg10 double, 2 avg60 double, 3 avg300 double, 4 total uint64
PSIStats: 1 some PSIData, 2 full PSIData
PidsStat: 1 current uint64, 2 limit uint64
CPUStat: 1 usage_usec uint64, 2 user_usec uint64, 3 system_usec uint64, 4 nr_periods uint64, 5 nr_throttled uint64, \
6 throttled_usec uint64, 7 psi PSIStats, 8 nr_bursts uint64, 9 burst_usec uint64
MemoryStat: 1 anon uint64, 2 file uint64, 3 kernel_stack uint64, 4 slab uint64, 5 sock uint64, 6 shmem uint64, \
7 file_mapped uint64, 8 file_dirty uint64, 9 file_writeback uint64, 10 anon_thp uint64, 11 inactive_anon uint64, \
12 active_anon uint64, 13 inactive_file uint64, 14 active_file uint64, 15 unevictable uint64, \
16 slab_reclaimable uint64, 17 slab_unreclaimable uint64, 18 pgfault uint64, 19 pgmajfault uint64, \
20 workingset_refault uint64, 21 workingset_activate uint64, 22 workingset_nodereclaim uint64, 23 pgrefill uint64, \
24 pgscan uint64, 25 pgsteal uint64, 26 pgactivate uint64, 27 pgdeactivate uint64, 28 pglazyfree uint64, \
29 pglazyfreed uint64, 30 thp_fault_alloc uint64, 31 thp_collapse_alloc uint64, 32 usage uint64, \
33 usage_limit uint64, 34 swap_usage uint64, 35 swap_limit uint64, 36 max_usage uint64, 37 swap_max_usage uint64, \
38 psi PSIStats
RdmaStat: 1 current RdmaEntry*, 2 limit RdmaEntry*
RdmaEntry: 1 device string, 2 hca_handles uint32, 3 hca_objects uint32
IOStat: 1 usage IOEntry*, 2 psi PSIStats
IOEntry: 1 major uint64, 2 minor uint64, 3 rbytes uint64, 4 wbytes uint64, 5 rios uint64, 6 wios uint64
HugeTlbStat: 1 current uint64, 2 max uint64, 3 pagesize string, 4 failcnt uint64
MemoryEvents: 1 low uint64, 2 high uint64, 3 max uint64, 4 oom uint64, 5 oom_kill uint64, 6 oom_group_kill uint64
CreateSandboxRequest: 1 sandbox_id string, 2 bundle_path string, 3 rootfs Mount*, 4 options Any, 5 netns_path string, \
6 annotations Entry*
CreateSandboxResponse:
StartSandboxRequest: 1 sandbox_id string
StartSandboxResponse: 1 pid uint32, 2 created_at Timestamp, 3 spec Any
PlatformRequest: 1 sandbox_id string
PlatformResponse: 1 platform Platform
Platform: 1 os string, 2 architecture string, 3 variant string, 4 os_version string
StopSandboxRequest: 1 sandbox_id string, 2 timeout_secs uint32
StopSandboxResponse:
WaitSandboxRequest: 1 sandbox_id string
WaitSandboxResponse: 1 exit_status uint32, 2 exited_at Timestamp
SandboxStatusRequest: 1 sandbox_id string, 2 verbose bool
SandboxStatusResponse: 1 sandbox_id string, 2 pid uint32, 3 state string, 4 info Entry*, 5 created_at Timestamp, \
6 exited_at Timestamp, 7 extra Any
PingRequest: 1 sandbox_id string
PingResponse:
ShutdownSandboxRequest: 1 sandbox_id string
ShutdownSandboxResponse:
SandboxMetricsRequest: 1 sandbox_id string
SandboxMetricsResponse: 1 metrics Metric
Metric: 1 timestamp Timestamp, 2 id string, 3 data Any
UpdateSandboxRequest: 1 sandbox_id string
PodSandboxConfig: 1 metadata PodSandboxMetadata, 2 hostname string, 3 log_directory string, 4 dns_config DNSConfig, \
6 labels Entry*, 7 annotations Entry*, 8 linux LinuxPodSandboxConfig
PodSandboxMetadata: 1 name string, 2 uid string, 3 namespace string, 4 attempt uint32
DNSConfig: 1 servers string*, 2 searches string*, 3 options string*
LinuxPodSandboxConfig: 1 cgroup_parent string, 2 security_context LinuxSandboxSecurityContext, 3 sysctls Entry*
LinuxSandboxSecurityContext: 1 namespace_options NamespaceOption, 3 run_as_user Int64Value, 4 readonly_rootfs bool, \
6 privileged bool, 8 run_as_group Int64Value
NamespaceOption: 1 network int32, 2 pid int32, 3 ipc int32, 4 target_id string, 5 userns_options UserNamespace
UserNamespace: 1 mode int32, 2 uids IDMapping*, 3 gids IDMapping*
IDMapping: 1 host_id uint32, 2 container_id uint32, 3 length uint32
Int64Value: 1 value int64
"""

Field = tuple[str, str, bool]  # name, type, repeated


def _read(table: str) -> dict[str, dict[int, Field]]:
    messages = {}
    for line in table.strip().splitlines():
        name, _, fields = line.partition(":")
        rows = [field.split() for field in fields.split(",") if field.strip()]
        messages[name] = {int(number): (key, kind.rstrip("*"), kind.endswith("*")) for number, key, kind in rows}
    return messages


FIELDS = _read(TABLE)


def varint(value: int) -> bytes:
    """A number of up to 64 bits; a negative one takes ten bytes."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def tag(number: int, wire_type: int) -> bytes:
    """The number of a field and its wire type."""
    return varint(number << 3 | wire_type)


def encode(name: str, message: Message) -> bytes:
    """A message as bytes. KeyError for a name that the table lacks."""
    numbers = {key: (number, kind, repeated) for number, (key, kind, repeated) in FIELDS[name].items()}
    out = b""
    for key, given in message.items():
        number, kind, repeated = numbers[key]
        for value in given if repeated else [given]:
            if kind[0].isupper():
                data = encode(kind, value)
            elif kind == "double":
                out += tag(number, FIXED64) + struct.pack("<d", value) if value or repeated else b""
                continue
            elif kind in ("string", "bytes"):
                data = value.encode() if isinstance(value, str) else value
            else:
                out += tag(number, VARINT) + varint(int(value)) if value or repeated else b""
                continue
            out += tag(number, BYTES) + varint(len(data)) + data if data or kind[0].isupper() or repeated else b""
    return out


def parts(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Each field's number, wire type and value. ValueError for bytes that are no message."""
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            if at >= len(data) or shift > 63:
                raise ValueError("a varint does not end")
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = number()
        wire_type = key & 7
        if wire_type == VARINT:
            yield key >> 3, wire_type, number()
            continue
        if wire_type not in (BYTES, FIXED64, FIXED32):
            raise ValueError(f"wire type {wire_type}")
        size = number() if wire_type == BYTES else 8 if wire_type == FIXED64 else 4
        if at + size > len(data):
            raise ValueError("a field is longer than its message")
        yield key >> 3, wire_type, data[at : at + size]
        at += size


def default(kind: str) -> Any:
    """The value of an absent field."""
    if kind[0].isupper():
        return None
    return {"string": "", "bytes": b"", "bool": False}.get(kind, 0)


def decode(name: str, data: bytes) -> Message:
    """The message of bytes, with every field of the table. ValueError for bytes that are no such message."""
    fields = FIELDS[name]
    message: Message = {key: [] if repeated else default(kind) for key, kind, repeated in fields.values()}
    for number, wire_type, given in parts(data):
        if number not in fields:
            continue
        key, kind, repeated = fields[number]
        value: Any = given
        if kind == "double" and isinstance(given, bytes) and wire_type == FIXED64:
            value = struct.unpack("<d", given)[0]
        elif isinstance(given, bytes):
            if wire_type != BYTES:
                raise ValueError(f"{name}.{key} has wire type {wire_type}")
            value = decode(kind, given) if kind[0].isupper() else given.decode() if kind == "string" else given
        elif kind == "bool":
            value = bool(given)
        elif kind in ("int32", "int64") and given >> 63:
            value = given - (1 << 64)
        if repeated:
            message[key].append(value)
        else:
            message[key] = value
    return message


def any_of(kind: str, message: Message | bytes, prefix: str = "") -> Message:
    """An Any with a message of the table, or with bytes."""
    value = message if isinstance(message, bytes) else encode(kind, message)
    return {"type_url": prefix + kind, "value": value}
