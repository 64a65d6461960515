"""The statistics of a directory that has the files of a cgroup, in the form of `runc events`."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.cgroup import stats

FILES = {
    "cpu.stat": "usage_usec 30\nuser_usec 10\nsystem_usec 20\nnr_periods 5\nnr_throttled 2\nthrottled_usec 7\n",
    "cpu.pressure": "some avg10=1.50 avg60=0.00 avg300=0.00 total=9\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
    "cpuset.cpus.effective": "0-2,5\n",
    "cpuset.mems.effective": "0\n",
    "memory.stat": "anon 1\nfile 2\nkernel 3\nsock 4\n",
    "memory.current": "100\n",
    "memory.peak": "150\n",
    "memory.max": "1000\n",
    "memory.swap.current": "5\n",
    "memory.swap.max": "50\n",
    "memory.events": "low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\n",
    "memory.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\n",
    "pids.current": "4\n",
    "pids.max": "20\n",
    "io.stat": "8:0 rbytes=1 wbytes=2 rios=3 wios=0 dbytes=9 dios=9\n253:1\n",
    "io.pressure": "full avg10=0.00 avg60=0.00 avg300=0.25 total=8\n",
    "hugetlb.2MB.current": "10\n",
    "hugetlb.2MB.rsvd.current": "20\n",
    "hugetlb.2MB.events": "max 6\n",
    "hugetlb.1GB.current": "0\n",
    "rdma.current": "mlx5_0 hca_handle=1 hca_object=2\n",
    "rdma.max": "mlx5_0 hca_handle=3 hca_object=max\n",
}


def write(path: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (path / name).write_text(text)
    return str(path)


def test_every_file_has_its_place(tmp_path: Path) -> None:
    found = stats.gather(write(tmp_path, FILES))
    assert found["cpu"] == {
        "usage": {"total": 30000, "kernel": 20000, "user": 10000},
        "throttling": {"periods": 5, "throttledPeriods": 2, "throttledTime": 7000},
        "psi": {
            "some": {"avg10": 1.5, "avg60": 0.0, "avg300": 0.0, "total": 9},
            "full": {"avg10": 0.0, "avg60": 0.0, "avg300": 0.0, "total": 0},
        },
    }
    assert (found["cpuset"]["cpus"], found["cpuset"]["mems"]) == ([0, 1, 2, 5], [0])
    memory = found["memory"]
    assert memory["usage"] == {"limit": 1000, "usage": 100, "max": 150, "failcnt": 3}
    # As cgroup v1 counts: memory and swap together.
    assert memory["swap"] == {"limit": 1050, "usage": 105, "failcnt": 0}
    assert (memory["cache"], memory["raw"]) == (2, {"anon": 1, "file": 2, "kernel": 3, "sock": 4})
    assert (memory["kernel"]["usage"], memory["kernelTCP"]["usage"]) == (3, 4)
    assert memory["event_count"] == {"low": 0, "high": 0, "max": 3, "oom": 1, "oom_kill": 1}
    assert memory["psi"]["some"]["total"] == 1
    assert found["pids"] == {"current": 4, "limit": 20}
    assert found["blkio"] == {
        "ioServiceBytesRecursive": [
            {"major": 8, "op": "Read", "value": 1},
            {"major": 8, "op": "Write", "value": 2},
        ],
        "ioServicedRecursive": [{"major": 8, "op": "Read", "value": 3}, {"major": 8, "op": "Write"}],
        "psi": {"full": {"avg10": 0.0, "avg60": 0.0, "avg300": 0.25, "total": 8}},
    }
    assert found["hugetlb"] == {"1GB": {"failcnt": 0}, "2MB": {"usage": 20, "failcnt": 6}}
    assert found["rdma"] == {
        "current": [{"device": "mlx5_0", "hcaHandles": 1, "hcaObjects": 2}],
        "limit": [{"device": "mlx5_0", "hcaHandles": 3, "hcaObjects": 0xFFFFFFFF}],
    }
    assert (found["intel_rdt"], found["network_interfaces"]) == ({}, None)


def test_the_members_are_in_runcs_order(tmp_path: Path) -> None:
    assert list(stats.gather(str(tmp_path))) == [
        "cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces",
    ]  # fmt: skip


def test_without_controllers_there_are_zeros(tmp_path: Path) -> None:
    found = stats.gather(str(tmp_path))
    assert found["cpu"] == {"usage": {"kernel": 0, "user": 0}, "throttling": {}}
    assert found["pids"] == {}
    assert found["blkio"] == {}
    assert found["memory"]["usage"] == {"limit": 0, "failcnt": 0}
    assert found["memory"]["swap"] == {"limit": 0, "failcnt": 0}


def test_no_limit_is_the_largest_number(tmp_path: Path) -> None:
    files = {"memory.max": "max\n", "memory.swap.max": "5\n", "pids.max": "max\n", "pids.current": "1\n"}
    found = stats.gather(write(tmp_path, files))
    assert found["memory"]["usage"]["limit"] == (1 << 64) - 1
    assert found["memory"]["swap"]["limit"] == (1 << 64) - 1
    assert found["pids"] == {"current": 1}


def test_a_cgroup_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(PyruncError, match="opening cgroup"):
        stats.gather(str(tmp_path / "gone"))
