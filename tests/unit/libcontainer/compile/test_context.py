"""Context: what the parts of the compiler share."""

from __future__ import annotations

import pytest

from pyrunc._generated import steps
from pyrunc.libcontainer.compile.context import Context
from pyrunc.libcontainer.plan.host import HostFacts
from pyrunc.libcontainer.plan.options import LaunchOptions
from tests.support.plans import minimal, with_linux


def context(bundle: str = "/b", **linux: object) -> Context:
    return Context(with_linux(**linux), LaunchOptions(id="box", bundle=bundle), HostFacts())


def test_namespaces_by_type() -> None:
    made = context(namespaces=[{"type": "pid"}, {"type": "network", "path": "/run/netns/a"}])
    assert made.new("pid")
    assert made.has("pid")
    assert made.has("network")
    assert not made.new("network")
    assert not made.has("user")
    assert not made.userns
    assert made.namespaces["network"].pointer == "/linux/namespaces/1"


def test_a_joined_user_namespace_counts_as_one() -> None:
    assert context(namespaces=[{"type": "user", "path": "/proc/1/ns/user"}]).userns


@pytest.mark.parametrize(
    ("bundle", "path", "expected"),
    [("/b", "x", "/b/x"), ("/", "x", "/x"), ("/b", "/x", "/x"), ("/b/", "x/y", "/b/x/y")],
)
def test_paths_count_from_the_bundle(bundle: str, path: str, expected: str) -> None:
    assert context(bundle).from_bundle(path) == expected


def test_a_spec_without_linux() -> None:
    spec = minimal()
    del spec["linux"]
    made = Context(spec, LaunchOptions(id="box"), HostFacts())
    assert made.linux == {}
    assert made.namespaces == {}


def test_steps_land_in_their_phase() -> None:
    made = context()
    made.runtime_step(steps.state_dir(path="/x"))
    made.runtime_step(steps.clone())
    made.phase = "rootfs"
    made.init_step(steps.chroot(path="/"), pointer="/root/path")
    made.on_request("limits", steps.prlimit(resource=1, soft=2, hard=3))
    plan = made.plan()
    assert [step.phase for step in plan.steps()] == ["prepare", "clone", "rootfs"]
    assert plan.served["limits"][0].phase == "rootfs"
    assert plan.init[0].pointer == "/root/path"


def test_a_request_is_made_only_where_there_is_something_to_do() -> None:
    made = context()
    made.request("limits")
    assert not made.init
    made.on_request("limits", steps.prlimit(resource=1, soft=2, hard=3))
    made.request("limits", "/process/rlimits")
    assert [(step.kind, step.args, step.pointer) for step in made.init] == [
        ("request", ("limits",), "/process/rlimits")
    ]


def test_warnings_reach_the_plan() -> None:
    made = context()
    made.warnings.append("mind this")
    assert made.plan().warnings == ("mind this",)


def test_what_the_launch_needs_reaches_the_plan() -> None:
    made = context()
    made.cgroup, made.unit, made.user_unit = "/sys/fs/cgroup/box", "box.scope", True
    made.profile, made.filter_flags, made.limit_pointers = {"defaultAction": "SCMP_ACT_LOG"}, 2, {"pids.max": "/linux"}
    plan = made.plan()
    assert (plan.cgroup, plan.unit, plan.user_unit) == (made.cgroup, made.unit, True)
    assert (plan.profile, plan.filter_flags, plan.limit_pointers) == (made.profile, 2, made.limit_pointers)
