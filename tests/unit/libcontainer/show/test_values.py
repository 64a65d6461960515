"""The values in a plan's steps, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pyrunc.libcontainer.plan.model import Step
from pyrunc.libcontainer.show import values as show_values
from tests.support.plans import CASES

if TYPE_CHECKING:
    from pyrunc.libcontainer.plan.model import Arg

INFINITY = (1 << 64) - 1


@pytest.mark.parametrize(
    ("kind", "args", "shown"),
    [
        ("clone", (0x20020000, "/c", ("user=namespace:user",)), "flags=CLONE_NEWNS|CLONE_NEWPID cgroup=/c"
         " join=user=namespace:user"),
        ("clone", (0, "", ()), ""),
        ("unshare", (0x80,), "flags=CLONE_NEWTIME"),
        ("propagation", (1 << 19, 1), "flag=MS_SLAVE recursive=1"),
        ("root_propagation", (1 << 20, 0), "flag=MS_SHARED"),
        ("mknod", ("/dev/x", 0o60600, 8, 0, 1, 2), "path=/dev/x mode=b 0600 major=8 minor=0 uid=1 gid=2"),
        ("remount", ("/m", 0x21, 0x70, 0x200000, 0, 0x44000),
         "target=/m attr_set=MOUNT_ATTR_RDONLY|MOUNT_ATTR_STRICTATIME attr_clr=MOUNT_ATTR__ATIME"
         " rattr_set=MOUNT_ATTR_NOSYMFOLLOW propagation=MS_PRIVATE|MS_REC"),
        ("umask", (0o22,), "mask=0022"),
        ("rlimit", (7, 1024, INFINITY), "resource=RLIMIT_NOFILE soft=1024 hard=unlimited"),
        ("prlimit", (99, 0, 1), "resource=99 soft=0 hard=1"),
        ("bounding", (0,), "keep=none"),
        ("bounding", ((1 << 41) - 1,), "keep=all"),
        ("capabilities", (1, 1 << 21, 1 << 50),
         "effective=CAP_CHOWN permitted=CAP_SYS_ADMIN inheritable=0x4000000000000"),
        ("seal_mount", (1, 1), "keep=1 attr_set=MOUNT_ATTR_RDONLY"),
        ("execute", (("sh", "-c", 'echo "a b"'), ("A=",)), 'args=sh -c "echo \\"a b\\"" env=A='),
        ("container_hook", ("h", 0, "/h", ("/h",), (), 0, "{", "}", None, None, "", 0),
         "hook=h index=0 path=/h args=/h state_head={ state_tail=} home=0"),
        ("await_start", (None,), ""),
        ("user", (0, 0, (), 0), "uid=0 gid=0 set_groups=0"),
        ("hostname", ("tab\there",), 'name="tab\\there"'),
    ],
)  # fmt: skip
def test_arguments(kind: str, args: tuple[Arg, ...], shown: str) -> None:
    words = show_values.arguments(Step("rootfs", kind, args))
    assert " ".join([f"{name}={value}" for name, value in words]) == shown


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (1, "ONE"), (3, "ONE|TWO"), (4, "0x4"), (6, "TWO|0x4")])
def test_flags(value: int, text: str) -> None:
    assert show_values.flags(value, {1: "ONE", 2: "TWO"}) == text


def test_errnos() -> None:
    assert show_values.errnos(()) == ""
    assert show_values.errnos((1, 16)) == "EPERM or EBUSY"
    assert show_values.errnos((4095,)) == "4095"


@pytest.mark.parametrize("name", CASES)
def test_no_argument_of_a_plan_breaks_its_line(name: str) -> None:
    for step in CASES[name]().steps():
        for _, text in show_values.arguments(step):
            assert text.isprintable()
