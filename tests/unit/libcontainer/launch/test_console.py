"""The master of a pty: the hand-over, and the search for the user's terminal."""

from __future__ import annotations

import os
import posix
import socket
from pathlib import Path

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.kernel import native
from pyrunc.libcontainer.launch import console


def test_hand_over_is_what_console_socket_receivers_take(tmp_path: Path) -> None:
    path = str(tmp_path / "console")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()
        sender = console.connect(path)
        receiver, _ = listener.accept()
    master, slave = os.openpty()
    console.hand_over(sender, master)
    # As runc's recvtty and conmon require: a name that is not empty, and exactly one descriptor.
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


def test_a11_a_full_queue_is_an_error_that_names_the_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "PATIENCE_MS", 1000)
    path = str(tmp_path / "console")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen(0)
        waiting = console.connect(path)
        with pytest.raises(PyruncError) as caught:
            console.connect(path)
        assert caught.value.line() == (
            f"connecting to the console socket {path}: resource temporarily unavailable (step console_socket; "
            "its queue is full: its owner has accepted no connection for 1 s)"
        )
        listener.accept()[0].close()
        posix.close(console.connect(path))
        posix.close(waiting)


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
    # In a new session there is no /dev/tty either.
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
