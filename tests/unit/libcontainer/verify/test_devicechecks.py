"""Nodes and links of a fake /dev."""

from __future__ import annotations

import errno
import stat
from typing import Any

from pyrunc.libcontainer.compile.launch import compile_launch
from pyrunc.libcontainer.plan.host import HostFacts
from pyrunc.libcontainer.plan.options import LaunchOptions
from pyrunc.libcontainer.verify import devicechecks
from pyrunc.libcontainer.verify.differences import Findings
from pyrunc.libcontainer.verify.expected import Expected
from pyrunc.libcontainer.verify.look import Look, Question
from tests.support.plans import minimal
from tests.support.records import record

DEVICE = {"path": "/dev/mine", "type": "b", "major": 8, "minor": 1, "fileMode": 0o640, "uid": 1, "gid": 2}
CHAR = stat.S_IFCHR | 0o666


def _expected(in_userns: bool = False) -> Expected:
    spec = minimal()
    spec["linux"]["devices"] = [DEVICE]
    facts = HostFacts(in_userns=in_userns)
    plan = compile_launch(spec, LaunchOptions(id="box", command="run", cgroup_manager="disabled"), facts)
    return Expected(record(), spec, plan, facts)


def _found(wanted: Expected, changes: dict[str, dict[str, Any]], point: str = "/dev", **more: Any) -> list[Any]:
    """The differences of a /dev that is correct except at these places."""
    question = Question(-1, 1, [], "/")
    devicechecks.ask(wanted, question)
    links = {str(step.arg("path")): step.arg("target") for step in wanted.steps("symlink")}
    nodes = {str(step.arg("path")): step for step in wanted.steps("mknod")}
    places = []
    for path, follow in question.paths:
        place: Any = {"path": path, "mount": 2, "uid": 1000, "gid": 1000}
        if path in links:
            place.update(mode=stat.S_IFLNK | 0o777, link=links[path])
        elif path in nodes:
            step = nodes[path]
            place.update(mode=step.arg("mode"), rdev=(step.arg("major"), step.arg("minor")))
        if path == "/dev/mine":
            place.update(uid=1001, gid=1002)
        places.append([path, follow, {**place, **changes.get(path, {})}])
    answer = {
        "mountinfo": f"2 1 0:5 / {point} rw,relatime - tmpfs tmpfs rw", "places": places, "files": {},
        "sources": [[path, follow, {"mode": CHAR, "rdev": (1, 3)}] for path, follow in question.sources],
        "devices": {}, **more,
    }  # fmt: skip
    assert question.dev
    findings = Findings()
    devicechecks.check(wanted, Look(answer, {kind: [(0, 1000, 10)] for kind in ("uid", "gid")}), findings)
    return [(entry.pointer, entry.what, entry.expected, entry.found) for entry in findings.differences]


def test_what_differs_of_a_node() -> None:
    wanted = _expected()
    assert _found(wanted, {}) == []
    right = "b 8:1 0640 1001:1002"
    for change, found in (
        ({"mode": stat.S_IFBLK | 0o660}, "b 8:1 0660 1001:1002"),
        ({"uid": 0}, "b 8:1 0640 0:1002"),
        ({"rdev": (8, 2)}, "b 8:2 0640 1001:1002"),
        ({"mode": stat.S_IFCHR | 0o640}, "c 8:1 0640 1001:1002"),
        ({"mode": stat.S_IFIFO | 0o640, "rdev": (0, 0)}, "p 0:0 0640 1001:1002"),
        ({"mode": stat.S_IFREG | 0o640}, "a file"),
        ({"error": errno.ENOENT, "mode": 0, "rdev": (0, 0)}, "missing"),
    ):
        assert _found(wanted, {"/dev/mine": change}) == [("/linux/devices/0", "device /dev/mine", right, found)]


def test_a_node_that_the_image_brings_keeps_its_mode() -> None:
    change = {"mode": stat.S_IFBLK | 0o600, "uid": 7}
    assert _found(_expected(), {"/dev/mine": change}, "/") == []
    assert len(_found(_expected(), {"/dev/mine": {"rdev": (8, 2)}}, "/")) == 1


def test_the_default_devices_and_links() -> None:
    wanted = _expected()
    assert _found(wanted, {"/dev/null": {"rdev": (1, 5)}}) == [
        ("/linux/devices", "device /dev/null", "c 1:3 0666 1000:1000", "c 1:5 0666 1000:1000")
    ]
    assert _found(wanted, {"/dev/fd": {"link": "/etc"}, "/dev/ptmx": {"mode": CHAR, "link": ""}}) == [
        ("/linux/devices", "link /dev/fd", "a link to /proc/self/fd", "a link to /etc"),
        ("/linux/devices", "link /dev/ptmx", "a link to pts/ptmx", "char device"),
    ]


def test_a_node_that_the_plan_does_not_have() -> None:
    nodes = {"/dev/mem": [stat.S_IFCHR | 0o640, 1, 1], "/dev/null": [CHAR, 1, 3], "/dev/console": [CHAR, 5, 1]}
    assert _found(_expected(), {}, devices=nodes) == [("/linux/devices", "device /dev/mem", "none", "c 1:1 0640")]


def test_a_device_that_is_bound() -> None:
    wanted = _expected(in_userns=True)
    paths = [str(step.arg("path")) for step in wanted.steps("bind_device")]
    bound = {path: {"mode": CHAR, "rdev": (1, 3), "mount": 5} for path in paths}
    table = "\n".join(
        [
            "2 1 0:5 / /dev rw - tmpfs tmpfs rw",
            *[f"{number} 2 0:5 / {path} rw - tmpfs tmpfs rw" for number, path in enumerate(paths, 5)],
        ]
    )
    for number, path in enumerate(paths, 5):
        bound[path]["mount"] = number
    assert _found(wanted, bound, mountinfo=table) == []
    bound["/dev/mine"]["rdev"] = (1, 5)
    bound["/dev/zero"]["mount"] = 2
    found = _found(wanted, bound, mountinfo=table)
    assert sorted((pointer, what, right) for pointer, what, right, _ in found) == [
        ("/linux/devices", "device /dev/zero", "the host's /dev/zero"),
        ("/linux/devices/0", "device /dev/mine", "the host's /dev/mine"),
    ]
