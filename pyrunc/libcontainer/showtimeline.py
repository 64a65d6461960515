"""`pyrunc plan --timeline FILE`: a Chrome trace as bars in the terminal. Cold."""

from __future__ import annotations

import shutil
from typing import Any

from ..report import PyruncError

_TRACKS = {1: "runtime", 2: "init"}
_SMALLEST_BAR = 10
# The columns of the milliseconds with the blanks around them, and one that a bar may have beyond the end.
_NUMBERS = 15
# Parts of a column, in eighths.
_BLOCKS = " ▏▎▍▌▋▊▉"
_FULL = "█"


def bars(trace: dict[str, Any], width: int = 0) -> str:
    """The trace's steps as horizontal bars over time, with their milliseconds.

    trace: Chrome trace-event JSON as `--timeline` writes it: complete events (`"ph": "X"`), `ts` and `dur` in
    microseconds, `tid` 1 for the runtime and 2 for the init. width: columns in all; 0 for the terminal's.
    Raises PyruncError where it has no such events.
    """
    events = _events(trace)
    begin = min(event["ts"] for event in events)
    end = max(event["ts"] + event["dur"] for event in events)
    names = [_label(event) for event in events]
    name_width = max(len(name) for name in names)
    space = max(_SMALLEST_BAR, (width or _columns()) - name_width - _NUMBERS)
    scale = space / (end - begin) if end > begin else 0.0
    lines = [
        f"{name.ljust(name_width)} {_milliseconds(event['dur'])}  "
        + _bar((event["ts"] - begin) * scale, event["dur"] * scale)
        for name, event in zip(names, events, strict=True)
    ]
    lines.append(f"{'whole'.ljust(name_width)} {_milliseconds(end - begin)}")
    return "\n".join(lines) + "\n"


def _events(trace: dict[str, Any]) -> list[dict[str, Any]]:
    entries = trace.get("traceEvents") if isinstance(trace, dict) else None
    events = [entry for entry in entries or () if isinstance(entry, dict) and entry.get("ph") == "X"]
    if not events or not all(_is_complete(event) for event in events):
        raise PyruncError("the file is no timeline: it has no complete events")
    return sorted(events, key=lambda event: float(event["ts"]))


def _is_complete(event: dict[str, Any]) -> bool:
    return isinstance(event.get("ts"), (int, float)) and isinstance(event.get("dur"), (int, float)) and "name" in event


def _label(event: dict[str, Any]) -> str:
    """The actor and the step, with the config's place where it tells steps of one kind apart."""
    text = f"{_TRACKS.get(event.get('tid', 0), '?'):7}  {event['name']}"
    pointer = (event.get("args") or {}).get("pointer")
    return f"{text} {pointer}" if pointer else text


def _milliseconds(microseconds: float) -> str:
    return f"{microseconds / 1000:8.3f} ms"


def _bar(start: float, length: float) -> str:
    """A bar from column `start`, `length` columns long, to an eighth of a column; never nothing."""
    full = int(length)
    part = int((length - full) * 8)
    return " " * int(start) + (_FULL * full + (_BLOCKS[part] if part else "") or _BLOCKS[1])


def _columns() -> int:
    """The terminal's width, or what COLUMNS says."""
    return shutil.get_terminal_size((100, 24)).columns
