"""Step and LaunchPlan."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from pyrunc.libcontainer.plan.model import LaunchPlan, Step

HOOK = Step("rootfs", "runtime_hook", ("prestart", 0, "/h", (), (), 0))
SAVE = Step("ready", "save_state", ("/s",))
CONSOLE = Step("rootfs", "receive_console", (1,))


def test_served_steps_stand_behind_the_request_that_they_answer() -> None:
    plan = LaunchPlan(
        (Step("prepare", "state_dir", ("/s",)),),
        (
            Step("rootfs", "send_console"),
            Step("rootfs", "request", ("create_runtime",)),
            Step("rootfs", "request", ("unserved",)),
            Step("ready", "ready"),
            Step("start", "await_start", (None,)),
        ),
        {"create_runtime": (HOOK, HOOK), "ready": (SAVE,), "send_console": (CONSOLE,)},
    )
    assert [step.kind for step in plan.steps()] == [
        "state_dir",
        "send_console",
        "receive_console",
        "request",
        "runtime_hook",
        "runtime_hook",
        "request",
        "ready",
        "save_state",
        "await_start",
    ]


def test_actor() -> None:
    assert SAVE.actor == "runtime"
    assert Step("ready", "ready").actor == "init"


def test_arg() -> None:
    step = Step("process", "rlimit", (7, 1, 2))
    assert (step.arg("resource"), step.arg("soft"), step.arg("hard")) == (7, 1, 2)
    with pytest.raises(KeyError):
        step.arg("medium")


def test_a_runtime_s_step_among_the_init_s_is_a_mistake() -> None:
    with pytest.raises(AssertionError):
        list(LaunchPlan((), (SAVE,), {}).steps())


def test_a_step_has_what_it_is_given() -> None:
    names = ("phase", "kind", "args", "pointer", "fallback_level", "on_errno")
    values = ("process", "chdir", ("/",), "/process/cwd", 1, (2,))
    every: dict[str, Any] = dict(zip(names, values, strict=True))
    for step in (Step(*values), Step(**every), Step("process", "chdir", **dict(list(every.items())[2:]))):
        assert tuple(getattr(step, name) for name in names) == values
    bare = Step("process", "chdir")
    assert tuple(getattr(bare, name) for name in names) == ("process", "chdir", (), "", 0, ())
    bare.args = ("/tmp",)
    assert (bare.args, Step("process", "chdir").args) == (("/tmp",), ())


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((), {}),
        (("process",), {}),
        (("a", "b", (), "", 0, (), 7), {}),
        (("a", "b"), {"other": 1}),
        (("a", "b"), {"kind": "c"}),
    ],
)
def test_a_step_is_given_what_it_has(values: tuple[Any, ...], words: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        Step(*values, **words)


def test_a_step_can_have_no_other_attribute() -> None:
    with pytest.raises(AttributeError):
        Step("process", "chdir").other = 1  # type: ignore[attr-defined]


def test_a_step_releases_what_it_holds() -> None:
    args = (f"/{id(object())}",)
    before = sys.getrefcount(args)
    for _ in range(100):
        Step("process", "chdir", args)
        Step("process", "chdir", args=args)
    assert sys.getrefcount(args) == before
