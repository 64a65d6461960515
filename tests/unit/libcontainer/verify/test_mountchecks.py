"""Mounts against the plan, in fake mount tables. Real ones: tests/integration/test_verify.py."""

from __future__ import annotations

import errno
import stat
from typing import Any

import pytest

from pyrunc.libcontainer.compile.launch import compile_launch
from pyrunc.libcontainer.plan.host import HostFacts
from pyrunc.libcontainer.plan.options import LaunchOptions
from pyrunc.libcontainer.verify import mountchecks
from pyrunc.libcontainer.verify.differences import Findings
from pyrunc.libcontainer.verify.expected import Expected
from pyrunc.libcontainer.verify.look import Look, Question
from tests.support.plans import minimal
from tests.support.records import record

DIRECTORY = stat.S_IFDIR | 0o755
ROOT = "1 0 8:1 / / rw,relatime - ext4 /dev/sda rw"


def _expected(mounts: list[dict[str, Any]], linux: dict[str, Any] | None = None, **changes: Any) -> Expected:
    spec = minimal(mounts=mounts, **changes)
    spec["linux"].update(linux or {})
    facts = HostFacts()
    plan = compile_launch(spec, LaunchOptions(id="box", command="run", cgroup_manager="disabled"), facts)
    return Expected(record(), spec, plan, facts)


def _found(wanted: Expected, lines: list[str], **places: Any) -> list[tuple[str, str, str]]:
    """The differences if the mount table has these lines. places: what is at a path, by its last name."""
    question = Question(-1, 1, [], "/")
    mountchecks.ask(wanted, question)
    table = [ROOT, *lines]
    answers = []
    for path, follow in question.paths:
        at = [line.split(" ")[0] for line in table if line.split(" ")[4] == path]
        there = {"mode": DIRECTORY, "path": path, "mount": int(at[-1]) if at else 1}
        answers.append([path, follow, {**there, **places.get(path.rpartition("/")[2], {})}])
    sources = [[path, follow, places.get("source", {"dev": 0, "ino": 0})] for path, follow in question.sources]
    answer = {"mountinfo": "\n".join(table), "places": answers, "sources": sources, "files": {}, "devices": {}}
    findings = Findings()
    maps = {kind: [(0, 1000, 10)] for kind in ("uid", "gid")}
    mountchecks.check(wanted, Look(answer, maps), findings)
    return [(entry.pointer, entry.expected, entry.found) for entry in findings.differences]


def _tmpfs(*options: str) -> Any:
    return {"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": list(options)}


def _line(
    options: str = "rw,relatime", fstype: str = "tmpfs", more: str = "rw", point: str = "/mnt", id: int = 2
) -> str:
    words, _, optional = options.partition(" ")
    return f"{id} 1 0:5 / {point} {words} {optional + ' ' if optional else ''}- {fstype} tmpfs {more}"


@pytest.mark.parametrize(
    ("options", "line", "expected"),
    [
        ([], _line(), []),
        ([], _line(fstype="ramfs"), [("/mounts/0", "tmpfs", "ramfs")]),
        (["nosuid"], _line(), [("/mounts/0/options", "rw,nosuid", "rw")]),
        ([], _line("ro,relatime"), [("/mounts/0/options", "rw", "ro")]),
        ([], _line("rw,noatime"), [("/mounts/0/options", "rw", "rw,noatime")]),
        (["strictatime"], _line("rw"), []),
        ([], _line("rw,relatime shared:5"), [("/mounts/0/options", "not shared", "shared")]),
        (["rshared"], _line("rw,relatime shared:5"), []),
        (["size=1m"], _line(more="rw,size=1024k"), []),
        (["size=1048577"], _line(more="rw,size=1028k"), []),
        (["size=1m"], _line(more="rw,size=2048k"), [("/mounts/0/options", "1m", "2048k")]),
        (["size=1m"], _line(), [("/mounts/0/options", "1m", "not set")]),
        (["size=50%"], _line(), []),
        (["mode=1777"], _line(), []),
        (["mode=0755"], _line(more="rw,mode=755"), []),
        (["mode=0755"], _line(more="rw,mode=700"), [("/mounts/0/options", "0755", "700")]),
        (["uid=3"], _line(more="rw,uid=1003"), []),
        (["uid=3"], _line(more="rw,uid=3"), [("/mounts/0/options", "3", "3")]),
        ([], _line(more="ro"), [("/mounts/0/options", "rw", "ro")]),
    ],
)
def test_a_file_system(options: list[str], line: str, expected: list[tuple[str, str, str]]) -> None:
    assert _found(_expected([_tmpfs(*options)]), [line]) == expected


def test_a_file_system_that_is_read_only_by_itself() -> None:
    mount = {"destination": "/mnt", "type": "overlay", "source": "overlay", "options": ["lowerdir=/a:/b"]}
    assert _found(_expected([mount]), [_line(fstype="overlay", more="ro")]) == []


def test_hidepid_by_number_or_name() -> None:
    mount = {"destination": "/mnt", "type": "proc", "source": "proc", "options": ["hidepid=2"]}
    assert _found(_expected([mount]), [_line(fstype="proc", more="rw,hidepid=invisible")]) == []
    assert len(_found(_expected([mount]), [_line(fstype="proc")])) == 1


def test_what_is_not_there() -> None:
    wanted = _expected([_tmpfs()])
    assert _found(wanted, []) == [("/mounts/0", "tmpfs", "no mount there, but what is mounted at /")]
    for error, words in ((errno.ENOENT, "nothing there"), (errno.EACCES, f"errno {errno.EACCES}")):
        assert _found(wanted, [], mnt={"error": error, "path": ""}) == [("/mounts/0", "tmpfs", words)]


def test_a_bind_mount_and_its_source() -> None:
    mount = {"destination": "/mnt", "source": "/source", "options": ["bind"]}
    wanted = _expected([mount])
    line = _line(fstype="ext4")
    here = {"dev": 5, "ino": 6}
    assert _found(wanted, [line], mnt=here, source=here) == []
    assert _found(wanted, [line], mnt=here, source={"dev": 5, "ino": 7}) == [
        ("/mounts/0/source", "/source", "another file than is there now")
    ]
    assert _found(wanted, [line], mnt=here, source={"error": 2}) == [
        ("/mounts/0/source", "/source", "bound, but the source is not there any more")
    ]
    inside = _expected([{**mount, "source": "rootfs/srv"}])
    inside.record.rootfs = inside.plan.init[0].pointer and "/rootfs"
    assert _found(inside, [line], mnt=here, source={"error": 2}) == []


def test_masks() -> None:
    wanted = _expected([], {"maskedPaths": ["/file", "/dir", "/none"]})
    null = {"mode": stat.S_IFCHR | 0o666, "rdev": (1, 3)}
    gone = {"error": errno.ENOENT}
    mask = _line("ro,relatime", point="/dir")
    assert _found(wanted, [mask], file=null, none=gone) == []
    assert _found(wanted, [], file={"mode": stat.S_IFREG}, none=gone) == [
        ("/linux/maskedPaths/0", "hidden", "a file"),
        ("/linux/maskedPaths/1", "hidden", "a directory of ext4"),
    ]
    other = {"mode": stat.S_IFCHR | 0o666, "rdev": (1, 5)}
    writable = _line("rw,relatime", point="/dir")
    assert _found(wanted, [writable], file=other, none=gone) == [
        ("/linux/maskedPaths/0", "hidden", "a char device"),
        ("/linux/maskedPaths/1", "hidden by a read-only tmpfs", "by one that is writable"),
    ]


def test_read_only_paths() -> None:
    wanted = _expected([], {"readonlyPaths": ["/path", "/none"]})
    gone = {"error": errno.ENOENT}
    assert _found(wanted, [_line("ro,relatime", "ext4", point="/path")], none=gone) == []
    assert _found(wanted, [_line("rw,relatime", "ext4", point="/path")], none=gone) == [
        ("/linux/readonlyPaths/0", "read-only", "writable")
    ]
    assert _found(wanted, [], none=gone) == [("/linux/readonlyPaths/0", "bound on itself, read-only", "no mount there")]
    mount = _expected([_tmpfs()], {"readonlyPaths": ["/mnt"]})
    assert _found(mount, [_line(), _line("ro,relatime", id=3)]) == []


def test_the_root() -> None:
    root = _expected([], root={"path": "rootfs", "readonly": True})
    assert _found(root, []) == [("/root/readonly", "read-only", "writable")]
    assert _found(_expected([], {"rootfsPropagation": "rshared"}), []) == [
        ("/linux/rootfsPropagation", "shared", "private")
    ]


def test_mounts_that_the_plan_does_not_have() -> None:
    wanted = _expected([{"destination": "/mnt", "source": "/source", "options": ["rbind"]}])
    lines = [_line(fstype="ext4"), _line(point="/mnt/below", id=3), _line(point="/other", id=4)]
    assert _found(wanted, lines) == [("/mounts", "none", "tmpfs, rw")]
    assert _found(wanted, [*lines[:2], _line("rw,relatime master:5", point="/other", id=4)]) == []
    assert _found(_expected([_tmpfs()]), [_line(), _line(id=3)]) == [("/mounts", "only those of the plan", "tmpfs, rw")]
