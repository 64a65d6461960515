"""Damaged states of containers, from bytes: a state.json as text, or a whole one with other members."""

from __future__ import annotations

import copy
import json
from types import ModuleType
from typing import Any

from pyrunc.libcontainer import state

WHOLE: dict[str, Any] = {
    "version": state.FORMAT, "annotations": {"a": "b"}, "bundle": "/bundle", "cgroup": "/sys/fs/cgroup/box",
    "created": "2026-01-01T00:00:00Z", "hooks": {}, "id": "box", "ociVersion": "1.3.0", "owner": 0, "ownPids": True,
    "pid": 17, "rootfs": "/bundle/rootfs", "startSteps": [[7, "execute", [["sh"], []], "/process/args"]],
    "startTime": 4711, "systemd": {"unit": "box.scope", "user": False}, "updated": {},
}  # fmt: skip
_NAMES = sorted(WHOLE)
# What a member may be instead: a value of each type, at the limits, and with each part of a step or a unit wrong.
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31 - 1, 2**31, 2**63, 2**64 - 1, 2**64, -(2**64), 10**400, 0.0, 1.5, float("inf"),
    "", "/", "a", "/a\0b", "\0", "\ud800", "é", "x" * 70000, [], [[]], {}, {"": ""}, {"unit": "u", "user": True},
    {"unit": "u"}, {"unit": "u\0", "user": True}, {"unit": 1, "user": True}, {"unit": "u", "user": 1}, {"a": 1},
    {"mounts": []}, {"poststop": [{"path": "/x"}]}, [[1, "k", [], "/"]], [[True, "k", [], "/"]], [[1, "k", [], 2]],
    [[1, "k", (), "/"]], [[1, "k", []]], [[1, "k", [], "/", 1]], [(1, "k", [], "/")], [{}],
)  # fmt: skip


def difference(wire: ModuleType, data: bytes) -> str:
    """What the C module does otherwise than the table of state.py; "" for nothing."""
    values = _values(data)
    if type(values) is not dict:
        try:
            wire.is_record(values)
        except TypeError:
            return ""
        return f"{values!r} is no state"
    expected = _is_right(values)
    if wire.is_record(values) is not expected:
        return f"is_record({values!r:.1000}) is not {expected}"
    try:
        made = wire.Record(values)
    except KeyError as error:
        return "" if error.args[0] not in values else f"{error.args[0]} is there"
    for name, value in values.items():
        attribute = "private_pid_namespace" if name == "ownPids" else name
        if name in WHOLE and name != "version" and getattr(made, attribute) is not value:
            return f"the record has another {name}"
    made.pid = made.updated = copy.copy(made.startSteps)
    return ""


def _values(data: bytes) -> Any:
    """The text of a state.json if the bytes are one; else a whole state with the members that the bytes choose."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        pass
    values = copy.deepcopy(WHOLE)
    for name, value in zip(data[::2], data[1::2], strict=False):
        member = _NAMES[name % len(_NAMES)]
        if value == 255:
            values.pop(member, None)
        else:
            values[member] = _VALUES[value % len(_VALUES)]
    return values


def _is_right(values: dict[str, Any]) -> bool:
    """By the table of state.py. The C module leaves hooks and updates to it."""
    if values.get("hooks") != {} or values.get("updated") != {}:
        return False
    return all(name in values and is_right(values[name]) for name, is_right, _ in state._FIELDS)
