"""Compare namespaces and their settings: id maps, clock offsets, the host name, sysctls, network devices."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ...errors import pointer
from . import processfiles

if TYPE_CHECKING:
    from typing import Literal

    from .differences import Findings
    from .expected import Expected
    from .look import Look, Question

    NamespaceType = Literal["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"]

_TYPES: tuple[NamespaceType, ...] = ("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")
_NAMES = {"hostname": "sys/kernel/hostname", "domainname": "sys/kernel/domainname"}
_DEVICES = "self/net/dev"


def ask(expected: Expected, question: Question) -> None:
    """Add the requests of `check_inside` to a question."""
    for step in expected.steps("hostname", "domainname"):
        question.files.add(_NAMES[step.kind])
    for step in expected.steps("sysctl"):
        question.files.add(f"sys/{step.args[0]}")
    if expected.linux.get("netDevices"):
        question.files.add(_DEVICES)


def check(expected: Expected, pid: int, findings: Findings) -> None:
    """Compare the namespaces by their identity, and the maps and offsets of new ones. Raises OSError."""
    listed = {entry["type"]: (index, entry) for index, entry in enumerate(expected.linux.get("namespaces") or ())}
    for type in _TYPES:
        try:
            found, own = processfiles.namespace(pid, type), processfiles.namespace("self", type)
        except FileNotFoundError:
            continue  # this kernel has no namespaces of this type
        what = f"{type} namespace"
        if type not in listed:
            if found != own:
                at = "/linux/namespaces"
                findings.differ(at, what, f"this command's, {own[1]}", f"another one, {found[1]}")
            continue
        index, entry = listed[type]
        at = f"/linux/namespaces/{index}"
        if entry.get("path"):
            _joined(at, what, entry["path"], found, findings)
        elif found == own:
            findings.differ(at, what, "one of the container's own", f"this command's, {own[1]}")
    if "user" in listed and not listed["user"][1].get("path"):
        _maps(expected, pid, findings)
    if "time" in listed and not listed["time"][1].get("path"):
        _offsets(expected, pid, findings)


def _joined(at: str, what: str, path: str, found: tuple[int, int], findings: Findings) -> None:
    try:
        there = os.stat(path)
    except OSError as error:
        findings.miss(f"{at}/path", what, f"{path}: {(error.strerror or '').lower()}")
        return
    if (there.st_dev, there.st_ino) != found:
        findings.differ(f"{at}/path", what, f"that of {path}, {there.st_ino}", f"another one, {found[1]}")


def _maps(expected: Expected, pid: int, findings: Findings) -> None:
    """Compare the lines of uid_map and gid_map in any order, with ids of this process's user namespace."""
    linux = expected.linux
    for kind, entries in (("uid", linux.get("uidMappings") or ()), ("gid", linux.get("gidMappings") or ())):
        wanted = sorted((entry["containerID"], entry["hostID"], entry["size"]) for entry in entries)
        found = sorted(processfiles.id_map(pid, kind))
        if wanted != found:
            shown = [", ".join("{} {} {}".format(*line) for line in lines) or "none" for lines in (wanted, found)]
            findings.differ(f"/linux/{kind}Mappings", f"{kind} mappings", *shown)


def _offsets(expected: Expected, pid: int, findings: Findings) -> None:
    text = processfiles.text(pid, "timens_offsets")
    if text is None:
        findings.miss("/linux/timeOffsets", "offsets of clocks", "/proc/PID/timens_offsets can't be read")
        return
    found = {name: (int(secs), int(nanosecs)) for name, secs, nanosecs in map(str.split, text.splitlines())}
    for clock in ("monotonic", "boottime"):
        offset = (expected.linux.get("timeOffsets") or {}).get(clock) or {}
        wanted = (offset.get("secs") or 0, offset.get("nanosecs") or 0)
        if clock in found and found[clock] != wanted:
            shown = ["{} s {} ns".format(*pair) for pair in (wanted, found[clock])]
            findings.differ(pointer("linux", "timeOffsets", clock), f"offset of the {clock} clock", *shown)


def check_inside(expected: Expected, seen: Look, findings: Findings) -> None:
    """Compare the settings that were read in the namespaces."""
    for step in expected.steps("hostname", "domainname"):
        _value(step.pointer, step.kind, str(step.args[0]), seen.files.get(_NAMES[step.kind]), findings)
    for step in expected.steps("sysctl"):
        path = str(step.args[0])
        name = "sysctl " + path.replace("/", ".")
        _value(step.pointer, name, str(step.args[1]), seen.files.get(f"sys/{path}"), findings)
    names = seen.files.get(_DEVICES)
    for name, device in (expected.linux.get("netDevices") or {}).items():
        inside = device.get("name") or name
        if names is not None and inside not in [line.partition(":")[0].strip() for line in names.splitlines()]:
            findings.differ(pointer("linux", "netDevices", name), f"network device {inside}", "there", "not there")


def _value(at: str, what: str, wanted: str, found: str | None, findings: Findings) -> None:
    if found is None:
        findings.miss(at, what, "it can't be read")
    elif found.split() != wanted.split():
        findings.differ(at, what, wanted, " ".join(found.split()))
