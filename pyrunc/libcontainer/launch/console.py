"""The receiver of the pty's master: the console socket, or the relay, which needs a terminal of the user."""

from __future__ import annotations

import posix

from ...errors import PyruncError
from ..kernel import interrupts, native

STDIN, STDOUT, STDERR = 0, 1, 2
# The text of the message that carries the descriptor. Receivers take it for the pty's name, and an empty text for the
# end of the stream.
_MASTER_NAME = b"/dev/ptmx"


def connect(path: str) -> int:
    """Connect to the stream socket that receives the master. Raises PyruncError."""
    return interrupts.connect(
        path,
        f"connecting to the console socket {path}",
        no_listener="its owner must listen on it before the container is created",
        step="console_socket",
    )


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
