"""The plots of `make bench`, by matplotlib (the `bench` extra)."""

from __future__ import annotations

from pathlib import Path

import matplotlib

from tests.bench.phases import Phase
from tests.bench.table import STEP, running_median

# Before pyplot is imported: it would take the display's backend.
matplotlib.use("agg")

from matplotlib import pyplot
from matplotlib.figure import Figure

COLOURS = {
    "pyrunc": "#1f6fb4", "runc": "#c8442c", "crun": "#3a8f4f", "new-runc": "#e79c8e", "new-crun": "#9dcfa8",
    "wheel": "#8fb8dc", "floor": "#777777", "runtime": "#1f6fb4", "init": "#e0932a",
}  # fmt: skip
WINDOW = 9


def startup(path: Path, sets: dict[str, list[Phase]]) -> None:
    """Each set's phases as bars over the time since the command's start, the runtime's and the init's."""
    figure, axes = pyplot.subplots(
        len(sets), 1, sharex=True, squeeze=False, figsize=(9, 1 + 2.4 * len(sets)), layout="constrained"
    )
    for axis, (name, some) in zip(axes[:, 0], sets.items(), strict=True):
        for row, phase in enumerate(some):
            width = phase.end - phase.begin
            axis.barh(row, width, left=phase.begin, color=COLOURS[phase.track])
            axis.annotate(f"{width:.2f}", (phase.end, row), (3, 0), textcoords="offset points", va="center", size=8)
        axis.set_yticks(range(len(some)), [f"{phase.name} ({phase.track})" for phase in some], size=8)
        axis.invert_yaxis()
        axis.margins(x=0.08)
        axis.set_title(f"run /bin/true, {name}", size=10)
        axis.grid(axis="x", alpha=0.3)
    axes[-1, 0].set_xlabel("ms since the command was started (medians)")
    save(figure, path)


def latency(path: Path, latencies: dict[str, list[float]]) -> None:
    """`create`'s latency over the number of living containers: every value, and the running median."""
    figure, axis = pyplot.subplots(figsize=(9, 4.5), layout="constrained")
    top = 0.0
    for name, values in latencies.items():
        smooth = running_median(values, WINDOW)
        alive = range(0, len(values) * STEP, STEP)
        axis.plot(alive, values, ".", color=COLOURS[name], alpha=0.15, markersize=3, rasterized=True)
        axis.plot(alive, smooth, color=COLOURS[name], label=name)
        top = max(top, *smooth)
    axis.set_ylim(0, top * 1.6)
    axis.set_xlabel("living containers of the runtime (as many of each of the others live beside them)")
    axis.set_ylabel("create, ms")
    axis.legend(title=f"running median of {WINDOW}")
    axis.grid(alpha=0.3)
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Write a PNG that is the same for equal values."""
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
