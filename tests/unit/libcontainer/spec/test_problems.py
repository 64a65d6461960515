"""problems: the form in which a problem is reported."""

from __future__ import annotations

from typing import Any

import pytest

from pyrunc.libcontainer.spec import problems


@pytest.mark.parametrize(
    ("pointer", "name"),
    [("/process/cwd", "cwd"), ("/process/args/2", "args[2]"), ("", "config"), ("/linux/sysctl/a~1b~0c", "a/b~c")],
)
def test_label(pointer: str, name: str) -> None:
    assert problems.label(pointer) == name


def test_long_values_are_cut() -> None:
    assert problems.shorten({"a": 1}) == '{"a":1}'
    assert len(problems.shorten("x" * 1000)) == 60


def test_a_problem_on_one_line_and_as_json() -> None:
    problem = problems.Problem(problems.ERROR, "/process/cwd", "cwd must be absolute", nearest="/x")
    assert problem.line("config.json:3") == (
        'config.json:3: error: /process/cwd: cwd must be absolute; did you mean "/x"?'
    )
    assert problem.to_dict() == {
        "severity": "error", "pointer": "/process/cwd", "message": "cwd must be absolute", "nearest": "/x",
    }  # fmt: skip


def test_what_the_context_reads_has_the_shapes_that_the_checks_need() -> None:
    spec: Any = {"process": [], "linux": {"namespaces": [3, {"type": "pid"}, {"type": "pid"}]}}
    context = problems.CheckContext(spec)
    assert dict(context.process) == {}
    assert context.namespaces == {"pid": ""}


def test_ranges_of_ids_that_overlap() -> None:
    context = problems.CheckContext({"ociVersion": "1.3.0", "root": {"path": "rootfs"}})
    entries: Any = [{"containerID": 0, "hostID": 0, "size": 10}, {"containerID": 5, "hostID": 20, "size": 1}]
    problems.check_ranges(context, entries, "/linux/uidMappings")
    assert [problem.pointer for problem in context.found] == ["/linux/uidMappings/1"]
