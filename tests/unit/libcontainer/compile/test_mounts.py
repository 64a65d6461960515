"""The steps of the configuration's mounts."""

from __future__ import annotations

import errno
import sys
from typing import Any

import pytest

from pyrunc.libcontainer.compile.constants import MOUNT_ATTR_NOSYMFOLLOW, MS_PRIVATE, MS_REC, MS_SHARED, MS_SLAVE
from pyrunc.libcontainer.host import HostFacts
from pyrunc.libcontainer.plan import LaunchPlan, Step
from pyrunc.report import PyruncError
from tests.support.plans import compiled, find, kinds, minimal, values, with_linux

RDONLY, NOSUID, NODEV, NOEXEC = 1, 2, 4, 8
LOCKABLE = RDONLY | NOSUID | NODEV | NOEXEC
MAPS = [{"containerID": 0, "hostID": 1000, "size": 1}]


def mount(destination: str = "/m", *options: str, **members: Any) -> dict[str, Any]:
    return {"destination": destination, "options": list(options), **members}


def plan_of(
    *mounts: dict[str, Any], facts: HostFacts | None = None, types: tuple[str, ...] = (), **options: Any
) -> LaunchPlan:
    spec = with_linux(*types)
    spec["mounts"] = list(mounts)
    return compiled(spec, facts, **options)


def mounting(plan: LaunchPlan) -> list[Step]:
    return find(plan, "mount", "bind", "remount")


def test_mounts_are_made_in_listed_order() -> None:
    plan = plan_of(
        mount("/b", type="tmpfs"), mount("/a", "bind", source="/srv"), mount("/c", type="proc"), mount("/a", "remount")
    )
    assert [(step.kind, step.arg("target"), step.pointer) for step in mounting(plan)] == [
        ("mount", "/b", "/mounts/0"),
        ("bind", "/a", "/mounts/1"),
        ("mount", "/c", "/mounts/2"),
        ("remount", "/a", "/mounts/3"),
    ]


def test_a_relative_destination_counts_from_the_root() -> None:
    assert values(mounting(plan_of(mount("data", type="tmpfs")))[0], "target") == ("/data",)


@pytest.mark.parametrize(("source", "path"), [("data", "/bundle/data"), ("/data", "/data"), ("../d", "/bundle/../d")])
def test_a_relative_bind_source_counts_from_the_bundle(source: str, path: str) -> None:
    assert values(mounting(plan_of(mount("/m", "bind", source=source)))[0], "source") == (path,)


@pytest.mark.parametrize(
    ("members", "recursive"),
    [
        ({"options": ["bind"], "type": "tmpfs"}, 0),
        ({"options": ["rbind"], "type": "none"}, 1),
        ({"options": ["rbind"]}, 1),
        ({"options": [], "type": "bind"}, 0),
    ],
)
def test_what_is_a_bind_mount(members: dict[str, Any], recursive: int) -> None:
    step = mounting(plan_of({"destination": "/m", "source": "/srv", **members}))[0]
    assert step.kind == "bind"
    assert step.arg("recursive") == recursive


def test_the_source_of_a_file_system_is_its_type_where_there_is_none() -> None:
    assert values(mounting(plan_of(mount(type="tmpfs")))[0], "source") == ("tmpfs",)
    assert values(mounting(plan_of(mount(type="tmpfs", source="shm")))[0], "source") == ("shm",)


@pytest.mark.parametrize(
    ("type", "options", "data", "attr_set"),
    [
        ("tmpfs", ["size=1m", "nosuid", "mode=755"], ("size=1m", "mode=755"), NOSUID),
        ("tmpfs", ["size=1m,mode=755,"], ("size=1m", "mode=755"), 0),
        ("tmpfs", ["mode=755", "sync"], ("sync", "mode=755"), 0),
        ("tmpfs", [""], (), 0),
        ("ext4", ["ro", "noload"], ("ro", "noload"), RDONLY),
        ("ext4", ["ro", "rw"], (), 0),
        ("proc", ["ro", "hidepid=2"], ("hidepid=2",), RDONLY),
        ("tmpfs", ['context="a:b:s0:c1,c2"'], ("context=a:b:s0:c1,c2",), 0),
        ("overlay", ["lowerdir=/a\\,b,upperdir=/c"], ("lowerdir=/a\\,b,upperdir=/c",), 0),
        ("overlay", ["lowerdir=/a:/b,upperdir=/c"], ("lowerdir=/a:/b", "upperdir=/c"), 0),
    ],
)
def test_options_of_a_file_system(type: str, options: list[str], data: tuple[str, ...], attr_set: int) -> None:
    step = mounting(plan_of(mount("/m", *options, type=type)))[0]
    assert values(step, "options", "attr_set") == (data, attr_set)


def test_recursive_options_and_propagation() -> None:
    first, second = mounting(plan_of(mount("/m", "rro", "rexec", "rslave", "shared", type="tmpfs")))
    assert values(first, "rattr_set", "rattr_clr", "propagation") == (RDONLY, NOEXEC, MS_SLAVE | MS_REC)
    assert (second.kind, second.args) == ("remount", ("/m", 0, 0, 0, 0, MS_SHARED))


@pytest.mark.parametrize(
    ("destination", "type", "kept"),
    [("/tmp", "tmpfs", True), ("/dev", "devtmpfs", True), ("/dev/", "tmpfs", True), ("/proc", "proc", False)],
)
def test_what_becomes_read_only_last(destination: str, type: str, kept: bool) -> None:
    """Later mounts and the devices still need their targets made in it."""
    plan = plan_of(mount(destination, "ro", "nosuid", type=type))
    made = mounting(plan)[0]
    assert values(made, "attr_set", "keep") == ((NOSUID, 1) if kept else (RDONLY | NOSUID, 0))
    assert [(step.args, step.pointer) for step in find(plan, "seal_mount")] == (
        [((1, RDONLY), "/mounts/0")] if kept else []
    )
    if kept:
        assert kinds(plan).index("make_cwd") < kinds(plan).index("seal_mount") < kinds(plan).index("pivot_root")


def test_each_kept_mount_has_its_register() -> None:
    plan = plan_of(*(mount(f"/{n}", "ro", type="tmpfs") for n in range(63)))
    assert [step.arg("keep") for step in mounting(plan)] == list(range(1, 64))
    assert [step.arg("keep") for step in find(plan, "seal_mount")] == list(range(1, 64))
    with pytest.raises(PyruncError) as caught:
        plan_of(*(mount(f"/{n}", "ro", type="tmpfs") for n in range(64)))
    assert caught.value.pointer == "/mounts/63"


def test_tmpcopyup() -> None:
    assert values(mounting(plan_of(mount("/m", "tmpcopyup", type="tmpfs")))[0], "copyup") == (1,)
    for members in ({"type": "proc"}, {"type": "bind", "source": "/srv"}):
        with pytest.raises(PyruncError, match="tmpcopyup"):
            plan_of(mount("/m", "tmpcopyup", **members))


def test_a_bind_mount_without_flags_keeps_its_source_s() -> None:
    step = mounting(plan_of(mount("/m", "rbind", "rprivate", source="/srv")))[0]
    assert values(step, "attr_set", "attr_clr", "propagation") == (0, 0, MS_PRIVATE | MS_REC)


def test_a_bind_mount_with_a_flag_has_only_the_named_ones() -> None:
    step = mounting(plan_of(mount("/m", "bind", "ro", "exec", source="/srv")))[0]
    assert values(step, "attr_set", "attr_clr") == (RDONLY, NOSUID | NODEV | NOEXEC | MOUNT_ATTR_NOSYMFOLLOW)
    assert (step.level, step.on_errno) == (0, ())


def test_locked_flags_stay_where_the_runtime_is_in_a_user_namespace() -> None:
    plan = plan_of(mount("/m", "bind", "ro", "dev", source="/srv"), facts=HostFacts(in_userns=True))
    first, second = mounting(plan)
    assert values(first, "attr_clr") == (NOSUID | NODEV | NOEXEC | MOUNT_ATTR_NOSYMFOLLOW,)
    assert first.on_errno == (errno.EPERM,)
    assert values(second, "attr_clr") == (NODEV | MOUNT_ATTR_NOSYMFOLLOW,)
    assert second.level == 1


def test_in_a_user_namespace_the_runtime_s_descriptor_is_the_second_choice() -> None:
    plan = plan_of(mount("/m", "rbind", "ro", "rprivate", source="/srv"), types=("user",))
    assert [step.args for step in find(plan, "open_source")] == [("source:0", "/srv", 1)]
    first, second = mounting(plan)
    assert values(first, "source_fd", "attr_clr") == (None, MOUNT_ATTR_NOSYMFOLLOW)
    assert first.on_errno == (errno.EACCES,)
    assert values(second, "source_fd", "attr_clr", "propagation") == (
        "source:0",
        MOUNT_ATTR_NOSYMFOLLOW,
        MS_PRIVATE | MS_REC,
    )
    assert second.level == 1


@pytest.mark.parametrize("words", [[], ["private"], ["shared"], ["rshared"], ["slave"]])
def test_a_mount_by_the_runtime_s_descriptor_is_no_peer_of_the_host_s(words: list[str]) -> None:
    plan = plan_of(mount("/m", "bind", *words, source="/srv"), types=("user",))
    binds = find(plan, "bind")
    assert [step.arg("propagation") for step in binds] == [MS_SLAVE | MS_REC] * 2
    assert len(find(plan, "remount")) == len(words)


def test_a_rootless_runtime_opens_no_sources() -> None:
    spec = with_linux("user", uidMappings=MAPS, gidMappings=MAPS)
    spec["mounts"] = [mount("/m", "bind", source="/srv")]
    plan = compiled(spec, HostFacts(euid=1000))
    assert not find(plan, "open_source")
    assert values(find(plan, "bind")[0], "source_fd") == (None,)
    assert find(plan, "bind")[0].on_errno == ()


def test_remount_changes_the_named_flags_only() -> None:
    plan = plan_of(mount("/m", "remount", "bind", "ro", "exec", "rnosuid", "rslave"))
    assert [step.args for step in find(plan, "remount")] == [("/m", RDONLY, NOEXEC, NOSUID, 0, MS_SLAVE | MS_REC)]
    assert not find(plan, "bind")


@pytest.mark.parametrize("word", ["size=1m", "sync"])
def test_remount_does_not_reach_the_file_system(word: str) -> None:
    with pytest.raises(PyruncError, match="remount") as caught:
        plan_of(mount("/m", "remount", word, type="tmpfs"))
    assert caught.value.pointer == "/mounts/0/options"


def test_sysfs_has_the_host_s_sys_as_its_alternative_in_a_user_namespace() -> None:
    plan = plan_of(mount("/sys", "nosuid", "rslave", type="sysfs"), types=("user",))
    first, second = mounting(plan)
    assert first.on_errno == (errno.EPERM,)
    assert (second.kind, second.level) == ("bind", 1)
    assert values(second, "source", "target", "recursive", "rattr_set", "propagation") == (
        "/sys",
        "/sys",
        1,
        LOCKABLE,
        MS_SLAVE | MS_REC,
    )
    assert len(mounting(plan_of(mount("/sys", type="sysfs")))) == 1


def test_an_unknown_option_of_a_bind_mount_names_its_place_and_the_nearest_word() -> None:
    with pytest.raises(PyruncError) as caught:
        plan_of(mount("/m", type="tmpfs"), mount("/n", "bind", "nosiud", source="/srv"))
    assert caught.value.line() == (
        'bind mounts cannot have any filesystem-specific options applied: "nosiud" '
        '(at /mounts/1/options/1; did you mean "nosuid"?)'
    )


def test_without_jsonschema_the_nearest_word_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyrunc.libcontainer.explain", None)
    with pytest.raises(PyruncError) as caught:
        plan_of(mount("/n", "bind", "nosiud", source="/srv"))
    assert "nosuid" not in caught.value.hint


def test_a_bind_mount_needs_a_source() -> None:
    with pytest.raises(PyruncError, match="no source") as caught:
        plan_of(mount("/m", "bind"))
    assert caught.value.pointer == "/mounts/0/source"


def test_flags_of_the_file_system_have_no_effect_on_a_bind_mount() -> None:
    plan = plan_of(mount("/m", "bind", "sync", "nolazytime", source="/srv"))
    assert plan.warnings == (
        "/mounts/0/options: sync has no effect on a bind mount",
        "/mounts/0/options: nolazytime has no effect on a bind mount",
    )


def test_options_with_a_value_have_no_effect_on_a_bind_mount() -> None:
    plan = plan_of(mount("/m", "bind", "mode=755", "size=1k", source="/srv"))
    assert plan.warnings == (
        "/mounts/0/options: mode=755 has no effect on a bind mount",
        "/mounts/0/options: size=1k has no effect on a bind mount",
    )


@pytest.mark.parametrize(("option", "allowed"), [("gid=5", False), ("gid=0", True), ("uid=1", False), ("gid=x", True)])
def test_owners_that_a_rootless_container_does_not_have(option: str, allowed: bool) -> None:
    spec = with_linux("user", uidMappings=MAPS, gidMappings=MAPS)
    spec["mounts"] = [mount("/m", option, type="devpts")]
    if allowed:
        assert find(compiled(spec, HostFacts(euid=1000)), "mount")
        return
    with pytest.raises(PyruncError) as caught:
        compiled(spec, HostFacts(euid=1000))
    assert caught.value.message.startswith(f"cannot specify {option} mount option for rootless container")
    assert caught.value.pointer == "/mounts/0/options/0"
    # the host's root may leave it to the kernel
    assert find(compiled(spec), "mount")


def test_owners_that_the_runtime_s_own_user_namespace_does_not_have() -> None:
    spec = minimal(mounts=[mount("/m", "gid=5", type="devpts")])
    facts = HostFacts(in_userns=True, uid_map=((0, 1000, 1),), gid_map=((0, 1000, 5),))
    with pytest.raises(PyruncError, match="gid 5 is not in the gid mappings"):
        compiled(spec, facts)
    facts.gid_map = ((0, 1000, 6),)
    assert find(compiled(spec, facts), "mount")


@pytest.mark.parametrize("source", ["/sys", "/sys/", "/sys/fs", "/sys/fs/cgroup"])
def test_a_rootless_sys_is_read_only_in_all_its_mounts(source: str) -> None:
    """CVE-2023-25809: "ro" is of one mount, and the user's cgroups are in another below it."""
    spec = with_linux("user")
    spec["mounts"] = [mount("/sys", "rbind", "ro", source=source)]
    assert values(find(compiled(spec, HostFacts(euid=1000)), "bind")[0], "attr_set", "rattr_set") == (1, 1)
    assert values(find(compiled(spec, rootless=False), "bind")[0], "attr_set", "rattr_set") == (1, 0)
    spec["mounts"] = [mount("/sys", "rbind", source=source)]
    assert values(find(compiled(spec, HostFacts(euid=1000)), "bind")[0], "rattr_set") == (0,)


def test_only_what_holds_the_cgroups_is() -> None:
    spec = with_linux("user")
    spec["mounts"] = [mount("/m", "rbind", "ro", source="/system")]
    assert values(find(compiled(spec, HostFacts(euid=1000)), "bind")[0], "rattr_set") == (0,)


@pytest.mark.parametrize(("destination", "devices"), [("/dev", False), ("/dev/.", False), ("/dev/x", True)])
def test_a_dev_of_the_configuration_is_left_as_it_is(destination: str, devices: bool) -> None:
    plan = plan_of(mount(destination, "rbind", source="/dev"))
    assert bool(find(plan, "mknod", "symlink", "reopen_null")) is devices


def test_no_mounts() -> None:
    assert not mounting(compiled(minimal()))
