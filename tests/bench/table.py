"""The table of `make bench`: the measures, the goals, whether they are met, and all of it in Markdown.

Pure: samples come in, text goes out.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple

# The runtime that is judged.
SUBJECT = "pyrunc"

# How many containers of each runtime are made for one whose create is measured while others live.
STEP = 5

BEGIN, END = "<!-- bench -->", "<!-- /bench -->"
LOAD_BEGIN, LOAD_END = "<!-- load -->", "<!-- /load -->"


class Goal(NamedTuple):
    """The goal for the subject's median: at most `factor` times another runtime's median, or at least that with
    `least`.
    """

    factor: float
    against: str
    least: bool = False

    def __str__(self) -> str:
        return f"{'≥' if self.least else '≤'} {self.factor:g} × {self.against}"


class Measure(NamedTuple):
    """One row: its name, its unit, its goals, and how many digits are shown after the point."""

    name: str
    unit: str
    goals: tuple[Goal, ...] = ()
    digits: int = 1


# Peers besides the distribution's: their newest versions, and the floor (floor.py).
NEW = "new-crun"
_SHORT = (Goal(0.45, NEW),)

VERSION = Measure("--version", "ms", (Goal(1.0, "runc"),))
KILL = Measure("kill", "ms", _SHORT)
STATE = Measure("state", "ms", _SHORT)
RUN = Measure("run /bin/true", "ms", (Goal(0.4, "runc"), Goal(0.8, NEW), Goal(1.4, "floor")))
RUN_OF_ENGINE = Measure("run /bin/true", "ms", (Goal(0.25, "new-runc"), Goal(0.75, NEW)))
BUSY = Measure("processor time of run", "ms", (Goal(0.8, NEW), Goal(1.4, "floor")))
QUIET = Measure("run, one a second", "ms", (Goal(0.85, NEW),))
EXEC = Measure("exec /bin/true", "ms", (Goal(0.5, "runc"), Goal(0.6, NEW)))
PS = Measure("ps --format json", "ms", (Goal(0.5, "runc"),))
PAUSE = Measure("pause", "ms", (Goal(0.5, "runc"),))
RESUME = Measure("resume", "ms", (Goal(0.5, "runc"),))
UPDATE = Measure("update", "ms", (Goal(0.5, "runc"),))
EVENTS = Measure("events --stats", "ms", (Goal(0.5, "runc"),))
LIFE = Measure("create + start + delete", "ms", (Goal(0.5, "runc"),))
CREATE = Measure("create", "ms", (Goal(0.75, NEW),))
START = Measure("start", "ms", _SHORT)
DELETE = Measure("delete", "ms", _SHORT)
PEAK = Measure("peak RSS of run", "KiB", (Goal(0.7, "runc"), Goal(1.3, NEW)), 0)
FAULTS = Measure("page faults of run", "count", digits=0)
FAULTS_OF_STATE = Measure("page faults of state", "count", digits=0)
WAITING = Measure("PSS of a waiting container", "KiB", (Goal(0.02, "runc"), Goal(0.2, "crun")), 0)
CLIENTS = Measure("100 creates by 8 clients", "containers/s", (Goal(1.3, NEW, least=True),), 0)
RELAY = Measure("relay", "MiB/s", (Goal(1.0, "runc", least=True), Goal(1.2, NEW, least=True)), 0)
LIST = Measure("list", "ms", (Goal(0.8, NEW),))

# The rows of each set of containers, in the order of the table.
SMALL = (
    VERSION, KILL, STATE, RUN, QUIET, BUSY, EXEC, LIFE, CREATE, START, DELETE, PS, PAUSE, RESUME, UPDATE, EVENTS, PEAK,
    WAITING, CLIENTS, RELAY, LIST,
)  # fmt: skip
LARGE = (KILL, STATE, RUN, BUSY, EXEC, LIFE, CREATE, START, DELETE, PS, PAUSE, RESUME, UPDATE, EVENTS, PEAK, WAITING)
ENGINE = (RUN_OF_ENGINE, QUIET, BUSY, LIFE, CREATE, START, DELETE, PEAK)


class Samples:
    """All values of a set: by measure, then by runtime."""

    def __init__(self) -> None:
        self.values: dict[str, dict[str, list[float]]] = {}

    def add(self, measure: Measure, runtime: str, value: float) -> None:
        """Record one value, in the measure's unit."""
        self.values.setdefault(measure.name, {}).setdefault(runtime, []).append(value)

    def get(self, measure: Measure, runtime: str) -> list[float]:
        """The values so far, in the order in which they came."""
        return self.values.get(measure.name, {}).get(runtime, [])

    def median(self, measure: Measure, runtime: str) -> float | None:
        """The median, or None if nothing was measured."""
        values = self.get(measure, runtime)
        return statistics.median(values) if values else None


def ratio(samples: Samples, measure: Measure, against: str) -> float | None:
    """The subject's median in units of another runtime's; None if one of them is missing."""
    own, other = samples.median(measure, SUBJECT), samples.median(measure, against)
    return own / other if own is not None and other else None


def judge(goal: Goal, value: float | None) -> bool | None:
    """Whether a ratio meets a goal; None if there is no ratio."""
    if value is None:
        return None
    return value >= goal.factor if goal.least else value <= goal.factor


def verdict(samples: Samples, measure: Measure) -> str:
    """A row's goals, each with its verdict."""
    words = {True: "met", False: "**missed**", None: "not measured"}
    return ", ".join(f"{goal}: {words[judge(goal, ratio(samples, measure, goal.against))]}" for goal in measure.goals)


def missed(samples: Samples, measures: Iterable[Measure]) -> list[str]:
    """The goals that were measured and not met, as sentences."""
    found = []
    for measure in measures:
        for goal in measure.goals:
            value = ratio(samples, measure, goal.against)
            if judge(goal, value) is False:
                found.append(f"{measure.name}: {value:.3g} × {goal.against} (goal {goal})")
    return found


def cell(values: Sequence[float], digits: int) -> str:
    """Minimum, median and maximum; a dash if there are no values."""
    if not values:
        return "–"
    return f"{min(values):.{digits}f} / **{statistics.median(values):.{digits}f}** / {max(values):.{digits}f}"


def table(samples: Samples, measures: Iterable[Measure], runtimes: Sequence[str]) -> str:
    """The rows in Markdown: each runtime's minimum, median and maximum, the ratios of the medians, and the goals."""
    others = [name for name in runtimes if name in ("new-runc", NEW, "floor")]
    others = others or [name for name in runtimes if name in ("runc", "crun")]
    head = ["min / **median** / max", *runtimes, *(f"{SUBJECT} : {name}" for name in others), "goal"]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 2) + "|---|"]
    for measure in measures:
        cells = [f"{measure.name} ({measure.unit})"]
        cells += [cell(samples.get(measure, name), measure.digits) for name in runtimes]
        for name in others:
            value = ratio(samples, measure, name)
            cells.append("–" if value is None else f"{value:.3f}" if value < 0.1 else f"{value:.2f}")
        cells.append(verdict(samples, measure))
        lines.append("| " + " | ".join(cells).rstrip() + " |")
    return "\n".join(lines) + "\n"


def growth(latencies: dict[str, list[float]], groups: int = 5) -> str:
    """The medians of `create`'s latency (ms) in equal parts of the containers that lived, in Markdown.

    latencies: by runtime; the value at index n was measured with n * STEP containers of that runtime alive. Those of
    the floor are of its `run`.
    """
    count = min(map(len, latencies.values()), default=0)
    groups = min(groups, count)
    if not groups:
        return ""
    edges = [count * number // groups for number in range(groups + 1)]
    head = ["create (ms) with … alive", *(f"{a * STEP} to {b * STEP - 1}" for a, b in itertools.pairwise(edges))]
    lines = [
        "| " + " | ".join([*head, "last : first", "last minus first"]) + " |",
        "|---" + "|---:" * (groups + 2) + "|",
    ]
    for name, values in latencies.items():
        medians = [statistics.median(values[a:b]) for a, b in itertools.pairwise(edges)]
        cells = ["floor's run" if name == "floor" else name, *(f"{value:.1f}" for value in medians)]
        cells += [f"{medians[-1] / medians[0]:.2f}", f"{medians[-1] - medians[0]:.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def running_median(values: Sequence[float], width: int) -> list[float]:
    """For each value the median of at most `width` values around it (fewer at the ends)."""
    half = width // 2
    return [statistics.median(values[max(0, n - half) : n + half + 1]) for n in range(len(values))]


def between_marks(document: str, text: str, begins: str = BEGIN, ends: str = END) -> str:
    """Replace the text between the document's marks. Raises ValueError if it has no marks."""
    head, begin, rest = document.partition(begins)
    _, end, tail = rest.partition(ends)
    if not begin or not end:
        raise ValueError(f"no {begins} … {ends}")
    return f"{head}{begin}\n{text}{end}{tail}"
