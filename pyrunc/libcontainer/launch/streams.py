"""The user's standard streams as the relay uses them: no call waits for the user's side, or raises for its errors. Hot.

O_NONBLOCK belongs to an open file description, which a shell and its other programs share, so it is never set on the
inherited streams. Instead, depending on the file of a descriptor:

- a pipe or a terminal is opened again through /proc/self/fd, with O_NONBLOCK. If that is not permitted (another user
  made the pipe or owns the terminal: su, sudo), the controlling terminal is opened as /dev/tty. For any other file,
  poll(2) is called before each read or write, and a write is no larger than the room;
- a socket gets MSG_DONTWAIT;
- reads and writes of files and other devices never wait.

A master of a pty is never opened again: that would make another pty.
"""

from __future__ import annotations

import errno
import posix

from ..kernel import native

# The room, in bytes, of a pipe that poll(2) reports as writable (pipe(7), PIPE_BUF). A terminal has room for one byte.
_PIPE_ROOM = 4096
_TERMINAL_ROOM = 1

_S_IFMT, _S_IFIFO, _S_IFSOCK = 0o170000, 0o010000, 0o140000
_PTMX = posix.makedev(5, 2)


class Stream:
    """One direction of a standard stream.

    given: the inherited descriptor. fd: the one to use and to watch, which may be another.
    failure: the errno after which it is not used any more; 0 while it is in use, and after an end of file.
    ended: nothing can be read or written any more.
    never_waits: plain reads and writes of `fd` never wait.
    """

    __slots__ = ("_room", "_socket", "ended", "failure", "fd", "given")

    def __init__(self, given: int, output: bool) -> None:
        """Find out how to use a descriptor. Raises nothing: one that can't be used counts as ended."""
        self.given = self.fd = given
        self.ended = False
        self.failure = 0
        self._room = 0
        self._socket = False
        try:
            self._open(output)
        except OSError as error:
            self._disable(error)

    def _open(self, output: bool) -> None:
        status = posix.fstat(self.given)
        kind = status.st_mode & _S_IFMT
        terminal = posix.isatty(self.given)
        self._socket = kind == _S_IFSOCK
        if not terminal and kind != _S_IFIFO:
            return
        flags = (posix.O_WRONLY if output else posix.O_RDONLY) | posix.O_NONBLOCK | posix.O_CLOEXEC | posix.O_NOCTTY
        if status.st_rdev != _PTMX:
            try:
                self.fd = posix.open(f"/proc/self/fd/{self.given}", flags)
                return
            except OSError as error:
                # ENXIO of a pipe: nobody reads it. EIO of a terminal: it has hung up.
                if error.errno in (errno.ENXIO, errno.EIO):
                    raise
            if terminal and is_controlling(self.given):
                try:
                    self.fd = posix.open("/dev/tty", flags)
                    return
                except OSError:
                    pass  # it is asked before each read and write
        self._room = _TERMINAL_ROOM if terminal else _PIPE_ROOM

    @property
    def never_waits(self) -> bool:
        return not (self._room or self._socket or self.ended)

    def read(self, size: int) -> bytes:
        """Read what is available now, at most `size` bytes. b"" if there is nothing; for good if `ended` is set."""
        try:
            if self._socket:
                data = native.recv_now(self.fd, size)
            elif self._room and not native.poll([self.fd], 0):
                return b""
            else:
                data = posix.read(self.fd, size)
        except (BlockingIOError, InterruptedError):
            return b""
        except OSError as error:
            self._disable(error)
            return b""
        if not data:
            self.ended = True
        return data

    def write(self, data: bytes) -> bytes:
        """Write as much as there is room for now. Returns the rest, which is b"" once the stream has ended: it is
        dropped."""
        while data and not self.ended:
            part = data[: self._room] if self._room else data
            try:
                if self._socket:
                    count = native.send_now(self.fd, part)
                elif self._room and not native.poll_both((), [self.fd], 0)[1]:
                    return data
                else:
                    count = posix.write(self.fd, part)
            except (BlockingIOError, InterruptedError):
                return data
            except OSError as error:
                self._disable(error)
                break
            data = data[count:]
        return b""

    def fail(self, number: int) -> None:
        """Record that a write of `fd` by other code has failed with this errno."""
        self._disable(OSError(number, ""))

    def close(self) -> None:
        """Close the descriptor, unless it is the inherited one."""
        if self.fd != self.given:
            posix.close(self.fd)
            self.fd = self.given
        self.ended = True

    def _disable(self, error: OSError) -> None:
        self.ended = True
        self.failure = error.errno or errno.EIO


def is_controlling(fd: int) -> bool:
    """Whether a descriptor is of this process's controlling terminal (tcgetpgrp(3): ENOTTY otherwise)."""
    try:
        posix.tcgetpgrp(fd)
    except OSError:
        return False
    return True


def in_background(fd: int) -> bool:
    """Whether a descriptor is of this process's controlling terminal and another process group is in its foreground:
    reads from it get SIGTTIN then, and changes of its settings SIGTTOU (termios(3), credentials(7))."""
    try:
        return posix.tcgetpgrp(fd) != posix.getpgrp()
    except OSError:
        return False
