"""A failed poststart hook ends the start; all poststop hooks run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pyrunc import log
from pyrunc.errors import PyruncError
from pyrunc.libcontainer.launch import lifecycle_hooks
from pyrunc.libcontainer.launch.timeline import Timeline
from tests.support.records import record


def shell(script: str) -> Any:
    return {"path": "/bin/sh", "args": ["sh", "-c", script]}


def test_poststart_hooks_get_the_state_and_the_first_failure_ends_it(tmp_path: Path) -> None:
    made = record(17)
    made.hooks = {"poststart": [shell(f"cat > {tmp_path}/state"), shell("exit 3"), shell(f"> {tmp_path}/never")]}
    with pytest.raises(PyruncError, match="error running poststart hook #1: exit status 3"):
        lifecycle_hooks.poststart(made)
    assert json.loads((tmp_path / "state").read_text())["status"] == "running"
    assert not (tmp_path / "never").exists()


def test_poststop_hooks_go_on_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(log, "warning", warnings.append)
    made = record(17)
    made.hooks = {"poststop": [shell("exit 3"), shell(f"cat > {tmp_path}/state")]}
    lifecycle_hooks.poststop(made)
    assert len(warnings) == 1
    assert "error running poststop hook #0: exit status 3" in warnings[0]
    state = json.loads((tmp_path / "state").read_text())
    assert state["status"] == "stopped"
    assert "pid" not in state


def test_without_hooks_nothing_happens() -> None:
    lifecycle_hooks.poststart(record())
    lifecycle_hooks.poststop(record())


def test_a_timeline_has_each_hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "warning", lambda _: None)
    made = record(17)
    made.hooks = {
        "poststart": [shell("exit 0"), shell("kill -9 $$"), shell("true")], "poststop": [{"path": "/no"}, shell("true")]
    }  # fmt: skip
    timeline = Timeline("")
    with pytest.raises(PyruncError):
        lifecycle_hooks.poststart(made, timeline)
    lifecycle_hooks.poststop(made, timeline)
    found = [
        (event["cat"], *[event["args"][name] for name in ("pointer", "hook", "index", "path", "end")])
        for event in timeline.events
    ]
    assert found == [
        ("start", "/hooks/poststart/0", "poststart", 0, "/bin/sh", "exit status 0"),
        ("start", "/hooks/poststart/1", "poststart", 1, "/bin/sh", "signal: killed"),
        ("stop", "/hooks/poststop/0", "poststop", 0, "/no", "not started: no such file or directory"),
        ("stop", "/hooks/poststop/1", "poststop", 1, "/bin/sh", "exit status 0"),
    ]
