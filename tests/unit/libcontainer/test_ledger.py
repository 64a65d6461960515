"""The undo ledger: written before, undone in reverse, twice without harm, and by whoever finds it."""

from __future__ import annotations

import errno
import os
import posix
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pyrunc.libcontainer import ledger, process, state
from pyrunc.report import PyruncError


@pytest.fixture
def directory(tmp_path: Path) -> str:
    path = tmp_path / "box"
    path.mkdir()
    return str(path)


@pytest.fixture
def undone(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Effects `note` and `fail`, and what was undone of them."""
    done: list[str] = []

    def fail(entry: dict[str, Any]) -> None:
        done.append(entry["path"])
        raise OSError(errno.EBUSY, "busy", entry["path"])

    monkeypatch.setitem(ledger._UNDO, "note", lambda entry: done.append(entry["path"]))
    monkeypatch.setitem(ledger._UNDO, "fail", fail)
    return done


def test_entries_are_on_disk_before_the_effect(directory: str) -> None:
    book = ledger.Ledger(directory)
    for path in ("one", "two\n\udcff"):
        book.record("note", path=path)
        assert ledger.read(directory) == book.entries
        assert ledger.read(directory)[-1] == {"effect": "note", "path": path}
    book.close()


def test_a_line_that_a_kill_cut_off_does_not_count(directory: str) -> None:
    Path(directory, "ledger").write_text('{"effect":"note","path":"one"}\n{"effect":"no')
    assert ledger.read(directory) == [{"effect": "note", "path": "one"}]
    Path(directory, "ledger").write_text("nonsense\n")
    with pytest.raises(PyruncError, match="damaged"):
        ledger.read(directory)
    os.unlink(directory + "/ledger")
    assert ledger.read(directory) == []


def test_undo_goes_backwards_and_through_failures(directory: str, undone: list[str]) -> None:
    book = ledger.Ledger(directory)
    for effect, path in (("note", "1"), ("fail", "2"), ("note", "3"), ("fail", "4")):
        book.record(effect, path=path)
    with pytest.raises(PyruncError, match="undoing fail 4: 4: device or resource busy"):
        book.undo()
    assert undone == ["4", "3", "2", "1"]


def test_undo_removes_the_state_directory(directory: str) -> None:
    book = ledger.Ledger(directory)
    book.record("state_dir")
    book.undo()
    book.undo()
    assert not os.path.exists(directory)


def test_pid_file_belongs_to_the_caller_once_the_container_is_created(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.touch()
    entries = [{"effect": "pid_file", "path": str(path)}]
    ledger.undo(entries, deleting=True)
    assert path.exists()
    ledger.undo(entries)
    ledger.undo(entries)
    assert not path.exists()


def test_a_cgroup_above_stays_while_others_use_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = tmp_path / "parent"
    parent.mkdir()
    entries = [{"effect": "cgroup_parent", "path": str(parent)}]
    with monkeypatch.context() as patched:
        # cgroupfs says EBUSY where another file system says ENOTEMPTY.
        patched.setattr(posix, "rmdir", lambda path: (_ for _ in ()).throw(OSError(errno.EBUSY, "busy")))
        ledger.undo(entries)
    ledger.undo(entries)
    ledger.undo(entries)
    assert not parent.exists()


def test_a_process_is_killed_only_with_its_start_time() -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        found = process.stat(child.pid)
        assert found is not None
        ledger.undo([{"effect": "process", "pid": child.pid, "startTime": found.start_time + 1}])
        assert child.poll() is None
        ledger.undo([{"effect": "process", "pid": child.pid, "startTime": found.start_time}])
        assert child.wait() == -9
        ledger.undo([{"effect": "process", "pid": child.pid, "startTime": found.start_time}])
    finally:
        child.kill()
        child.wait()


def test_a_unit_is_systemd_s_to_undo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyrunc.libcontainer.systemd import scope

    entry = {"effect": "systemd_unit", "unit": "x.scope", "user": False, "path": str(tmp_path / "none")}
    undone: list[ledger.Entry] = []
    monkeypatch.setattr(scope, "undo", undone.append)
    ledger.undo([entry], deleting=True)
    assert undone == [entry]


class TestSweep:
    def test_of_a_dead_create(self, directory: str, undone: list[str]) -> None:
        book = ledger.Ledger(directory)
        book.record("note", path="x")
        book.close()
        assert ledger.sweep(directory)
        assert undone == ["x"]
        assert not os.path.exists(directory)
        assert not ledger.sweep(directory)

    def test_spares_a_create_at_work(self, directory: str, undone: list[str]) -> None:
        book = ledger.Ledger(directory)
        book.record("note", path="x")
        lock = state.lock(directory)
        assert not ledger.sweep(directory)
        os.close(lock)
        assert undone == []
        book.close()

    def test_spares_a_container(self, directory: str, undone: list[str]) -> None:
        ledger.Ledger(directory).record("note", path="x")
        Path(directory, "state.json").touch()
        assert not ledger.sweep(directory)
        assert undone == []
        os.close(state.lock(directory, wait=False))

    def test_spares_a_directory_that_is_none_of_ours(self, directory: str) -> None:
        Path(directory, "precious").touch()
        assert not ledger.sweep(directory)
        assert os.listdir(directory) == ["precious"]

    def test_of_a_create_that_died_before_its_ledger(self, directory: str) -> None:
        assert ledger.sweep(directory)
        assert not os.path.exists(directory)

    def test_keeps_the_directory_while_something_is_left(self, directory: str, undone: list[str]) -> None:
        ledger.Ledger(directory).record("fail", path="x")
        with pytest.raises(PyruncError):
            ledger.sweep(directory)
        assert ledger.read(directory), "the next command tries again"
