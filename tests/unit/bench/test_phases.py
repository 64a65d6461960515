"""The phases of a timeline: their ends, their order and their medians."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bench import phases
from tests.bench.phases import Phase


def event(track: int, phase: str, begin: float, duration: float) -> dict[str, Any]:
    return {"name": "x", "cat": phase, "ph": "X", "ts": begin, "dur": duration, "pid": 1, "tid": track}


def test_phases_begin_with_the_command_and_end_with_it() -> None:
    name = {"name": "thread_name", "ph": "M", "pid": 1, "tid": 1}
    steps = [event(2, "rootfs", 4000, 500), event(1, "clone", 3000, 1500), event(2, "rootfs", 5000, 1)]
    trace = {"traceEvents": [name, *steps]}
    assert phases.phases(trace, 1_000_000, 9_000_000) == [
        Phase("runtime", phases.BEFORE, 0, 2),
        Phase("runtime", "clone", 2, 3.5),
        Phase("init", "rootfs", 3, 4.001),
        Phase("runtime", phases.AFTER, 4.001, 8),
    ]


def test_timeline_without_a_step() -> None:
    with pytest.raises(ValueError, match="without a step"):
        phases.phases({"traceEvents": []}, 0, 1)


def test_medians_are_by_side_and_phase() -> None:
    runs = [[Phase("runtime", "ready", 5, 6 + n), Phase("init", "ready", n, 9)] for n in (0, 1, 7)]
    assert phases.medians(runs) == [Phase("init", "ready", 1, 9), Phase("runtime", "ready", 5, 7)]


def test_table_has_a_dash_where_a_set_lacks_the_phase() -> None:
    text = phases.table({"a": [Phase("init", "x", 1, 2.5)], "b": [Phase("init", "y", 0, 1)]})
    assert text.splitlines()[2:] == ["| x | init | 1.50 | – |", "| y | init | – | 1.00 |"]
