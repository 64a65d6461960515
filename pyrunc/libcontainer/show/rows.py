"""A plan's steps in order, and those that would fail: shared by table, tree, JSON and differences. Cold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .values import arguments, errnos

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..plan.model import LaunchPlan, Step
    from ..spec.problems import Problem

FAILS = "  ^ fails:"


class Row:
    """A step with its number from 1, the request that it answers, and the errors after which it is tried."""

    __slots__ = ("after", "number", "serves", "step")

    def __init__(self, number: int, step: Step, serves: str, after: str) -> None:
        self.number = number
        self.step = step
        self.serves = serves
        self.after = after


def rows(plan: LaunchPlan) -> list[Row]:
    """The plan's steps in order."""
    result: list[Row] = []
    causes: dict[int, str] = {}
    for step, serves in _in_order(plan):
        if step.on_errno:
            causes[step.fallback_level] = errnos(step.on_errno)
        after = causes[step.fallback_level - 1] if step.fallback_level else ""
        result.append(Row(len(result) + 1, step, serves, after))
    return result


def _in_order(plan: LaunchPlan) -> Iterator[tuple[Step, str]]:
    """Each step and the request that it answers, in the order of LaunchPlan.steps."""
    answers = {id(step): what for what, steps in plan.served.items() for step in steps}
    for step in plan.steps():
        yield step, answers.get(id(step), "")


def text(row: Row) -> str:
    """The arguments as text, with the errors that an alternative is for."""
    words = [f"{name}={value}" for name, value in arguments(row.step)]
    if row.after:
        words.insert(0, f"(on {row.after})")
    return " ".join(words)


def marked(plan: LaunchPlan, problems: Sequence[Problem]) -> dict[int, list[Problem]]:
    """The problems by the number of the first step that would fail. Its pointer is that of the problem or the nearest
    parent; 0 if no step has such a pointer."""
    numbers: dict[str, int] = {}
    for row in rows(plan) if problems else ():
        numbers.setdefault(row.step.pointer, row.number)
    numbers[""] = 0
    found: dict[int, list[Problem]] = {}
    for problem in problems:
        at = problem.pointer
        while at not in numbers:
            at = at.rpartition("/")[0]
        found.setdefault(numbers[at], []).append(problem)
    return found


def mark(problem: Problem) -> str:
    """The line below a step that would fail."""
    return f"{FAILS} {problem.line().removeprefix('error: ')}"


def remarks(plan: LaunchPlan) -> list[str]:
    """The plan's notes and warnings, a line each."""
    return [f"note: {note}" for note in plan.notes] + [f"warning: {warning}" for warning in plan.warnings]
