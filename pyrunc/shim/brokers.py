"""The broker of a shim, `pyrunc broker`: a separate process whose parent is the shim, and which ends with the shim. On
demand: brokered.py decides for which containers.
"""

from __future__ import annotations

import posix

from .. import log
from ..errors import PyruncError, prefixed
from . import runtime
from .loop import IN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .loop import Loop, Timer
    from .runtime import Done

# The administrator's file. The path is fixed: the author of a pod must not choose it.
CONFIG = "/etc/pyrunc/broker.json"

_SIGTERM, _SIGKILL = 15, 9
_LINE_BYTES = 64
# How long, in seconds, a broker may take until it listens.
_PATIENCE_SECONDS = 30.0


class Broker:
    """A broker, running or not. path: its socket. users: the ids of its containers.

    identity: that of the file with the policies which the running process has read.
    """

    __slots__ = ("_loop", "_reader", "_timer", "_waiting", "identity", "is_over", "path", "pid", "users")

    def __init__(self, loop: Loop, path: str) -> None:
        self._loop = loop
        self._reader = -1
        self._timer: Timer | None = None
        self._waiting: list[Done] = []
        self.path = path
        self.identity: tuple[int, ...] = ()
        self.users: set[str] = set()
        self.pid = 0
        self.is_over = False

    def ensure(self, done: Done) -> None:
        """Start the broker if it does not run. Calls `done` with None when it listens, or with the failure."""
        if self.pid and self._reader < 0:
            done(None)
            return
        self._waiting.append(done)
        if self.pid:
            return
        try:
            self.identity = identity()
            self._start()
        except (PyruncError, OSError) as error:
            self._tell(prefixed("starting the broker", error))

    def _start(self) -> None:
        """Raises OSError."""
        path, words = runtime.own_program(runtime.RUNTIME)
        words += ["--debug"] if log.debugging() else []
        words += ["broker", "--socket", self.path, "--config", CONFIG, "--parent", str(posix.getpid())]
        reader, writer = posix.pipe2(posix.O_CLOEXEC | posix.O_NONBLOCK)
        try:
            # Its messages go to the shim's log.
            self.pid = runtime.spawn(words, (-1, writer, 2), path=path)
        except OSError:
            posix.close(reader)
            raise
        finally:
            posix.close(writer)
        self._reader = reader
        self._loop.watch(reader, IN, self._on_line)
        self._timer = self._loop.after(_PATIENCE_SECONDS, self._on_patience_over)
        self._loop.process(self.pid, self._on_end)

    def _on_patience_over(self) -> None:
        if self.pid:  # else it is reaped, and the number is free for another process
            posix.kill(self.pid, _SIGKILL)

    def _on_line(self, events: int) -> None:
        """The broker listens, or has ended before it did."""
        del events
        try:
            line = posix.read(self._reader, _LINE_BYTES)
        except BlockingIOError:
            return
        self._stop_waiting()
        if line:
            self._tell(None)
        else:
            self._tell(PyruncError("the broker ended before it listened", hint="the shim's log has its reason"))

    def _stop_waiting(self) -> None:
        reader, self._reader = self._reader, -1
        self._loop.unwatch(reader)
        posix.close(reader)
        timer, self._timer = self._timer, None
        if timer is not None:
            self._loop.cancel(timer)

    def _tell(self, failure: PyruncError | None) -> None:
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            done(failure)

    def _on_end(self, code: int) -> None:
        pid, self.pid = self.pid, 0
        if self._reader >= 0:
            self._on_line(0)
        if self.is_over:
            _unlink(self.path)
            return
        log.error(f"the broker {pid} ended with exit code {code}: the next Create or Exec of its containers starts it")

    def end(self) -> None:
        """End the broker for good."""
        self.is_over = True
        if self.pid:
            posix.kill(self.pid, _SIGTERM)
        else:
            _unlink(self.path)


class Brokers:
    """The brokers of a shim: one for each version of the file with the policies that containers use.

    address: the path of the shim's socket, from which the names of the brokers' sockets are derived.
    """

    __slots__ = ("_address", "_loop", "_made", "_running")

    def __init__(self, loop: Loop, address: str) -> None:
        self._loop = loop
        self._address = address
        self._made = 0
        self._running: list[Broker] = []

    def assign(self, id: str) -> Broker:
        """The broker for a new container. Raises PyruncError if the policies can't be read."""
        now = identity()
        found = self._running[-1] if self._running else None
        if found is None or (found.pid and found.identity != now):
            self._made += 1
            found = Broker(self._loop, f"{self._address}.{posix.getpid()}.{self._made}")
            self._running.append(found)
        found.users.add(id)
        return found

    def release(self, broker: Broker, id: str) -> None:
        """A container is deleted. A broker ends with its last container."""
        broker.users.discard(id)
        if not broker.users and broker in self._running:
            self._running.remove(broker)
            broker.end()

    def end(self) -> None:
        """End all brokers, because the shim ends. The calls of containers that go on then fail with ENOSYS."""
        while self._running:
            self._running.pop().end()


def identity() -> tuple[int, ...]:
    """The identity of the file with the policies; a change of the file changes it. Raises PyruncError."""
    try:
        found = posix.stat(CONFIG)
    except OSError as error:
        raise PyruncError(CONFIG, errno=error.errno or 0, hint="it has the policies: see docs/broker.md") from error
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _unlink(path: str) -> None:
    """Remove the socket of a broker that may have been killed, and its lock."""
    for name in (path, path + ".lock"):
        try:
            posix.unlink(name)
        except FileNotFoundError:
            continue
