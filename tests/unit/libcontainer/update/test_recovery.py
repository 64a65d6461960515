"""An unfinished update: its journal has it undone or finished."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.statedir import UPDATE_FILE
from pyrunc.libcontainer.update import journal, recovery
from tests.support.records import opened, record


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
        self.opened = opened(self.state)
        self.fd = self.opened.fd

    def recover(self, cgroup: Path | str | None = None) -> str:
        """Recover a container that has ended."""
        made = record(cgroup=str(self.cgroup if cgroup is None else cgroup))
        return recovery.recover(self.opened, made)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.opened.close()


def entry(place: Place) -> journal.Journal:
    found = journal.Journal({"resources": {"pids": {"limit": 3}}})
    found.writes = [("pids.max", "3"), ("cpu.max", "max 100000")]
    other = place.cgroup / "schemata"
    other.write_text("9")
    found.files = [(str(other), "L3:0=f\n")]
    return found


def test_an_update_that_was_killed_is_undone(place: Place) -> None:
    entry(place).save(place.fd)
    assert place.recover()
    assert (place.cgroup / "pids.max").read_text() == "3"
    assert (place.cgroup / "cpu.max").read_text() == "max 100000"
    assert (place.cgroup / "schemata").read_text() == "L3:0=f\n"
    assert json.loads(place.saved.read_text())["linux"] == {"resources": {"pids": {"limit": 3}}}
    assert sorted(os.listdir(place.state)) == ["exec.json"]
    assert not place.recover()


def test_a_container_that_had_no_resources_has_none_again(place: Place) -> None:
    journal.Journal({"resources": None}).save(place.fd)
    assert place.recover("")
    assert json.loads(place.saved.read_text())["linux"] == {}


def test_one_value_that_cant_be_written_back_does_not_keep_the_others(place: Place) -> None:
    found = entry(place)
    (place.cgroup / "cpu.max").unlink()
    found.save(place.fd)
    with pytest.raises(PyruncError, match=r"writing max 100000 back to cpu\.max: no such file"):
        place.recover()
    assert (place.cgroup / "pids.max").read_text() == "3"
    assert (place.state / UPDATE_FILE).exists()


def test_a_cgroup_that_is_gone_needs_nothing(place: Place) -> None:
    found = entry(place)
    found.files = []
    found.save(place.fd)
    assert place.recover(place.cgroup / "gone")


@pytest.mark.parametrize("text", ["", "5", "[]", "{}", '{"linux": {}, "writes": [1]}', "{"])
def test_a_damaged_record_is_an_error_that_says_so(text: str, place: Place) -> None:
    (place.state / UPDATE_FILE).write_text(text)
    with pytest.raises(PyruncError, match="unfinished update is damaged"):
        place.recover()


def test_a_record_is_not_read_through_a_link(place: Place) -> None:
    (place.state / "elsewhere").write_text("{}")
    (place.state / UPDATE_FILE).symlink_to("elsewhere")
    with pytest.raises(PyruncError, match="symbolic link"):
        place.recover()


@pytest.mark.parametrize("kind", ["fifo", "directory", "zeros", "large", "shared"])
def test_a6_a_record_that_is_no_file_of_ours_is_damaged(kind: str, place: Place) -> None:
    path = place.state / UPDATE_FILE
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
        place.recover()


@pytest.mark.parametrize(("forward", "mounts"), [(False, ["old"]), (True, ["new"])])
def test_what_is_recorded_is_as_before_or_as_after(forward: bool, mounts: list[str], place: Place) -> None:
    """The container has ended: only the records need correction."""
    found = journal.Journal({"devices": None})
    entries = {name: [{"destination": "/" + name}] for name in ("old", "new")}
    found.kept, found.after = {"mounts": entries["old"]}, {"mounts": entries["new"]}
    found.state, found.after_state = {"devices": ["/dev/old"]}, {"devices": ["/dev/new"]}
    found.after_linux = {"devices": []}
    found.forward = forward
    found.unmounts = [(1, 2, "/x")]
    found.save(place.fd)
    assert place.recover() == (recovery.FINISHED if forward else recovery.UNDONE)
    saved = json.loads(place.saved.read_text())
    assert saved["mounts"] == entries[mounts[0]]
    assert json.loads((place.state / "state.json").read_text())["updated"] == {"devices": [f"/dev/{mounts[0]}"]}
    assert sorted(os.listdir(place.state)) == ["exec.json", "state.json"]
