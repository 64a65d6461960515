"""Change the limits of a container's scope: read and set its properties. Cold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import PyruncError
from ..cgroup.resources import Write
from ..plan.host import SystemdFacts
from . import gvariant, properties
from .manager import Manager, version


def limit_properties(writes: Sequence[Write], systemd: dict[str, Any]) -> tuple[list[Write], list[str]]:
    """The writes with systemd's rounding, and the equivalent properties.

    systemd: `unit` and `user`, from the container's record. Raises PyruncError if systemd can't be reached.
    """
    with Manager(systemd["user"]) as manager:
        facts = SystemdFacts(user=systemd["user"], version=version(str(manager.get("Version"))))
    made = properties.rounded(writes)
    return made, properties.limit_properties(made, facts)


def previous(unit: str, user: bool, wanted: Sequence[str]) -> tuple[str, ...]:
    """The unit's values of the properties in `wanted`, in the form of properties.py. Raises PyruncError."""
    with Manager(user) as manager:
        return tuple([f"{name}={_text(*manager.unit_property(unit, name))}" for name, _, _ in _parted(wanted)])


def set_properties(unit: str, user: bool, wanted: Sequence[str]) -> None:
    """Change properties of the unit until it ends. Raises PyruncError.

    A list is emptied first: systemd appends to it.
    """
    values = []
    for name, equals, text in _parted(wanted):
        if text.startswith("@a(st)"):
            values += properties.typed([f"{name}=@a(st) []"])
        values += properties.typed([name + equals + text])
    with Manager(user) as manager:
        manager.set_unit_properties(unit, values)


def _parted(texts: Sequence[str]) -> list[tuple[str, str, str]]:
    return [text.partition("=") for text in texts]


def _text(signature: str, value: Any) -> str:
    """A property's value as GVariant text. Raises PyruncError for a type that no limit has."""
    if signature == "t":
        return f"uint64 {value}"
    if signature == "s":
        return gvariant.quote(value)
    if signature == "ay":
        return f"@ay [{', '.join([str(byte) for byte in value])}]"
    if signature == "a(st)":
        return f"@a(st) [{', '.join([f'({gvariant.quote(path)}, {number})' for path, number in value])}]"
    raise PyruncError(f"systemd answers with a value of the type {signature}, which no limit has")
