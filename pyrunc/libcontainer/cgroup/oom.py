"""Which processes the OOM killer has ended. Hot.

A cgroup counts the kills in it and in the cgroups below it (memory.events). systemd removes the cgroup of a container,
with its count, as soon as the last process has ended. The cgroup above has counted its kills too, but also those in its
other children; the kernel's log tells which process it was.
"""

from __future__ import annotations

import posix

from ..kernel import kmsg
from ..kernel.fileio import read_file

KEY = "oom_kill"
_EVENTS_SIZE = 4096  # a memory.events has less: six lines


def kills_at(fd: int) -> int:
    """How many kills an open memory.events counts now. Raises OSError: ENODEV once the cgroup is removed."""
    return _kills_in(posix.pread(fd, _EVENTS_SIZE, 0).decode())


def _kills_in(text: str) -> int:
    """The kills that the content of a memory.events counts: its oom_kill."""
    words = text.split()
    return int(dict(zip(words[::2], words[1::2], strict=False)).get(KEY, 0))


def oom_kills(cgroup: str) -> int:
    """How many processes of the cgroup at this path, and of those below it, the OOM killer has ended.

    0 if it is unknown: without the memory controller, or if the cgroup is gone.
    """
    try:
        return _kills_in(read_file(cgroup + "/memory.events"))
    except OSError:
        return 0


def was_oom_killed(cgroup: str, pid: int, start_time: int) -> bool:
    """Whether the OOM killer has killed a process of the cgroup at this path.

    pid, start_time: the container's first process, about which the kernel's log is asked if the cgroup is gone. 0 not
        to ask, because the process has not ended by SIGKILL.
    """
    if not cgroup:
        return False
    if oom_kills(cgroup):
        return True
    try:
        posix.stat(cgroup)
    except FileNotFoundError:
        return pid > 0 and kmsg.oom_killed(pid, kmsg.begun(start_time)) is True
    return False


class Above:
    """What the cgroup above a container's has counted, for the time when the container's own is gone."""

    __slots__ = ("_cgroup", "_others", "_since")

    def __init__(self, cgroup: str, kills: int) -> None:
        """cgroup: the container's. kills: how many it has counted itself by now."""
        self._cgroup = cgroup.rpartition("/")[0]
        self._since = kmsg.now()  # earlier kills have been counted
        self._others = oom_kills(self._cgroup) - kills

    def was_killed(self, pid: int, kills: int, unless_known: bool = False) -> bool:
        """Whether the OOM killer has ended the container's first process, by a kill that was not counted.

        pid: its pid. kills: how many kills the container's cgroup had counted when it was last read. unless_known: the
        answer if there was a kill in the cgroup or beside it, and the kernel's log can't be read.
        """
        if oom_kills(self._cgroup) - self._others <= kills:
            return False
        found = kmsg.oom_killed(pid, self._since)
        return unless_known if found is None else found
