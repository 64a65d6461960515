"""Step and LaunchPlan."""

from __future__ import annotations

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
