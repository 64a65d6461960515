"""limits: writes and reads by the cgroup's descriptor, in a directory that stands in for a cgroup."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.cgroup import limits


@pytest.fixture
def cgroup(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_PATH)
    yield fd
    os.close(fd)


def test_a_file_is_written_where_the_cgroup_is(cgroup: int, tmp_path: Path) -> None:
    (tmp_path / "pids.max").touch()
    limits.write(cgroup, "pids.max", "max")
    assert (tmp_path / "pids.max").read_text() == "max"


def test_only_an_optional_file_may_be_missing(cgroup: int, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        limits.write(cgroup, "memory.swap.max", "5")
    limits.write(cgroup, "memory.swap.max", "0", optional=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("limit", "swap", "message", "field"),
    [
        (100, 0, "rejecting memory limit 100 <= usage 4096", "limit"),
        (4096, 0, "rejecting memory limit 4096 <= usage 4096", "limit"),
        (4000, 4096, "rejecting memory+swap limit 4096 <= usage 4096", "swap"),
    ],
)
def test_limits_below_the_usage_are_rejected_in_runc_s_words(
    cgroup: int, tmp_path: Path, limit: int, swap: int, message: str, field: str
) -> None:
    (tmp_path / "memory.current").write_text("4096\n")
    with pytest.raises(PyruncError) as caught:
        limits.check_memory(cgroup, limit, swap)
    assert caught.value.message == message
    assert caught.value.pointer == "/linux/resources/memory/" + field


def test_limits_above_the_usage_and_none_are_not(cgroup: int, tmp_path: Path) -> None:
    limits.check_memory(cgroup, 1, 1)  # nothing to compare with
    (tmp_path / "memory.current").write_text("4096\n")
    for limit, swap in ((4097, 4097), (-1, -1), (0, 0), (4097, 0)):
        limits.check_memory(cgroup, limit, swap)


@pytest.mark.parametrize(
    ("file", "text", "value", "undone"),
    [
        ("pids.max", "max\n", "5", "max"),
        ("cpu.max", "max 100000\n", "5000 100000", "max 100000"),
        ("cpuset.cpus", "\n", "0", "\n"),
        ("memory.swap.max", "0\n", "max", "0"),
        ("io.max", "", "8:0 rbps=5", "8:0 rbps=max wbps=max riops=max wiops=max"),
        ("io.max", "8:16 rbps=1 wbps=max riops=max wiops=max\n", "8:0 rbps=5",
         "8:0 rbps=max wbps=max riops=max wiops=max"),
        ("io.max", "8:0 rbps=1 wbps=max riops=max wiops=max\n", "8:0 wbps=5",
         "8:0 rbps=1 wbps=max riops=max wiops=max"),
        ("io.weight", "default 100\n8:0 50\n", "200", "default 100"),
        ("io.weight", "default 100\n", "default 200", "default 100"),
        ("io.weight", "default 100\n8:0 50\n", "8:0 60", "8:0 50"),
        ("io.weight", "default 100\n", "8:0 60", "8:0 default"),
        ("rdma.max", "mlx5_0 hca_handle=2 hca_object=max\n", "mlx5_0 hca_object=3",
         "mlx5_0 hca_handle=2 hca_object=max"),
        ("rdma.max", "", "mlx5_0 hca_object=3", "mlx5_0 hca_handle=max hca_object=max"),
        ("misc.max", "res_a 5\n", "res_b 6", "res_b max"),
    ],
)  # fmt: skip
def test_the_old_value_of_what_is_written(file: str, text: str, value: str, undone: str) -> None:
    assert limits.undoing(file, text, value) == undone


def test_a_file_that_is_not_there_has_nothing_to_write_back(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        assert limits.previous(fd, "cpu.idle", "0") is None
        (tmp_path / "cpu.idle").write_text("1\n")
        assert limits.previous(fd, "cpu.idle", "0") == "1"
    finally:
        os.close(fd)
