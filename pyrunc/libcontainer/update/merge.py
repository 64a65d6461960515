"""Merge changes into the resources of a container; both have the form of linux.resources. Pure."""

from __future__ import annotations

from ...errors import pointer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ..._generated.spec_types import Resources

    # An entry of a list, by its members' names.
    Entry = Mapping[str, Any]

# Lists of entries, and the fields that identify an entry.
_DEVICE = ("major", "minor")
_KEYS = {
    "weightDevice": _DEVICE,
    "throttleReadBpsDevice": _DEVICE,
    "throttleWriteBpsDevice": _DEVICE,
    "throttleReadIOPSDevice": _DEVICE,
    "throttleWriteIOPSDevice": _DEVICE,
    "hugepageLimits": ("pageSize",),
}

# Fields that 0 or "" does not change: engines send every field.
_UNSET = {
    "blockIO": ("leafWeight", "weight"),
    "cpu": ("cpus", "mems", "period", "quota", "realtimePeriod", "realtimeRuntime", "shares"),
    "memory": ("kernel", "kernelTCP", "limit", "reservation", "swap"),
    "pids": ("limit",),
}

# Fields that depend on each other: if one is named, all are written.
_TOGETHER = (("memory", ("limit", "swap")), ("cpu", ("quota", "period", "burst")))


def without_unset(changes: Resources) -> Resources:
    """The changes without fields that change nothing. As with runc, an unlimited memory makes swap unlimited too."""
    found: Any = {}  # filled by members' names, as are the others here
    members: Mapping[str, Any] = changes
    for name, value in members.items():
        asked = value
        if type(value) is dict:
            unset = _UNSET.get(name, ())
            asked = {field: item for field, item in value.items() if item or field not in unset}
        if asked or name == "devices":
            found[name] = asked
    memory = found.get("memory") or {}
    if memory.get("limit") == -1:
        found["memory"] = {"swap": -1, **memory}
    resources: Resources = found
    return resources


def merge(old: Resources, changes: Resources) -> Resources:
    """The resources after the changes; neither argument is altered.

    changes: the result of `without_unset`. Entries of lists replace those of the same device or page size. A change of
    cpu.shares ends cpu.idle and vice versa, because the kernel has no weight for SCHED_IDLE.
    """
    merged: Any = {**old}
    members: Mapping[str, Any] = changes
    for name, value in members.items():
        if name in _KEYS:
            merged[name] = _merged_entries(name, merged.get(name) or [], value)
        elif type(value) is dict:
            before = merged.get(name) or {}
            merged[name] = {**before, **value}
            for field in value.keys() & _KEYS.keys():
                merged[name][field] = _merged_entries(field, before.get(field) or [], value[field])
        else:
            merged[name] = value
    resources: Resources = merged
    cpu, changed = resources.get("cpu") or {}, changes.get("cpu") or {}
    if changed.get("idle") and "shares" not in changed:
        cpu.pop("shares", None)
    if changed.get("shares") and "idle" not in changed and cpu.get("idle"):
        cpu["idle"] = 0
    return resources


def _merged_entries(name: str, old: list[Entry], new: list[Entry]) -> list[Entry]:
    entries = {tuple([entry.get(field) for field in _KEYS[name]]): entry for entry in (*old, *new)}
    return list(entries.values())


def named_places(old: Resources, merged: Resources, changes: Resources) -> set[str]:
    """The JSON pointers, from the resources object, of the fields to write.

    Pointers of list entries have their index in `merged`. old: the resources before the changes.
    """
    places: set[str] = set()
    members: Mapping[str, Any] = changes
    results: Mapping[str, Any] = merged
    for name, value in members.items():
        if name in _KEYS:
            places |= _entry_places("/" + name, name, results[name], value)
        elif type(value) is dict:
            for field, item in value.items():
                if field in _KEYS:
                    places |= _entry_places(f"/{name}/{field}", field, results[name][field], item)
                else:
                    places.add(pointer(name, field))
    for name, fields in _TOGETHER:
        together = {pointer(name, field) for field in fields}
        if places & together:
            places |= together
    if (old.get("cpu") or {}).get("idle") != (merged.get("cpu") or {}).get("idle"):
        places.add("/cpu/idle")
    return places


def _entry_places(at: str, name: str, merged: list[Entry], new: list[Entry]) -> set[str]:
    keys = [tuple([entry.get(field) for field in _KEYS[name]]) for entry in merged]
    named = {tuple([entry.get(field) for field in _KEYS[name]]) for entry in new}
    return {f"{at}/{index}" for index, key in enumerate(keys) if key in named}


def is_named(place: str, places: set[str]) -> bool:
    """Whether the pointer of a write is one of `places`, or below one."""
    return place in places or place.rpartition("/")[0] in places
