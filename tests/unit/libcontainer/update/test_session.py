"""A session in a container: its requirements on paths and mounts. tests/integration/test_update_mounts.py tries
sessions in real containers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer import process
from pyrunc.libcontainer.kernel import native
from pyrunc.libcontainer.update import session


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("/a/b")
    (tmp_path / "out").symlink_to("/../../../../../../../etc")
    fd = os.open(tmp_path, os.O_PATH)
    yield fd
    os.close(fd)


def test_a_path_stays_in_the_root(root: int, tmp_path: Path) -> None:
    fd = session.open_inside(root, "/link", follow=True)
    assert session.path_of(fd) == f"{tmp_path}/a/b"
    os.close(fd)
    with pytest.raises(FileNotFoundError):
        session.open_inside(root, "/out/passwd", follow=True)
    with pytest.raises(OSError, match="symbolic links"):
        session.open_inside(root, "/link/.", follow=False)
    fd, name = session.open_parent(root, "/a/b/c")
    assert (session.path_of(fd), name) == (f"{tmp_path}/a/b", "c")
    os.close(fd)
    fd, name = session.open_parent(root, "/a")
    assert (session.path_of(fd), name) == (str(tmp_path), "a")
    os.close(fd)


def test_what_a_directory_has(root: int) -> None:
    assert session.exists(root, "a")
    assert session.exists(root, "link")
    assert not session.exists(root, "none")


def test_the_mounts_of_a_process() -> None:
    found = session.mounts_of(os.getpid())
    fd = os.open("/proc", os.O_PATH)
    id, _, is_root = native.mount_id(fd)
    os.close(fd)
    assert is_root
    assert found[id] == "/proc"


def test_a_mount_is_known_by_both_ids() -> None:
    root = os.open("/", os.O_PATH)
    fd = os.open("/proc", os.O_PATH)
    id, unique, _ = native.mount_id(fd)
    os.close(fd)
    mounts = session.mounts_of(os.getpid())
    assert session.find(root, mounts, (id, unique, "")) == "/proc"
    assert session.find(root, mounts, (id, unique + 1, "")) == ""
    assert session.find(root, mounts, (1 << 30, unique, "")) == ""
    other = next(number for number in mounts if number != id)
    with pytest.raises(PyruncError, match="something else is mounted over"):
        session.find(root, {**mounts, other: "/proc"}, (other, 5, ""))
    os.close(root)


def test_a_process_that_was_left_is_ended() -> None:
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    found = process.stat(pid)
    assert found is not None
    session.still(pid, found.start_time + 1)
    assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    session.still(pid, found.start_time)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    session.still(pid, found.start_time)
