"""`pyrunc plan --timeline FILE`: a Chrome trace as bars in the terminal. Cold."""

from __future__ import annotations

import json
from typing import Any

from ...errors import PyruncError, join
from ..launch.hooks import ENDED_WELL
from ..plan.model import PHASES
from . import table as show_table

_TRACKS = {1: "runtime", 2: "init"}
# Steps in which another process does the work: those in which the init asks the runtime or `start`, the runtime
# systemd, and `start` the init.
_WAITS = ("request", "ready", "await_start", "start", "send_console", "open_inside", "systemd_scope", "systemd_attach")
_COLUMN_NAMES = ("span", "runtime", "init", "waiting")
# The width without a terminal.
_COLUMNS = 100
_SMALLEST_BAR = 10
_SHORTEST_NAME = 16
# The columns of the milliseconds and the blanks around them, and one more, by which a bar may exceed the end.
_NUMBERS = 15
# Parts of a column, in eighths.
_BLOCKS = " ▏▎▍▌▋▊▉"
_FULL = "█"
_WAITING = "░"
# The phase of the poststop hooks. They come after the container's life, whose length is not that of a step: their bars
# have a scale of their own, and the whole ends without them.
_AFTERWARDS = "stop"


def bars(trace: dict[str, Any], width: int = 0) -> str:
    """The trace's steps as horizontal bars over time, with their milliseconds, and the totals of each phase.

    A step that only waits for another process (the init for the runtime or `start`, the runtime for systemd, `start`
    for the init) has a light bar, and counts as waiting.
    trace: Chrome trace-event JSON as `--timeline` writes it: complete events (`"ph": "X"`), `ts` and `dur` in
    microseconds, `tid` 1 for the runtime and 2 for the init. width: columns in all; 0 for the terminal's. Raises
    PyruncError if it has no such events.
    """
    launch, afterwards = _parted(_grouped(_events(trace)))
    events = launch + afterwards
    begin, end = _span(launch or afterwards)
    names = [_label(event) for event in events]
    columns = width or show_table.columns() or _COLUMNS
    name_width = min(max(len(name) for name in names), max(_SHORTEST_NAME, columns - _NUMBERS - _SMALLEST_BAR))
    names = [name if len(name) <= name_width else name[: name_width - 1] + "…" for name in names]
    space = max(_SMALLEST_BAR, columns - name_width - _NUMBERS)
    lines = []
    for part in (launch, afterwards):
        first, last = _span(part) if part else (0.0, 0.0)
        scale = space / (last - first) if last > first else 0.0
        lines += [
            f"{names.pop(0).ljust(name_width)} {_milliseconds(event['sum'])}  "
            + _bar((event["ts"] - first) * scale, event["dur"] * scale, _waits(event))
            for event in part
        ]
    lines.append(f"{'whole'.ljust(name_width)} {_milliseconds(end - begin)}")
    return "\n".join([*lines, "", *_table(totals(trace))]) + "\n"


def _parted(events: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The events of the launch, and those that come after the container's life."""
    later = [event for event in events if event.get("cat") == _AFTERWARDS]
    return [event for event in events if event.get("cat") != _AFTERWARDS], later


def _grouped(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events, those of equal steps that follow each other as one, with `count` and `sum` (of their `dur`)."""
    result: list[dict[str, Any]] = []
    for event in events:
        last = result[-1] if result else {}
        if event["name"] in show_table.LISTED and all(
            event.get(key) == last.get(key) for key in ("name", "tid", "cat")
        ):
            last["count"] += 1
            last["sum"] += event["dur"]
            last["dur"] = event["ts"] + event["dur"] - last["ts"]
            last["args"] = {}
        else:
            result.append({**event, "count": 1, "sum": event["dur"]})
    return result


def totals(trace: dict[str, Any]) -> list[dict[str, Any]]:
    """The totals of each phase in its order, and of the whole, as objects: `phase` ("whole" for the last), `span`, from
    the phase's first beginning to its last end, and `runtime`, `init` and `waiting`, the time that the steps of each
    took; in microseconds. What the runtime does while the init waits for it counts in both columns.

    Raises PyruncError if the trace has no complete events.
    """
    events = _events(trace)
    found = [str(event.get("cat", "")) for event in events]
    known = [phase for phase in PHASES if phase in found]
    phases = known + sorted(set(found) - set(known))
    result = [_total(phase, [event for event in events if str(event.get("cat", "")) == phase]) for phase in phases]
    launch, afterwards = _parted(events)
    return [*result, _total("whole", launch or afterwards)]


def as_json(trace: dict[str, Any]) -> str:
    """The totals as JSON text: `{"phases": [...], "whole": {...}}`, the objects being those of `totals`."""
    *phases, whole = totals(trace)
    return json.dumps({"phases": phases, "whole": whole}, indent=2, ensure_ascii=False) + "\n"


def _total(phase: str, events: list[dict[str, Any]]) -> dict[str, Any]:
    begin, end = _span(events)
    times = {"runtime": 0.0, "init": 0.0, "waiting": 0.0}
    for event in events:
        who = "waiting" if _waits(event) else _TRACKS.get(event.get("tid", 0), "runtime")
        times[who] += event["dur"]
    return {"phase": phase, "span": round(end - begin, 3), **{who: round(time, 3) for who, time in times.items()}}


def _table(found: list[dict[str, Any]]) -> list[str]:
    """The totals as columns, in milliseconds."""
    names = max(10, *[len(total["phase"]) for total in found])
    lines = [f"{'PHASE'.ljust(names)}  {'SPAN':>11}  {'RUNTIME':>11}  {'INIT':>11}  {'WAITING':>11}"]
    for total in found:
        cells = [_milliseconds(total[column]) if total[column] else f"{'-':>11}" for column in _COLUMN_NAMES]
        lines.append("  ".join([total["phase"].ljust(names), *cells]))
    return lines


def _waits(event: dict[str, Any]) -> bool:
    return event["name"] in _WAITS


def _span(events: list[dict[str, Any]]) -> tuple[float, float]:
    """When the first of the events began and the last one ended."""
    return min(event["ts"] for event in events), max(event["ts"] + event["dur"] for event in events)


def _events(trace: dict[str, Any]) -> list[dict[str, Any]]:
    entries = trace.get("traceEvents") if isinstance(trace, dict) else None
    events = [entry for entry in entries or () if isinstance(entry, dict) and entry.get("ph") == "X"]
    if not events or not all(_is_complete(event) for event in events):
        raise PyruncError("it has no complete events")
    return sorted(events, key=lambda event: float(event["ts"]))


def _is_complete(event: dict[str, Any]) -> bool:
    return isinstance(event.get("ts"), (int, float)) and isinstance(event.get("dur"), (int, float)) and "name" in event


def _label(event: dict[str, Any]) -> str:
    """The actor and the step, with the pointer if it distinguishes steps of one kind."""
    text = f"{_TRACKS.get(event.get('tid', 0), '?'):7}  {event['name']}"
    args = event.get("args") or {}
    pointer = args.get("pointer")
    text += " (waits)" if _waits(event) else ""
    if event["count"] > 1:
        text += f" ×{event['count']}"
    text = f"{text} {pointer}" if pointer else text
    if args.get("end", ENDED_WELL) != ENDED_WELL:
        text += f": {args['end']}"
    return join([text]) if not text.isprintable() else text


def _milliseconds(microseconds: float) -> str:
    return f"{microseconds / 1000:8.3f} ms"


def _bar(start: float, length: float, waits: bool) -> str:
    """A bar from column `start`, `length` columns long, to an eighth of a column; never nothing."""
    full = int(length)
    if waits:
        return " " * int(start) + _WAITING * max(1, full)
    part = int((length - full) * 8)
    return " " * int(start) + (_FULL * full + (_BLOCKS[part] if part else "") or _BLOCKS[1])
