"""userns: maps as single writes, and failures that name what to change."""

from __future__ import annotations

import ctypes
import errno
import os
import posix
from collections.abc import Iterator

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.kernel import native, procfs, userns

CLONE_NEWUSER = 0x10000000


@pytest.fixture
def child() -> Iterator[int]:
    """A process in a user namespace of its own, with no map yet."""
    ready_reader, ready_writer = os.pipe()
    end_reader, end_writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(end_writer)
        failed = ctypes.CDLL(None).unshare(CLONE_NEWUSER)
        os.write(ready_writer, b"1" if failed else b"0")
        os.read(end_reader, 1)
        os._exit(0)
    os.close(ready_writer)
    os.close(end_reader)
    try:
        if os.read(ready_reader, 1) != b"0":
            pytest.skip("user namespaces are not permitted here")
        yield pid
    finally:
        os.close(end_writer)
        os.close(ready_reader)
        os.waitpid(pid, 0)


def _proc(pid: int, name: str) -> list[str]:
    with open(f"/proc/{pid}/{name}") as file:
        return file.read().split()


def test_one_id_without_privileges(child: int) -> None:
    userns.write_setgroups(child, "deny")
    userns.write_map(child, "uid_map", [f"0 {os.geteuid()} 1"])
    userns.write_map(child, "gid_map", [f"0 {os.getegid()} 1"])
    assert _proc(child, "uid_map") == ["0", str(os.geteuid()), "1"]
    assert _proc(child, "gid_map") == ["0", str(os.getegid()), "1"]
    assert _proc(child, "setgroups") == ["deny"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_several_ranges_are_one_write(child: int) -> None:
    userns.write_map(child, "uid_map", ["0 100000 1000", "1000 0 1", "1001 101001 64535"])
    assert _proc(child, "uid_map") == ["0", "100000", "1000", "1000", "0", "1", "1001", "101001", "64535"]
    with pytest.raises(PyruncError) as caught:  # a map is written once only
        userns.write_map(child, "uid_map", ["0 0 1"])
    assert caught.value.errno == errno.EPERM
    assert caught.value.pointer == "/linux/uidMappings"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_overlapping_ranges_are_explained(child: int) -> None:
    with pytest.raises(PyruncError, match=r"invalid argument .*must not overlap") as caught:
        userns.write_map(child, "gid_map", ["0 0 10", "5 100 10"])
    assert caught.value.pointer == "/linux/gidMappings"


def test_setgroups_is_settled_before_the_map(child: int) -> None:
    userns.write_setgroups(child, "deny")
    with pytest.raises(PyruncError, match="writing allow to /proc/"):
        userns.write_setgroups(child, "allow")


def test_a_missing_right_has_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, name: str, text: str) -> None:
        raise PermissionError(errno.EPERM, "operation not permitted")

    monkeypatch.setattr(procfs, "write", refuse)
    for uid in (0, 1000):
        monkeypatch.setattr(posix, "geteuid", lambda uid=uid: uid)
        with pytest.raises(PyruncError, match="CAP_SETGID only one id") as caught:
            userns.write_map(7, "gid_map", ["0 0 1"])
        assert ("newgidmap can map more" in caught.value.hint) is bool(uid)


ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def _children() -> str:
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return file.read()


@ROOT_ONLY
def test_a_namespace_without_a_process() -> None:
    before = _children()
    fd = userns.make(["0 100000 5", "7 9 1"], ["0 1 1"])
    try:
        assert native.namespace_type(fd) == native.CLONE_NEWUSER
        assert _children() == before
    finally:
        os.close(fd)


@ROOT_ONLY
@pytest.mark.parametrize(
    ("uids", "gids", "pointer"),
    [
        (["0 100000 5", "7 9 1"], ["0 1 1"], ""),
        (["7 9 1", "0 100000 5"], [], ""),
        (["0 100000 5"], ["0 1 1"], "/linux/uidMappings"),
        (["0 100000 5", "7 9 1"], ["0 1 2"], "/linux/gidMappings"),
    ],
)
def test_the_maps_of_a_namespace_are_compared(uids: list[str], gids: list[str], pointer: str) -> None:
    before = _children()
    fd = userns.make(["0 100000 5", "7 9 1"], ["0 1 1"])
    try:
        if pointer:
            with pytest.raises(PyruncError, match="both namespace path and non-matching mapping specified") as raised:
                userns.check(fd, uids, gids)
            assert raised.value.pointer == pointer
            assert raised.value.hint == "the namespace has " + ("0 100000 5, 7 9 1" if "uid" in pointer else "0 1 1")
        else:
            userns.check(fd, uids, gids)
        assert _children() == before
    finally:
        os.close(fd)


@ROOT_ONLY
def test_the_own_namespace_can_t_be_joined() -> None:
    fd = os.open("/proc/self/ns/user", os.O_RDONLY)
    before = _children()
    try:
        with pytest.raises(OSError) as raised:
            userns.check(fd, ["0 0 1"], [])
        assert raised.value.errno == errno.EINVAL
        assert _children() == before
    finally:
        os.close(fd)


@ROOT_ONLY
def test_a_map_that_the_kernel_refuses_leaves_no_process() -> None:
    before = _children()
    with pytest.raises(PyruncError, match=r"writing the gid_map of an id-mapped mount: invalid argument") as raised:
        userns.make(["0 100000 5"], ["0 0 5", "1 9 1"])
    assert raised.value.pointer == "", "the step knows the mount"
    assert _children() == before
