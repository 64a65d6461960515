"""Members that the specification requires and runc does not: with Go's decoder a missing member is 0.

Scripts written for runc leave them out, so `create` and `run` take them as 0 too, and `pyrunc validate` warns. Limits,
sizes and device numbers stay required: 0 would limit or name something that nobody meant.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any, Literal

    from ..._generated.spec_types import Process, Spec

_IDS = ("uid", "gid")
_FIRST_IDS = ("containerID", "hostID")
_SIDES = ("height", "width")
_MAPPINGS: tuple[Literal["uidMappings", "gidMappings"], ...] = ("uidMappings", "gidMappings")


def fill(spec: Spec) -> None:
    """Add the zeros to a spec of valid shape."""
    if "process" in spec:
        fill_process(spec["process"])
    for holder in (spec.get("linux") or {}, *(spec.get("mounts") or ())):
        if "uidMappings" in holder or "gidMappings" in holder:
            for entry in (*(holder.get("uidMappings") or ()), *(holder.get("gidMappings") or ())):
                entry.setdefault("containerID", 0)
                entry.setdefault("hostID", 0)


def fill_process(process: Process) -> None:
    """Add the zeros to a `process` of valid shape."""
    if "user" in process:
        process["user"].setdefault("uid", 0)
        process["user"].setdefault("gid", 0)
    if "consoleSize" in process:
        process["consoleSize"].setdefault("height", 0)
        process["consoleSize"].setdefault("width", 0)


def missing(spec: Mapping[str, Any]) -> Iterator[str]:
    """The pointers of the members that `fill` adds, and of ioPriority's priority. The spec may have any shape."""
    process = spec.get("process")
    if type(process) is dict:
        yield from _missing(process.get("user"), "/process/user", _IDS)
        yield from _missing(process.get("consoleSize"), "/process/consoleSize", _SIDES)
        yield from _missing(process.get("ioPriority"), "/process/ioPriority", ("priority",))
    mounts = spec.get("mounts")
    holders: list[tuple[str, Any]] = [("/linux", spec.get("linux"))]
    if type(mounts) is list:
        holders += [(f"/mounts/{index}", mount) for index, mount in enumerate(mounts)]
    for at, holder in holders:
        for field in _MAPPINGS if type(holder) is dict else ():
            entries = holder.get(field)
            for index, entry in enumerate(entries if type(entries) is list else ()):
                yield from _missing(entry, f"{at}/{field}/{index}", _FIRST_IDS)


def _missing(holder: Any, at: str, names: tuple[str, ...]) -> Iterator[str]:
    if type(holder) is dict:
        for name in names:
            if holder.get(name) is None:
                yield f"{at}/{name}"
