"""`pyrunc plan`: a launch plan as a table, as a tree, as JSON, and what differs between two. Cold.

The JSON has these keys, which stay: `terminal`, `notes` (what the host has decided) and `warnings` (texts),
`problems`, what would fail on this host (`step`, its number or 0 for none, and what `validate --format json` has), and
`steps`, one object each with `number` (from 1, in the order in which things happen), `phase`, `actor` (`runtime` or
`init`), `kind`, `call` (the kernel's), `does` (a sentence), `args` (the kind's fields by name, as stepkinds.py has
them), `pointer` (JSON pointer of the cause in config.json, "" for none), `serves` (the request of init that the step
answers, or ""), `level` (0, or n where the step is an alternative to the one of level n - 1 before it) and `onErrno`
(the errors, by name, on which the next level is tried).
"""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING, Any

from .showtimeline import bars
from .showvalues import arguments, errnos
from .stepkinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .checks import Problem
    from .plan import LaunchPlan, Step

__all__ = ["as_json", "bars", "diff", "table", "tree"]

# Longer arguments are cut in the table; the tree and the JSON have them whole.
_LONGEST_ARGUMENTS = 100
FAILS = "  ^ fails:"
_HEADINGS = ("PHASE", "#", "ACTOR", "STEP", "CALL", "FIELD", "ARGUMENTS")

# The fields by which a step is found again in another plan, in this order of preference.
_IDENTITY = ("target", "path", "slot", "hook", "clock", "resource", "file", "what", "name")


class Row:
    """A step in its place: its number from 1, the request that it answers, the errors after which it is tried."""

    __slots__ = ("after", "number", "serves", "step")

    def __init__(self, number: int, step: Step, serves: str, after: str) -> None:
        self.number = number
        self.step = step
        self.serves = serves
        self.after = after


def rows(plan: LaunchPlan) -> list[Row]:
    """The plan's steps in the order in which they happen."""
    result: list[Row] = []
    causes: dict[int, str] = {}
    for step, serves in _in_order(plan):
        if step.on_errno:
            causes[step.level] = errnos(step.on_errno)
        after = causes[step.level - 1] if step.level else ""
        result.append(Row(len(result) + 1, step, serves, after))
    return result


def _in_order(plan: LaunchPlan) -> Iterator[tuple[Step, str]]:
    """Each step and the request that it answers, as LaunchPlan.steps orders them."""
    answers = {id(step): what for what, steps in plan.served.items() for step in steps}
    for step in plan.steps():
        yield step, answers.get(id(step), "")


def _text(row: Row) -> str:
    """The arguments in words, with what an alternative is for."""
    words = [f"{name}={value}" for name, value in arguments(row.step)]
    if row.after:
        words.insert(0, f"(on {row.after})")
    return " ".join(words)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_ARGUMENTS else text[: _LONGEST_ARGUMENTS - 1] + "…"


def table(plan: LaunchPlan, problems: Sequence[Problem] = ()) -> str:
    """The plan as aligned columns, one line a step; alternatives have `or ` before their name. Below a step that will
    fail stands the problem."""
    lines = [_HEADINGS]
    phase = ""
    for row in rows(plan):
        step = row.step
        kind = KINDS[step.kind]
        name = "or " * step.level + step.kind
        shown = step.phase if step.phase != phase else ""
        phase = step.phase
        lines.append((shown, str(row.number), kind.actor, name, kind.call, step.pointer or "-", _cut(_text(row))))
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS) - 1)]
    out = []
    failing = marked(plan, problems)
    for at, line in enumerate(lines):
        cells = [
            cell.rjust(width) if column == 1 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line[:-1], widths, strict=True))
        ]
        out.append("  ".join([*cells, line[-1]]).rstrip())
        out.extend([_mark(problem) for problem in failing.get(at, ())])
    out.extend([_mark(problem) for problem in failing.get(0, ())])
    out.extend(_remarks(plan))
    return "\n".join(out) + "\n"


def marked(plan: LaunchPlan, problems: Sequence[Problem]) -> dict[int, list[Problem]]:
    """The problems by the number of the first step that will fail for each: the one whose pointer is the problem's or
    the nearest above it; 0 where no step has such a pointer."""
    found: dict[int, list[Problem]] = {}
    for problem in problems:
        best, number = "", 0
        for row in rows(plan):
            at = row.step.pointer
            if at and len(at) > len(best) and (problem.pointer + "/").startswith(at + "/"):
                best, number = at, row.number
        found.setdefault(number, []).append(problem)
    return found


def _mark(problem: Problem) -> str:
    return f"{FAILS} {problem.line().removeprefix('error: ')}"


def _remarks(plan: LaunchPlan) -> list[str]:
    return [f"note: {note}" for note in plan.notes] + [f"warning: {warning}" for warning in plan.warnings]


def tree(plan: LaunchPlan, problems: Sequence[Problem] = ()) -> str:
    """The plan as phases with their steps below them; alternatives, and the answers to a request, are indented."""
    out: list[str] = []
    phase = ""
    failing = marked(plan, problems)
    for row in rows(plan):
        step = row.step
        if step.phase != phase:
            phase = step.phase
            out.append(phase)
        indent = "    " * (1 + step.level + bool(row.serves))
        words = [f"{step.kind}: {_text(row)}".rstrip(": ")]
        if KINDS[step.kind].actor == "runtime":
            words.append("[runtime]")
        if step.pointer:
            words.append(f"<- {step.pointer}")
        out.append(indent + "  ".join(words))
        out.extend([indent + _mark(problem) for problem in failing.get(row.number, ())])
    out.extend([_mark(problem) for problem in failing.get(0, ())])
    out.extend(_remarks(plan))
    return "\n".join(out) + "\n"


def as_json(plan: LaunchPlan, problems: Sequence[Problem] = ()) -> str:
    """The plan as JSON text, indented; the module's documentation tells the keys."""
    steps = [_object(row) for row in rows(plan)]
    value = {
        "terminal": plan.terminal, "notes": list(plan.notes), "warnings": list(plan.warnings), "steps": steps,
        "problems": [
            {"step": number, **problem.to_dict()}
            for number, found in sorted(marked(plan, problems).items())
            for problem in found
        ],
    }  # fmt: skip
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _object(row: Row) -> dict[str, Any]:
    step = row.step
    kind = KINDS[step.kind]
    names = [name for name, _ in kind.fields]
    return {
        "number": row.number,
        "phase": step.phase,
        "actor": kind.actor,
        "kind": step.kind,
        "call": kind.call,
        "does": kind.doc,
        "args": dict(zip(names, step.args, strict=True)),
        "pointer": step.pointer,
        "serves": row.serves,
        "level": step.level,
        "onErrno": errnos(step.on_errno).split(" or ") if step.on_errno else [],
    }


def diff(old: LaunchPlan, new: LaunchPlan) -> str:
    """What changes from one plan to another: `-` and `+` lines under the phase that they belong to; "" for nothing.

    A step is the same one where its kind, its place and what it is about (a path, a name) are; that its pointer's
    index has moved is no change.
    """
    before, after = rows(old), rows(new)
    matcher = difflib.SequenceMatcher(None, [_key(row) for row in before], [_key(row) for row in after], autojunk=False)
    changes: list[tuple[str, str]] = []
    for tag, low, high, new_low, new_high in matcher.get_opcodes():
        if tag == "equal":
            for one, other in zip(before[low:high], after[new_low:new_high], strict=True):
                if _text(one) != _text(other):
                    changes.extend([_change("-", one), _change("+", other)])
        else:
            changes.extend([_change("-", row) for row in before[low:high]])
            changes.extend([_change("+", row) for row in after[new_low:new_high]])
    out: list[str] = []
    phase = ""
    for step_phase, line in changes:
        if step_phase != phase:
            phase = step_phase
            out.append(f"@@ {phase} @@")
        out.append(line)
    return "\n".join(out) + "\n" if out else ""


def _key(row: Row) -> tuple[Any, ...]:
    """By what a step is found again in another plan."""
    step = row.step
    names = [name for name, _ in KINDS[step.kind].fields]
    for field in _IDENTITY:
        if field in names:
            return step.phase, step.kind, step.level, row.serves, step.args[names.index(field)]
    return step.phase, step.kind, step.level, row.serves


def _change(sign: str, row: Row) -> tuple[str, str]:
    step = row.step
    words = [sign, "or " * step.level + step.kind, _text(row), f"<- {step.pointer}" if step.pointer else ""]
    return step.phase, " ".join([word for word in words if word])
