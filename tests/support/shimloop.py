"""The shim's loop for tests in pytest's own process: it reaps only the processes that it was asked for, and what a
callback raises fails the test."""

from __future__ import annotations

import contextlib
import os
import posix
import time
from collections.abc import Callable, Iterator
from select import epoll

from pyrunc.shim.loop import IN, Loop
from tests.support.host import SECONDS, open_descriptors


@contextlib.contextmanager
def no_leaks() -> Iterator[None]:
    """Assert that no descriptor is left open."""
    before = set(open_descriptors())
    yield
    assert set(open_descriptors()) <= before


class ProbeLoop(Loop):
    """A loop that a test turns by hand."""

    def __init__(self) -> None:
        self._epoll = epoll()
        self._watches = {}
        self._timers = []
        self._processes = {}
        self._launches = 0
        self._ended = {}
        self._running = False
        self._rested = False
        self._calls = 0

    def process(self, pid: int, callback: Callable[[int], None]) -> None:
        pidfd = posix.pidfd_open(pid)
        self._processes[pid] = callback

        def on_end(events: int) -> None:
            self.unwatch(pidfd)
            os.close(pidfd)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            wanted = self._processes.pop(pid, None)
            if wanted is not None:
                wanted(128 - code if code < 0 else code)

        self.watch(pidfd, IN, on_end)

    def _call(self, callback: Callable[..., None], *args: int) -> None:
        self._calls += 1
        callback(*args)

    def until(self, condition: Callable[[], object], seconds: float = SECONDS) -> None:
        """Turn the loop until something is so. Fails the test if it takes too long."""
        end = time.monotonic() + seconds
        while True:
            is_last = time.monotonic() >= end
            if condition():
                return
            assert not is_last, "it did not happen in time"
            tick = self.after(0.02, lambda: None)
            self._turn()
            self.cancel(tick)

    def idle(self) -> int:
        """Turn the loop until nothing is ready. Returns the number of events: at rest there is none."""
        count = 0
        while True:
            before = self._calls
            tick = self.after(0, self._no_call)
            self._turn()
            self.cancel(tick)
            count += self._calls - before - 1
            if self._calls == before + 1:
                return count
            assert count < 10_000, "the loop never comes to rest"

    def _no_call(self) -> None:
        """The timer of `idle`, which counts as one call."""

    @property
    def watched(self) -> int:
        """How many descriptors are watched."""
        return len(self._watches)

    def close(self) -> None:
        self._epoll.close()
