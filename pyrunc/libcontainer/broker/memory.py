"""sysinfo(2) with the limits of the container's cgroup and the clock of its time namespace."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

from ..kernel import brokering
from ..kernel.fileio import read_file

# struct sysinfo: uptime, loads, totalram, freeram, sharedram, bufferram, totalswap, freeswap, procs, totalhigh,
# freehigh, mem_unit
_SYSINFO = struct.Struct("=q3Q6QHH4x2QI4x")
assert _SYSINFO.size == brokering.SYSINFO_BYTES


@dataclass(frozen=True)
class Bound:
    """The limits of a cgroup and those above it for one resource, in bytes. limit: the smallest; None for no limit.
    room: the smallest difference between a limit and the usage."""

    limit: int | None = None
    room: int = 0


class Limits:
    """The limits of a cgroup and those above it. Its files stay open: a value takes one read."""

    def __init__(self, cgroup: str, mount: str) -> None:
        """cgroup: the directory of a cgroup. mount: where the hierarchy is mounted. A missing file, without the
        controller, is no limit."""
        self._memory: list[tuple[int, int]] = []
        self._swap: list[tuple[int, int]] = []
        self._processes = -1
        path = cgroup
        if cgroup:
            self._processes = _open(path + "/pids.current")
        while path.startswith(mount + "/"):
            self._add(self._memory, path + "/memory.current", path + "/memory.max")
            self._add(self._swap, path + "/memory.swap.current", path + "/memory.swap.max")
            path = os.path.dirname(path)

    def _add(self, files: list[tuple[int, int]], used: str, limit: str) -> None:
        pair = (_open(used), _open(limit))
        if min(pair) >= 0:
            files.append(pair)

    def memory(self) -> Bound:
        """The limit and the room of memory. Raises OSError once the cgroup is gone."""
        return _least(self._memory)

    def swap(self) -> Bound:
        """The limit and the room of swap space. Raises OSError once the cgroup is gone."""
        return _least(self._swap)

    def processes(self) -> int | None:
        """How many processes and threads the cgroup has; None if it does not count them."""
        return None if self._processes < 0 else int(os.pread(self._processes, 32, 0))


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1


def _least(files: list[tuple[int, int]]) -> Bound:
    limits, rooms = [], []
    for used, limit in files:
        text = os.pread(limit, 32, 0).strip()
        if text != b"max":
            limits.append(int(text))
            rooms.append(max(int(text) - int(os.pread(used, 32, 0)), 0))
    return Bound(min(limits), min(rooms)) if limits else Bound()


def boot_offset(pid: int | str) -> int:
    """By how many seconds CLOCK_BOOTTIME of a process's time namespace is ahead of the first one's
    (time_namespaces(7)). Raises OSError."""
    try:
        text = read_file(f"/proc/{pid}/timens_offsets")
    except FileNotFoundError:  # a kernel without them, or the process has ended
        return 0
    rows = [line.split() for line in text.splitlines()]
    return sum([int(row[1]) for row in rows if row[0] == "boottime"])


def sysinfo(host: bytes, memory: Bound, swap: Bound, processes: int | None, ahead: int = 0) -> bytes:
    """A struct sysinfo with a container's limits. host: the host's. ahead: by how many seconds the container's uptime
    is."""
    values = list(_SYSINFO.unpack(host))
    values[0] += ahead
    unit = values[-1] or 1
    values[4], values[5] = _limited(values[4], values[5], memory, unit)
    values[6] = min(values[6], values[4])
    values[7] = min(values[7], values[4])
    values[8], values[9] = _limited(values[8], values[9], swap, unit)
    if processes is not None:
        values[10] = min(processes, 0xFFFF)
    return _SYSINFO.pack(*values)


def _limited(total: int, free: int, bound: Bound, unit: int) -> tuple[int, int]:
    if bound.limit is None:
        return total, free
    return min(total, bound.limit // unit), min(free, bound.room // unit)
