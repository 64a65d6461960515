"""The phases of a start: what takes time between the command's start and its end, by `--timeline` files. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

# The timeline does not have these: before its first step the interpreter starts, reads and compiles; after its last one
# the container runs, and the runtime waits and deletes.
BEFORE = "start, read, compile"
AFTER = "run, wait, delete"

# The tracks of the timeline's events.
TRACKS = {1: "runtime", 2: "init"}


class Phase(NamedTuple):
    """A phase of one side; begin and end in milliseconds from the command's start."""

    track: str
    name: str
    begin: float
    end: float


def phases(trace: dict[str, Any], start: int, end: int) -> list[Phase]:
    """The phases of one command that ran from `start` to `end` (ns, CLOCK_MONOTONIC), in the order in which they began.

    trace: a Chrome trace whose complete events ("X") have the phase as category. ValueError if it has none.
    """
    spans: dict[tuple[str, str], tuple[float, float]] = {}
    for event in trace["traceEvents"]:
        if event["ph"] != "X":
            continue
        key = TRACKS[event["tid"]], event["cat"]
        begin = event["ts"] / 1e3 - start / 1e6
        low, high = spans.get(key, (begin, begin))
        spans[key] = min(low, begin), max(high, begin + event["dur"] / 1e3)
    if not spans:
        raise ValueError("a timeline without a step")
    first = min(low for low, _ in spans.values())
    last = max(high for _, high in spans.values())
    found = [Phase(*key, *span) for key, span in spans.items()]
    found += [Phase("runtime", BEFORE, 0.0, first), Phase("runtime", AFTER, last, (end - start) / 1e6)]
    return sorted(found, key=lambda phase: phase.begin)


def medians(runs: Sequence[list[Phase]]) -> list[Phase]:
    """The median begin and end of each phase over several runs, in the order in which they begin."""
    by_key: dict[tuple[str, str], list[Phase]] = {}
    for run in runs:
        for phase in run:
            by_key.setdefault((phase.track, phase.name), []).append(phase)
    found = [
        Phase(*key, statistics.median(p.begin for p in some), statistics.median(p.end for p in some))
        for key, some in by_key.items()
    ]
    return sorted(found, key=lambda phase: phase.begin)


def table(sets: dict[str, list[Phase]]) -> str:
    """The duration of each phase (ms), in Markdown: a row for each phase, a column for each set."""
    longest_first = sorted(sets.values(), key=len, reverse=True)
    keys = dict.fromkeys((phase.name, phase.track) for some in longest_first for phase in some)
    lines = ["| phase (ms) | by | " + " | ".join(sets) + " |", "|---|---" + "|---:" * len(sets) + "|"]
    for name, track in keys:
        cells = [name, track]
        for some in sets.values():
            spans = [f"{p.end - p.begin:.2f}" for p in some if (p.name, p.track) == (name, track)]
            cells.append(spans[0] if spans else "–")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
