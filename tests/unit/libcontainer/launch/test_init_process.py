"""The init as its parent sees it: its messages are kept, and it is killed and reaped once."""

from __future__ import annotations

import os
import socket
import subprocess

import pytest

from pyrunc.libcontainer.kernel import native
from pyrunc.libcontainer.launch.init_process import InitProcess
from pyrunc.libcontainer.plan import wire
from tests.support.launches import message


def connected() -> tuple[InitProcess, socket.socket]:
    """An init played by this test: its end of the socket."""
    init = InitProcess()
    init.sync, theirs = native.socketpair()
    return init, socket.socket(fileno=theirs)


@pytest.mark.parametrize(
    ("what", "kept", "other"), [("send_console", "master", "received"), ("map:0", "received", "master")]
)
def test_a_descriptor_that_comes_with_a_request_is_kept(what: str, kept: str, other: str) -> None:
    init, theirs = connected()
    with theirs, open(os.devnull) as null:
        socket.send_fds(theirs, [message(wire.REQUEST, what)], [null.fileno()])
        received = init.receive()
        assert received is not None
        assert (received.type, received.detail) == (wire.REQUEST, what)
        assert os.path.samestat(os.fstat(getattr(init, kept)), os.fstat(null.fileno()))
        assert getattr(init, other) == -1
    os.close(getattr(init, kept))
    init.close_sync()


def test_the_end_of_file_is_no_message_and_no_answer() -> None:
    init, theirs = connected()
    init.answer()
    assert theirs.recv(10) == wire.GO_ON
    theirs.close()
    assert init.receive() is None
    with pytest.raises(BrokenPipeError):
        init.answer()
    init.close_sync()
    assert init.sync == -1


@pytest.mark.parametrize("said", [True, False])
def test_an_init_that_ends_with_the_answer_unread(said: bool) -> None:
    """The init's last message is read all the same; if there is none, it has died: an execve comes after it reads the
    answer.
    """
    init, theirs = connected()
    init.answer()
    if said:
        theirs.send(message(wire.ERROR, "why"))
    theirs.close()
    if said:
        received = init.receive()
        assert received is not None
        assert (received.type, received.detail) == (wire.ERROR, "why")
        assert init.receive() is None
    else:
        with pytest.raises(ConnectionResetError):
            init.receive()
    init.close_sync()


def test_an_init_is_killed_and_reaped_once() -> None:
    init = InitProcess()
    init.kill()  # before the clone
    child = subprocess.Popen(["sleep", "60"])
    init.pid, init.pidfd = child.pid, os.pidfd_open(child.pid)
    init.kill()
    with pytest.raises(ChildProcessError):
        os.waitpid(child.pid, os.WNOHANG)
    assert init.pidfd == -1
    init.kill()
    child.returncode = -9


def test_one_that_something_else_has_reaped_is_let_go() -> None:
    init = InitProcess()
    child = subprocess.Popen(["true"])
    init.pid, init.pidfd = child.pid, os.pidfd_open(child.pid)
    child.wait()
    init.kill()
    assert init.pidfd == -1


def test_whether_an_end_has_begun() -> None:
    init = InitProcess()
    init.pid = os.getpid()
    assert not init.is_ending()
    with subprocess.Popen(["true"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        init.pid = child.pid
        assert init.is_ending()
    init.pid = 2**22 + 1  # no pid
    assert not init.is_ending()
