"""The runtime's own limit of open files. If it is too low, a step of the plan raises it (F7)."""

from __future__ import annotations

from typing import Any

import pytest

from pyrunc.libcontainer.plan.host import HostFacts
from pyrunc.libcontainer.plan.model import LaunchPlan
from tests.support.plans import compiled, find, kinds, minimal, values, with_linux

NOFILE = 7
UNLIMITED = 2**64 - 1


def bound(count: int, hooks: bool = False) -> Any:
    """A spec with a user namespace, whose runtime opens this many sources."""
    spec = with_linux("user")
    spec["mounts"] = [
        {"destination": f"/mnt/{number}", "type": "bind", "source": "/source", "options": ["bind"]}
        for number in range(count)
    ]
    if hooks:
        spec["hooks"] = {"createContainer": [{"path": "/a"}, {"path": "/b"}], "startContainer": [{"path": "/c"}]}
    return spec


def with_limits(spec: dict[str, Any], soft: int, hard: int) -> LaunchPlan:
    return compiled(spec, HostFacts(open_files=(soft, hard)))


def test_the_usual_limit_is_enough() -> None:
    plan = with_limits(bound(500), 1024, 4096)
    assert not {"open_files", "close_sources", "rlimit"} & set(kinds(plan))


@pytest.mark.parametrize(("soft", "hard", "limit"), [(64, 4096, 228), (64, UNLIMITED, 228), (64, 100, 100)])
def test_f7_it_is_raised_as_far_as_it_goes_and_given_back(soft: int, hard: int, limit: int) -> None:
    """F7: the runtime's before the first source is opened, the container's before its other limits."""
    plan = with_limits(bound(100), soft, hard)
    order = [step.kind for step in plan.prepare]
    assert order.index("state_dir") < order.index("open_files") < order.index("open_source")
    assert values(find(plan, "open_files")[0], "limit") == (limit,)
    init = [step.kind for step in plan.init]
    assert init.index("close_sources") + 1 == init.index("rlimit") > init.index("bind")
    assert values(find(plan, "rlimit")[0], "resource", "soft", "hard") == (NOFILE, soft, hard)


def test_nothing_is_raised_where_the_hard_limit_is_reached() -> None:
    assert "open_files" not in kinds(with_limits(bound(100), 64, 64))


def test_f7_hooks_of_the_container_have_the_caller_s() -> None:
    init = [step.kind for step in with_limits(bound(100, hooks=True), 64, 4096).init]
    at = init.index("container_hook")
    assert init[at - 2 : at + 2] == ["close_sources", "rlimit", "container_hook", "container_hook"]
    assert init.count("rlimit") == 1


def test_a_limit_of_the_configuration_comes_later() -> None:
    spec = minimal()
    spec["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 5, "hard": 6}]
    plan = with_limits(spec, 64, 4096)
    found = [values(step, "soft", "hard") for step in find(plan, "rlimit")]
    assert found == [(64, 4096), (5, 6)]
