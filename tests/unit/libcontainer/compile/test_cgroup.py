"""The cgroup's steps, and the replacement for a cgroup2 mount."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.plan.host import HostFacts
from tests.support.plans import compiled, find, kinds, minimal, values, with_linux

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
    assert (mount.fallback_level, bind.fallback_level) == (0, 1)
    assert values(bind, "source", "target", "attr_set") == (source, "/sys/fs/cgroup", 1)


@pytest.mark.parametrize(
    ("types", "facts", "sealed"),
    [
        (["user", "cgroup"], HostFacts(euid=1000), False),
        (["user", "cgroup"], HostFacts(euid=1000, cgroup_writable=False), True),
        (["user"], HostFacts(euid=1000), True),
        ([], HostFacts(in_userns=True), True),
        (["user"], HostFacts(), False),
    ],
)
def test_a_rootless_container_can_t_write_to_the_host_s_cgroups(
    types: list[str], facts: HostFacts, sealed: bool
) -> None:
    """CVE-2023-25809."""
    spec = with_linux("pid", *types)
    spec["mounts"] = [{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid"]}]
    plan = compiled(spec, facts)
    steps = find(plan, "mount", "bind_cgroup")
    assert [values(step, "attr_set") for step in steps] == [(3 if sealed else 2,)] * 2
    assert bool(plan.warnings) is sealed
    spec["mounts"][0]["options"] = ["ro"]
    plan = compiled(spec, facts)
    assert [values(step, "attr_set") for step in find(plan, "mount", "bind_cgroup")] == [(1,), (1,)]
    assert not plan.warnings


def test_what_a_rootless_container_can_t_have_of_the_cgroups_is_hidden() -> None:
    spec = with_linux("user", "cgroup")
    spec["mounts"] = CGROUP_MOUNT
    facts = HostFacts(euid=1000, cgroup_writable=False, cgroup_self="/x")
    steps = find(compiled(spec, facts), "mount", "bind_cgroup", "mask_path")
    assert [(step.kind, step.fallback_level, step.on_errno) for step in steps] == [
        ("mount", 0, (errno.EPERM, errno.EBUSY)), ("bind_cgroup", 1, (errno.ENOENT,)), ("mask_path", 2, ()),
    ]  # fmt: skip
    facts.cgroup_self = "/../x"  # above the root of the runtime's cgroup namespace
    steps = find(compiled(spec, facts), "mount", "bind_cgroup", "mask_path")
    assert [(step.kind, step.fallback_level) for step in steps] == [("mount", 0), ("mask_path", 1)]


def test_the_plan_says_why_there_is_no_cgroup() -> None:
    facts = HostFacts(euid=1000, cgroup_writable=False)
    assert compiled(with_linux("user", "pid"), facts).notes == (
        "no cgroup: this user may not make one beside the runtime's",
    )
    plan = compiled(with_linux("pid"), cgroup_manager="disabled")
    assert plan.notes == ("no cgroup: the cgroup manager is disabled",)
    assert compiled(with_linux("pid")).notes == ()


def test_without_cgroup_and_pid_namespace_there_is_a_warning() -> None:
    facts = HostFacts(euid=1000, cgroup_writable=False)
    assert not compiled(with_linux("user", "pid"), facts).warnings
    assert "can be killed" in compiled(with_linux("user"), facts).warnings[0]


def test_without_a_hierarchy_nothing_stands_in() -> None:
    spec = minimal(mounts=CGROUP_MOUNT)
    plan = compiled(spec, HostFacts(cgroup_mount="", cgroup_self=""), cgroup_manager="disabled")
    assert [step.kind for step in find(plan, "mount", "bind_cgroup")] == ["mount"]
    assert find(plan, "mount")[0].on_errno == ()


ALL = ("cpu", "io", "memory", "pids")


def limited(**resources: Any) -> Any:
    return with_linux(resources=resources)


def test_each_write_is_a_step_between_the_cgroup_and_the_clone() -> None:
    facts = HostFacts(controllers=ALL)
    memory = {"limit": 9, "checkBeforeUpdate": True}
    plan = compiled(limited(pids={"limit": 5}, cpu={"quota": 5000}, memory=memory), facts)
    steps = [step for step in plan.prepare if step.kind.startswith("cgroup_")]
    assert [(step.kind, step.args[:2]) for step in steps] == [
        ("cgroup_create", ("/sys/fs/cgroup/box",)),
        ("cgroup_controllers", ("/sys/fs/cgroup/box", ("pids", "memory", "cpu"))),
        ("cgroup_check_memory", (9, 0)),
        ("cgroup_limit", ("pids.max", "5")),
        ("cgroup_limit", ("memory.max", "9")),
        ("cgroup_limit", ("cpu.max", "5000 100000")),
    ]
    assert [step.kind for step in plan.beside] == ["cgroup_devices"]
    assert steps[1].arg("wanted") == ALL
    assert [step.pointer for step in steps[3:6]] == [
        "/linux/resources/pids/limit",
        "/linux/resources/memory/limit",
        "/linux/resources/cpu/quota",
    ]
    assert plan.prepare[-1].kind == "clone"


def test_alternatives_and_optional_files_are_in_the_plan() -> None:
    facts = HostFacts(controllers=ALL)
    plan = compiled(limited(blockIO={"weight": 10}, memory={"limit": -1}), facts)
    assert [(*step.args, step.fallback_level, step.on_errno) for step in find(plan, "cgroup_limit")] == [
        ("memory.swap.max", "max", 1, 0, ()),
        ("memory.max", "max", 0, 0, ()),
        ("io.bfq.weight", "10", 0, 0, (errno.ENOENT,)),
        ("io.weight", "1", 0, 1, ()),
    ]


def test_without_limits_the_plan_is_as_if_there_were_no_resources() -> None:
    nothing = kinds(compiled(minimal()))
    assert kinds(compiled(limited(devices=[], memory={}, hugepageLimits=[]))) == nothing
    assert kinds(compiled(limited(cpu={"shares": 0}, pids={}, blockIO={"weight": 0}))) == nothing


def test_a_limit_without_its_controller_is_refused_before_anything_is_made() -> None:
    with pytest.raises(PyruncError, match='controller "memory" not available') as caught:
        compiled(limited(memory={"limit": 5}), HostFacts(cgroup_pure=False, controllers=("hugetlb",)))
    assert caught.value.pointer == "/linux/resources/memory/limit"


def test_ignored_kernel_memory_is_a_warning() -> None:
    plan = compiled(limited(memory={"kernel": 5}))
    assert plan.warnings == ("Kernel memory settings are ignored and will be removed",)


def test_limits_without_a_cgroup_are_refused() -> None:
    facts = HostFacts(controllers=ALL)
    with pytest.raises(PyruncError, match="the cgroup manager is disabled") as caught:
        compiled(limited(pids={"limit": 5}), facts, cgroup_manager="disabled")
    assert caught.value.pointer == "/linux/resources/pids/limit"
    rootless = HostFacts(euid=1000, cgroup_writable=False, controllers=ALL)
    with pytest.raises(PyruncError, match="rootless needs no limits"):
        compiled(with_linux("user", resources={"pids": {"limit": 5}}), rootless)
    assert compiled(limited(pids={}, cpu={"shares": 0}), facts, cgroup_manager="disabled")


def owner_of(spec: dict[str, Any], facts: HostFacts | None = None, **mount: Any) -> int | None:
    spec["mounts"] = [{**CGROUP_MOUNT[0], "options": [], **mount}]
    steps = find(compiled(spec, facts), "cgroup_owner")
    return steps[0].args[1] if steps else None  # type: ignore[return-value]


def test_the_container_s_user_owns_a_cgroup_that_it_can_write_to() -> None:
    """config-linux.md, "Cgroup ownership"."""
    assert owner_of(with_linux("cgroup", "user")) == 100000
    spec = with_linux("cgroup", "user")
    spec["process"]["user"]["uid"] = 7
    assert owner_of(spec) == 100007
    spec = with_linux("cgroup")
    spec["process"]["user"]["uid"] = 7
    assert owner_of(spec, destination="/sys/fs//cgroup/") == 7


def test_the_cgroup_keeps_its_owner_otherwise() -> None:
    assert owner_of(with_linux("user")) is None
    assert owner_of(with_linux("cgroup")) is None  # root's already
    assert owner_of(with_linux("cgroup", "user"), options=["nosuid", "ro"]) is None
    assert owner_of(with_linux("cgroup", "user"), source="cgroup2") is None
    assert owner_of(with_linux("cgroup", "user"), destination="/cgroup") is None
    assert owner_of(with_linux("cgroup", "user"), HostFacts(euid=1000)) is None
    spec = with_linux("cgroup")
    spec["process"]["user"]["uid"] = 7
    spec["linux"]["namespaces"].append({"type": "user", "path": "/proc/7/ns/user"})
    assert owner_of(spec) is None
    spec = with_linux("user")
    spec["linux"]["namespaces"].append({"type": "cgroup", "path": "/proc/7/ns/cgroup"})
    assert owner_of(spec) is None


@pytest.mark.parametrize(
    "spec",
    [
        minimal(),
        minimal(
            mounts=[{"destination": "/a", "type": "tmpfs"}, {"destination": "/b", "type": "bind", "source": "/srv"}]
        ),
        minimal(mounts=[{"destination": "/a", "source": "/srv", "options": ["ro", "rbind"]}]),
        *[
            minimal(mounts=[{"destination": "/a", "type": type}])
            for type in ("ramfs", "debugfs", "tracefs", "bpf", "hugetlbfs", "overlay", "nfs4")
        ],
        with_linux("user", "mount"),
    ],
)
@pytest.mark.parametrize("command", ["create", "run"])
def test_device_rules_are_attached_while_the_init_works(spec: dict[str, Any], command: str) -> None:
    plan = compiled(spec, command=command)
    assert [(step.kind, step.phase) for step in plan.beside] == [("cgroup_devices", "clone")]
    assert kinds(plan).index("cgroup_devices") == kinds(plan).index("clone") + 1


@pytest.mark.parametrize(
    "spec",
    [
        minimal(mounts=[{"destination": "/a", "type": "ext4", "source": "/dev/vda"}]),
        minimal(mounts=[{"destination": "/a", "source": "/dev/vda"}]),
        minimal(mounts=[{"destination": "/a", "type": "tmpfs"}, {"destination": "/b", "type": "xfs"}]),
        minimal(hooks={"createContainer": [{"path": "/bin/true"}]}),
        minimal(hooks={"prestart": [{"path": "/bin/true"}]}),
        minimal(linux={"devices": [{"path": "/dev/null", "type": "c", "major": 1, "minor": 3}]}),
    ],
    ids=["ext4", "no type", "second mount", "createContainer", "prestart", "devices"],
)
def test_device_rules_are_attached_before_an_init_that_may_meet_them(spec: dict[str, Any]) -> None:
    plan = compiled(spec, command="run")
    assert not plan.beside
    assert kinds(plan).index("cgroup_devices") < kinds(plan).index("clone")
