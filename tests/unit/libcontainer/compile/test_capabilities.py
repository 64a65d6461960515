"""process.capabilities as bit sets."""

from __future__ import annotations

from typing import Any

import pytest

from pyrunc.libcontainer.plan.host import HostFacts
from pyrunc.libcontainer.plan.model import LaunchPlan
from tests.support.plans import compiled, find, kinds, minimal, with_linux, with_process

CHOWN, KILL, SYSLOG, BPF = 1 << 0, 1 << 5, 1 << 34, 1 << 39
ALL = ["CAP_CHOWN", "CAP_KILL", "CAP_SYSLOG"]


def with_sets(facts: HostFacts | None = None, **sets: list[str]) -> LaunchPlan:
    return compiled(with_process(capabilities=sets), facts)


def sets_of(plan: LaunchPlan) -> dict[str, Any]:
    capabilities = find(plan, "capabilities")[0]
    return {
        "bounding": find(plan, "bounding")[0].arg("keep"),
        "ambient": find(plan, "ambient")[0].arg("caps"),
        **{name: capabilities.arg(name) for name in ("effective", "permitted", "inheritable")},
    }


def test_the_sets_as_configured() -> None:
    plan = with_sets(
        bounding=ALL,
        permitted=["CAP_KILL", "CAP_CHOWN"],
        effective=["CAP_KILL"],
        inheritable=["CAP_CHOWN", "CAP_SYSLOG"],
        ambient=["CAP_CHOWN"],
    )
    assert sets_of(plan) == {
        "bounding": CHOWN | KILL | SYSLOG,
        "permitted": CHOWN | KILL,
        "effective": KILL,
        "inheritable": CHOWN | SYSLOG,
        "ambient": CHOWN,
    }
    assert plan.warnings == ()


def test_absent_sets_are_empty() -> None:
    """CVE-2022-29162: especially the inheritable and the ambient set."""
    assert sets_of(with_sets()) == dict.fromkeys(("bounding", "ambient", "effective", "permitted", "inheritable"), 0)


def test_without_the_object_nothing_is_changed() -> None:
    assert not find(compiled(minimal()), "bounding", "capabilities", "ambient")


def test_the_order_of_the_calls() -> None:
    plan = with_sets(bounding=ALL)
    order = [kind for kind in kinds(plan) if kind in ("bounding", "user", "capabilities", "ambient")]
    assert order == ["bounding", "user", "capabilities", "ambient"]


@pytest.mark.parametrize(
    ("sets", "name", "left"),
    [
        ({"bounding": ALL, "effective": ["CAP_KILL"]}, "effective", 0),
        ({"permitted": ALL, "effective": ["CAP_KILL"]}, "effective", KILL),
        ({"bounding": ["CAP_KILL"], "inheritable": ALL}, "inheritable", KILL),
        ({"bounding": ALL, "permitted": ALL, "inheritable": ["CAP_KILL"], "ambient": ALL}, "ambient", KILL),
        ({"bounding": ALL, "permitted": ["CAP_KILL"], "inheritable": ALL, "ambient": ALL}, "ambient", KILL),
        ({"permitted": ALL, "inheritable": ALL, "ambient": ALL}, "ambient", 0),
    ],
)
def test_what_the_kernel_would_refuse_is_left_out(sets: dict[str, Any], name: str, left: int) -> None:
    assert sets_of(with_sets(**sets))[name] == left


def test_what_this_kernel_does_not_have_is_left_out_with_a_warning() -> None:
    plan = with_sets(HostFacts(cap_last_cap=38), bounding=["CAP_PERFMON", "CAP_BPF"], permitted=["CAP_BPF"])
    assert sets_of(plan)["bounding"] == 1 << 38
    assert sets_of(plan)["permitted"] == 0
    assert plan.warnings == ("ignoring unknown or unavailable capabilities: [CAP_BPF]",)


def test_the_last_capability_of_the_kernel_is_one() -> None:
    assert sets_of(with_sets(HostFacts(cap_last_cap=39), bounding=["CAP_BPF"]))["bounding"] == BPF


def test_s4_what_the_runtime_lacks_is_left_out_of_all_sets_with_a_warning() -> None:
    """S4: capset failed with EPERM. config.md: a runtime SHOULD NOT fail for a capability that it can't grant, and
    warns.
    """
    has = HostFacts(capabilities=((1 << 41) - 1) & ~KILL)
    plan = with_sets(has, bounding=ALL, permitted=ALL, effective=ALL, inheritable=ALL, ambient=ALL)
    assert all(not value & KILL for value in sets_of(plan).values())
    assert sets_of(plan)["bounding"]
    assert plan.warnings == ("ignoring capabilities that the runtime itself does not have: [CAP_KILL]",)


def test_s4_in_a_user_namespace_of_its_own_the_container_can_have_all() -> None:
    spec = with_linux("user")
    spec["process"]["capabilities"] = {"bounding": ["CAP_KILL"]}
    plan = compiled(spec, HostFacts(capabilities=0))
    assert find(plan, "bounding")[0].args == (KILL,)
    assert plan.warnings == ()


def test_s4_what_is_permitted_outside_of_the_bounding_set_is_warned_of() -> None:
    plan = with_sets(bounding=["CAP_CHOWN"], permitted=["CAP_CHOWN", "CAP_KILL"], effective=["CAP_KILL"])
    assert plan.warnings == (
        "ignoring permitted capabilities that are not in the bounding set: [CAP_KILL]",
        "ignoring effective capabilities that are not in the bounding set: [CAP_KILL]",
    )


def test_n6_a_name_without_cap_is_told_the_right_one() -> None:
    plan = with_sets(bounding=["NET_ADMIN", "cap_kill", "CAP_NONSENSE"])
    assert plan.warnings == (
        "ignoring unknown or unavailable capabilities: [CAP_NONSENSE NET_ADMIN cap_kill]; "
        "did you mean CAP_KILL, CAP_NET_ADMIN?",
    )


def test_unknown_names_are_left_out() -> None:
    plan = with_sets(bounding=["CAP_NONSENSE", "CAP_KILL"])
    assert sets_of(plan)["bounding"] == KILL
    assert plan.warnings == ("ignoring unknown or unavailable capabilities: [CAP_NONSENSE]",)


def test_what_can_t_be_granted_is_warned_of() -> None:
    plan = with_sets(bounding=["CAP_KILL"], effective=["CAP_KILL"], inheritable=["CAP_CHOWN"], ambient=["CAP_KILL"])
    assert sets_of(plan)["effective"] == 0
    assert plan.warnings == (
        "can't raise inheritable capability CAP_CHOWN: it is not in the bounding set",
        "can't raise effective capability CAP_KILL: it is not permitted",
        "can't raise ambient capability CAP_KILL: it is not permitted and inheritable",
    )


def test_a_misspelt_name_is_told_the_right_one() -> None:
    plan = with_sets(bounding=["CAP_NET_ADMN"])
    (warning,) = plan.warnings
    assert warning.endswith("did you mean CAP_NET_ADMIN?")
