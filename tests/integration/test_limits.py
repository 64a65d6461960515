"""linux.resources with the controllers of this machine: what is refused, the files of a cgroup, and its owner.

tests/guest, which has every controller, tests the limits' effects.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyrunc.libcontainer.plan import host as hostfacts
from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Runtime

pytestmark = [
    pytest.mark.skipif(not host.cgroup2_mount(), reason="needs a cgroup2 hierarchy"),
    pytest.mark.own("on a hybrid host it uses the v1 hierarchies"),
]

ROOT = Path(host.cgroup2_mount() or "/none")
CONTROLLERS = hostfacts.gather().controllers if ROOT.exists() else ()
PAGE_SIZE = "2MB"


@pytest.fixture(autouse=True)
def enabled_controllers() -> Iterator[None]:
    """After each test, the hierarchy's root enables the same controllers as before it."""
    file = ROOT / "cgroup.subtree_control"
    before = file.read_text().split()
    yield
    for name in set(file.read_text().split()) - set(before):
        file.write_text("-" + name)


def without(controller: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(controller in CONTROLLERS, reason=f"cgroup2 has {controller} here")


with_hugetlb = pytest.mark.skipif(
    "hugetlb" not in CONTROLLERS or not Path("/sys/kernel/mm/hugepages/hugepages-2048kB").exists(),
    reason=f"needs the hugetlb controller on cgroup2, and huge pages of {PAGE_SIZE}",
)


@pytest.mark.parametrize(
    ("resources", "field", "controller", "at"),
    [
        pytest.param({"memory": {"limit": 1 << 24}}, "memory.limit", "memory", "memory/limit", marks=without("memory")),
        pytest.param({"pids": {"limit": 7}}, "pids.limit", "pids", "pids/limit", marks=without("pids")),
        pytest.param({"cpu": {"shares": 7}}, "cpu.shares", "cpu", "cpu/shares", marks=without("cpu")),
        pytest.param({"cpu": {"cpus": "0"}}, "cpu.cpus", "cpuset", "cpu/cpus", marks=without("cpuset")),
        pytest.param({"blockIO": {"weight": 10}}, "blockIO.weight", "io", "blockIO/weight", marks=without("io")),
        ({"unified": {"nosuch.max": "1"}}, 'unified resource "nosuch.max"', "nosuch", "unified/nosuch.max"),
    ],
)
def test_a_limit_without_its_controller_is_an_error_that_names_both(
    runtime: Runtime, bundle: Bundle, resources: dict[str, Any], field: str, controller: str, at: str
) -> None:
    bundle.linux["resources"] = resources
    result = runtime.refuse(bundle)
    assert f'{field} can\'t be set: controller "{controller}" not available'.replace('"', '\\"') in result.last_line
    assert f"at /linux/resources/{at};" in result.last_line


@pytest.mark.parametrize(
    ("resources", "at", "words"),
    [
        ({"memory": {"disableOOMKiller": True}}, "memory/disableOOMKiller", "can't be disabled"),
        ({"memory": {"limit": 5, "swap": 4}}, "memory/swap", "memory+swap limit should be >= memory limit"),
        ({"network": {"classID": 1}}, "network/classID", "can't be set with cgroup v2"),
        ({"unified": {"../x.max": "1"}}, "unified/..~1x.max", "without slashes"),
        ({"hugepageLimits": [{"pageSize": "../2MB", "limit": 1}]}, "hugepageLimits/0/pageSize", "must be a size"),
        ({"hugepageLimits": [{"pageSize": "2MB", "limit": -1}]}, "hugepageLimits/0/limit", "must be an integer"),
        ({"rdma": {"mlx5 hca_handle=1": {"hcaObjects": 1}}}, "rdma/mlx5 hca_handle=1", "one word"),
    ],
)
def test_a_bad_limit_is_refused_at_its_place(
    runtime: Runtime, bundle: Bundle, resources: dict[str, Any], at: str, words: str
) -> None:
    bundle.linux["resources"] = resources
    result = runtime.refuse(bundle)
    assert f"at /linux/resources/{at}" in result.last_line
    assert words in result.last_line


@with_hugetlb
def test_huge_pages(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["resources"] = {"hugepageLimits": [{"pageSize": PAGE_SIZE, "limit": 6 << 20}]}
    bundle.linux["cgroupsPath"] = f"/{runtime.token}/deep/one"
    runtime.container(bundle)
    cgroup = ROOT / runtime.token / "deep/one"
    assert (cgroup / f"hugetlb.{PAGE_SIZE}.max").read_text() == f"{6 << 20}\n"
    assert (cgroup / f"hugetlb.{PAGE_SIZE}.rsvd.max").read_text() == f"{6 << 20}\n"
    for directory in (ROOT, ROOT / runtime.token, ROOT / runtime.token / "deep"):
        assert "hugetlb" in (directory / "cgroup.subtree_control").read_text().split()
    assert (cgroup / "cgroup.subtree_control").read_text().split() == []


@with_hugetlb
def test_unified_has_the_last_word(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["resources"] = {
        "hugepageLimits": [{"pageSize": PAGE_SIZE, "limit": 6 << 20}],
        "unified": {f"hugetlb.{PAGE_SIZE}.max": f"{4 << 20}", "cgroup.max.depth": "3"},
    }
    container = runtime.container(bundle)
    cgroup = ROOT / host.cgroup_of(container.pid)[1:]
    assert (cgroup / f"hugetlb.{PAGE_SIZE}.max").read_text() == f"{4 << 20}\n"
    assert (cgroup / f"hugetlb.{PAGE_SIZE}.rsvd.max").read_text() == f"{6 << 20}\n"
    assert (cgroup / "cgroup.max.depth").read_text() == "3\n"


@with_hugetlb
@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"hugepageLimits": [{"pageSize": "4MB", "limit": 0}]}, ["no such file", "hugepageLimits/0/limit", "sizes"]),
        ({"unified": {"cgroup.nosuch": "1"}}, ["no such file", "no such control file"]),
        ({"unified": {f"hugetlb.{PAGE_SIZE}.max": "many"}}, ["invalid argument", f"hugetlb.{PAGE_SIZE}.max", "many"]),
        ({"unified": {f"hugetlb.{PAGE_SIZE}.new": "1"}}, ["no such file", "sizes of huge pages"]),
    ],
)
def test_what_the_kernel_refuses_is_told_with_its_field_and_a_cure(
    runtime: Runtime, bundle: Bundle, resources: dict[str, Any], words: list[str]
) -> None:
    bundle.linux["resources"] = resources
    bundle.linux["cgroupsPath"] = f"/{runtime.token}/deep/one"
    result = runtime.refuse(bundle)
    for word in ["step cgroup_limit", "/linux/resources/", *words]:
        assert word in result.last_line


@with_hugetlb
def test_a_cgroup_with_processes_does_not_hand_out_controllers(runtime: Runtime, bundle: Bundle) -> None:
    first = runtime.container(bundle)
    at = host.cgroup_of(first.pid)
    bundle.linux["resources"] = {"hugepageLimits": [{"pageSize": PAGE_SIZE, "limit": 0}]}
    bundle.linux["cgroupsPath"] = at + "/below"
    result = runtime.refuse(bundle)
    assert f'enabling controller \\"hugetlb\\" in {ROOT}{at}: device or resource busy' in result.last_line
    assert "it has processes of its own" in result.last_line
    assert "at /linux/resources/hugepageLimits/0/limit" in result.last_line


def test_a_cgroup_in_threaded_mode_is_explained(runtime: Runtime, bundle: Bundle) -> None:
    top = ROOT / runtime.token
    (top / "thread").mkdir(parents=True)
    try:
        (top / "thread/cgroup.type").write_text("threaded")
        bundle.linux["cgroupsPath"] = f"/{runtime.token}/one"
        result = runtime.refuse(bundle)
        assert "operation not supported" in result.last_line
        assert "threaded mode" in result.last_line
    finally:
        (top / "thread").rmdir()
        top.rmdir()


@with_hugetlb
def test_the_plan_shows_each_write(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["resources"] = {"hugepageLimits": [{"pageSize": PAGE_SIZE, "limit": 0}]}
    bundle.write()
    result = runtime("plan", "--bundle", bundle.path, "--format", "json", "box")
    steps = [step for step in json.loads(result.out)["steps"] if step["kind"] == "cgroup_limit"]
    assert [step["args"] for step in steps] == [
        {"file": f"hugetlb.{PAGE_SIZE}.max", "value": "0", "optional": 0},
        {"file": f"hugetlb.{PAGE_SIZE}.rsvd.max", "value": "0", "optional": 0},
    ]


def test_validate_tells_all_that_cgroup_v2_can_t_do(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["resources"] = {"memory": {"swappiness": 5, "swap": 7}, "cpu": {"realtimeRuntime": 5}}
    bundle.write()
    result = runtime("validate", bundle.path)
    assert result.code == 1
    for place in ("memory/swappiness", "memory/swap", "cpu/realtimeRuntime"):
        assert f"error: /linux/resources/{place}: " in result.out


@with_hugetlb
def test_limits_need_a_cgroup(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["resources"] = {"hugepageLimits": [{"pageSize": PAGE_SIZE, "limit": 0}]}
    bundle.write()
    result = runtime("--cgroup-manager", "disabled", "create", "--bundle", bundle.path, runtime.new_id())
    assert result.code == 1
    assert "resource limits need a cgroup" in result.last_line


def test_ignored_kernel_memory_is_warned_of_as_runc_does(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["resources"] = {"memory": {"kernel": 1 << 24}}
    assert "Kernel memory settings are ignored and will be removed" in runtime.run(bundle).err


def delegated(bundle: Bundle, *options: str) -> Bundle:
    return bundle.user_namespace().namespace("cgroup").mount("/sys/fs/cgroup", "cgroup", "cgroup", *options)


@pytest.mark.purev2
def test_the_container_s_root_owns_a_cgroup_that_it_can_write_to(runtime: Runtime, bundle: Bundle) -> None:
    """config-linux.md, "Cgroup ownership"."""
    delegated(bundle).sh(
        "cd /sys/fs/cgroup; stat -c '%u %n' . cgroup.procs cgroup.max.depth; mkdir sub; echo $$ > sub/cgroup.procs;"
        " cat /proc/self/cgroup; sleep 1000"
    )
    (bundle.rootfs / "sys/fs/cgroup").mkdir(parents=True, exist_ok=True)
    container = runtime.started(bundle)
    host.wait_for("its last word", lambda: "0::/sub" in container.output)
    assert container.output.startswith("0 .\n0 cgroup.procs\n65534 cgroup.max.depth\n")
    assert host.cgroup_of(container.pid).endswith("/sub")
    cgroup = ROOT / host.cgroup_of(container.pid)[1:].removesuffix("/sub")
    listed = Path("/sys/kernel/cgroup/delegate").read_text().split()
    owned = {path.name for path in cgroup.iterdir() if path.is_file() and path.stat().st_uid == 100000}
    assert owned == {name for name in listed if (cgroup / name).exists()}


def test_a_cgroup_that_it_can_t_write_to_stays_the_host_s(runtime: Runtime, bundle: Bundle) -> None:
    (bundle.rootfs / "sys/fs/cgroup").mkdir(parents=True, exist_ok=True)
    assert runtime.inside(delegated(bundle, "ro"), "stat -c %u /sys/fs/cgroup") == "65534\n"
