"""An update on a directory that looks like a cgroup; real controllers are in tests/guest/test_update.py."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer import lookup, state
from pyrunc.libcontainer.cgroup import controllers
from pyrunc.libcontainer.plan import host
from pyrunc.libcontainer.plan.host import HostFacts
from pyrunc.libcontainer.update import apply
from tests.support.records import opened


class Place:
    """A container's state directory and its cgroup. A shorter write leaves the rest of a file: all files are empty."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.cgroup = path / "root", path / "cgroup"
        directory = self.root / "c1"
        directory.mkdir(parents=True)
        self.saved = directory / "exec.json"
        saved = {"process": {"cwd": "/"}, "root": {"path": "r"}, "devicePaths": [], "linux": {}}
        self.saved.write_text(json.dumps(saved))
        self.cgroup.mkdir()
        for name in ("pids.max", "memory.max", "memory.swap.max", "cpu.max"):
            (self.cgroup / name).touch()
        record = state.new_record(
            {"ociVersion": "1", "root": {"path": "r"}}, id="c1", bundle="/b", cgroup=str(self.cgroup)
        )
        self.status = "running"
        facts = HostFacts(cgroup_mount=str(path), controllers=("cpu", "memory", "pids"))
        monkeypatch.setattr(lookup, "locked", lambda path: (opened(path), record))
        monkeypatch.setattr(state, "status", lambda path, record: self.status)
        monkeypatch.setattr(host, "gather_limits", lambda: facts)
        monkeypatch.setattr(controllers, "enable", lambda path, mount, needed, wanted: self.needed.append(needed))
        self.needed: list[dict[str, str]] = []

    def change(self, changes: Any, *schemata: str) -> None:
        target = apply.Target(str(self.root), "c1")
        try:
            target.change(changes, schemata)
        finally:
            target.close()

    def read(self, name: str) -> str:
        return (self.cgroup / name).read_text()

    @property
    def resources(self) -> Any:
        return json.loads(self.saved.read_text())["linux"].get("resources")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path, monkeypatch)


def test_what_is_named_is_written_and_saved(place: Place) -> None:
    place.change({"pids": {"limit": 5}, "memory": {"limit": 4096, "swap": 8192}})
    assert (place.read("pids.max"), place.read("memory.max"), place.read("memory.swap.max")) == ("5", "4096", "4096")
    assert place.read("cpu.max") == ""
    assert place.resources == {"pids": {"limit": 5}, "memory": {"limit": 4096, "swap": 8192}}
    assert place.needed == [
        {"pids": "/pids/limit", "memory": "/memory/swap"},
    ]
    assert sorted(os.listdir(place.saved.parent)) == ["exec.json"]


def test_a_write_that_fails_undoes_those_before_it(place: Place) -> None:
    (place.cgroup / "memory.max").unlink()
    with pytest.raises(PyruncError, match=r"failed to write '4096' to memory\.max: no such file .*/memory/limit"):
        place.change({"pids": {"limit": 5}, "memory": {"limit": 4096}})
    assert place.read("pids.max") == "\n"  # an empty file is restored with this
    assert place.resources is None
    assert sorted(os.listdir(place.saved.parent)) == ["exec.json"]


def test_nothing_named_is_nothing_written(place: Place) -> None:
    place.change({"memory": {"limit": 0}})
    assert [place.read(name) for name in ("pids.max", "memory.max")] == ["", ""]
    assert place.needed == []


@pytest.mark.parametrize("changes", [{"pids": 5}, {"pids": {"limit": "many"}}, {"cpu": {"idle": 7}}])
def test_what_the_schema_refuses(changes: Any, place: Place) -> None:
    with pytest.raises(PyruncError, match="at /"):
        place.change(changes)


def test_a_stopped_container_is_refused(place: Place) -> None:
    place.status = "stopped"
    with pytest.raises(PyruncError, match="container not running"):
        place.change({"pids": {"limit": 5}})
    assert place.read("pids.max") == ""


def test_a_container_without_a_class_of_service_gets_no_schemata(place: Place) -> None:
    with pytest.raises(PyruncError, match="a non-existent Intel RDT configuration"):
        place.change({}, "L3:0=f")
