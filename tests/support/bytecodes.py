"""How many bytecodes a command executes, by function.

A command runs in a process that has imported what the launcher's snapshot holds, so the count is that of the installed
command, but for what CPython's own start executes. Nothing else of a process can be counted as exactly: the same
command of the same build executes the same bytecodes on every machine whose kernel and capabilities are the same.

    python3 -OO -m tests.support.bytecodes [SET…] [COMMAND…]    (root) the counts, and the functions of these commands
    python3 -OO -m tests.support.bytecodes --json               the counts by set and command
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from launcher.freeze import ON_DEMAND, is_cold, reach
from tests import purev2
from tests.bench import bundles, engine_bundles
from tests.bench.bundles import Bundles

# The bench's sets, in a directory and with the cgroup above the containers'.
SETS: dict[str, Callable[[Path, str], Bundles]] = {
    "small": lambda work, _: bundles.small(work),
    "large": lambda work, _: bundles.large(work),
    "kubernetes": engine_bundles.kubernetes,
    "docker": engine_bundles.docker,
}
# How many functions of a command are printed.
SHOWN = 60

COMMANDS = ("run", "create", "start", "exec", "state", "kill", "delete")

# A function: its file below the repository, or its module, and its name.
Function = tuple[str, str]
Counts = dict[Function, int]


def import_snapshot() -> None:
    """Import what the launcher has imported when a command begins."""
    for name, module in sorted(reach().items()):
        if module is not None and name not in ON_DEMAND and not is_cold(name) and not name.endswith("__main__"):
            importlib.import_module(name)


def counted(words: list[str]) -> Counts:
    """Run a command in a child of this process, and count by function what the child executes."""
    ends = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ends[0])
        null = os.open(os.devnull, os.O_RDWR)
        for fd in range(2):
            os.dup2(null, fd)
        os._exit(_count(words, ends[1]))
    os.close(ends[1])
    with open(ends[0], encoding="utf-8") as file:
        lines = file.read().splitlines()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status != 0:
        raise RuntimeError(f"pyrunc {' '.join(words)}: exit status {status}")
    counts: Counts = {}
    for line in lines:
        number, file_name, name = line.split("\t")
        counts[file_name, name] = int(number)
    return counts


def _count(words: list[str], report: int) -> int:
    """Run `pyrunc words`, write the counts to the descriptor, and return the exit status."""
    main: Callable[[list[str]], int] = importlib.import_module("pyrunc.main").main
    executed: Counter[CodeType] = Counter()

    def on_opcode(frame: FrameType, event: str, arg: Any) -> Any:
        if event == "opcode":
            executed[frame.f_code] += 1
        return on_opcode

    def on_call(frame: FrameType, event: str, arg: Any) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return on_opcode

    os.set_inheritable(report, False)
    sys.settrace(on_call)
    try:
        status = main(["pyrunc", *words])
    finally:
        sys.settrace(None)
    root = str(Path(__file__).resolve().parents[2]) + "/"
    lines = [
        f"{number}\t{code.co_filename.removeprefix(root)}\t{code.co_qualname}\n"
        for code, number in executed.items()
        if not code.co_filename.startswith("<frozen importlib")  # the launcher has an importer of its own, in C
    ]
    os.write(report, "".join(lines).encode())
    return status


def life(name: str) -> dict[str, Counts]:
    """The counts of each of COMMANDS for one container of a set. To be called in a mount namespace of its own with
    only cgroup2, as root."""
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        work.chmod(0o711)
        cgroup = f"/pyrunc-bytecodes-{os.getpid()}"
        try:
            return _life(SETS[name](work, cgroup), ["--root", str(work / "root")])
        finally:
            for file in work.glob("kubernetes/pod/*"):
                subprocess.run(["umount", file], check=True)
            if Path(f"/sys/fs/cgroup{cgroup}").exists():
                Path(f"/sys/fs/cgroup{cgroup}").rmdir()


def _life(bundle: Bundles, root: list[str]) -> dict[str, Counts]:
    lines = {
        "run": ["run", "--bundle", str(bundle.short), "short"],
        "create": ["create", "--bundle", str(bundle.long), "long"],
        "start": ["start", "long"],
        "exec": ["exec", "long", "/bin/true"],
        "state": ["state", "long"],
        "kill": ["kill", "long", "KILL"],
        "delete": ["delete", "--force", "long"],
    }
    counted([*root, *lines["run"]])  # from now on the filter is in the cache, and the directories are there
    return {command: counted([*root, *lines[command]]) for command in COMMANDS}


def main() -> None:
    """Print the counts, and the largest functions of a command."""
    names = [name for name in SETS if name in sys.argv[1:]] or list(SETS)
    purev2.enter()
    import_snapshot()
    lives = {name: life(name) for name in names}
    totals = {
        name: {command: sum(counts.values()) for command, counts in commands.items()}
        for name, commands in lives.items()
    }
    if "--json" in sys.argv[1:]:
        print(json.dumps(totals, indent=2))
        return
    for name, commands in lives.items():
        for command, counts in commands.items():
            print(f"{name} {command}: {totals[name][command]}")
            if command in sys.argv[1:]:
                for (file, function), number in sorted(counts.items(), key=lambda item: -item[1])[:SHOWN]:
                    print(f"    {number:6} {file} {function}")


if __name__ == "__main__":
    main()
