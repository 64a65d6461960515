"""The mounts that a plan makes."""

from __future__ import annotations

from typing import Any

import pytest

from pyrunc.libcontainer.compile.launch import compile_launch
from pyrunc.libcontainer.kernel.constants import (
    MOUNT_ATTR_ATIME,
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_STRICTATIME,
    MS_PRIVATE,
    MS_SHARED,
    MS_SLAVE,
    MS_UNBINDABLE,
)
from pyrunc.libcontainer.plan.host import HostFacts
from pyrunc.libcontainer.plan.options import LaunchOptions
from pyrunc.libcontainer.verify import mountplan
from pyrunc.libcontainer.verify.mountplan import MASK, Wanted
from tests.support.plans import minimal


def _wanted(*mounts: Any, **facts: Any) -> list[Wanted]:
    spec = minimal(mounts=list(mounts))
    options = LaunchOptions(id="box", command="run", cgroup_manager="disabled", rootless=facts.pop("rootless", None))
    return mountplan.wanted_mounts(compile_launch(spec, options, HostFacts(**facts)).init)


def _tmpfs(*options: str, at: str = "/mnt") -> Any:
    return {"destination": at, "type": "tmpfs", "source": "tmpfs", "options": list(options)}


def _bind(*options: str, at: str = "/mnt") -> Any:
    return {"destination": at, "source": "/source", "options": ["bind", *options]}


def test_a_new_file_system_has_the_flags_that_were_given_and_no_others() -> None:
    (wanted,) = _wanted(_tmpfs("nosuid", "noexec", "size=1m"))
    (variant,) = wanted.variants
    assert (wanted.pointer, wanted.target, variant.fstype) == ("/mounts/0", "/mnt", "tmpfs")
    assert variant.set == MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC
    assert variant.clear & (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV) == MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV
    assert variant.clear & variant.set == 0
    assert variant.options == ("size=1m",)


def test_a_tmpfs_becomes_read_only_at_the_end() -> None:
    first, second = _wanted(_tmpfs("ro"), _tmpfs("ro", at="/other"))
    for wanted in (first, second):
        assert wanted.variants[0].set & MOUNT_ATTR_RDONLY
        assert not wanted.variants[0].clear & MOUNT_ATTR_RDONLY


def test_a_bind_mount_has_what_its_options_say() -> None:
    (wanted,) = _wanted(_bind("ro", "rnodev"))
    (variant,) = wanted.variants
    assert (variant.fstype, variant.source, variant.recursive) == ("", "/source", False)
    assert variant.set == MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV
    assert variant.clear & MOUNT_ATTR_NOSUID
    assert _wanted(_bind())[0].variants[0].clear == 0
    assert _wanted({**_bind(), "options": ["rbind"]})[0].variants[0].recursive


def test_access_times() -> None:
    (variant,) = _wanted(_bind("noatime"))[0].variants
    assert variant.set & MOUNT_ATTR_ATIME == MOUNT_ATTR_NOATIME
    assert variant.clear & MOUNT_ATTR_ATIME == MOUNT_ATTR_ATIME & ~MOUNT_ATTR_NOATIME
    wanted = _wanted(_tmpfs("noatime"), {"destination": "/mnt", "options": ["remount", "strictatime"]})[0]
    assert wanted.variants[0].set & MOUNT_ATTR_ATIME == MOUNT_ATTR_STRICTATIME
    assert not wanted.variants[0].clear & MOUNT_ATTR_STRICTATIME


def test_a_remount_changes_the_last_mount_there() -> None:
    mounts = _tmpfs(), _bind(), {"destination": "/mnt/", "options": ["remount", "ro", "private"]}
    first, second = _wanted(*mounts)
    assert not first.variants[0].set & MOUNT_ATTR_RDONLY
    assert second.variants[0].set & MOUNT_ATTR_RDONLY
    assert second.propagation == [MS_PRIVATE]
    assert _wanted({"destination": "/nowhere", "options": ["remount", "ro"]}) == []


def test_alternatives_are_variants() -> None:
    mount = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}
    (wanted,) = _wanted(mount, rootless=True)
    assert [variant.fstype for variant in wanted.variants] == ["cgroup2", "cgroup2", MASK]
    assert _wanted(_tmpfs("slave", "shared"))[0].propagation == [MS_SLAVE, MS_SHARED]


def test_what_may_be_locked_is_not_expected() -> None:
    (wanted,) = _wanted(_bind("rw", "noatime"), euid=0, in_userns=True)
    assert not wanted.variants[-1].clear & MOUNT_ATTR_RDONLY
    for variant in wanted.variants:
        assert not (variant.set | variant.clear) & MOUNT_ATTR_ATIME


def test_symlinks() -> None:
    plain, nofollow, copy = _wanted(_bind(), _bind("dest-nofollow"), _bind("copy-symlink"))
    assert (plain.follow, nofollow.follow, copy.follow) == (True, False, False)
    assert (plain.is_copy, nofollow.is_copy, copy.is_copy) == (False, False, True)


def test_what_a_later_mount_covers() -> None:
    wanted = _wanted(_tmpfs(at="/a/b"), _tmpfs(at="/ab"), _tmpfs(at="/a"), _tmpfs(at="/a/c"))
    assert [mountplan.covered(wanted, index) for index in range(4)] == [True, False, False, False]
    assert mountplan.is_at_or_below("/x/../a/b", ["/a"])
    assert not mountplan.is_at_or_below("/ab", ["/a"])
    assert mountplan.is_at_or_below("/ab", ["/"])


@pytest.mark.parametrize(
    ("flags", "found", "told"),
    [
        ([], "", None),
        ([], "master", None),
        ([], "shared", ("not shared", "shared")),
        ([MS_SHARED], "shared", None),
        ([MS_SHARED], "", ("shared", "private")),
        ([MS_SLAVE, MS_SHARED], "shared master", None),
        ([MS_PRIVATE], "", None),
        ([MS_PRIVATE], "master", ("private", "slave")),
        ([MS_SLAVE], "", None),
        ([MS_SLAVE], "shared", ("slave", "shared")),
        ([MS_UNBINDABLE], "unbindable", None),
        ([MS_UNBINDABLE], "", ("unbindable", "private")),
    ],
)
def test_propagation(flags: list[int], found: str, told: tuple[str, str] | None) -> None:
    assert mountplan.propagation_text(flags, frozenset(found.split())) == told
