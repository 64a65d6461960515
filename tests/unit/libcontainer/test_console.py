"""The runtime's side of a terminal: the hand-over, and the relay between two ptys."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrunc import native
from pyrunc.libcontainer import console
from pyrunc.report import PyruncError


def test_hand_over_is_what_console_socket_receivers_take(tmp_path: Path) -> None:
    path = str(tmp_path / "console")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()
        sender = console.connect(path)
        receiver, _ = listener.accept()
    master, slave = os.openpty()
    console.hand_over(sender, master)
    # As runc's recvtty and conmon have it: a name that is not empty, and exactly one descriptor.
    data, fds, _, _ = socket.recv_fds(receiver, 4096, 8)
    assert data
    assert len(data) < 4096
    assert len(fds) == 1
    os.write(slave, b"x")
    assert os.read(fds[0], 10) == b"x"
    for fd in (sender, master, slave, *fds):
        os.close(fd)
    receiver.close()


def test_connect_explains_a_socket_that_nobody_listens_on(tmp_path: Path) -> None:
    with pytest.raises(PyruncError, match="console socket") as caught:
        console.connect(str(tmp_path / "none"))
    assert caught.value.hint
    assert caught.value.step == "console_socket"


class Ends:
    """A relay between a user's terminal (`user` is where the user sits) and a container's (`inside`)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.user, self.terminal = os.openpty()
        master, self.inside = os.openpty()
        self.signals, self.wake = os.pipe()
        self.before = termios.tcgetattr(self.terminal)
        monkeypatch.setattr(console, "STDIN", self.terminal)
        monkeypatch.setattr(console, "STDOUT", self.terminal)
        monkeypatch.setattr(console, "find_terminal", lambda: self.terminal)
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self.relay = console.Relay()
        self.relay.attach(master)

    def read(self, fd: int, count: int) -> bytes:
        data = b""
        while len(data) < count:
            if native.poll([fd], 0):
                data += os.read(fd, count - len(data))
            else:
                assert not self.relay.wait(self.signals)
        return data

    def close(self) -> None:
        self.relay.restore()
        for fd in (self.user, self.terminal, self.inside, self.signals, self.wake, self.relay.master):
            if fd >= 0:
                os.close(fd)


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ends]:
    made = Ends(monkeypatch)
    yield made
    made.close()


def test_relay_moves_both_ways(ends: Ends) -> None:
    os.write(ends.inside, b"from inside\r")
    assert ends.read(ends.user, 12) == b"from inside\r"
    native.tty_raw(ends.inside)
    os.write(ends.user, b"\x03typed")
    assert ends.read(ends.inside, 6) == b"\x03typed", "the interrupt key is the container's to judge"


def test_relay_tells_of_signals(ends: Ends) -> None:
    os.write(ends.wake, b"x")
    assert ends.relay.wait(ends.signals)


def test_the_terminal_is_raw_meanwhile_and_restored(ends: Ends) -> None:
    assert not termios.tcgetattr(ends.terminal)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)
    ends.relay.restore()
    assert termios.tcgetattr(ends.terminal) == ends.before
    ends.relay.restore()


def test_carriage_returns_are_added_once(ends: Ends) -> None:
    os.write(ends.inside, b"a\nb")
    assert ends.read(ends.user, 4) == b"a\r\nb"


def test_the_size_follows_the_terminal(ends: Ends) -> None:
    assert os.get_terminal_size(ends.inside) == (120, 40)
    fcntl.ioctl(ends.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 10, 20, 0, 0))
    ends.relay.resize()
    assert os.get_terminal_size(ends.inside) == (20, 10)


def test_input_that_nobody_reads_does_not_hold_up_the_output(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full pty must not block the relay: the process inside may wait for its output to be read first."""
    read, write = os.pipe()
    monkeypatch.setattr(console, "STDIN", read)
    native.tty_raw(ends.inside)
    sent = bytes(range(256)) * 128
    os.write(write, sent)
    for _ in range(3):
        os.write(ends.wake, b"x")  # so that it does not wait where it can't go on
        assert ends.relay.wait(ends.signals)
    os.read(ends.signals, 10)
    os.write(ends.inside, b"output")
    assert ends.read(ends.user, 6) == b"output"
    assert ends.read(ends.inside, len(sent)) == sent
    os.close(read)
    os.close(write)


def test_finish_brings_out_what_is_left(ends: Ends) -> None:
    os.write(ends.inside, b"last words")
    os.close(ends.inside)
    ends.inside = -1
    ends.relay.finish()
    assert os.read(ends.user, 100) == b"last words"
    assert ends.relay.master == -1
    assert termios.tcgetattr(ends.terminal) == ends.before


def test_input_that_ends_is_not_read_again(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/null") as null:
        monkeypatch.setattr(console, "STDIN", null.fileno())
        os.write(ends.wake, b"x")
        assert ends.relay.wait(ends.signals)
        os.read(ends.signals, 1)
        os.write(ends.inside, b"still here")
        assert ends.read(ends.user, 10) == b"still here"


def test_find_terminal_prefers_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    master, slave = os.openpty()
    with open("/dev/null") as null:
        for name in ("STDIN", "STDOUT", "STDERR"):
            monkeypatch.setattr(console, name, null.fileno())
        monkeypatch.setattr(console, "STDOUT", slave)
        assert console.find_terminal() == slave
        monkeypatch.setattr(console, "STDERR", master)
        assert console.find_terminal() == master
    os.close(master)
    os.close(slave)


def test_find_terminal_without_any_is_explained() -> None:
    # In a session of its own there is no /dev/tty either.
    child = os.fork()
    if child == 0:
        os.setsid()
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        try:
            console.find_terminal()
        except PyruncError as error:
            os._exit(7 if error.message == "open /dev/tty" and error.pointer == "/process/terminal" else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
