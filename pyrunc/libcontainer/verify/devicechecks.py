"""Compare device nodes and links in the container's /dev with its plan, and find other nodes."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from ...paths import clean
from . import processfiles

if TYPE_CHECKING:
    from ..plan.model import Step
    from .differences import Findings
    from .expected import Expected
    from .look import Look, Place, Question

_AT = "/linux/devices"
_LETTERS = {stat.S_IFCHR: "c", stat.S_IFBLK: "b", stat.S_IFIFO: "p"}


def ask(expected: Expected, question: Question) -> None:
    """Add the requests of `check` to a question."""
    for step in expected.steps("mknod", "bind_device", "symlink"):
        question.paths.add((str(step.arg("path")), False))
        if step.kind == "bind_device":
            question.sources.add((str(step.arg("source")), True))
    question.dev = expected.step("symlink") is not None  # without it /dev is the configuration's own
    if expected.step("console") is not None:
        question.paths.add(("/dev/console", False))


def check(expected: Expected, seen: Look, findings: Findings) -> None:
    """Compare the nodes and links."""
    known = set()
    groups: list[list[Step]] = []
    for step in expected.steps("mknod", "bind_device"):
        known.add(clean(str(step.arg("path"))))
        if step.fallback_level:
            groups[-1].append(step)
        else:
            groups.append([step])
    for group in groups:
        _node(group, seen, findings)
    for step in expected.steps("symlink"):
        path = str(step.arg("path"))
        known.add(clean(path))
        place = seen.place(path, False)
        found = f"a link to {place.link}" if place.link else place.type
        findings.compare(_AT, f"link {path}", f"a link to {step.arg('target')}", found)
    if expected.step("console") is not None and not stat.S_ISCHR(seen.place("/dev/console", False).mode):
        findings.differ("/process/terminal", "/dev/console", "the terminal", seen.place("/dev/console", False).type)
    for path, (mode, major, minor) in sorted(seen.devices.items()):
        if path not in known and path != "/dev/console":
            findings.differ(_AT, f"device {path}", "none", _text(mode, (major, minor)))


def _node(group: list[Step], seen: Look, findings: Findings) -> None:
    """Compare one node: a new one, or the bound node of the host."""
    step = group[0]
    path = str(step.arg("path"))
    place = seen.place(path, False)
    at, what = step.pointer or _AT, f"device {path}"
    for other in group:
        if other.kind == "bind_device" and seen.mount_at(place) is not None:
            source = seen.sources[str(other.arg("source")), True]
            if (source.mode, source.rdev) == (place.mode, place.rdev):
                return
    if step.kind == "bind_device":
        findings.differ(at, what, f"the host's {step.arg('source')}", _found(place))
        return
    mode, uid, gid = [int(str(step.arg(name))) for name in ("mode", "uid", "gid")]
    number = (int(str(step.arg("major"))), int(str(step.arg("minor"))))
    owner = (processfiles.translated(uid, seen.maps["uid"]), processfiles.translated(gid, seen.maps["gid"]))
    if stat.S_ISFIFO(mode):
        number = (0, 0)
    same = stat.S_IFMT(place.mode) == stat.S_IFMT(mode) and place.rdev == number
    under = seen.mount_of(place)
    if same and under is not None and under.point == "/":
        return  # one that the image brings is left as it is (step_mknod in csrc/steps_devices.c)
    if not same or place.mode != mode or (place.uid, place.gid) != owner:
        findings.differ(at, what, f"{_text(mode, number)} {owner[0]}:{owner[1]}", _found(place))


def _found(place: Place) -> str:
    if place.error or not place.mode:
        return "missing"
    if stat.S_IFMT(place.mode) not in _LETTERS:
        return f"a {place.type}"
    return f"{_text(place.mode, place.rdev)} {place.uid}:{place.gid}"


def _text(mode: int, number: tuple[int, int]) -> str:
    letter = _LETTERS.get(stat.S_IFMT(mode), "?")
    return f"{letter} {number[0]}:{number[1]} {stat.S_IMODE(mode):04o}"
