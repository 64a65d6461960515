"""The text that writes a control file back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyrunc.libcontainer.cgroup import readback


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
    assert readback.undoing(file, text, value) == undone


def test_a_file_that_is_not_there_has_nothing_to_write_back(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        assert readback.previous(fd, "cpu.idle", "0") is None
        (tmp_path / "cpu.idle").write_text("1\n")
        assert readback.previous(fd, "cpu.idle", "0") == "1"
    finally:
        os.close(fd)
