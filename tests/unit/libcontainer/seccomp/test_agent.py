from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.kernel import interrupts, native
from pyrunc.libcontainer.seccomp import agent
from tests.support.records import record

# Has stdin's file at descriptor 9 from the second line that it reads on.
CHILD = "import os, sys\nfor line in sys.stdin:\n    os.dup2(1, 9)\n    print(flush=True)\n"


class Child:
    """A process whose descriptor 9 is opened by `open`; `sync` is our side of a socket like the init's."""

    def __init__(self) -> None:
        self.sync, self.theirs = native.socketpair()
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.pidfd = os.pidfd_open(self.process.pid)

    def open(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdout.readline()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        for fd in (self.sync, self.theirs, self.pidfd):
            os.close(fd)


@pytest.fixture
def child() -> Iterator[Child]:
    value = Child()
    yield value
    value.close()


def test_take_gets_a_copy(child: Child) -> None:
    child.open()
    fd = agent.take(child.sync, child.pidfd, 9)
    assert os.path.samestat(os.fstat(fd), os.stat(f"/proc/{child.process.pid}/fd/9"))
    assert not os.get_inheritable(fd)
    os.close(fd)


def test_take_waits_until_it_is_there(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[list[int]] = []

    def poll(fds: list[int], timeout: int) -> list[int]:
        looks.append(fds)
        if len(looks) == 3:
            child.open()
        return []

    monkeypatch.setattr(interrupts, "poll", poll)
    os.close(agent.take(child.sync, child.pidfd, 9))
    assert looks == [[child.sync, child.pidfd]] * 3


def test_take_looks_again_where_a_message_came_from_behind_the_filter(
    child: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = interrupts.poll

    def poll(fds: list[int], timeout: int) -> list[int]:
        child.open()
        native.send(child.theirs, b"ready")
        return real(fds, timeout)

    monkeypatch.setattr(interrupts, "poll", poll)
    os.close(agent.take(child.sync, child.pidfd, 9))


def test_take_gives_up_where_the_init_tells_its_failure(child: Child) -> None:
    native.send(child.theirs, b"error")
    assert agent.take(child.sync, child.pidfd, 9) == -1


def test_take_gives_up_where_the_init_is_dead(child: Child) -> None:
    child.process.kill()
    child.process.wait()
    assert agent.take(child.sync, child.pidfd, 9) == -1


def received(server: socket.socket) -> tuple[dict[str, object], list[int]]:
    """The one state of the next connection, and the descriptors that came with its first part."""
    connection, _ = server.accept()
    with connection:
        data, fds, _, _ = socket.recv_fds(connection, 1 << 16, 4)
        while part := connection.recv(1 << 16):
            data += part
    return json.loads(data), fds


@pytest.mark.parametrize("metadata", ["", "some=thing"])
def test_send(tmp_path: Path, metadata: str) -> None:
    path = str(tmp_path / "agent.sock")
    reader, writer = os.pipe()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(path)
        server.listen()
        agent.send(path, writer, 42, record(42).hook_state("creating"), metadata)
        state, fds = received(server)
    assert len(fds) == 1
    assert os.path.samestat(os.fstat(fds[0]), os.fstat(writer))
    for fd in (reader, writer, *fds):
        os.close(fd)
    version = state["ociVersion"]
    expected = {"ociVersion": version, "fds": ["seccompFd"], "pid": 42, "metadata": metadata}
    if not metadata:
        del expected["metadata"]
    expected["state"] = {
        "ociVersion": version, "id": "box", "status": "creating", "pid": 42, "bundle": "/bundle",
    }  # fmt: skip
    assert state == expected
    assert list(state) == list(expected)


def test_send_without_an_agent(tmp_path: Path) -> None:
    path = str(tmp_path / "agent.sock")
    with pytest.raises(PyruncError) as raised:
        agent.send(path, 0, 42, record().hook_state("creating"), "")
    assert raised.value.line() == (
        f"failed to connect with seccomp agent specified in the seccomp profile: dial unix {path}: connect: "
        "no such file or directory (does the agent listen there?)"
    )


def test_send_to_an_agent_that_hangs_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "agent.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(path)
        server.listen()
        real = native.connect

        def connect(path: str, stream: bool, timeout_ms: int) -> int:
            fd = real(path, stream, timeout_ms)
            server.accept()[0].close()
            return fd

        monkeypatch.setattr(native, "connect", connect)
        with pytest.raises(PyruncError, match="cannot send seccomp fd to"):
            agent.send(path, 0, 42, record().hook_state("creating"), "")


@pytest.mark.parametrize("accepts", [True, False])
def test_a11_an_agent_that_hangs_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accepts: bool
) -> None:
    """It accepts the connection and reads less than the message, or it does not even accept."""
    monkeypatch.setattr(native, "PATIENCE_MS", 1000)
    path = str(tmp_path / "agent.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(path)
        server.listen(1 if accepts else 0)
        waiting = -1 if accepts else native.connect(path, stream=True)
        with pytest.raises(PyruncError) as caught:
            agent.send(path, 0, 42, record().hook_state("creating"), "x" * 2_000_000)
        assert path in caught.value.message
        assert ("the agent has read nothing" if accepts else "its queue is full") in caught.value.hint
        if waiting >= 0:
            os.close(waiting)
