"""`make bench`: the installed launcher beside the wheel, runc and crun, in a pure cgroup2 namespace.

The runtimes take turns within every round, so that a disturbance of the machine affects all of them. Each measured
start follows an unmeasured start, the same for all runtimes. Needs root. Nothing is asserted about a time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from tests import purev2
from tests.bench import bundles, engine_bundles, floor, peers, phases, relay, table
from tests.bench.runtimes import Failed, Runtime, adopt_orphans, available_memory, build_spawn, make_null, pss, sweep
from tests.bench.table import Measure, Samples

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "tests/bench/out/results.json"
SMALL, LARGE = "small set", "large set"
KUBERNETES, DOCKER = "Kubernetes set", "Docker set"
WHEEL = "wheel"
WITHOUT_EVENTS = ("crun", table.NEW)
# The pause before a start on a machine that does nothing else (s).
QUIET = 1.0
CLIENTS, CREATES = 8, 100
# How much the container writes in one round of the relay (MiB).
RELAYED = 64
# Growth stops before the machine has less memory left than this (KiB).
RESERVE = 2 << 20
# The phases' shares of the time; removing the containers takes the rest.
SHARES = {
    SMALL: 0.16, LARGE: 0.1, KUBERNETES: 0.08, DOCKER: 0.06, "quiet": 0.27, "timeline": 0.02, "clients": 0.1,
    "relay": 0.04, "growth": 0.13, "list": 0.04,
}  # fmt: skip


class Bench:
    """One run: the runtimes, their working directory, and the measured values."""

    def __init__(self, commands: dict[str, list[str]], work: Path, options: argparse.Namespace) -> None:
        self.options = options
        self.work = work
        self.prefix = f"pyrunc-bench-{os.getpid()}-"
        self.runtimes = [Runtime(name, command, work) for name, command in commands.items()]
        self.names = [runtime.name for runtime in self.runtimes]
        # Each measured start follows an unmeasured start of this runtime.
        self.before = Runtime("before", commands.get("crun") or self.runtimes[-1].command, work)
        self.sets = {SMALL: Samples(), LARGE: Samples(), KUBERNETES: Samples(), DOCKER: Samples()}
        self.rounds: dict[str, int] = {}
        self.phases: dict[str, list[phases.Phase]] = {}
        self.latencies: dict[str, list[float]] = {}
        self.note = ""
        self.changes = work / "changes.json"
        self.changes.write_text(json.dumps({"unified": {"cgroup.max.depth": "100"}}))
        self.random = random.Random(1)

    def measure(self) -> None:
        """Measure everything, in order. Raises Failed if a runtime fails."""
        cgroup = f"/{self.prefix}parent"
        self.bundles = {
            SMALL: bundles.small(self.work),
            LARGE: bundles.large(self.work),
            KUBERNETES: engine_bundles.kubernetes(self.work, cgroup),
            DOCKER: engine_bundles.docker(self.work, cgroup),
        }
        lowest = floor.Floor(self.work, self.prefix + floor.NAME)
        for bundle in self.bundles.values():
            lowest.record(bundle.short)
        self.starters = [*self.runtimes, lowest]
        for name in self.sets:
            self.timed(name, self.options.rounds, self.lives(name))
        self.timed("quiet", self.options.rounds, self.quiet())
        self.timed("timeline", self.options.rounds, self.timelines())
        self.timed("clients", self.options.batches, self.batches())
        self.timed("relay", self.options.rounds, self.relays())
        self.timed("growth", -(-self.options.containers // table.STEP), self.growth())
        self.timed("list", self.options.rounds, self.lists())
        self.sweep()

    def timed(self, name: str, most: int, rounds: Iterator[None]) -> None:
        """Yield at most that many rounds, and no new one after the phase's share of the time; always one."""
        begin = time.monotonic()
        deadline = begin + SHARES[name] * self.options.seconds
        done = 0
        for _ in rounds:
            done += 1
            if done >= most or time.monotonic() > deadline:
                break
        self.rounds[name] = done
        print(f"{name}: {done} rounds in {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)

    def in_turn(self, runtimes: list[Runtime]) -> Iterator[list[Runtime]]:
        """Yield the runtimes in ever another order, so that each follows each of the others about equally often."""
        while True:
            yield self.random.sample(runtimes, len(runtimes))

    def sweep(self) -> None:
        """Remove everything that any of the runtimes made."""
        sweep(self.prefix, [runtime.root for runtime in (*self.runtimes, self.before)])

    def disturb(self) -> None:
        """Do the start before a measured one."""
        self.before("run", "--bundle", str(self.bundles[SMALL].short), self.prefix + "before")

    def lives(self, name: str) -> Iterator[None]:
        """Rounds of single commands: a `run`, and then a container's life, one command after the other."""
        for number, order in enumerate(self.in_turn(self.starters)):
            for runtime in order:
                # The first round warms the caches.
                self.life(runtime, name, self.sets[name] if number else Samples())
            if number:
                yield

    def quiet(self) -> Iterator[None]:
        """Rounds of a `run` of a machine that has done nothing for a while."""
        starters = [runtime for runtime in self.starters if runtime.name != WHEEL]
        for order in self.in_turn(starters):
            for name in (SMALL, KUBERNETES):
                for runtime in order:
                    time.sleep(QUIET)
                    run = runtime("run", "--bundle", str(self.bundles[name].short), self.prefix + runtime.name)
                    self.sets[name].add(table.QUIET, runtime.name, run.milliseconds)
            yield

    def life(self, runtime: Runtime, name: str, samples: Samples) -> None:
        """One round of one runtime. The floor only has `run`, and of the engines' sets the commands that depend on the
        configuration are measured."""
        bundle = self.bundles[name]

        def note(measure: Measure, value: float) -> float:
            samples.add(measure, runtime.name, value)
            return value

        id = self.prefix + runtime.name
        self.disturb()
        run = runtime("run", "--bundle", str(bundle.short), id)
        note(table.RUN, run.milliseconds)
        note(table.PEAK, run.peak)
        note(table.BUSY, run.busy / 1000)
        note(table.FAULTS, run.faults)
        if runtime.name == floor.NAME:
            return
        note(table.VERSION, runtime("--version").milliseconds)
        self.disturb()
        create = note(table.CREATE, runtime("create", "--bundle", str(bundle.long), id).milliseconds)
        state = runtime("state", id)
        note(table.STATE, state.milliseconds)
        note(table.FAULTS_OF_STATE, state.faults)
        pid = json.loads(runtime.output.read_text())["pid"]
        note(table.WAITING, pss(pid))
        start = note(table.START, runtime("start", id).milliseconds)
        if name in (SMALL, LARGE):
            self.others(runtime, id, note)
        note(table.KILL, runtime("kill", id, "KILL").milliseconds)
        # The container is this process's child since its runtime ended.
        os.waitpid(pid, 0)
        delete = note(table.DELETE, runtime("delete", id).milliseconds)
        note(table.LIFE, create + start + delete)

    def others(self, runtime: Runtime, id: str, note: Callable[[Measure, float], float]) -> None:
        """The commands about a running container."""
        note(table.EXEC, runtime("exec", id, "/bin/true").milliseconds)
        note(table.PS, runtime("ps", "--format", "json", id).milliseconds)
        note(table.PAUSE, runtime("pause", id).milliseconds)
        note(table.RESUME, runtime("resume", id).milliseconds)
        note(table.UPDATE, runtime("update", "--resources", str(self.changes), id).milliseconds)
        if runtime.name not in WITHOUT_EVENTS:
            note(table.EVENTS, runtime("events", "--stats", id).milliseconds)

    def batches(self) -> Iterator[None]:
        """Rounds of 100 creates by 8 clients at once."""
        for order in self.in_turn(self.runtimes):
            for runtime in order:
                self.disturb()
                words = "create", "--bundle", str(self.bundles[SMALL].long), self.prefix + "%"
                milliseconds = runtime(*words, clients=CLIENTS, count=CREATES).milliseconds
                self.sets[SMALL].add(table.CLIENTS, runtime.name, CREATES / milliseconds * 1000)
                self.sweep()
                # The kernel removes their namespaces in the background.
                time.sleep(0.5)
            yield

    def growth(self) -> Iterator[None]:
        """Rounds of one more container of every runtime, whose create is measured, and of some that several clients
        make; the containers stay. The wheel runs the launcher's containers. The floor has a `run` in each round: what
        that takes longer is the kernel's share.
        """
        old = {"runc", "crun"} if table.NEW in self.names else set()
        runtimes = [runtime for runtime in self.runtimes if runtime.name not in {WHEEL, *old}]
        for number, order in enumerate(self.in_turn(runtimes)):
            made = number * table.STEP
            if available_memory() < RESERVE:
                self.note = f" The machine bears no more than {made} containers of each: its memory is used up."
                return
            for runtime in order:
                words = "create", "--bundle", str(self.bundles[SMALL].long)
                id = f"{self.prefix}{runtime.name}-{number}"
                try:
                    milliseconds = runtime(*words, id).milliseconds
                    runtime(*words, f"{id}-%", clients=CLIENTS, count=table.STEP - 1)
                except Failed as error:
                    if not number:
                        raise
                    print(error, file=sys.stderr)
                    self.note = f" {runtime.name} could not make more than {made} containers."
                    return
                self.latencies.setdefault(runtime.name, []).append(milliseconds)
            run = self.starters[-1]("run", "--bundle", str(self.bundles[SMALL].short), self.prefix + floor.NAME)
            self.latencies.setdefault(floor.NAME, []).append(run.milliseconds)
            yield

    def relays(self) -> Iterator[None]:
        """Rounds of a foreground `run` with a terminal to which the container writes much."""
        path = relay.bundle(self.work, RELAYED)
        for order in self.in_turn(self.runtimes):
            for runtime in order:
                try:
                    value = relay.throughput(runtime, path, self.prefix + runtime.name, RELAYED)
                except Failed as error:
                    if runtime.name in (table.SUBJECT, WHEEL):
                        raise
                    print(error, file=sys.stderr)  # crun sometimes loses the end of the output
                    continue
                self.sets[SMALL].add(table.RELAY, runtime.name, value)
            yield

    def lists(self) -> Iterator[None]:
        """Rounds of `list` of the containers that growth has left; the wheel lists the launcher's."""
        roots = {runtime.name: runtime.root for runtime in self.runtimes}
        for number, order in enumerate(self.in_turn(self.runtimes)):
            for runtime in order:
                root = roots[table.SUBJECT if runtime.name == WHEEL else runtime.name]
                if runtime.name not in (WHEEL, *self.latencies):
                    continue
                milliseconds = runtime("list", root=root).milliseconds
                if number:
                    self.sets[SMALL].add(table.LIST, runtime.name, milliseconds)
            if number:
                yield

    def timelines(self) -> Iterator[None]:
        """Rounds of a `run` of the launcher that writes its timeline, of each set."""
        runtime = self.runtimes[0]
        file = self.work / "timeline.json"
        runs: dict[str, list[list[phases.Phase]]] = {SMALL: [], LARGE: []}
        while True:
            for name in (SMALL, LARGE):
                bundle = self.bundles[name]
                self.disturb()
                words = "run", "--timeline", str(file), "--bundle", str(bundle.short), self.prefix + "timeline"
                run = runtime(*words)
                runs[name].append(phases.phases(json.loads(file.read_text()), run.begin, run.end))
                self.phases[name] = phases.medians(runs[name])
            yield

    def text(self, versions: str) -> str:
        """The table, with its notes."""
        made = self.rounds["growth"] * table.STEP
        if made < self.options.containers and not self.note:
            self.note = f" There was no time for {self.options.containers}."
        rows = {SMALL: table.SMALL, LARGE: table.LARGE, KUBERNETES: table.ENGINE, DOCKER: table.ENGINE}
        not_met = [
            f"- {name}: {line}" for name, measures in rows.items() for line in table.missed(self.sets[name], measures)
        ]
        names = [*self.names, floor.NAME]
        counts = ", ".join(f"{name} {count}" for name, count in self.rounds.items())
        return "\n".join(
            [
                f"{machine()}; {versions}. Rounds: {counts}.",
                f"`list` shows {made} created containers of the runtime.{self.note}\n",
                *(f"**{name}**\n\n{table.table(self.sets[name], measures, names)}" for name, measures in rows.items()),
                "Missed goals:\n\n" + "\n".join(not_met) + "\n" if not_met else "All goals are met.\n",
                f"Where the time of `pyrunc run /bin/true` goes:\n\n{phases.table(self.phases)}",
                table.growth(self.latencies),
            ]
        )


def machine() -> str:
    """The machine on which the values were measured."""
    return f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}"


def commands(options: argparse.Namespace) -> dict[str, list[str]]:
    """The runtimes to compare, first the one that is judged. Raises SystemExit if there is nothing to measure."""
    if not os.access(options.pyrunc, os.X_OK):
        raise SystemExit(f"bench: no launcher at {options.pyrunc} (make bench builds it)")
    found = {table.SUBJECT: [str(options.pyrunc.resolve())]}
    if options.wheel:
        found[WHEEL] = shlex.split(options.wheel)
    for name in ("runc", "crun"):
        program = shutil.which(name)
        if program:
            found[name] = [program]
    if options.peers:
        found |= {f"new-{name}": [str(program)] for name, program in peers.newest(options.peers).items()}
    return found


def write(options: argparse.Namespace, bench: Bench, text: str) -> None:
    """Write the results where the options say: all values, the document's table, the plots."""
    RESULTS.parent.mkdir(exist_ok=True)
    everything: dict[str, Any] = {name: samples.values for name, samples in bench.sets.items()}
    everything |= {"latencies": bench.latencies, "phases": bench.phases}
    RESULTS.write_text(json.dumps(everything))
    if options.write:
        options.write.write_text(table.between_marks(options.write.read_text(), text))
    if options.plots:
        from tests.bench import plots

        plots.startup(options.plots / "startup.png", bench.phases)
        plots.latency(options.plots / "latency.png", bench.latencies)


def stop(number: int, _: FrameType | None) -> None:
    """End the bench through its `finally` blocks."""
    raise SystemExit(128 + number)


def clean(bench: Bench) -> None:
    """Remove everything, even if more signals come from the terminal."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    bench.sweep()


def arguments(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pyrunc", type=Path, default=REPOSITORY / "build/bench/usr/bin/pyrunc", help="the launcher")
    parser.add_argument("--wheel", metavar="COMMAND", help="the wheel's command")
    parser.add_argument(
        "--peers", type=Path, metavar="DIRECTORY", help="where the newest runc and crun are, or are put"
    )
    parser.add_argument("--rounds", type=int, default=40, help="at most")
    parser.add_argument("--batches", type=int, default=5, help="of 100 creates, at most")
    parser.add_argument("--containers", type=int, default=1000, help="of each runtime, at most")
    parser.add_argument("--seconds", type=float, default=400, help="for all measuring")
    parser.add_argument("--write", type=Path, metavar="FILE", help="the document whose table is replaced")
    parser.add_argument("--plots", type=Path, metavar="DIRECTORY", help="where the plots go (needs matplotlib)")
    return parser.parse_args(argv)


def main() -> None:
    """Measure, print the table, and write the files that the options name."""
    options = arguments(sys.argv[1:])
    if os.geteuid() != 0:
        raise SystemExit("bench: it starts containers: run it as root")
    if options.plots:
        import matplotlib  # noqa: F401 (what is missing is better known before than after)
    found = commands(options)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    purev2.enter()
    adopt_orphans()
    with tempfile.TemporaryDirectory(prefix="pyrunc-bench-") as name:
        work = Path(name)
        # The large set's user namespace must be able to enter this directory.
        # State directories are on a tmpfs, as /run is.
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=711", "bench", name], check=True)
        build_spawn(work)
        make_null(work)
        bench = Bench(found, work, options)
        try:
            versions = "; ".join(runtime.version() for runtime in bench.runtimes if runtime.name != WHEEL)
            bench.measure()
        except Failed as error:
            raise SystemExit(f"bench: {error}") from None
        finally:
            clean(bench)
            subprocess.run(["umount", "-l", name], check=True)
        text = bench.text(versions)
    print(text)
    write(options, bench, text)


if __name__ == "__main__":
    main()
