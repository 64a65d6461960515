"""The terminal's runtime side: the pty's master goes to the console socket, or is relayed to the user's terminal."""

from __future__ import annotations

import errno
import posix

from .. import native
from ..report import PyruncError

STDIN, STDOUT, STDERR = 0, 1, 2
_CHUNK = 65536

# What the message says beside the descriptor: receivers take it for the pty's name, and an empty one for the end.
_MASTER_NAME = b"/dev/ptmx"


def connect(path: str) -> int:
    """Connect to the stream socket that is to receive the master. Raises PyruncError."""
    try:
        return native.connect(path, stream=True)
    except OSError as error:
        raise PyruncError(
            f"connecting to the console socket {path}",
            step="console_socket",
            errno=error.errno or 0,
            hint="its owner must listen on it before the container is created",
        ) from error


def hand_over(socket: int, master: int) -> None:
    """Send the master by SCM_RIGHTS, as runc's --console-socket does (runc's docs/terminals.md). Raises OSError."""
    native.send(socket, _MASTER_NAME, [master])


class Relay:
    """The user's terminal, in raw mode, and the container's pty: bytes go both ways until the pty hangs up.

    What goes to the pty waits in a buffer while the pty is full, so that its output never has to wait for its input.
    """

    __slots__ = ("_pending", "_saved", "_stdin_open", "_terminal", "master")

    def __init__(self) -> None:
        """Find the user's terminal, which need not be one of the standard streams. Raises PyruncError."""
        self._terminal = find_terminal()
        self._saved: bytes | None = None
        self._pending = b""
        self._stdin_open = True
        self.master = -1

    def attach(self, master: int) -> None:
        """Begin: the pty gets the terminal's size, the terminal raw mode. Raises OSError.

        The user's terminal adds the carriage returns, so the pty may not; as runc has it. Who receives the master by
        a console socket gets it as it is: Docker's client counts on the pty's carriage returns.
        """
        self.master = master
        native.tty_no_onlcr(master)
        posix.set_blocking(master, False)
        self.resize()
        self._saved = native.tty_raw(self._terminal)

    def resize(self) -> None:
        """Give the pty the terminal's window size (SIGWINCH). Raises OSError."""
        try:
            native.copy_winsize(self._terminal, self.master)
        except OSError as error:
            if error.errno not in (errno.EIO, errno.ENOTTY):  # the terminal is gone, and SIGHUP on its way
                raise

    def wait(self, signals: int) -> bool:
        """Move what there is to move, once; whether the descriptor `signals` can be read. Raises OSError."""
        readers = [signals]
        if self.master >= 0:
            readers.append(self.master)
            if self._stdin_open and not self._pending:
                readers.append(STDIN)
        readable, writable = native.poll_both(readers, [self.master] if self._pending else [])
        if self.master in readable:
            self._from_container()
        if STDIN in readable:
            self._from_user()
        elif writable:
            self._to_container()
        return signals in readable

    def finish(self) -> None:
        """Move what the container's processes wrote before they ended, and restore the terminal. Raises OSError."""
        try:
            while self.master >= 0 and native.poll([self.master], 0):
                self._from_container()
        finally:
            self.restore()

    def restore(self) -> None:
        """Give the user's terminal its settings back; nothing happens the second time. Raises OSError."""
        if self._saved is not None:
            native.tty_restore(self._terminal, self._saved)
            self._saved = None

    def _from_container(self) -> None:
        try:
            data = posix.read(self.master, _CHUNK)
        except OSError as error:
            if error.errno != errno.EIO:  # a pty whose other side nobody has open
                raise
            data = b""
        if not data:
            posix.close(self.master)
            self.master = -1
            self._pending = b""
            return
        rest = memoryview(data)
        while rest:
            rest = rest[posix.write(STDOUT, rest) :]

    def _from_user(self) -> None:
        try:
            self._pending = posix.read(STDIN, _CHUNK)
        except OSError as error:
            if error.errno != errno.EIO:  # the terminal is gone
                raise
        if self._pending:
            self._to_container()
        else:
            self._stdin_open = False

    def _to_container(self) -> None:
        if self.master < 0:
            return
        try:
            self._pending = self._pending[posix.write(self.master, self._pending) :]
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            self._pending = b""


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
