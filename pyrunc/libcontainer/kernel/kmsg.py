"""The kernel's log, /dev/kmsg: what the kernel did to a process. Hot, but read only after a failure or a kill.

Source: the kernel's Documentation/ABI/testing/dev-kmsg.
"""

from __future__ import annotations

import posix
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_LOG = "/dev/kmsg"
_RECORD_BYTES = 8192
# The records' pids are those of the first pid namespace, whose file in /proc/self/ns has this inode (linux/proc_ns.h).
_FIRST_PID_NAMESPACE = 0xEFFFFFFC
# And the time is that of the first time namespace.
_FIRST_TIME_NAMESPACE = 0xEFFFFFFA
_EPIPE = 32
_MICROSECONDS = 1_000_000
# The records have the time of the kernel's scheduler clock. It stands still while the machine is suspended, as
# CLOCK_MONOTONIC does, but is not adjusted by NTP, which may change the pace of that by 500 millionths (adjtimex(2)).
_DRIFT, _SECONDS = 0.001, 1.0
# The messages with which the kernel begins the record of a kill (mm/oom_kill.c).
_MESSAGES = ("Out of memory", "Memory cgroup out of memory", "Out of memory (oom_kill_allocating_task)")


def open_log() -> int:
    """The kernel's log, with the pids of this pid namespace and its clock; -1 if it has others, or can't be read."""
    try:
        if posix.stat("/proc/self/ns/pid").st_ino != _FIRST_PID_NAMESPACE or not _is_first_time_namespace():
            return -1
        return posix.open(_LOG, posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC)
    except OSError:  # no right to read it, or no /dev/kmsg here
        return -1


def _is_first_time_namespace() -> bool:
    try:
        return posix.stat("/proc/self/ns/time").st_ino == _FIRST_TIME_NAMESPACE
    except FileNotFoundError:
        return True  # a kernel without them


def now() -> float:
    """A time on the log's clock that is surely not later than now, in seconds: what comes from now on is later."""
    return _surely(time.clock_gettime(time.CLOCK_MONOTONIC))


def begun(start_time: int) -> float:
    """A time on the log's clock that is surely not later than the start of a process, in seconds.

    start_time: in clock ticks since boot, suspensions included (CLOCK_BOOTTIME); 0 if it is not known. What the machine
    has been suspended since then makes the result earlier.
    """
    if not start_time:
        return 0.0
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - start_time / posix.sysconf("SC_CLK_TCK")
    return _surely(time.clock_gettime(time.CLOCK_MONOTONIC) - age)


def _surely(seconds: float) -> float:
    return seconds * (1 - _DRIFT) - _SECONDS


def time_of(record: str) -> float:
    """The time of a record on the log's clock, in seconds; -1.0 if it has none."""
    words = record.partition(";")[0].split(",")
    return int(words[2]) / _MICROSECONDS if len(words) > 2 and words[2].isdigit() else -1.0


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


def is_oom_kill(record: str, pid: int, since: float) -> bool:
    """Whether a record says that the OOM killer has killed process `pid` at `since`, a time on the log's clock, or
    later. An older record is about another process that had the pid. No process can write such a record: what is
    written to /dev/kmsg has another facility than the kernel's, 0. Of the kernel's other records some begin with the
    name of a process and have the path of its program, so the whole beginning is compared.
    """
    head, _, text = record.partition(";")
    priority = head.partition(",")[0]
    text = text.partition("\n")[0]
    message, killed, _ = text.partition(f": Killed process {pid} (")
    is_kill = bool(killed) and message in _MESSAGES and priority.isdigit() and int(priority) < 8
    return is_kill and time_of(record) >= since


def oom_killed(pid: int, since: float) -> bool | None:
    """Whether the OOM killer has killed process `pid`, by the kernel's log; None if the log can't tell. since: as for
    `is_oom_kill`."""
    fd = open_log()
    if fd < 0:
        return None
    try:
        return any([is_oom_kill(record, pid, since) for record in records(fd)])
    except OSError:
        return None
    finally:
        posix.close(fd)
