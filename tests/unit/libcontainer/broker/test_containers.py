"""broker/containers.py: what a thread must have."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from pyrunc.libcontainer.broker import listener
from pyrunc.libcontainer.broker.acting import OVER_FILES, bits
from pyrunc.libcontainer.broker.caller import Caller, Credentials, Processes
from pyrunc.libcontainer.broker.config import Policy
from pyrunc.libcontainer.broker.containers import Container, namespace, root_directory, user_namespace
from pyrunc.libcontainer.broker.memory import Limits
from pyrunc.libcontainer.broker.model import Notification, Refusal


def container(user_namespace: tuple[int, int], is_of_host: bool = True) -> Container:
    return Container("box", os.getpid(), Policy("default"), user_namespace, is_of_host, -1, -1, Limits("", ""))


@pytest.fixture
def self(monkeypatch: pytest.MonkeyPatch) -> Caller:
    monkeypatch.setattr(listener, "is_waiting", lambda fd, id: True)
    return Caller(-1, Notification(1, os.getpid(), 0, 0, (0,) * 6), Processes())


def test_a_thread_of_the_container(self: Caller) -> None:
    with self:
        assert container(namespace("self", "user")).require(self, 0).uids[0] == os.getuid()


def test_a_thread_of_another_user_namespace(self: Caller) -> None:
    with self, pytest.raises(Refusal) as caught:
        container((1, 2)).require(self, 0)
    assert caught.value.reason == "a process in a further user namespace"


def test_the_user_namespace_is_the_one_before_a_process_left_it() -> None:
    code = "import ctypes; print(ctypes.CDLL(None).unshare(0x10000000), flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline() != b"0\n":
            pytest.skip("needs user namespaces")
        assert namespace(process.pid, "user") != namespace("self", "user")
        assert user_namespace(process.pid) == user_namespace(os.getpid())
        process.stdin.write(b"\n")


def test_paths_of_a_container_without_a_mount_namespace(self: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    assert root_directory(os.getpid()) == -1
    with self, pytest.raises(Refusal) as caught:
        container((0, 0)).place(self, -100, "/run/app.sock")
    assert caught.value.errno == errno.EPERM
    assert caught.value.reason == "the path /run/app.sock, in a container without a mount namespace"
    monkeypatch.setattr("pyrunc.libcontainer.broker.containers.namespace", lambda pid, name: (1, int(pid != "self")))
    root = root_directory(os.getpid())
    assert os.readlink(f"/proc/self/fd/{root}") == "/"
    os.close(root)


def test_a_thread_without_the_capability(self: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Caller, "credentials", lambda self: Credentials((0,) * 4, (0,) * 4, (), 0, bits("CAP_KILL")))
    box = container(namespace("self", "user"))
    with self:
        assert box.require(self, bits("CAP_KILL"))
        with pytest.raises(Refusal, match="without CAP_KILL and CAP_MKNOD") as caught:
            box.require(self, bits("CAP_KILL", "CAP_MKNOD"), errno.EACCES)
    assert caught.value.errno == errno.EACCES


def test_capabilities_over_files_count_only_in_their_user_namespace() -> None:
    credentials = Credentials((0,) * 4, (0,) * 4, (), 0, OVER_FILES | bits("CAP_KILL"))
    assert container((0, 0)).over_files(credentials) == OVER_FILES
    assert container((0, 0), is_of_host=False).over_files(credentials) == 0
