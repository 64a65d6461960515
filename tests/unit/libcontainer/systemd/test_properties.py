"""A unit's properties: of every scope, of annotations, of limits."""

from __future__ import annotations

from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.cgroup.resources import Write, limits
from pyrunc.libcontainer.plan.host import HostFacts, SystemdFacts
from pyrunc.libcontainer.systemd import gvariant, properties
from pyrunc.libcontainer.systemd.unit import Unit

FACTS = HostFacts(controllers=("cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma"))
INFINITY = (1 << 64) - 1


def of_limits(version: int = 252, **resources: Any) -> Any:
    """The properties of a `resources` object, as systemd gets them."""
    members: Any = resources
    writes = properties.rounded(limits(members, FACTS).writes)
    return {name: value for name, (_, value) in typed(*writes, version=version).items()}


def typed(*writes: Write, version: int = 252) -> dict[str, tuple[str, Any]]:
    return dict(properties.typed(properties.limit_properties(writes, SystemdFacts(version=version))))


def written(file: str, *values: str, version: int = 252) -> Any:
    """The properties of writes to one file."""
    writes = [Write(file, value, "/x") for value in values]
    return {name: value for name, (_, value) in typed(*writes, version=version).items()}


def throttle(minor: int, rate: int) -> dict[str, int]:
    return {"major": 8, "minor": minor, "rate": rate}


def test_every_scope() -> None:
    made = dict(properties.typed(properties.scope_properties(Unit("p-x.scope", "a.slice", "it's x"))))
    assert made == {
        "Description": ("s", "pyrunc container it's x"),
        "Slice": ("s", "a.slice"),
        "Delegate": ("b", True),
        "MemoryAccounting": ("b", True),
        "CPUAccounting": ("b", True),
        "IOAccounting": ("b", True),
        "TasksAccounting": ("b", True),
        "DefaultDependencies": ("b", False),
    }


@pytest.mark.parametrize(
    ("name", "text", "made"),
    [
        ("TimeoutStopUSec", "uint64 123456789", "TimeoutStopUSec=uint64 123456789"),
        ("TimeoutStopSec", "456", "TimeoutStopUSec=uint64 456000000"),
        ("TimeoutStopSec", "byte 234", "TimeoutStopUSec=uint64 234000000"),
        ("TimeoutStopSec", "int64 234", "TimeoutStopUSec=uint64 234000000"),
        ("TimeoutStopSec", "234.789", "TimeoutStopUSec=uint64 234789000"),
        ("FOOSec", "123", "FOOSec=123"),
        ("Sec", "123", "Sec=123"),
        ("CollectMode", " 'inactive-or-failed' ", "CollectMode='inactive-or-failed'"),
        ("After", "['a.target', 'b.target']", "After=['a.target', 'b.target']"),
    ],
)
def test_annotations(name: str, text: str, made: str) -> None:
    assert properties.annotated({"org.systemd.property." + name: text, "some.other": "0"}) == [made]


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("Xo", "1", "annotation org.systemd.property.Xo name incorrect: too short"),
        ("Number1", "1", "name incorrect: contains non-alphabetic character"),
        ("Имя", "1", "name incorrect: contains non-alphabetic character"),
        ("ValidName", "invalid-value", "annotation org.systemd.property.ValidName=invalid-value value parse error: "),
        ("TimeoutStopSec", "false", "value parse error: not a number"),
        ("TimeoutStopSec", "'covfefe'", "value parse error: not a number"),
        ("TimeoutStopSec", "-1", "value parse error: not a number"),
        ("TimeoutStopSec", "1e999", "value parse error: not a number"),
        ("TimeoutStopSec", "uint64 18446744073709551615", "value parse error: not a number"),
    ],
)
def test_annotations_that_are_refused(name: str, text: str, error: str) -> None:
    with pytest.raises(PyruncError) as caught:
        properties.annotated({"org.systemd.property." + name: text})
    assert error in caught.value.message
    assert caught.value.pointer == "/annotations/org.systemd.property." + name


@pytest.mark.parametrize(
    ("resources", "made"),
    [
        ({}, {}),
        ({"memory": {"limit": 5000, "swap": 7000, "reservation": 3000}},
         {"MemorySwapMax": 2000, "MemoryMax": 5000, "MemoryLow": 3000}),
        ({"memory": {"limit": -1}}, {"MemoryMax": INFINITY, "MemorySwapMax": INFINITY}),
        ({"cpu": {"shares": 1024}}, {"CPUWeight": 100}),
        ({"cpu": {"idle": 1}}, {"CPUWeight": 0}),
        ({"cpu": {"idle": 0, "shares": 1024}}, {"CPUWeight": 100}),
        ({"cpu": {"quota": 50000}}, {"CPUQuotaPeriodUSec": 100000, "CPUQuotaPerSecUSec": 500000}),
        ({"cpu": {"quota": 33333, "period": 50000}}, {"CPUQuotaPeriodUSec": 50000, "CPUQuotaPerSecUSec": 670000}),
        ({"cpu": {"period": 50000}}, {"CPUQuotaPeriodUSec": 50000, "CPUQuotaPerSecUSec": INFINITY}),
        ({"cpu": {"quota": -1}}, {"CPUQuotaPeriodUSec": 100000, "CPUQuotaPerSecUSec": INFINITY}),
        ({"cpu": {"cpus": "0-1,9", "mems": "0"}}, {"AllowedCPUs": [3, 2], "AllowedMemoryNodes": [1]}),
        ({"pids": {"limit": 20}}, {"TasksMax": 20}),
        ({"pids": {"limit": 0}}, {"TasksMax": 1}),
        ({"pids": {"limit": -1}}, {"TasksMax": INFINITY}),
        ({"blockIO": {"weight": 500}}, {"IOWeight": 4950}),
        ({"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 10}]}},
         {"IODeviceWeight": [("/dev/block/8:0", 1)]}),
        ({"blockIO": {"throttleReadBpsDevice": [throttle(0, 5), throttle(1, 6)],
                      "throttleWriteIOPSDevice": [throttle(0, 0)]}},
         {"IOReadBandwidthMax": [("/dev/block/8:0", 5), ("/dev/block/8:1", 6)],
          "IOWriteIOPSMax": [("/dev/block/8:0", INFINITY)]}),
        ({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}], "rdma": {"m": {"hcaHandles": 1}}}, {}),
        ({"pids": {"limit": 5}, "unified": {"pids.max": "7"}}, {"TasksMax": 7}),
        ({"unified": {"cpu.idle": "1", "cpu.weight": "50"}}, {"CPUWeight": 0}),
    ],
)  # fmt: skip
def test_limits(resources: Any, made: Any) -> None:
    assert of_limits(**resources) == made


@pytest.mark.parametrize(
    ("file", "value", "made"),
    [
        ("cpu.max", "max", {"CPUQuotaPeriodUSec": 100000, "CPUQuotaPerSecUSec": INFINITY}),
        ("cpu.max", "5000", {"CPUQuotaPeriodUSec": 100000, "CPUQuotaPerSecUSec": 50000}),
        ("cpu.max", "1 2 3", {}),
        ("cpu.max", "much 100", {}),
        ("cpu.weight", "7", {"CPUWeight": 7}),
        ("cpuset.cpus", "0,2", {"AllowedCPUs": [5]}),
        ("cpuset.cpus", "", {}),
        ("cpuset.cpus", "a-b", {}),
        ("cpuset.cpus", "0-99999999", {}),
        ("io.max", "8:0 rbps=5 wbps=max riops=x", {"IOReadBandwidthMax": [("/dev/block/8:0", 5)],
                                                   "IOWriteBandwidthMax": [("/dev/block/8:0", INFINITY)]}),
        ("io.weight", "default 50", {"IOWeight": 50}),
        ("io.weight", "8:0 default", {}),
        ("memory.high", "max", {"MemoryHigh": INFINITY}),
        ("memory.min", " 5 ", {"MemoryMin": 5}),
        ("memory.max", "500M", {}),
        ("pids.max", "0", {"TasksMax": 1}),
        ("cgroup.max.depth", "3", {}),
        ("misc.max", "x 1", {}),
    ],
)  # fmt: skip
def test_unified(file: str, value: str, made: Any) -> None:
    """A value that systemd has no property for, or that the kernel does not have, becomes no property: it is written
    all the same.
    """
    assert written(file, value) == made


@pytest.mark.parametrize(
    ("file", "value", "version", "made"),
    [
        ("memory.oom.group", "1", 252, {}),
        ("memory.oom.group", "1", 253, {"OOMPolicy": "kill"}),
        ("memory.oom.group", "0", 255, {"OOMPolicy": "continue"}),
        ("memory.oom.group", "2", 255, {}),
        ("memory.zswap.max", "5", 252, {}),
        ("memory.zswap.max", "5", 253, {"MemoryZSwapMax": 5}),
        ("cpu.idle", "1", 251, {}),
        ("cpu.idle", "1", 252, {"CPUWeight": 0}),
        ("cpu.idle", "0", 252, {}),
    ],
)
def test_versions(file: str, value: str, version: int, made: Any) -> None:
    assert written(file, value, version=version) == made


def test_types_are_systemd_s() -> None:
    writes = limits(
        {
            "cpu": {"cpus": "0", "shares": 2},
            "blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 5}]},
        },
        FACTS,
    ).writes
    assert {name: signature for name, (signature, _) in typed(*writes).items()} == {
        "CPUWeight": "t",
        "AllowedCPUs": "ay",
        "IOReadBandwidthMax": "a(st)",
    }


def test_a_quota_is_rounded_up_to_whole_percents() -> None:
    writes = [Write("cpu.max.burst", "5", "/b"), Write("cpu.max", "33333 50000", "/q", optional=True)]
    assert [(write.file, write.value, write.pointer) for write in properties.rounded(writes)] == [
        ("cpu.max.burst", "5", "/b"),
        ("cpu.max", "33500 50000", "/q"),
    ]
    for value in ("max 50000", "20000 100000", "what"):
        assert properties.rounded([Write("cpu.max", value, "/q")])[0].value == value


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("MemoryMax", ("memory.max",)),
        ("CPUQuotaPerSecUSec", ("cpu.max",)),
        ("CPUWeight", ("cpu.weight", "cpu.idle")),
        ("AllowedCPUs", ("cpuset.cpus",)),
        ("IOReadIOPSMax", ("io.max",)),
        ("OOMPolicy", ("memory.oom.group",)),
    ],
)
def test_the_file_of_a_property(name: str, files: tuple[str, ...]) -> None:
    assert set(properties.file_of(name)) >= set(files)
    assert "memory.max" not in properties.file_of("Delegate")


def test_text_and_value_are_one() -> None:
    assert properties.typed(["A=uint64 5", "B='x=y'"]) == [("A", ("t", 5)), ("B", ("s", "x=y"))]
    assert gvariant.parse("@ay [3, 2]") == ("ay", [3, 2])
