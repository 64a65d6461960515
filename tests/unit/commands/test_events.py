"""The durations of `events`, and its one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyrunc.commands import events
from pyrunc.commands.settings import Settings
from pyrunc.errors import PyruncError
from pyrunc.libcontainer import processes

SETTINGS = Settings("pyrunc", "/r", False, "cgroupfs", None)


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("5s", 5 * 10**9), ("500ms", 5 * 10**8), ("1m30s", 90 * 10**9), ("1.5h", 5400 * 10**9), ("10us", 10**4),
        ("10µs", 10**4), ("3ns", 3), ("0", 0), ("-1s", -(10**9)), ("+1s", 10**9), (".5s", 5 * 10**8), ("1.s", 10**9),
    ],
)  # fmt: skip
def test_durations_as_go_writes_them(text: str, nanoseconds: int) -> None:
    assert events.duration(text) == nanoseconds


@pytest.mark.parametrize("text", ["", "5", "s", "5x", "5 s", "-", ".s", "1..5s", "٣s", "9999999999h", "5s5", "1e3s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(PyruncError, match="for flag -interval"):
        events.duration(text)


@pytest.mark.parametrize("text", ["0", "0s", "-5s"])
def test_an_interval_that_is_none(text: str) -> None:
    with pytest.raises(PyruncError, match="duration interval must be greater than 0"):
        events.execute(SETTINGS, "c1", text, stats=True)


def test_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(processes, "living_cgroup", lambda root, id, what: str(tmp_path))
    (tmp_path / "pids.current").write_text("3\n")
    assert events.execute(SETTINGS, "c1", "5s", stats=True) == 0
    line = json.loads(capfd.readouterr().out)
    assert (line["type"], line["id"], line["data"]["pids"]) == ("stats", "c1", {"current": 3})
