"""The command that holds the lock of a state directory: find it and end it.

A `create`, `run` or `start` holds the lock while its hooks run, and a hook may hang. /proc/locks has the process that
holds a lock (proc_locks(5)). Its descendants are hooks with the processes that they started, and the container's init.
"""

from __future__ import annotations

import _signal
import posix
import time

from .kernel.fileio import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .statedir import StateDir

# The seconds from the first try to the kill of its processes, to SIGTERM, and to giving up.
_GRACE_SECONDS = 0.3
_TERMINATE_SECONDS = 2.0
_PATIENCE_SECONDS = 10.0
_WAIT = 0.02

_COMMANDS = ("create", "run", "start", "delete", "checkpoint", "restore")


class Process:
    """A process of /proc: pid, parent, start_time in clock ticks since boot."""

    __slots__ = ("parent", "pid", "start_time")

    def __init__(self, pid: int, parent: int, start_time: int) -> None:
        self.pid = pid
        self.parent = parent
        self.start_time = start_time


def find(place: StateDir) -> int:
    """The pid of the process that holds the lock; 0 if nobody does, or no process of this pid namespace.

    Any user can lock a file with the same inode number on another file system. Where a file system has another device
    number in /proc/locks than for stat(2), such as btrfs, the inode number alone decides.
    """
    try:
        lines = read_file("/proc/locks").split("\n")
    except OSError:
        return 0
    device = f"{posix.major(place.device):02x}:{posix.minor(place.device):02x}"
    found = 0
    for line in lines:
        # 1: FLOCK  ADVISORY  WRITE 4711 00:2f:12345 0 EOF; a waiting one has -> after the number
        words = line.split()
        if len(words) > 6 and words[1] == "FLOCK":
            at, _, inode = words[5].rpartition(":")
            pid = int(words[4])
            if inode == str(place.inode) and pid > 0:
                if at == device:
                    return pid
                found = found or pid
    return found


def command(pid: int) -> list[str]:
    """The arguments of a process; none if it is gone."""
    try:
        return [word for word in read_file(f"/proc/{pid}/cmdline").split("\0") if word]
    except OSError:
        return []


def describe(place: StateDir) -> str:
    """A clause that names the command that holds the lock."""
    pid = find(place)
    if not pid:
        return "another command is at work on it"
    words = " ".join(command(pid))
    return f"process {pid} is at work on it" + (f": {words[:200]}" if words else "")


def end(place: StateDir) -> None:
    """End the command that holds the lock, so that it undoes its effects. Returns also if it can't be ended.

    The processes that it has started are killed: its wait ends, and it undoes its effects. If it does not release the
    lock then, it gets SIGTERM. A process that is not known to be a command of this container is not touched.
    """
    begin = time.monotonic()
    told = 0
    while (passed := time.monotonic() - begin) < _PATIENCE_SECONDS and _is_held(place):
        pid = find(place)
        words = command(pid)
        if passed > _GRACE_SECONDS and pid and place.id in words and any([word in words for word in _COMMANDS]):
            _kill_descendants(pid)
            if passed > _TERMINATE_SECONDS and told != pid:
                told = pid
                _send(processes().get(pid), _signal.SIGTERM)
        elif passed > _GRACE_SECONDS and pid:
            return
        time.sleep(_WAIT)


def _is_held(place: StateDir) -> bool:
    try:
        place.lock(0)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    place.unlock()
    return False


def processes() -> dict[int, Process]:
    """All processes in /proc, by pid. Those that end meanwhile are left out."""
    found = {}
    for name in posix.listdir("/proc"):
        if name.isdigit():
            try:
                fields = read_file(f"/proc/{name}/stat").rpartition(")")[2].split()
                found[int(name)] = Process(int(name), int(fields[1]), int(fields[19]))
            except (OSError, IndexError):
                continue
    return found


def kill_tree(pid: int) -> None:
    """SIGKILL a command and what it has started, such as a hook that hangs. It is stopped first, so that it starts
    nothing more. A process that is gone is no error."""
    found = processes().get(pid)
    _send(found, _signal.SIGSTOP)
    _kill_descendants(pid)
    _send(found, _signal.SIGKILL)


def _kill_descendants(pid: int) -> None:
    """SIGKILL the descendants of a process.

    All are stopped first, until a further look finds no others. Otherwise a child that is forked after the look gets
    another parent when its own is killed, and is not found any more. A stopped process does not fork.
    """
    stopped: dict[tuple[int, int], Process] = {}
    while True:
        found = [process for process in _descendants(pid) if (process.pid, process.start_time) not in stopped]
        if not found:
            break
        for process in found:
            stopped[process.pid, process.start_time] = process
            _send(process, _signal.SIGSTOP)
    for process in stopped.values():
        _send(process, _signal.SIGKILL)


def _descendants(pid: int) -> list[Process]:
    """The descendants of a process, parents first."""
    children: dict[int, list[Process]] = {}
    for process in processes().values():
        children.setdefault(process.parent, []).append(process)
    found = list(children.get(pid, ()))
    for process in found:
        found += children.get(process.pid, ())
    return found


def _send(process: Process | None, number: int) -> None:
    """Send a signal to a process, unless its pid belongs to another process by now."""
    if process is None:
        return
    try:
        pidfd = posix.pidfd_open(process.pid)
    except OSError:
        return
    try:
        again = read_file(f"/proc/{process.pid}/stat").rpartition(")")[2].split()
        if int(again[19]) == process.start_time:
            _signal.pidfd_send_signal(pidfd, number)
    except OSError:
        return
    finally:
        posix.close(pidfd)
