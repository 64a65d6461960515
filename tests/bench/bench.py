"""`make bench`: pyrunc beside runc and crun, each command in turn within one run, in a pure cgroup2 namespace.

The runtimes take turns in every round, so that what disturbs the machine disturbs all of them. Needs root.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

import _cffi_backend  # noqa: E402

from pyrunc.libcontainer.example import example  # noqa: E402
from tests import purev2  # noqa: E402

SPAWN_SOURCE = Path(__file__).with_name("spawn.c")
BUSYBOX = "/bin/busybox"
BEGIN, END = "<!-- bench -->", "<!-- /bench -->"

TIMES = ("--version", "run", "create", "state", "start", "kill", "delete")
PEAK, WAITING = "peak RSS of run", "PSS of the waiting container"

# One measure's values for each runtime: milliseconds, or KiB.
Values = dict[str, dict[str, list[float]]]


class Runtime:
    """A runtime's command and its state root."""

    def __init__(self, name: str, command: list[str], work: Path, spawn: Path) -> None:
        self.name = name
        self.command = command
        self.spawn = spawn
        self.output = work / f"{name}.out"
        self.root = work / name
        self.root.mkdir()

    def __call__(self, *words: str) -> tuple[float, int]:
        """Run a command; (milliseconds, peak RSS in KiB). Raises SystemExit with its output where it fails."""
        line = [str(self.spawn), str(self.output), *self.command, "--root", str(self.root), *words]
        done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True)
        nanoseconds, peak, code = (int(word) for word in done.stdout.split())
        if code != 0:
            raise SystemExit(f"{shlex.join(line[2:])} exited {code}:\n{self.output.read_text()}")
        return nanoseconds / 1e6, peak

    def version(self) -> str:
        """The first line of its `--version`."""
        self("--version")
        return self.output.read_text().splitlines()[0]


def measure(runtime: Runtime, bundles: tuple[Path, Path], id: str, values: Values) -> None:
    """One round of a runtime: a whole `run`, and a container's life in single commands."""

    def note(measure: str, value: float) -> None:
        values.setdefault(measure, {}).setdefault(runtime.name, []).append(value)

    note("--version", runtime("--version")[0])
    short, long = bundles
    milliseconds, peak = runtime("run", "--bundle", str(short), id)
    note("run", milliseconds)
    note(PEAK, peak)
    note("create", runtime("create", "--bundle", str(long), id)[0])
    note("state", runtime("state", id)[0])
    pid = json.loads(runtime.output.read_text())["pid"]
    note(WAITING, pss(pid))
    note("start", runtime("start", id)[0])
    note("kill", runtime("kill", id, "KILL")[0])
    while alive(pid):
        time.sleep(0.001)
    note("delete", runtime("delete", id)[0])


def pss(pid: int) -> int:
    """The proportional set size of a process in KiB (proc(5), smaps_rollup)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise SystemExit(f"process {pid} has no memory")


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def make_bundle(path: Path, *args: str) -> Path:
    """A bundle of busybox. Its config is `spec`'s, without a terminal and without device rules.

    crun sets its RLIMIT_MEMLOCK to load such rules, which not every machine that measures permits.
    """
    (path / "rootfs/bin").mkdir(parents=True)
    shutil.copy(BUSYBOX, path / "rootfs/bin/busybox")
    for name in ("true", "sleep"):
        (path / "rootfs/bin" / name).symlink_to("busybox")
    config = example()
    config["ociVersion"] = "1.0.2"
    config["process"]["terminal"] = False
    config["process"]["args"] = list(args)
    del config["linux"]["resources"]
    (path / "config.json").write_text(json.dumps(config))
    return path


def commands(python: str, also: list[str]) -> dict[str, list[str]]:
    """The runtimes to compare: pyrunc as its modules stand here, what is installed, and what was named."""
    paths = [str(REPOSITORY), str(Path(_cffi_backend.__file__).parent)]
    start = f"import sys; sys.path[:0] = {paths!r}; from pyrunc.main import entry; entry()"
    found = {"pyrunc": [python, "-I", "-S", "-c", start]}
    for word in also:
        name, _, command = word.partition("=")
        found[name] = shlex.split(command)
    for name in ("runc", "crun"):
        program = shutil.which(name)
        if program:
            found[name] = [program]
    return found


def table(values: Values, names: list[str]) -> str:
    """The results in Markdown: minimum, median and maximum, and pyrunc's median against the others'."""
    others = [name for name in names if name != "pyrunc"]
    head = ["", *(f"{name} min / med / max" for name in names), *(f"pyrunc : {name}" for name in others)]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for measure in (*TIMES, PEAK, WAITING):
        unit = "ms" if measure in TIMES else "KiB"
        digits = 1 if measure in TIMES else 0
        cells = [f"{measure} ({unit})"]
        medians = {}
        for name in names:
            got = values[measure][name]
            medians[name] = statistics.median(got)
            cells.append(f"{min(got):.{digits}f} / **{medians[name]:.{digits}f}** / {max(got):.{digits}f}")
        cells += [f"{medians['pyrunc'] / medians[name]:.2f}" for name in others]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def machine(python: str) -> str:
    """What the figures were taken on, in one sentence."""
    version = subprocess.run([python, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}, {version}"


def write(path: Path, text: str) -> None:
    """Put the text between the marks of a document. Raises SystemExit where it has none."""
    document = path.read_text()
    head, begin, rest = document.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{path} has no {BEGIN} … {END}")
    path.write_text(f"{head}{begin}\n{text}{end}{tail}")


def main() -> None:
    """Measure, print the table, and write it where that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--python", default=os.path.realpath(sys.executable), help="the interpreter that runs pyrunc")
    parser.add_argument("--also", action="append", default=[], metavar="NAME=COMMAND", help="one more runtime")
    parser.add_argument("--write", type=Path, metavar="FILE", help="the document whose table is replaced")
    options = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("pyrunc: the bench starts containers: run it as root")
    purev2.enter()
    values: Values = {}
    with tempfile.TemporaryDirectory(prefix="pyrunc-bench-") as name:
        work = Path(name)
        spawn = work / "spawn"
        subprocess.run(["musl-gcc", "-static", "-O2", "-o", str(spawn), str(SPAWN_SOURCE)], check=True)
        bundles = make_bundle(work / "short", "true"), make_bundle(work / "long", "sleep", "1000")
        runtimes = [Runtime(*item, work, spawn) for item in commands(options.python, options.also).items()]
        versions = "; ".join(runtime.version() for runtime in runtimes)
        for number in range(-2, options.rounds):
            turn = number % len(runtimes)
            for runtime in runtimes[turn:] + runtimes[:turn]:
                # The first two rounds warm the caches.
                measure(runtime, bundles, f"bench-{os.getpid()}-{runtime.name}", values if number >= 0 else {})
    text = f"{machine(options.python)}; {versions}; {options.rounds} rounds.\n\n" + table(
        values, [runtime.name for runtime in runtimes]
    )
    print(text)
    if options.write:
        write(options.write, text)


if __name__ == "__main__":
    main()
