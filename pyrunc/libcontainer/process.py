"""A process, known by its pid and its start time, and whether it has ended.

The end of a process is its pidfd readable (pidfd_open(2)), and nothing else: the state letter in /proc/PID/stat is that
of the first thread. That thread may be a zombie while others run, for good where it has called pthread_exit(3), and
for a moment while another thread executes a program and takes its place (execve(2), "Effect on process attributes").
The start time does not change by that: the thread that takes the place takes the start time too.
"""

from __future__ import annotations

import _signal
import errno
import posix

from ..errors import PyruncError
from .kernel import native
from .kernel.fileio import read_fd, read_record

# The state letters of a thread that has ended: only with these the pidfd has to be asked.
_ENDED_THREAD = ("Z", "X", "x")

# What pidfd_open(2) says of a pid that is no process's: that of a thread is EINVAL, since Linux 6.15 ENOENT.
_NO_PROCESS = (errno.ESRCH, errno.EINVAL, errno.ENOENT)

_SIGKILL = 9


class Stat:
    """What /proc/PID/stat says (proc_pid_stat(5)).

    name: the command name of the first thread. letter: the state of the first thread, which says nothing of the
    process's end. start_time: in clock ticks since boot; with the pid it names a process for ever.
    """

    __slots__ = ("letter", "name", "start_time")

    def __init__(self, name: str, letter: str, start_time: int) -> None:
        self.name = name
        self.letter = letter
        self.start_time = start_time


def stat(pid: int, thread: int = 0) -> Stat | None:
    """The stat of a process, or of one of its threads, a zombie's too; None where there is none. Raises OSError where
    /proc can't be read, PyruncError where it does not show the process to us."""
    path = f"/proc/{pid}/task/{thread}/stat" if thread else f"/proc/{pid}/stat"
    try:
        text = read_record(path)
    except ProcessLookupError:
        return None
    except (FileNotFoundError, PermissionError):
        text = "" if thread else _hidden(pid, path)
        if not text:
            return None
    # The name stands in parentheses and may hold any character, a parenthesis too.
    name, _, rest = text[text.index("(") + 1 :].rpartition(")")
    fields = rest.split(None, 20)
    return Stat(name, fields[0], int(fields[19]))


def _hidden(pid: int, path: str) -> str:
    """Look again for the stat of a process that /proc does not have; "" where there is no such process.

    A /proc with hidepid (proc(5), systemd's ProtectProc=) has no entry for what we may not trace, or one that can't be
    read (hidepid=1; hidepid=4 for what was seen before), and so a process that is there may look as if it had ended.
    Raises PyruncError where one is there, and no other procfs can be had.
    """
    pidfd = open_pidfd(pid)
    if pidfd < 0:
        return ""
    try:
        return _read_hidden(pid, path.removeprefix("/proc/"))
    except (FileNotFoundError, ProcessLookupError):
        return ""
    finally:
        posix.close(pidfd)


def _read_hidden(pid: int, path: str) -> str:
    try:
        procfs = native.procfs()
    except OSError as error:
        raise PyruncError(
            f"/proc hides the process {pid}",
            errno=error.errno or 0,
            hint="it is mounted with hidepid, and another procfs can't be had: CAP_SYS_PTRACE would show it",
        ) from error
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC, dir_fd=procfs)
        try:
            return read_fd(fd)
        finally:
            posix.close(fd)
    finally:
        posix.close(procfs)


def has_ended(pidfd: int) -> bool:
    """Whether all threads of the process have ended, reaped or not. Raises OSError."""
    return bool(native.poll([pidfd], 0))


def find(pid: int, start_time: int) -> Stat | None:
    """The stat of the process with this pid and start time; None where it has ended. Raises OSError.

    Costs one look at /proc while the first thread lives.
    """
    found = stat(pid)
    if found is None or found.start_time != start_time:
        return None
    if found.letter in _ENDED_THREAD:
        pidfd = open_process(pid, start_time)
        if pidfd < 0:
            return None
        posix.close(pidfd)
    return found


def open_pidfd(pid: int) -> int:
    """A pidfd of the process with this pid, whichever it is; -1 where there is none. Raises OSError."""
    try:
        return posix.pidfd_open(pid)
    except OSError as error:
        if error.errno in _NO_PROCESS:
            return -1
        raise


def open_process(pid: int, start_time: int) -> int:
    """A pidfd of the process with this pid and start time; -1 where it has ended. Raises OSError."""
    pidfd = open_pidfd(pid)
    if pidfd < 0:
        return -1
    # The start time is read when the pidfd is open: it is this process's, or the pid was another's all along.
    found = stat(pid)
    if found is None or found.start_time != start_time or (found.letter in _ENDED_THREAD and has_ended(pidfd)):
        posix.close(pidfd)
        return -1
    return pidfd


def send_signal(pid: int, start_time: int, signal: int = _SIGKILL) -> bool:
    """Send a signal to the process with this pid and start time; False where it has ended. Raises OSError.

    It is sent by the pidfd, so that it can't reach a process that got the pid later.
    """
    pidfd = open_process(pid, start_time)
    if pidfd < 0:
        return False
    try:
        _signal.pidfd_send_signal(pidfd, signal)
    except ProcessLookupError:
        return False
    finally:
        posix.close(pidfd)
    return True


def living_thread(pid: int) -> int:
    """The id of a thread of the process that has not ended, 0 where none is found. Raises OSError.

    The first thread may have ended before the others; by one that lives the process's namespaces can be entered.
    """
    try:
        threads = [int(name) for name in posix.listdir(f"/proc/{pid}/task")]
    except (FileNotFoundError, ProcessLookupError):
        return 0
    for thread in sorted(threads):
        found = stat(pid, thread)
        if found is not None and found.letter not in _ENDED_THREAD:
            return thread
    return 0
