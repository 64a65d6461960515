"""The relay between two ptys: a user's terminal and a container's."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import termios
import time
from collections.abc import Iterator

import pytest

from pyrunc import log
from pyrunc.libcontainer.kernel import native
from pyrunc.libcontainer.launch import relay as relays
from pyrunc.libcontainer.launch.streams import Stream
from tests.support.host import SECONDS


class Ends:
    """A relay between a user's terminal (`user` is where the user sits) and a container's (`inside`)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.user, self.terminal = os.openpty()
        master, self.inside = os.openpty()
        self.signals, self.wake = os.pipe()
        self.before = termios.tcgetattr(self.terminal)
        monkeypatch.setattr(relays, "STDIN", self.terminal)
        monkeypatch.setattr(relays, "STDOUT", self.terminal)
        monkeypatch.setattr(relays, "find_terminal", lambda: self.terminal)
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        wait = native.epoll_wait
        monkeypatch.setattr(native, "epoll_wait", lambda epoll, timeout_ms: wait(epoll, 20 if timeout_ms else 0))
        self.relay = relays.Relay()
        self.master = master

    def attach(self) -> None:
        self.relay.attach(self.master, self.signals)
        self.relay.take_terminal()

    def turn(self, times: int = 4) -> None:
        """Let the relay work without waiting for ever; do nothing once it has drained."""
        for _ in range(times):
            assert self.relay.master < 0 or not self.relay.wait()

    def read(self, fd: int, count: int) -> bytes:
        data = b""
        while len(data) < count:
            if native.poll([fd], 0):
                data += os.read(fd, count - len(data))
            else:
                self.turn(1)
        return data

    def close(self) -> None:
        self.relay.close()
        for fd in (self.user, self.terminal, self.inside, self.signals, self.wake):
            if fd >= 0:
                os.close(fd)


def arrived(fd: int) -> None:
    """Wait until a worker of the kernel has brought what was written to the other side of a pty."""
    assert native.poll([fd], int(SECONDS * 1000)), "nothing arrives"


@pytest.fixture
def loose(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ends]:
    """Ends whose relay is not attached yet."""
    made = Ends(monkeypatch)
    yield made
    made.close()


@pytest.fixture
def ends(loose: Ends) -> Ends:
    loose.attach()
    return loose


def test_it_moves_both_ways(ends: Ends) -> None:
    os.write(ends.inside, b"from inside\r")
    assert ends.read(ends.user, 12) == b"from inside\r"
    native.tty_raw(ends.inside)
    os.write(ends.user, b"\x03typed")
    assert ends.read(ends.inside, 6) == b"\x03typed", "the interrupt key is the container's to judge"


def test_it_tells_of_signals_first(ends: Ends) -> None:
    os.write(ends.inside, b"output")
    os.write(ends.wake, b"x")
    assert ends.relay.wait()
    assert not native.poll([ends.user], 0)


def test_the_terminal_is_raw_meanwhile_and_restored(ends: Ends) -> None:
    assert not termios.tcgetattr(ends.terminal)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)
    ends.relay.restore()
    assert termios.tcgetattr(ends.terminal) == ends.before
    ends.relay.restore()


def test_settings_that_a_shell_has_kept_from_the_raw_mode_are_not_taken_for_the_user_s(ends: Ends) -> None:
    ends.relay.take_terminal()
    ends.relay.take_terminal()
    ends.relay.restore()
    assert termios.tcgetattr(ends.terminal) == ends.before


def test_carriage_returns_are_added_once(ends: Ends) -> None:
    os.write(ends.inside, b"a\nb")
    assert ends.read(ends.user, 4) == b"a\r\nb"


def test_the_size_follows_the_terminal(ends: Ends) -> None:
    assert os.get_terminal_size(ends.inside) == (120, 40)
    fcntl.ioctl(ends.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 10, 20, 0, 0))
    ends.relay.resize()
    assert os.get_terminal_size(ends.inside) == (20, 10)
    fcntl.ioctl(ends.terminal, termios.TIOCSWINSZ, bytes(8))
    ends.relay.resize()
    assert os.get_terminal_size(ends.inside) == (20, 10), "a terminal that knows no size"


def test_input_that_nobody_reads_does_not_hold_up_the_output(loose: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full pty must not block the relay: the process inside may wait for its output to be read first."""
    ends = loose
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 1 << 18)
    monkeypatch.setattr(relays, "STDIN", read)
    ends.attach()
    native.tty_raw(ends.inside)
    sent = bytes(range(256)) * 1024
    os.write(write, sent)
    ends.turn()
    os.write(ends.inside, b"output")
    assert ends.read(ends.user, 6) == b"output"
    assert len(ends.relay._to_container) <= relays._CHUNK
    assert ends.read(ends.inside, len(sent)) == sent
    os.close(read)
    os.close(write)


def test_output_is_written_before_more_is_read(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two reads in a row make the relay wait for the kernel's worker, which fills the pty."""
    calls: list[str] = []
    chunks = [b"", b"two", b"one"]

    def read(self: relays.Relay) -> bytes:
        calls.append("read")
        ends.relay._readable = len(chunks) > 1
        return chunks.pop()

    def write(self: Stream, data: bytes) -> bytes:
        calls.append(f"write {data.decode()}")
        return b""

    monkeypatch.setattr(Stream, "never_waits", False)
    monkeypatch.setattr(relays.Relay, "_read_master", read)
    monkeypatch.setattr(Stream, "write", write)
    os.write(ends.inside, b"x")
    arrived(ends.master)
    ends.turn(1)
    assert calls[:4] == ["read", "write one", "read", "write two"]


@pytest.mark.parametrize("waits", [False, True])
def test_a_flood_of_output_holds_up_neither_signals_nor_input(
    loose: Ends, monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    ends = loose
    if waits:
        monkeypatch.setattr(Stream, "never_waits", False)
    with open("/dev/null", "wb") as null:
        monkeypatch.setattr(relays, "STDOUT", null.fileno())
        ends.attach()
        native.tty_raw(ends.inside)
        reads: list[int] = []

        def read(self: relays.Relay) -> bytes:
            reads.append(0)
            return b"x" * 4095

        def copy(self: native.Copier, source: int, target: int, chunk: int, turns: int) -> tuple[bytes, int, int]:
            reads.extend([0] * turns)
            return b"", 0, 0

        monkeypatch.setattr(native.Copier, "copy", copy)
        monkeypatch.setattr(relays.Relay, "_read_master", read)
        os.write(ends.inside, b"x")
        os.write(ends.user, b"typed")
        arrived(ends.master)
        arrived(ends.terminal)
        ends.turn(2)
        assert len(reads) <= 2 * relays._TURNS_OUT
        assert ends.relay._timeout() == 0, "there is more"
        arrived(ends.inside)
        assert os.read(ends.inside, 10) == b"typed"
        os.write(ends.wake, b"x")
        del reads[:]
        assert ends.relay.wait()
        assert not reads


def test_no_event_without_news(ends: Ends) -> None:
    """Neither output that was read nor room that nothing waits for wakes the relay."""
    native.tty_raw(ends.inside)
    ends.turn()
    for _ in range(3):
        os.write(ends.inside, b"output")
        assert ends.read(ends.user, 6) == b"output"
        os.write(ends.user, b"typed")
        assert ends.read(ends.inside, 5) == b"typed"
        assert native.epoll_wait(ends.relay._epoll, 0) == []
        assert ends.relay._timeout() == -1


def fill(ends: Ends) -> None:
    """Write to the user's side until input waits for room in the pty."""
    native.tty_raw(ends.inside)
    os.set_blocking(ends.user, False)
    full = 0
    end = time.monotonic() + SECONDS
    while full < 10 or not ends.relay._to_container:
        assert time.monotonic() < end, "no input waits"
        try:
            os.write(ends.user, b"i" * 4096)
        except BlockingIOError:
            full += 1
        ends.turn(1)
    assert ends.relay._timeout() > 0, "it looks again for room"


def test_output_while_input_waits_for_room(ends: Ends) -> None:
    fill(ends)
    for word in (b"one", b"two"):
        os.write(ends.inside, word)
        assert ends.read(ends.user, 3) == word
    ends.read(ends.inside, 4096)
    while ends.relay._to_container or ends.relay._input_ready:
        ends.turn(1)
        if native.poll([ends.inside], 0):
            os.read(ends.inside, 65536)
    ends.turn(1)
    assert native.epoll_wait(ends.relay._epoll, 0) == [], "room is no news any more"
    assert ends.relay._timeout() == -1


@pytest.mark.parametrize("word", [b"", b"again"])
def test_a3_a_hang_up_while_input_waits_for_room(ends: Ends, word: bytes) -> None:
    """It waits without work. A process that opens the slave next gets both directions, also a process that only
    reads.
    """
    name = os.ttyname(ends.inside)
    fill(ends)
    os.close(ends.inside)
    ends.inside = -1
    ends.turn()
    for _ in range(3):
        assert native.epoll_wait(ends.relay._epoll, 0) == []
        assert ends.relay._timeout() != 0, "it looks for room now and then"
        ends.turn(1)
    ends.inside = os.open(name, os.O_RDWR | os.O_NOCTTY)
    if word:
        os.write(ends.inside, word)
        assert ends.read(ends.user, len(word)) == word
    assert ends.read(ends.inside, 16384) == b"i" * 16384


def test_drain_while_input_waits_for_room(ends: Ends) -> None:
    fill(ends)
    os.write(ends.inside, b"last words")
    ends.relay.drain()
    assert not ends.relay.flush()
    assert ends.read(ends.user, 10) == b"last words"


def test_output_that_nobody_reads_is_left_in_the_pty(loose: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = loose
    read, write = os.pipe()
    monkeypatch.setattr(relays, "STDOUT", write)
    ends.attach()
    os.set_blocking(ends.inside, False)
    sent = 0
    for _ in range(100):
        try:
            sent += os.write(ends.inside, b"x" * 8192)
        except BlockingIOError:
            ends.turn(1)
    assert len(ends.relay._to_user) <= relays._CHUNK
    assert sent < 8192 * 100, "the writer has to wait"
    assert ends.read(read, sent) == b"x" * sent
    os.close(read)
    os.close(write)


def test_a3_the_master_stays_open_and_is_read_again(ends: Ends) -> None:
    name = os.ttyname(ends.inside)
    os.write(ends.inside, b"one")
    os.close(ends.inside)
    assert ends.read(ends.user, 3) == b"one"
    ends.turn()
    assert ends.relay._timeout() == -1, "it waits, and does not ask again and again"
    ends.inside = os.open(name, os.O_RDWR | os.O_NOCTTY)
    os.write(ends.inside, b"two")
    assert ends.read(ends.user, 3) == b"two"


def test_drain_brings_out_what_is_left(ends: Ends) -> None:
    os.write(ends.inside, b"last words")
    ends.relay.drain()
    assert ends.relay.master == -1
    assert not ends.relay.flush()
    assert ends.read(ends.user, 10) == b"last words"


def test_flush_waits_for_the_user_or_a_signal(loose: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = loose
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    monkeypatch.setattr(relays, "STDOUT", write)
    ends.attach()
    os.write(ends.inside, b"x" * 4000)
    ends.read(read, 4000)
    os.write(write, b"y" * 4096)
    os.write(ends.inside, b"z" * 1000)
    ends.relay.drain()
    os.write(ends.wake, b"x")
    assert ends.relay.flush(), "a signal"
    os.read(ends.signals, 1)
    assert os.read(read, 4096) == b"y" * 4096
    assert not ends.relay.flush()
    assert os.read(read, 4096) == b"z" * 1000
    os.close(read)
    os.close(write)


def test_input_that_ends_is_not_read_again(loose: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = loose
    with open("/dev/null") as null:
        monkeypatch.setattr(relays, "STDIN", null.fileno())
        ends.attach()
        ends.turn()
        assert ends.relay._timeout() == -1
        os.write(ends.inside, b"still here")
        assert ends.read(ends.user, 10) == b"still here"
        assert termios.tcgetattr(ends.terminal) == ends.before, "its keys are not the container's"


@pytest.mark.parametrize(("number", "told"), [(errno.ENOSPC, True), (errno.EFBIG, True), (errno.EPIPE, False)])
def test_f1_output_that_is_lost_is_told_unless_the_reader_went_away(
    ends: Ends, monkeypatch: pytest.MonkeyPatch, number: int, told: bool
) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(log, "warning", warnings.append)
    ends.relay._output.failure = number
    ends.relay.close()
    assert bool(warnings) == told


def test_close_before_attach(loose: Ends) -> None:
    loose.relay.close()
    os.close(loose.master)
