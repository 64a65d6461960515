"""The steps of the configuration's mounts."""

from __future__ import annotations

import errno
import sys
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.kernel.constants import MOUNT_ATTR_NOSYMFOLLOW as NOSYMFOLLOW
from pyrunc.libcontainer.kernel.constants import MS_PRIVATE, MS_REC, MS_SHARED, MS_SLAVE
from pyrunc.libcontainer.plan.host import HostFacts
from pyrunc.libcontainer.plan.model import LaunchPlan, Step
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
        ("securityfs", ["ro"], (), RDONLY),
        ("pstore", ["ro"], (), RDONLY),
        ("hugetlbfs", ["ro", "pagesize=2M"], ("pagesize=2M",), RDONLY),
        ("overlay", ["ro", "lowerdir=/a:/b"], ("ro", "lowerdir=/a:/b"), RDONLY),
        ("9p", ["ro"], ("ro",), RDONLY),
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
    assert values(first, "attr_set", "propagation") == (0, MS_SLAVE | MS_REC)
    assert [step.args for step in find(plan_of(mount("/m", "rro", type="tmpfs")), "seal_mount")] == [(1, RDONLY)]
    assert (second.kind, second.args) == ("remount", ("/m", 0, 0, 0, 0, MS_SHARED))


@pytest.mark.parametrize(
    ("destination", "type", "kept"),
    [("/tmp", "tmpfs", True), ("/dev", "devtmpfs", True), ("/dev/", "tmpfs", True), ("/proc", "proc", False)],
)
def test_what_becomes_read_only_last(destination: str, type: str, kept: bool) -> None:
    """Later mounts and the devices still need to make their targets in it."""
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
    assert values(step, "attr_set", "attr_clr") == (RDONLY, NOSUID | NODEV | NOEXEC | NOSYMFOLLOW)
    assert (step.fallback_level, step.on_errno) == (0, ())


def test_locked_flags_stay_where_the_runtime_is_in_a_user_namespace() -> None:
    plan = plan_of(mount("/m", "bind", "ro", "dev", source="/srv"), facts=HostFacts(in_userns=True))
    first, second, whole = mounting(plan)
    assert values(first, "attr_clr") == (NOSUID | NODEV | NOEXEC | NOSYMFOLLOW,)
    assert first.on_errno == (errno.EPERM, errno.EINVAL)
    assert values(second, "attr_clr") == (NOSYMFOLLOW,)
    assert (second.fallback_level, second.on_errno) == (1, (errno.EINVAL,))
    assert values(whole, "recursive", "attr_set", "rattr_set") == (1, RDONLY, RDONLY)


@pytest.mark.parametrize(
    ("facts", "types"),
    [
        (HostFacts(in_userns=True), ()),
        (HostFacts(), ("user",)),
        (HostFacts(euid=1000), ("user",)),
    ],
)
@pytest.mark.parametrize(
    ("words", "late"),
    [
        (("rbind", "rw"), (0, RDONLY, 0, 0)),
        (("rbind", "suid", "dev", "exec", "rw"), (0, LOCKABLE, 0, 0)),
        (("rbind", "rrw"), (0, 0, 0, RDONLY)),
        (("rbind", "noatime"), (0x10, 0x70 | 0x80, 0, 0)),
        (("rbind", "ro"), None),
        (("rbind", "symfollow"), None),
    ],
)
def test_f15_flags_that_may_be_locked_are_changed_by_a_step_that_may_fail(
    facts: HostFacts, types: tuple[str, ...], words: tuple[str, ...], late: tuple[int, ...] | None
) -> None:
    """F15: `rw` on a volume that is read-only in the user namespace is a warning."""
    plan = plan_of(mount("/m", *words, source="/srv"), facts=facts, types=types)
    steps = find(plan, "change_flags")
    assert [step.args[1:] for step in steps] == ([] if late is None else [late])
    for bind in find(plan, "bind"):
        cleared = bind.arg("attr_clr")
        assert isinstance(cleared, int)
        assert not cleared & LOCKABLE or bind.on_errno or not steps
    if late:
        assert steps[0].on_errno == (errno.EPERM,)
        said = next(step for step in plan.init if step.kind == "request" and step.fallback_level == 1)
        assert said.args == ("locked:0",)
        assert [step.args for step in plan.served["locked:0"]] == [("/srv", late[1] | late[3])]


def test_f15_on_the_host_nothing_is_locked() -> None:
    plan = plan_of(mount("/m", "bind", "rw", source="/srv"))
    assert not find(plan, "change_flags")
    assert values(mounting(plan)[0], "attr_clr") == (LOCKABLE | NOSYMFOLLOW,)


@pytest.mark.parametrize("word", ["uid=5", "idmaps=uids=0-1-1;gids=0-1-1", "context=x", "IDMAP", "RO", "nosiud", "r o"])
def test_s2_an_option_that_a_bind_mount_can_t_have_is_refused(word: str) -> None:
    with pytest.raises(PyruncError, match="filesystem-specific") as caught:
        plan_of(mount("/m", "bind", word, source="/srv"))
    assert caught.value.pointer == "/mounts/0/options/1"


@pytest.mark.parametrize("word", ["mode=755", "size=1k"])
def test_s2_what_the_conformance_suite_gives_bind_mounts_is_warned_of(word: str) -> None:
    plan = plan_of(mount("/m", "bind", word, "", source="/srv"))
    assert plan.warnings == (f"/mounts/0/options: {word} has no effect on a bind mount",)


@pytest.mark.parametrize(("type", "word"), [("ramfs", "size=1m"), ("tracefs", "nosuch"), ("debugfs", "size=1")])
def test_s2_a_file_system_that_ignores_options_gets_none_that_it_does_not_know(type: str, word: str) -> None:
    with pytest.raises(PyruncError, match="ignores this option"):
        plan_of(mount("/m", word, type=type))
    assert values(mounting(plan_of(mount("/m", "mode=700", type=type)))[0], "options") == (("mode=700",),)


@pytest.mark.parametrize(
    "members",
    [
        {"options": ["copy-symlink", "src-nofollow"], "type": "bind"},
        {"options": ["copy-symlink", "dest-nofollow"], "type": "bind"},
        {"options": ["src-nofollow"], "type": "tmpfs"},
        {"options": ["copy-symlink", "remount", "bind"]},
    ],
)
def test_s6_options_about_symlinks_that_can_t_be(members: dict[str, Any]) -> None:
    with pytest.raises(PyruncError) as caught:
        plan_of({"destination": "/m", "source": "/srv", **members})
    assert caught.value.pointer == "/mounts/0/options"


@pytest.mark.parametrize(
    ("word", "bit", "nofollow"), [("src-nofollow", 1, 1), ("dest-nofollow", 2, 0), ("copy-symlink", 4, 1)]
)
def test_s6_options_about_symlinks_reach_the_init(word: str, bit: int, nofollow: int) -> None:
    plan = plan_of(mount("/m", "bind", word, source="/srv"), types=("user",))
    assert [step.arg("links") for step in find(plan, "bind")] == [bit, bit]
    assert find(plan, "open_source")[0].arg("nofollow") == nofollow


@pytest.mark.parametrize("source", ["/bundle/rootfs/x", "rootfs/x", "/bundle/../bundle/rootfs/./x"])
def test_b4_a_source_in_the_rootfs_is_the_init_s(source: str) -> None:
    """B4: the bind shows what earlier mounts have put there."""
    plan = plan_of(mount("/m", "bind", source=source), types=("user",))
    assert not find(plan, "open_source")
    assert [values(step, "source_fd", "links", "recursive") for step in find(plan, "bind")] == [
        (None, 0, 0),
        (None, 0, 1),
    ]
    outside = plan_of(mount("/m", "bind", source="/bundle/rootfs2/x"), types=("user",))
    assert find(outside, "open_source")


def test_in_a_user_namespace_the_runtime_s_descriptor_is_the_second_choice() -> None:
    plan = plan_of(mount("/m", "rbind", "ro", "rprivate", source="/srv"), types=("user",))
    assert [step.args for step in find(plan, "open_source")] == [("source:0", "/srv", 1, 0)]
    first, second = mounting(plan)
    assert values(first, "source_fd", "attr_clr") == (None, NOSYMFOLLOW)
    assert first.on_errno == (errno.EACCES,)
    assert values(second, "source_fd", "attr_clr", "propagation") == (
        "source:0",
        NOSYMFOLLOW,
        MS_PRIVATE | MS_REC,
    )
    assert second.fallback_level == 1


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
    # without the mounts below it, or with them if the kernel permits only that
    assert [(step.fallback_level, step.arg("recursive"), step.on_errno) for step in find(plan, "bind")] == [
        (0, 0, (errno.EINVAL,)),
        (1, 1, ()),
    ]


def test_remount_replaces_the_flags() -> None:
    """As mount(2) with MS_REMOUNT does: flags that are not named are cleared."""
    plan = plan_of(mount("/m", "remount", "bind", "ro", "exec", "rnosuid", "rslave"))
    cleared = NODEV | NOEXEC | NOSYMFOLLOW
    assert [step.args for step in find(plan, "remount")] == [("/m", RDONLY, cleared, NOSUID, 0, MS_SLAVE | MS_REC)]
    assert not find(plan, "bind")


@pytest.mark.parametrize("words", [("remount",), ("bind", "remount"), ("rbind", "remount", "rprivate")])
def test_remount_without_a_flag_is_a_call_too(words: tuple[str, ...]) -> None:
    """It clears all flags; and if nothing is mounted, the call must fail."""
    plan = plan_of(mount("/m", *words))
    cleared = RDONLY | NOSUID | NODEV | NOEXEC | NOSYMFOLLOW
    assert [values(step, "attr_set", "attr_clr") for step in find(plan, "remount")] == [(0, cleared)]


def test_remount_in_a_user_namespace_leaves_what_is_locked() -> None:
    plan = plan_of(mount("/m", "remount", "ro"), types=("user",))
    first, second = find(plan, "remount")
    assert (first.fallback_level, first.on_errno, second.fallback_level, second.on_errno) == (0, (errno.EPERM,), 1, ())
    assert first.arg("attr_clr") == NOSUID | NODEV | NOEXEC | NOSYMFOLLOW
    assert second.arg("attr_clr") == NOSYMFOLLOW


@pytest.mark.parametrize("word", ["size=1m", "sync"])
def test_remount_does_not_reach_the_file_system(word: str) -> None:
    with pytest.raises(PyruncError, match="remount") as caught:
        plan_of(mount("/m", "remount", word, type="tmpfs"))
    assert caught.value.pointer == "/mounts/0/options"


def test_sysfs_has_the_host_s_sys_as_its_alternative_in_a_user_namespace() -> None:
    plan = plan_of(mount("/sys", "nosuid", "rslave", type="sysfs"), types=("user",))
    first, second = mounting(plan)
    assert first.on_errno == (errno.EPERM,)
    assert (second.kind, second.fallback_level) == ("bind", 1)
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
    monkeypatch.setitem(sys.modules, "pyrunc.libcontainer.spec.explain", None)
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
    """CVE-2023-25809: "ro" applies to one mount, and the user's cgroups are in another mount below it."""
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
