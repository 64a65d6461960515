"""`make bench-waits`: where a start waits. The kernel's trace of `run`, one a second, by process and system call.

A wait is the time between the moment when a process gives up its processor by itself, and the moment when it is woken
up. What it waits for may be the kernel (RCU grace periods in mount, umount, clone and the removal of namespaces and
cgroups), or another process of the same start (wait4, recvmsg, futex). From the wake-up until it runs, it queues.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pyrunc._generated.syscalls import NAMES
from tests import purev2
from tests.bench import bench, bundles, engine_bundles, floor, table
from tests.bench.runtimes import Runtime, adopt_orphans, build_spawn, make_null, sweep

EVENTS = (
    "raw_syscalls/sys_enter", "raw_syscalls/sys_exit", "sched/sched_switch", "sched/sched_wakeup",
    "sched/sched_process_fork", "sched/sched_process_exec",
)  # fmt: skip
LINE = re.compile(r"\s*(.+)-(\d+)\s+\[\d+\]\s+\S+\s+([\d.]+): (\w+): (.*)$")
SWITCH = re.compile(
    r"prev_comm=(.*) prev_pid=(\d+) prev_prio=\d+ prev_state=(\S+) ==> next_comm=.* next_pid=(\d+) next_prio=\d+$"
)
WAKEUP = re.compile(r"pid=(\d+) prio=\d+ target_cpu=\d+$")
# Waits below this are left out of the table (ms).
LEAST = 0.03
BEGIN, END = "<!-- waits -->", "<!-- /waits -->"
# The call of a process that has not entered one: a page fault, or the end of its quantum.
NO_CALL = "no call"


class Wait(NamedTuple):
    """One wait: the process's name then, the call, the kernel's state of it (S or D), and milliseconds: until it was
    woken up, and until it ran.
    """

    process: str
    call: str
    state: str
    waited: float
    queued: float


def waits(lines: Iterable[str], program: str) -> list[Wait]:
    """The waits of a program and its descendants, from the text of the kernel's trace.

    program: the path that was executed. What was before its execve is not counted.
    """
    family: set[int] = set()
    calls: dict[int, str] = {}
    away: dict[int, tuple[str, str, float]] = {}  # the process's name, its state, and when it went
    woken: dict[int, float] = {}
    found: list[Wait] = []
    for line in lines:
        match = LINE.match(line)
        if match is None:
            continue
        pid, at, event, rest = int(match[2]), float(match[3]) * 1000, match[4], match[5]
        if event == "sched_process_exec" and f"filename={program} " in rest:
            family.add(pid)
        elif event == "sched_process_fork" and pid in family:
            family.add(int(rest.rpartition("child_pid=")[2]))
        elif event == "sys_enter" and pid in family:
            number = int(rest.split()[1])
            calls[pid] = NAMES.get(number, str(number))
        elif event == "sys_exit" and pid in family:
            calls.pop(pid, None)
        elif event == "sched_wakeup":
            number = (
                int(rest.partition(" pid=")[2].split()[0]) if " pid=" in rest else int(rest.split("pid=")[1].split()[0])
            )
            if number in away:
                woken[number] = at
        elif event == "sched_switch" and (switch := SWITCH.match(rest)):
            before, after = int(switch[2]), int(switch[4])
            if before in family and switch[3][0] in "SDI":
                away[before] = (switch[1], switch[3][0], at)
            if after in away:
                name, state, since = away.pop(after)
                wake = woken.pop(after, at)
                found.append(Wait(name, calls.get(after, NO_CALL), state, wake - since, at - wake))
    return found


class Row(NamedTuple):
    """The waits of one call in one start: how many, and the milliseconds of a median start."""

    process: str
    call: str
    state: str
    times: float
    waited: float
    queued: float


def rows(starts: list[list[Wait]]) -> list[Row]:
    """The waits of several starts, added up by process, call and state; medians, the longest first."""
    sums: dict[tuple[str, str, str], list[list[Wait]]] = defaultdict(lambda: [[] for _ in starts])
    for number, start in enumerate(starts):
        for wait in start:
            sums[wait[:3]][number].append(wait)
    made = [
        Row(
            *key,
            statistics.median(len(each) for each in values),
            statistics.median(sum(wait.waited for wait in each) for each in values),
            statistics.median(sum(wait.queued for wait in each) for each in values),
        )
        for key, values in sums.items()
    ]
    return sorted((row for row in made if row.waited + row.queued >= LEAST), key=lambda row: -row.waited)


def text(found: dict[tuple[str, str], list[list[Wait]]]) -> str:
    """The table of all sets and runtimes."""
    lines = ["| set | runtime | process | call | state | waits | waited (ms) | queued (ms) |"]
    lines.append("|---|---|---|---|---|---:|---:|---:|")
    for (name, runtime), starts in found.items():
        lines += [
            f"| {name} | {runtime} | {row.process} | {row.call} | {row.state} | {row.times:g} | {row.waited:.2f} "
            f"| {row.queued:.2f} |"
            for row in rows(starts)
        ]
    return "\n".join(lines) + "\n"


class Tracer:
    """The kernel's trace of the events, in an instance of its own (ftrace, tracefs)."""

    def __init__(self, tracefs: Path) -> None:
        self.instance = tracefs / f"instances/pyrunc-waits-{os.getpid()}"
        self.instance.mkdir()

    def begin(self) -> None:
        """Switch the events on."""
        self._write("buffer_size_kb", "16384")
        for event in EVENTS:
            self._write(f"events/{event}/enable", "1")

    def _write(self, name: str, value: str) -> None:
        (self.instance / name).write_text(value)

    def of(self, runtime: Runtime, words: list[str], program: str) -> list[Wait]:
        """The waits of one command. Raises Failed."""
        self._write("trace", "")
        self._write("tracing_on", "1")
        try:
            runtime(*words)
        finally:
            self._write("tracing_on", "0")
        return waits((self.instance / "trace").read_text(errors="replace").splitlines(), program)

    def close(self) -> None:
        """Remove the instance."""
        self.instance.rmdir()


def measure(found: dict[str, list[str]], work: Path, rounds: int) -> dict[tuple[str, str], list[list[Wait]]]:
    """Trace that many starts of each runtime and of the floor, one a second, in turn. Raises Failed."""
    prefix = f"pyrunc-waits-{os.getpid()}-"
    build_spawn(work)
    make_null(work)
    sets = {
        bench.SMALL: bundles.small(work).short,
        bench.KUBERNETES: engine_bundles.kubernetes(work, f"/{prefix}parent").short,
    }
    lowest = floor.Floor(work, prefix + floor.NAME)
    for bundle in sets.values():
        lowest.record(bundle)
    runtimes = [*(Runtime(name, command, work) for name, command in found.items()), lowest]
    tracefs = work / "tracefs"
    tracefs.mkdir()
    subprocess.run(["mount", "-t", "tracefs", "tracefs", tracefs], check=True)
    results: dict[tuple[str, str], list[list[Wait]]] = {}
    tracer = Tracer(tracefs)
    try:
        tracer.begin()
        for _ in range(rounds + 1):
            for name, bundle in sets.items():
                for runtime in runtimes:
                    time.sleep(bench.QUIET)
                    words = ["run", "--bundle", str(bundle), prefix + runtime.name]
                    start = tracer.of(runtime, words, runtime.command[0])
                    results.setdefault((name, runtime.name), []).append(start)
    finally:
        tracer.close()
        subprocess.run(["umount", "-l", tracefs], check=True)
        sweep(prefix, [runtime.root for runtime in runtimes])
    return {key: starts[1:] for key, starts in results.items()}  # the first round warms the caches


def main() -> None:
    """Trace, print the table, and write it to the document that the options name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pyrunc", type=Path, default=bench.REPOSITORY / "build/bench/usr/bin/pyrunc")
    parser.add_argument("--peers", type=Path, metavar="DIRECTORY", help="where the newest runc and crun are")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--write", type=Path, metavar="FILE", help="the document whose table is replaced")
    options = parser.parse_args(sys.argv[1:], argparse.Namespace(wheel=None))
    found = {name: line for name, line in bench.commands(options).items() if name in (table.SUBJECT, table.NEW)}
    purev2.enter()
    adopt_orphans()
    with tempfile.TemporaryDirectory(prefix="pyrunc-waits-") as name:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=711", "bench", name], check=True)
        try:
            made = text(measure(found, Path(name), options.rounds))
        finally:
            subprocess.run(["umount", "-l", name], check=True)
    print(made, end="")
    if options.write:
        options.write.write_text(table.between_marks(options.write.read_text(), made, BEGIN, END))


if __name__ == "__main__":
    main()
