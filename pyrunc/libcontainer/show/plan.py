"""`pyrunc plan`: a launch plan as a tree and as JSON. Cold.

The table is in table.py, what differs between two plans in diff.py, a timeline in timeline.py.

The JSON has these keys, which stay: `terminal`, `notes` (what the host has decided) and `warnings` (texts),
`problems`, what would fail on this host (`step`, its number or 0 for none, and what `validate --format json` has), and
`steps`, one object each with `number` (from 1, in the order in which things happen), `phase`, `actor` (`runtime` or
`init`), `kind`, `call` (the kernel's), `does` (a sentence), `args` (the kind's fields by name, as kinds.py has
them), `pointer` (JSON pointer of the cause in config.json, "" for none), `serves` (the request of init that the step
answers, or ""), `level` (0, or n where the step is an alternative to the one of level n - 1 before it) and `onErrno`
(the errors, by name, on which the next level is tried).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ..plan.kinds import KINDS
from .rows import mark, marked, remarks, rows, text
from .values import errnos

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..plan.model import LaunchPlan
    from ..spec.problems import Problem
    from .rows import Row


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
        indent = "    " * (1 + step.fallback_level + bool(row.serves))
        words = [f"{step.kind}: {text(row)}".rstrip(": ")]
        if KINDS[step.kind].actor == "runtime":
            words.append("[runtime]")
        if step.pointer:
            words.append(f"<- {step.pointer}")
        out.append(indent + "  ".join(words))
        out.extend([indent + mark(problem) for problem in failing.get(row.number, ())])
    out.extend([mark(problem) for problem in failing.get(0, ())])
    out.extend(remarks(plan))
    return "\n".join(out) + "\n"


def as_json(plan: LaunchPlan, problems: Sequence[Problem] = ()) -> str:
    """The plan as JSON text, indented; the module's documentation tells the keys."""
    steps = [describe(row) for row in rows(plan)]
    value = {
        "terminal": plan.terminal, "notes": list(plan.notes), "warnings": list(plan.warnings), "steps": steps,
        "problems": [
            {"step": number, **problem.to_dict()}
            for number, found in sorted(marked(plan, problems).items())
            for problem in found
        ],
    }  # fmt: skip
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def describe(row: Row) -> dict[str, Any]:
    """A step as an object with the keys that the module's documentation names."""
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
        "level": step.fallback_level,
        "onErrno": errnos(step.on_errno).split(" or ") if step.on_errno else [],
    }
