"""Statistics as containerd reads them, from directories that look like cgroups and from a real one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pyrunc._generated.shim_messages import TABLES
from pyrunc.errors import PyruncError
from pyrunc.shim import messages, metrics

UNLIMITED = 2**64 - 1
PRESSURE = "some avg10=1.50 avg60=0.25 avg300=0.00 total=12\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=3\n"


def cgroup(directory: Path, **files: str) -> Path:
    for name, text in files.items():
        (directory / name.replace("__", ".")).write_text(text)
    return directory


def gathered(path: Path) -> dict[str, Any]:
    return messages.decode("Metrics", messages.encode("Metrics", metrics.gather(str(path))))


def test_processes_and_processor(tmp_path: Path) -> None:
    found = gathered(
        cgroup(
            tmp_path,
            pids__current="3\n",
            pids__max="100\n",
            cpu__stat="usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 4\nnr_throttled 3\nthrottled_usec 2\n"
            "nr_bursts 6\nburst_usec 7\n",
            cpu__pressure=PRESSURE,
        )
    )
    assert found["pids"] == {"current": 3, "limit": 100}
    psi = found["cpu"].pop("psi")
    assert found["cpu"] == {
        "usage_usec": 30, "user_usec": 20, "system_usec": 10, "nr_periods": 4, "nr_throttled": 3, "throttled_usec": 2,
        "nr_bursts": 6, "burst_usec": 7,
    }  # fmt: skip
    assert psi["some"] == {"avg10": 1.5, "avg60": 0.25, "avg300": 0.0, "total": 12}
    assert psi["full"]["total"] == 3


def test_memory(tmp_path: Path) -> None:
    found = gathered(
        cgroup(
            tmp_path,
            memory__stat="anon 10\nfile 20\nworkingset_refault_anon 3\nworkingset_refault_file 4\npgscan 9\nnew 1\n",
            memory__current="1000\n",
            memory__max="max\n",
            memory__peak="2000\n",
            memory__swap__current="5\n",
            memory__swap__max="50\n",
            memory__events="low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\noom_group_kill 6\n",
            memory__pressure=PRESSURE,
        )
    )
    memory = found["memory"]
    expected = {
        "anon": 10, "file": 20, "workingset_refault": 7, "pgscan": 9, "usage": 1000, "usage_limit": UNLIMITED,
        "max_usage": 2000, "swap_usage": 5, "swap_limit": 50, "swap_max_usage": 0,
    }  # fmt: skip
    assert {name: memory[name] for name in expected} == expected
    assert memory["psi"]["some"]["total"] == 12
    assert found["memory_events"] == {
        "low": 1, "high": 2, "max": 3, "oom": 4, "oom_kill": 5, "oom_group_kill": 6,
    }  # fmt: skip


def test_every_number_of_memory_stat_that_the_message_has_is_taken(tmp_path: Path) -> None:
    names = [name for name, *_ in TABLES["MemoryStat"].values()]
    files = {"usage", "usage_limit", "swap_usage", "swap_limit", "max_usage", "swap_max_usage", "psi"}
    text = "".join([f"{name} {index + 1}\n" for index, name in enumerate(names)])
    memory = gathered(cgroup(tmp_path, memory__stat=text))["memory"]
    assert {name: memory[name] for name in names if name not in files} == {
        name: index + 1 for index, name in enumerate(names) if name not in files
    }


def test_devices(tmp_path: Path) -> None:
    found = gathered(
        cgroup(
            tmp_path,
            io__stat="8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n253:1 \n",
            io__pressure=PRESSURE,
            rdma__current="mlx4_0 hca_handle=2 hca_object=2000\n",
            rdma__max="mlx4_0 hca_handle=max hca_object=3\n",
            hugetlb__2MB__current="4096\n",
            hugetlb__2MB__max="max\n",
            hugetlb__2MB__events="max 9\n",
            hugetlb__2MB__rsvd__current="1\n",
        )
    )
    assert found["io"]["usage"] == [
        {"major": 8, "minor": 0, "rbytes": 1, "wbytes": 2, "rios": 3, "wios": 4},
        {"major": 253, "minor": 1, "rbytes": 0, "wbytes": 0, "rios": 0, "wios": 0},
    ]
    assert found["io"]["psi"]["full"]["total"] == 3
    assert found["rdma"] == {
        "current": [{"device": "mlx4_0", "hca_handles": 2, "hca_objects": 2000}],
        "limit": [{"device": "mlx4_0", "hca_handles": 2**32 - 1, "hca_objects": 3}],
    }
    assert found["hugetlb"] == [{"current": 4096, "max": UNLIMITED, "pagesize": "2MB", "failcnt": 9}]


def test_without_any_controller_all_is_zero(tmp_path: Path) -> None:
    found = gathered(tmp_path)
    assert found["pids"] == {"current": 0, "limit": 0}
    assert found["memory"]["usage"] == 0
    assert found["cpu"]["psi"] is None
    assert found["memory_events"] is None
    assert found["hugetlb"] == []


def test_a_real_cgroup(cgroup: Path) -> None:
    found = gathered(cgroup)
    assert found["cpu"]["usage_usec"] == 0


def test_a_cgroup_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PyruncError, match=r"opening cgroup .*/gone: no such file or directory"):
        metrics.gather(str(tmp_path / "gone"))
