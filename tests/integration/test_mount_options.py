"""Every mount option of the specification (config.md, Linux mount options), as the container's mountinfo shows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Runtime

HostMount = Callable[..., Path]

MOUNTINFO = "cat /proc/self/mountinfo"

# Options of a new tmpfs: what mountinfo shows of the mount, what it does not show, and the same for the file system
# (super) options.
NEW = [
    ("async", (), (), (), ("sync",)),
    ("atime", ("relatime",), ("noatime",), (), ()),
    ("defaults", ("rw", "relatime"), ("ro", "nosuid", "nodev", "noexec"), ("rw",), ("sync", "dirsync")),
    ("dev", (), ("nodev",), (), ()),
    ("diratime", (), ("nodiratime",), (), ()),
    ("dirsync", (), (), ("dirsync",), ()),
    ("exec", (), ("noexec",), (), ()),
    ("iversion", (), (), (), ()),
    ("lazytime", (), (), ("lazytime",), ()),
    ("loud", (), (), (), ()),
    ("mand", (), (), (), ()),
    ("noatime", ("noatime",), ("relatime",), (), ()),
    ("nodev", ("nodev",), (), (), ()),
    ("nodiratime", ("nodiratime",), (), (), ()),
    ("noexec", ("noexec",), (), (), ()),
    ("noiversion", (), (), (), ()),
    ("nolazytime", (), (), (), ("lazytime",)),
    ("nomand", (), (), (), ()),
    ("norelatime", (), ("noatime",), (), ()),
    ("nostrictatime", ("relatime",), (), (), ()),
    ("nosuid", ("nosuid",), (), (), ()),
    ("nosymfollow", ("nosymfollow",), (), (), ()),
    ("relatime", ("relatime",), ("noatime",), (), ()),
    ("ro", ("ro",), ("rw",), (), ()),
    ("rw", ("rw",), ("ro",), (), ()),
    ("silent", (), (), (), ()),
    ("strictatime", (), ("relatime", "noatime"), (), ()),
    ("suid", (), ("nosuid",), (), ()),
    ("symfollow", (), ("nosymfollow",), (), ()),
    ("sync", (), (), ("sync",), ()),
]
Words = tuple[str, ...]

NEWER = {"defaults", "ratime", "rnostrictatime", "strictatime-relatime"}


def _cases(cases: Sequence[tuple[Any, ...]], fields: int | None = None) -> list[Any]:
    """Parametrise by the first field, the option or options; those that runc 1.1 doesn't know are marked."""
    params = []
    for case in cases:
        name = case[0] if isinstance(case[0], str) else "-".join(case[0])
        marks = [pytest.mark.own("refused, or without effect")] if name in NEWER else []
        params.append(pytest.param(*case[:fields], id=name, marks=marks))
    return params


@pytest.mark.parametrize(("option", "has", "hasn_t", "super_has", "super_hasn_t"), _cases(NEW))
def test_option_of_a_new_mount(
    runtime: Runtime, bundle: Bundle, option: str, has: Words, hasn_t: Words, super_has: Words, super_hasn_t: Words
) -> None:
    bundle.mount("/mnt", "tmpfs", "tmpfs", option)
    mount = host.mount_at(runtime.inside(bundle, MOUNTINFO), "/mnt")
    assert mount.fstype == "tmpfs"
    assert set(has) <= mount.options
    assert not set(hasn_t) & mount.options
    assert set(super_has) <= mount.super_options
    assert not set(super_hasn_t) & mount.super_options


# Pairs of which the later option wins, as with mount(8).
WINS = [
    (("ro", "rw"), ("rw",), ("ro",)),
    (("rw", "ro"), ("ro",), ("rw",)),
    (("nosuid", "suid"), (), ("nosuid",)),
    (("nodev", "dev"), (), ("nodev",)),
    (("noexec", "exec"), (), ("noexec",)),
    (("exec", "noexec"), ("noexec",), ()),
    (("noatime", "atime"), (), ("noatime",)),
    (("nodiratime", "diratime"), (), ("nodiratime",)),
    (("noatime", "strictatime"), (), ("noatime", "relatime")),
    (("strictatime", "relatime"), ("relatime",), ("noatime",)),
]


@pytest.mark.parametrize(("options", "has", "hasn_t"), _cases(WINS))
def test_the_later_option_wins(runtime: Runtime, bundle: Bundle, options: Words, has: Words, hasn_t: Words) -> None:
    bundle.mount("/mnt", "tmpfs", "tmpfs", *options)
    mount = host.mount_at(runtime.inside(bundle, MOUNTINFO), "/mnt")
    assert set(has) <= mount.options
    assert not set(hasn_t) & mount.options


BOUND = [case for case in NEW if not case[3] and case[0] not in ("norelatime",)]


@pytest.mark.parametrize(("option", "has", "hasn_t"), _cases(BOUND, 3))
def test_option_of_a_bind_mount(
    runtime: Runtime, bundle: Bundle, host_mount: HostMount, option: str, has: Words, hasn_t: Words
) -> None:
    source = host_mount("source")
    bundle.mount("/mnt", "bind", str(source), "bind", option)
    before = host.mount_at(Path("/proc/self/mountinfo").read_text(), str(source))
    mount = host.mount_at(runtime.inside(bundle, MOUNTINFO), "/mnt")
    assert set(has) <= mount.options
    assert not set(hasn_t) & mount.options
    # The bind mount is a mount of its own: the source keeps its options.
    after = host.mount_at(Path("/proc/self/mountinfo").read_text(), str(source))
    assert (before.options, before.super_options) == (after.options, after.super_options)


# Options that clear an option of the source. diratime and atime do not: as with mount(2), and so with runc, a bind
# mount keeps its access-time setting unless an option sets another one.
CLEARING = [("rw", "ro"), ("suid", "nosuid"), ("dev", "nodev"), ("exec", "noexec")]


@pytest.mark.own("it does nothing for words that only clear")
@pytest.mark.parametrize(("option", "source_has"), CLEARING, ids=[case[0] for case in CLEARING])
def test_bind_mount_clears_what_the_source_has(
    runtime: Runtime, bundle: Bundle, host_mount: HostMount, option: str, source_has: str
) -> None:
    source = host_mount("source")
    # Options of the mount alone: a read-only file system stays read-only.
    host_mount("source", "-o", f"remount,bind,{source_has}")
    bundle.mount("/mnt", "bind", str(source), "bind", option)
    assert source_has not in host.mount_at(runtime.inside(bundle, MOUNTINFO), "/mnt").options


def test_bind_mount_without_options_keeps_what_the_source_has(
    runtime: Runtime, bundle: Bundle, host_mount: HostMount
) -> None:
    source = host_mount("source", "-t", "tmpfs", "tmpfs", "-o", "nosuid,nodev,noexec,noatime")
    bundle.mount("/mnt", "bind", str(source), "bind")
    mount = host.mount_at(runtime.inside(bundle, MOUNTINFO), "/mnt")
    assert {"rw", "nosuid", "nodev", "noexec", "noatime"} <= mount.options


def test_bind_mount_with_an_option_has_the_named_ones_only(
    runtime: Runtime, bundle: Bundle, host_mount: HostMount
) -> None:
    """As mount(2) with MS_REMOUNT | MS_BIND, and so runc."""
    source = host_mount("source", "-t", "tmpfs", "tmpfs", "-o", "nosuid,nodev,noexec")
    bundle.mount("/mnt", "bind", str(source), "bind", "ro", "nodev")
    options = host.mount_at(runtime.inside(bundle, MOUNTINFO), "/mnt").options
    assert {"ro", "nodev"} <= options
    assert not {"nosuid", "noexec"} & options


# For the four kinds of propagation: what mountinfo shows of a mount, and whether the recursive form reaches submounts.
PROPAGATION = [
    ("private", "bind", set[str]()),
    ("rprivate", "rbind", set[str]()),
    ("shared", "bind", {"shared"}),
    ("rshared", "rbind", {"shared"}),
    ("slave", "bind", {"master"}),
    ("rslave", "rbind", {"master"}),
    ("unbindable", "bind", {"unbindable"}),
    ("runbindable", "rbind", {"unbindable"}),
]


@pytest.mark.parametrize(("option", "bind", "shown"), PROPAGATION, ids=[case[0] for case in PROPAGATION])
def test_propagation_of_a_bind_mount(
    runtime: Runtime, bundle: Bundle, host_mount: HostMount, option: str, bind: str, shown: set[str]
) -> None:
    # The source and the mounts below it are shared, as everything is under systemd.
    source = host_mount("source")
    host_mount("source/sub")
    bundle.linux["rootfsPropagation"] = "rshared" if "shared" in option else "rslave"
    bundle.mount("/mnt", "bind", str(source), bind, option)
    out = runtime.inside(bundle, MOUNTINFO)
    assert host.mount_at(out, "/mnt").propagation == shown
    below = [mount for mount in host.mountinfo(out) if mount.point == "/mnt/sub"]
    if bind == "rbind":
        assert below[0].propagation == shown
    else:
        assert below == []


def test_propagation_of_a_new_mount(runtime: Runtime, bundle: Bundle) -> None:
    bundle.mount("/mnt", "tmpfs", "tmpfs", "shared")
    assert host.mount_at(runtime.inside(bundle, MOUNTINFO), "/mnt").propagation == {"shared"}


def test_shared_bind_mount_brings_mounts_back_to_the_host(
    runtime: Runtime, bundle: Bundle, host_mount: HostMount
) -> None:
    source = host_mount("source")
    (source / "inner").mkdir()
    bundle.linux["rootfsPropagation"] = "rshared"
    capabilities = bundle.process["capabilities"]
    for name in capabilities:
        capabilities[name] = [*capabilities[name], "CAP_SYS_ADMIN"]
    bundle.mount("/mnt", "bind", str(source), "rbind", "rshared")
    bundle.sh("mount -t tmpfs inner /mnt/inner; echo mounted; while :; do sleep 0.02; done")
    container = runtime.started(bundle)
    host.wait_for("the mount", lambda: "mounted" in container.output)
    assert any(mount.point == str(source / "inner") for mount in _here())
    container.delete("--force")


def test_slave_bind_mount_takes_the_host_s_mounts_and_gives_none(
    runtime: Runtime, bundle: Bundle, host_mount: HostMount
) -> None:
    source = host_mount("source")
    (source / "inner").mkdir()
    bundle.mount("/mnt", "bind", str(source), "rbind", "rslave")
    capabilities = bundle.process["capabilities"]
    for name in capabilities:
        capabilities[name] = [*capabilities[name], "CAP_SYS_ADMIN"]
    bundle.sh(
        "mkdir /mnt/mine && mount -t tmpfs mine /mnt/mine; echo ready; "
        "while ! grep -q /mnt/inner /proc/self/mountinfo; do sleep 0.02; done; echo seen; while :; do sleep 0.02; done"
    )
    container = runtime.started(bundle)
    host.wait_for("its own mount", lambda: "ready" in container.output)
    assert not any(mount.point == str(source / "mine") for mount in _here())
    host_mount("source/inner")
    host.wait_for("the host's mount to arrive", lambda: "seen" in container.output)
    container.delete("--force")


def _here() -> list[host.Mount]:
    return host.mountinfo(Path("/proc/self/mountinfo").read_text())


def test_bind_and_rbind(runtime: Runtime, bundle: Bundle, host_mount: HostMount) -> None:
    source = host_mount("source")
    (host_mount("source/sub") / "deep").write_text("deep\n")
    bundle.mount("/mnt", "none", str(source), "bind")
    bundle.mount("/srv", "none", str(source), "rbind")
    out = runtime.inside(bundle, "ls -R /mnt /srv")
    assert out.split() == ["/mnt:", "sub", "/mnt/sub:", "/srv:", "sub", "/srv/sub:", "deep"]


# option, options of the source's mounts, options that all of /mnt has then, and options that it lacks
RECURSIVE = [
    ("rro", "rw", "ro", "rw"),
    ("rrw", "ro", "rw", "ro"),
    ("rnosuid", "suid", "nosuid", None),
    ("rsuid", "nosuid", None, "nosuid"),
    ("rnodev", "dev", "nodev", None),
    ("rdev", "nodev", None, "nodev"),
    ("rnoexec", "exec", "noexec", None),
    ("rexec", "noexec", None, "noexec"),
    ("rnodiratime", "diratime", "nodiratime", None),
    ("rdiratime", "nodiratime", None, "nodiratime"),
    ("rnoatime", "relatime", "noatime", "relatime"),
    ("ratime", "noatime", None, "noatime"),
    ("rstrictatime", "relatime", None, "relatime"),
    ("rnostrictatime", "strictatime", "relatime", None),
    ("rrelatime", "strictatime", "relatime", None),
    ("rnorelatime", "relatime", None, "noatime"),
    ("rnosymfollow", "rw", "nosymfollow", None),
    ("rsymfollow", "nosymfollow", None, "nosymfollow"),
]


@pytest.mark.parametrize(("option", "source_has", "has", "hasn_t"), _cases(RECURSIVE))
def test_recursive_option(
    runtime: Runtime,
    bundle: Bundle,
    host_mount: HostMount,
    option: str,
    source_has: str,
    has: str | None,
    hasn_t: str | None,
) -> None:
    source = host_mount("source")
    (source / "sub").mkdir()
    host_mount("source/sub")
    for path in (source, source / "sub"):
        host_mount(str(path.relative_to(runtime.work)), "-o", f"remount,bind,{source_has}")
    bundle.mount("/mnt", "bind", str(source), "rbind", option)
    out = runtime.inside(bundle, MOUNTINFO)
    for point in ("/mnt", "/mnt/sub"):
        mount = host.mount_at(out, point)
        assert has is None or has in mount.options, mount
        assert hasn_t is None or hasn_t not in mount.options, mount


def test_options_that_are_not_recursive_leave_submounts(
    runtime: Runtime, bundle: Bundle, host_mount: HostMount
) -> None:
    source = host_mount("source")
    host_mount("source/sub")
    bundle.mount("/mnt", "bind", str(source), "rbind", "ro", "nosuid")
    out = runtime.inside(bundle, MOUNTINFO)
    assert {"ro", "nosuid"} <= host.mount_at(out, "/mnt").options
    assert not {"ro", "nosuid"} & host.mount_at(out, "/mnt/sub").options


def test_remount(runtime: Runtime, bundle: Bundle) -> None:
    bundle.mount("/mnt", "tmpfs", "tmpfs", "mode=755")
    bundle.mount("/mnt", "tmpfs", "tmpfs", "remount", "ro", "nosuid")
    out = runtime.inside(bundle, f"{MOUNTINFO}; touch /mnt/x 2>&1; true")
    mounts = [mount for mount in host.mountinfo(out) if mount.point == "/mnt"]
    assert len(mounts) == 1
    assert {"ro", "nosuid"} <= mounts[0].options
    assert "Read-only file system" in out


def test_remount_of_a_bind_mount(runtime: Runtime, bundle: Bundle, host_mount: HostMount) -> None:
    source = host_mount("source")
    bundle.mount("/mnt", "none", str(source), "bind")
    bundle.mount("/mnt", "none", str(source), "bind", "remount", "ro")
    mounts = [mount for mount in host.mountinfo(runtime.inside(bundle, MOUNTINFO)) if mount.point == "/mnt"]
    assert "ro" in mounts[-1].options
    (source / "still-writable").touch()


@pytest.mark.parametrize("words", [(), ("ro",), ("rw",)])
@pytest.mark.parametrize("kind", ["bind", "tmpfs", "none"])
def test_remount_replaces_the_flags_as_mount_does(
    runtime: Runtime, bundle: Bundle, kind: str, words: tuple[str, ...]
) -> None:
    bind = ("bind",) if kind == "none" else ()
    bundle.mount("/mnt", "tmpfs", "tmpfs", "nosuid", "nodev", "noexec")
    bundle.mount("/mnt", kind, "/tmp", *bind, "remount", *words)
    mounts = [mount for mount in host.mountinfo(runtime.inside(bundle, MOUNTINFO)) if mount.point == "/mnt"]
    assert len(mounts) == 1
    assert not {"nosuid", "nodev", "noexec"} & mounts[0].options
    assert ("ro" in mounts[0].options) == ("ro" in words)


@pytest.mark.parametrize("words", [(), ("ro",), ("rw",), ("rprivate",), ("rnosuid",)])
@pytest.mark.parametrize("kind", ["bind", "tmpfs", "none", "rbind"])
def test_remount_where_nothing_is_mounted_is_refused(
    runtime: Runtime, bundle: Bundle, kind: str, words: tuple[str, ...]
) -> None:
    """mount(2): EINVAL. The directory exists, and the remount would not change it."""
    bind = {"none": ("bind",), "rbind": ("rbind",)}.get(kind, ())
    bundle.mount("/mnt", kind, "/tmp", *bind, "remount", *words)
    result = runtime.refuse(bundle)
    assert "invalid argument" in result.last_line
    if runtime.is_own:
        assert "/mounts/3" in result.last_line
        assert "nothing is mounted at /mnt" in result.last_line


@pytest.mark.own("the directory's mode replaces the option's")
def test_options_of_the_file_system_reach_it(runtime: Runtime, bundle: Bundle) -> None:
    bundle.mount("/mnt", "tmpfs", "mine", "size=128k", "mode=1750", "uid=7", "gid=8", "nr_inodes=20")
    out = runtime.inside(bundle, f"{MOUNTINFO}; stat -c '%a %u %g' /mnt")
    mount = host.mount_at(out, "/mnt")
    assert mount.source == "mine"
    assert {"size=128k", "mode=1750", "uid=7", "gid=8", "nr_inodes=20"} <= mount.super_options
    assert out.splitlines()[-1] == "1750 7 8"


def test_unknown_option_is_refused_by_the_file_system(runtime: Runtime, bundle: Bundle) -> None:
    bundle.mount("/mnt", "tmpfs", "tmpfs", "no-such-option")
    result = runtime.refuse(bundle)
    assert "invalid argument" in result.last_line
    if runtime.is_own:
        assert "/mounts/3" in result.last_line


def test_tmpcopyup(runtime: Runtime, bundle: Bundle) -> None:
    source = bundle.rootfs / "srv"
    (source / "dir").mkdir(mode=0o750)
    (source / "dir/inner").write_text("inner\n")
    (source / "dir/inner").chmod(0o640)
    (source / "link").symlink_to("dir/inner")
    (source / "file").chmod(0o4711)
    bundle.mount("/srv", "tmpfs", "tmpfs", "tmpcopyup")
    script = (
        "cat /srv/file /srv/link; stat -c '%a %n' /srv/file /srv/dir /srv/dir/inner; readlink /srv/link; "
        "echo new > /srv/new"
    )
    out = runtime.inside(bundle, f"{script}; {MOUNTINFO}")
    assert host.mount_at(out, "/srv").fstype == "tmpfs"
    assert out.startswith("from the image\ninner\n4711 /srv/file\n750 /srv/dir\n640 /srv/dir/inner\ndir/inner\n")
    # What the container writes there stays in the tmpfs.
    assert not (source / "new").exists()
    assert "tmpcopyup" not in host.mount_at(out, "/srv").super_options


def test_tmpcopyup_with_ro(runtime: Runtime, bundle: Bundle) -> None:
    bundle.mount("/srv", "tmpfs", "tmpfs", "tmpcopyup", "ro")
    out = runtime.inside(bundle, "cat /srv/file; touch /srv/x 2>&1; " + MOUNTINFO)
    assert out.startswith("from the image\n")
    assert "Read-only file system" in out


@pytest.mark.parametrize("option", ["idmap", "ridmap"])
@pytest.mark.own("it refuses it with other words, or not at all")
def test_idmap_is_refused_and_named(runtime: Runtime, bundle: Bundle, option: str) -> None:
    bundle.mount("/mnt", "bind", str(runtime.work), "bind", option)
    assert "/mounts/3" in runtime.refuse(bundle).last_line


# ---- options that were dropped


def _tree(bundle: Bundle, host_mount: HostMount, *options: str) -> Bundle:
    """The bundle with a mount on /mnt that has another mount below it."""
    source = host_mount("source")
    host_mount("source/below")
    return bundle.mount("/mnt", "bind", str(source), *options)


ORDERS = [
    ("rbind", "rprivate", "rw", "bind"),
    ("bind", "rbind"),
    ("rbind", "bind", "ro"),
    ("rbind", "rbind"),
    ("bind", "rbind", "bind"),
]


@pytest.mark.parametrize("options", ORDERS, ids="-".join)
def test_s1_rbind_brings_the_mounts_below_wherever_it_stands(
    runtime: Runtime, bundle: Bundle, host_mount: HostMount, options: Words
) -> None:
    out = runtime.inside(_tree(bundle, host_mount, *options), MOUNTINFO)
    assert host.mount_at(out, "/mnt/below").fstype == "tmpfs"


# The options, and whether the mount and the one below it are then read-only.
READ_ONLY = [
    (("rro", "rw"), False, True),
    (("rw", "rro"), True, True),
    (("rrw", "ro"), True, False),
    (("ro", "rrw"), False, False),
    (("rro", "rrw"), False, False),
    (("rro", "nosuid"), True, True),
]


@pytest.mark.own("where a word is about the tree, runc has it count last")
@pytest.mark.parametrize(("options", "own", "below"), READ_ONLY, ids=str)
def test_s1_the_later_of_ro_and_rro_counts(
    runtime: Runtime, bundle: Bundle, host_mount: HostMount, options: Words, own: bool, below: bool
) -> None:
    out = runtime.inside(_tree(bundle, host_mount, "rbind", *options), MOUNTINFO)
    assert ("ro" in host.mount_at(out, "/mnt").options) == own
    assert ("ro" in host.mount_at(out, "/mnt/below").options) == below


@pytest.mark.own("refused, or without effect")
@pytest.mark.parametrize("options", [("rro",), ("rw", "rro"), ("ro",)], ids="-".join)
def test_s1_a_tmpfs_becomes_read_only_after_what_is_mounted_in_it(
    runtime: Runtime, bundle: Bundle, options: Words
) -> None:
    bundle.mount("/mnt", "tmpfs", "tmpfs", *options).mount("/mnt/in", "tmpfs", "tmpfs")
    out = runtime.inside(bundle, MOUNTINFO)
    assert "ro" in host.mount_at(out, "/mnt").options
    assert "rw" in host.mount_at(out, "/mnt/in").options


REFUSED = [
    ("bind", "uid=5"),
    ("bind", "context=x"),
    ("bind", "idmap=uids=0-1-100"),
    ("bind", "idmap=uids=0-1-100;gids=0-1"),
    ("bind", "idmap=uids=@0-1-100;gids=0-1-100"),
    ("bind", "RO"),
    ("bind", "nosiud"),
    ("bind", "copy-symlink", "src-nofollow"),
]


@pytest.mark.own("most are without effect")
@pytest.mark.parametrize("options", REFUSED, ids="-".join)
def test_s2_what_a_bind_mount_can_t_do_is_refused(runtime: Runtime, bundle: Bundle, options: Words) -> None:
    bundle.mount("/mnt", "bind", "/srv", *options)
    assert f"at /mounts/{len(bundle.mounts) - 1}/options" in runtime.refuse(bundle).last_line


OF_FILE_SYSTEMS = [
    ("tmpfs", "sise=1m"),
    ("tmpfs", "RO"),
    ("proc", "hidpid=2"),
    ("sysfs", "uid=5"),
    ("mqueue", "size=1m"),
    ("ramfs", "size=1m"),
    ("devpts", "nosuch"),
    ("cgroup", "memory"),
]


@pytest.mark.own("ramfs ignores what it does not know")
@pytest.mark.parametrize(("type", "option"), OF_FILE_SYSTEMS, ids="-".join)
def test_s2_what_a_file_system_does_not_know_is_refused(
    runtime: Runtime, bundle: Bundle, type: str, option: str
) -> None:
    bundle.mount("/mnt", type, type, option)
    assert f"at /mounts/{len(bundle.mounts) - 1}" in runtime.refuse(bundle).last_line


@pytest.mark.own("an empty option is refused")
def test_empty_options_and_doubles_are_no_matter(runtime: Runtime, bundle: Bundle) -> None:
    bundle.mount("/mnt", "bind", "/srv", "", "ro", "rbind", "ro", "").mount("/srv", "tmpfs", "tmpfs", "", "ro")
    out = runtime.inside(bundle, MOUNTINFO)
    assert "ro" in host.mount_at(out, "/mnt").options
    assert "ro" in host.mount_at(out, "/srv").options


# ---- crun's options about symlinks


@pytest.mark.own("crun's")
@pytest.mark.parametrize("user_namespace", [False, True])
def test_s6_copy_symlink(runtime: Runtime, bundle: Bundle, user_namespace: bool) -> None:
    """S6: the container gets a copy of a source that is a symlink; any other source is mounted."""
    link = runtime.work / "link"
    link.symlink_to("../some/where")
    plain = runtime.work / "plain"
    plain.write_text("plain\n")
    if user_namespace:
        bundle.user_namespace()
    bundle.mount("/new/link", "bind", str(link), "bind", "copy-symlink", "rw")
    bundle.mount("/new/plain", "bind", str(plain), "bind", "copy-symlink")
    out = runtime.inside(bundle, "readlink /new/link; cat /new/plain")
    assert out.splitlines() == ["../some/where", "plain"]
    # an equal link may exist already, and nothing else
    assert runtime.inside(bundle, "readlink /new/link") == "../some/where\n"
    (bundle.rootfs / "new/link").unlink()
    (bundle.rootfs / "new/link").symlink_to("elsewhere")
    assert "it points to elsewhere" in runtime.refuse(bundle).last_line
    (bundle.rootfs / "new/link").unlink()
    (bundle.rootfs / "new/link").write_text("")
    assert "no symlink" in runtime.refuse(bundle).last_line


@pytest.mark.own("crun's")
@pytest.mark.parametrize("user_namespace", [False, True])
def test_s6_src_nofollow_and_dest_nofollow(runtime: Runtime, bundle: Bundle, user_namespace: bool) -> None:
    link = runtime.work / "link"
    link.symlink_to("/srv/file")
    (bundle.rootfs / "at").symlink_to("/etc/passwd")
    if user_namespace:
        bundle.user_namespace()
    bundle.mount("/at", "bind", str(link), "bind", "src-nofollow", "dest-nofollow")
    bundle.sh("readlink /at; cat /at; grep -c . /etc/passwd; grep ' /at ' /proc/self/mountinfo")
    lines = runtime.run(bundle).out.splitlines()
    assert lines[:3] == ["/srv/file", "from the image", "2"]
    assert len(lines) == 4


@pytest.mark.own("crun's")
def test_s6_dest_nofollow_makes_what_is_missing(runtime: Runtime, bundle: Bundle) -> None:
    bundle.mount("/made/here", "bind", "/etc/hostname", "bind", "dest-nofollow")
    assert host.mount_at(runtime.inside(bundle, MOUNTINFO), "/made/here")
