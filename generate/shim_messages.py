"""Write pyrunc/_generated/shim_messages.py: the messages between containerd and its shims, as tables for protobuf.py.

The tables are here as text, one message a line: its full name, also `as` another one where two end alike, then its
fields as `name type number`. A type that ends in [] is repeated. A message stands behind those that are in it. Fields
that the shim neither reads nor writes may be left out, since a decoder skips them.

Sources of the numbers, which never change: containerd's api/runtime/task/v2 and v3, api/runtime/bootstrap/v1,
api/runtime/sandbox/v1, api/events, api/services/ttrpc/events/v1, api/types; cgroups' cgroup2/stats; ttrpc's
request.proto; google's any, timestamp and status; api.proto of k8s.io/cri-api (runtime.v1).

Usage: shim_messages.py
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "pyrunc" / "_generated" / "shim_messages.py"

MESSAGES = """
google.protobuf.Empty:
google.protobuf.Any: type_url string 1, value bytes 2
google.protobuf.Timestamp: seconds int64 1, nanos int32 2
google.rpc.Status: code int32 1, message string 2, details Any[] 3

ttrpc.KeyValue: key string 1, value string 2
ttrpc.Request: service string 1, method string 2, payload bytes 3, timeout_nano int64 4, metadata KeyValue[] 5
ttrpc.Response: status Status 1, payload bytes 2

containerd.types.Mount: type string 1, source string 2, target string 3, options string[] 4
containerd.types.Envelope: timestamp Timestamp 1, namespace string 2, topic string 3, event Any 4
containerd.types.Metric: timestamp Timestamp 1, id string 2, data Any 3
containerd.types.Platform: os string 1, architecture string 2, variant string 3
containerd.types.RuntimeVersion: version string 1, revision string 2
containerd.types.RuntimeInfo: name string 1, version RuntimeVersion 2, options Any 3, features Any 4, annotations map 5
containerd.v1.types.ProcessInfo: pid uint32 1, info Any 2

containerd.task.v2.CreateTaskRequest: id string 1, bundle string 2, rootfs Mount[] 3, terminal bool 4, stdin string 5, \
stdout string 6, stderr string 7, checkpoint string 8, parent_checkpoint string 9, options Any 10
containerd.task.v2.CreateTaskResponse: pid uint32 1
containerd.task.v2.DeleteRequest: id string 1, exec_id string 2
containerd.task.v2.DeleteResponse: pid uint32 1, exit_status uint32 2, exited_at Timestamp 3
containerd.task.v2.ExecProcessRequest: id string 1, exec_id string 2, terminal bool 3, stdin string 4, \
stdout string 5, stderr string 6, spec Any 7
containerd.task.v2.ResizePtyRequest: id string 1, exec_id string 2, width uint32 3, height uint32 4
containerd.task.v2.StateRequest: id string 1, exec_id string 2
containerd.task.v2.StateResponse: id string 1, bundle string 2, pid uint32 3, status int32 4, stdin string 5, \
stdout string 6, stderr string 7, terminal bool 8, exit_status uint32 9, exited_at Timestamp 10, exec_id string 11
containerd.task.v2.KillRequest: id string 1, exec_id string 2, signal uint32 3, all bool 4
containerd.task.v2.CloseIORequest: id string 1, exec_id string 2, stdin bool 3
containerd.task.v2.PidsRequest: id string 1
containerd.task.v2.PidsResponse: processes ProcessInfo[] 1
containerd.task.v2.CheckpointTaskRequest: id string 1, path string 2, options Any 3
containerd.task.v2.UpdateTaskRequest: id string 1, resources Any 2, annotations map 3
containerd.task.v2.StartRequest: id string 1, exec_id string 2
containerd.task.v2.StartResponse: pid uint32 1
containerd.task.v2.WaitRequest: id string 1, exec_id string 2
containerd.task.v2.WaitResponse: exit_status uint32 1, exited_at Timestamp 2
containerd.task.v2.StatsRequest: id string 1
containerd.task.v2.StatsResponse: stats Any 1
containerd.task.v2.ConnectRequest: id string 1
containerd.task.v2.ConnectResponse: shim_pid uint32 1, task_pid uint32 2, version string 3
containerd.task.v2.ShutdownRequest: id string 1, now bool 2
containerd.task.v2.PauseRequest: id string 1
containerd.task.v2.ResumeRequest: id string 1

containerd.runc.v1.Options: no_pivot_root bool 1, no_new_keyring bool 2, shim_cgroup string 3, io_uid uint32 4, \
io_gid uint32 5, binary_name string 6, root string 7, systemd_cgroup bool 9, criu_work_path string 11
runtimeoptions.v1.Options as NamedOptions: type_url string 1, config_path string 2, config_body bytes 3
containerd.runc.v1.CheckpointOptions: exit bool 1, open_tcp bool 2, external_unix_sockets bool 3, terminal bool 4, \
file_locks bool 5, empty_namespaces string[] 6, cgroups_mode string 7, image_path string 8, work_path string 9, \
parent_path string 10
containerd.runc.v1.ProcessDetails: exec_id string 1

containerd.runtime.bootstrap.v1.Extension: value Any 1
containerd.runtime.bootstrap.v1.BootstrapParams: instance_id string 1, namespace string 2, log_level int32 3, \
containerd_version string 4, containerd_ttrpc_address string 5, containerd_grpc_address string 6, \
containerd_binary string 7, extensions Extension[] 8, socket_dir string 9
containerd.runtime.bootstrap.v1.BootstrapResult: version int32 1, address string 2, protocol string 3

containerd.events.TaskIO: stdin string 1, stdout string 2, stderr string 3, terminal bool 4
containerd.events.TaskCreate: container_id string 1, bundle string 2, rootfs Mount[] 3, io TaskIO 4, \
checkpoint string 5, pid uint32 6
containerd.events.TaskStart: container_id string 1, pid uint32 2
containerd.events.TaskDelete: container_id string 1, pid uint32 2, exit_status uint32 3, exited_at Timestamp 4, \
id string 5
containerd.events.TaskExit: container_id string 1, id string 2, pid uint32 3, exit_status uint32 4, \
exited_at Timestamp 5
containerd.events.TaskOOM: container_id string 1
containerd.events.TaskExecAdded: container_id string 1, exec_id string 2
containerd.events.TaskExecStarted: container_id string 1, exec_id string 2, pid uint32 3
containerd.events.TaskPaused: container_id string 1
containerd.events.TaskResumed: container_id string 1
containerd.events.TaskCheckpointed: container_id string 1, checkpoint string 2
containerd.services.events.ttrpc.v1.ForwardRequest: envelope Envelope 1

containerd.runtime.sandbox.v1.CreateSandboxRequest: sandbox_id string 1, bundle_path string 2, rootfs Mount[] 3, \
options Any 4, netns_path string 5, annotations map 6
containerd.runtime.sandbox.v1.CreateSandboxResponse:
containerd.runtime.sandbox.v1.StartSandboxRequest: sandbox_id string 1
containerd.runtime.sandbox.v1.StartSandboxResponse: pid uint32 1, created_at Timestamp 2, spec Any 3
containerd.runtime.sandbox.v1.PlatformRequest: sandbox_id string 1
containerd.runtime.sandbox.v1.PlatformResponse: platform Platform 1
containerd.runtime.sandbox.v1.StopSandboxRequest: sandbox_id string 1, timeout_secs uint32 2
containerd.runtime.sandbox.v1.StopSandboxResponse:
containerd.runtime.sandbox.v1.WaitSandboxRequest: sandbox_id string 1
containerd.runtime.sandbox.v1.WaitSandboxResponse: exit_status uint32 1, exited_at Timestamp 2
containerd.runtime.sandbox.v1.SandboxStatusRequest: sandbox_id string 1, verbose bool 2
containerd.runtime.sandbox.v1.SandboxStatusResponse: sandbox_id string 1, pid uint32 2, state string 3, info map 4, \
created_at Timestamp 5, exited_at Timestamp 6, extra Any 7
containerd.runtime.sandbox.v1.PingRequest: sandbox_id string 1
containerd.runtime.sandbox.v1.PingResponse:
containerd.runtime.sandbox.v1.ShutdownSandboxRequest: sandbox_id string 1
containerd.runtime.sandbox.v1.ShutdownSandboxResponse:
containerd.runtime.sandbox.v1.SandboxMetricsRequest: sandbox_id string 1
containerd.runtime.sandbox.v1.SandboxMetricsResponse: metrics Metric 1

runtime.v1.Int64Value: value int64 1
runtime.v1.IDMapping: host_id uint32 1, container_id uint32 2, length uint32 3
runtime.v1.UserNamespace: mode int32 1, uids IDMapping[] 2, gids IDMapping[] 3
runtime.v1.NamespaceOption: network int32 1, pid int32 2, ipc int32 3, userns_options UserNamespace 5
runtime.v1.LinuxSandboxSecurityContext: namespace_options NamespaceOption 1, run_as_user Int64Value 3, \
run_as_group Int64Value 8
runtime.v1.LinuxPodSandboxConfig: cgroup_parent string 1, security_context LinuxSandboxSecurityContext 2, sysctls map 3
runtime.v1.DNSConfig: servers string[] 1, searches string[] 2, options string[] 3
runtime.v1.PodSandboxMetadata: name string 1, uid string 2, namespace string 3
runtime.v1.PodSandboxConfig: metadata PodSandboxMetadata 1, hostname string 2, log_directory string 3, \
dns_config DNSConfig 4, linux LinuxPodSandboxConfig 8

io.containerd.cgroups.v2.PSIData: avg10 double 1, avg60 double 2, avg300 double 3, total uint64 4
io.containerd.cgroups.v2.PSIStats: some PSIData 1, full PSIData 2
io.containerd.cgroups.v2.PidsStat: current uint64 1, limit uint64 2
io.containerd.cgroups.v2.CPUStat: usage_usec uint64 1, user_usec uint64 2, system_usec uint64 3, nr_periods uint64 4, \
nr_throttled uint64 5, throttled_usec uint64 6, psi PSIStats 7, nr_bursts uint64 8, burst_usec uint64 9
io.containerd.cgroups.v2.MemoryStat: anon uint64 1, file uint64 2, kernel_stack uint64 3, slab uint64 4, \
sock uint64 5, shmem uint64 6, file_mapped uint64 7, file_dirty uint64 8, file_writeback uint64 9, \
anon_thp uint64 10, inactive_anon uint64 11, active_anon uint64 12, inactive_file uint64 13, active_file uint64 14, \
unevictable uint64 15, slab_reclaimable uint64 16, slab_unreclaimable uint64 17, pgfault uint64 18, \
pgmajfault uint64 19, workingset_refault uint64 20, workingset_activate uint64 21, workingset_nodereclaim uint64 22, \
pgrefill uint64 23, pgscan uint64 24, pgsteal uint64 25, pgactivate uint64 26, pgdeactivate uint64 27, \
pglazyfree uint64 28, pglazyfreed uint64 29, thp_fault_alloc uint64 30, thp_collapse_alloc uint64 31, \
usage uint64 32, usage_limit uint64 33, swap_usage uint64 34, swap_limit uint64 35, max_usage uint64 36, \
swap_max_usage uint64 37, psi PSIStats 38
io.containerd.cgroups.v2.MemoryEvents: low uint64 1, high uint64 2, max uint64 3, oom uint64 4, oom_kill uint64 5, \
oom_group_kill uint64 6
io.containerd.cgroups.v2.RdmaEntry: device string 1, hca_handles uint32 2, hca_objects uint32 3
io.containerd.cgroups.v2.RdmaStat: current RdmaEntry[] 1, limit RdmaEntry[] 2
io.containerd.cgroups.v2.IOEntry: major uint64 1, minor uint64 2, rbytes uint64 3, wbytes uint64 4, rios uint64 5, \
wios uint64 6
io.containerd.cgroups.v2.IOStat: usage IOEntry[] 1, psi PSIStats 2
io.containerd.cgroups.v2.HugeTlbStat: current uint64 1, max uint64 2, pagesize string 3, failcnt uint64 4
io.containerd.cgroups.v2.NetworkStat: name string 1, rx_bytes uint64 2, rx_packets uint64 3, rx_errors uint64 4, \
rx_dropped uint64 5, tx_bytes uint64 6, tx_packets uint64 7, tx_errors uint64 8, tx_dropped uint64 9
io.containerd.cgroups.v2.Metrics: pids PidsStat 1, cpu CPUStat 2, memory MemoryStat 4, rdma RdmaStat 5, io IOStat 6, \
hugetlb HugeTlbStat[] 7, memory_events MemoryEvents 8, network NetworkStat[] 9
"""

# The kinds of protobuf.py, by the names that the language has for them.
SCALARS = {
    "int32": "INT32", "uint32": "UINT32", "bool": "BOOL", "int64": "INT64", "uint64": "UINT64", "double": "DOUBLE",
    "string": "STRING", "bytes": "BYTES", "map": "MAP",
}  # fmt: skip


def parse(text: str) -> dict[str, dict[int, tuple[str, str, bool]]]:
    """The messages by their full names: number of a field → name, type, and whether it is repeated.

    Raises ValueError for a line that is not understood, a number or a name that occurs twice, and an unknown type.
    """
    messages: dict[str, dict[int, tuple[str, str, bool]]] = {}
    known = set(SCALARS)
    for line in filter(None, text.splitlines()):
        full, colon, rest = line.partition(":")
        short = short_of(full)
        if not colon or short in known:
            raise ValueError(f"not a message, or one that is there already: {line!r}")
        fields: dict[int, tuple[str, str, bool]] = {}
        for words in (part.split() for part in rest.split(",") if part.strip()):
            name, kind, number = words[0], words[1].removesuffix("[]"), int(words[2])
            if (
                len(words) != 3
                or kind not in known
                or number in fields
                or name in {item[0] for item in fields.values()}
            ):
                raise ValueError(f"{full}: {' '.join(words)!r}")
            fields[number] = name, kind, words[1].endswith("[]")
        messages[full] = fields
        known.add(short)
    return messages


def short_of(full: str) -> str:
    """The name of a message in the tables: the last part of its full name, or the one behind `as`."""
    return full.rpartition(" as ")[2].rpartition(".")[2]


def module(messages: dict[str, dict[int, tuple[str, str, bool]]]) -> str:
    """The source of the generated module. Each table is an assignment, since others refer to it."""
    lines = [
        '"""Made by generate/shim_messages.py. TABLES has the fields of each message, FULL its full name."""',
        "",
        "from __future__ import annotations",
        "",
        f"from ..protobuf import MESSAGE, {', '.join(sorted(SCALARS.values()))}",
        "",
        "TYPE_CHECKING = False",
        "if TYPE_CHECKING:",
        "    from ..protobuf import Table",
        "",
    ]
    for full, fields in messages.items():
        entries = []
        for number, (name, kind, repeated) in fields.items():
            scalar = SCALARS.get(kind)
            entries.append(
                f'{number}: ("{name}", {scalar or "MESSAGE"}, False, {repeated}, {None if scalar else kind})'
            )
        lines.append(f"{short_of(full)}: Table = {{{', '.join(entries)}}}")
    names = {short_of(full): full.partition(" as ")[0] for full in messages}
    lines += ["", "TABLES = {", *(f'    "{name}": {name},' for name in names), "}"]
    lines += ["FULL = {", *(f'    "{name}": "{full}",' for name, full in names.items()), "}"]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the module, unless it is up to date."""
    text = module(parse(MESSAGES))
    if not OUTPUT.exists() or OUTPUT.read_text() != text:
        OUTPUT.write_text(text)


if __name__ == "__main__":
    main()
