"""The record of an unfinished update: written, read back, undone."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.update import journal


class Place:
    """A state directory with a saved configuration, and a directory that looks like a cgroup."""

    def __init__(self, path: Path) -> None:
        self.state, self.cgroup = path / "state", path / "cgroup"
        self.state.mkdir()
        self.cgroup.mkdir()
        self.saved = self.state / "exec.json"
        saved = {"process": {"cwd": "/"}, "root": {"path": "r"}, "linux": {"resources": {"new": 1}}}
        self.saved.write_text(json.dumps(saved))
        for name in ("pids.max", "cpu.max"):
            (self.cgroup / name).write_text("9")
        self.fd = os.open(self.state, os.O_RDONLY)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    os.close(made.fd)


def entry(place: Place) -> journal.Journal:
    found = journal.Journal({"resources": {"pids": {"limit": 3}}})
    found.writes = [("pids.max", "3"), ("cpu.max", "max 100000")]
    other = place.cgroup / "schemata"
    other.write_text("9")
    found.files = [(str(other), "L3:0=f\n")]
    return found


def test_an_update_that_was_killed_is_undone(place: Place) -> None:
    entry(place).save(place.fd)
    assert journal.recover(place.fd, str(place.cgroup))
    assert (place.cgroup / "pids.max").read_text() == "3"
    assert (place.cgroup / "cpu.max").read_text() == "max 100000"
    assert (place.cgroup / "schemata").read_text() == "L3:0=f\n"
    assert json.loads(place.saved.read_text())["linux"] == {"resources": {"pids": {"limit": 3}}}
    assert sorted(os.listdir(place.state)) == ["exec.json"]
    assert not journal.recover(place.fd, str(place.cgroup))


def test_a_container_that_had_no_resources_has_none_again(place: Place) -> None:
    journal.Journal({"resources": None}).save(place.fd)
    assert journal.recover(place.fd, "")
    assert json.loads(place.saved.read_text())["linux"] == {}


def test_one_value_that_cant_be_written_back_does_not_keep_the_others(place: Place) -> None:
    found = entry(place)
    (place.cgroup / "cpu.max").unlink()
    found.save(place.fd)
    with pytest.raises(PyruncError, match=r"writing max 100000 back to cpu\.max: no such file"):
        journal.recover(place.fd, str(place.cgroup))
    assert (place.cgroup / "pids.max").read_text() == "3"
    assert (place.state / journal.FILE).exists()


def test_a_cgroup_that_is_gone_needs_nothing(place: Place) -> None:
    found = entry(place)
    found.files = []
    found.save(place.fd)
    assert journal.recover(place.fd, str(place.cgroup / "gone"))


@pytest.mark.parametrize("text", ["", "5", "[]", "{}", '{"linux": {}, "writes": [1]}', "{"])
def test_a_damaged_record_is_an_error_that_says_so(text: str, place: Place) -> None:
    (place.state / journal.FILE).write_text(text)
    with pytest.raises(PyruncError, match="unfinished update is damaged"):
        journal.recover(place.fd, str(place.cgroup))


def test_a_record_is_not_read_through_a_link(place: Place) -> None:
    (place.state / "elsewhere").write_text("{}")
    (place.state / journal.FILE).symlink_to("elsewhere")
    with pytest.raises(PyruncError, match="symbolic link"):
        journal.recover(place.fd, str(place.cgroup))


@pytest.mark.parametrize("kind", ["fifo", "directory", "zeros", "large", "shared"])
def test_a6_a_record_that_is_no_file_of_ours_is_damaged(kind: str, place: Place) -> None:
    path = place.state / journal.FILE
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "zeros":
        try:
            os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))
        except PermissionError:
            pytest.skip("making a device takes root")
    else:
        path.write_text("{}")
        os.truncate(path, 1 << 40 if kind == "large" else 2)
        path.chmod(0o600 if kind == "large" else 0o666)
    with pytest.raises(PyruncError, match="unfinished update is damaged"):
        journal.recover(place.fd, str(place.cgroup))
