"""containerd-shim-pyrunc-v2: the command line, and the server in its loop. Hot."""

from __future__ import annotations

import _signal
import posix
import sys
from _socket import AF_UNIX, SOCK_STREAM, socket

from .. import log, output
from .._generated.build import COMMIT, VERSION
from ..errors import PyruncError
from ..libcontainer.kernel import native
from ..protobuf import MalformedError
from . import bootstrap, runtime
from .events import Publisher
from .loop import IN, Loop, describe
from .sandbox import Sandboxes
from .tasks import Tasks
from .ttrpc import Server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_STDERR = 2
_SIGINT, _SIGTERM = 2, 15
_SIGNALFD_SIZE = 128
# How long, in seconds, the shim waits at its end for clients and events.
_END_SECONDS = 5.0
_LOOK_SECONDS = 0.01


def main(argv: list[str]) -> int:
    """Run one command line of the shim. Returns the exit code. An error is written to standard error."""
    try:
        native.prepare_fds(0)
        return _main(bootstrap.parse(argv[1:]))
    except (PyruncError, MalformedError, OSError) as error:
        _complain(str(error))
    except Exception as error:
        _complain("internal error: " + describe(error))
    return 1


def _complain(text: str) -> None:
    output.write(_STDERR, f"{runtime.SHIM}: {text}\n")


def _main(flags: bootstrap.Flags) -> int:
    if flags.version:
        output.write(1, f"{runtime.SHIM}:\n  Version:  {VERSION}\n  Revision: {COMMIT}\n")
        return 0
    if flags.info:
        return _print(bootstrap.info())
    if not flags.namespace:
        raise PyruncError("shim namespace cannot be empty")
    if flags.action == "start":
        return _print(bootstrap.start(flags))
    if flags.action == "delete":
        return _print(bootstrap.delete(flags))
    if flags.action:
        raise PyruncError(f"unknown action {flags.action}", hint="start and delete are known")
    return serve(flags)


def _print(data: bytes) -> int:
    view = memoryview(data)
    while view:
        view = view[posix.write(1, view) :]
    return 0


class Shim:
    """The server: its loop, its tasks and its end."""

    def __init__(self, flags: bootstrap.Flags, listener: socket) -> None:
        self.loop = Loop()
        self._address = listener.getsockname()
        address = posix.environ.get(b"TTRPC_ADDRESS", b"").decode("utf-8", "surrogateescape")
        self._publisher = Publisher(self.loop, flags.namespace, address, flags.publish_binary, flags.address)
        self.tasks = Tasks(self.loop, flags.namespace, self._publisher.publish, self.end)
        self.tasks.address = self._address
        services = {**self.tasks.services(), **Sandboxes(self.tasks).services()}
        self._server = Server(self.loop, listener, services)
        self._signals = native.signalfd(native.signal_bits((_SIGINT, _SIGTERM)))
        _signal.pthread_sigmask(_signal.SIG_BLOCK, (_SIGINT, _SIGTERM))
        self.loop.watch(self._signals, IN, self._on_signal)
        self._ending = False

    def _on_signal(self, events: int) -> None:
        del events
        posix.read(self._signals, _SIGNALFD_SIZE)
        self.end()

    def end(self) -> None:
        """Remove the socket, and end when the clients have their answers and containerd has its events. Containers go
        on."""
        if not self._ending:
            self._ending = True
            # The next container of the pod starts a server of its own.
            try:
                posix.unlink(self._address)
            except FileNotFoundError:
                pass
            if self.tasks.brokers is not None:
                self.tasks.brokers.end()
            self.loop.after(_END_SECONDS, self.loop.stop)
            self._publisher.close(self._look)

    def _look(self) -> None:
        if self._server.is_idle:
            self.loop.stop()
        else:
            self.loop.after(_LOOK_SECONDS, self._look)

    def run(self) -> None:
        """Serve until the end."""
        self.loop.run()
        self._server.close()


def serve(flags: bootstrap.Flags) -> int:
    """Run the server. `start` has started this process in the bundle, with the listener. Raises OSError and
    PyruncError."""
    try:
        listener = socket(AF_UNIX, SOCK_STREAM, 0, runtime.LISTENER)
    except OSError as error:
        raise PyruncError("descriptor 3 is no socket: `start` starts the server", errno=error.errno or 0) from error
    posix.set_inheritable(runtime.LISTENER, False)
    posix.setpgid(0, 0)
    native.subreaper()
    _open_log()
    log.configure("", "text", "debug" if flags.debug else "info")
    Shim(flags, listener).run()
    return 0


def _open_log() -> None:
    """Make the bundle's FIFO, which containerd reads, standard error. It is held open at both ends, so that containerd
    may be restarted; without a reader, lines are lost when it is full."""
    try:
        fd = posix.open("log", posix.O_RDWR | posix.O_NONBLOCK | posix.O_CLOEXEC)
    except FileNotFoundError:
        return
    posix.dup2(fd, _STDERR)
    posix.close(fd)


def run() -> NoReturn:
    """The entry of the ordinary build."""
    posix._exit(main([sys.argv[0], *sys.argv[1:]]))
