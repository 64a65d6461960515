"""The kernel's log, /dev/kmsg: what the kernel did to a process. Hot, but read only after a failure or a kill.

Source: the kernel's Documentation/ABI/testing/dev-kmsg.
"""

from __future__ import annotations

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_LOG = "/dev/kmsg"
_RECORD_BYTES = 8192
# The records' pids are those of the first pid namespace, whose file in /proc/self/ns has this inode (linux/proc_ns.h).
_FIRST_PID_NAMESPACE = 0xEFFFFFFC
_EPIPE = 32
# The messages with which the kernel begins the record of a kill (mm/oom_kill.c).
_MESSAGES = ("Out of memory", "Memory cgroup out of memory", "Out of memory (oom_kill_allocating_task)")


def open_log() -> int:
    """The kernel's log, with the pids of this pid namespace; -1 if it has other pids, or can't be read."""
    try:
        if posix.stat("/proc/self/ns/pid").st_ino != _FIRST_PID_NAMESPACE:
            return -1
        return posix.open(_LOG, posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC)
    except OSError:  # no right to read it, or no /dev/kmsg here
        return -1


def records(fd: int) -> Iterator[str]:
    """The records that are there, from the oldest on. fd: of `open_log`. Raises OSError."""
    while True:
        try:
            yield posix.read(fd, _RECORD_BYTES).decode("utf-8", "replace")
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != _EPIPE:  # older records have been overwritten
                raise


def is_oom_kill(record: str, pid: int) -> bool:
    """Whether a record says that the OOM killer has killed process `pid`. No process can write such a record: what is
    written to /dev/kmsg has another facility than the kernel's, 0. Of the kernel's other records some begin with the
    name of a process and have the path of its program, so the whole beginning is compared.
    """
    head, _, text = record.partition(";")
    priority = head.partition(",")[0]
    text = text.partition("\n")[0]
    message, killed, _ = text.partition(f": Killed process {pid} (")
    return bool(killed) and message in _MESSAGES and priority.isdigit() and int(priority) < 8


def oom_killed(pid: int) -> bool | None:
    """Whether the OOM killer has killed process `pid`, by the kernel's log; None if the log can't tell."""
    fd = open_log()
    if fd < 0:
        return None
    try:
        return any([is_oom_kill(record, pid) for record in records(fd)])
    except OSError:
        return None
    finally:
        posix.close(fd)
