"""broker/listener.py, with a real filter on a child: what comes, what is still waiting, and answers."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrunc.libcontainer.broker import listener
from pyrunc.libcontainer.broker.model import Notification
from pyrunc.libcontainer.seccomp import compiler

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
pytestmark = ROOT_ONLY
_NEW_LISTENER = 1 << 3


class Child:
    """A child whose call is asked at `fd`. pid: its own."""

    def __init__(self, call: str, *arguments: int) -> None:
        token = compiler.architecture("")
        self.number = compiler.find_number(call, token)
        program = compiler.compile_filter(
            {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": [call], "action": "SCMP_ACT_NOTIFY"}]}
        )
        ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if not self.pid:
            libc = ctypes.CDLL(None, use_errno=True)
            buffer = ctypes.create_string_buffer(program, len(program))
            fprog = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer))
            seccomp = compiler.find_number("seccomp", token)
            fd = libc.syscall(seccomp, 1, _NEW_LISTENER, fprog)
            socket.send_fds(theirs, [b"x"], [fd])
            result = libc.syscall(self.number, *arguments)
            os._exit(0 if result >= 0 else ctypes.get_errno())
        theirs.close()
        _, (self.fd,), _, _ = socket.recv_fds(ours, 1, 1)
        ours.close()

    def end(self) -> int:
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.fd)
        return code

    def receive(self) -> Notification:
        found = listener.receive(self.fd)
        assert found is not None
        return found


@pytest.fixture
def child() -> Iterator[Child]:
    made = Child("personality", 5)
    yield made
    if Path(f"/proc/{made.pid}").exists():
        os.kill(made.pid, signal.SIGKILL)


def test_a_call_and_its_answer(child: Child) -> None:
    assert listener.is_listener(child.fd)
    listener.prepare(child.fd)
    found = child.receive()
    assert (found.tid, found.number, found.arguments[0]) == (child.pid, child.number, 5)
    assert found.architecture == compiler.architecture("")
    assert listener.is_waiting(child.fd, found.id)
    listener.answer(child.fd, found.id, errno.ENOMEDIUM)
    assert child.end() == errno.ENOMEDIUM


def test_success_is_no_call_of_the_kernel(child: Child) -> None:
    listener.answer(child.fd, child.receive().id, 0)
    assert child.end() == 0


def test_the_kernel_may_carry_it_out() -> None:
    child = Child("chdir", 0)
    listener.let_kernel(child.fd, child.receive().id)
    assert child.end() == errno.EFAULT


def test_a_process_that_has_ended(child: Child) -> None:
    found = child.receive()
    os.kill(child.pid, signal.SIGKILL)
    os.waitpid(child.pid, 0)
    assert not listener.is_waiting(child.fd, found.id)
    listener.answer(child.fd, found.id, 0)
    poll = select.poll()
    poll.register(child.fd, select.POLLIN)
    assert poll.poll(60_000) == [(child.fd, select.POLLHUP)]
    os.close(child.fd)


def test_a_filter_ends_with_its_last_process(child: Child) -> None:
    assert not listener.has_ended(child.fd)
    os.kill(child.pid, signal.SIGKILL)
    os.waitpid(child.pid, 0)
    assert listener.has_ended(child.fd)
    os.close(child.fd)


def test_what_is_no_listener() -> None:
    reading, writing = os.pipe()
    assert not listener.is_listener(reading)
    with pytest.raises(OSError, match="ioctl"):
        listener.receive(reading)
    os.close(reading)
    os.close(writing)
