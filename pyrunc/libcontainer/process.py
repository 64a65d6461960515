"""A process, identified by its pid and start time, and whether it has ended.

A process has ended when its pidfd is readable (pidfd_open(2)). The state letter in /proc/PID/stat does not tell: it is
that of the first thread, which may be a zombie while others run. After pthread_exit(3) it stays one; while another
thread executes a program and takes its place, it is one for a moment (execve(2), "Effect on process attributes"). The
new thread keeps the start time.
"""

from __future__ import annotations

import _signal
import errno
import posix

from ..errors import PyruncError
from .kernel import native
from .kernel.fileio import read_fd

# The state letters of a thread that has ended. Only with these the pidfd has to be checked.
_ENDED_THREAD = ("Z", "X", "x")

_PF_EXITING = 0x4  # include/linux/sched.h of the kernel; the field `flags` of /proc/PID/stat has it

# pidfd_open(2): no such process. For a thread's id it is EINVAL, since Linux 6.15 ENOENT.
_NO_PROCESS = (errno.ESRCH, errno.EINVAL, errno.ENOENT)

_SIGKILL = 9


class Stat:
    """/proc/PID/stat (proc_pid_stat(5)).

    name: the command name of the first thread. letter: the state of the first thread; a zombie's does not mean that the
    process has ended. start_time: in clock ticks since boot; with the pid it identifies a process for ever.
    flags: of the first thread (PF_*), as text.
    """

    __slots__ = ("flags", "letter", "name", "start_time")

    def __init__(self, name: str, letter: str, start_time: int, flags: str = "0") -> None:
        self.name = name
        self.letter = letter
        self.start_time = start_time
        self.flags = flags

    @property
    def exiting(self) -> bool:
        """Whether the first thread ends: no process can join its namespaces any more."""
        return bool(int(self.flags) & _PF_EXITING)


def stat(pid: int, thread: int = 0) -> Stat | None:
    """The stat of a process or thread, also of a zombie; None if there is none. Raises OSError if /proc can't be read,
    PyruncError if /proc hides the process."""
    path = f"/proc/{pid}/task/{thread}/stat" if thread else f"/proc/{pid}/stat"
    try:
        text = native.read_record(path)
    except ProcessLookupError:
        return None
    except (FileNotFoundError, PermissionError):
        text = "" if thread else _hidden(pid, path)
        if not text:
            return None
    # The name is in parentheses and may have any character, also parentheses.
    name, _, rest = text[text.index("(") + 1 :].rpartition(")")
    fields = rest.split(None, 20)
    return Stat(name, fields[0], int(fields[19]), fields[6])


def _hidden(pid: int, path: str) -> str:
    """Look again for the stat of a process that /proc does not have; "" if there is no such process.

    A /proc with hidepid (proc(5), systemd's ProtectProc=) has no entry for processes that the caller may not trace, or
    an unreadable one (hidepid=1; hidepid=4 for those seen before). So a living process may look as if it had ended.
    Raises PyruncError if there is one, and no other procfs can be mounted.
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


def exists(pid: int) -> bool:
    """Whether there is a process with this pid, of any user. One that has ended is there until it is reaped. Raises
    OSError."""
    try:
        posix.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it belongs to another user
    return pid > 0  # others are groups of processes


def find(pid: int, start_time: int) -> Stat | None:
    """The stat of the process with this pid and start time; None if it has ended. Raises OSError.

    It reads one file of /proc while the first thread lives.
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


def is_ending(pid: int, start_time: int) -> bool:
    """Whether the process with this pid and start time has ended or is about to. It may take a while: the first process
    of a pid namespace waits until all others are reaped. Raises OSError."""
    found = find(pid, start_time)
    return found is None or (found.exiting and found.letter not in _ENDED_THREAD)


def open_pidfd(pid: int) -> int:
    """A pidfd of any process with this pid; -1 if there is none. Raises OSError."""
    try:
        return posix.pidfd_open(pid)
    except OSError as error:
        if error.errno in _NO_PROCESS:
            return -1
        raise


def open_process(pid: int, start_time: int) -> int:
    """A pidfd of the process with this pid and start time; -1 if it has ended. Raises OSError."""
    pidfd = open_pidfd(pid)
    if pidfd < 0:
        return -1
    # Read the start time after the pidfd is open: if it matches, the pidfd is that of the same process.
    try:
        found = stat(pid)
        if found and found.start_time == start_time and not (found.letter in _ENDED_THREAD and has_ended(pidfd)):
            return pidfd
    except BaseException:
        posix.close(pidfd)
        raise
    posix.close(pidfd)
    return -1


def send_signal(pid: int, start_time: int, signal: int = _SIGKILL) -> bool:
    """Send a signal to the process with this pid and start time; False if it has ended. Raises OSError.

    It is sent by the pidfd, so it can't reach a process that got the pid later.
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
    """The id of a living thread of the process, 0 if there is none. Raises OSError.

    The first thread may end before the others. A living one is needed to enter the namespaces of the process.
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
