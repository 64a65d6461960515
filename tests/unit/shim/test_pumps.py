"""Bytes between pipes, FIFOs, ptys and files, with readers that stall or die."""

from __future__ import annotations

import errno
import fcntl
import os
import posix
import select
import termios
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrunc.shim import pumps
from pyrunc.shim.pumps import Input, Output, Target
from tests.support.host import open_descriptors
from tests.support.shimloop import ProbeLoop


class Ends:
    """An output: `inside` is the container's end, `outside` containerd's reading end of the FIFO."""

    def __init__(self, loop: ProbeLoop, directory: Path, read: bool = True) -> None:
        self.path = str(directory / "fifo")
        os.mkfifo(self.path)
        self.loop = loop
        reader, self.inside = os.pipe()
        os.set_blocking(reader, False)
        fd = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
        self.outside = self.open() if read else -1
        self.output = Output(loop, reader, Target(fd, self.path, is_fifo=True), "stdout", terminal=False)
        self.output.start()

    def open(self) -> int:
        return os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)

    def read(self, count: int) -> bytes:
        """Read `count` bytes, while the loop turns."""
        data = bytearray()

        def more() -> bool:
            try:
                data.extend(os.read(self.outside, count - len(data)))
            except BlockingIOError:
                pass
            return len(data) >= count

        self.loop.until(more)
        return bytes(data)

    def at_end(self) -> bool:
        try:
            return os.read(self.outside, 1) == b""
        except BlockingIOError:
            return False

    def leave(self) -> None:
        if self.outside >= 0:
            os.close(self.outside)
            self.outside = -1

    def end(self) -> None:
        os.close(self.inside)
        self.inside = -1

    def close(self) -> None:
        self.output.close()
        self.output.close()
        self.leave()
        if self.inside >= 0:
            self.end()


@pytest.fixture
def ends(loop: ProbeLoop, tmp_path: Path) -> Iterator[Ends]:
    made = Ends(loop, tmp_path)
    yield made
    made.close()


def fill(fd: int) -> int:
    """Write to a pipe until it has no room. Returns the count."""
    os.set_blocking(fd, False)
    count = 0
    try:
        while True:
            count += os.write(fd, b"x" * 1000)
    except BlockingIOError:
        os.set_blocking(fd, True)
        return count


def test_output_reaches_the_reader_and_its_end_does_too(ends: Ends) -> None:
    os.write(ends.inside, b"hello")
    assert ends.read(5) == b"hello"
    assert not ends.at_end()
    ends.end()
    ends.loop.until(lambda: ends.output.ended)
    assert ends.at_end()
    assert ends.loop.watched == 0


def test_much_output_is_spliced_and_complete(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    spliced = 0
    splice = os.splice

    def counted(*args: int, **flags: int) -> int:
        nonlocal spliced
        count = splice(*args, **flags)
        spliced += count
        return count

    monkeypatch.setattr(posix, "splice", counted)
    sent = os.urandom(3_000_000)
    pid = os.fork()
    if pid == 0:
        at = 0
        while at < len(sent):
            at += os.write(ends.inside, sent[at : at + 60_000])
        os._exit(0)
    ends.end()
    assert ends.read(len(sent)) == sent
    os.waitpid(pid, 0)
    assert spliced > len(sent) // 4
    ends.loop.until(lambda: ends.output.ended)


@pytest.mark.parametrize("error", [errno.EINVAL, errno.ENOSYS])
def test_what_cannot_be_spliced_is_read_and_written(ends: Ends, error: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: int, **flags: int) -> int:
        raise OSError(error, "refused")

    monkeypatch.setattr(posix, "splice", refused)
    sent = os.urandom(60_000)
    os.write(ends.inside, sent)
    assert ends.read(len(sent)) == sent


def test_a_reader_that_stalls_leaves_the_loop_at_rest_and_gets_all_at_last(ends: Ends) -> None:
    """Also where the writer has ended meanwhile: a hang-up that is reported again and again would be a busy loop."""
    count = 0
    while True:
        more = fill(ends.inside)
        ends.loop.idle()
        if not more:
            break
        count += more
    assert count > 100_000
    assert ends.loop.idle() == 0
    ends.end()
    assert ends.loop.idle() <= 1, "the edge of the hang-up"
    assert ends.loop.idle() == 0
    assert not ends.output.ended
    assert len(ends.read(count)) == count
    ends.loop.until(lambda: ends.output.ended)
    assert ends.at_end()


def test_short_writes_lose_nothing(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(posix, "write", lambda fd, data: write(fd, data[:7]))
    sent = os.urandom(5000)
    write(ends.inside, sent)
    assert ends.read(len(sent)) == sent


def test_small_writes_fill_the_fifo_by_bytes_and_not_by_slots(ends: Ends) -> None:
    """A container that logs line by line while containerd is away is to have the FIFO's 64 KiB, not 16 lines."""
    for _ in range(3000):
        os.write(ends.inside, b"a line\n")
        ends.loop.idle()
    pending = int.from_bytes(fcntl.ioctl(ends.inside, termios.FIONREAD, bytes(4)), "little")
    assert pending == 0
    assert ends.read(21_000) == b"a line\n" * 3000


def test_a_reader_that_dies_costs_the_writer_nothing_and_the_next_one_reads_on(ends: Ends) -> None:
    os.write(ends.inside, b"one")
    assert ends.read(3) == b"one"
    ends.leave()
    os.write(ends.inside, b"two")
    ends.loop.idle()
    os.write(ends.inside, b"three")
    ends.loop.idle()
    ends.outside = ends.open()
    assert ends.read(8) == b"twothree"


def test_output_that_ends_while_nobody_reads_waits_for_the_next_reader(ends: Ends) -> None:
    ends.leave()
    os.write(ends.inside, b"last words")
    ends.end()
    ends.loop.until(lambda: ends.output.ended)
    ends.outside = ends.open()
    assert ends.read(10) == b"last words"
    assert not ends.at_end()
    ends.output.close()
    assert ends.at_end()


def test_a_reader_that_comes_after_the_end_gets_the_output_and_the_end(loop: ProbeLoop, tmp_path: Path) -> None:
    """`ctr task exec` deletes a process only when it has read to the end, and may open the FIFO after the exit."""
    ends = Ends(loop, tmp_path, read=False)
    os.write(ends.inside, b"late")
    os.close(ends.inside)
    loop.until(lambda: ends.output.ended)
    assert ends.output.target.fd >= 0
    ends.outside = ends.open()
    loop.until(lambda: ends.output.target.fd < 0)
    assert os.read(ends.outside, 10) == b"late"
    assert os.read(ends.outside, 10) == b""
    os.close(ends.outside)
    ends.output.close()


def test_after_the_end_it_is_known_whether_the_readers_have_taken_all(ends: Ends) -> None:
    """Also while the write end is closed, which the reader waits for."""
    target = ends.output.target
    assert target.is_taken()
    os.write(ends.inside, b"last words")
    ends.loop.idle()
    assert not target.is_taken()
    ends.end()
    ends.loop.until(lambda: ends.output.ended)
    assert not target.is_taken()
    assert os.read(ends.outside, 4) == b"last"
    assert not target.is_taken()
    assert os.read(ends.outside, 10) == b" words"
    assert target.is_taken()
    assert ends.at_end()
    before = len(open_descriptors())
    for _ in range(2):
        target.forget_unread()
    assert len(open_descriptors()) == before - 1
    assert target.is_taken()


def test_what_is_no_fifo_is_taken_at_once(tmp_path: Path) -> None:
    target = Target(os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT), "log", never_waits=True)
    target.write(b"text")
    assert target.is_taken()
    target.close()
    assert target.is_taken()


def test_settled_is_told_once_all_that_is_there_has_been_moved(ends: Ends) -> None:
    told: list[str] = []
    os.write(ends.inside, b"last")
    ends.output.settle(lambda: told.append("settled"))
    assert told == ["settled"]
    assert os.read(ends.outside, 10) == b"last", "before it was told"
    os.write(ends.inside, b"late")
    assert ends.read(4) == b"late"
    ends.end()
    ends.loop.until(lambda: ends.output.ended)
    assert told == ["settled", "settled"], "and at the end"


def test_settled_waits_for_a_reader_that_stalls(ends: Ends) -> None:
    told: list[str] = []
    count = fill(ends.inside)
    ends.loop.idle()
    count += fill(ends.inside)
    ends.output.settle(lambda: told.append("settled"))
    ends.loop.idle()
    assert not told
    assert not ends.output.settled
    ends.read(count)
    ends.loop.until(lambda: told)


def test_no_output_holds_up_another(ends: Ends, loop: ProbeLoop, tmp_path: Path) -> None:
    """One that never ends gets its turn, and no more."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    endless = Output(loop, reader, Target(os.open("/dev/null", os.O_WRONLY), "null", True), "endless", False)
    endless.start()
    pid = os.fork()
    if pid == 0:
        while True:
            os.write(writer, b"x" * 65536)
    try:
        os.write(ends.inside, b"still here")
        assert ends.read(10) == b"still here"
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(writer)
        endless.close()


def test_a_disk_that_is_full_is_logged_once_and_does_not_hold_up_the_container(
    loop: ProbeLoop, capfd: pytest.CaptureFixture[str]
) -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    full = Target(os.open("/dev/full", os.O_WRONLY | os.O_APPEND), "/dev/full", never_waits=True)
    output = Output(loop, reader, full, "stdout", terminal=False)
    output.start()
    for _ in range(5):
        assert fill(writer) > 0
        loop.idle()
    os.close(writer)
    loop.until(lambda: output.ended)
    output.close()
    err = capfd.readouterr().err
    assert err.count("writing to /dev/full: no space left on device") == 1


def test_a_target_that_has_lost_its_reader_is_dropped(loop: ProbeLoop, capfd: pytest.CaptureFixture[str]) -> None:
    """A terminal's logger that is gone: EPIPE."""
    reader, writer = os.pipe()
    gone, target = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(target, False)
    os.close(gone)
    output = Output(loop, reader, Target(target, "logger"), "stdout", terminal=False)
    output.start()
    for _ in range(3):
        fill(writer)
        loop.idle()
    os.close(writer)
    loop.until(lambda: output.ended)
    output.close()
    assert capfd.readouterr().err.count("writing to logger: broken pipe") == 1


class Pty:
    """A terminal: `inside` is the slave, `fifo` what containerd reads."""

    def __init__(self, loop: ProbeLoop) -> None:
        self.master, self.inside = os.openpty()
        tty.setraw(self.inside)
        os.set_blocking(self.master, False)
        self.outside, target = os.pipe()
        os.set_blocking(self.outside, False)
        os.set_blocking(target, False)
        self.output = Output(loop, os.dup(self.master), Target(target, "fifo"), "stdout", terminal=True)
        self.output.start()

    def close(self) -> None:
        self.output.close()
        for fd in (self.master, self.inside, self.outside):
            if fd >= 0:
                os.close(fd)


@pytest.fixture
def pty(loop: ProbeLoop) -> Iterator[Pty]:
    made = Pty(loop)
    yield made
    made.close()


def test_a_terminal_that_no_process_has_open_is_no_end_and_no_busy_loop(loop: ProbeLoop, pty: Pty) -> None:
    name = os.ttyname(pty.inside)
    os.write(pty.inside, b"before")
    os.close(pty.inside)
    pty.inside = -1
    loop.until(lambda: select.select([pty.outside], [], [], 0)[0])
    assert os.read(pty.outside, 100) == b"before"
    loop.idle()
    assert loop.idle() == 0
    assert not pty.output.ended
    pty.inside = os.open(name, os.O_RDWR | os.O_NOCTTY)
    os.write(pty.inside, b"after")
    loop.until(lambda: select.select([pty.outside], [], [], 0)[0])
    assert os.read(pty.outside, 100) == b"after"


def test_the_last_output_of_a_terminal_is_there_when_it_is_settled(loop: ProbeLoop, pty: Pty) -> None:
    """The kernel hands what the slave wrote over in a worker: a read has to wait for it."""
    for turn in range(50):
        os.write(pty.inside, b"line %02d" % turn)
        told: list[int] = []
        pty.output.settle(lambda told=told: told.append(1))  # type: ignore[misc]
        assert told
        assert os.read(pty.outside, 100) == b"line %02d" % turn


class Typed:
    """An input: `outside` is containerd's writing end, `inside` the container's."""

    def __init__(self, loop: ProbeLoop, directory: Path, terminal: bool) -> None:
        path = str(directory / "stdin")
        os.mkfifo(path)
        self.loop = loop
        self.path = path
        fifo = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self.outside = self.open()
        self.master = -1
        if terminal:
            self.master, self.inside = os.openpty()
            tty.setraw(self.inside)
            os.set_blocking(self.master, False)
            target = os.dup(self.master)
        else:
            self.inside, target = os.pipe()
            os.set_blocking(target, False)
        os.set_blocking(self.inside, False)
        self.input = Input(loop, fifo, "box", target, terminal)
        self.input.start()

    def open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)

    def leave(self) -> None:
        os.close(self.outside)
        self.outside = -1

    def read(self, count: int) -> bytes:
        data = bytearray()

        def more() -> bool:
            try:
                data.extend(os.read(self.inside, count - len(data)))
            except BlockingIOError:
                pass
            return len(data) >= count

        self.loop.until(more)
        return bytes(data)

    def close(self) -> None:
        self.input.close()
        self.input.close()
        for fd in (self.outside, self.inside, self.master):
            if fd >= 0:
                os.close(fd)


@pytest.fixture(params=["pipe", "terminal"])
def typed(request: pytest.FixtureRequest, loop: ProbeLoop, tmp_path: Path) -> Iterator[Typed]:
    made = Typed(loop, tmp_path, request.param == "terminal")
    yield made
    made.close()


@pytest.fixture
def piped(loop: ProbeLoop, tmp_path: Path) -> Iterator[Typed]:
    made = Typed(loop, tmp_path, False)
    yield made
    made.close()


def test_input_reaches_the_container_and_outlives_its_writer(typed: Typed) -> None:
    os.write(typed.outside, b"one")
    assert typed.read(3) == b"one"
    typed.leave()
    assert typed.loop.idle() == 0
    typed.outside = typed.open()
    os.write(typed.outside, b"two")
    assert typed.read(3) == b"two"


def test_input_that_nobody_reads_waits_in_its_fifo(typed: Typed) -> None:
    sent = 0
    for _ in range(20):
        sent += fill(typed.outside)
        typed.loop.idle()
    assert sent > 60_000
    assert fill(typed.outside) == 0
    assert typed.loop.idle() == 0
    assert len(typed.input._rest) <= pumps._CHUNK
    assert typed.read(sent) == b"x" * sent


@pytest.mark.parametrize("first", ["writer", "request"])
def test_input_ends_with_the_request_and_the_last_writer(typed: Typed, first: str) -> None:
    ended: list[int] = []
    typed.input.on_end = lambda: ended.append(1)
    os.write(typed.outside, b"rest")
    if first == "writer":
        typed.leave()
        typed.input.let_end()
    else:
        typed.input.let_end()
        typed.input.let_end()
        assert typed.read(4) == b"rest"
        assert not ended
        typed.leave()
    typed.loop.until(lambda: ended)
    if typed.master < 0:
        if first == "writer":
            assert typed.read(4) == b"rest"
        assert os.read(typed.inside, 1) == b""
    assert typed.loop.watched == 0


def test_the_end_of_input_waits_for_room_too(typed: Typed) -> None:
    ended: list[int] = []
    typed.input.on_end = lambda: ended.append(1)
    sent = 0
    for _ in range(20):
        sent += fill(typed.outside)
        typed.loop.idle()
    typed.input.let_end()
    typed.leave()
    typed.loop.idle()
    assert not ended
    assert len(typed.read(sent)) == sent
    typed.loop.until(lambda: ended)


def test_a_container_that_closes_its_input_closes_the_fifo(piped: Typed) -> None:
    """Its writer is told: EPIPE, and not a FIFO that fills up."""
    os.close(piped.inside)
    piped.inside = -1
    os.write(piped.outside, b"x")
    piped.loop.until(lambda: piped.input._closed)
    with pytest.raises(BrokenPipeError):
        os.write(piped.outside, b"x")


def test_a_container_that_ends_while_its_input_is_full_closes_the_fifo(piped: Typed) -> None:
    for _ in range(20):
        fill(piped.outside)
        piped.loop.idle()
    os.close(piped.inside)
    piped.inside = -1
    piped.loop.until(lambda: piped.input._closed)


def test_what_is_typed_while_no_process_has_the_terminal_is_lost(loop: ProbeLoop, tmp_path: Path) -> None:
    typed = Typed(loop, tmp_path, True)
    name = os.ttyname(typed.inside)
    os.close(typed.inside)
    os.write(typed.outside, b"lost")
    loop.idle()
    typed.inside = os.open(name, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    tty.setraw(typed.inside)
    os.write(typed.outside, b"kept")
    got = typed.read(4)
    assert got in (b"kept", b"lost")  # a pty without a slave may hold what is written
    typed.close()
