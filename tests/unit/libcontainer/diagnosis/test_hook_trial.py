"""hook_trial: which hooks it tries, and the rest of the plan. tests/integration/test_hook_trial.py runs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.diagnosis import hook_trial
from pyrunc.libcontainer.plan.model import LaunchPlan, Step

HOOK: Any = {"path": "/bin/true"}
SPEC: Any = {"hooks": {"poststop": [HOOK], "createRuntime": [HOOK, HOOK], "startContainer": []}}


def test_which_hooks_are_meant() -> None:
    runtime = [("createRuntime", 0), ("createRuntime", 1)]
    assert hook_trial.chosen(SPEC, "", -1) == [*runtime, ("poststop", 0)]
    assert hook_trial.chosen(SPEC, "createRuntime", -1) == runtime
    assert hook_trial.chosen(SPEC, "createRuntime", 1) == runtime[1:]
    assert hook_trial.chosen(SPEC, "startContainer", -1) == []
    assert hook_trial.chosen({"ociVersion": "1.3.0", "root": {"path": "/"}}, "", -1) == []


@pytest.mark.parametrize(
    ("kind", "index", "words"),
    [
        ("postStart", -1, '"postStart" is no kind of hook'),
        ("", 0, "--index counts the hooks of one kind"),
        ("createRuntime", 2, "there is no createRuntime hook #2 (the configuration has 2"),
        ("createRuntime", -2, "there is no createRuntime hook #-2"),
        ("startContainer", 0, "there is no startContainer hook #0"),
    ],
)
def test_hooks_that_are_not_there(kind: str, index: int, words: str) -> None:
    with pytest.raises(PyruncError) as caught:
        hook_trial.chosen(SPEC, kind, index)
    assert words in caught.value.line()


def test_one_hook_is_left_in_the_plan_and_no_program() -> None:
    def hook(kind: str, index: int) -> Step:
        rest = ("", "", None, None, "", 0) if kind == "container_hook" else ()
        return Step("rootfs", kind, ("any", index, "/h", (), (), 0, *rest))

    plan = LaunchPlan(
        (),
        (
            hook("container_hook", 0),
            Step("ready", "ready"),
            hook("container_hook", 1),
            Step("start", "execute", ((), ())),
        ),
        {"create_runtime": (hook("runtime_hook", 0), hook("runtime_hook", 1)), "ready": (Step("ready", "save_state"),)},
    )
    hook_trial._reduce(plan, 1)
    assert [(step.kind, step.args[:2]) for step in plan.init] == [
        ("ready", ()), ("container_hook", ("any", 1)), ("request", ("hook_tried",))
    ]  # fmt: skip
    assert [step.args[1] for step in plan.served["create_runtime"]] == [1]
    assert [step.kind for step in plan.served["ready"]] == ["save_state"]


def test_the_hook_of_a_timeline(tmp_path: Path) -> None:
    path = tmp_path / "timeline"
    assert hook_trial._event(str(path)) is None
    path.write_text('{"traceEvents": [{"name": "clone"}]}')
    assert hook_trial._event(str(path)) is None
    assert not path.exists()
    args = {"hook": "prestart", "index": 3, "path": "/h", "end": "exit status 0"}
    path.write_text('{"traceEvents": [{"name": "clone"}, {"name": "runtime_hook", "dur": 1500}]}')
    event = hook_trial._event(str(path))
    assert event is not None
    outcome = hook_trial.Outcome({**event, "args": args}, PyruncError("it failed"))
    assert outcome.to_dict() == {
        "kind": "prestart", "index": 3, "path": "/h", "seconds": 0.0015, "end": "exit status 0", "error": "it failed",
    }  # fmt: skip
    assert hook_trial.Outcome({**event, "args": args}, None).to_dict()["error"] is None
