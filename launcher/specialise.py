"""What the launcher does before its snapshot is written, so that the snapshot has specialised bytecode.

CPython specialises an instruction for the types that it meets, and keeps what it has found out in the instruction's
inline cache (PEP 659). This takes several calls of a function, and a command calls most functions once. So the pure
part of the commands, two thirds of the bytecodes of a `run`, is carried out here with configurations as engines write
them. launcher/specialise.c runs this module when the snapshot is made, and drops it.

Nothing here makes a system call, or changes a variable or container of a module.
"""

from __future__ import annotations

import posix

from pyrunc import jsonio, output
from pyrunc._generated.steps import FIELDS
from pyrunc.cli import fast_argv
from pyrunc.commands import lifecycle as life
from pyrunc.commands import settings
from pyrunc.libcontainer import saved_config, state
from pyrunc.libcontainer.cgroup import devices
from pyrunc.libcontainer.compile.exec import Target, compile_exec
from pyrunc.libcontainer.compile.launch import compile_launch
from pyrunc.libcontainer.exec.process import process_of
from pyrunc.libcontainer.kernel import native
from pyrunc.libcontainer.launch import ledger
from pyrunc.libcontainer.plan import host, wire
from pyrunc.libcontainer.plan.options import ExecOptions, LaunchOptions
from pyrunc.libcontainer.spec import load, mount_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc._generated.spec_types import Spec
    from pyrunc.libcontainer.plan.host import HostFacts
    from pyrunc.libcontainer.plan.model import LaunchPlan

# From CPython 3.12 on an instruction is specialised when it is executed for the second time. A third time shows whether
# the specialisation holds for the other configurations too.
ROUNDS = 3

_ID = "0123456789abcdef"
_ROOT = "/run/containerd/runc/k8s.io"
_CGROUP = "/sys/fs/cgroup/pod/" + _ID
_BUNDLE = "/run/bundle"

# Words of command lines, as engines and people type them.
_LINES = (
    ["--version"],
    ["run", _ID],
    ["--root", _ROOT, "run", "--bundle", _BUNDLE, _ID],
    [
        "--root", _ROOT, "--log", _BUNDLE + "/log.json", "--log-format", "json", "--systemd-cgroup", "create",
        "--bundle", _BUNDLE, "--pid-file", _BUNDLE + "/init.pid", "--console-socket", _BUNDLE + "/pty.sock", _ID,
    ],
    ["--root", _ROOT, "--log-format=json", "start", _ID],
    ["--root", _ROOT, "state", _ID],
    ["--root", _ROOT, "list", "--format", "json"],
    ["--root", _ROOT, "list", "-q"],
    ["--root", _ROOT, "ps", "--format", "json", _ID],
    ["--root", _ROOT, "exec", "--process", _BUNDLE + "/process", "--detach", "--pid-file", _BUNDLE + "/e.pid", _ID],
    ["exec", "-t", "--env", "A=1", "-e", "B=2", _ID, "sh", "-c", "true"],
    ["--root", _ROOT, "kill", "--all", _ID, "9"],
    ["kill", _ID, "TERM"],
    ["--root", _ROOT, "update", "--resources", "-", _ID],
    ["--root", _ROOT, "pause", _ID],
    ["--root", _ROOT, "resume", _ID],
    ["--root", _ROOT, "events", "--stats", _ID],
    ["--root", _ROOT, "delete", "--force", _ID],
)  # fmt: skip

_SYSTEM = ["nosuid", "noexec", "nodev"]
# No list of a configuration here: the modules remember those, and must stay as they are.
_OPTIONS = ("bind", "ro", "nosuid", "nodev", "private", "size=1024k")
_CAPABILITIES = [
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
    "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
]  # fmt: skip
# Functions of hot modules that take names of arguments. Each demands an argument.
_NAMED = (
    posix.access, posix.chmod, posix.chown, posix.lstat, posix.mkdir, posix.open, posix.pidfd_open, posix.readlink,
    posix.rename, posix.rmdir, posix.stat, posix.unlink,
)  # fmt: skip
_CONTROLLERS = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma")
# Those that containerd's CRI plugin gives a container.
_ANNOTATIONS = (
    "container-type", "sandbox-id", "container-name", "image-name", "sandbox-name", "sandbox-namespace", "sandbox-uid",
)  # fmt: skip
# What `create` and `run` write down in the ledger behind the state directory.
_EFFECTS: tuple[tuple[str, dict[str, object]], ...] = (
    ("cgroup_parent", {"path": "/sys/fs/cgroup/pod"}),
    ("cgroup", {"path": _CGROUP}),
    ("process", {"pid": 100, "startTime": 5000}),
    ("pid_file", {"path": _BUNDLE + "/init.pid", "content": "100", "draft": _BUNDLE + "/.init.pid"}),
)
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _mounts() -> list[Any]:
    return [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": _SYSTEM},
        {
            "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts", "type": "devpts", "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        },
        {
            "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
            "options": [*_SYSTEM, "mode=1777", "size=65536k"],
        },
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": _SYSTEM},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*_SYSTEM, "ro"]},
        {
            "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
            "options": [*_SYSTEM, "relatime", "ro"],
        },
    ]  # fmt: skip


def _volumes() -> list[Any]:
    binds = [
        {"destination": f"/volumes/{number}", "type": "bind", "source": f"/var/volumes/{number}", "options": options}
        for number, options in enumerate((["rbind", "rprivate", "rw"], ["rbind", "rprivate", "ro"], ["rbind", "ro"]))
    ]
    options = [*_SYSTEM, "mode=1777", "size=65536k"]
    return [*binds, {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": options}]


def _spec(*namespaces: str) -> Any:
    """A configuration with only what all have."""
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False, "user": {"uid": 0, "gid": 0}, "args": ["sh"], "env": [_PATH, "TERM=xterm"], "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), _CAPABILITIES[-3:]),
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}], "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "pyrunc",
        "mounts": _mounts(),
        "linux": {
            "namespaces": [{"type": type} for type in ("pid", "ipc", "uts", "mount", "cgroup", *namespaces)],
            "maskedPaths": [f"/proc/{name}" for name in ("acpi", "asound", "kcore", "keys", "timer_list")],
            "readonlyPaths": [f"/proc/{name}" for name in ("bus", "fs", "irq", "sys", "sysrq-trigger")],
        },
    }  # fmt: skip


def _mapped() -> Any:
    """One with a user namespace and a cgroup of its own."""
    spec = _spec("network", "user")
    for name in ("uidMappings", "gidMappings"):
        spec["linux"][name] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    spec["mounts"] += _volumes()
    return spec


def _engine() -> Any:
    """One as engines write it: volumes, limits, devices and a profile."""
    spec = _spec()
    spec["mounts"] += _volumes()
    process, linux = spec["process"], spec["linux"]
    process["user"]["additionalGids"] = [0, 10]
    process["env"] += [f"VARIABLE_{number}={number}" for number in range(8)]
    process["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), _CAPABILITIES)
    process["oomScoreAdj"] = 0
    spec["annotations"] = {f"io.kubernetes.cri.{name}": _ID for name in _ANNOTATIONS}
    linux["cgroupsPath"] = "/kubepods/pod/" + _ID
    linux["resources"] = {
        "devices": [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
            {"allow": True, "type": "c", "major": 5, "minor": 1, "access": "rw"},
        ],
        "memory": {"limit": 1 << 28, "swap": 1 << 29},
        "cpu": {"shares": 1024, "quota": 100000, "period": 100000, "cpus": "", "mems": ""},
        "pids": {"limit": 1000},
        "unified": {"memory.oom.group": "1"},
    }
    linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [
            {"names": ["read", "write", "openat"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
            {
                "names": ["clone"], "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 0, "value": 0x7E020000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}],
            },
        ],
    }  # fmt: skip
    return spec


def _facts() -> HostFacts:
    return host.HostFacts(
        kernel=host.kernel_version("6.1.0-18-amd64"),
        controllers=_CONTROLLERS,
        cgroup_self=host.own_cgroup("1:name=systemd:/\n0::/system.slice/containerd.service\n"),
    )


def _encode(plan: LaunchPlan) -> None:
    """A plan as bytes, as the runtime does it once every slot has a descriptor."""
    slots: dict[str, int] = {}
    for step in plan.init:
        for (_, type_), value in zip(FIELDS[step.kind], step.args, strict=True):
            if type_ == "fd" and value.__class__ is str:
                slots[value] = 3
    wire.encode(plan, slots)


def _launches(facts: HostFacts) -> None:
    """Read, check and compile configurations, as `create` and `run`."""
    for spec, is_of_pod in ((_spec("network"), False), (_mapped(), False), (_engine(), False), (_engine(), True)):
        mount_options._parse(_OPTIONS)
        value: Spec = load.without_nulls(jsonio.loads(jsonio.dumps(spec)))
        load.validate(value)
        if is_of_pod:
            _join(value)
        for command in ("run", "create"):
            options = LaunchOptions(id=_ID, root=_ROOT, bundle=_BUNDLE, command=command)
            plan = compile_launch(value, options, facts)
            for step in plan.prepare:
                if step.kind == "cgroup_devices":
                    devices.assemble(step.args[1])  # type: ignore[arg-type]
            _encode(plan)
        _further(value, facts)


def _join(spec: Spec) -> None:
    """Have a container join a pod's namespaces. After the checks, because these look at the files."""
    spec.pop("hostname")
    own = [entry for entry in spec["linux"]["namespaces"] if entry["type"] not in ("ipc", "uts")]
    spec["linux"]["namespaces"] = [
        *own,
        {"type": "ipc", "path": "/proc/100/ns/ipc"},
        {"type": "network", "path": "/proc/100/ns/net"},
        {"type": "uts", "path": "/proc/100/ns/uts"},
    ]


def _further(spec: Spec, facts: HostFacts) -> None:
    """Compile the process of an `exec`."""
    options = ExecOptions(id=_ID, root=_ROOT, bundle=_BUNDLE, args=("sh", "-c", "true"), env=("A=1",))
    kept: Any = {name: spec[name] for name in ("process", "root", "linux", "mounts")}
    kept.update(version=state.FORMAT, devicePaths=[], noNewKeyring=False, pipes=[])
    kept["rest"] = {"hostname": "pyrunc", "linux": {}, "noPivot": False, "rootless": False, "notify": False}
    loaded = jsonio.loads(jsonio.dumps(kept))
    saved_config._judge(loaded, ("process", "root", "linux"))
    again = saved_config.spec_of(loaded)
    again["process"] = process_of(again, options)
    _encode(compile_exec(again, Target(100, 5000, _CGROUP), options, facts))


def _states() -> None:
    """Write and read a state, and print it."""
    values: dict[str, Any] = {
        "version": state.FORMAT, "ociVersion": "1.0.2", "id": _ID, "bundle": _BUNDLE, "rootfs": _BUNDLE + "/rootfs",
        "created": "2000-01-01T00:00:00.123456789Z", "pid": 100, "startTime": 5000, "owner": 0, "cgroup": _CGROUP,
        "ownPids": True, "annotations": {"io.kubernetes.cri.container-type": "container"}, "hooks": {},
        "startSteps": [[1, "exec", ["sh"], "/process/args"]], "systemd": {}, "updated": {},
    }  # fmt: skip
    record = state.judged(jsonio.loads(jsonio.dumps(values)), _ID)
    jsonio.dumps(record.values())
    record.hook_state("created")
    found = [record.describe("running", "root"), record.describe("stopped", "root")]
    output.indented(found[0])
    jsonio.dumps(found)
    output.table([("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"), *life._rows(found)])
    state.directory(_ROOT, state.check_id(_ID))
    for number, (effect, facts) in enumerate(_EFFECTS):
        ledger._judged(jsonio.loads(jsonio.dumps({"effect": effect, **facts})), number + 1, _ID)


def _messages() -> None:
    """Read what an init sends: a request, and that it is ready."""
    for kind, detail in ((wire.REQUEST, b"maps"), (wire.READY, b""), (wire.LISTENER, b"7")):
        head = b"".join([number.to_bytes(4, "little") for number in (kind, 1, 0, len(detail))])
        message = wire.decode_message(head + detail)
        if kind == wire.LISTENER:
            wire.listener(message)
    native.signal_bits((1, 2, 15))


def _command_lines() -> None:
    for words in _LINES:
        parsed = fast_argv.parse(words)
        if parsed is not None and parsed[0]["root"] and not parsed[0]["log"]:
            settings.settle("pyrunc", parsed[0])
    for name in ("TERM", "SIGKILL", "9", "RTMIN+3"):
        life.parse_signal(name)


def _name_arguments() -> None:
    """Have CPython 3.11 make the names of the functions' arguments, as it does at the first call of each. In a command
    that takes pages of its table of interned strings."""
    for function in _NAMED:
        try:
            function()  # type: ignore[call-arg]
        except TypeError:
            continue


def main() -> None:
    """Carry out the pure part of the commands several times."""
    _name_arguments()
    for _ in range(ROUNDS):
        facts = _facts()
        _command_lines()
        _launches(facts)
        _states()
        _messages()
