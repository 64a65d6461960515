"""The records and messages of an update of mounts, and how it restores files."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.plan.host import HostFacts
from pyrunc.libcontainer.update import mounts
from pyrunc.libcontainer.update.journal import Journal
from pyrunc.libcontainer.update.session import Container
from pyrunc.libcontainer.update.words import Asked
from tests.support.records import record

NAMESPACES = [{"type": "mount"}]


def container(facts: HostFacts | None = None, **kept: Any) -> Container:
    saved: Any = {
        "root": {"path": "r"},
        "process": {"cwd": "/"},
        "linux": {"namespaces": NAMESPACES},
        "devicePaths": [],
        **kept,
    }
    return Container(record(), "/root", saved, facts or HostFacts())


def update(which: Container) -> mounts.Update:
    return mounts.Update(which, Asked((), (), (), (), cwd="/"), Journal({}), -1)


def test_a_user_is_refused_with_the_reason() -> None:
    with pytest.raises(PyruncError, match=r"without root \(a user's mount can't be handed"):
        update(container(HostFacts(euid=1000)))


def test_a_container_on_the_hosts_mounts_is_refused() -> None:
    with pytest.raises(PyruncError, match="no mount namespace of its own"):
        update(container(linux={"namespaces": [{"type": "pid"}]}))


def test_what_was_not_there_is_not_there_after_an_undo() -> None:
    made = update(container())
    assert made.found.kept == {"mounts": None, "devicePaths": [], "updated": None}
    assert made.found.linux == {"devices": None}


def test_the_record_of_an_update_does_not_change_what_was_kept() -> None:
    kept: Any = {
        "updated": {"mounts": [{"destination": "/x", "named": "/x", "id": 1, "unique": 1}]},
        "mounts": [],
    }
    made = update(container(**kept))
    made.after["updated"]["mounts"][0]["id"] = 2
    made.after["mounts"].append({"destination": "/y"})
    assert made.container.kept["updated"]["mounts"][0]["id"] == made.found.kept["updated"]["mounts"][0]["id"] == 1
    assert made.container.kept["mounts"] == []


@pytest.mark.parametrize(("path", "id"), [("/real", 2), ("/named", 2), ("/conf", None)])
def test_what_is_recorded_for_a_path(path: str, id: int | None) -> None:
    made = [{"destination": "/real", "named": "/named", "id": number, "unique": number} for number in (1, 2)]
    which = container(updated={"mounts": made}, mounts=[{"destination": "/conf/", "type": "bind", "source": "/s"}])
    assert update(which)._recorded(path).get("id") == id


@pytest.mark.parametrize("path", ["/none", "/proc", "/sys"])
def test_what_cant_be_unmounted(path: str) -> None:
    entries = [{"destination": "/proc", "type": "proc"}, {"destination": "sys", "type": "sysfs", "options": ["ro"]}]
    with pytest.raises(PyruncError, match=rf"on {path} |{path} is a mount of type"):
        update(container(mounts=entries))._recorded(path)


def test_a_device_is_one_of_the_container() -> None:
    devices = [
        {"path": "/dev/u", "type": "u", "major": 1, "minor": 2},
        {"path": "/dev/p", "type": "p"},
    ]
    made = update(container(linux={"namespaces": NAMESPACES, "devices": devices}))
    assert made._device("/dev/u")["type"] == "c"
    for path in ("/dev/p", "/dev/none"):
        with pytest.raises(PyruncError, match=f"no device {path}"):
            made._device(path)


def test_what_state_shows() -> None:
    members: Any = {
        "mounts": [
            {"destination": "/x", "source": "config's"},
            {"destination": "/y"},
            {"destination": "/x", "type": "bind", "source": "ours", "options": ["ro"]},
        ],
        "updated": {"mounts": [{"destination": "/x"}], "devices": [], "unmounted": ["/z"]},
    }
    shown = {"destination": "/x", "type": "bind", "source": "ours", "options": ["ro"]}
    assert mounts._shown(members) == {"mounts": [shown], "unmounted": ["/z"]}
    assert mounts._shown({"mounts": [{"destination": "/x"}], "devicePaths": [], "updated": {"mounts": []}}) == {}


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_PATH)
    yield fd
    os.close(fd)


def test_what_was_made_is_removed_where_it_is_as_it_was_made(root: int, tmp_path: Path) -> None:
    for name in ("empty", "full"):
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}.file").touch()
    (tmp_path / "full/x").touch()
    (tmp_path / "full.file").write_text("x")
    (tmp_path / "link").symlink_to("empty.file")
    for name in ("empty", "full", "empty.file", "full.file", "link", "none", "none/x", "full.file/x", "link/x"):
        mounts._remove(root, "/" + name)
    assert sorted(os.listdir(tmp_path)) == ["full", "full.file", "link"]


@pytest.mark.skipif(os.geteuid() != 0, reason="making a device takes root")
def test_a_node_is_made_again(root: int, tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    node = ("/dev/n", stat.S_IFCHR | 0o4640, 1, 3, 5, 6)
    for _ in range(2):
        mounts._make_again(root, node)
        found = (tmp_path / "dev/n").stat()
        assert (found.st_mode, found.st_rdev, found.st_uid, found.st_gid) == (node[1], os.makedev(1, 3), 5, 6)
