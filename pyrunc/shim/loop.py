"""The shim's loop: descriptors, timers and the ends of processes, each with its callback. epoll(7), signalfd(2).

The shim is a subreaper: processes whose parents have ended become its children. The loop reaps every child. Hot.
"""

from __future__ import annotations

import _signal
import posix
import time
from select import epoll

from .. import launcher, log
from ..libcontainer.kernel import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# epoll_ctl(2)
IN = 0x001
PRI = 0x002
OUT = 0x004

# The exit code of a process that was no child of the shim, so its real one is unknown.
UNKNOWN_EXIT = 255

_MAX_EVENTS = 64
# After so many seconds without an event the loop gives memory back, once.
_REST_SECONDS = 2.0
_SIGCHLD = 17
_SIGNALFD_SIZE = 128


class Timer:
    """A callback that is due at a time, in seconds of CLOCK_MONOTONIC."""

    __slots__ = ("callback", "due")

    def __init__(self, due: float, callback: Callable[[], None]) -> None:
        self.due = due
        self.callback = callback


class _Watch:
    """A watched descriptor."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[int], None]) -> None:
        self.callback = callback


class Loop:
    """One thread's loop. An exception of a callback is logged with its causes, and the loop goes on.

    From its construction on, SIGCHLD is blocked in this process, and the loop reaps every child of it.
    """

    def __init__(self) -> None:
        self._epoll = epoll()
        self._watches: dict[int, _Watch] = {}
        self._timers: list[Timer] = []  # sorted, the next one last
        self._processes: dict[int, Callable[[int], None]] = {}
        self._launches = 0
        self._ended: dict[int, int] = {}
        self._running = False
        self._rested = False
        _signal.pthread_sigmask(_signal.SIG_BLOCK, (_SIGCHLD,))
        self._signals = native.signalfd(native.signal_bits((_SIGCHLD,)))
        self.watch(self._signals, IN, self._on_child)

    def watch(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        """Call `callback(events)` whenever a descriptor has one of the events (IN, OUT, PRI …), an error or a hang-up.

        Raises OSError: EPERM for a regular file, EEXIST for a descriptor that is watched.
        """
        self._epoll.register(fd, events)
        self._watches[fd] = _Watch(callback)

    def change(self, fd: int, events: int) -> None:
        """Watch a descriptor for other events. With 0 only errors and hang-ups remain. Raises OSError."""
        self._epoll.modify(fd, events)

    def unwatch(self, fd: int) -> None:
        """Stop watching a descriptor. Call it before the descriptor is closed. Raises KeyError and OSError."""
        del self._watches[fd]
        self._epoll.unregister(fd)

    def after(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call `callback()` once after a time. Returns the timer for `cancel`."""
        timer = Timer(time.monotonic() + seconds, callback)
        at = len(self._timers)
        while at and self._timers[at - 1].due <= timer.due:
            at -= 1
        self._timers.insert(at, timer)
        return timer

    def cancel(self, timer: Timer) -> None:
        """Drop a timer. One that has been called or dropped is no error."""
        if timer in self._timers:
            self._timers.remove(timer)

    def process(self, pid: int, callback: Callable[[int], None]) -> None:
        """Call `callback(exit_code)` once when a process has ended: its code, or 128 + n after signal n.

        The callback never comes before this call has returned. For a process that is no child of this one the exit code
        is UNKNOWN_EXIT. Raises OSError, ProcessLookupError if there is no such process.
        """
        if pid in self._ended:
            code = self._ended.pop(pid)
            self.after(0, lambda: callback(code))
            return
        try:
            posix.waitid(posix.P_PID, pid, posix.WEXITED | posix.WNOHANG | posix.WNOWAIT)
        except ChildProcessError:
            self._watch_stranger(pid, callback)
            return
        self._processes[pid] = callback

    def forget(self, pid: int) -> None:
        """Drop the callback of a process, which is still reaped."""
        self._processes.pop(pid, None)

    def begin_launch(self) -> None:
        """From now on, until `end_launch`, remember the exit codes of children without a callback.

        The process of a running command may end before the shim knows its pid.
        """
        self._launches += 1

    def end_launch(self) -> None:
        """End a `begin_launch`: `process` has been called for the remembered exit code that is needed."""
        self._launches -= 1
        if not self._launches:
            self._ended.clear()

    def run(self) -> None:
        """Run until `stop`."""
        self._running = True
        while self._running:
            self._turn()

    def stop(self) -> None:
        """Make `run` return after the callbacks that are due now."""
        self._running = False

    def _turn(self) -> None:
        wait = max(0.0, self._timers[-1].due - time.monotonic()) if self._timers else -1
        rests = not self._rested and not 0 <= wait <= _REST_SECONDS
        # A callback may close a descriptor, and open another one with the same number: these events are of the closed
        # one.
        polled = self._epoll.poll(_REST_SECONDS if rests else wait, _MAX_EVENTS)
        ready = [(fd, self._watches.get(fd), events) for fd, events in polled]
        if rests and not ready:
            self._rested = True
            launcher.rest()
            return
        self._rested = False
        for fd, watched, events in ready:
            if watched is not None and self._watches.get(fd) is watched:
                self._call(watched.callback, events)
        now = time.monotonic()
        due = []
        while self._timers and self._timers[-1].due <= now:
            due.append(self._timers.pop())
        for timer in due:
            self._call(timer.callback)

    def _call(self, callback: Callable[..., None], *args: int) -> None:
        try:
            callback(*args)
        except Exception as error:
            log.error("internal error: " + describe(error))

    def _on_child(self, events: int) -> None:
        del events
        posix.read(self._signals, _SIGNALFD_SIZE)
        while True:
            try:
                pid, status = posix.waitpid(-1, posix.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            code = posix.waitstatus_to_exitcode(status)
            code = 128 - code if code < 0 else code
            callback = self._processes.pop(pid, None)
            if callback is not None:
                self._call(callback, code)
            elif self._launches:
                self._ended[pid] = code

    def _watch_stranger(self, pid: int, callback: Callable[[int], None]) -> None:
        pidfd = posix.pidfd_open(pid)

        def on_end(events: int) -> None:
            del events
            self.unwatch(pidfd)
            posix.close(pidfd)
            callback(UNKNOWN_EXIT)

        self.watch(pidfd, IN, on_end)


def describe(error: BaseException) -> str:
    """An exception in one line: type, text, the place where it was raised, and its causes."""
    parts = []
    cause: BaseException | None = error
    while cause is not None:
        place = cause.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        where = f" ({place.tb_frame.f_code.co_filename}:{place.tb_lineno})" if place is not None else ""
        parts.append(f"{type(cause).__name__}: {cause}{where}")
        cause = cause.__cause__ or cause.__context__
    return ", caused by ".join(parts)
