"""broker/memory.py: a cgroup's limits in a struct sysinfo."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from pyrunc.libcontainer.broker import memory
from pyrunc.libcontainer.broker.memory import Bound, Limits
from pyrunc.libcontainer.kernel import brokering

SYSINFO = struct.Struct("=q3Q6QHH4x2QI4x")


def pack(**values: int) -> bytes:
    order = ("total", "free", "shared", "buffer", "total_swap", "free_swap")
    return SYSINFO.pack(5, 1, 2, 3, *[values.get(name, 0) for name in order], 7, 0, 0, 0, values.get("unit", 1))


def test_without_limits_it_is_the_hosts() -> None:
    host = brokering.sysinfo()
    assert memory.sysinfo(host, Bound(), Bound(), None) == host
    total, unit = SYSINFO.unpack(host)[4], SYSINFO.unpack(host)[-1]
    assert total * unit == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_limits() -> None:
    host = pack(total=1000, free=900, shared=500, buffer=50, total_swap=100, free_swap=100)
    found = SYSINFO.unpack(memory.sysinfo(host, Bound(400, 300), Bound(10, 5), 3))
    assert found[4:11] == (400, 300, 400, 50, 10, 5, 3)
    larger = SYSINFO.unpack(memory.sysinfo(host, Bound(5000, 4000), Bound(0, 0), 100_000))
    assert larger[4:11] == (1000, 900, 500, 50, 0, 0, 0xFFFF)


def test_units() -> None:
    host = pack(total=1000, free=900, unit=4096)
    assert SYSINFO.unpack(memory.sysinfo(host, Bound(40960, 8192), Bound(), None))[4:6] == (10, 2)


def test_the_smallest_limit_of_a_cgroup_and_those_above(tmp_path: Path) -> None:
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    for directory, limit, used in ((inner.parent, "100", "90"), (inner, "50", "20"), (tmp_path, "1", "1")):
        (directory / "memory.max").write_text(limit + "\n")
        (directory / "memory.current").write_text(used + "\n")
    (inner / "memory.swap.max").write_text("max\n")
    (inner / "memory.swap.current").write_text("0\n")
    (inner / "pids.current").write_text("5\n")
    limits = Limits(str(inner), str(tmp_path))
    assert limits.memory() == Bound(50, 10)
    assert limits.swap() == Bound()
    assert limits.processes() == 5


def test_without_a_cgroup() -> None:
    limits = Limits("", "")
    assert (limits.memory(), limits.swap(), limits.processes()) == (Bound(), Bound(), None)


def test_the_clock_of_the_time_namespace() -> None:
    host = brokering.sysinfo()
    found = SYSINFO.unpack(memory.sysinfo(host, Bound(), Bound(), None, 1000))
    assert found[0] == SYSINFO.unpack(host)[0] + 1000
    assert memory.boot_offset("self") == memory.boot_offset(os.getpid())
    assert memory.boot_offset(0) == 0
