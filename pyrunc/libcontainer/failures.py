"""What a failed step of the init is reported as: runc's words, the step's name and pointer, and a cure. Cold."""

from __future__ import annotations

import errno

from ..report import PyruncError
from .launch import INIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .plan import Step

_MOUNTS = ("mount", "bind", "bind_cgroup")
_SIGNALLED = 2  # CLD_KILLED is 2, CLD_DUMPED 3 (waitid(2))
_SIGKILL = 9

# The cure by step kind and errno.
_HINTS = {
    ("execute", errno.ENOENT): "is the program, or the interpreter that it names, in the rootfs?",
    ("execute", errno.EACCES): "is the file executable?",
    ("execute", errno.ENOEXEC): "is it built for this machine, and if a script, does it begin with #!?",
    ("chdir", errno.EACCES): "process.user may not enter process.cwd",
    ("sysctl", errno.ENOENT): "this kernel has no such sysctl in the container's namespaces",
    ("rlimit", errno.EPERM): "the hard limit is above the runtime's own, and it lacks CAP_SYS_RESOURCE",
    ("prlimit", errno.EPERM): "the hard limit is above the runtime's own, and it lacks CAP_SYS_RESOURCE",
    ("oom_score_adj", errno.EACCES): "it is below the runtime's own, and it lacks CAP_SYS_RESOURCE",
    ("write_oom_score_adj", errno.EACCES): "it is below the runtime's own, and it lacks CAP_SYS_RESOURCE",
    ("bind", errno.ENOENT): "does the mount's source exist?",
    ("open_source", errno.ENOENT): "does the mount's source exist?",
    ("mount", errno.ENODEV): "the kernel knows no such file system",
    ("clone", errno.EPERM): "new namespaces without privileges need a user namespace among them",
    ("clone", errno.ENOSPC): "a limit in /proc/sys/user is reached",
    ("clone", errno.EAGAIN): "a limit of processes is reached (pids.max, RLIMIT_NPROC)",
}


def of_init(step: Step | None, error: int, detail: str) -> PyruncError:
    """A step that the init reports as failed; None where none had begun.

    error: its errno, or 0 where the detail tells all. detail: the call and its path, or the reason.
    """
    if step is None:
        return PyruncError(INIT + detail, errno=error)
    if step.kind in _MOUNTS:
        detail = f'error mounting "{step.arg("source")}" to rootfs at "{step.arg("target")}": {detail}'
    elif step.kind == "container_hook":
        detail = f"error running {step.arg('hook')} hook #{step.arg('index')}: {detail}"
    return PyruncError(
        INIT + detail, step=step.kind, pointer=step.pointer, errno=error, hint=_HINTS.get((step.kind, error), "")
    )


def of_runtime(step: Step, error: PyruncError | OSError, prefix: str) -> PyruncError:
    """A step of the runtime that failed; what the error lacks of step, pointer and hint is filled in."""
    number = error.errno or 0
    if isinstance(error, PyruncError):
        text, hint = error.message, error.hint
    else:
        text, hint = _subject(step), ""
    return PyruncError(
        prefix + text,
        step=step.kind,
        pointer=(error.pointer if isinstance(error, PyruncError) else "") or step.pointer,
        errno=number,
        hint=hint or _HINTS.get((step.kind, number), ""),
    )


def _subject(step: Step) -> str:
    """What the step was about: its first path, else its kind."""
    for name in ("path", "file"):
        try:
            return f"{step.kind} {step.arg(name)}"
        except KeyError:
            continue
    return step.kind


def of_death(code: int, status: int) -> PyruncError:
    """An init that ended without a message. code, status: as waitid(2) gives them."""
    if code >= _SIGNALLED:
        hint = "the memory of its cgroup or of the host may have run out" if status == _SIGKILL else ""
        return PyruncError(f"{INIT}the init was killed by signal {status}", hint=hint)
    return PyruncError(f"{INIT}the init exited with status {status}")

