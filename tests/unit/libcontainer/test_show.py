"""A plan as table, tree, JSON and difference."""

from __future__ import annotations

import json

import pytest

from pyrunc.libcontainer import show
from pyrunc.libcontainer.plan import LaunchPlan, Step
from pyrunc.libcontainer.stepkinds import KINDS
from tests.support.plans import CASES, GOLDEN, compiled, minimal, with_linux, with_process

PLAN = LaunchPlan(
    (Step("prepare", "state_dir", ("/run/x",)), Step("clone", "clone", (0x20000000, "", ()), "/linux/namespaces")),
    (
        Step("namespaces", "request", ("maps",), "/linux/namespaces/0"),
        Step("rootfs", "mknod", ("/dev/null", 0o20666, 1, 3, 0, 0), on_errno=(1,)),
        Step("rootfs", "bind_device", ("/dev/null", "/dev/null"), level=1, on_errno=(13, 2)),
        Step("rootfs", "symlink", ("a b", "/x"), level=2),
        Step("start", "execute", (("sh", "-c", "x" * 200), ()), "/process/args"),
    ),
    {"maps": (Step("namespaces", "write_map", ("uid_map", ("0 1 2",)), "/linux/uidMappings"),)},
    warnings=("mind this",),
    notes=("that is so",),
)

TREE = f"""\
prepare
    state_dir: path=/run/x  [runtime]
clone
    clone: flags=CLONE_NEWPID  [runtime]  <- /linux/namespaces
namespaces
    request: what=maps  <- /linux/namespaces/0
        write_map: file=uid_map lines="0 1 2"  [runtime]  <- /linux/uidMappings
rootfs
    mknod: path=/dev/null mode=c 0666 major=1 minor=3 uid=0 gid=0
        bind_device: (on EPERM) source=/dev/null path=/dev/null
            symlink: (on EACCES or ENOENT) target="a b" path=/x
start
    execute: args=sh -c {"x" * 200}  <- /process/args
note: that is so
warning: mind this
"""


def test_tree() -> None:
    assert show.tree(PLAN) == TREE


def test_table() -> None:
    lines = show.table(PLAN).splitlines()
    assert lines[0].split() == ["PHASE", "#", "ACTOR", "STEP", "CALL", "FIELD", "ARGUMENTS"]
    assert lines[1].split() == ["prepare", "1", "runtime", "state_dir", "mkdir", "-", "path=/run/x"]
    assert lines[3].split()[:4] == ["namespaces", "3", "init", "request"]
    assert lines[4].split()[:3] == ["4", "runtime", "write_map"]
    assert lines[6].split()[1:6] == ["init", "or", "bind_device", "open_tree+move_mount", "-"]
    assert "(on EPERM) source=/dev/null" in lines[6]
    assert lines[7].split()[1:5] == ["init", "or", "or", "symlink"]
    assert lines[8].endswith("x…")
    assert lines[-1] == "warning: mind this"


@pytest.mark.parametrize("name", CASES)
def test_the_table_s_columns_are_aligned(name: str) -> None:
    lines = [line for line in show.table(CASES[name]()).splitlines() if not line.startswith(("note: ", "warning: "))]
    starts = [lines[0].index(heading) for heading in ("ACTOR", "STEP", "CALL", "FIELD")]
    for line in lines[1:]:
        for start in starts:
            assert line[start - 2 : start] == "  "
            assert line[start] != " "
        assert len(line) < 240


def test_json_has_the_keys_that_are_documented() -> None:
    value = json.loads(show.as_json(PLAN))
    assert list(value) == ["terminal", "notes", "warnings", "steps", "problems"]
    assert value["notes"] == ["that is so"]
    assert value["warnings"] == ["mind this"]
    assert value["steps"][4] == {
        "number": 5,
        "phase": "rootfs",
        "actor": "init",
        "kind": "mknod",
        "call": "mknodat",
        "does": KINDS["mknod"].doc,
        "args": {"path": "/dev/null", "mode": 0o20666, "major": 1, "minor": 3, "uid": 0, "gid": 0},
        "pointer": "",
        "serves": "",
        "level": 0,
        "onErrno": ["EPERM"],
    }
    assert value["steps"][3]["serves"] == "maps"
    assert value["steps"][5]["onErrno"] == ["EACCES", "ENOENT"]
    for key in value["steps"][0]:
        assert f"`{key}`" in (show.__doc__ or "")


def test_json_numbers_the_steps_in_their_order() -> None:
    text = (GOLDEN / "default.json").read_text(encoding="utf-8")
    steps = json.loads(text)["steps"]
    assert [step["number"] for step in steps] == list(range(1, len(steps) + 1))


def test_an_alternative_after_another_step_says_what_it_is_for() -> None:
    plan = compiled(with_process(user={"uid": 5, "gid": 5}))
    assert "chdir: (on EACCES or EPERM) path=/" in show.tree(plan)


def test_no_difference() -> None:
    assert show.diff(compiled(minimal()), compiled(minimal())) == ""


def test_a_change() -> None:
    old, new = (with_linux("uts") for _ in range(2))
    old["hostname"], new["hostname"] = "a", "b"
    assert show.diff(compiled(old), compiled(new)) == (
        "@@ namespaces @@\n- hostname name=a <- /hostname\n+ hostname name=b <- /hostname\n"
    )


def test_what_is_added_and_removed() -> None:
    old = minimal(mounts=[{"destination": "/a", "type": "tmpfs"}, {"destination": "/b", "type": "proc"}])
    new = minimal(mounts=[{"destination": "/c", "type": "tmpfs"}, {"destination": "/b", "type": "proc"}])
    assert show.diff(compiled(old), compiled(new)).splitlines() == [
        "@@ rootfs @@",
        "- mount fstype=tmpfs source=tmpfs target=/a <- /mounts/0",
        "+ mount fstype=tmpfs source=tmpfs target=/c <- /mounts/0",
    ]


def test_a_step_whose_index_moved_has_not_changed() -> None:
    old = minimal(mounts=[{"destination": "/b", "type": "proc"}])
    new = minimal(mounts=[{"destination": "/a", "type": "tmpfs"}, {"destination": "/b", "type": "proc"}])
    assert show.diff(compiled(old), compiled(new)).splitlines() == [
        "@@ rootfs @@",
        "+ mount fstype=tmpfs source=tmpfs target=/a <- /mounts/0",
    ]


def test_an_alternative_that_came_and_one_that_went() -> None:
    root, user = compiled(minimal()), compiled(with_process(user={"uid": 1, "gid": 0}))
    assert "+ or chdir (on EACCES or EPERM) path=/ <- /process/cwd" in show.diff(root, user).splitlines()
    assert "- or chdir (on EACCES or EPERM) path=/ <- /process/cwd" in show.diff(user, root).splitlines()
