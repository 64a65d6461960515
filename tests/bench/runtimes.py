"""Running the runtimes, and removing everything they made."""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

CGROUP = Path("/sys/fs/cgroup")
SPAWN_SOURCE = Path(__file__).with_name("spawn.c")

# prctl(2).
_PR_SET_CHILD_SUBREAPER = 36


class Failed(Exception):
    """A command of a runtime exited with a code other than 0; the text is its command line and its output."""


class Run(NamedTuple):
    """The measurements of spawn for a command: begin and end (ns, CLOCK_MONOTONIC), the peak RSS (KiB), and the
    processor time (us) and page faults with those of the container."""

    begin: int
    end: int
    peak: int
    busy: int
    faults: int

    @property
    def milliseconds(self) -> float:
        """The time from the start of the command's process to its end."""
        return (self.end - self.begin) / 1e6


class Runtime:
    """A runtime's command and its state root."""

    def __init__(self, name: str, command: list[str], work: Path) -> None:
        self.name = name
        self.command = command
        self.spawn = work / "spawn"
        self.null = work / "null"
        self.output = work / f"{name}.out"
        self.root = work / f"root-{name}"
        self.root.mkdir()

    def __call__(self, *words: str, clients: int = 1, count: int = 1, root: Path | None = None) -> Run:
        """Run a command `count` times, by `clients` at a time; a % in a word becomes the run's number. Raises
        Failed.
        """
        return self.measured([*self.command, "--root", str(root or self.root), *words], clients, count)

    def measured(self, line: list[str], clients: int, count: int) -> Run:
        """Run a command line as `__call__` does. Raises Failed."""
        spawn = [str(self.spawn), str(self.output), str(clients), str(count)]
        with self.null.open("rb") as null:
            done = subprocess.run([*spawn, *line], stdin=null, stdout=subprocess.PIPE, text=True, check=True)
        begin, end, peak, busy, faults, code = (int(word) for word in done.stdout.split())
        if code != 0:
            raise Failed(f"{shlex.join(line)} exited {code}:\n{self.output.read_text(errors='replace')[-2000:]}")
        return Run(begin, end, peak, busy, faults)

    def version(self) -> str:
        """The first line of its `--version`."""
        self("--version")
        return self.output.read_text().splitlines()[0]


def build_spawn(work: Path) -> None:
    """Compile spawn.c to `work`/spawn. Raises subprocess.CalledProcessError."""
    subprocess.run(["musl-gcc", "-static", "-O2", "-o", str(work / "spawn"), str(SPAWN_SOURCE)], check=True)


def make_null(work: Path) -> None:
    """Make a null device of the benchmark's own, `work`/null, which is every command's stdin.

    crun gives its stdin to the container's root, also if it is the null device: the machine's would stay owned by a
    container's id. Raises OSError.
    """
    os.mknod(work / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))


def adopt_orphans() -> None:
    """Make this process the parent of every container whose runtime has ended, so that none can get lost."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"PR_SET_CHILD_SUBREAPER: {os.strerror(number)}")


def children() -> list[int]:
    """The pids of this process's children."""
    return [int(word) for word in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def cgroups(prefix: str) -> list[Path]:
    """The cgroups below which a container whose id starts with `prefix` keeps its processes, the deepest first."""
    found = [Path(top) for top, _, _ in os.walk(CGROUP) if any(prefix in part for part in top.split("/"))]
    return sorted(found, key=lambda path: len(path.parts), reverse=True)


def sweep(prefix: str, roots: list[Path]) -> None:
    """Kill every child and remove the cgroups and state directories of the containers named `prefix`….

    `delete --force` of each container would do the same, but take much longer. Raises OSError if a cgroup stays.
    """
    while pids := children():
        # The children of killed children become children of this process.
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            os.waitpid(pid, 0)
    for path in cgroups(prefix):
        _remove_cgroup(path)
    for root in roots:
        for entry in root.glob(f"{prefix}*"):
            shutil.rmtree(entry)


def _remove_cgroup(path: Path) -> None:
    # A process's cgroup stays busy for a moment after its parent has seen its end.
    deadline = time.monotonic() + 5
    while True:
        try:
            path.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.002)


def pss(pid: int) -> int:
    """The proportional set size of a process in KiB (proc(5), smaps_rollup)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise ValueError(f"process {pid} has no memory")


def available_memory() -> int:
    """The memory that the machine can still give to processes, in KiB (proc(5), meminfo)."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1])
    raise ValueError("/proc/meminfo has no MemAvailable")
