"""A plan's steps in their order, and which of them would fail."""

from __future__ import annotations

from pyrunc.libcontainer.show import rows as show_rows
from pyrunc.libcontainer.spec.problems import Problem
from tests.support.plans import VARIED


def test_rows_are_numbered_in_their_order() -> None:
    found = show_rows.rows(VARIED)
    assert [row.number for row in found] == list(range(1, 9))
    assert [row.step.kind for row in found[2:4]] == ["request", "write_map"]
    assert found[3].serves == "maps"
    assert [row.after for row in found[4:7]] == ["", "EPERM", "EACCES or ENOENT"]


def test_a_problem_is_at_the_step_whose_pointer_is_nearest() -> None:
    pointers = ("/linux/namespaces/0/type", "/process/args/0", "/nowhere")
    problems = [Problem("error", pointer, "x") for pointer in pointers]
    assert {number: len(found) for number, found in show_rows.marked(VARIED, problems).items()} == {3: 1, 8: 1, 0: 1}


def test_lines_below_the_steps() -> None:
    assert show_rows.mark(Problem("error", "/a", "is odd")).startswith("  ^ fails: /a: is odd")
    assert show_rows.remarks(VARIED) == ["note: that is so", "warning: mind this"]
