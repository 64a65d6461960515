"""Where the pty's master goes: to the console socket, or to the relay, which wants a terminal of the user's."""

from __future__ import annotations

import errno
import posix

from ...errors import PyruncError
from ..kernel import interrupts, native

STDIN, STDOUT, STDERR = 0, 1, 2
# What the message says beside the descriptor: receivers take it for the pty's name, and an empty one for the end.
_MASTER_NAME = b"/dev/ptmx"


def connect(path: str) -> int:
    """Connect to the stream socket that is to receive the master. Raises PyruncError, also where its queue is full and
    stays so for native.PATIENCE_MS."""
    try:
        return interrupts.during(native.connect, path, stream=True, timeout_ms=native.PATIENCE_MS)
    except OSError as error:
        hint = ""
        if error.errno == errno.EAGAIN:
            hint = f"its queue is full: its owner has accepted no connection for {native.PATIENCE_MS // 1000} s"
        elif error.errno in (errno.ENOENT, errno.ECONNREFUSED):
            hint = "its owner must listen on it before the container is created"
        raise PyruncError(
            f"connecting to the console socket {path}",
            step="console_socket",
            errno=error.errno or 0,
            hint=hint,
        ) from error


def hand_over(socket: int, master: int) -> None:
    """Send the master by SCM_RIGHTS, as runc's --console-socket does (runc's docs/terminals.md). Raises OSError."""
    native.send(socket, _MASTER_NAME, [master])


def find_terminal() -> int:
    """A descriptor of the user's terminal: stderr, stdout or stdin, else /dev/tty. Raises PyruncError."""
    for fd in (STDERR, STDOUT, STDIN):
        if posix.isatty(fd):
            return fd
    try:
        return posix.open("/dev/tty", posix.O_RDWR | posix.O_CLOEXEC | posix.O_NOCTTY)
    except OSError as error:
        raise PyruncError(
            "open /dev/tty",
            pointer="/process/terminal",
            errno=error.errno or 0,
            hint="there is no terminal to relay: detach with --console-socket, or set process.terminal to false",
        ) from error
