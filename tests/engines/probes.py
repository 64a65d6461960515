"""Many pods with a probe by exec every second, and what is left of it: `python -m tests.engines.probes RELEASE RUNTIME
[PODS [SECONDS]]`, by `make engines-probes`.

The pods run under containerd's CRI plugin. Each has a client that asks for an ExecSync every second, as a kubelet's
exec probe does; if the machine is too slow, the next one comes when the last one has ended. Before the probes, after
them and after the removal of all pods, everything that could be left is counted. It is an error if descriptors, mounts,
cgroups, processes or files of state became more, or if a probe failed. The result is added to
build/engines/probes.jsonl, of which `make engines-doc` makes a table.
"""

from __future__ import annotations

import collections
import importlib
import json
import math
import os
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from tests.engines.cri import Cri
from tests.engines.engine import Box
from tests.engines.kinds import KINDS
from tests.engines.machine import REPOSITORY, Machine
from tests.engines.tree import furnish, tree

RESULTS = REPOSITORY / "build/engines/probes.jsonl"
SOCKET = "/run/containerd/containerd.sock"
METHOD = "/runtime.v1.RuntimeService/ExecSync"

# The time limit of a probe, in seconds.
LIMIT = 30

# How many pods are made or removed at once.
CLIENTS = 4

# Directories in which containerd, the shims and the runtime keep state.
STATE = ("/run/containerd/io.containerd.runtime.v2.task", "/run/containerd/runc", "/run/containerd/fifo", "/run/netns")

# Descriptors of a shim that are not the runtime's: the Go runtime opens an epoll and timers at its first need.
SHIM_SLACK = 3


def text(field: int, value: str) -> bytes:
    """A string as a field of a protobuf message; at most 127 bytes."""
    data = value.encode()
    assert len(data) < 128
    return bytes([field << 3 | 2, len(data)]) + data


def request(container: str, command: tuple[str, ...]) -> bytes:
    """An ExecSyncRequest of the CRI."""
    return text(1, container) + b"".join(text(2, word) for word in command) + bytes([3 << 3, LIMIT])


class Count(NamedTuple):
    """What there is of a machine. Memory in KiB."""

    processes: int
    zombies: int
    shims: int
    shim_descriptors: int
    daemon_descriptors: int
    mounts: int
    cgroups: int
    files: int
    shim_private: int
    daemon_private: int


def private(directory: Path) -> int:
    """The memory of a process that it shares with no other and has written to, in KiB."""
    for line in (directory / "smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty:"):
            return int(line.split()[1])
    return 0


def count(machine: Machine) -> Count:
    """Count what there is now. A process that ends meanwhile is not counted."""
    found: collections.Counter[str] = collections.Counter()
    for directory in machine.path("/proc").glob("[0-9]*"):
        try:
            name = (directory / "comm").read_text().strip()
            found["processes"] += 1
            found["zombies"] += (directory / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            who = "shim" if name.startswith("containerd-shim") else "daemon" if name == "containerd" else ""
            if who:
                found[who] += 1
                found[f"{who} descriptors"] += len(os.listdir(directory / "fd"))
                found[f"{who} private"] += private(directory)
        except OSError:
            continue
    files = 0
    for state in STATE:
        for _, folders, names in os.walk(machine.path(state)):
            files += len(names) + len(folders)
            folders[:] = [name for name in folders if name != "rootfs"]
    assert machine.group is not None
    groups = [Path(path).name for path, _, _ in os.walk(machine.group)]
    return Count(
        found["processes"], found["zombies"], found["shim"], found["shim descriptors"], found["daemon descriptors"],
        len(Path(f"/proc/{machine.pid}/mountinfo").read_text().splitlines()),
        # The pods' cgroups, parents of the containers', are the kubelet's.
        sum(not name.startswith(("pod", "kubepods")) for name in groups), files,
        found["shim private"], found["daemon private"],
    )  # fmt: skip


def settled(machine: Machine, seconds: float = 20) -> Count:
    """The count when two in a row agree, but for memory; the last one if that does not happen in time."""
    end = time.monotonic() + seconds
    last = count(machine)
    while time.monotonic() < end:
        time.sleep(1)
        now = count(machine)
        if now[:-2] == last[:-2]:
            return now
        last = now
    return last


def processor(machine: Machine) -> float:
    """The processor time of all processes of the machine until now, in seconds."""
    assert machine.group is not None
    words = (machine.group / "cpu.stat").read_text().split()
    return int(words[words.index("usage_usec") + 1]) / 1e6


def probe(call: Callable[..., bytes], container: str, end: float, took: list[float], wrong: list[str]) -> None:
    """Probe a container every second until `end`; the durations go to `took`, failures to `wrong`."""
    wanted = request(container, ("test", "-e", "/etc/passwd"))
    while (start := time.monotonic()) < end:
        try:
            answer = call(wanted, timeout=LIMIT)
        except Exception as error:  # grpc.RpcError, whose module is loaded at run time
            wrong.append(str(error).splitlines()[0])
        else:
            took.append(time.monotonic() - start)
            if answer:  # an empty ExecSyncResponse: no output, and the exit code 0
                wrong.append(f"answered {answer!r}")
        time.sleep(max(0.0, start + 1 - time.monotonic()))


def run_probes(machine: Machine, containers: list[str], seconds: float) -> tuple[list[float], list[str]]:
    """Probe all containers for so many seconds. Returns the durations and the failures."""
    grpc: Any = importlib.import_module("grpc")
    took: list[float] = []
    wrong: list[str] = []
    with grpc.insecure_channel(f"unix:{machine.path(SOCKET)}") as channel:
        call = channel.unary_unary(METHOD)
        end = time.monotonic() + seconds
        threads = [
            threading.Thread(target=probe, args=(call, each, end, took, wrong), daemon=True) for each in containers
        ]
        for thread in threads:
            thread.start()
            time.sleep(min(1, seconds / 10) / len(threads))  # not all in the same moment
        for thread in threads:
            thread.join()
    return took, wrong


def leaks(before: Count, probed: Count, empty: Count, after: Count) -> list[str]:
    """What became more: during the probes (before, probed), and from no pods to no pods (empty, after)."""
    found = []
    for name in ("zombies", "shims", "mounts", "cgroups", "files"):
        if getattr(probed, name) > getattr(before, name):
            found.append(f"{name}: {getattr(before, name)} before the probes, {getattr(probed, name)} after them")
    for name in ("zombies", "shims", "mounts", "cgroups", "files", "processes"):
        if getattr(after, name) > getattr(empty, name):
            found.append(f"{name}: {getattr(empty, name)} before the first pod, {getattr(after, name)} after the last")
    if probed.shim_descriptors > before.shim_descriptors + SHIM_SLACK * before.shims:
        found.append(f"descriptors of the shims: {before.shim_descriptors}, then {probed.shim_descriptors}")
    return found


def run(machine: Machine, runtime: str, pods: int, seconds: float) -> tuple[dict[str, Any], list[str]]:
    """Make the pods, probe them, remove them. Returns the figures and what is wrong."""
    cri = Cri(machine, runtime)
    with ThreadPoolExecutor(CLIENTS) as workers:
        boxes = list(workers.map(lambda _: cri.idle(), range(1)))
        for box in boxes:
            box.do("remove")  # containerd has made what it makes once
        empty = settled(machine)
        print(f"{runtime}: {pods} pods", flush=True)
        boxes = list(workers.map(lambda _: cri.idle(), range(pods)))
        containers = [cri.ids[box.name] for box in boxes]
        run_probes(machine, containers, 3)
        before = settled(machine)
        print(f"{runtime}: probes for {seconds:.0f} s", flush=True)
        used, start = processor(machine), time.monotonic()
        took, wrong = run_probes(machine, containers, seconds)
        used, lasted = processor(machine) - used, time.monotonic() - start
        probed = settled(machine)

        def remove(box: Box) -> None:
            box.do("remove")

        list(workers.map(remove, boxes))
    cri.boxes.clear()
    after = settled(machine)
    took.sort()
    figures = {
        "runtime": runtime, "pods": pods, "seconds": round(lasted), "probes": len(took), "failed": len(wrong),
        "median": round(statistics.median(took) * 1000, 1), "p99": round(took[math.ceil(len(took) * 0.99) - 1] * 1000),
        "cpu": round(used / len(took) * 1000, 1),
        "empty": empty._asdict(), "before": before._asdict(), "probed": probed._asdict(), "after": after._asdict(),
    }  # fmt: skip
    return figures, [*leaks(before, probed, empty, after), *sorted(set(wrong))[:5]]


def main() -> int:
    """Run what sys.argv asks for."""
    # The machine ends too when a signal comes.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    release, runtime, *more = sys.argv[1:]
    pods, seconds = int(more[0]) if more else 100, float(more[1]) if len(more) > 1 else 300
    kind = KINDS["cri"]
    with Machine(tree(release)) as machine:
        furnish(machine)
        kind.prepare(machine)
        version = kind.adapter.up(machine)
        figures, wrong = run(machine, runtime, pods, seconds)
    figures["containerd"] = version
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    with RESULTS.open("a") as file:
        file.write(json.dumps(figures) + "\n")
    print(json.dumps(figures, indent=1))
    print("\n".join(f"{runtime}: {line}" for line in wrong) or f"{runtime}: nothing is left")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
