"""Scheduler, I/O priority, memory policy and personality."""

from __future__ import annotations

from typing import Any

import pytest

from pyrunc.libcontainer.kernel.scheduling import IO_CLASSES, MEMORY_MODES, POLICIES, SCHED_FLAGS
from tests.support.plans import Spec, compiled, find, kinds, minimal, scheduled, values, with_linux, with_process

SCHEDULER = ("policy", "flags", "nice", "priority", "runtime", "deadline", "period")


def scheduler(**fields: Any) -> tuple[Any, ...]:
    """The step's arguments for a process.scheduler."""
    return values(find(compiled(with_process(scheduler=fields)), "scheduler")[0], *SCHEDULER)


def test_a_configuration_without_the_fields_has_none_of_the_steps() -> None:
    names = {"scheduler", "io_priority", "memory_policy", "personality", "set_scheduler", "set_io_priority", "request"}
    assert not names & set(kinds(compiled(minimal())))


@pytest.mark.parametrize("policy", POLICIES)
def test_what_the_scheduler_leaves_out_is_zero(policy: str) -> None:
    assert scheduler(policy=policy) == (POLICIES[policy], 0, 0, 0, 0, 0, 0)


def test_every_value_of_the_scheduler() -> None:
    fields = scheduler(
        policy="SCHED_DEADLINE", nice=-20, priority=7, flags=list(SCHED_FLAGS), runtime=1, deadline=2, period=3
    )
    assert fields == (6, 0x7F, -20, 7, 1, 2, 3)


@pytest.mark.parametrize("name", IO_CLASSES)
def test_io_priority(name: str) -> None:
    plan = compiled(with_process(ioPriority={"class": name, "priority": 3}))
    assert values(find(plan, "io_priority")[0], "class", "priority") == (IO_CLASSES[name], 3)


@pytest.mark.parametrize(("domain", "number"), [("LINUX", 0), ("LINUX32", 8)])
def test_personality(domain: str, number: int) -> None:
    plan = compiled(with_linux(personality={"domain": domain}))
    assert values(find(plan, "personality")[0], "domain") == (number,)


@pytest.mark.parametrize("mode", MEMORY_MODES)
def test_memory_policy(mode: str) -> None:
    flags = ["MPOL_F_STATIC_NODES", "MPOL_F_NUMA_BALANCING"]
    plan = compiled(with_linux(memoryPolicy={"mode": mode, "nodes": "7,0-2", "flags": flags}))
    step = find(plan, "memory_policy")[0]
    assert values(step, "mode", "flags", "nodes") == (MEMORY_MODES[mode], 0xA000, ("0", "1", "2", "7"))


def test_a_memory_policy_without_nodes() -> None:
    plan = compiled(with_linux(memoryPolicy={"mode": "MPOL_LOCAL"}))
    assert values(find(plan, "memory_policy")[0], "flags", "nodes") == (0, ())


def order(spec: Spec) -> list[str]:
    return [step.kind for step in compiled(spec).steps() if step.phase == "process"]


def test_they_are_set_while_the_process_has_all_its_rights() -> None:
    found = order({**scheduled(), "process": {**scheduled()["process"], "noNewPrivileges": True}})
    assert found[3:9] == ["scheduler", "io_priority", "personality", "memory_policy", "no_new_privileges", "chdir"]


def test_from_outside_of_a_user_namespace() -> None:
    plan = compiled(scheduled("user"))
    assert [step.kind for step in plan.served["limits"]] == ["set_scheduler", "set_io_priority"]
    request = [step for step in find(plan, "request") if step.args == ("limits",)]
    assert [step.pointer for step in request] == ["/process/scheduler"]
    assert not find(plan, "scheduler", "io_priority")
    assert find(plan, "personality", "memory_policy")


def test_the_limits_come_first_where_there_are_any() -> None:
    spec = scheduled("user")
    spec["process"]["rlimits"] = [{"type": "RLIMIT_CPU", "soft": 1, "hard": 2}]
    plan = compiled(spec)
    assert [step.kind for step in plan.served["limits"]] == ["prlimit", "set_scheduler", "set_io_priority"]
    assert "/process/rlimits" in [step.pointer for step in find(plan, "request")]


def test_the_affinity_of_exec_makes_no_step() -> None:
    affine = with_process(execCPUAffinity={"initial": "0", "final": "0-1"})
    assert kinds(compiled(affine)) == kinds(compiled(minimal()))
