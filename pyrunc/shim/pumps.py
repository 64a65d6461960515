"""Moves bytes between a container's streams and containerd's, without waiting. Hot.

An `Output` moves from a pipe or a pty's master to a FIFO, a pipe or a file; large amounts by splice(2), small ones by
read and write, because a few spliced bytes take a whole slot of the FIFO too. An `Input` moves the other way.
"""

from __future__ import annotations

import errno
import fcntl
import posix
import sys
from select import poll

from .. import log
from ..errors import errno_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .loop import Loop, Timer

# epoll_ctl(2)
_IN, _OUT, _ET = 0x001, 0x004, 0x80000000
_FIONREAD = 0x541B

# The bytes of one read. A read that returns so many is followed by splices.
_CHUNK = 16384
_SPLICE = 1 << 20
# How much one output moves before the others have their turn.
_TURN = 1 << 20
_INPUT_TURNS = 8
# A pty does not always report that it has room, so a write is tried again after this many seconds.
_PTY_SECONDS = 0.05
# The seconds until the first check for a late reader of a FIFO, and the longest time between two checks.
_FIRST_LOOK, _LAST_LOOK = 0.01, 1.0


class Target:
    """The target of output.

    fd: a non-blocking descriptor, or one of a file, whose writes wait for no reader.
    name: for the log. never_waits: it can't be watched for room. is_fifo: it is open at both ends.
    """

    __slots__ = ("_failed", "_unread_fd", "fd", "is_fifo", "name", "never_waits")

    def __init__(self, fd: int, name: str, never_waits: bool = False, is_fifo: bool = False) -> None:
        self.fd = fd
        self.name = name
        self.never_waits = never_waits
        self.is_fifo = is_fifo
        self._failed = False
        self._unread_fd = -1  # a FIFO's read end, to count what it holds once its write end is closed

    def write(self, data: bytes) -> bytes:
        """Write as much as there is room for. Returns the rest.

        If a write fails (full disk, ended logger), the bytes are dropped, so that the container goes on. The first
        failure is logged, and the first one after each success.
        """
        while data:
            try:
                count = posix.write(self.fd, data)
            except BlockingIOError:
                return data
            except OSError as error:
                if not self._failed:
                    log.warning(f"writing to {self.name}: {errno_text(error.errno or 0)}; this output is dropped")
                self._failed = True
                return b""
            self._failed = False
            data = data[count:]
        return b""

    def finish(self) -> None:
        """End the output: readers get an end of file.

        The content of a FIFO is lost when nobody has it open. So a FIFO without a reader (containerd is restarted, or
        its client has not opened it yet) stays open until `look` finds a reader, or until `close`. Raises OSError.
        """
        if self.fd < 0 or not self.is_fifo:
            self.close()
            return
        writer = posix.open(f"/proc/self/fd/{self.fd}", posix.O_WRONLY | posix.O_NONBLOCK | posix.O_CLOEXEC)
        posix.close(self.fd)
        self.fd = writer
        self.look()

    def look(self) -> bool:
        """After `finish`: close a FIFO if it has a reader, which then gets the end of file. Returns whether it is
        closed."""
        if self.fd >= 0:
            poller = poll()
            poller.register(self.fd, 0)
            if not poller.poll(0):  # poll(2): the write end of a FIFO without a reader has POLLERR
                if _unread(self.fd):
                    self._unread_fd = posix.open(
                        f"/proc/self/fd/{self.fd}", posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC
                    )
                posix.close(self.fd)
                self.fd = -1
        return self.fd < 0

    def is_taken(self) -> bool:
        """Whether a FIFO's readers have read all that was written to it. True for other targets. Raises OSError."""
        fd = max(self.fd, self._unread_fd)
        return not self.is_fifo or fd < 0 or not _unread(fd)

    def forget_unread(self) -> None:
        """Close the descriptor for `is_taken`, which is not called any more. A second call does nothing."""
        if self._unread_fd >= 0:
            posix.close(self._unread_fd)
            self._unread_fd = -1

    def close(self) -> None:
        """Close the descriptors. A second call does nothing."""
        self.forget_unread()
        if self.fd >= 0:
            posix.close(self.fd)
            self.fd = -1


def _unread(fd: int) -> int:
    """How many bytes a pipe or a pty's master holds. Raises OSError. ioctl_tty(2)"""
    return int.from_bytes(fcntl.ioctl(fd, _FIONREAD, bytes(4)), sys.byteorder)


class Output:
    """One direction of one stream: from the container's end to a target.

    settled: all data that was there at the last `settle` has been moved. ended: the source has ended and is closed.
    """

    __slots__ = (
        "_look_timer", "_loop", "_on_settled", "_rest", "_source", "_splices", "_splicing", "_terminal", "_waiting",
        "_watched", "ended", "name", "settled", "target",
    )  # fmt: skip

    def __init__(self, loop: Loop, source: int, target: Target, name: str, terminal: bool) -> None:
        """source: a pipe's read end, or a copy of a pty's master if `terminal`; it does not block. name: for the log.
        The output closes both descriptors."""
        self._loop = loop
        self._source = source
        self.target = target
        self.name = name
        self._terminal = terminal
        self._rest = b""  # bytes that were read and wait for room
        self._look_timer: Timer | None = None
        self._splices = not (terminal or target.never_waits)  # whether the source and the target support splice(2)
        self._splicing = False
        self._waiting = False  # whether it waits for room in the target
        self._watched = False
        self._on_settled: Callable[[], None] | None = None
        self.settled = self.ended = False

    def start(self) -> None:
        """Begin to move bytes. Raises OSError.

        The source is watched for edges: otherwise a pty that no process has open, and a pipe that has ended while its
        target has no room, would be reported all the time.
        """
        self._loop.watch(self._source, _IN | _ET, self._on_source)
        self._watched = True

    def settle(self, callback: Callable[[], None]) -> None:
        """Call `callback()` when all data that is there now has been moved, perhaps within this call, and again at the
        end of the source."""
        if self.ended:
            return
        self._on_settled = callback
        self.settled = False
        if not self._waiting:
            self._move()

    def finish(self) -> None:
        """End the output: bytes that were not moved are lost, and readers get an end of file. Nothing happens the
        second time. Raises OSError."""
        if self._stop():
            self.target.finish()
            self._await_reader(_FIRST_LOOK)

    def _await_reader(self, wait: float) -> None:
        """Check from time to time whether the FIFO has got a reader, which epoll does not report: a late reader waits
        for the end of file, and may request the deletion only after it. wait: the seconds until the next check."""
        self._look_timer = None
        if not self.target.look():
            later = min(wait * 2, _LAST_LOOK)
            self._look_timer = self._loop.after(wait, lambda: self._await_reader(later))

    def close(self) -> None:
        """Close all. Nothing happens the second time."""
        self._stop()
        if self._look_timer is not None:
            self._loop.cancel(self._look_timer)
            self._look_timer = None
        self.target.close()

    def _stop(self) -> bool:
        """Close the source. Returns whether it was open."""
        if self.ended:
            return False
        self.ended = self.settled = True
        self._end_wait()
        if self._watched:
            self._loop.unwatch(self._source)
        posix.close(self._source)
        self._rest = b""
        self._on_settled = None
        return True

    def _on_source(self, events: int) -> None:
        del events
        if not self._waiting:
            self._move()

    def _on_room(self, events: int) -> None:
        del events
        self._end_wait()
        self._move()

    def _end_wait(self) -> None:
        if self._waiting:
            self._waiting = False
            self._loop.unwatch(self.target.fd)

    def _wait_for_room(self) -> None:
        self._waiting = True
        self._loop.watch(self.target.fd, _OUT, self._on_room)

    def _move(self) -> None:
        """Move until there is no more, no room, or the others have their turn."""
        left = _TURN
        while left > 0:
            if self._rest:
                self._rest = self.target.write(self._rest)
                if self._rest:
                    self._wait_for_room()
                    return
            if self._splicing:
                count = self._splice()
                if self._waiting:
                    return
                left -= count
                continue
            data = self._read()
            if data is None:
                self._is_empty()
                return
            if not data:
                self._end()
                return
            self._splicing = self._splices and len(data) == _CHUNK
            left -= len(data)
            self._rest = data
        if self._watched:
            self._loop.change(self._source, _IN | _ET)  # reports it again if it still has data
        else:
            self._loop.after(0, self._go_on)

    def _go_on(self) -> None:
        if not (self.ended or self._waiting):
            self._move()

    def _read(self) -> bytes | None:
        """The next bytes, b"" at the end, None if there are none now.

        A pty has no end: EIO means that no process has the slave open, and one may open it again.
        """
        try:
            data = posix.read(self._source, _CHUNK)
        except BlockingIOError:
            return None
        except OSError as error:
            if self._terminal and error.errno == errno.EIO:
                return None
            raise
        return None if self._terminal and not data else data

    def _splice(self) -> int:
        """Splice once. Returns the number of bytes. It may begin to wait for room, or leave the rest to reads.
        splice(2)."""
        try:
            count = posix.splice(
                self._source, self.target.fd, _SPLICE, flags=posix.SPLICE_F_NONBLOCK | posix.SPLICE_F_MOVE
            )
        except BlockingIOError:
            # EAGAIN may come from the source or from the target.
            if _unread(self._source):
                self._wait_for_room()
            else:
                self._splicing = False
            return 0
        except OSError as error:
            # splice(2) is not supported, or the target has an error that a write will report: reads go on.
            if error.errno == errno.EINVAL:
                self._splices = False
            self._splicing = False
            return 0
        if count < _CHUNK:
            self._splicing = False  # also at the end, which a read finds
        return count

    def _is_empty(self) -> None:
        if self._on_settled is not None and not self.settled:
            self.settled = True
            self._on_settled()

    def _end(self) -> None:
        callback = self._on_settled
        self.finish()
        if callback is not None:
            callback()


class Input:
    """Standard input: from a FIFO to the container's pipe, or to its pty.

    The FIFO is held open at both ends, so input does not end with its writer: containerd may be restarted. After
    `let_end` it ends with the last writer; it also ends when the container has closed its end.

    on_end: called once after an end by `let_end`.
    """

    __slots__ = (
        "_closed", "_ending", "_fifo", "_loop", "_rest", "_started", "_target", "_terminal", "_timer", "_waiting",
        "name", "on_end",
    )  # fmt: skip

    def __init__(self, loop: Loop, fifo: int, name: str, target: int, terminal: bool) -> None:
        """fifo: open for reading and writing. target: a pipe's write end, or a copy of a pty's master if `terminal`.
        Neither blocks. The input closes both."""
        self._loop = loop
        self._fifo = fifo
        self.name = name
        self._target = target
        self._terminal = terminal
        self._rest = b""
        self._started = self._waiting = self._ending = self._closed = False
        self._timer: Timer | None = None
        self.on_end: Callable[[], None] | None = None

    def start(self) -> None:
        """Begin to move bytes. Raises OSError."""
        self._started = True
        self._loop.watch(self._fifo, _IN, self._on_input)

    def let_end(self) -> None:
        """From now on, an end of file of the FIFO ends the input. A second call does nothing. Raises OSError."""
        if self._ending or self._closed:
            return
        self._ending = True
        # Opened while the other descriptor is still open, so that the last writer's end is reported even if the other
        # descriptor was the last writer.
        flags = posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC
        reader = posix.open(f"/proc/self/fd/{self._fifo}", flags)
        watched = self._started and not self._waiting
        if watched:
            self._loop.unwatch(self._fifo)
        posix.close(self._fifo)
        self._fifo = reader
        if watched:
            self._loop.watch(reader, _IN, self._on_input)

    def close(self) -> None:
        """Stop, and close both ends. Bytes that the container has not received are lost. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._loop.cancel(self._timer)
        elif self._waiting:
            self._loop.unwatch(self._target)
        elif self._started:
            self._loop.unwatch(self._fifo)
        posix.close(self._fifo)
        posix.close(self._target)
        self._rest = b""
        self._timer = self.on_end = None

    def _on_input(self, events: int) -> None:
        del events
        for _ in range(_INPUT_TURNS):
            try:
                data = posix.read(self._fifo, _CHUNK)
            except BlockingIOError:
                return
            if not data:
                self._end()
                return
            self._rest = data
            if not self._write():
                return

    def _write(self) -> bool:
        """Write the waiting bytes. Returns whether all were written, so that more may be read."""
        while self._rest:
            try:
                count = posix.write(self._target, self._rest)
            except BlockingIOError:
                self._wait()
                return False
            except OSError as error:
                if not self._terminal:
                    # EPIPE: no process reads it any more, and the FIFO's writers have to learn that.
                    if error.errno != errno.EPIPE:
                        log.warning(f"writing the standard input of {self.name}: {errno_text(error.errno or 0)}")
                    self.close()
                    return False
                count = len(self._rest)  # EIO: no process has the slave open, so the input is lost
            self._rest = self._rest[count:]
        return True

    def _wait(self) -> None:
        """Wait for room. Meanwhile nothing is read from the FIFO."""
        if not self._waiting:
            self._loop.unwatch(self._fifo)
        if self._terminal:
            self._timer = self._loop.after(_PTY_SECONDS, lambda: self._on_room(0))
        elif not self._waiting:
            self._loop.watch(self._target, _OUT, self._on_room)
        self._waiting = True

    def _on_room(self, events: int) -> None:
        del events
        self._timer = None
        if not self._write():
            return
        self._waiting = False
        if not self._terminal:
            self._loop.unwatch(self._target)
        self._loop.watch(self._fifo, _IN, self._on_input)

    def _end(self) -> None:
        callback = self.on_end
        self.close()
        if callback is not None:
            callback()
