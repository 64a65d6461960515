"""`pyrunc plan`: a launch plan as a tree and as JSON. Cold.

table.py has the table, diff.py the differences between two plans, timeline.py a timeline.

The JSON has these keys, which are stable: `terminal`, `notes` (decisions by facts of the host) and `warnings` (texts),
`problems`, which would fail on this host (`step`, the number or 0 for none, and the members of `validate --format
json`), and `steps`. A step has `number` (from 1, in order), `phase`, `actor` (`runtime` or `init`), `kind`, `call` (the
kernel's), `does` (a sentence), `args` (the kind's fields by name, as in kinds.py), `pointer` (JSON pointer of the cause
in config.json, "" for none), `serves` (the request of the init that the step answers, or ""), `level` (the fallback
level: 0, or n for an alternative to the step of level n - 1 before it) and `onErrno` (the errors, by name, after which
the next level is tried).
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
    """The plan as JSON text, indented; the module's docstring has the keys."""
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
    """A step as an object with the keys of the module's docstring."""
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
