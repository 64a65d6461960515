"""Mounts on the host, above a rootfs: counted, and unmounted."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pyrunc.libcontainer.kernel import hostmounts
from tests import purev2

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")


def mount(*words: str | Path) -> None:
    subprocess.run(["mount", *map(str, words)], check=True)


def inside(function: Callable[[], None]) -> None:
    """Run it in a mount namespace of its own."""
    purev2.run(function)


def test_a_path_is_resolved(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert hostmounts.resolved(str(tmp_path / "link")) == str(tmp_path / "real")
    with pytest.raises(FileNotFoundError):
        hostmounts.resolved(str(tmp_path / "none"))


def test_mounts_are_counted_on_the_path_itself(tmp_path: Path) -> None:
    rootfs = tmp_path / "a b\\c\t"
    rootfs.mkdir()

    def check() -> None:
        assert hostmounts.count(str(rootfs)) == 0
        mount("--bind", rootfs, rootfs)
        (rootfs / "below").mkdir()
        mount("-t", "tmpfs", "none", rootfs / "below")
        mount("--bind", rootfs, rootfs)
        assert hostmounts.count(str(rootfs)) == 2

    inside(check)


def test_what_was_there_before_stays(tmp_path: Path) -> None:
    def check() -> None:
        mount("--bind", tmp_path, tmp_path)
        mount("-t", "tmpfs", "none", tmp_path)
        hostmounts.remove(str(tmp_path), 1)
        assert hostmounts.count(str(tmp_path)) == 1
        hostmounts.remove(str(tmp_path), 1)
        assert hostmounts.count(str(tmp_path)) == 1

    inside(check)


def test_a_shared_tree_that_is_bound_below_stays_on_the_host(tmp_path: Path) -> None:
    rootfs, host = tmp_path / "rootfs", tmp_path / "host"
    for directory in (rootfs / "bound", host):
        directory.mkdir(parents=True)

    def check() -> None:
        mount("-t", "tmpfs", "none", host)
        mount("--make-shared", host)
        (host / "below").mkdir()
        mount("-t", "tmpfs", "none", host / "below")
        mount("--bind", rootfs, rootfs)
        mount("--rbind", host, rootfs / "bound")
        hostmounts.remove(str(rootfs), 0)
        assert hostmounts.count(str(rootfs)) == 0
        assert hostmounts.count(str(host / "below")) == 1

    inside(check)


def test_the_most_mounts_of_a_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hostmounts.most() == int(Path("/proc/sys/fs/mount-max").read_text())
    monkeypatch.setattr(hostmounts, "read_file", lambda path: "none")
    assert hostmounts.most() == 0
