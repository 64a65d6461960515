"""The relay: bytes between the user's streams and the master of the container's pty. Hot.

It never waits for the user's side and never raises for it, keeps the master open for as long as the process lives, and
holds at most 64 KiB in each direction: more output stays in the pty, and the container waits. docs/architecture.md, The
relay, has the reasons.
"""

from __future__ import annotations

import _signal
import errno
import posix

from ... import log
from ...errors import errno_text
from ..kernel import native
from .console import STDIN, STDOUT, find_terminal
from .streams import Stream, in_background

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# One read of a pty returns at most 4095 bytes, one of the user's input any number.
_CHUNK = 65536
_FROM_PTY = 4096
# To anything but a terminal less is read at a time, and output is collected for one write: a pipe has room for 64 KiB.
# While more than 128 bytes are left in the pty, a read wakes the kernel's worker, but not the program that writes: so
# the program is woken up once for all the room.
_PART = 3840
_COLLECTED = 16 * _PART
# How many chunks are moved in each direction before signals are read again.
_TURNS_OUT = 64
_TURNS_IN = 8
# A pty holds about 70 KiB. If more is read after the process's end, other processes have written it later.
_LAST = 1 << 18
# How often, in milliseconds, to check whether this process is in the terminal's foreground again, and whether the pty
# has room, which it does not always report.
_LOOK_MS = 200

# No warning for these errors: they only mean that the reader has gone. A full disk is worth a warning.
_SILENT = (errno.EPIPE, errno.EIO, errno.ECONNRESET, errno.ENXIO, errno.ENOTCONN, errno.EBADF)


class Relay:
    """The user's terminal and streams on one side, the master of the container's pty on the other.

    terminal: a descriptor of the user's terminal, whose window size the pty has. master: of the container's pty.
    signals: the descriptor of the signals (`wait`). Both are -1 before `attach`.
    """

    __slots__ = (
        "_background", "_chunk", "_copier", "_edges", "_epoll", "_hung_up", "_input", "_input_ready", "_input_watched",
        "_other", "_output", "_output_watched", "_raw", "_readable", "_room_watched", "_serve_other", "_settings",
        "_to_container", "_to_user", "master", "signals", "terminal",
    )  # fmt: skip

    def __init__(self) -> None:
        """Find the user's terminal, which need not be one of the standard streams. Raises PyruncError."""
        self.terminal = find_terminal()
        self.master = self.signals = self._epoll = self._edges = -1
        self._settings = b""  # what the terminal had before it was in raw mode the first time
        self._other = -1
        self._serve_other: Callable[[], None] | None = None
        self._raw = False
        self._background = False  # another process group has the terminal: it is not read, and keeps its settings
        self._to_container = self._to_user = b""  # data that waits for room
        self._readable = False  # whether the master may have output: it is watched for edges
        self._hung_up = False  # whether the last read found that no process has the slave open
        self._input_ready = False
        self._input_watched = self._output_watched = self._room_watched = False

    def attach(self, master: int, signals: int) -> None:
        """Get ready, before the process starts: the pty gets the terminal's size. Raises OSError.

        signals: a descriptor of the signals, which are blocked, but for SIGTTIN and SIGTTOU.

        The user's terminal adds the carriage returns, so the pty must not, as with runc. A master that is sent to a
        console socket is left as it is: Docker's client relies on the pty's carriage returns.
        """
        self.master = master
        self.signals = signals
        native.tty_no_onlcr(master)
        posix.set_blocking(master, False)
        self._input = Stream(STDIN, output=False)
        self._output = Stream(STDOUT, output=True)
        self._epoll = native.epoll()
        if posix.isatty(STDOUT):
            self._chunk = _FROM_PTY
            self._copier = native.Copier(_FROM_PTY)
        else:
            self._chunk = _PART
            self._edges = native.epoll()
            native.epoll_watch(self._edges, master, native.EPOLLIN | native.EPOLLET)
            self._copier = native.Copier(_COLLECTED, self._edges)
        native.epoll_watch(self._epoll, signals, native.EPOLLIN)
        # By edges (EPOLLET): while no process has the slave open, the master would report a hang-up all the time. For
        # room (EPOLLOUT) only while input waits for it: a pty nearly always has room, so every edge would be reported,
        # also those of output that was read before.
        native.epoll_watch(self._epoll, master, native.EPOLLIN | native.EPOLLET)
        self.resize()

    def also(self, fd: int, serve: Callable[[], None]) -> None:
        """Call `serve`, which neither waits nor raises, whenever `fd` is readable. Raises OSError."""
        self._other, self._serve_other = fd, serve
        native.epoll_watch(self._epoll, fd, native.EPOLLIN)

    def take_terminal(self) -> None:
        """Put the terminal on standard input into raw mode, if this process is in its foreground.

        To be called at the start and after each SIGCONT. If standard input is no terminal, the interrupt key stays a
        signal. Raises nothing.
        """
        self.resize()
        if not posix.isatty(STDIN):
            return
        self._background = in_background(STDIN)
        self._raw = False
        if self._background:
            return
        try:
            settings = native.tty_raw(STDIN)
        except OSError:
            return  # it has hung up, and SIGHUP is on its way
        self._raw = True
        # After a stop these may be the settings of raw mode, if the shell has kept them for its job.
        self._settings = self._settings or settings

    def restore(self) -> None:
        """Restore the settings of the user's terminal. A second call does nothing. Raises nothing."""
        if not self._raw:
            return
        self._raw = False
        # Another process group may be in the foreground: SIGTTOU must not stop this process now.
        before = _signal.pthread_sigmask(_signal.SIG_BLOCK, (_signal.SIGTTOU,))
        try:
            native.tty_restore(STDIN, self._settings)
        except OSError:
            pass  # the terminal is gone
        _signal.pthread_sigmask(_signal.SIG_SETMASK, before)

    def resize(self) -> None:
        """Give the pty the terminal's window size (SIGWINCH). Raises nothing."""
        try:
            native.copy_winsize(self.terminal, self.master)
        except OSError:
            pass  # the terminal is gone

    def wait(self) -> bool:
        """Wait for an event, and move what can be moved. Returns whether there are signals to read. Raises OSError."""
        self._watch()
        told = False
        for fd in native.epoll_wait(self._epoll, self._timeout()):
            if fd == self.signals:
                told = True
            elif fd == self.master:
                self._readable = True
            elif fd == self._input.fd:
                self._input_ready = True
            elif fd == self._other and self._serve_other is not None:
                self._serve_other()
        if told:
            return True  # before anything is moved
        if self._background:
            self.take_terminal()
        self._from_container()
        self._from_user()
        return False

    def _timeout(self) -> int:
        """How long to wait for an event, in milliseconds: 0 while there is something to move."""
        if self._readable and not self._to_user:
            return 0
        if self._input_ready and not self._to_container and self._reads_input():
            return 0
        return _LOOK_MS if self._background or self._to_container else -1

    def _reads_input(self) -> bool:
        return not (self._input.ended or self._background)

    def _watch(self) -> None:
        """Watch the user's streams, and the pty for room, for the events that are needed now. Raises OSError."""
        wanted = not self._to_container and self._reads_input()
        if wanted != self._input_watched:
            self._input_watched = wanted
            if not self._watch_one(self._input.fd, native.EPOLLIN if wanted else 0):
                self._input_ready = True
        wanted = bool(self._to_user)
        if wanted != self._output_watched:
            self._output_watched = wanted
            self._watch_one(self._output.fd, native.EPOLLOUT if wanted else 0)
        # Each write to a terminal is an edge of EPOLLOUT, also one that finds no room. While the slave is open, epoll
        # drops it; after a hang-up it would be reported all the time.
        wanted = bool(self._to_container) and not self._hung_up
        if wanted != self._room_watched:
            self._room_watched = wanted
            native.epoll_watch(self._epoll, self.master, 0)
            room = native.EPOLLOUT if wanted else 0
            native.epoll_watch(self._epoll, self.master, native.EPOLLIN | native.EPOLLET | room)

    def _watch_one(self, fd: int, events: int) -> bool:
        """False if it can't be watched: reads and writes of it never wait (EPERM), or it is an O_PATH descriptor
        (EBADF), for which the first read or write fails."""
        try:
            native.epoll_watch(self._epoll, fd, events)
        except FileNotFoundError:
            pass  # it was not watched
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EBADF):
                raise
            return False
        return True

    def _from_container(self) -> None:
        """Move output until there is no more, or until there is no room for it."""
        if self._readable and not self._to_user and self._output.never_waits:
            self._copy_output()
            return
        for _ in range(_TURNS_OUT):
            if self._to_user:
                self._to_user = self._output.write(self._to_user)
                if self._to_user:
                    return
            if not self._readable:
                return
            # Written before the next read: meanwhile the kernel's worker fills the pty again for that read.
            self._to_user = self._output.write(self._read_master())

    def _copy_output(self) -> None:
        """`_from_container` in one call, for a stream whose writes never wait."""
        rest, read_errno, write_errno = self._copier.copy(self.master, self._output.fd, self._chunk, _TURNS_OUT)
        self._readable = read_errno in (0, errno.EINTR)
        self._hung_up = read_errno not in (0, errno.EINTR, errno.EAGAIN)
        if write_errno in (errno.EAGAIN, errno.EINTR):
            self._to_user = rest
        elif write_errno:
            self._output.fail(write_errno)

    def _read_master(self) -> bytes:
        """The next chunk of output; b"" if there is none now.

        EIO means that no process has the slave open. A process may open /dev/console or /dev/pts/0 later and write; an
        edge reports that.
        """
        try:
            data = posix.read(self.master, _FROM_PTY)
        except BlockingIOError:
            self._readable = False
            return b""
        except OSError:
            self._readable = False
            self._hung_up = True
            return b""
        self._hung_up = False
        return data

    def _from_user(self) -> None:
        """Move input until there is no more, or no room for it. An end of file is not passed on, as with runc."""
        for _ in range(_TURNS_IN):
            if self._to_container and not self._write_master():
                return
            if not self._input_ready or not self._reads_input():
                return
            # If it is watched, epoll reports when there is more.
            self._to_container = self._input.read(_CHUNK)
            if not self._to_container:
                self._input_ready = False
                return

    def _write_master(self) -> bool:
        """Write the waiting input. Returns whether all of it was written."""
        try:
            self._to_container = self._to_container[posix.write(self.master, self._to_container) :]
            self._hung_up = False  # a process may read again; if not, the next event reports that
        except BlockingIOError:
            pass  # it has no room
        except OSError:
            self._to_container = b""  # no process has the slave open: the input is lost
        return not self._to_container

    def drain(self) -> None:
        """After the process's end: read what is left in the pty, and close the master. Raises nothing.

        Other processes may still have the slave open and write: the command does not wait for them, as with runc.
        """
        left = _LAST
        self._readable = True
        rest = []
        while left > 0:
            data = self._read_master()
            if not data:
                break
            left -= len(data)
            rest.append(data)
        self._to_user = self._output.write(self._to_user + b"".join(rest))
        self._to_container = b""
        self._input.ended = True
        self._background = False
        self._watch()
        self.hang_up()

    def hang_up(self) -> None:
        """Close the master: processes that still have the terminal get SIGHUP."""
        if self.master >= 0:
            posix.close(self.master)
            self.master = -1
            self._readable = False

    def flush(self) -> bool:
        """Wait until the user's side has taken what is left, or a signal comes. Returns whether signals have to be read
        first; after False nothing is left. Raises OSError."""
        while self._to_user:
            self._watch()
            if self.signals in native.epoll_wait(self._epoll, -1):
                return True
            self._to_user = self._output.write(self._to_user)
        return False

    def close(self) -> None:
        """Restore the terminal and drop what could not be written. Called at every end of the command. Raises
        nothing."""
        self.restore()
        self.hang_up()
        if self._epoll < 0:
            return
        self._input.close()
        self._output.close()
        posix.close(self._epoll)
        self._epoll = -1
        if self._edges >= 0:
            posix.close(self._edges)
            self._edges = -1
        failure = self._output.failure
        if failure and failure not in _SILENT:
            log.warning(f"the rest of the container's output is lost: write to standard output: {errno_text(failure)}")
