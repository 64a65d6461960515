"""B6: `create` and `run --pidfd-socket`; test_exec.py has the tests of `exec`."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Runtime

pytestmark = pytest.mark.own("1.1 has no such flag")


@pytest.fixture
def server(runtime: Runtime) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as value:
        value.bind(str(runtime.work / "pidfd.sock"))
        value.listen()
        yield value


def received(server: socket.socket) -> tuple[bytes, int]:
    """The message and the one descriptor."""
    connection, _ = server.accept()
    with connection:
        name, fds, _, _ = socket.recv_fds(connection, 64, 2)
    assert len(fds) == 1
    return name, fds[0]


def test_b6_create(runtime: Runtime, bundle: Bundle, server: socket.socket) -> None:
    """The path is relative to the directory in which the command was started, not to the bundle."""
    container = runtime.container(bundle.args("sleep", "1000"), "--pidfd-socket", "pidfd.sock")
    name, pidfd = received(server)
    assert name == b"standard"
    assert int(host.status_field(Path(f"/proc/self/fdinfo/{pidfd}").read_text(), "Pid")) == container.pid
    container.start()
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    os.close(pidfd)
    container.wait()


@pytest.mark.parametrize("flags", [[], ["--detach"]])
def test_b6_run(runtime: Runtime, bundle: Bundle, server: socket.socket, flags: list[str]) -> None:
    runtime.run(bundle.args("true"), "--pidfd-socket", str(runtime.work / "pidfd.sock"), *flags)
    name, pidfd = received(server)
    assert name == b"standard"
    os.close(pidfd)


@pytest.mark.parametrize("command", ["create", "run"])
def test_b6_a_socket_without_a_reader(runtime: Runtime, bundle: Bundle, command: str) -> None:
    bundle.args("touch", "/tmp/ran").write()
    for name, why in (("nowhere", "no such file or directory"), ("file", "connection refused")):
        (runtime.work / "file").touch()
        result = runtime(command, "--bundle", bundle.path, "--pidfd-socket", name, runtime.new_id())
        assert result.code == 1
        assert f"connecting to the pidfd socket {runtime.work / name}: {why}" in result.last_line
    runtime.assert_nothing_left()
    assert not (bundle.rootfs / "tmp/ran").exists()
