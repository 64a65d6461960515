"""linux.intelRdt: the rules of config-linux.md about closID and schemata."""

from __future__ import annotations

from typing import Any

import pytest

from pyrunc.libcontainer.kernel.resctrl import FIND, OWN, SHARED
from tests.support.plans import compiled, find, kinds, minimal, values, with_linux


def group(**fields: Any) -> tuple[Any, ...]:
    return values(find(compiled(with_linux(intelRdt=fields)), "resctrl_group")[0], "clos", "make", "schemata")


def test_without_it_nothing_is_done() -> None:
    assert not [kind for kind in kinds(compiled(minimal())) if kind.startswith("resctrl")]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ("box", OWN, ())),
        ({"closID": "", "l3CacheSchema": ""}, ("box", OWN, ())),
        ({"schemata": ["L2:0=1"]}, ("box", OWN, ("L2:0=1",))),
        ({"closID": "gold"}, ("gold", FIND, ())),
        ({"closID": "/"}, ("/", FIND, ())),
        ({"closID": "gold", "memBwSchema": "MB:0=1"}, ("gold", SHARED, ("MB:0=1",))),
        ({"closID": "/", "l3CacheSchema": "L3:0=1"}, ("/", SHARED, ("L3:0=1",))),
    ],
)
def test_class_of_service(fields: dict[str, Any], expected: tuple[Any, ...]) -> None:
    assert group(**fields) == expected


def test_the_order_of_the_schemata() -> None:
    given = {"schemata": ["L2:0=1", "L2:1=1"], "memBwSchema": "MB:0=1", "l3CacheSchema": "L3:0=1"}
    assert group(**given)[2] == ("L3:0=1", "MB:0=1", "L2:0=1", "L2:1=1")


def test_monitoring() -> None:
    plan = compiled(with_linux(intelRdt={"closID": "gold", "enableMonitoring": True}))
    assert values(find(plan, "resctrl_monitor")[0], "clos", "group") == ("gold", "box")
    assert values(find(plan, "resctrl_assign")[0], "clos", "group") == ("gold", "box")


def test_without_monitoring() -> None:
    plan = compiled(with_linux(intelRdt={"enableMonitoring": False}))
    assert not find(plan, "resctrl_monitor")
    assert values(find(plan, "resctrl_assign")[0], "clos", "group") == ("box", "")


def test_the_group_is_made_before_the_clone_and_the_init_is_put_into_it_before_it_is_ready() -> None:
    plan = compiled(with_linux(intelRdt={}))
    assert "resctrl_group" in [step.kind for step in plan.prepare]
    assert [step.kind for step in plan.served["limits"]] == ["resctrl_assign"]
