"""The golden plans, and properties of every plan."""

from __future__ import annotations

import pytest

from pyrunc.libcontainer.plan.kinds import KINDS, RUNTIME
from pyrunc.libcontainer.plan.model import PHASES, LaunchPlan, Step
from tests.support.plans import CASES, GOLDEN, golden_files

FILES = golden_files()
PLANS = {name: case() for name, case in CASES.items()}

_REFRESH = "python3 -m tests.support.plans writes the golden files anew"
_UNSIGNED = {"u32": 1 << 32, "u64": 1 << 64}

plans = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)


@pytest.mark.parametrize("name", FILES)
def test_the_plan_is_the_golden_one(name: str) -> None:
    assert FILES[name] == (GOLDEN / name).read_text(encoding="utf-8"), _REFRESH


def test_no_golden_file_is_left_over() -> None:
    assert sorted(path.name for path in GOLDEN.iterdir()) == sorted(FILES), _REFRESH


def fits(value: object, type: str) -> bool:
    if type in _UNSIGNED:
        return isinstance(value, int) and 0 <= value < _UNSIGNED[type]
    if type == "i64":
        return isinstance(value, int) and -(1 << 63) <= value < 1 << 63
    if type == "strv":
        return isinstance(value, tuple) and all(fits(word, "str") for word in value)
    if type == "fd" and value is None:
        return True
    return isinstance(value, str) and "\0" not in value


@plans
def test_the_arguments_are_those_of_the_kind(plan: LaunchPlan) -> None:
    for step in plan.steps():
        fields = KINDS[step.kind].fields
        assert len(step.args) == len(fields), step.kind
        for (name, type), value in zip(fields, step.args, strict=True):
            # a hook of the runtime without an env of its own has the runtime's
            inherits = step.kind == "runtime_hook" and name == "env" and value is None
            assert inherits or fits(value, type), f"{step.kind}.{name} is {value!r}"


@plans
def test_the_phases_come_in_their_order(plan: LaunchPlan) -> None:
    phases = [PHASES.index(step.phase) for step in plan.steps()]
    assert phases == sorted(phases)


@plans
def test_each_side_has_its_own_steps(plan: LaunchPlan) -> None:
    served = [step for steps in plan.served.values() for step in steps]
    assert {step.actor for step in (*plan.prepare, *served)} == {RUNTIME}
    assert RUNTIME not in {step.actor for step in plan.init}


@plans
def test_every_request_is_answered_and_every_answer_asked_for(plan: LaunchPlan) -> None:
    asked = [step.args[0] for step in plan.init if step.kind == "request"]
    asked += [step.kind for step in plan.init if step.kind in ("ready", "send_console")]
    asked += ["seccomp" for step in plan.init if step.kind == "seccomp" and step.arg("notify")]
    assert len(asked) == len(set(asked))
    # After `ready` the init of an exec may only give up its dependence on the runtime.
    assert set(asked) - {"ready"} == set(plan.served) - {"ready"}
    assert asked.count("ready") == 1


@plans
def test_every_slot_is_filled_before_the_clone(plan: LaunchPlan) -> None:
    fillers = ("open_source", "open_mapped_source", "open_namespace", "open_process", "compile_seccomp")
    filled = {str(step.arg("slot")) for step in plan.prepare if step.kind in fillers}
    filled |= {"start" for step in plan.prepare if step.kind == "start_socket"}
    used = set()
    for step in plan.init:
        used |= {value for (_, type), value in zip(KINDS[step.kind].fields, step.args, strict=True) if type == "fd"}
    join = plan.prepare[-1].arg("join")
    assert isinstance(join, tuple)
    used |= {pair.partition("=")[2] for pair in join}
    assert used - {None} == filled


@plans
def test_every_declared_failure_has_one_alternative(plan: LaunchPlan) -> None:
    for steps in (plan.prepare, plan.init):
        _has_alternatives(steps)


def _has_alternatives(steps: tuple[Step, ...]) -> None:
    open_failures: dict[int, Step] = {}
    for step in steps:
        if step.fallback_level:
            assert open_failures.pop(step.fallback_level - 1, None) is not None, (
                f"{step.kind} is the alternative to nothing"
            )
        if step.on_errno:
            assert step.fallback_level not in open_failures, f"{step.kind} comes before another's alternative"
            open_failures[step.fallback_level] = step
    assert not open_failures


@plans
def test_the_ends_of_a_plan(plan: LaunchPlan) -> None:
    # The launcher may hand over while the filter is compiled, so nothing may have been done before.
    first = [step.kind for step in plan.prepare if step.kind != "compile_seccomp"]
    assert first[0] in ("state_dir", "open_process")
    assert "compile_seccomp" not in [step.kind for step in plan.prepare[1:]]
    assert plan.prepare[-1].kind == "clone"
    assert plan.init[-1].kind == "execute"
    assert [step.kind for step in plan.init].index("keep_fds") < [step.kind for step in plan.init].index("ready")


def test_compiling_twice_gives_the_same_plan() -> None:
    for name, text in golden_files().items():
        assert text == FILES[name]


@plans
def test_the_plan_says_what_its_steps_make(plan: LaunchPlan) -> None:
    """The launch reads the plan's summary of its effects: it must agree with the steps."""
    steps = list(plan.steps())
    made = [step.arg("path") for step in steps if step.kind in ("cgroup_create", "systemd_scope")]
    assert made == ([plan.cgroup] if plan.cgroup else [])
    units = [(step.arg("unit"), step.arg("manager") == "user") for step in steps if step.kind == "systemd_scope"]
    assert ([(plan.unit, plan.user_unit)] if plan.unit else []) == units
    flags = [step.arg("flags") for step in steps if step.kind == "seccomp"]
    assert ([] if plan.filter_flags is None else [plan.filter_flags]) == flags
    limits = {step.arg("file"): step.pointer for step in reversed(steps) if step.kind == "cgroup_limit"}
    assert plan.limit_pointers == limits
    compiled = [step.arg("default_action") for step in steps if step.kind == "compile_seccomp"]
    if compiled:
        assert plan.profile is not None
        assert [plan.profile["defaultAction"]] == compiled


@plans
def test_the_start_s_steps_begin_with_the_wait(plan: LaunchPlan) -> None:
    found = plan.start_steps()
    assert [step for _, step in found] == list(plan.init[len(plan.init) - len(found) :])
    assert [plan.init[number] for number, _ in found] == [step for _, step in found]
    waits = [step.kind for _, step in found if step.kind == "await_start"]
    assert waits == [found[0][1].kind] if waits else "await_start" not in {step.kind for step in plan.init}
