"""A timeline as bars."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.show import timeline as show_timeline


def event(
    name: str, start: float, length: float, track: int = 1, pointer: str = "", phase: str = "prepare"
) -> dict[str, Any]:
    return {
        "ph": "X", "name": name, "ts": start, "dur": length, "tid": track, "cat": phase, "args": {"pointer": pointer},
    }  # fmt: skip


def trace(*events: dict[str, Any]) -> dict[str, Any]:
    return {"traceEvents": [{"ph": "M", "name": "thread_name", "tid": 1}, *events]}


def test_bars_over_time() -> None:
    # 44 columns, less 14 for the names and 15 for the numbers, leave 15 for 1.5 ms
    events = event("mount", 600, 500, 2), event("clone", 100, 1000), event("chdir", 1600, 0, 2)
    text = show_timeline.bars(trace(*events), 44)
    assert text.splitlines()[:4] == [
        "runtime  clone    1.000 ms  ██████████",
        "init     mount    0.500 ms       █████",
        "init     chdir    0.000 ms                 ▏",
        "whole             1.500 ms",
    ]


def test_poststop_hooks_have_a_scale_of_their_own() -> None:
    """They come after the container's life, which may have been long."""
    later = event("runtime_hook", 9_000_000, 500, 1, "/hooks/poststop/0", "stop")
    later["args"]["end"] = "exit status 3"
    made = trace(event("clone", 0, 1500), later, event("runtime_hook", 9_000_500, 500, 1, "", "stop"))
    lines = show_timeline.bars(made, 100).splitlines()
    name = "runtime  runtime_hook /hooks/poststop/0: exit status 3"
    assert lines[1].startswith(f"{name}    0.500 ms  █")
    whole = 100 - len(name) - 15
    assert lines[0].endswith("  " + "█" * whole)
    assert lines[2].endswith("  " + " " * (whole // 2) + "█" * (whole // 2)) or whole % 2
    assert lines[3].endswith("   1.500 ms")
    phases = json.loads(show_timeline.as_json(made))
    assert [phase["phase"] for phase in phases["phases"]] == ["prepare", "stop"]
    assert phases["whole"]["span"] == 1500
    assert show_timeline.bars(trace(later), 100).splitlines()[1].endswith(" 0.500 ms")


def test_n8_totals_by_phase() -> None:
    events = [
        event("execute", 2000, 100, 2, phase="start"), event("state_dir", 0, 250),
        event("clone", 250, 750, 1, "", "clone"),
        event("mount", 900, 300, 2, phase="rootfs"), event("request", 1200, 500, 2, phase="rootfs"),
        event("runtime_hook", 1300, 350, 1, phase="rootfs"),
    ]  # fmt: skip
    lines = show_timeline.bars(trace(*events), 80).splitlines()
    at = lines.index("")
    assert [line.replace(" ms", "").split() for line in lines[at + 1 :]] == [
        ["PHASE", "SPAN", "RUNTIME", "INIT", "WAITING"],
        ["prepare", "0.250", "0.250", "-", "-"],
        ["clone", "0.750", "0.750", "-", "-"],
        ["rootfs", "0.800", "0.350", "0.300", "0.500"],
        ["start", "0.100", "-", "0.100", "-"],
        ["whole", "2.100", "1.350", "0.400", "0.500"],
    ]
    value = json.loads(show_timeline.as_json(trace(*events)))
    assert [total["phase"] for total in value["phases"]] == ["prepare", "clone", "rootfs", "start"]
    assert value["whole"] == {"phase": "whole", "span": 2100, "runtime": 1350, "init": 400, "waiting": 500}


@pytest.mark.parametrize("name", ["request", "ready", "await_start", "send_console", "systemd_scope"])
def test_n8_a_wait_is_shown_as_a_wait(name: str) -> None:
    text = show_timeline.bars(trace(event("a", 0, 100), event(name, 100, 900, 2)), 80).splitlines()
    assert f"{name} (waits)" in text[1]
    assert "░░░░" in text[1]
    assert "█" not in text[1]
    assert "█" in text[0]


def test_n8_equal_steps_are_one_bar_with_their_sum() -> None:
    events = [event("mask_path", 10.0 * number, 5, 2, f"/linux/maskedPaths/{number}") for number in range(12)]
    events += [event("mount", 200, 5, 2, "/mounts/0"), event("mount", 210, 5, 2, "/mounts/1")]
    lines = show_timeline.bars(trace(*events), 80).splitlines()
    assert lines[0].split()[:4] == ["init", "mask_path", "×12", "0.060"]
    assert [line.split()[2] for line in lines[1:3]] == ["/mounts/0", "/mounts/1"]


def test_parts_of_a_column_are_drawn() -> None:
    text = show_timeline.bars(trace(event("a", 0, 1000), event("b", 0, 550)), 35)
    assert text.splitlines()[0].endswith("█" * 10)
    assert text.splitlines()[1].endswith(" █████▌") or text.splitlines()[1].endswith(" █████▍")


def test_the_config_s_place_tells_steps_apart() -> None:
    text = show_timeline.bars(trace(event("mount", 0, 5, 2, "/mounts/0"), event("mount", 5, 5, 2, "/mounts/1")), 80)
    assert [line.split()[:3] for line in text.splitlines()[:2]] == [
        ["init", "mount", "/mounts/0"],
        ["init", "mount", "/mounts/1"],
    ]


@pytest.mark.parametrize("width", [1, 60, 200])
def test_no_line_is_wider_than_asked_for(width: int) -> None:
    text = show_timeline.bars(trace(event("a", 0, 700), event("b", 333.3, 1234.5), event("c", 1567.8, 0)), width)
    lines = text.splitlines()
    assert max(len(line) for line in lines[: lines.index("")]) <= max(width, 42)


def test_a_moment_only() -> None:
    assert "0.000 ms" in show_timeline.bars(trace(event("a", 7, 0)), 60)


def test_the_terminal_s_width_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    assert 60 < max(len(line) for line in show_timeline.bars(trace(event("a", 0, 9))).splitlines()) <= 70


@pytest.mark.parametrize(
    "value", [{}, {"traceEvents": []}, {"traceEvents": [{"ph": "M"}]}, {"traceEvents": [{"ph": "X", "name": "a"}]}, []]
)
def test_what_is_no_timeline(value: Any) -> None:
    with pytest.raises(PyruncError, match="no complete events"):
        show_timeline.bars(value)
