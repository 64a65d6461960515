"""The root file system for a restore: missing mount points are made, and no link leads out of it."""

from __future__ import annotations

import ctypes
import os
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.criu import rootfs
from pyrunc.libcontainer.criu.rootfs import MountPoint


def made(root: Path, path: str, is_file: bool = False) -> str:
    """Where make_inside leads, without the root."""
    fd = os.open(root, os.O_PATH)
    try:
        target = rootfs.make_inside(fd, path, is_file)
        try:
            return os.readlink(f"/proc/self/fd/{target}").removeprefix(str(root))
        finally:
            os.close(target)
    finally:
        os.close(fd)


def test_what_is_missing_is_made_and_what_is_there_is_left(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "var").mkdir()
    (tmp_path / "var/run").symlink_to("/run")
    (tmp_path / "file").write_text("as it was")
    assert made(tmp_path, "/a/b/c") == "/a/b/c"
    assert made(tmp_path, "/a/b/c") == "/a/b/c"
    assert made(tmp_path, "a/../a/./b//f", True) == "/a/b/f"
    assert (tmp_path / "a/b/f").is_file()
    assert made(tmp_path, "/var/run/x") == "/run/x"
    assert made(tmp_path, "/file", True) == "/file"
    assert (tmp_path / "file").read_text() == "as it was"
    assert made(tmp_path, "/") == ""
    assert made(tmp_path, "/../../x") == "/x"


@pytest.mark.parametrize("target", ["/nowhere", "../../../../../../nowhere", "loop"])
def test_a_link_to_nothing_is_not_followed_to_make_it(tmp_path: Path, target: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "loop").symlink_to(target)
    with pytest.raises(OSError):
        made(root, "/loop")
    with pytest.raises(OSError):
        made(root, "/loop/below", True)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["loop", "root"]


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        made(tmp_path, "/file/x")


def in_a_namespace(check: Callable[[], None]) -> None:
    """Call `check` in a child with a mount namespace that it may change."""
    pid = os.fork()
    if pid == 0:
        try:
            assert ctypes.CDLL(None).unshare(0x00020000) == 0
            check()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def mounted(path: Path) -> bool:
    """Whether there is a mount at a path, or below it."""
    return any(line.split()[4].startswith(str(path)) for line in Path("/proc/self/mountinfo").read_text().splitlines())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it mounts, in a namespace of its own")
def test_the_root_is_mounted_with_its_mount_points_made(tmp_path: Path) -> None:
    for name in ("rootfs", "place", "source", "link-target"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").touch()
    mounts = [
        MountPoint("/proc", "", "/mounts/0"),
        MountPoint("/proc/below", "", "/mounts/1"),  # CRIU restores what is in there
        MountPoint("/data", str(tmp_path / "source"), "/mounts/2"),
        MountPoint("/data/inner", str(tmp_path / "file"), "/mounts/3"),
    ]

    def check() -> None:
        before = os.readlink("/proc/self/ns/mnt")
        rootfs.prepare(str(tmp_path / "rootfs"), str(tmp_path / "place"), mounts)
        assert os.readlink("/proc/self/ns/mnt") != before
        assert mounted(tmp_path / "place")
        assert not mounted(tmp_path / "place/data")
        assert sorted(os.listdir(tmp_path / "place")) == ["data", "proc"]

    in_a_namespace(check)
    assert not mounted(tmp_path)
    assert sorted(path.name for path in (tmp_path / "rootfs").rglob("*")) == ["data", "proc"]
    assert (tmp_path / "source/inner").is_file()

    def fails() -> None:
        gone = [*mounts, MountPoint("/x", str(tmp_path / "gone"), "/mounts/4")]
        with pytest.raises(PyruncError) as caught:
            rootfs.prepare(str(tmp_path / "rootfs"), str(tmp_path / "place"), gone)
        told = "create criu restore mountpoint for /x mount: no such file or directory (at /mounts/4)"
        assert caught.value.line() == told

    in_a_namespace(fails)
