"""The scope's start and undoing as steps of a launch; tests/integration/test_systemd.py tests it as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.cgroup import files
from pyrunc.libcontainer.launch import ledger
from pyrunc.libcontainer.launch import systemd_scope as scope
from pyrunc.libcontainer.launch.ledger import Ledger
from pyrunc.libcontainer.launch.model import Launch
from pyrunc.libcontainer.plan.host import HostFacts, SystemdFacts
from pyrunc.libcontainer.plan.options import LaunchOptions
from tests.support import records
from tests.support.plans import compiled, with_linux
from tests.support.records import opened
from tests.support.systemd import NAME, FakeSystemd

ANNOTATIONS = {"org.systemd.property.TimeoutStopSec": "5", "org.systemd.property.CollectMode": "'x'"}


@pytest.fixture
def launched(tmp_path: Path) -> Launch:
    """A launch whose init is process 41 and whose scope is x-box.scope."""
    facts = HostFacts(controllers=("memory", "pids"), systemd=SystemdFacts(), cgroup_mount=str(tmp_path / "cgroup"))
    spec = with_linux(cgroupsPath="a.slice:x:box", resources={"memory": {"limit": 5000}, "pids": {"limit": 5}})
    spec["annotations"] = ANNOTATIONS
    made = Launch(compiled(spec, facts, cgroup_manager="systemd"), records.record(), LaunchOptions(id="box"), facts)
    made.record.annotations = ANNOTATIONS
    made.init.pid = 41
    (tmp_path / "state").mkdir()
    made.ledger = Ledger(opened(tmp_path / "state"))
    return made


def begin(launched: Launch, monkeypatch: pytest.MonkeyPatch, inside: str = "/a.slice/x-box.scope") -> None:
    (step,) = [step for step in launched.plan.served["cgroup"] if step.kind == "systemd_scope"]
    Path(str(step.arg("path"))).mkdir(parents=True)
    monkeypatch.setattr(scope, "read_file", lambda path: f"0::{inside}\n" if path == "/proc/41/cgroup" else "")
    unit, path, manager, properties = step.args
    assert isinstance(properties, tuple)
    scope.start(launched, str(unit), str(path), manager == "user", properties)


def test_the_init_s_pid_comes_first(launched: Launch, fake: FakeSystemd, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(launched, monkeypatch)
    assert next(iter(fake.units["x-box.scope"].items())) == ("PIDs", ("au", [41]))
    assert launched.cgroup_fd >= 0
    path = launched.facts.cgroup_mount + "/a.slice/x-box.scope"
    assert launched.ledger.entries == [{"effect": "systemd_unit", "unit": "x-box.scope", "user": False, "path": path}]


def test_a_unit_that_was_not_started_is_not_in_the_ledger(
    launched: Launch, fake: FakeSystemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Undoing would stop the unit of another."""
    fake.units["x-box.scope"] = {}
    with pytest.raises(PyruncError) as caught:
        begin(launched, monkeypatch)
    assert caught.value.message == (
        'unable to apply cgroup configuration: unable to start unit "x-box.scope": Unit x-box.scope already exists.'
    )
    assert launched.ledger.entries == []


def test_another_cgroup_than_the_planned_one(
    launched: Launch, fake: FakeSystemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PyruncError, match="has put the container into the cgroup /elsewhere"):
        begin(launched, monkeypatch, "/elsewhere")
    assert [entry["effect"] for entry in launched.ledger.entries] == ["systemd_unit"]


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        ("Value specified in MemoryMax is out of range", "/linux/resources/memory/limit"),
        ("Cannot set property TasksMax, or unknown property.", "/linux/resources/pids/limit"),
        ("Cannot set property CollectMode, or unknown property.", "/annotations/org.systemd.property.CollectMode"),
        ("Invalid TimeoutStopUSec: 5", "/annotations/org.systemd.property.TimeoutStopSec"),
        ("Cannot set property Delegate, or unknown property.", ""),
        ("Out of memory", ""),
    ],
)
def test_what_systemd_refuses_is_found_in_the_configuration(
    launched: Launch, fake: FakeSystemd, monkeypatch: pytest.MonkeyPatch, text: str, pointer: str
) -> None:
    fake.refused["StartTransientUnit"] = (NAME + ".X", text)
    with pytest.raises(PyruncError) as caught:
        begin(launched, monkeypatch)
    assert (caught.value.pointer, text in caught.value.message) == (pointer, True)


def test_undoing_kills_stops_and_removes(fake: FakeSystemd, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.units["x.scope"] = {}
    done: list[Any] = []
    monkeypatch.setattr(files, "kill", lambda path: done.append(("kill", path, list(fake.units))))
    monkeypatch.setattr(files, "remove", lambda path, killing: done.append(("remove", path, list(fake.units))))
    ledger.undo([{"effect": "systemd_unit", "unit": "x.scope", "user": True, "path": "/c/x.scope"}])
    assert done == [("kill", "/c/x.scope", ["x.scope"]), ("remove", "/c/x.scope", [])]
