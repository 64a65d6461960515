"""A timeline as bars."""

from __future__ import annotations

from typing import Any

import pytest

from pyrunc.libcontainer import show
from pyrunc.report import PyruncError


def event(name: str, start: float, length: float, track: int = 1, pointer: str = "") -> dict[str, Any]:
    return {"ph": "X", "name": name, "ts": start, "dur": length, "tid": track, "args": {"pointer": pointer}}


def trace(*events: dict[str, Any]) -> dict[str, Any]:
    return {"traceEvents": [{"ph": "M", "name": "thread_name", "tid": 1}, *events]}


def test_bars_over_time() -> None:
    # 44 columns, less the names' 14 and the numbers' 15, are 15 for 1.5 ms
    text = show.bars(trace(event("mount", 600, 500, 2), event("clone", 100, 1000), event("chdir", 1600, 0, 2)), 44)
    assert text.splitlines() == [
        "runtime  clone    1.000 ms  ██████████",
        "init     mount    0.500 ms       █████",
        "init     chdir    0.000 ms                 ▏",
        "whole             1.500 ms",
    ]


def test_parts_of_a_column_are_drawn() -> None:
    text = show.bars(trace(event("a", 0, 1000), event("b", 0, 550)), 35)
    assert text.splitlines()[0].endswith("█" * 10)
    assert text.splitlines()[1].endswith(" █████▌") or text.splitlines()[1].endswith(" █████▍")


def test_the_config_s_place_tells_steps_apart() -> None:
    text = show.bars(trace(event("mount", 0, 5, 2, "/mounts/0"), event("mount", 5, 5, 2, "/mounts/1")), 80)
    assert [line.split()[:3] for line in text.splitlines()[:2]] == [
        ["init", "mount", "/mounts/0"],
        ["init", "mount", "/mounts/1"],
    ]


@pytest.mark.parametrize("width", [1, 60, 200])
def test_no_line_is_wider_than_asked_for(width: int) -> None:
    text = show.bars(trace(event("a", 0, 700), event("b", 333.3, 1234.5), event("c", 1567.8, 0)), width)
    assert max(len(line) for line in text.splitlines()) <= max(width, 40)


def test_a_moment_only() -> None:
    assert "0.000 ms" in show.bars(trace(event("a", 7, 0)), 60)


def test_the_terminal_s_width_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    assert 60 < max(len(line) for line in show.bars(trace(event("a", 0, 9))).splitlines()) <= 70


@pytest.mark.parametrize(
    "value", [{}, {"traceEvents": []}, {"traceEvents": [{"ph": "M"}]}, {"traceEvents": [{"ph": "X", "name": "a"}]}, []]
)
def test_what_is_no_timeline(value: Any) -> None:
    with pytest.raises(PyruncError, match="no timeline"):
        show.bars(value)
