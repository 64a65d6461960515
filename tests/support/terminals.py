"""Terminals for the tests: a console socket as an engine has it, and a user's own terminal."""

from __future__ import annotations

import array
import fcntl
import os
import select
import socket
import struct
import termios
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.host import SECONDS


class ConsoleSocket:
    """A listening socket like an engine's: it receives one descriptor, the pty's master."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(path))
        self.listener.listen(1)
        self.listener.settimeout(60)
        self.name = b""

    def receive(self) -> int:
        """The master, non-blocking."""
        connection, _ = self.listener.accept()
        with connection:
            connection.settimeout(60)
            self.name, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(4))
        numbers = array.array("i")
        for level, type, data in ancillary:
            if (level, type) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                numbers.frombytes(data)
        assert len(numbers) == 1, "one descriptor is sent"
        os.set_blocking(numbers[0], False)
        return numbers[0]


def read_until(master: int, done: Callable[[bytes], bool], seconds: float = SECONDS) -> bytes:
    """Read the output of a pty until `done` accepts it, or the other side is closed."""
    text = b""
    end = time.monotonic() + seconds
    while not done(text):
        is_last = time.monotonic() >= end
        if select.select([master], [], [], 0.2)[0]:
            try:
                data = os.read(master, 65536)
            except BlockingIOError:
                continue
            except OSError:  # EIO: no slave is open any more
                return text
            if not data:
                return text
            text += data
        assert not is_last or done(text), f"the terminal only said {text!r}"
    return text


def lines(text: bytes) -> list[str]:
    """The lines of a terminal's output."""
    return text.decode().splitlines()


class Session:
    """A session with a terminal of its own, in which a command runs, as a user's shell starts it.

    streams: descriptors that replace the terminal as standard streams, by their number; -1 closes one.
    """

    def __init__(
        self,
        argv: list[str],
        environment: dict[str, str],
        size: tuple[int, int] = (24, 80),
        streams: dict[int, int] | None = None,
    ) -> None:
        self.master, slave = os.openpty()
        self.set_size(*size)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.setsid()
                fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
                given = {number: os.dup(fd) for number, fd in (streams or {}).items() if fd >= 0}
                for number in range(3):
                    os.dup2(given.get(number, slave), number)
                    if (streams or {}).get(number) == -1:
                        os.close(number)
                os.closerange(3, 256)
                os.execvpe(argv[0], argv, environment)
            finally:
                os._exit(99)
        os.set_blocking(self.master, False)

    def set_size(self, height: int, width: int) -> None:
        """Give the terminal a size."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def is_raw(self) -> bool:
        """Whether the terminal passes each key to its reader at once and turns none into a signal."""
        flags: int = termios.tcgetattr(self.slave)[3]
        return not flags & (termios.ICANON | termios.ISIG | termios.ECHO)

    def finish(self) -> int:
        """Wait for the exit code, negative for a signal; afterwards `after` has the terminal's settings."""
        end = time.monotonic() + SECONDS
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                break
            assert time.monotonic() < end, "the command does not end"
            time.sleep(0.01)
        self.after = termios.tcgetattr(self.slave)
        os.close(self.slave)
        os.close(self.master)
        return os.waitstatus_to_exitcode(status)
