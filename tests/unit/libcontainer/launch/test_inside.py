"""inside: the target of a path in the container, after links and mounts, without leaving the rootfs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pyrunc.libcontainer.launch.inside import FOUND, LOOP, MISSING, NOT_DIRECTORY, UNKNOWN, Inside, of_config


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    root = tmp_path / "rootfs"
    (root / "bin").mkdir(parents=True)
    (root / "bin/sh").write_text("x")
    for name, target in {
        "abs": "/bin/sh", "up": "../../../../bin/sh", "loop": "loop", "dangling": "/opt/none/x", "dir": "bin",
    }.items():  # fmt: skip
        (root / name).symlink_to(target)
    return root


@pytest.mark.parametrize(
    ("path", "state", "leads"),
    [
        ("/bin/sh", FOUND, "/bin/sh"),
        ("/abs", FOUND, "/bin/sh"),
        ("/up", FOUND, "/bin/sh"),
        ("/dir/sh", FOUND, "/bin/sh"),
        ("/../../bin/../bin/./sh", FOUND, "/bin/sh"),
        ("sh", MISSING, "/sh"),
        ("/loop", LOOP, "/loop"),
        ("/dangling", MISSING, "/opt/none/x"),
        ("/bin/sh/x", NOT_DIRECTORY, "/bin/sh"),
        ("/", FOUND, ""),
    ],
)
def test_where_a_path_leads(rootfs: Path, path: str, state: str, leads: str) -> None:
    found = Inside(str(rootfs)).find(path)
    assert (found.state, found.path) == (state, leads)
    if state == FOUND:
        assert Path(found.host).resolve() == (rootfs / leads.lstrip("/")).resolve()


def test_the_first_link_is_told(rootfs: Path) -> None:
    found = Inside(str(rootfs)).find("/dangling")
    assert (found.link, found.target) == ("/dangling", "/opt/none/x")


def test_relative_paths_count_from_the_working_directory(rootfs: Path) -> None:
    assert Inside(str(rootfs)).find("sh", "/bin").state == FOUND


def test_mounts_are_on_top(rootfs: Path, tmp_path: Path) -> None:
    (tmp_path / "host/inner").mkdir(parents=True)
    (tmp_path / "host/file").write_text("x")
    mounts: Any = [
        {"destination": "/bin", "type": "bind", "source": "host", "options": ["rbind"]},
        {"destination": "/dir/inner", "type": "tmpfs"},
        {"destination": "/new/deep", "options": ["bind"], "source": str(tmp_path / "host/file")},
    ]
    inside = of_config(str(tmp_path), "rootfs", mounts)
    assert inside.find("/bin/sh").state == MISSING
    assert inside.find("/bin/file").host == str(tmp_path / "host/file")
    assert inside.find("/bin/inner").state == UNKNOWN
    assert inside.find("/bin/inner/x").state == UNKNOWN
    assert inside.find("/new").is_directory
    assert inside.find("/new/deep").state == FOUND
    assert inside.find("/new/other").state == MISSING


def test_a_later_mount_hides_what_was_below(rootfs: Path, tmp_path: Path) -> None:
    mounts: Any = [
        {"destination": "/bin/a", "type": "tmpfs"},
        {"destination": "/bin", "type": "bind", "source": str(rootfs)},
    ]
    inside = of_config(str(tmp_path), "rootfs", mounts)
    assert inside.find("/bin/a").state == MISSING
    assert inside.find("/bin/bin/sh").state == FOUND
