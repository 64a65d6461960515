"""Errors of a failed launch: runc's words, the step's name and pointer, the errno, a hint. On demand."""

from __future__ import annotations

import errno
from _signal import strsignal

from ...errors import INIT_FAILED, START_FAILED, PyruncError, join, reworded
from ...paths import closed_hint
from ..cgroup.oom import oom_kills, was_oom_killed
from ..kernel.constants import RLIMITS
from ..plan.kinds import KINDS, ROOT_IS_MOUNT_POINT
from ..seccomp.checks import refusal
from ..spec.mount_options import KNOWN_OPTIONS
from ..spec.nearest import SYNONYMS
from .blame import SIGSYS, by_filter, killed_for
from .scene import filter_refuses, find_cause, limit_refused, may_execute, missing_part, near

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..._generated.spec_types import Seccomp
    from ..plan.model import Step
    from .scene import Scene

_MOUNTS = ("mount", "bind", "bind_cgroup")
# The steps that are the first to use the root file system.
_ROOT_STEPS = ("parent_private", "rootfs", "chroot")
# The steps that carry out an option of the command: the message, and the option.
_OPTION_STEPS = {
    "write_pid_file": ("can't write the pid file", "--pid-file"),
    "send_pidfd": ("can't send the pidfd to", "--pidfd-socket"),
}
_SIGNALLED = 2  # CLD_KILLED is 2, CLD_DUMPED 3 (waitid(2))
_SIGKILL = 9
# The signals of an init that a filter has ended: SIGSYS, or if the filter refuses exit_group, the signal of the init's
# trap instruction: SIGILL, on arm64 SIGTRAP.
_FILTER_SIGNALS = (31, 4, 5)
_EXECVE = "the profile must allow execve, and what the program's start takes"
_OOM = "container init was OOM-killed (memory limit too low?)"  # wording of runc

# Why a user namespace may not mount a file system, by its type (mount_too_revealing() and the *_init_fs_context of the
# kernel's sources).
_REFUSED = {
    "proc": "it takes a new pid namespace, and a /proc of the runtime's over which nothing is mounted; or bind it",
    "sysfs": "it takes a new network namespace, and a /sys of the runtime's over which nothing is mounted; or bind it",
    "mqueue": "it takes a new ipc namespace",
    "cgroup2": "it takes a new cgroup namespace",
}

_NO_IDMAP = (
    "the rootfs is on a file system that can't map ids, as overlay: put it on another one, or give config.json a user "
    "namespace with mappings to ids that own its files"
)
_HOOK = "the hook began and failed: what it says of itself is in the message"
_SILENT_HOOK = "the hook began and failed, and printed nothing"
# execve(2): MAX_ARG_STRLEN with the NUL. Each text takes a pointer besides.
_LONGEST, _POINTER = 131_072, 8
_TOO_LONG = (
    "one text of args and env may have 131071 bytes, all of them a quarter of the stack's soft limit, and 6 MiB at most"
)
_MOST_GROUPS = "the kernel takes at most 65536 groups (/proc/sys/kernel/ngroups_max)"
_SILENCE = "stdout: , stderr:"
_NO_HOOK = "the hook's path is one of the host, but that of a startContainer hook one of the rootfs"

# The hint for a refused write to a control file, by the beginning of the file's name and the errno. The first row that
# fits counts.
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
    step: Step | None, error: int, detail: str, cgroup: str = "", prefix: str = INIT_FAILED, scene: Scene | None = None
) -> PyruncError:
    """The error of a step that the init reports as failed; `step` is None if none had begun.

    error: its errno, or 0 if the detail has the whole reason. detail: the call and its path, or the reason.
    cgroup: the container's, to check whether the OOM killer has killed a process of it. prefix: what the message begins
        with.
    scene: the data in which the cause is looked for (scene.py); None if it is unknown.
    """
    if step is not None and step.kind == "container_hook":
        detail = join((signal_named(detail),))  # the message has the hook's output
    if cgroup and oom_kills(cgroup):
        detail = f"{_OOM}: {detail}"
    if step is None:
        return PyruncError(prefix + detail, errno=error, lead=len(prefix))
    pointer = step.pointer
    found = find_cause(step, error, scene) if scene is not None else None
    if found is not None and found.message and not error:
        detail = found.message
    if found is not None and found.pointer:
        pointer = found.pointer
    if step.kind in _MOUNTS:
        detail = f'error mounting "{step.arg("source")}" to rootfs at "{step.arg("target")}": {detail}'
    elif step.kind == "container_hook":
        detail = f"error running {step.arg('hook')} hook #{step.arg('index')}: {detail}"
    elif step.kind == "rlimit":
        detail = "setrlimit " + _limit_name(step)
    elif step.kind in _ROOT_STEPS and error in (errno.ENOENT, errno.ENOTDIR):
        detail = f"invalid rootfs: stat {step.arg('path')}"  # wording of runc
    hint = found.hint if found is not None else ""
    if step.kind == "execute" and error == errno.E2BIG:
        pointer, hint = _too_long(step), _TOO_LONG
    return PyruncError(
        prefix + detail,
        step=step.kind,
        pointer=pointer,
        errno=error,
        hint=hint or _hint(step, error, detail),
        lead=len(prefix),
    )


def _too_long(step: Step) -> str:
    """The pointer of the text that is too long for execve, or else of the longer one of args and env. For `start`,
    which knows only the first text of each, it is the step's."""
    lists = [("/process/args", step.arg("args")), ("/process/env", step.arg("env"))]
    sizes = {}
    for at, texts in lists:
        if not isinstance(texts, tuple):
            return step.pointer  # of Record.startSteps
        lengths = [len(str(text).encode("utf-8", "surrogateescape")) + 1 for text in texts]
        for index, length in enumerate(lengths):
            if length > _LONGEST:
                return f"{at}/{index}"
        sizes[at] = sum(lengths) + _POINTER * len(lengths)
    return max(sizes, key=sizes.__getitem__)


def _limit_name(step: Step) -> str:
    """RLIMIT_* of a step that sets a resource limit."""
    number = step.arg("resource")
    return next((name for name, known in RLIMITS.items() if known == number), str(number))


def _hint(step: Step, error: int, detail: str = "") -> str:
    if step.kind in ("rlimit", "prlimit") and error == errno.EPERM:
        return limit_refused(int(str(step.arg("resource"))), int(str(step.arg("hard"))))
    if step.kind == "user" and detail.endswith("too many groups"):
        return _MOST_GROUPS
    if step.kind in ("runtime_hook", "container_hook"):
        return _hook_hint(step, error, detail)
    if step.kind == "mount" and error == errno.EINVAL and "Unknown parameter '" in detail:
        word = detail.partition("Unknown parameter '")[2].partition("'")[0]
        meant = SYNONYMS.get(word) or near(word, KNOWN_OPTIONS)
        return f'did you mean "{meant}"?' if meant else f"the file system knows no option {word}"
    if error == errno.ENOSPC and "move_mount " in detail:
        from ..kernel.hostmounts import most

        return f"a mount namespace has at most {most()} mounts, the host's among them (/proc/sys/fs/mount-max)"
    if step.kind == "open_mapped_source" and error == errno.EINVAL and step.pointer == "/root/path":
        return _NO_IDMAP
    if step.kind == "mount" and error == errno.EPERM:
        return _REFUSED.get(str(step.arg("fstype")), "")
    if step.kind == "propagation" and error in (errno.EACCES, errno.EPERM):
        from ..kernel.privileges import apparmor_restricts

        return apparmor_restricts()
    hint = KINDS[step.kind].hint(error)
    if isinstance(hint, str):
        return hint
    return "" if _is_so(hint.unless) else hint.text


def _is_so(what: int) -> bool:
    """Whether the condition of a hint is true: ROOT_IS_MOUNT_POINT, or a capability of the runtime."""
    from ..kernel.privileges import capabilities, root_is_mount_point

    return root_is_mount_point() if what == ROOT_IS_MOUNT_POINT else bool(capabilities() >> what & 1)


def _hook_hint(step: Step, error: int, detail: str) -> str:
    """Why a hook failed: its program can't be executed, or it was executed and failed."""
    failed = _SILENT_HOOK if detail.rstrip().endswith(_SILENCE) else _HOOK
    if step.arg("hook") == "startContainer":
        return _NO_HOOK if error else failed
    path = str(step.arg("path"))
    missing = missing_part(path)
    if missing:
        return "the hook's program: " + missing
    if not may_execute(path):
        return f"the hook's program {path} is not executable: chmod a+x"
    has_begun = not error and f" hook #{step.arg('index')}: fork/exec {path}: " not in detail
    return failed if has_begun else ""


def signal_named(detail: str) -> str:
    """`killed by signal 31 after 0.010 s, …` in Go's words: `signal: bad system call after 0.010 s, …`."""
    start, blank, rest = detail.removeprefix("killed by signal ").partition(" ")
    if not detail.startswith("killed by signal ") or not start.isdigit():
        return detail
    return f"signal: {(strsignal(int(start)) or start).lower()}{blank}{rest}"


def runtime_step_failed(step: Step, error: PyruncError | OSError, prefix: str) -> PyruncError:
    """The error of a failed step of the runtime, with the step, and the pointer and hint that `error` lacks."""
    number = error.errno or 0
    if step.kind in _OPTION_STEPS and isinstance(error, OSError):
        return _option_failed(step, number, closed_hint(error))
    if isinstance(error, PyruncError):
        text, hint = error.message, error.hint
    else:
        text, hint = _subject(step), _limit_hint(step, number)
    pointer = (error.pointer if isinstance(error, PyruncError) else "") or step.pointer
    return PyruncError(
        prefix + text,
        step=step.kind,
        pointer=pointer,
        origin=_OPTION_STEPS[step.kind][1] if step.kind in _OPTION_STEPS and not pointer else "",
        errno=number,
        hint=hint or _hint(step, number, text),
        lead=len(prefix) + (error.lead if isinstance(error, PyruncError) else 0),
    )


def _option_failed(step: Step, number: int, hint: str) -> PyruncError:
    """The error of a file that an option names, not the configuration."""
    what, option = _OPTION_STEPS[step.kind]
    path = str(step.arg("path"))
    if number in (errno.ENOENT, errno.ENOTDIR):
        hint = missing_part(path.rpartition("/")[0] or "/")
    return PyruncError(f"{what} {path}", step=step.kind, errno=number, hint=hint, origin=option)


def _subject(step: Step) -> str:
    """The message for a step that raised OSError: its kind and path."""
    if step.kind == "cgroup_limit":
        return f'writing "{step.arg("value")}" to {step.arg("file")}'
    if step.kind == "prlimit":
        return "setrlimit " + _limit_name(step)
    if step.kind == "state_dir":
        return f"making the state directory {step.arg('path')}"
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
    code: int,
    status: int,
    cgroup: str = "",
    prefix: str = INIT_FAILED,
    profile: Seccomp | None = None,
    pid: int = 0,
    start_time: int = 0,
) -> PyruncError:
    """The error of an init that ended without a message.

    code, status: of waitid(2). cgroup: the container's, or "". prefix: what the message begins with. profile:
    linux.seccomp. pid, start_time: the init's, to find the kernel's record.
    """
    if code >= _SIGNALLED:
        if was_oom_killed(cgroup, pid if status == _SIGKILL else 0, start_time):
            return _oom_killed(cgroup)
        message = f"{prefix}the init was killed by signal {status}"
        if status in _FILTER_SIGNALS:
            call = killed_for(pid, start_time) if pid and status == SIGSYS else ""
            if call:
                return by_filter(f"{message}: ", call, profile)
            rule = refusal(profile, "execve") if profile else None
            if rule is not None:
                return PyruncError(message, pointer=rule.pointer, hint=filter_refuses(rule, "execve"), lead=len(prefix))
            return PyruncError(message, pointer="/linux/seccomp", hint=_EXECVE, lead=len(prefix))
        return PyruncError(message, lead=len(prefix))
    message = f"{prefix}the init exited with status {status}"
    # The init tells its errors by sendmsg, and with a listener also that it is ready, before it executes a program.
    calls = ("sendmsg", "execve") if profile and profile.get("listenerPath") else ("execve", "sendmsg")
    for call in calls if profile else ():
        assert profile is not None
        rule = refusal(profile, call)
        if rule is not None:
            return PyruncError(message, pointer=rule.pointer, hint=filter_refuses(rule, call), lead=len(prefix))
    return PyruncError(message, lead=len(prefix))


def ended_beside(end: PyruncError, failure: PyruncError) -> PyruncError:
    """The error of an init that has ended before or while a step of the runtime failed. end: what has ended it.
    failure: the step's."""
    message = f"{end.reason()}; step {failure.step} failed too: {failure.reason(failure.lead)}"
    error = reworded(end, message, end.lead)
    error.errno = 0  # the message has its text
    return error


def init_vanished(
    cgroup: str, filtered: bool, pid: int, start_time: int, profile: Seccomp | None = None
) -> PyruncError:
    """The error of an init that ended after `start` and before it executed its program. Only its parent knows how.

    cgroup: the container's, or "". filtered: whether there is a seccomp profile. pid, start_time: the init's, to find
    the kernel's record. profile: linux.seccomp, None if it is not known.
    """
    if was_oom_killed(cgroup, pid, start_time):
        return _oom_killed(cgroup)
    message = INIT_FAILED + "the init was killed before it executed the program"
    if filtered:
        call = killed_for(pid, start_time) if pid else ""
        if call:
            return by_filter(f"{message}: ", call, profile)
        return PyruncError(message, pointer="/linux/seccomp", hint=_EXECVE, lead=len(INIT_FAILED))
    return PyruncError(message, lead=len(INIT_FAILED))


def _oom_killed(cgroup: str) -> PyruncError:
    hint = "see memory.events of " + cgroup
    return PyruncError(START_FAILED + _OOM, pointer="/linux/resources/memory", hint=hint, lead=len(START_FAILED))
