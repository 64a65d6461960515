"""Out-of-memory kills in a container: the kernel reports changes of memory.events by EPOLLPRI. Hot.

Source: the kernel's Documentation/admin-guide/cgroup-v2.rst, memory.events.
"""

from __future__ import annotations

import errno
import posix

from .. import log
from ..errors import errno_text
from ..libcontainer.cgroup.oom import Above, kills_at
from .loop import PRI

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .loop import Loop

_FILE = "memory.events"


class Watcher:
    """Counts the kills in one cgroup, and those in the cgroups below it."""

    __slots__ = ("_above", "_callback", "_fd", "_is_gone", "_kills", "_loop")

    def __init__(self, loop: Loop, cgroup: str, callback: Callable[[], None]) -> None:
        """Call `callback()` whenever there was a kill, once for several at a time.

        cgroup: its path. Without the memory controller there is nothing to watch. Raises OSError.
        """
        self._loop = loop
        self._callback = callback
        self._fd = -1
        self._kills = 0
        self._is_gone = False
        try:
            self._fd = posix.open(f"{cgroup}/{_FILE}", posix.O_RDONLY | posix.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            self._kills = kills_at(self._fd)
            self._above = Above(cgroup, self._kills)
            loop.watch(self._fd, PRI, self._on_change)
        except OSError:
            posix.close(self._fd)
            self._fd = -1
            raise

    def _on_change(self, events: int) -> None:
        # The kernel reports ERR along with PRI. A read acknowledges both.
        del events
        self.look()

    def look(self) -> None:
        """Look for kills now: a kill may have ended the container, and the exit is reported after the kill."""
        if self._fd < 0:
            return
        try:
            before, self._kills = self._kills, kills_at(self._fd)
        except OSError as error:
            # ENODEV: the cgroup is gone.
            self.close()
            self._is_gone = error.errno == errno.ENODEV
            if not self._is_gone:
                log.warning(f"reading {_FILE}: {errno_text(error.errno or 0)}; kills are no longer reported")
            return
        if self._kills > before:
            self._callback()

    def ended(self, pid: int, killed_by_others: bool) -> None:
        """Look for kills for the last time: the container's first process has ended.

        pid: its pid. killed_by_others: it was ended by a SIGKILL that the shim has not sent.
        """
        self.look()
        self.close()
        if self._is_gone and killed_by_others and self._above.was_killed(pid, self._kills, unless_known=True):
            self._callback()

    def close(self) -> None:
        """Stop watching. A second call does nothing."""
        if self._fd >= 0:
            self._loop.unwatch(self._fd)
            posix.close(self._fd)
            self._fd = -1
