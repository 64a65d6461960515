"""What a failed step of the init is reported as: runc's words, the step's name and pointer, and a cure. Cold."""

from __future__ import annotations

import errno
from _signal import strsignal

from ...errors import INIT_FAILED, START_FAILED, PyruncError, join
from ..cgroup.limits import oom_kills
from ..kernel.constants import RLIMITS
from ..seccomp.checks import refuses
from ..spec.mount_options import KNOWN_OPTIONS
from ..spec.nearest import SYNONYMS
from .scene import found_out, limit_refused, may_execute, missing_part, near

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..plan.model import Step
    from .scene import Scene

_MOUNTS = ("mount", "bind", "bind_cgroup")
# The steps that are the first to use the root file system.
_ROOT_STEPS = ("parent_private", "rootfs", "chroot")
# The steps that are for an option of the command: what fails there, and the option.
_OF_OPTIONS = {
    "write_pid_file": ("can't write the pid file", "--pid-file"),
    "send_pidfd": ("can't send the pidfd to", "--pidfd-socket"),
}
_SIGNALLED = 2  # CLD_KILLED is 2, CLD_DUMPED 3 (waitid(2))
# SIGSYS, and the trap by which the init ends where a filter does not let it exit: SIGILL or, on arm64, SIGTRAP.
_OF_FILTER = (31, 4, 5)
_EXECVE = "the profile must allow execve, and what the program's start takes"
_REFUSES = "linux.seccomp refuses execve: its profile must allow it"
_OOM = "container init was OOM-killed (memory limit too low?)"  # wording of runc

_SCHEDULER = (
    "it takes CAP_SYS_NICE or RLIMIT_RTPRIO and RLIMIT_NICE, SCHED_DEADLINE takes all of the host's CPUs, "
    "and with CONFIG_RT_GROUP_SCHED there is no realtime below the root cgroup"
)
_SCHEDULER_KNOWN = "this kernel does not know the policy (Linux has no SCHED_ISO), or not with these values"
_IO_PRIORITY = "IOPRIO_CLASS_RT takes CAP_SYS_NICE"

_OOM_SCORE = "it is below the runtime's own, and it lacks CAP_SYS_RESOURCE"
_NO_PTRACE = "the runtime lacks CAP_SYS_PTRACE"
_CHROOT = (
    "the root is no mount point, as in a chroot: enter it by pivot_root in a mount namespace of its own, or bind it on "
    "itself first"
)
_MAGIC_LINKS = "links of /proc to descriptors and processes are not followed on the way to the working directory"
_LOCKED = "a user namespace can't take nosuid, nodev, noexec and ro from mounts of the host, which are locked"

_DESTINATION = "the destination, or what is above it in the rootfs, can't be a mount point"

# The cure by step kind and errno.
_HINTS = {
    ("execute", errno.ENOENT): "is the program, or the interpreter that it names, in the rootfs?",
    ("execute", errno.EACCES): "is the file executable?",
    ("seccomp", errno.EACCES): "without process.noNewPrivileges it needs CAP_SYS_ADMIN",
    ("seccomp", errno.EBUSY): "the runtime itself runs under a filter with a listener, and the kernel allows one only",
    ("seccomp", errno.EINVAL): "does the kernel know all of linux.seccomp.flags?",
    ("send_listener", errno.EPERM): _NO_PTRACE,
    ("execute", errno.ENOEXEC): "is it built for this machine, and if a script, does it begin with #!?",
    ("reopen_null", errno.ENOENT): "a mount hides the container's own /dev",
    ("session_keyring", errno.EPERM): "--no-new-keyring leaves the container the caller's session keyring",
    ("chdir", errno.EACCES): "process.user may not enter process.cwd",
    ("chdir", errno.ELOOP): _MAGIC_LINKS,
    ("make_cwd", errno.ELOOP): _MAGIC_LINKS,
    ("sysctl", errno.ENOENT): "this kernel has no such sysctl in the container's namespaces",
    ("oom_score_adj", errno.EACCES): _OOM_SCORE,
    ("inherit_oom_score_adj", errno.EACCES): _OOM_SCORE,
    ("write_oom_score_adj", errno.EACCES): _OOM_SCORE,
    ("scheduler", errno.EPERM): _SCHEDULER,
    ("set_scheduler", errno.EPERM): _SCHEDULER,
    ("scheduler", errno.EINVAL): _SCHEDULER_KNOWN,
    ("set_scheduler", errno.EINVAL): _SCHEDULER_KNOWN,
    ("scheduler", errno.EOPNOTSUPP): "this kernel has no utilization clamping",
    ("set_scheduler", errno.EOPNOTSUPP): "this kernel has no utilization clamping",
    ("io_priority", errno.EPERM): _IO_PRIORITY,
    ("set_io_priority", errno.EPERM): _IO_PRIORITY,
    ("memory_policy", errno.EINVAL): "the nodes must have memory, and be in the container's cpuset.mems",
    ("memory_policy", errno.ENOSYS): "this kernel has no NUMA",
    ("security_label", errno.ENOENT): "is the profile loaded (aa-status)?",
    ("security_label", errno.EINVAL): "does the policy that is loaded know the label?",
    ("security_label", errno.EACCES): "the policy does not let the runtime's own domain or profile change to this one",
    ("unshare", errno.EINVAL): "this kernel has no namespaces of this type",
    ("propagation", errno.EINVAL): _CHROOT,
    ("net_device", errno.EINVAL): "the kernel does not let this kind of device change its network namespace",
    ("open_mapped_source", errno.ENOENT): "does the mount's source exist?",
    ("open_mapped_source", errno.EINVAL): "the source's file system can't map ids, or not in this kernel",
    ("open_mapped_source", errno.EPERM): "the ids of the source are mapped already, or a user namespace mounted it",
    ("open_inside", errno.ENOENT): "does the mount's source exist?",
    ("map_source", errno.EINVAL): "the source's file system can't map ids, or not in this kernel",
    ("map_source", errno.EPERM): "the ids of the source are mapped already",
    ("bind", errno.ENOENT): "does the mount's source exist?",
    ("open_source", errno.ENOENT): "does the mount's source exist?",
    ("mount", errno.EINVAL): "the file system does not take these options, or not in the container's user namespace",
    ("mount", errno.ENOTDIR): _DESTINATION,
    ("bind", errno.ENOTDIR): _DESTINATION,
    ("mount", errno.EROFS): _DESTINATION,
    ("bind", errno.EROFS): _DESTINATION,
    ("net_device", errno.ENODEV): "ip link shows the devices of the runtime's network namespace",
    ("mount", errno.ENODEV): "the kernel knows no such file system",
    ("state_dir", errno.EACCES): "set XDG_RUNTIME_DIR, or name a directory of this user's by --root",
    ("user", errno.EINVAL): "an id of process.user is not mapped in the container's user namespace",
    ("bind", errno.EPERM): _LOCKED,
    ("remount", errno.EPERM): _LOCKED,
    ("check_maps", errno.EINVAL): "the runtime is in that user namespace itself",
    ("cgroup_limit", errno.EINVAL): "the kernel does not take this value",
    ("cgroup_limit", errno.ERANGE): "the kernel does not take this value",
    ("cgroup_limit", errno.EBUSY): "more than this is in use",
    ("cgroup_limit", errno.EACCES): "the cgroup is not delegated to the runtime's user",
    ("cgroup_limit", errno.EPERM): "the cgroup is not delegated to the runtime's user",
    ("cgroup_limit", errno.ENODEV): "there is no such device",
    ("cgroup_limit", errno.EOPNOTSUPP): "the device or the kernel does not support it",
}

# The hints that are true where the runtime lacks a capability, by its number, as an errno has other reasons too.
_IF_LACKING = {_NO_PTRACE: 19, _IO_PRIORITY: 23, _OOM_SCORE: 24}

# Why a user namespace may not mount a file system, by its type (mount_too_revealing() and the *_init_fs_context of the
# kernel's sources).
_REFUSED = {
    "proc": "it takes a new pid namespace, and a /proc of the runtime's over which nothing is mounted; or bind it",
    "sysfs": "it takes a new network namespace, and a /sys of the runtime's over which nothing is mounted; or bind it",
    "mqueue": "it takes a new ipc namespace",
    "cgroup2": "it takes a new cgroup namespace",
}

_ROOTFS = "root.path is the directory with the container's files, absolute or relative to the bundle"
_CWD = "process.cwd is to be a directory in the container"
_HOOK = "the hook began and failed: what it says of itself is in the message"
_SILENT_HOOK = "the hook began and failed, and printed nothing"
_SILENCE = "stdout: , stderr:"
_NO_HOOK = "the hook's path is one of the host, but that of a startContainer hook one of the rootfs"

# The cure by step kind, whatever the errno.
_KIND_HINTS = {
    "parent_private": _ROOTFS,
    "rootfs": _ROOTFS,
    "chroot": _ROOTFS,
    "find_executable": "process.args[0] is a file in the rootfs, or a name to be found by the PATH of process.env",
    "make_cwd": _CWD,
    "chdir": _CWD,
    "sysctl": "the kernel does not take this value",
    "time_offset": "no clock may become negative, or leave its range",
    "open_namespace": "the path is that of a namespace of this type, such as /proc/PID/ns/TYPE",
}

# The cure for a refused write to a control file, by the begin of the file's name and errno; the first that fits.
_LIMIT_HINTS = (
    ("cpu.max.burst", errno.EINVAL, "a burst is at most the quota"),
    ("cpu.max", errno.EINVAL, "a quota is at least 1000 microseconds, a period 1000 to 1000000"),
    ("cpuset.", errno.EINVAL, "it names a CPU or memory node that this machine can't have"),
    ("cpuset.", errno.ERANGE, "it names a CPU or memory node that this machine can't have"),
    ("io.bfq.weight", errno.EOPNOTSUPP, "the device's I/O scheduler is not bfq"),
    ("io.weight", errno.EOPNOTSUPP, "the device's I/O scheduler is not bfq, and io.cost is not enabled for it"),
    ("io.weight", errno.ENOENT, "the kernel has neither BFQ nor io.cost, so I/O has no weights"),
    ("io.", errno.ENODEV, "there is no disk with this number; a partition is limited as part of its disk"),
    ("hugetlb.", errno.ENOENT, "the kernel has no such file; /sys/kernel/mm/hugepages tells its sizes of huge pages"),
    ("memory.swap.max", errno.ENOENT, "the kernel does not account swap"),
    ("rdma.max", errno.ENODEV, "there is no RDMA device of this name; see /sys/class/infiniband"),
    ("rdma.max", errno.EINVAL, "there is no RDMA device of this name; see /sys/class/infiniband"),
    ("", errno.ENOENT, "the kernel has no such control file"),
)


def init_step_failed(
    step: Step | None, error: int, detail: str, cgroup: str = "", words: str = INIT_FAILED, scene: Scene | None = None
) -> PyruncError:
    """A step that the init reports as failed; None where none had begun.

    error: its errno, or 0 where the detail tells all. detail: the call and its path, or the reason.
    cgroup: the container's, where the OOM killer may have been at work. words: what the message begins with.
    scene: where it was, for a look at the cause; None where nobody knows.
    """
    if step is not None and step.kind == "container_hook":
        detail = join((signal_named(detail),))  # it has what the hook printed
    if cgroup and oom_kills(cgroup):
        detail = f"{_OOM}: {detail}"
    if step is None:
        return PyruncError(words + detail, errno=error, lead=len(words))
    pointer = step.pointer
    found = found_out(step, error, scene) if scene is not None else None
    if found is not None and found.message and not error:
        detail = found.message
    if found is not None and step.kind == "execute" and not found.message:
        pointer = "/linux/seccomp"
    if step.kind in _MOUNTS:
        detail = f'error mounting "{step.arg("source")}" to rootfs at "{step.arg("target")}": {detail}'
    elif step.kind == "container_hook":
        detail = f"error running {step.arg('hook')} hook #{step.arg('index')}: {detail}"
    elif step.kind == "rlimit":
        detail = "setrlimit " + _limit_name(step)
    elif step.kind in _ROOT_STEPS and error in (errno.ENOENT, errno.ENOTDIR):
        detail = f"invalid rootfs: stat {step.arg('path')}"  # wording of runc
    hint = found.cure if found is not None else ""
    return PyruncError(
        words + detail,
        step=step.kind,
        pointer=pointer,
        errno=error,
        hint=hint or _hint(step, error, detail),
        lead=len(words),
    )


def _limit_name(step: Step) -> str:
    """RLIMIT_* of a step that sets a resource limit."""
    number = step.arg("resource")
    return next((name for name, known in RLIMITS.items() if known == number), str(number))


def _hint(step: Step, error: int, detail: str = "") -> str:
    if step.kind in ("rlimit", "prlimit") and error == errno.EPERM:
        return limit_refused(int(str(step.arg("resource"))), int(str(step.arg("hard"))))
    if step.kind in ("runtime_hook", "container_hook"):
        return _hook_hint(step, error, detail)
    if step.kind == "mount" and error == errno.EINVAL and "Unknown parameter '" in detail:
        word = detail.partition("Unknown parameter '")[2].partition("'")[0]
        meant = SYNONYMS.get(word) or near(word, KNOWN_OPTIONS)
        return f'did you mean "{meant}"?' if meant else f"the file system knows no option {word}"
    if step.kind == "mount" and error == errno.EPERM:
        return _REFUSED.get(str(step.arg("fstype")), "")
    if step.kind == "propagation" and error in (errno.EACCES, errno.EPERM):
        from ..kernel.privileges import apparmor_restricts

        return apparmor_restricts()
    hint = _HINTS.get((step.kind, error)) or _KIND_HINTS.get(step.kind, "")
    if hint == _CHROOT:
        from ..kernel.privileges import root_is_mount_point

        return "" if root_is_mount_point() else hint
    if hint in _IF_LACKING:
        from ..kernel.privileges import capabilities

        return "" if capabilities() >> _IF_LACKING[hint] & 1 else hint
    return hint


def _hook_hint(step: Step, error: int, detail: str) -> str:
    """Why a hook failed: its program can't be executed, or has been."""
    failed = _SILENT_HOOK if detail.rstrip().endswith(_SILENCE) else _HOOK
    if step.arg("hook") == "startContainer":
        return _NO_HOOK if error else failed
    path = str(step.arg("path"))
    missing = missing_part(path)
    if missing:
        return "the hook's program: " + missing
    if not may_execute(path):
        return f"the hook's program {path} is not executable: chmod a+x"
    return "" if error else failed


def signal_named(detail: str) -> str:
    """`killed by signal 31 after 0.010 s, …` as Go says it: `signal: bad system call after 0.010 s, …`."""
    start, blank, rest = detail.removeprefix("killed by signal ").partition(" ")
    if not detail.startswith("killed by signal ") or not start.isdigit():
        return detail
    return f"signal: {(strsignal(int(start)) or start).lower()}{blank}{rest}"


def runtime_step_failed(step: Step, error: PyruncError | OSError, prefix: str) -> PyruncError:
    """A step of the runtime that failed; what the error lacks of step, pointer and hint is filled in."""
    number = error.errno or 0
    if step.kind in _OF_OPTIONS and isinstance(error, OSError):
        return _of_option(step, number)
    if isinstance(error, PyruncError):
        text, hint = error.message, error.hint
    else:
        text, hint = _subject(step), _limit_hint(step, number)
    return PyruncError(
        prefix + text,
        step=step.kind,
        pointer=(error.pointer if isinstance(error, PyruncError) else "") or step.pointer,
        errno=number,
        hint=hint or _hint(step, number, text),
        lead=len(prefix) + (error.lead if isinstance(error, PyruncError) else 0),
    )


def _of_option(step: Step, number: int) -> PyruncError:
    """A file that an option names can't be made: no fault of the container's, or of its configuration."""
    what, option = _OF_OPTIONS[step.kind]
    path = str(step.arg("path"))
    hint = missing_part(path.rpartition("/")[0] or "/") if number in (errno.ENOENT, errno.ENOTDIR) else ""
    return PyruncError(f"{what} {path}", step=step.kind, errno=number, hint=hint, origin=option)


def _subject(step: Step) -> str:
    """What the step was about: its first path, else its kind."""
    if step.kind == "cgroup_limit":
        return f'writing "{step.arg("value")}" to {step.arg("file")}'
    if step.kind == "prlimit":
        return "setrlimit " + _limit_name(step)
    for name in ("path", "file"):
        try:
            return f"{step.kind} {step.arg(name)}"
        except KeyError:
            continue
    return step.kind


def _limit_hint(step: Step, number: int) -> str:
    if step.kind == "cgroup_limit":
        for begin, error, hint in _LIMIT_HINTS:
            if error == number and str(step.arg("file")).startswith(begin):
                return hint
    return ""


def init_died(
    code: int, status: int, cgroup: str = "", words: str = INIT_FAILED, profile: dict[str, Any] | None = None
) -> PyruncError:
    """An init that ended without a message. code, status: as waitid(2) gives them. cgroup: the container's, or "".
    words: what the message begins with. profile: linux.seccomp."""
    if code >= _SIGNALLED:
        if cgroup and oom_kills(cgroup):
            return _of_oom(cgroup)
        message = f"{words}the init was killed by signal {status}"
        if status in _OF_FILTER:
            hint = _REFUSES if profile and refuses(profile, "execve") else _EXECVE
            return PyruncError(message, pointer="/linux/seccomp", hint=hint, lead=len(words))
        return PyruncError(message, lead=len(words))
    message = f"{words}the init exited with status {status}"
    if profile and refuses(profile, "execve"):
        return PyruncError(message, pointer="/linux/seccomp", hint=_REFUSES, lead=len(words))
    return PyruncError(message, lead=len(words))


def init_vanished(cgroup: str, filtered: bool) -> PyruncError:
    """An init that ended between `start` and its program; its parent knows how. cgroup: the container's, or "".
    filtered: there is a seccomp profile."""
    if cgroup and oom_kills(cgroup):
        return _of_oom(cgroup)
    message = INIT_FAILED + "the init was killed before it executed the program"
    if filtered:
        return PyruncError(message, pointer="/linux/seccomp", hint=_EXECVE, lead=len(INIT_FAILED))
    return PyruncError(message, lead=len(INIT_FAILED))


def _of_oom(cgroup: str) -> PyruncError:
    hint = "see memory.events of " + cgroup
    return PyruncError(START_FAILED + _OOM, pointer="/linux/resources/memory", hint=hint, lead=len(START_FAILED))
