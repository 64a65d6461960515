"""Launch plans for the tests: a small valid configuration to compile, and the cases of the golden plans.

`python3 -m tests.support.plans` writes tests/unit/golden/ anew; look at the difference before committing it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyrunc.libcontainer.compile.exec import Target, compile_exec
from pyrunc.libcontainer.compile.launch import compile_launch
from pyrunc.libcontainer.plan.host import HostFacts, SystemdFacts
from pyrunc.libcontainer.plan.model import LaunchPlan, Step
from pyrunc.libcontainer.plan.options import ExecOptions, LaunchOptions
from pyrunc.libcontainer.show import plan as show_plan
from pyrunc.libcontainer.spec.example import example, rootless_example

GOLDEN = Path(__file__).resolve().parent.parent / "unit" / "golden"

Spec = Any  # tests also make invalid specs

_ALL_TYPES = ("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")
_MAPPING = [{"containerID": 0, "hostID": 100000, "size": 65536}]


# Steps of both actors, an answer to a request, alternatives of two levels, a long argument.
VARIED = LaunchPlan(
    (Step("prepare", "state_dir", ("/run/x",)), Step("clone", "clone", (0x20000000, "", ()), "/linux/namespaces")),
    (
        Step("namespaces", "request", ("maps",), "/linux/namespaces/0"),
        Step("rootfs", "mknod", ("/dev/null", 0o20666, 1, 3, 0, 0), on_errno=(1,)),
        Step("rootfs", "bind_device", ("/dev/null", "/dev/null"), fallback_level=1, on_errno=(13, 2)),
        Step("rootfs", "symlink", ("a b", "/x"), fallback_level=2),
        Step("start", "execute", (("sh", "-c", "x" * 200), ()), "/process/args"),
    ),
    {"maps": (Step("namespaces", "write_map", ("uid_map", ("0 1 2",)), "/linux/uidMappings"),)},
    warnings=("mind this",),
    notes=("that is so",),
)


def minimal(**changes: Any) -> Spec:
    """The smallest spec of a container with a mount namespace. changes: members of the spec to replace."""
    spec: Spec = {
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs"},
        "process": {"args": ["true"], "cwd": "/", "env": ["PATH=/bin", "HOME=/"], "user": {"uid": 0, "gid": 0}},
        "linux": {"namespaces": [{"type": "mount"}]},
    }
    spec.update(copy.deepcopy(changes))
    return spec


def with_process(**changes: Any) -> Spec:
    """`minimal`, with these members of `process`."""
    spec = minimal()
    spec["process"].update(changes)
    return spec


def with_linux(*types: str, **changes: Any) -> Spec:
    """`minimal`, with new namespaces of these types besides the mount namespace, and these members of `linux`."""
    spec = minimal()
    spec["linux"]["namespaces"].extend([{"type": type} for type in types])
    spec["linux"].update(changes)
    if "user" in types:
        spec["linux"].setdefault("uidMappings", copy.deepcopy(_MAPPING))
        spec["linux"].setdefault("gidMappings", copy.deepcopy(_MAPPING))
    return spec


def compiled(spec: Spec, facts: HostFacts | None = None, **options: Any) -> LaunchPlan:
    """The spec's plan. options: those of LaunchOptions."""
    settings = {"id": "box", "bundle": "/bundle", "command": "run", **options}
    return compile_launch(spec, LaunchOptions(**settings), facts or HostFacts())


TARGET = Target(4321, 987654, "/sys/fs/cgroup/box")


def compiled_exec(spec: Spec, facts: HostFacts | None = None, target: Target = TARGET, **options: Any) -> LaunchPlan:
    """The plan that starts the spec's process in a container created from that spec. options: those of ExecOptions."""
    settings = ExecOptions(**{"id": "box", "args": ("true",), **options})
    settings.bundle = "/bundle"
    return compile_exec(spec, target, settings, facts or HostFacts())


def find(plan: LaunchPlan, *kinds: str) -> list[Step]:
    """The plan's steps of these kinds, in its order."""
    return [step for step in plan.steps() if step.kind in kinds]


def kinds(plan: LaunchPlan) -> list[str]:
    """The kinds of the plan's steps, in its order."""
    return [step.kind for step in plan.steps()]


def values(step: Step, *fields: str) -> tuple[Any, ...]:
    """The values of a step's fields of these names."""
    return tuple(step.arg(field) for field in fields)


def _default() -> LaunchPlan:
    return compiled(example())


def _create() -> LaunchPlan:
    spec = example()
    spec["process"]["consoleSize"] = {"width": 80, "height": 25}
    spec["linux"]["cgroupsPath"] = "/pods/box"
    return compiled(spec, command="create", console_socket="/run/console.sock", pid_file="/run/box.pid", preserve_fds=2)


def _rootless() -> LaunchPlan:
    spec = rootless_example()
    linux = spec["linux"]
    linux["uidMappings"] = [{"containerID": 0, "hostID": 1000, "size": 1}]
    linux["gidMappings"] = [{"containerID": 0, "hostID": 1000, "size": 1}]
    spec["process"]["oomScoreAdj"] = 100
    return compiled(spec, HostFacts(euid=1000, egid=1000, cgroup_self="/user.slice/shell", cgroup_writable=False))


def _rootless_subordinate() -> LaunchPlan:
    """With ids of /etc/subuid and a delegated cgroup."""
    spec = with_linux("pid", "user", "cgroup", resources={"pids": {"limit": 100}})
    for kind in ("uid", "gid"):
        spec["linux"][kind + "Mappings"] = [
            {"containerID": 0, "hostID": 1000, "size": 1},
            {"containerID": 1, "hostID": 100000, "size": 65536},
        ]
    spec["mounts"] = [
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["gid=5"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs"},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"},
    ]
    spec["process"]["user"] = {"uid": 33, "gid": 33, "additionalGids": [27]}
    facts = HostFacts(
        euid=1000,
        egid=1000,
        newuidmap="/usr/bin/newuidmap",
        newgidmap="/usr/bin/newgidmap",
        cgroup_self="/user.slice/app.slice/run.scope",
        controllers=("cpu", "memory", "pids"),
    )
    return compiled(spec, facts)


def _joined() -> LaunchPlan:
    spec = with_linux()
    spec["linux"]["namespaces"] = [{"type": type, "path": f"/proc/7/ns/{type}"} for type in _ALL_TYPES]
    spec["process"]["oomScoreAdj"] = -5
    spec["process"]["rlimits"] = [{"type": "RLIMIT_NPROC", "soft": 10, "hard": 20}]
    return compiled(spec, command="create")


def _hooks() -> LaunchPlan:
    spec = minimal(annotations={"org.example.quote": 'say "hi"'})
    names = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    spec["hooks"] = {name: [{"path": f"/hooks/{name}"}] for name in names}
    spec["hooks"]["createRuntime"].append(
        {"path": "/hooks/second", "args": ["second", "two words"], "env": ["A=b"], "timeout": 5}
    )
    spec["hooks"]["createContainer"].append({"path": "/hooks/third", "args": ["third"], "env": ["C=d"], "timeout": 7})
    return compiled(spec)


def _mounts() -> LaunchPlan:
    spec = minimal()
    rows = (
        ("/proc", "proc", "proc", "nosuid hidepid=2"),
        ("/dev", "tmpfs", "tmpfs", "ro nosuid mode=755"),
        ("/tmp", "tmpfs", "tmpfs", "ro rw sync async tmpcopyup size=1m,nr_inodes=9"),
        ("/run", "tmpfs", "", "ro lazytime noatime strictatime rprivate"),
        ("/sys", "sysfs", "sysfs", "ro"),
        ("/sys/fs/cgroup", "cgroup", "cgroup", "ro nosuid"),
        ("data", "bind", "data", ""),
        ("/plain", "none", "/srv", "bind"),
        ("/all", "none", "/srv", "rbind ro nosuid rro rnoatime rslave shared"),
        ("/exec", "none", "/srv", "rbind exec sync"),
        ("/disk", "ext4", "/dev/sdb1", "ro dirsync errors=continue"),
        ("/layers", "overlay", "overlay", "lowerdir=/a\\,b:/c,upperdir=/d"),
        ("/all", "none", "", "remount nodev relatime"),
    )
    spec["mounts"] = [
        {"destination": target, "type": type, "source": source, "options": options.split()}
        for target, type, source, options in rows
    ]
    return compiled(spec)


def _chroot() -> LaunchPlan:
    spec = with_process(terminal=True, cwd="/work")
    spec["linux"]["namespaces"] = [{"type": "pid"}]
    return compiled(spec)


def _host_mounts() -> LaunchPlan:
    spec = with_process()
    spec["linux"]["namespaces"] = [{"type": "pid"}]
    spec["mounts"] = [
        {"destination": "/proc", "type": "proc"},
        {"destination": "/dev", "type": "tmpfs", "options": ["ro"]},
        {"destination": "/srv", "source": "/data", "options": ["rbind"]},
    ]
    return compiled(spec)


def _userns() -> LaunchPlan:
    spec = with_linux(*(type for type in _ALL_TYPES if type != "mount"))
    spec["linux"]["timeOffsets"] = {"monotonic": {"secs": 60, "nanosecs": 5}, "boottime": {"secs": -1}}
    spec["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1", "net/ipv4/conf/all/rp_filter": "0"}
    spec["linux"]["devices"] = [
        {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229},
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o600, "uid": 1, "gid": 2},
    ]
    spec["mounts"] = [
        {"destination": "/sys", "type": "sysfs", "options": ["nosuid"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"},
        {"destination": "/data", "source": "/srv/data", "options": ["rbind", "ro", "rprivate"]},
        {"destination": "/peer", "source": "/srv/peer", "options": ["bind", "shared"]},
    ]
    spec["process"]["oomScoreAdj"] = -999
    spec["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": (1 << 64) - 1}]
    spec.update(hostname="box", domainname="example")
    return compiled(spec)


def _nested() -> LaunchPlan:
    spec = with_linux("pid", rootfsPropagation="rshared")
    spec["mounts"] = [
        {"destination": "/data", "source": "/srv/data", "options": ["rbind", "nosuid"]},
        {"destination": "/sys", "type": "sysfs"},
        {"destination": "/sys/fs/cgroup", "type": "cgroup2"},
    ]
    own = ((0, 1000, 1),)
    facts = HostFacts(in_userns=True, uid_map=own, gid_map=own, setgroups=False, cgroup_writable=False, kcore=False)
    return compiled(spec, facts, no_pivot=True, no_new_keyring=True)


def _limits() -> LaunchPlan:
    spec = with_linux("cgroup", cgroupsPath="/pods/box")
    spec["mounts"] = [{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}]
    spec["process"]["user"] = {"uid": 1000, "gid": 1000}
    rate = {"major": 8, "minor": 0, "rate": 1000000}
    spec["linux"]["resources"] = {
        "memory": {"limit": 1 << 29, "swap": 1 << 29, "reservation": 1 << 28, "kernel": -1, "checkBeforeUpdate": True},
        "cpu": {"shares": 512, "quota": 50000, "period": 100000, "burst": 10000, "cpus": "0-1", "mems": "0"},
        "pids": {"limit": 100},
        "blockIO": {"weight": 500, "throttleReadBpsDevice": [rate], "throttleWriteIOPSDevice": [rate]},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 0}],
        "rdma": {"mlx5_1": {"hcaHandles": 3}},
        "unified": {"memory.high": "500M", "cgroup.max.depth": "3"},
    }
    controllers = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc")
    return compiled(spec, HostFacts(controllers=controllers))


def _systemd() -> LaunchPlan:
    spec = with_linux("cgroup", cgroupsPath="pods-a.slice:engine:box")
    spec["mounts"] = [{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}]
    spec["process"]["user"] = {"uid": 1000, "gid": 1000}
    spec["annotations"] = {"org.systemd.property.TimeoutStopSec": "90", "org.example": "x"}
    spec["linux"]["resources"] = {
        "memory": {"limit": 1 << 29, "checkBeforeUpdate": True},
        "cpu": {"quota": 33333, "period": 50000, "burst": 10000, "cpus": "0-1"},
        "blockIO": {"weight": 500, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1000000}]},
        "unified": {"cgroup.max.depth": "3"},
    }
    facts = HostFacts(controllers=("cpuset", "cpu", "io", "memory"), systemd=SystemdFacts())
    return compiled(spec, facts, cgroup_manager="systemd", command="create")


def _systemd_rootless() -> LaunchPlan:
    spec = with_linux("user", resources={"pids": {"limit": 5}})
    own = SystemdFacts(user=True, cgroup="/user.slice/user-1000.slice/user@1000.service")
    facts = HostFacts(euid=1000, egid=1000, controllers=("pids",), systemd=own)
    return compiled(spec, facts, cgroup_manager="systemd")


def _process() -> LaunchPlan:
    spec = with_process(
        user={"uid": 1000, "gid": 1001, "umask": 0o77, "additionalGids": [5, 27]},
        cwd="/home/user",
        env=["A=1", "PATH=/bin:/usr/bin", "HOME=", "A=2"],
        args=["sh", "-c", "exit 3"],
        oomScoreAdj=10,
        noNewPrivileges=True,
        rlimits=[{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}],
        capabilities={
            "bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_BPF", "CAP_NONSENSE"],
            "permitted": ["CAP_KILL", "CAP_CHOWN"],
            "effective": ["CAP_KILL"],
            "inheritable": ["CAP_KILL", "CAP_SYSLOG"],
            "ambient": ["CAP_KILL", "CAP_CHOWN"],
        },
    )
    spec["linux"]["maskedPaths"] = ["/proc/kcore"]
    spec["linux"]["readonlyPaths"] = ["/proc/sys"]
    return compiled(spec, HostFacts(cap_last_cap=37), command="create")


def scheduled(*types: str) -> Spec:
    """A spec with every field of compile/scheduling.py, and new namespaces of these types."""
    spec = with_linux(
        *types,
        personality={"domain": "LINUX32"},
        memoryPolicy={"mode": "MPOL_BIND", "nodes": "0-1,3", "flags": ["MPOL_F_STATIC_NODES"]},
    )
    spec["process"]["scheduler"] = {
        "policy": "SCHED_DEADLINE",
        "nice": -5,
        "flags": ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM"],
        "runtime": 1000000,
        "deadline": 2000000,
        "period": 3000000,
    }
    spec["process"]["ioPriority"] = {"class": "IOPRIO_CLASS_RT", "priority": 0}
    spec["process"]["execCPUAffinity"] = {"initial": "0", "final": "1"}
    return spec


def _labels() -> LaunchPlan:
    spec = with_linux(mountLabel="system_u:object_r:container_file_t:s0:c1,c2", maskedPaths=["/proc/acpi"])
    spec["process"].update(apparmorProfile="profile", selinuxLabel="system_u:system_r:container_t:s0:c1,c2")
    spec["mounts"] = [
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue"},
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]},
    ]
    return compiled(spec)


def _seccomp() -> LaunchPlan:
    spec = with_process(
        user={"uid": 1000, "gid": 1000},
        capabilities={"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"]},
    )
    spec["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": ["read", "write", "execve"], "action": "SCMP_ACT_ALLOW"}],
    }
    spec["hooks"] = {"startContainer": [{"path": "/hooks/start"}]}
    return compiled(spec, command="create")


def _notify() -> LaunchPlan:
    spec = with_process(noNewPrivileges=True)
    spec["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
        "listenerPath": "/run/agent.sock",
        "listenerMetadata": "say so",
        "syscalls": [{"names": ["mount"], "action": "SCMP_ACT_NOTIFY"}],
    }
    return compiled(spec, HostFacts(kernel=(5, 19)))


def _rdt() -> LaunchPlan:
    return compiled(
        with_linux(
            intelRdt={
                "closID": "guaranteed",
                "schemata": ["L2:0=f"],
                "memBwSchema": "MB:0=20;1=70",
                "l3CacheSchema": "L3:0=7f0;1=1f",
                "enableMonitoring": True,
            }
        )
    )


def _net_devices() -> LaunchPlan:
    return compiled(with_linux("network", "user", netDevices={"eth0": {"name": "container0"}, "wlan0": {}}))


def _idmaps() -> LaunchPlan:
    spec = with_linux("user")
    own = {name: [{"containerID": 0, "hostID": 1000, "size": 1}] for name in ("uidMappings", "gidMappings")}
    spec["mounts"] = [
        {"destination": "/own", "type": "bind", "source": "/srv/own", "options": ["bind"], **own},
        {"destination": "/tree", "source": "/srv/tree", "options": ["rbind", "ridmap", "ro"]},
        {"destination": "/plain", "source": "/srv/plain", "options": ["rbind"]},
    ]
    return compiled(spec)


def _exec() -> LaunchPlan:
    spec = example()
    spec["process"]["terminal"] = True
    spec["process"]["oomScoreAdj"] = 10
    return compiled_exec(spec, detach=True, console_socket="/c.sock", pid_file="/pid", pidfd_socket="/p.sock")


def _exec_userns() -> LaunchPlan:
    spec = scheduled(*_ALL_TYPES[:2], "user")
    spec["process"].update(
        oomScoreAdj=-5,
        rlimits=[{"type": "RLIMIT_NPROC", "soft": 10, "hard": 20}],
        user={"uid": 5, "gid": 6, "additionalGids": [7]},
        selinuxLabel="u:r:t",
        apparmorProfile="profile",
    )
    spec["linux"]["intelRdt"] = {"enableMonitoring": True}
    spec["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": "/run/agent.sock",
        "syscalls": [{"names": ["mount"], "action": "SCMP_ACT_NOTIFY"}],
    }
    return compiled_exec(spec, target=Target(4321, 987654, "/sys/fs/cgroup/box/sub", exact_cgroup=True))


def _exec_chroot() -> LaunchPlan:
    spec = minimal()
    spec["linux"]["namespaces"] = [{"type": "pid", "path": "/proc/7/ns/pid"}]
    spec["process"]["execCPUAffinity"] = {"initial": "0"}
    return compiled_exec(spec, target=Target(4321, 987654))


CASES: dict[str, Callable[[], LaunchPlan]] = {
    "default": _default,
    "create-terminal": _create,
    "rootless": _rootless,
    "rootless-subordinate-ids": _rootless_subordinate,
    "joined-namespaces": _joined,
    "hooks": _hooks,
    "mounts": _mounts,
    "no-mount-namespace": _chroot,
    "host-mounts": _host_mounts,
    "user-namespace": _userns,
    "nested": _nested,
    "limits": _limits,
    "systemd": _systemd,
    "systemd-rootless": _systemd_rootless,
    "process": _process,
    "labels": _labels,
    "id-mapped-mounts": _idmaps,
    "net-devices": _net_devices,
    "intel-rdt": _rdt,
    "scheduling": lambda: compiled(scheduled()),
    "scheduling-user-namespace": lambda: compiled(scheduled("user")),
    "seccomp": _seccomp,
    "seccomp-notify": _notify,
    "exec": _exec,
    "exec-user-namespace": _exec_userns,
    "exec-no-mount-namespace": _exec_chroot,
}


def golden_files() -> dict[str, str]:
    """Each golden file's name and its expected text: every case as a tree, and the default also as JSON."""
    texts = {f"{name}.txt": show_plan.tree(case()) for name, case in CASES.items()}
    texts["default.json"] = show_plan.as_json(CASES["default"]())
    return texts


def main() -> None:
    """Write the golden files anew."""
    for old in GOLDEN.iterdir():
        old.unlink()
    for name, text in golden_files().items():
        (GOLDEN / name).write_text(text, encoding="utf-8")
        print(f"wrote {GOLDEN / name}")


if __name__ == "__main__":
    main()
