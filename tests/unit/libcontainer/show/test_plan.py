"""A plan as tree and JSON."""

from __future__ import annotations

import json

from pyrunc.libcontainer.plan.kinds import KINDS
from pyrunc.libcontainer.show import plan as show_plan
from tests.support.plans import GOLDEN, VARIED, compiled, with_process

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
    assert show_plan.tree(VARIED) == TREE


def test_json_has_the_keys_that_are_documented() -> None:
    value = json.loads(show_plan.as_json(VARIED))
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
        assert f"`{key}`" in (show_plan.__doc__ or "")


def test_json_numbers_the_steps_in_their_order() -> None:
    text = (GOLDEN / "default.json").read_text(encoding="utf-8")
    steps = json.loads(text)["steps"]
    assert [step["number"] for step in steps] == list(range(1, len(steps) + 1))


def test_an_alternative_after_another_step_says_what_it_is_for() -> None:
    plan = compiled(with_process(user={"uid": 5, "gid": 5}))
    assert "chdir: (on EACCES or EPERM) path=/" in show_plan.tree(plan)
