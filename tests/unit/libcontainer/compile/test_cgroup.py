"""The cgroup's steps, and what stands in for a cgroup2 mount."""

from __future__ import annotations

import pytest

from pyrunc.libcontainer.host import HostFacts
from pyrunc.report import PyruncError
from tests.support.plans import compiled, find, minimal, values, with_linux

CGROUP_MOUNT = [{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}]


def test_the_container_is_cloned_into_the_cgroup_that_was_made() -> None:
    plan = compiled(with_linux(cgroupsPath="/a/b"))
    made = find(plan, "cgroup_create")[0]
    assert values(made, "path") == ("/sys/fs/cgroup/a/b",)
    assert made.pointer == "/linux/cgroupsPath"
    assert values(find(plan, "clone")[0], "cgroup") == ("/sys/fs/cgroup/a/b",)
    assert values(find(plan, "cgroup_devices")[0], "path") == ("/sys/fs/cgroup/a/b",)


def test_the_devices_of_the_config_come_before_the_defaults() -> None:
    spec = with_linux(resources={"devices": [{"allow": False, "access": "rwm"}]})
    rules = find(compiled(spec), "cgroup_devices")[0].arg("rules")
    assert isinstance(rules, tuple)
    assert rules[0] == "a * * rwm deny"
    assert "c 1 3 rwm allow" in rules[1:]


def test_a_device_of_the_config_takes_its_default_rule_away() -> None:
    spec = with_linux(devices=[{"path": "/dev/null", "type": "c", "major": 1, "minor": 3}])
    rules = find(compiled(spec), "cgroup_devices")[0].arg("rules")
    assert isinstance(rules, tuple)
    assert "c 1 3 rwm allow" not in rules
    assert "c 1 5 rwm allow" in rules


def test_the_disabled_manager_makes_none() -> None:
    plan = compiled(with_linux(cgroupsPath="/a"), cgroup_manager="disabled")
    assert not find(plan, "cgroup_create", "cgroup_devices")
    assert values(find(plan, "clone")[0], "cgroup") == ("",)


def test_the_systemd_manager_is_refused_clearly() -> None:
    with pytest.raises(PyruncError, match="not yet supported") as caught:
        compiled(minimal(), cgroup_manager="systemd")
    assert "cgroupfs" in caught.value.hint


@pytest.mark.parametrize(
    ("facts", "rootless", "path", "made"),
    [
        (HostFacts(euid=1000, cgroup_writable=False), None, "", False),
        (HostFacts(euid=1000, cgroup_writable=True), None, "", True),
        (HostFacts(euid=1000, cgroup_writable=False), None, "/a", True),
        (HostFacts(euid=1000, cgroup_writable=False), False, "", True),
        (HostFacts(in_userns=True, cgroup_writable=False), None, "", False),
        (HostFacts(cgroup_writable=False), None, "", True),
        (HostFacts(cgroup_writable=False), True, "", False),
    ],
)
def test_rootless_cgroups(facts: HostFacts, rootless: bool | None, path: str, made: bool) -> None:
    plan = compiled(with_linux("user", cgroupsPath=path), facts, rootless=rootless)
    assert bool(find(plan, "cgroup_create")) is made


@pytest.mark.parametrize("facts", [HostFacts(euid=1000), HostFacts(in_userns=True)])
def test_device_rules_need_the_initial_user_namespace(facts: HostFacts) -> None:
    plan = compiled(with_linux("user"), facts)
    assert find(plan, "cgroup_create")
    assert not find(plan, "cgroup_devices")


def test_without_a_hierarchy_there_is_an_error() -> None:
    with pytest.raises(PyruncError, match="no cgroup v2 hierarchy"):
        compiled(minimal(), HostFacts(cgroup_mount="", cgroup_self=""))


@pytest.mark.parametrize(
    ("types", "facts", "manager", "source"),
    [
        (["cgroup"], HostFacts(), "cgroupfs", "/sys/fs/cgroup/box"),
        (["cgroup"], HostFacts(cgroup_self="/user/shell"), "disabled", "/sys/fs/cgroup/user/shell"),
        (["cgroup"], HostFacts(), "disabled", "/sys/fs/cgroup"),
        ([], HostFacts(), "cgroupfs", "/sys/fs/cgroup"),
        ([], HostFacts(cgroup_mount="/sys/fs/cgroup/unified"), "cgroupfs", "/sys/fs/cgroup/unified"),
    ],
)
def test_what_is_bound_where_the_kernel_refuses_the_mount(
    types: list[str], facts: HostFacts, manager: str, source: str
) -> None:
    spec = with_linux(*types)
    spec["mounts"] = CGROUP_MOUNT
    plan = compiled(spec, facts, cgroup_manager=manager)
    mount, bind = find(plan, "mount", "bind_cgroup")
    assert values(mount, "fstype", "target") == ("cgroup2", "/sys/fs/cgroup")
    assert (mount.level, bind.level) == (0, 1)
    assert values(bind, "source", "target", "attr_set") == (source, "/sys/fs/cgroup", 1)


def test_without_a_hierarchy_nothing_stands_in() -> None:
    spec = minimal(mounts=CGROUP_MOUNT)
    plan = compiled(spec, HostFacts(cgroup_mount="", cgroup_self=""), cgroup_manager="disabled")
    assert [step.kind for step in find(plan, "mount", "bind_cgroup")] == ["mount"]
    assert find(plan, "mount")[0].on_errno == ()
