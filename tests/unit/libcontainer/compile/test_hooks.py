"""Hooks in a plan."""

from __future__ import annotations

import json
from typing import Any

from tests.support.plans import compiled, find, kinds, minimal, values


def hooks(**by_name: Any) -> Any:
    return minimal(hooks=by_name)


def test_prestart_comes_before_create_runtime_and_both_are_one_request() -> None:
    plan = compiled(hooks(createRuntime=[{"path": "/b"}], prestart=[{"path": "/a"}, {"path": "/c"}]))
    assert [values(step, "hook", "index", "path") for step in plan.served["create_runtime"]] == [
        ("prestart", 0, "/a"),
        ("prestart", 1, "/c"),
        ("createRuntime", 0, "/b"),
    ]
    assert [step.args for step in find(plan, "request")] == [("create_runtime",)]
    assert plan.served["create_runtime"][2].pointer == "/hooks/createRuntime/0"


def test_the_order_of_the_specification() -> None:
    names = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    plan = compiled(hooks(**{name: [{"path": "/x"}] for name in names}))
    steps = [
        (step.kind if "hook" not in step.kind else step.args[0])
        for step in find(plan, "mknod", "runtime_hook", "container_hook", "pivot_root", "await_start", "execute")
    ]
    assert steps[steps.index("prestart") :] == [
        "prestart",
        "createRuntime",
        "createContainer",
        "pivot_root",
        "await_start",
        "startContainer",
        "execute",
    ]
    assert kinds(plan).index("ready") < kinds(plan).index("await_start")


def test_without_hooks_there_is_no_request() -> None:
    assert not find(compiled(minimal()), "request", "runtime_hook", "container_hook")


def test_a_command_as_it_is_listed() -> None:
    hook = {"path": "/bin/h", "args": ["h", "x y"], "env": ["A=b"], "timeout": 9}
    plan = compiled(hooks(createRuntime=[hook], createContainer=[hook]))
    for step in find(plan, "runtime_hook", "container_hook"):
        assert values(step, "path", "args", "env", "timeout") == ("/bin/h", ("h", "x y"), ("A=b",), 9)


def test_a_command_without_args_has_its_path_as_argv_0() -> None:
    plan = compiled(hooks(createRuntime=[{"path": "/bin/h"}], createContainer=[{"path": "/bin/h"}]))
    for step in find(plan, "runtime_hook", "container_hook"):
        assert values(step, "args", "timeout") == (("/bin/h",), 0)


def test_environments_of_hooks_that_name_none() -> None:
    """As with runc: the runtime's own environment, none, and for startContainer the process's."""
    names = ("createRuntime", "createContainer", "startContainer")
    plan = compiled(hooks(**{name: [{"path": "/h"}, {"path": "/h", "env": []}] for name in names}))
    envs = [step.arg("env") for step in find(plan, "runtime_hook", "container_hook")]
    assert envs == [None, (), (), (), ("PATH=/bin", "HOME=/"), ()]


def test_b3_working_directory_and_home() -> None:
    names = ("createContainer", "startContainer")
    spec = hooks(**{name: [{"path": "/h"}, {"path": "/h", "env": []}] for name in names})
    spec["process"]["env"] = ["A=1", "HOME=", "A=2"]
    found = [values(step, "env", "cwd", "home") for step in find(compiled(spec), "container_hook")]
    assert found == [((), "/bundle/rootfs", 0)] * 2 + [(("A=2",), "", 1), ((), "", 0)]


def test_the_state_around_the_pid() -> None:
    spec = hooks(createContainer=[{"path": "/h"}], startContainer=[{"path": "/h"}])
    spec["annotations"] = {"a": 'q"\n', "ü": "é"}
    plan = compiled(spec, id="web", bundle="/b")
    for step, status in zip(find(plan, "container_hook"), ("creating", "created"), strict=True):
        head, tail = values(step, "state_head", "state_tail")
        state = json.loads(f"{head}7{tail}")
        assert state == {
            "ociVersion": "1.3.0",
            "id": "web",
            "status": status,
            "pid": 7,
            "bundle": "/b",
            "annotations": {"a": 'q"\n', "ü": "é"},
        }
        assert list(state) == ["ociVersion", "id", "status", "pid", "bundle", "annotations"]


def test_a_state_without_annotations() -> None:
    step = find(compiled(hooks(createContainer=[{"path": "/h"}])), "container_hook")[0]
    head, tail = values(step, "state_head", "state_tail")
    assert "annotations" not in json.loads(f"{head}7{tail}")
