"""The scope's step, and the steps behind it in the answer to the init's first request."""

from __future__ import annotations

from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.plan.host import HostFacts, SystemdFacts
from pyrunc.libcontainer.plan.model import LaunchPlan
from tests.support.plans import Spec, compiled, find, minimal, values, with_linux


def planned(spec: Spec, systemd: SystemdFacts | None = None, **facts: Any) -> LaunchPlan:
    facts.setdefault("controllers", ("cpu", "io", "memory", "pids"))
    return compiled(spec, HostFacts(systemd=systemd or SystemdFacts(), **facts), cgroup_manager="systemd")


def test_the_init_asks_for_its_scope_before_anything_else() -> None:
    plan = planned(with_linux("cgroup", "user", cgroupsPath="a.slice:p:x", resources={"pids": {"limit": 5}}))
    assert values(plan.init[0], "what") == ("cgroup",)
    assert [step.kind for step in plan.served["cgroup"]] == [
        "systemd_scope", "cgroup_controllers", "cgroup_limit", "cgroup_devices",
    ]  # fmt: skip
    assert values(find(plan, "clone")[0], "cgroup") == ("",)
    assert not find(plan, "cgroup_create")


@pytest.mark.parametrize(
    ("path", "systemd", "mount", "expected"),
    [
        ("a-b.slice:p:x", SystemdFacts(), "/sys/fs/cgroup", "/sys/fs/cgroup/a.slice/a-b.slice/p-x.scope"),
        ("", SystemdFacts(), "/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified/system.slice/pyrunc-box.scope"),
        ("-.slice:p:x", SystemdFacts(cgroup="/docker/c"), "/sys/fs/cgroup", "/sys/fs/cgroup/docker/c/p-x.scope"),
        ("", SystemdFacts(user=True, cgroup="/u"), "/sys/fs/cgroup", "/sys/fs/cgroup/u/user.slice/pyrunc-box.scope"),
    ],
)
def test_where_the_scope_is(path: str, systemd: SystemdFacts, mount: str, expected: str) -> None:
    plan = planned(with_linux(cgroupsPath=path), systemd, cgroup_mount=mount)
    (scope,) = find(plan, "systemd_scope")
    assert values(scope, "path", "manager") == (expected, "user" if systemd.user else "system")
    assert scope.pointer == ("/linux/cgroupsPath" if path else "")
    assert values(find(plan, "cgroup_devices")[0], "path") == (expected,)


def test_limits_come_after_annotations_and_have_the_last_word() -> None:
    spec = with_linux(resources={"memory": {"limit": 5000}})
    spec["annotations"] = {"org.systemd.property.MemoryMax": "uint64 7", "org.systemd.property.CollectMode": "'x'"}
    (scope,) = find(planned(spec), "systemd_scope")
    made = scope.arg("properties")
    assert isinstance(made, tuple)
    assert made[-3:] == ("MemoryMax=uint64 7", "CollectMode='x'", "MemoryMax=uint64 5000")


def test_the_files_are_written_too_and_the_quota_as_systemd_has_it() -> None:
    resources = {"cpu": {"quota": 33333, "period": 50000}, "unified": {"cgroup.max.depth": "3"}}
    plan = planned(with_linux(resources=resources))
    assert [values(step, "file", "value") for step in find(plan, "cgroup_limit")] == [
        ("cpu.max", "33500 50000"),
        ("cgroup.max.depth", "3"),
    ]
    # Only the needed controllers: systemd delegates the others by itself.
    assert values(find(plan, "cgroup_controllers")[0], "needed", "wanted") == (("cpu",), ("cpu",))


def test_a_user_has_neither_device_rules_nor_another_owner() -> None:
    plan = planned(with_linux("user", "cgroup"), SystemdFacts(user=True), euid=1000)
    assert [step.kind for step in plan.served["cgroup"]] == ["systemd_scope"]


@pytest.mark.parametrize(
    ("spec", "pointer"),
    [
        (with_linux(cgroupsPath="/a/b"), "/linux/cgroupsPath"),
        (minimal(annotations={"org.systemd.property.X": "1"}), "/annotations/org.systemd.property.X"),
        (with_linux(resources={"hugepageLimits": [{"pageSize": "2MB", "limit": 1}]}),
         "/linux/resources/hugepageLimits/0/limit"),
    ],
)  # fmt: skip
def test_what_can_t_be_done(spec: Spec, pointer: str) -> None:
    with pytest.raises(PyruncError) as caught:
        planned(spec)
    assert caught.value.pointer == pointer


def test_without_a_hierarchy_there_is_an_error() -> None:
    with pytest.raises(PyruncError, match="no cgroup v2 hierarchy"):
        planned(minimal(), cgroup_mount="", cgroup_self="")


def test_annotations_are_for_systemd_alone() -> None:
    spec = minimal(annotations={"org.systemd.property.X": "what"})
    assert not find(compiled(spec), "systemd_scope")
