"""`pyrunc plan --diff`: the differences between two plans, as text and as JSON. Cold.

Steps correspond if they have the same kind, phase and subject (a path, a name). A different index in the pointer is no
change. The bundles' directories are no difference either: a path in them is written as BUNDLE/….

The JSON has the keys `from` and `to` (the two configurations' files), `differ` (a boolean) and `changes`, one object
each with `phase`, `change` (`added`, `removed` or `changed`), and `before` and `after`: the step as
`plan --format json` has it, or null.
"""

from __future__ import annotations

import difflib
import json
import re
from typing import TYPE_CHECKING, Any

from ..plan.kinds import KINDS
from ..plan.model import PHASES, LaunchPlan, Step
from .plan import describe
from .rows import rows, text

if TYPE_CHECKING:
    from .rows import Row

    Change = tuple[Row | None, Row | None]

# The fields that identify a step in another plan, in this order of preference.
_IDENTITY = ("target", "path", "slot", "hook", "clock", "resource", "file", "what", "name")

# Their name is the value that they set, not their subject.
_ONE_OF_A_KIND = ("hostname", "domainname", "session_keyring")


def without_bundle(plan: LaunchPlan, bundle: str) -> LaunchPlan:
    """The plan with BUNDLE in place of the bundle's own directory, an absolute path, in all arguments."""
    if bundle in ("", "/"):
        return plan
    place = re.compile(r"(?<![^\s\"'=:,])" + re.escape(bundle) + r"(?=[/\"'\s:,]|$)")

    def changed(steps: tuple[Step, ...]) -> tuple[Step, ...]:
        return tuple(
            [
                Step(
                    step.phase,
                    step.kind,
                    tuple([replaced(arg) for arg in step.args]),
                    step.pointer,
                    step.fallback_level,
                    step.on_errno,
                )
                for step in steps
            ]
        )

    def replaced(value: Any) -> Any:
        if isinstance(value, str):
            return place.sub("BUNDLE", value)
        return tuple([place.sub("BUNDLE", word) for word in value]) if isinstance(value, tuple) else value

    served = {what: changed(steps) for what, steps in plan.served.items()}
    return LaunchPlan(changed(plan.prepare), changed(plan.init), served, plan.terminal, plan.warnings, plan.notes)


def changes(old: LaunchPlan, new: LaunchPlan) -> list[Change]:
    """The changes by phase, in the order of the steps: (before, after), with None for a missing step."""
    found: list[Change] = []
    for phase in PHASES:
        before = [row for row in rows(old) if row.step.phase == phase]
        after = [row for row in rows(new) if row.step.phase == phase]
        keys = [_key(row) for row in before], [_key(row) for row in after]
        matcher = difflib.SequenceMatcher(None, *keys, autojunk=False)
        for tag, low, high, new_low, new_high in matcher.get_opcodes():
            if tag == "equal":
                pairs = zip(before[low:high], after[new_low:new_high], strict=True)
                found += [(one, other) for one, other in pairs if _differ(one, other)]
            else:
                found += [(row, None) for row in before[low:high]]
                found += [(None, row) for row in after[new_low:new_high]]
    return found


def diff(old: LaunchPlan, new: LaunchPlan) -> str:
    """The changes as `-` and `+` lines below their phase; "" for none."""
    out: list[str] = []
    phase = ""
    for before, after in changes(old, new):
        for sign, row in (("-", before), ("+", after)):
            if row is None:
                continue
            if row.step.phase != phase:
                phase = row.step.phase
                out.append(f"@@ {phase} @@")
            out.append(_line(sign, row))
    return "\n".join(out) + "\n" if out else ""


def as_json(old: LaunchPlan, new: LaunchPlan, old_file: str, new_file: str) -> str:
    """The changes as JSON text, indented; the module's docstring has the keys."""
    found = []
    for before, after in changes(old, new):
        row = before or after
        assert row is not None
        found.append({
            "phase": row.step.phase,
            "change": "changed" if before and after else "removed" if before else "added",
            "before": describe(before) if before else None,
            "after": describe(after) if after else None,
        })  # fmt: skip
    value = {"from": old_file, "to": new_file, "differ": bool(found), "changes": found}
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _key(row: Row) -> tuple[Any, ...]:
    """The key that identifies a step in another plan."""
    step = row.step
    names = [name for name, _ in KINDS[step.kind].fields]
    for field in _IDENTITY:
        if field in names and step.kind not in _ONE_OF_A_KIND:
            return step.kind, step.fallback_level, row.serves, step.args[names.index(field)]
    return step.kind, step.fallback_level, row.serves


def _differ(one: Row, other: Row) -> bool:
    return one.step.args != other.step.args or one.after != other.after


def _line(sign: str, row: Row) -> str:
    step = row.step
    words = [sign, "or " * step.fallback_level + step.kind, text(row), f"<- {step.pointer}" if step.pointer else ""]
    return " ".join([word for word in words if word])
