"""broker/server.py: the states that runtimes send, and the socket."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.broker import listener, server
from pyrunc.libcontainer.broker.config import Policy

STATE = {"ociVersion": "1.2.0", "fds": ["seccompFd"], "pid": 5, "metadata": "web", "state": {"id": "box"}}


@pytest.fixture
def any_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "is_listener", lambda fd: fd != 99)


def parse(value: Any, fds: list[int]) -> server.State:
    return server.parse(value if type(value) is bytes else json.dumps(value).encode(), fds)


@pytest.mark.usefixtures("any_listener")
def test_a_state() -> None:
    assert parse(STATE, [7]) == server.State("box", 5, "web", 7)
    assert parse({**STATE, "fds": ["other", "seccompFd"], "metadata": ""}, [7, 8]) == server.State("box", 5, "", 8)


@pytest.mark.usefixtures("any_listener")
@pytest.mark.parametrize(
    ("value", "fds"),
    [
        (b"", [7]),
        (b"{", [7]),
        (b"\xff", [7]),
        ([], [7]),
        ({}, [7]),
        (STATE, []),
        (STATE, [99]),
        ({**STATE, "fds": ["other"]}, [7]),
        ({**STATE, "fds": "seccompFd"}, [7]),
        ({**STATE, "fds": [["seccompFd"]]}, [7]),
        ({**STATE, "pid": "5"}, [7]),
        ({**STATE, "pid": True}, [7]),
        ({**STATE, "metadata": 5}, [7]),
        ({**STATE, "state": {"id": 5}}, [7]),
        ({**STATE, "state": []}, [7]),
        (b"[" * 100_000, [7]),
    ],
)
def test_what_is_no_state(value: Any, fds: list[int]) -> None:
    with pytest.raises(PyruncError):
        parse(value, fds)


def test_the_socket_is_roots_alone(tmp_path: Path) -> None:
    path = tmp_path / "broker.sock"
    found, lock = server._listen(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(PyruncError, match="already in use") as caught:
        server._listen(str(path))
    assert "--socket names another path" in caught.value.hint
    found.setblocking(False)
    with pytest.raises(BlockingIOError):
        found.accept()  # the other one has not connected
    found.close()
    os.close(lock)
    # What a killed broker leaves is no broker.
    found, lock = server._listen(str(path))
    found.close()
    server._unlock(str(path), lock)
    assert [each.name for each in tmp_path.iterdir()] == ["broker.sock"]


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_another_program_listens(tmp_path: Path, kind: socket.SocketKind) -> None:
    """It keeps its socket and does not notice."""
    path = tmp_path / "broker.sock"
    with socket.socket(socket.AF_UNIX, kind) as other:
        other.bind(str(path))
        if kind != socket.SOCK_DGRAM:
            other.listen()
        with pytest.raises(PyruncError, match="already in use"):
            server._listen(str(path))
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.recv(1) if kind == socket.SOCK_DGRAM else other.accept()
    assert [each.name for each in tmp_path.iterdir()] == ["broker.sock"]


def test_a_broker_that_starts_while_another_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would find the socket of the killed broker, and one would remove the other's."""
    path = str(tmp_path / "broker.sock")
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(path)
    remove = server._remove_stale
    refused: list[str] = []

    def start_another(path: str) -> None:
        monkeypatch.setattr(server, "_remove_stale", remove)
        with pytest.raises(PyruncError, match="already in use"):
            server._listen(path)
        refused.append(path)
        remove(path)

    monkeypatch.setattr(server, "_remove_stale", start_another)
    found, lock = server._listen(path)
    assert refused == [path]
    with socket.socket(socket.AF_UNIX) as runtime:
        runtime.connect(path)
    found.close()
    server._unlock(path, lock)


def test_a_lock_that_is_removed_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the broker that ends: the lock of the file that is there counts."""
    path = str(tmp_path / "broker.sock")
    flock = fcntl.flock

    def remove_first(fd: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        os.unlink(path + server.LOCK)
        flock(fd, how)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    fd = server._lock(path)
    assert os.fstat(fd).st_ino == os.stat(path + server.LOCK).st_ino
    with pytest.raises(OSError, match="already in use"):
        server._lock(path)
    server._unlock(path, fd)
    assert os.listdir(tmp_path) == []


def test_what_is_there_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(PyruncError):
        server._listen(str(path))
    assert path.read_text() == "mine"


@pytest.mark.usefixtures("any_listener")
def test_a_runtime_that_keeps_the_connection_open(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(server, "_STATE_SECONDS", 5.0)
    data = json.dumps(STATE).encode()
    socket.send_fds(theirs, [data[:50]], [0])
    theirs.sendall(data[50:])
    state = server._receive(ours)
    assert state is not None
    assert state.id == "box"
    theirs.close()
    ours.close()


def test_a_connection_that_brings_nothing() -> None:
    """A program connects to see whether one listens: that is no failure of a container."""
    ours, theirs = socket.socketpair()
    theirs.close()
    assert server._receive(ours) is None


def test_a_connection_that_ends_within_the_state() -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(b'{"fds"')
    theirs.close()
    with pytest.raises(PyruncError, match="no container process state"):
        server._receive(ours)


def test_a_container_that_has_ended_already() -> None:
    ended = os.fork()
    if not ended:
        os._exit(0)
    os.waitpid(ended, 0)
    policies = {"default": Policy("default")}
    server._serve(server.State("box", ended, "", -1), policies, "", -1)
    with pytest.raises(PyruncError, match="wants policy x"):
        server._serve(server.State("box", ended, "x", -1), policies, "", -1)


def test_the_cgroup_of_a_process() -> None:
    found = server._cgroup(os.getpid(), "/sys/fs/cgroup")
    assert found.startswith("/sys/fs/cgroup") or not found
    assert server._cgroup(os.getpid(), "") == ""


class Full:
    """A listening socket for which there is no descriptor at first."""

    def __init__(self, connections: list[socket.socket]) -> None:
        self.connections = connections
        self.calls = 0

    def accept(self) -> tuple[socket.socket, str]:
        self.calls += 1
        if self.calls == 1:
            raise OSError(errno.EMFILE, "Too many open files")
        return self.connections.pop(), ""

    def close(self) -> None:
        """Nothing."""


def test_a_broker_without_descriptors_goes_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with server.Server(str(tmp_path / "broker.sock"), {}, "") as broker:
        ours, theirs = socket.socketpair()
        broker._socket.close()
        broker._socket = Full([theirs])  # type: ignore[assignment]
        assert broker._accept() == -1
        assert ours.recv(1) == b""  # the runtime is not left waiting
        os.fstat(broker._spare)
        ours.close()
    assert "a container is refused: accept: Too many open files" in capfd.readouterr().err


@pytest.mark.parametrize("call", ["fork", "pidfd_open"])
def test_a_broker_without_processes_goes_on(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, call, full)
    path = tmp_path / "broker.sock"
    with server.Server(str(path), {}, "") as broker:
        runtime = socket.socket(socket.AF_UNIX)
        runtime.connect(str(path))
        assert broker._accept() == -1
        assert not broker._agents
        assert runtime.recv(1) == b""
        runtime.close()
    assert f"a container is refused: {call}: Resource" in capfd.readouterr().err


def test_a_broker_has_all_the_descriptors_that_it_may(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Other tests of this process may have left descriptors: the limit is above the highest of them.
    low = max(map(int, os.listdir("/proc/self/fd"))) + 64
    assert low < before[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (low, before[1]))
    try:
        with server.Server(str(tmp_path / "broker.sock"), {}, ""):
            assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_end_leaves_the_socket_of_another_broker(tmp_path: Path) -> None:
    path = tmp_path / "broker.sock"
    with server.Server(str(path), {}, ""):
        path.unlink()
        (tmp_path / "broker.sock.lock").unlink()
        other, lock = server._listen(str(path))
    assert path.exists()
    other.close()
    server._unlock(str(path), lock)


def test_a_path_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(PyruncError, match="name too long"):
        server._listen(str(tmp_path / ("x" * 120)))


def test_a_parent() -> None:
    found = server._open_parent(os.getppid())
    os.close(found)


def test_what_is_no_parent() -> None:
    with pytest.raises(PyruncError, match=f"process {os.getpid()} is not the broker's parent"):
        server._open_parent(os.getpid())
    with pytest.raises(PyruncError, match="the parent process 4194305: "):
        server._open_parent(4194305)


def test_the_line_for_the_parent(capfd: pytest.CaptureFixture[str]) -> None:
    kept = os.dup(1)
    try:
        server._tell_parent()
        os.write(1, b"lost")
    finally:
        os.dup2(kept, 1)
        os.close(kept)
    assert capfd.readouterr().out == "listening\n"
