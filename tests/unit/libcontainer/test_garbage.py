"""`gc`: undoes what killed commands have left, and touches nothing else."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrunc.libcontainer import garbage, saved_config, state
from pyrunc.libcontainer.kernel import native
from pyrunc.libcontainer.launch import ledger
from pyrunc.libcontainer.plan.options import LaunchOptions
from pyrunc.libcontainer.update import journal
from tests.support.boxes import Box
from tests.support.records import opened, record, record_of, spec


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def left(path: Path, *entries: dict[str, object]) -> None:
    """The remains of a killed create, at a path."""
    path.mkdir()
    path.chmod(0o1711)
    book = ledger.Ledger(opened(path))
    made = record()
    made.id = path.name
    book.record("state_dir", **made.values())
    for entry in entries:
        book.record(**entry)  # type: ignore[arg-type]
    book.close()


def collect(root: Path, dry_run: bool = False) -> tuple[list[str], list[str]]:
    """The lines that `gc` prints, and the failures."""
    lines: list[str] = []
    failures = garbage.collect(str(root), dry_run, lines.append)
    return lines, [failure.line() for failure in failures]


def test_a_root_that_is_not_there(tmp_path: Path) -> None:
    assert collect(tmp_path / "none") == ([], [])


def test_what_is_left_is_undone_and_told(tmp_path: Path, child: subprocess.Popen[bytes]) -> None:
    made = record_of(child.pid)
    (tmp_path / "pid").write_text(str(child.pid))
    left(
        tmp_path / "dead",
        {"effect": "process", "pid": child.pid, "startTime": made.startTime},
        {"effect": "pid_file", "path": str(tmp_path / "pid"), "content": str(child.pid)},
    )
    left(tmp_path / "early")
    whats = [
        f"dead: WORD: pid file {tmp_path}/pid", f"dead: WORD: process {child.pid}",
        f"dead: WORD: state directory {tmp_path}/dead", f"early: WORD: state directory {tmp_path}/early",
    ]  # fmt: skip
    assert collect(tmp_path, dry_run=True) == ([what.replace("WORD", "would undo") for what in whats], [])
    assert child.poll() is None
    assert sorted(os.listdir(tmp_path)) == ["dead", "early", "pid"]
    assert collect(tmp_path) == ([what.replace("WORD", "undone") for what in whats], [])
    assert child.wait() == -9
    assert os.listdir(tmp_path) == []
    assert collect(tmp_path) == ([], [])


def test_nothing_of_a_living_or_unknown_container_is_touched(tmp_path: Path) -> None:
    box = Box(tmp_path)
    try:
        left(tmp_path / "working")
        working = opened(tmp_path / "working")
        working.lock(0)
        left(tmp_path / "writable")
        (tmp_path / "writable").chmod(0o777)
        for name, file in (("void", ""), ("books", "ledger"), ("others", "precious"), ("damaged", "state.json")):
            (tmp_path / name).mkdir()
            if file:
                (tmp_path / name / file).touch()
        (tmp_path / "link").symlink_to(tmp_path / "working")
        before = sorted(map(str, tmp_path.rglob("*")))
        assert collect(tmp_path) == ([], [])
        assert sorted(map(str, tmp_path.rglob("*"))) == before
        assert box.process.poll() is None
        box.end()
        assert collect(tmp_path) == ([], []), "a stopped container is deleted by delete"
        working.close()
    finally:
        box.end()


def test_a4_a_delete_that_was_killed_at_its_end_is_finished(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.path.chmod(0o1711)
    (box.path / "ledger").unlink()
    assert collect(tmp_path) == ([], [])
    box.end()
    assert collect(tmp_path) == ([f"box: undone: state directory {box.path}"], [])
    assert not box.path.exists()


def test_an_update_that_was_killed_is_undone(tmp_path: Path) -> None:
    box = Box(tmp_path)
    try:
        place = opened(box.path)
        saved_config.save(place.fd, spec(), LaunchOptions(id="box"))
        journal.Journal({"resources": {"pids": {"limit": 3}}}).save(place.fd)
        assert collect(tmp_path, dry_run=True) == (["box: would undo: update of limits"], [])
        assert (box.path / "update").exists()
        assert collect(tmp_path) == (["box: undone: update of limits"], [])
        assert saved_config.load(place)["linux"]["resources"] == {"pids": {"limit": 3}}
        assert collect(tmp_path) == ([], [])
    finally:
        box.end()


def test_a_cgroup_that_has_become_another_container_s_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "fs_magic", lambda fd: native.CGROUP2_SUPER_MAGIC)
    box = Box(tmp_path)
    try:
        for name in ("shared", "above", "own"):
            (tmp_path / "cg" / name).mkdir(parents=True)
        box.record.cgroup = f"{tmp_path}/cg/shared"
        box.save()
        left(
            tmp_path / "dead",
            {"effect": "cgroup_parent", "path": f"{tmp_path}/cg"},
            {"effect": "cgroup_parent", "path": f"{tmp_path}/cg/own"},
            {"effect": "cgroup", "path": f"{tmp_path}/cg/shared"},
        )
        lines, failures = collect(tmp_path)
        assert failures == []
        assert lines == [f"dead: undone: cgroup {tmp_path}/cg/own", f"dead: undone: state directory {tmp_path}/dead"]
        assert (tmp_path / "cg" / "shared").exists()
    finally:
        box.end()


def test_a6_what_is_not_understood_is_a_failure_and_stays(tmp_path: Path) -> None:
    left(tmp_path / "later", {"effect": "teleport", "path": "/x"})
    left(tmp_path / "stuck", {"effect": "cgroup", "path": str(tmp_path)})
    left(tmp_path / "well")
    lines, failures = collect(tmp_path)
    assert lines == [f"well: undone: state directory {tmp_path}/well"]
    assert len(failures) == 2
    assert failures[0].startswith("later: the ledger in")
    assert "'teleport' is not known" in failures[0]
    assert failures[1].startswith("stuck: undoing cgroup")
    assert sorted(os.listdir(tmp_path)) == ["later", "stuck"]
    assert state.exists(str(tmp_path))


def test_the_file_that_a_killed_update_had_begun_is_removed(tmp_path: Path) -> None:
    box = Box(tmp_path)
    try:
        for name in (".update.5", ".exec.json.77", "other"):
            (box.path / name).touch()
        lines = [f"box: WORD: file {box.path}/{name}" for name in (".exec.json.77", ".update.5")]
        found, failures = collect(tmp_path, dry_run=True)
        assert (sorted(found), failures) == ([line.replace("WORD", "would undo") for line in lines], [])
        found, failures = collect(tmp_path)
        assert (sorted(found), failures) == ([line.replace("WORD", "undone") for line in lines], [])
        assert (box.path / "other").exists()
        assert collect(tmp_path) == ([], [])
    finally:
        box.end()
