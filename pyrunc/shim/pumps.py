"""Moving bytes between a container's streams and containerd's, without ever waiting. Hot.

An `Output` moves from a pipe or a pty's master to a FIFO, a pipe or a file; much at once by splice(2), little by read
and write, since spliced bytes take a whole slot of the FIFO however few they are. An `Input` moves the other way.
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

# What is read at a time. A read that gets so much is followed by splices.
_CHUNK = 16384
_SPLICE = 1 << 20
# What one output moves before the others have their turn.
_TURN = 1 << 20
_INPUT_TURNS = 8
# A pty need not say that it has room, so it is asked again after this many seconds.
_PTY_SECONDS = 0.05
# How long, in seconds, until the first look for a late reader of a FIFO, and between the last ones.
_FIRST_LOOK, _LAST_LOOK = 0.01, 1.0


class Target:
    """Where output goes.

    fd: a descriptor of its own, which does not block, or of a file, which makes nobody wait for a reader.
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
        """Write what there is room for. Returns the rest.

        What it refuses (a disk that is full, a logger that is gone) is dropped, so that the container goes on. The
        first failure is logged, and the next after a success.
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
        """The end of the output: readers get an end of file.

        What a FIFO holds is lost with its last opener. So one that nobody reads, since containerd is away or its client
        is only about to open it, stays open until `look` finds a reader, or until `close`. Raises OSError.
        """
        if self.fd < 0 or not self.is_fifo:
            self.close()
            return
        writer = posix.open(f"/proc/self/fd/{self.fd}", posix.O_WRONLY | posix.O_NONBLOCK | posix.O_CLOEXEC)
        posix.close(self.fd)
        self.fd = writer
        self.look()

    def look(self) -> bool:
        """After `finish`: close a FIFO that has a reader, which gets its end of file. Returns whether it is closed."""
        if self.fd >= 0:
            poller = poll()
            poller.register(self.fd, 0)
            if not poller.poll(0):  # an error is what a FIFO without a reader has. poll(2)
                if _unread(self.fd):
                    self._unread_fd = posix.open(
                        f"/proc/self/fd/{self.fd}", posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC
                    )
                posix.close(self.fd)
                self.fd = -1
        return self.fd < 0

    def is_taken(self) -> bool:
        """Whether a FIFO's readers have read all that was written to it. True for what is no FIFO. Raises OSError."""
        fd = max(self.fd, self._unread_fd)
        return not self.is_fifo or fd < 0 or not _unread(fd)

    def forget_unread(self) -> None:
        """`is_taken` is not asked any more. Nothing happens the second time."""
        if self._unread_fd >= 0:
            posix.close(self._unread_fd)
            self._unread_fd = -1

    def close(self) -> None:
        """Close the descriptors; nothing happens the second time."""
        self.forget_unread()
        if self.fd >= 0:
            posix.close(self.fd)
            self.fd = -1


def _unread(fd: int) -> int:
    """How many bytes a pipe or a pty's master holds. Raises OSError. ioctl_tty(2)"""
    return int.from_bytes(fcntl.ioctl(fd, _FIONREAD, bytes(4)), sys.byteorder)


class Output:
    """One direction of one stream: from the container's end to a target.

    settled: since the last `settle` all that was there has been moved. ended: the source has ended and is closed.
    """

    __slots__ = (
        "_look_timer", "_loop", "_on_settled", "_rest", "_source", "_splices", "_splicing", "_terminal", "_waiting",
        "_watched", "ended", "name", "settled", "target",
    )  # fmt: skip

    def __init__(self, loop: Loop, source: int, target: Target, name: str, terminal: bool) -> None:
        """source: a pipe's read end, or a copy of a pty's master if `terminal`; it does not block. name: for the log.
        Both descriptors are the output's to close."""
        self._loop = loop
        self._source = source
        self.target = target
        self.name = name
        self._terminal = terminal
        self._rest = b""  # what was read and has no room
        self._look_timer: Timer | None = None
        self._splices = not (terminal or target.never_waits)  # whether the two can be spliced at all
        self._splicing = False
        self._waiting = False  # for room in the target
        self._watched = False
        self._on_settled: Callable[[], None] | None = None
        self.settled = self.ended = False

    def start(self) -> None:
        """Move what comes. Raises OSError.

        The source is watched for edges: without them a pty that no process has open would be reported for ever, and a
        pipe that has ended while its target has no room.
        """
        self._loop.watch(self._source, _IN | _ET, self._on_source)
        self._watched = True

    def settle(self, callback: Callable[[], None]) -> None:
        """Have `callback()` called when all that is there now has been moved, if all is within this call, and again at
        the end of the source."""
        if self.ended:
            return
        self._on_settled = callback
        self.settled = False
        if not self._waiting:
            self._move()

    def finish(self) -> None:
        """The end of the output: what was not moved is lost, and readers get an end of file. Nothing happens the second
        time. Raises OSError."""
        if self._stop():
            self.target.finish()
            self._await_reader(_FIRST_LOOK)

    def _await_reader(self, wait: float) -> None:
        """Look from time to time whether the FIFO has got a reader, whose arrival epoll does not report: it waits for
        the end, and may ask for the deletion only then. wait: the seconds up to the next look."""
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
        """Close the source; whether it was open."""
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
        """Move until there is no more, no room, or it is another's turn."""
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
            self._loop.change(self._source, _IN | _ET)  # reports it again if it still has something
        else:
            self._loop.after(0, self._go_on)

    def _go_on(self) -> None:
        if not (self.ended or self._waiting):
            self._move()

    def _read(self) -> bytes | None:
        """The next bytes, b"" at the end, None if there are none now.

        A pty has no end: EIO says that no process has the slave open, and one may open it again.
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
        """Splice once. Returns the count. It may begin to wait for room, or leave the rest to reads. splice(2)."""
        try:
            count = posix.splice(
                self._source, self.target.fd, _SPLICE, flags=posix.SPLICE_F_NONBLOCK | posix.SPLICE_F_MOVE
            )
        except BlockingIOError:
            # Either of the two makes it EAGAIN.
            if _unread(self._source):
                self._wait_for_room()
            else:
                self._splicing = False
            return 0
        except OSError as error:
            # Not spliceable, or a target that a write will name: reads go on.
            if error.errno == errno.EINVAL:
                self._splices = False
            self._splicing = False
            return 0
        if count < _CHUNK:
            self._splicing = False  # also at the end, which a read tells
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

    The FIFO is held at both ends, so input does not end when its writer goes away: containerd may come back. It ends
    after `let_end`, with the last writer, or when the container has closed its end.

    on_end: called once after the end that `let_end` asked for.
    """

    __slots__ = (
        "_closed", "_ending", "_fifo", "_loop", "_rest", "_started", "_target", "_terminal", "_timer", "_waiting",
        "name", "on_end",
    )  # fmt: skip

    def __init__(self, loop: Loop, fifo: int, name: str, target: int, terminal: bool) -> None:
        """fifo: open for both. target: a pipe's write end, or a copy of a pty's master if `terminal`. Neither blocks,
        and both are the input's to close."""
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
        """Move what comes. Raises OSError."""
        self._started = True
        self._loop.watch(self._fifo, _IN, self._on_input)

    def let_end(self) -> None:
        """From now on the end of the FIFO is the end of the input. Nothing happens the second time. Raises OSError."""
        if self._ending or self._closed:
            return
        self._ending = True
        # Opened while the other still is, so that the end of the last writer is told even if it is the other.
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
        """Stop, and close both ends; what the container has not got is lost. Nothing happens the second time."""
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
        """Whether all was written, so that more may be read."""
        while self._rest:
            try:
                count = posix.write(self._target, self._rest)
            except BlockingIOError:
                self._wait()
                return False
            except OSError as error:
                if not self._terminal:
                    # EPIPE: nobody reads it any more, and its writers are to know that.
                    if error.errno != errno.EPIPE:
                        log.warning(f"writing the standard input of {self.name}: {errno_text(error.errno or 0)}")
                    self.close()
                    return False
                count = len(self._rest)  # EIO: nobody has the slave open, and what is typed then is lost
            self._rest = self._rest[count:]
        return True

    def _wait(self) -> None:
        """Wait for room, and leave meanwhile in the FIFO what is there."""
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
