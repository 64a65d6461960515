"""Seeds for the fuzz target of the plan decoder: one plan of every step kind alone, and one of all of them."""

from __future__ import annotations

from pathlib import Path

from pyrunc.libcontainer.plan import wire
from pyrunc.libcontainer.plan.kinds import INIT_KINDS, Kind
from pyrunc.libcontainer.plan.model import LaunchPlan, Step

VALUES: dict[str, str | int | tuple[str, ...]] = {
    "u32": 7,
    "u64": 1 << 40,
    "i64": -5,
    "str": "/a",
    "strv": ("a", "b"),
    "fd": "slot",
}


def _step(kind: Kind, fallback_level: int = 0) -> Step:
    args = tuple(VALUES[type_] for _, type_ in kind.fields)
    return Step("process", kind.name, args, fallback_level=fallback_level, on_errno=(1, 13))


def write(directory: Path) -> None:
    """Write the seeds into a directory."""
    plans = {kind.name: [_step(kind)] for kind in INIT_KINDS}
    plans["all"] = [_step(kind, level % 3) for level, kind in enumerate(INIT_KINDS)]
    for name, steps in plans.items():
        blob = wire.encode(LaunchPlan((), tuple(steps), {}), {"slot": 5}, timeline=name == "all")
        room = wire.times_offset(len(blob)) - len(blob) + 16 * len(steps) if name == "all" else 0
        (directory / name).write_bytes(blob + bytes(room))
