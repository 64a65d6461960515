"""The files of a cgroup against linux.resources. The cgroup is a directory; a real one: tests/guest/test_verify.py."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.cgroup import devices
from pyrunc.libcontainer.cgroup.resources import Write
from pyrunc.libcontainer.plan.host import HostFacts
from pyrunc.libcontainer.plan.model import LaunchPlan
from pyrunc.libcontainer.verify import cgroupchecks, processfiles
from pyrunc.libcontainer.verify.differences import Findings
from pyrunc.libcontainer.verify.expected import Expected
from tests.support.records import record

CONTROLLERS = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc")


def _expected(path: Path, resources: Any, **facts: Any) -> Expected:
    made = HostFacts(cgroup_mount=str(path), controllers=CONTROLLERS, **facts)
    spec: Any = {"linux": {"resources": resources}, "process": {}}
    return Expected(record(cgroup=str(path / "box")), spec, LaunchPlan((), (), {}), made)


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(processfiles, "cgroup", lambda _: "/box/below")
    monkeypatch.setattr(devices, "has", lambda fd, program: True)
    monkeypatch.setattr("pyrunc.libcontainer.cgroup.files.open_directory", lambda path: os.open(path, os.O_RDONLY))
    (tmp_path / "box").mkdir()
    return tmp_path / "box"


def _check(box: Path, resources: Any, **facts: Any) -> list[tuple[str, str, str]]:
    findings = Findings()
    cgroupchecks.check(_expected(box.parent, resources, **facts), 1, findings)
    return [(entry.pointer, entry.expected, entry.found) for entry in findings.differences]


RESOURCES = {
    "memory": {"limit": 5000, "swap": 9000},
    "cpu": {"quota": 50000, "cpus": "1,0"},
    "pids": {"limit": 10},
    "blockIO": {"weight": 100, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}]},
    "unified": {"memory.high": "4000"},
}
FILES = {
    "memory.max": "4096\n", "memory.swap.max": "0\n", "cpu.max": "50000 100000\n", "cpuset.cpus": "0-1\n",
    "pids.max": "10\n", "io.weight": "default 910\n8:16 50\n", "memory.high": "0\n",
    "io.max": "8:0 rbps=600 wbps=max riops=max wiops=max\n",
}  # fmt: skip


def test_what_the_kernel_writes_differently_is_the_same(box: Path) -> None:
    for name, text in FILES.items():
        (box / name).write_text(text)
    assert _check(box, RESOURCES) == []


def test_each_limit_that_differs(box: Path) -> None:
    for name, text in FILES.items():
        (box / name).write_text(text)
    (box / "memory.max").write_text("max\n")
    (box / "memory.swap.max").write_text("4096\n")
    (box / "cpu.max").write_text("60000 100000\n")
    (box / "cpuset.cpus").write_text("0-2\n")
    (box / "io.max").write_text("8:16 rbps=600 wbps=max riops=max wiops=max\n")
    (box / "io.weight").write_text("default 100\n")
    (box / "pids.max").unlink()
    assert sorted(_check(box, RESOURCES)) == [
        (
            "/linux/resources/blockIO/throttleReadBpsDevice/0",
            "8:0 rbps=600",
            "8:0 rbps=max wbps=max riops=max wiops=max",
        ),
        ("/linux/resources/blockIO/weight", "100", "default 100"),
        ("/linux/resources/cpu/cpus", "1,0", "0-2"),
        ("/linux/resources/cpu/quota", "50000 100000", "60000 100000"),
        ("/linux/resources/memory/limit", "5000", "max"),
        ("/linux/resources/memory/swap", "4000", "4096"),
        ("/linux/resources/pids/limit", "10", "no such file"),
    ]


@pytest.mark.parametrize(
    ("file", "value", "found", "same"),
    [
        ("memory.max", "max", "max", True),
        ("memory.max", "8191", "4096", True),
        ("memory.max", "8192", "4096", False),
        ("cpu.max", "max", "max 100000", True),
        ("cpu.max", "max 100000", "50000 100000", False),
        ("hugetlb.2MB.max", "3000000", "2097152", True),
        ("hugetlb.2MB.max", "3000000", "4194304", False),
        ("cpuset.mems", "0", "0", True),
        ("cpuset.cpus", "0-3", "0,1,2,3", True),
        ("cpuset.cpus", "0-3", "x", False),
        ("io.max", "8:0 rbps=5 wbps=6", "8:0 rbps=5 wbps=6 riops=max wiops=max", True),
        ("io.max", "8:0 rbps=5 wbps=6", "8:0 rbps=5 wbps=7 riops=max wiops=max", False),
        ("rdma.max", "mlx hca_handle=2", "mlx hca_handle=2 hca_object=max", True),
        ("io.weight", "50", "default 50", True),
        ("cpu.weight", "50", "51", False),
        ("cpu.idle", "0", "1", False),
    ],
)
def test_values_of_control_files(file: str, value: str, found: str, same: bool) -> None:
    assert cgroupchecks.holds(Write(file, value, ""), found) == same


def test_a_process_in_another_cgroup(box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for cgroup, expected in (("/box", []), ("/boxes", [("/linux/cgroupsPath", "/box", "/boxes")])):
        monkeypatch.setattr(processfiles, "cgroup", lambda _, there=cgroup: there)
        assert _check(box, {}) == expected
    monkeypatch.setattr(processfiles, "cgroup", lambda _: "/box")
    box.rmdir()
    assert _check(box, {}) == [("/linux/cgroupsPath", str(box), "no such file or directory")]


def test_device_rules(box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for answer, words in (
        (True, []),
        (False, ["another program is attached"]),
        (None, ["no program of pyrunc's is attached"]),
    ):
        monkeypatch.setattr(devices, "has", lambda fd, program, answer=answer: answer)
        assert [found for _, _, found in _check(box, {})] == words
    assert _check(box, {}, euid=1000) == []

    def refuse(fd: int, program: bytes) -> bool:
        raise PyruncError("loading the device rules")

    monkeypatch.setattr(devices, "has", refuse)
    findings = Findings()
    cgroupchecks.check(_expected(box.parent, {}), 1, findings)
    assert [why for _, _, why in findings.unseen] == ["loading the device rules"]


def test_no_cgroup_is_no_difference() -> None:
    findings = Findings()
    spec: Any = {"linux": {}, "process": {}}
    wanted = Expected(record(), spec, LaunchPlan((), (), {}), HostFacts())
    cgroupchecks.check(wanted, 1, findings)
    assert findings.differences == []
