"""linux.resources as writes: the numbers of runc 1.5, the order, and values that cgroup v2 refuses."""

from __future__ import annotations

import errno
import math
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.cgroup import resources
from pyrunc.libcontainer.cgroup.resources import Limits, limits, violations
from pyrunc.libcontainer.plan.host import HostFacts

ALL = HostFacts(controllers=("cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"))
HYBRID = HostFacts(cgroup_mount="/sys/fs/cgroup/unified", cgroup_pure=False, controllers=("hugetlb",))


def made(**members: Any) -> Limits:
    resources: Any = members
    return limits(resources, ALL)


def pairs(**members: Any) -> list[tuple[str, str]]:
    """File and value of each write."""
    return [(write.file, write.value) for write in made(**members).writes]


def refused(**members: Any) -> list[str]:
    resources: Any = members
    return [at for at, _, _ in violations(resources)]


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"devices": [{"allow": False, "access": "rwm"}]},
        {"memory": {}, "cpu": {}, "pids": {}, "blockIO": {}, "network": {}, "rdma": {}, "unified": {}},
        {"hugepageLimits": []},
        {"memory": {"limit": 0, "swap": 0, "reservation": 0, "disableOOMKiller": False, "checkBeforeUpdate": True}},
        {"cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": "", "realtimeRuntime": 0}},
        {"blockIO": {"weight": 0, "leafWeight": 0, "weightDevice": [], "throttleReadBpsDevice": []}},
        {"network": {"classID": 0, "priorities": []}},
        {"memory": {"useHierarchy": True}},
    ],
)
def test_what_asks_for_nothing_writes_nothing(members: Any) -> None:
    got = limits(members, HostFacts())
    assert (got.writes, got.controllers, got.memory_check, got.warnings) == ((), (), None, ())


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"limit": 1 << 20}, [("memory.max", "1048576")]),
        ({"limit": -1}, [("memory.swap.max", "max"), ("memory.max", "max")]),
        ({"limit": 100, "swap": 100}, [("memory.swap.max", "0"), ("memory.max", "100")]),
        ({"limit": 100, "swap": 150}, [("memory.swap.max", "50"), ("memory.max", "100")]),
        ({"limit": 100, "swap": -1}, [("memory.swap.max", "max"), ("memory.max", "100")]),
        ({"limit": -1, "swap": 100}, [("memory.swap.max", "100"), ("memory.max", "max")]),
        ({"limit": -1, "swap": -1}, [("memory.swap.max", "max"), ("memory.max", "max")]),
        ({"swap": -1}, [("memory.swap.max", "max")]),
        ({"reservation": 5}, [("memory.low", "5")]),
        ({"reservation": -1}, [("memory.low", "max")]),
    ],
)
def test_memory(members: dict[str, int], expected: list[tuple[str, str]]) -> None:
    assert pairs(memory=members) == expected


def test_swap_that_is_forbidden_or_free_needs_no_kernel_that_counts_it() -> None:
    optional = {}
    for swap in (100, 150, -1):
        for write in made(memory={"limit": 100, "swap": swap}).writes:
            optional[write.file, write.value] = write.optional
    assert optional == {
        ("memory.swap.max", "0"): True,
        ("memory.swap.max", "50"): False,
        ("memory.swap.max", "max"): True,
        ("memory.max", "100"): False,
    }


def test_the_memory_in_use_is_looked_at_where_asked() -> None:
    assert made(memory={"limit": 5, "checkBeforeUpdate": True}).memory_check == (5, 0)
    assert made(memory={"limit": 5, "swap": 7, "checkBeforeUpdate": True}).memory_check == (5, 7)
    assert made(memory={"limit": -1, "checkBeforeUpdate": True}).memory_check is None
    assert made(memory={"limit": 5, "checkBeforeUpdate": False}).memory_check is None


@pytest.mark.parametrize("field", ["kernel", "kernelTCP"])
def test_kernel_memory_is_ignored_with_runc_s_warning(field: str) -> None:
    got = made(memory={field: 100})
    assert got.writes == ()
    assert got.warnings == ("Kernel memory settings are ignored and will be removed",)


def test_cpu() -> None:
    assert pairs(cpu={"shares": 1024}) == [("cpu.weight", "100")]
    assert pairs(cpu={"quota": 5000}) == [("cpu.max", "5000 100000")]
    assert pairs(cpu={"quota": -1}) == [("cpu.max", "max 100000")]
    assert pairs(cpu={"period": 1000000}) == [("cpu.max", "max 1000000")]
    assert pairs(cpu={"quota": 40000, "period": 50000}) == [("cpu.max", "40000 50000")]
    assert pairs(cpu={"idle": 1}) == [("cpu.idle", "1")]
    assert pairs(cpu={"idle": 0, "shares": 2}) == [("cpu.idle", "0"), ("cpu.weight", "1")]
    assert pairs(cpu={"cpus": "0-3,7", "mems": "0"}) == [("cpuset.cpus", "0-3,7"), ("cpuset.mems", "0")]
    assert made(cpu={"cpus": "0", "shares": 2}).controllers == ("cpu", "cpuset")


def test_a_burst_is_tried_before_and_after_the_quota() -> None:
    writes = made(cpu={"quota": 5000, "burst": 4000}).writes
    assert [(write.file, write.fallback_level, write.on_errno) for write in writes] == [
        ("cpu.max.burst", 0, (errno.EINVAL,)),
        ("cpu.max", 0, ()),
        ("cpu.max.burst", 1, ()),
    ]
    assert [(write.fallback_level, write.on_errno) for write in made(cpu={"burst": 0}).writes] == [(0, ())]


# The limits of the range, the default, and values that engines use often.
@pytest.mark.parametrize(
    ("shares", "weight"),
    [(1, 1), (2, 1), (100, 17), (200, 29), (1024, 100), (3333, 256), (262144, 10000), (1 << 63, 10000)],
)
def test_cpu_weight(shares: int, weight: int) -> None:
    assert resources.cpu_weight(shares) == weight


def test_cpu_weight_of_all_shares_is_what_the_formula_says() -> None:
    for shares in range(3, 262144):
        log = math.log2(shares)
        assert resources.cpu_weight(shares) == math.ceil(math.pow(10, (log * log + 125 * log) / 612.0 - 7.0 / 34.0))


def test_pids() -> None:
    assert [pairs(pids={"limit": limit}) for limit in (7, 0, -1)] == [
        [("pids.max", "7")],
        [("pids.max", "1")],
        [("pids.max", "max")],
    ]


def test_weights_of_block_io_fall_back_to_io_cost() -> None:
    writes = made(blockIO={"weight": 750, "weightDevice": [{"major": 8, "minor": 16, "weight": 10}]}).writes
    assert [(write.file, write.value, write.fallback_level, write.on_errno) for write in writes] == [
        ("io.bfq.weight", "750", 0, (errno.ENOENT,)),
        ("io.weight", "7475", 1, ()),
        ("io.bfq.weight", "8:16 10", 0, (errno.ENOENT, errno.EOPNOTSUPP)),
        ("io.weight", "8:16 1", 1, ()),
    ]
    assert writes[2].pointer == "/linux/resources/blockIO/weightDevice/0/weight"
    assert [resources.io_weight(weight) for weight in (10, 100, 500, 1000)] == [1, 910, 4950, 10000]


def test_throttles() -> None:
    device = {"major": 259, "minor": 1}
    got = made(
        blockIO={
            "throttleReadBpsDevice": [{**device, "rate": 5}, {"major": 8, "minor": 0, "rate": 0}],
            "throttleWriteBpsDevice": [{**device, "rate": 6}],
            "throttleReadIOPSDevice": [{**device, "rate": 7}],
            "throttleWriteIOPSDevice": [{**device, "rate": 8}],
        }
    )
    assert [write.value for write in got.writes] == [
        "259:1 rbps=5", "8:0 rbps=max", "259:1 wbps=6", "259:1 riops=7", "259:1 wiops=8",
    ]  # fmt: skip
    assert {write.file for write in got.writes} == {"io.max"}
    assert got.writes[1].pointer == "/linux/resources/blockIO/throttleReadBpsDevice/1"


def test_huge_pages_are_limited_in_use_and_reserved() -> None:
    assert pairs(hugepageLimits=[{"pageSize": "2MB", "limit": 0}, {"pageSize": "1GB", "limit": 9}]) == [
        ("hugetlb.2MB.max", "0"),
        ("hugetlb.2MB.rsvd.max", "0"),
        ("hugetlb.1GB.max", "9"),
        ("hugetlb.1GB.rsvd.max", "9"),
    ]


def test_rdma() -> None:
    devices = {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}, "rxe3": {"hcaObjects": 0}}
    assert pairs(rdma=devices) == [
        ("rdma.max", "mlx5_1 hca_handle=3 hca_object=10000"),
        ("rdma.max", "rxe3 hca_object=0"),
    ]


def test_unified_is_written_last_and_line_by_line() -> None:
    unified = {"io.max": "8:0 rbps=1\n8:16 wbps=2\n", "misc.max": "", "cgroup.max.depth": "3", "foo.bar": "x"}
    facts = HostFacts(controllers=("pids", "io", "misc", "foo"))
    got = limits({"unified": unified, "pids": {"limit": 1}}, facts)
    assert [(write.file, write.value) for write in got.writes] == [
        ("pids.max", "1"),
        ("io.max", "8:0 rbps=1"),
        ("io.max", "8:16 wbps=2"),
        ("misc.max", ""),
        ("cgroup.max.depth", "3"),
        ("foo.bar", "x"),
    ]
    assert got.controllers == ("pids", "io", "misc", "foo")
    assert got.writes[1].pointer == "/linux/resources/unified/io.max"


@pytest.mark.parametrize(
    ("members", "at"),
    [
        ({"memory": {"disableOOMKiller": True}}, "memory/disableOOMKiller"),
        ({"memory": {"swappiness": 0}}, "memory/swappiness"),
        ({"memory": {"useHierarchy": False}}, "memory/useHierarchy"),
        ({"memory": {"swap": 5}}, "memory/swap"),
        ({"memory": {"limit": 6, "swap": 5}}, "memory/swap"),
        ({"cpu": {"realtimeRuntime": 5}}, "cpu/realtimeRuntime"),
        ({"cpu": {"realtimeRuntime": -1}}, "cpu/realtimeRuntime"),
        ({"cpu": {"realtimePeriod": 5}}, "cpu/realtimePeriod"),
        ({"cpu": {"idle": 1, "shares": 1024}}, "cpu/idle"),
        ({"cpu": {"burst": 6, "quota": 5}}, "cpu/burst"),
        ({"blockIO": {"leafWeight": 10}}, "blockIO/leafWeight"),
        ({"blockIO": {"weight": 9}}, "blockIO/weight"),
        ({"blockIO": {"weight": 1001}}, "blockIO/weight"),
        ({"blockIO": {"weightDevice": [{"major": 1, "minor": 1, "weight": 1}]}}, "blockIO/weightDevice/0/weight"),
        (
            {"blockIO": {"weightDevice": [{"major": 1, "minor": 1, "leafWeight": 10}]}},
            "blockIO/weightDevice/0/leafWeight",
        ),
        ({"network": {"classID": 1}}, "network/classID"),
        ({"network": {"priorities": [{"name": "eth0", "priority": 1}]}}, "network/priorities"),
        ({"unified": {"cgroup.freeze": "1"}}, "unified/cgroup.freeze"),
        ({"unified": {"cgroup.procs": "1"}}, "unified/cgroup.procs"),
    ],
)
def test_what_cgroup_v2_can_t_do_is_refused_at_its_place(members: Any, at: str) -> None:
    assert refused(**members) == ["/linux/resources/" + at]
    with pytest.raises(PyruncError) as caught:
        limits(members, ALL)
    assert caught.value.pointer == "/linux/resources/" + at


def test_refusals_do_not_go_too_far() -> None:
    assert refused(cpu={"burst": 6, "quota": -1}) == []
    assert refused(cpu={"burst": 5, "quota": 5, "idle": 1}) == []
    assert refused(memory={"limit": 5, "swap": 5}) == []
    assert refused(memory={"limit": -1, "swap": 5}) == []
    assert refused(blockIO={"weight": 10, "weightDevice": [{"major": 1, "minor": 1, "weight": 1000}]}) == []


@pytest.mark.parametrize(
    ("members", "field", "controller"),
    [
        ({"memory": {"limit": 1}}, "memory.limit", "memory"),
        ({"cpu": {"shares": 2}}, "cpu.shares", "cpu"),
        ({"cpu": {"cpus": "0"}}, "cpu.cpus", "cpuset"),
        ({"pids": {"limit": -1}}, "pids.limit", "pids"),
        ({"blockIO": {"weight": 10}}, "blockIO.weight", "io"),
        ({"rdma": {"mlx5": {"hcaHandles": 1}}}, "rdma.mlx5", "rdma"),
    ],
)
def test_a_controller_that_is_not_on_v2_is_named(members: Any, field: str, controller: str) -> None:
    with pytest.raises(PyruncError) as caught:
        limits(members, HYBRID)
    assert caught.value.message == f'{field} can\'t be set: controller "{controller}" not available'
    assert "/sys/fs/cgroup/unified" in caught.value.hint
    with pytest.raises(PyruncError) as caught:
        limits(members, HostFacts())
    assert "disabled" in caught.value.hint


def test_a_missing_controller_of_unified_is_named_in_runc_s_words() -> None:
    with pytest.raises(PyruncError) as caught:
        limits({"unified": {"hugetlb.2MB.max": "1", "misc.max": "x 1"}}, HYBRID)
    assert caught.value.message == 'unified resource "misc.max" can\'t be set: controller "misc" not available'
    assert caught.value.pointer == "/linux/resources/unified/misc.max"


def test_pointers_count_from_where_the_object_stands() -> None:
    assert limits({"pids": {"limit": 1}}, ALL, at="").writes[0].pointer == "/pids/limit"
    with pytest.raises(PyruncError, match=r"pids\.limit can't") as caught:
        limits({"pids": {"limit": 1}}, HYBRID, at="")
    assert caught.value.pointer == "/pids/limit"
