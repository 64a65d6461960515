"""`make load`: 200 containers by 16 clients on one state root, pyrunc beside runc and crun.

16 clients at a time give every command for all containers; the result is commands a second. The runtimes take turns
within every round. Meanwhile a thread reads /proc/locks, to see for how long a lock of pyrunc kept others waiting.
Needs root. Nothing is asserted about a time.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

from tests import purev2
from tests.bench import bench, bundles, table
from tests.bench.runtimes import Failed, Runtime, adopt_orphans, build_spawn, make_null, sweep

# The words of each command; a % is the container's number.
COMMANDS: dict[str, tuple[str, ...]] = {
    "create": ("create", "--bundle", "{bundle}", "{id}"),
    "state": ("state", "{id}"),
    "start": ("start", "{id}"),
    "exec": ("exec", "{id}", "/bin/true"),
    "list": ("list", "--quiet"),
    "kill": ("kill", "{id}", "KILL"),
    "delete": ("delete", "--force", "{id}"),
}
# `list` reads all containers, so it runs less often.
FEWER = {"list": 4}
LOOK_SECONDS = 0.002


class Lock(NamedTuple):
    """A lock that a process waits for: the holder's pid and the file's device and inode."""

    pid: str
    file: str


class Watch(threading.Thread):
    """Reads /proc/locks (proc(5)) all the time. longest: the longest time, in seconds, for which a lock was held while
    others waited for it."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.longest = 0.0
        self.waits = 0
        self._ended = threading.Event()

    def run(self) -> None:
        """Read until `end` is called."""
        since: dict[Lock, float] = {}
        while not self._ended.wait(LOOK_SECONDS):
            now = time.monotonic()
            held = contended(Path("/proc/locks").read_text())
            since = {lock: since.get(lock, now) for lock in held}
            self.waits += len(held)
            self.longest = max([self.longest, *(now - begin for begin in since.values())])

    def end(self) -> None:
        """Stop reading."""
        self._ended.set()
        self.join()


def contended(locks: str) -> set[Lock]:
    """The locks of flock(2) in the text of /proc/locks that a process waits for."""
    found: set[Lock] = set()
    owner: Lock | None = None
    for line in locks.splitlines():
        words = line.split()
        if len(words) > 6 and words[1] == "->":
            if owner is not None:
                found.add(owner)
        else:
            owner = Lock(words[4], words[5]) if words[1] == "FLOCK" else None
    return found


class Load:
    """The rounds. rates: commands a second, by command, then by runtime. longest: for how long locks were held, in
    seconds.
    """

    def __init__(self, runtimes: list[Runtime], bundle: Path, prefix: str, options: argparse.Namespace) -> None:
        self.runtimes = runtimes
        self.bundle = bundle
        self.prefix = prefix
        self.options = options
        self.rates: dict[str, dict[str, list[float]]] = {name: {} for name in COMMANDS}
        self.failed: dict[str, set[str]] = {}
        self.longest = 0.0
        self.waits = 0

    def measure(self) -> None:
        """Measure all rounds. Raises Failed if pyrunc fails."""
        orders = itertools.cycle(itertools.permutations(self.runtimes))
        for order in itertools.islice(orders, self.options.rounds):
            for runtime in order:
                self.round(runtime)

    def round(self, runtime: Runtime) -> None:
        """Run every command for all containers of one runtime."""
        watch = Watch()
        if runtime.name == table.SUBJECT:
            watch.start()
        for name, words in COMMANDS.items():
            values = {"bundle": str(self.bundle), "id": f"{self.prefix}%"}
            line = [word.format(**values) for word in words]
            count = self.options.containers // FEWER.get(name, 1)
            try:
                run = runtime(*line, clients=self.options.clients, count=count)
            except Failed:
                if runtime.name == table.SUBJECT:
                    raise
                self.failed.setdefault(name, set()).add(runtime.name)
                continue
            self.rates[name].setdefault(runtime.name, []).append(count / run.milliseconds * 1000)
        if watch.is_alive():
            watch.end()
            self.longest = max(self.longest, watch.longest)
            self.waits += watch.waits
        sweep(self.prefix, [runtime.root])
        time.sleep(0.5)  # the kernel takes their namespaces down in the background

    def text(self, versions: str) -> str:
        """The table in Markdown, and the observed locks."""
        names = [runtime.name for runtime in self.runtimes]
        lines = [
            f"{bench.machine()}; {versions}. {self.options.containers} containers, {self.options.clients} clients, "
            f"medians of {self.options.rounds} rounds, commands a second.\n",
            f"| command | {' | '.join(names)} | {' | '.join(f'{table.SUBJECT} : {name}' for name in names[1:])} |",
            f"|---|{'---:|' * (2 * len(names) - 1)}",
        ]
        for command, rates in self.rates.items():
            medians = {name: statistics.median(rates[name]) for name in names if rates.get(name)}
            cells = [f"{medians[name]:.0f}" if name in medians else "fails" for name in names]
            own = medians[table.SUBJECT]
            cells += [f"{own / medians[name]:.1f}" if name in medians else "" for name in names[1:]]
            lines.append(f"| {command} | {' | '.join(cells)} |")
        for command, runtimes in self.failed.items():
            lines.append(f"\n`{command}` failed in at least one round with {' and '.join(sorted(runtimes))}.")
        longest = f"held for {self.longest * 1000:.0f} ms at most" if self.waits else "none"
        lines.append(f"\nLocks of pyrunc's for which another command waited: {longest}.\n")
        return "\n".join(lines)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pyrunc", type=Path, default=bench.REPOSITORY / "build/bench/usr/bin/pyrunc")
    parser.add_argument("--containers", type=int, default=200)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", type=Path, metavar="FILE", help="the document whose table is replaced")
    parser.set_defaults(wheel=None)  # for bench.commands: it is not compared here
    return parser.parse_args()


def main() -> None:
    """Measure, print the table, and write it to the file that the options name."""
    options = arguments()
    if os.geteuid() != 0:
        raise SystemExit("load: it starts containers: run it as root")
    commands = bench.commands(options)
    purev2.enter()
    adopt_orphans()
    prefix = f"pyrunc-load-{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix="pyrunc-load-") as name:
        work = Path(name)
        build_spawn(work)
        make_null(work)
        runtimes = [Runtime(name, command, work) for name, command in commands.items()]
        load = Load(runtimes, bundles.small(work).long, prefix, options)
        try:
            versions = "; ".join(runtime.version() for runtime in runtimes)
            load.measure()
        except Failed as error:
            raise SystemExit(f"load: {error}") from None
        finally:
            sweep(prefix, [runtime.root for runtime in runtimes])
    text = load.text(versions)
    print(text)
    if options.write:
        document = options.write.read_text()
        options.write.write_text(table.between_marks(document, text, table.LOAD_BEGIN, table.LOAD_END))


if __name__ == "__main__":
    main()
