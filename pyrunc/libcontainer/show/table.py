"""`pyrunc plan` as a table. Cold.

If the width is unlimited, as in a pipe, each row is one line and nothing is cut. Within a width, a row has the step's
number and name, and beside them the kind's effect and its arguments, wrapped. Equal steps that follow each other, such
as all masked paths, are one row with a count.
"""

from __future__ import annotations

import os
import re
import textwrap
from typing import TYPE_CHECKING

from ..plan.kinds import KINDS
from .rows import FAILS, mark, marked, remarks, rows, text
from .values import arguments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..plan.model import LaunchPlan
    from ..spec.problems import Problem
    from .rows import Row

_HEADINGS = ("PHASE", "#", "ACTOR", "STEP", "CALL", "FIELD", "ARGUMENTS  # WHAT IT DOES")

# Steps of these kinds that differ in nothing but these arguments are one row.
LISTED = {kind.name: kind.listed for kind in KINDS.values() if kind.listed}

# Within a width: the lines that arguments take at most, and the least room for them.
_ARGUMENT_LINES = 3
_LEAST_ROOM = 30

# A block is a step and its alternatives; consecutive blocks that share a row are a group.
_Block = list["Row"]


def columns() -> int:
    """The width for the output: COLUMNS, else the terminal's; 0 (unlimited) if standard output is no terminal."""
    try:
        wanted = int(os.environ.get("COLUMNS", ""))
    except ValueError:
        wanted = 0
    if wanted > 0:
        return wanted
    try:
        return os.get_terminal_size(1).columns
    except OSError:
        return 0


def table(plan: LaunchPlan, problems: Sequence[Problem] = (), width: int = 0) -> str:
    """The plan as rows; alternatives have `or ` before their name. The problem is shown below a step that will fail.

    width: columns in all; 0 for unlimited.
    """
    failing = marked(plan, problems)
    groups = _groups(plan, set(failing))
    lines = _within(groups, failing, width) if width else _one_line_each(groups, failing)
    ends = [mark(problem) for problem in failing.get(0, ())] + remarks(plan)
    for line in ends:
        lines += textwrap.wrap(line, max(width, _LEAST_ROOM), subsequent_indent="    ") if width else [line]
    return "\n".join(lines) + "\n"


def _groups(plan: LaunchPlan, alone: set[int]) -> list[list[Row]]:
    """The table's rows, each as its steps. alone: numbers of steps that have a row of their own, because a problem
    follows."""
    blocks: list[_Block] = []
    for row in rows(plan):
        if row.step.fallback_level and blocks:
            blocks[-1].append(row)
        else:
            blocks.append([row])
    result: list[list[Row]] = []
    last: tuple[object, ...] | None = None
    for block in blocks:
        key = tuple([_key(row) for row in block])
        single = any(row.number in alone or row.step.kind not in LISTED for row in block)
        if key == last and not single:
            for at, row in enumerate(block):
                result[at - len(block)].append(row)
        else:
            result.extend([[row] for row in block])
        last = None if single else key
    return result


def _key(row: Row) -> tuple[object, ...]:
    """The key that steps of one row share."""
    listed = LISTED.get(row.step.kind, ())
    same = tuple([pair for pair in arguments(row.step) if pair[0] not in listed])
    alone = row.number if not listed else 0
    return row.step.phase, row.step.kind, row.step.fallback_level, row.serves, row.after, same, alone


def _number(group: list[Row]) -> str:
    return str(group[0].number) if len(group) == 1 else f"{group[0].number}-{group[-1].number}"


def _name(group: list[Row]) -> str:
    step = group[0].step
    return "or " * step.fallback_level + step.kind + (f" ×{len(group)}" if len(group) > 1 else "")


def _field(group: list[Row]) -> str:
    """The pointer; of several in one array the first and the last index: `/linux/maskedPaths/0-9`."""
    first, last = group[0].step.pointer, group[-1].step.pointer
    parent, _, index = last.rpartition("/")
    if first == last:
        return first
    return f"{first}-{index}" if first.rpartition("/")[0] == parent else f"{first} {last}".strip()


def _arguments(group: list[Row]) -> str:
    """The arguments as text; those in which the steps differ are lists: `path=/proc/acpi /proc/kcore`."""
    if len(group) == 1:
        return text(group[0])
    listed = LISTED[group[0].step.kind]
    values = []
    for row in group:
        found = dict(arguments(row.step))
        values.append([found.get(name, "") for name in listed])
    if all(len(set(of_one)) == 1 for of_one in values):
        listed, values = listed[-1:], [of_one[-1:] for of_one in values]
    words = [",".join(listed) + "=" + " ".join([",".join(of_one) for of_one in values])]
    words += [f"{name}={value}" for name, value in arguments(group[0].step) if name not in LISTED[group[0].step.kind]]
    return (f"(on {group[0].after}) " if group[0].after else "") + " ".join(words)


def _one_line_each(groups: list[list[Row]], failing: dict[int, list[Problem]]) -> list[str]:
    """A line each, in aligned columns."""
    lines: list[tuple[str, ...]] = [_HEADINGS]
    phase = ""
    for group in groups:
        step = group[0].step
        kind = KINDS[step.kind]
        shown = step.phase if step.phase != phase else ""
        phase = step.phase
        last = f"{_arguments(group)}  # {kind.doc}".strip()
        lines.append((shown, _number(group), kind.actor, _name(group), kind.call, _field(group) or "-", last))
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS) - 1)]
    out = []
    for line, group in zip(lines, [[], *groups], strict=True):
        cells = [
            cell.rjust(width) if column == 1 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line[:-1], widths, strict=True))
        ]
        out.append("  ".join([*cells, line[-1]]).rstrip())
        out.extend([mark(problem) for row in group for problem in failing.get(row.number, ())])
    return out


def _within(groups: list[list[Row]], failing: dict[int, list[Problem]], width: int) -> list[str]:
    """Phases with their rows below them, each wrapped into the width. A kind's effect is shown in the first of
    consecutive rows of the kind."""
    numbers = max(len(_number(group)) for group in groups)
    names = max(len(_name(group)) for group in groups)
    left = 2 + numbers + 2 + names + 2
    room = max(_LEAST_ROOM, width - left - 1)
    if left + room > width:
        # The names have a line of their own.
        left, room = 4, max(10, width - 5)
    out: list[str] = []
    phase = kind = ""
    for group in groups:
        step = group[0].step
        if step.phase != phase:
            phase, kind = step.phase, ""
            out.append(phase)
        beside = [] if step.kind == kind else _wrapped(KINDS[step.kind].doc, room)
        beside += _details(group, room)
        kind = step.kind
        head = f"  {_number(group).rjust(numbers)}  {_name(group)}"
        out.append((head.ljust(left) + beside.pop(0) if left > 4 and beside else head).rstrip())
        out += [" " * left + line for line in beside]
        for problem in [problem for row in group for problem in failing.get(row.number, ())]:
            out += textwrap.wrap(
                mark(problem), max(width, _LEAST_ROOM), initial_indent="  ", subsequent_indent=" " * (len(FAILS) + 1)
            )
    return out


class _Wrapper(textwrap.TextWrapper):
    """Breaks lines at spaces, and behind the signs that separate flags, capabilities and directories."""

    wordsep_simple_re = re.compile(r"([\t\n ]+|(?<=[|,:])(?=[^ ]))")


def _wrapped(words: str, room: int, most: int | None = None) -> list[str]:
    return _Wrapper(room, break_on_hyphens=False, max_lines=most, placeholder=" …").wrap(words)


def _details(group: list[Row], room: int) -> list[str]:
    """The arguments, cut if they are very long, the actor unless it is the init, and the field."""
    lines = _wrapped(_arguments(group), room, _ARGUMENT_LINES)
    words = ["[runtime]"] if KINDS[group[0].step.kind].actor == "runtime" else []
    if _field(group):
        words.append(f"<- {_field(group)}")
    end = "  ".join(words)
    if lines and end and len(lines[-1]) + 2 + len(end) <= room:
        lines[-1] += "  " + end
        return lines
    return lines + _wrapped(end, room)
