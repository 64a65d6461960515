"""`make bench-pythons`: launchers that are linked with different versions of CPython, in turn on this machine.

Each of them is a static program, so one that was built on another release of Debian runs here as it does there. Only
the C library's questions to the processor and the kernel are those of this machine. Needs root. Nothing is asserted
about a time.
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests import purev2
from tests.bench import bench, bundles, engine_bundles, table
from tests.bench.runtimes import Failed, adopt_orphans, build_spawn, make_null
from tests.bench.table import Goal, Measure, Samples

BEGIN, END = "<!-- pythons -->", "<!-- /pythons -->"

# What a later version may take of the first one's median.
GOAL = 1.1

ROWS: dict[str, tuple[Measure, ...]] = {
    bench.SMALL: (
        table.VERSION, table.STATE, table.RUN, table.BUSY, table.CREATE, table.START, table.EXEC, table.DELETE,
        table.UPDATE, table.PEAK, table.FAULTS, table.FAULTS_OF_STATE,
    ),
    bench.KUBERNETES: (
        table.RUN, table.BUSY, table.CREATE, table.START, table.DELETE, table.PEAK, table.FAULTS,
    ),
}  # fmt: skip


def rows(samples: Samples, measures: Sequence[Measure], versions: Sequence[str]) -> str:
    """A set's table in Markdown: each version's minimum and median, and the ratio to the first version's median."""
    first, *others = versions
    head = ["median (min)", *versions, *(f"{version} : {first}" for version in others)]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for measure in measures:
        cells = [f"{measure.name} ({measure.unit})"]
        for version in versions:
            median, values = samples.median(measure, version), samples.get(measure, version)
            digits = 2 if measure.digits else 0
            cells.append("–" if median is None else f"{median:.{digits}f} ({min(values):.{digits}f})")
        for version in others:
            base, median = samples.median(measure, first), samples.median(measure, version)
            value = median / base if base and median is not None else None
            met = table.judge(Goal(GOAL, first), value)
            cells.append("–" if value is None else f"{value:.2f}" if met else f"**{value:.2f}**")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def text(sets: dict[str, Samples], versions: Sequence[str], rounds: int) -> str:
    """The section in Markdown."""
    goal = f"The goal is at most {GOAL:g} × {versions[0]} in each row; what misses it is bold."
    return "\n".join(
        [
            f"{bench.machine()}; {rounds} rounds of CPython {', '.join(versions)} in turn. {goal}\n",
            *(f"**{name}**\n\n{rows(sets[name], measures, versions)}" for name, measures in ROWS.items()),
        ]
    )


def measure(programs: dict[str, Path], work: Path, options: argparse.Namespace) -> dict[str, Samples]:
    """Measure everything. Raises Failed if a launcher fails, or is of another commit than the first."""
    build_spawn(work)
    make_null(work)
    made = bench.Bench({version: [str(path.resolve())] for version, path in programs.items()}, work, options)
    made.starters = [*made.runtimes]
    # The key of a filter in the cache has the commit, so launchers of several commits would find none.
    for runtime in made.runtimes:
        runtime("--version")
    if len({runtime.output.read_text() for runtime in made.runtimes}) > 1:
        raise Failed("the launchers are of different commits: `pyrunc --version` (make build after a commit)")
    made.bundles = {
        bench.SMALL: bundles.small(work),
        bench.KUBERNETES: engine_bundles.kubernetes(work, f"/{made.prefix}parent"),
    }
    try:
        for name in ROWS:
            for _ in itertools.islice(made.lives(name), options.rounds):
                pass
    finally:
        bench.clean(made)
    return made.sets


def program(word: str) -> tuple[str, Path]:
    """VERSION=PATH as a version and a path. Raises ValueError."""
    version, equals, path = word.partition("=")
    if not version or not equals or not os.access(path, os.X_OK):
        raise ValueError(word)
    return version, Path(path)


def arguments(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--program", action="append", type=program, required=True, metavar="VERSION=PATH",
        help="a launcher, and the version of CPython that it has; the others are compared with the first",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument(
        "--priority", type=int, default=0, help="a real-time priority, for a machine that does other work too (chrt(1))"
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="the document whose section is replaced")
    return parser.parse_args(argv)


def main() -> None:
    """Measure, print the tables, and write them to the document that the options name."""
    options = arguments(sys.argv[1:])
    programs = dict(options.program)
    if os.geteuid() != 0:
        raise SystemExit("bench: it starts containers: run it as root")
    if len(programs) < 2:
        raise SystemExit("bench: give --program for at least two versions")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, bench.stop)
    if options.priority:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(options.priority))
    purev2.enter()
    adopt_orphans()
    with tempfile.TemporaryDirectory(prefix="pyrunc-bench-") as name:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=711", "bench", name], check=True)
        try:
            sets = measure(programs, Path(name), options)
        except Failed as error:
            raise SystemExit(f"bench: {error}") from None
        finally:
            subprocess.run(["umount", "-l", name], check=True)
    made = text(sets, list(programs), options.rounds)
    print(made, end="")
    if options.write:
        options.write.write_text(table.between_marks(options.write.read_text(), made, BEGIN, END))


if __name__ == "__main__":
    main()
