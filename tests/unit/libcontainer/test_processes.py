"""Which containers can be paused, resumed and listed, on state directories of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer import lookup, ownership, processes, state
from pyrunc.libcontainer.cgroup import files


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, tmp_path: Path) -> list[tuple[str, str]]:
    """The calls to the cgroup of a container whose status and cgroup the parameter gives."""
    made: list[tuple[str, str]] = []
    status, cgroup, *others = request.param
    found = others[0] if others else ownership.OWN
    (tmp_path / "c1").mkdir()
    record = state.new_record({"ociVersion": "1", "root": {"path": "r"}}, id="c1", bundle="/b", cgroup=cgroup)
    monkeypatch.setattr(lookup, "existing", lambda path: record)
    monkeypatch.setattr(lookup, "existing_in", lambda place: record)
    monkeypatch.setattr(ownership, "is_anothers", lambda path, place: found == ownership.OTHER)
    monkeypatch.setattr(ownership, "hold", lambda path, place, record: ownership.Hold(found))
    monkeypatch.setattr(state, "status", lambda path, record: status)
    for name in ("freeze", "thaw"):
        monkeypatch.setattr(files, name, lambda path, name=name: made.append((name, path)))
    monkeypatch.setattr(files, "procs", lambda path: [9, 2])
    return made


@pytest.mark.parametrize("calls", [("created", "/cg"), ("running", "/cg")], indirect=True)
def test_what_is_created_or_running_can_be_paused(calls: list[tuple[str, str]], tmp_path: Path) -> None:
    processes.pause(str(tmp_path), "c1")
    assert calls == [("freeze", "/cg")]
    with pytest.raises(PyruncError, match="container not paused"):
        processes.resume(str(tmp_path), "c1")
    assert calls == [("freeze", "/cg")]
    assert processes.pids(str(tmp_path), "c1") == [2, 9]


@pytest.mark.parametrize("calls", [("paused", "/cg")], indirect=True)
def test_what_is_paused_can_be_resumed(calls: list[tuple[str, str]], tmp_path: Path) -> None:
    processes.resume(str(tmp_path), "c1")
    assert calls == [("thaw", "/cg")]


@pytest.mark.parametrize(
    "calls",
    [
        ("paused", "/cg"),
        ("stopped", "/cg"),
        ("running", "/cg", ownership.GONE),  # it is deleted meanwhile
        ("running", "/cg", ownership.OTHER),
    ],
    indirect=True,
)
def test_what_does_not_run_cant_be_paused(calls: list[tuple[str, str]], tmp_path: Path) -> None:
    with pytest.raises(PyruncError, match="container not running"):
        processes.pause(str(tmp_path), "c1")
    assert calls == []


@pytest.mark.parametrize("calls", [("running", "")], indirect=True)
def test_a_container_without_a_cgroup(calls: list[tuple[str, str]], tmp_path: Path) -> None:
    for work in (processes.pause, processes.pids):
        with pytest.raises(PyruncError, match="without a cgroup"):
            work(str(tmp_path), "c1")
    assert calls == []


@pytest.mark.parametrize("calls", [("stopped", "/cg", ownership.OTHER)], indirect=True)
def test_a_stopped_container_has_no_processes_of_another_one(calls: list[tuple[str, str]], tmp_path: Path) -> None:
    """The other one has its cgroup."""
    assert processes.pids(str(tmp_path), "c1") == []
    assert calls == []
