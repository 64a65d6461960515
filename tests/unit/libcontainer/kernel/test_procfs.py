"""procfs: a write reaches the process's own file or no file."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pyrunc.libcontainer.kernel import procfs
from tests import purev2

MS_BIND = 0x1000


def _mount(source: str, target: str, fstype: str | None, flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    kind = fstype.encode() if fstype else None
    assert libc.mount(source.encode(), target.encode(), kind, flags, None) == 0, os.strerror(ctypes.get_errno())


def _fails_with(number: int, function: Callable[[], object]) -> None:
    with pytest.raises(OSError) as caught:
        function()
    assert caught.value.errno == number


def test_writes_a_processs_file() -> None:
    with open("/proc/self/comm") as file:
        before = file.read().strip()
    try:
        procfs.write(os.getpid(), "comm", "named")
        with open("/proc/self/comm") as file:
            assert file.read() == "named\n"
    finally:
        procfs.write(os.getpid(), "comm", before)


def test_another_file_system_is_refused(tmp_path: Path) -> None:
    _fails_with(errno.EXDEV, lambda: procfs.open_root(str(tmp_path)))


def test_another_directory_of_procfs_is_refused() -> None:
    _fails_with(errno.EXDEV, lambda: procfs.open_root("/proc/self"))


def test_symbolic_links_are_not_followed() -> None:
    _fails_with(errno.ELOOP, lambda: procfs.write(os.getpid(), "exe", "x"))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_cve_2019_19921_a_mount_over_proc_catches_no_write(tmp_path: Path) -> None:
    """A fake /proc must not receive the write of a label or a map, which would be lost silently."""

    def inside() -> None:
        pid = os.getpid()
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "comm").write_text("")
        _mount(str(tmp_path), "/proc", None, MS_BIND)
        _fails_with(errno.EXDEV, lambda: procfs.write(pid, "comm", "x"))
        assert (tmp_path / str(pid) / "comm").read_text() == ""

    purev2.run(inside)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_cve_2025_52881_a_mount_over_the_file_catches_no_write(tmp_path: Path) -> None:
    """A procfs file that is mounted over another one receives the writes to that one."""
    decoy = tmp_path / "decoy"
    decoy.write_text("")

    def inside() -> None:
        pid = os.getpid()
        _mount(str(decoy), f"/proc/{pid}/comm", None, MS_BIND)
        _fails_with(errno.EXDEV, lambda: procfs.write(pid, "comm", "x"))
        assert decoy.read_text() == ""

    purev2.run(inside)
