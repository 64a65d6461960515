"""The journal of an unfinished update: written, and read back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrunc.libcontainer.statedir import UPDATE_FILE, StateDir
from pyrunc.libcontainer.update import journal
from tests.support.records import opened


@pytest.fixture
def place(tmp_path: Path) -> Iterator[StateDir]:
    made = opened(tmp_path)
    yield made
    made.close()


def entry() -> journal.Journal:
    found = journal.Journal({"resources": {"pids": {"limit": 3}}})
    found.writes = [("pids.max", "3"), ("cpu.max", "max 100000")]
    found.files = [("/schemata", "L3:0=f\n")]
    return found


def test_a_journal_of_mounts_comes_back_as_it_was(place: StateDir) -> None:
    found = entry()
    found.kept = {"mounts": [], "updated": None}
    found.helper = (5, 7)
    found.made, found.placeholders = [("/a", 0), ("/a/b", 1)], ["/dev/p"]
    found.attached, found.unmounts = [(1, 2)], [(3, 4, "/x")]
    found.nodes = [("/dev/n", 0o20600, 1, 3, 0, 5), ("/dev/m", 0o60600, 7, 0, 0, 0)]
    found.forward = True
    found.after, found.after_linux, found.after_state = {"mounts": [1]}, {"devices": []}, {"devices": ["/dev/n"]}
    found.save(place.fd)
    other = journal.load(place.fd)
    assert other is not None
    assert {name: getattr(other, name) for name in other.__slots__} == {
        name: getattr(found, name) for name in found.__slots__
    }
    assert other.removed() == [
        {"path": "/dev/n", "type": "c", "major": 1, "minor": 3},
        {"path": "/dev/m", "type": "b", "major": 7, "minor": 0},
    ]


def test_the_journal_of_an_earlier_version_is_read(place: StateDir) -> None:
    fields = {
        "version": 1, "linux": {}, "writes": [], "rules": [], "files": [], "unit": "", "user": False, "properties": [],
    }  # fmt: skip
    Path(place.path, UPDATE_FILE).write_text(json.dumps(fields))
    found = journal.load(place.fd)
    assert found is not None
    assert not found.changes_files
