"""The init's steps that need root, each in a small hand-made plan, on hostile root file systems where that matters.

The container's program is busybox's shell; its output shows what a container sees.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
import stat
import struct
import subprocess
import tempfile
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrunc.libcontainer.kernel import native
from pyrunc.libcontainer.plan import wire
from pyrunc.libcontainer.plan.model import Step
from tests.support.bundle import copy_rootfs
from tests.support.host import Mount
from tests.support.init import NAMESPACES, Launch, Outcome, build, plan_of, run, shell, step

MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MS_REC = 0x4000
RDONLY, NOSUID, NODEV, NOEXEC = 1, 2, 4, 8
NOATIME = 0x10
MKNOD = stat.S_IFCHR | 0o666


@pytest.fixture(scope="module", params=["init", "init-asan"])
def init(request: pytest.FixtureRequest) -> Path:
    return build(request.param)


@pytest.fixture
def rootfs(session_directory: Path, rootfs_template: Path, private_mounts: None) -> Iterator[Path]:
    work = Path(tempfile.mkdtemp(prefix="init", dir=session_directory))
    copy_rootfs(rootfs_template, work / "rootfs")
    yield work / "rootfs"
    shutil.rmtree(work)


@pytest.fixture
def host_file(rootfs: Path) -> Path:
    """A file of the host, beside the rootfs, that the container must not reach."""
    path = rootfs.parent / "host"
    path.mkdir()
    (path / "file").write_text("host's")
    return path / "file"


def enter(rootfs: Path, *inside: Step) -> tuple[Step, ...]:
    """The steps that enter a rootfs, with the steps `inside` before the pivot."""
    return (
        step("propagation", flag=MS_SLAVE, recursive=1),
        step("parent_private", path=str(rootfs)),
        step("rootfs", path=str(rootfs)),
        *inside,
        step("pivot_root"),
        step("chdir", path="/"),
    )


def mount(fstype: str, target: str, *options: str, **more: int) -> Step:
    return step("mount", 0, (), fstype=fstype, source=fstype, target=target, options=options, **more)


def bind(source: Path | str, target: str, **more: int) -> Step:
    return step("bind", 0, (), source=str(source), target=target, **more)


PROC = mount("proc", "/proc")
DEV = (mount("tmpfs", "/dev", "mode=755"), step("mknod", path="/dev/null", mode=MKNOD, major=1, minor=3))


def inside(init: Path, rootfs: Path, *steps: Step, script: str = "true") -> Outcome:
    return run(init, *enter(rootfs, *steps), shell(script), namespaces=NAMESPACES)


def ran(outcome: Outcome) -> str:
    assert outcome.error is None, outcome
    assert (outcome.code, outcome.err) == (0, ""), outcome
    return outcome.out


def refused(outcome: Outcome, error: int, *words: str) -> None:
    assert outcome.error is not None, outcome
    assert outcome.error.error == error, outcome
    for word in words:
        assert word in outcome.error.detail, outcome


def mounts(text: str) -> dict[str, Mount]:
    return {mount.point: mount for mount in map(Mount, text.splitlines())}


# -- the root


def test_after_the_pivot_there_is_only_the_rootfs(init: Path, rootfs: Path) -> None:
    found = mounts(ran(inside(init, rootfs, PROC, script="cat /proc/self/mountinfo")))
    assert list(found) == ["/", "/proc"]
    assert found["/"].root.endswith("/rootfs")


def test_without_pivot_the_hosts_procfs_is_out_of_reach(init: Path, rootfs: Path) -> None:
    steps = [*enter(rootfs, PROC), shell("cat /proc/self/mountinfo; ls /")]
    steps[steps.index(next(s for s in steps if s.kind == "pivot_root"))] = step("move_root")
    out = ran(run(init, *steps, namespaces=NAMESPACES))
    found = [Mount(line) for line in out.splitlines() if " - " in line]
    assert [m.point for m in found if m.fstype in ("proc", "sysfs")] == ["/proc"]
    assert "bin" in out.split()


def test_without_pivot_no_procfs_is_left_that_would_allow_another(init: Path, rootfs: Path) -> None:
    """The kernel lets a user namespace mount a procfs only if its mount namespace has an unmasked one: the container's
    own procfs has masks, and the host's must not be there."""
    attempt = "busybox unshare -r -m -p -f mount -t proc proc /mnt 2>/dev/null && echo mounted || echo refused"
    steps = list(enter(rootfs, PROC, *DEV, step("mask_path", path="/proc/uptime")))
    steps[next(i for i, item in enumerate(steps) if item.kind == "pivot_root")] = step("move_root")
    assert ran(run(init, *steps, shell(attempt), namespaces=NAMESPACES)) == "refused\n"


def test_what_the_container_mounts_does_not_reach_the_host(init: Path, rootfs: Path) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    ran(inside(init, rootfs, PROC, mount("tmpfs", "/mnt"), script="mount -t tmpfs none /srv"))
    assert Path("/proc/self/mountinfo").read_text() == before


def test_chroot_makes_later_paths_the_new_roots(init: Path, rootfs: Path) -> None:
    steps = (step("chroot", path=str(rootfs)), step("make_cwd", path="/made/here"), step("chdir", path="/made/here"))
    assert ran(run(init, *steps, shell("pwd"))) == "/made/here\n"
    assert (rootfs / "made/here").is_dir()


def test_readonly_rootfs(init: Path, rootfs: Path) -> None:
    out = ran(inside(init, rootfs, mount("tmpfs", "/tmp"), step("readonly_rootfs"),
                     script="touch /x 2>/tmp/err || echo ro; touch /tmp/x && echo rw"))  # fmt: skip
    assert out == "ro\nrw\n"


@pytest.mark.parametrize(("flag", "words"), [(MS_SHARED, {"shared"}), (MS_PRIVATE, set())])
def test_root_propagation(init: Path, rootfs: Path, flag: int, words: set[str]) -> None:
    steps = (*enter(rootfs, PROC), step("root_propagation", flag=flag), shell("cat /proc/self/mountinfo"))
    assert mounts(ran(run(init, *steps, namespaces=NAMESPACES)))["/"].propagation == words


# -- paths


@pytest.mark.parametrize("link", ["/host", "../../../../../../host", "/host/../../../../../../host", "loop/../../host"])
def test_a_symlink_leads_a_mount_nowhere_but_inside(init: Path, rootfs: Path, host_file: Path, link: str) -> None:
    """CVE-2021-30465, CVE-2023-27561, CVE-2024-45310: also where the target has to be made."""
    target = link.replace("host", str(host_file.parent).lstrip("/"), 2)
    (rootfs / "loop").mkdir()
    (rootfs / "link").symlink_to(target)
    before = sorted(os.listdir(host_file.parent))
    out = ran(inside(init, rootfs, PROC, bind("/bin/busybox", "/link/new/file"), script="cat /proc/self/mountinfo"))
    points = list(mounts(out))
    assert points[-1].endswith(f"{host_file.parent}/new/file")
    assert sorted(os.listdir(host_file.parent)) == before
    assert (rootfs / str(host_file.parent).lstrip("/") / "new/file").read_bytes() == b""


def test_links_that_go_in_circles(init: Path, rootfs: Path) -> None:
    (rootfs / "a").symlink_to("b")
    (rootfs / "b").symlink_to("a")
    # A target that has to be made hides the loop from the kernel.
    for target in ("/a/mnt", "/new/../a/mnt"):
        refused(inside(init, rootfs, mount("tmpfs", target)), errno.ELOOP, target)


def test_an_absolute_link_in_a_directory_begins_at_the_root(init: Path, rootfs: Path) -> None:
    (rootfs / "sub").mkdir()
    (rootfs / "sub/link").symlink_to("/other")
    ran(inside(init, rootfs, mount("tmpfs", "/sub/link/new")))
    assert (rootfs / "other/new").is_dir()
    assert os.listdir(rootfs / "sub") == ["link"]


def test_a_dangling_link_at_the_end_is_made_inside(init: Path, rootfs: Path, host_file: Path) -> None:
    (rootfs / "link").symlink_to(f"{host_file.parent}/other")
    ran(inside(init, rootfs, bind("/bin/busybox", "/link")))
    assert not (host_file.parent / "other").exists()
    assert (rootfs / f"{host_file.parent}/other".lstrip("/")).is_file()


def test_dots_in_a_path_stay_inside(init: Path, rootfs: Path) -> None:
    out = ran(inside(init, rootfs, PROC, mount("tmpfs", "/a/../../../b/./c"), script="cat /proc/self/mountinfo"))
    assert list(mounts(out))[-1] == "/b/c"
    assert (rootfs / "b/c").is_dir()


def test_targets_are_made_with_these_modes_whatever_the_umask(init: Path, rootfs: Path) -> None:
    before = os.umask(0o77)
    try:
        ran(inside(init, rootfs, mount("tmpfs", "/new/directory"), bind("/bin/busybox", "/new/file")))
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((rootfs / name).stat().st_mode) for name in ("new", "new/directory", "new/file")]
    assert modes == [0o755, 0o755, 0o644]


def test_a_file_on_the_way_is_no_directory(init: Path, rootfs: Path) -> None:
    refused(inside(init, rootfs, mount("tmpfs", "/etc/passwd/x")), errno.ENOTDIR, "/etc/passwd/x")


# -- file systems


@pytest.mark.parametrize("fstype", ["proc", "sysfs"])
@pytest.mark.parametrize("target", ["/link", "/link/below", "/etc/passwd"])
def test_proc_and_sysfs_want_an_ordinary_directory(init: Path, rootfs: Path, fstype: str, target: str) -> None:
    """CVE-2019-19921, CVE-2023-27561."""
    (rootfs / "link").symlink_to("tmp")
    refused(
        inside(init, rootfs, mount(fstype, target)), 0, f'filesystem "{fstype}" must be mounted on ordinary directory'
    )


def test_the_file_system_says_what_it_did_not_like(init: Path, rootfs: Path) -> None:
    refused(
        inside(init, rootfs, mount("tmpfs", "/mnt", "size=12parsecs")), errno.EINVAL, "size=12parsecs: tmpfs: Bad value"
    )
    refused(inside(init, rootfs, mount("tmpfs", "/mnt", "no_such")), errno.EINVAL, "no_such: tmpfs: Unknown parameter")
    refused(inside(init, rootfs, mount("nosuchfs", "/mnt")), errno.ENODEV, "fsopen nosuchfs")
    refused(inside(init, rootfs, mount("tmpfs", "/mnt", "size=" + "1" * 300)), errno.EINVAL, "255 bytes")


def test_options_attributes_and_propagation(init: Path, rootfs: Path) -> None:
    steps = (
        PROC,
        mount("tmpfs", "/mnt", "size=64k", "nr_inodes=10", attr_set=RDONLY | NOSUID | NODEV | NOEXEC | NOATIME),
        mount("tmpfs", "/srv", propagation=MS_SHARED),
    )
    found = mounts(ran(inside(init, rootfs, *steps, script="cat /proc/self/mountinfo")))
    assert found["/mnt"].options == {"ro", "nosuid", "nodev", "noexec", "noatime"}
    assert {"size=64k", "nr_inodes=10"} <= found["/mnt"].super_options
    assert found["/srv"].propagation == {"shared"}


def test_flags_of_a_tree_and_then_of_its_root(init: Path, rootfs: Path) -> None:
    (rootfs / "srv").mkdir(exist_ok=True)
    steps = (
        PROC,
        mount("tmpfs", "/mnt"),
        mount("tmpfs", "/mnt/below"),
        bind(rootfs / "mnt", "/srv", recursive=1, rattr_set=RDONLY | NOEXEC, attr_clr=RDONLY, keep=64),
        step("change_flags", keep=64, attr_clr=NOEXEC, rattr_set=NOSUID),
        step("change_flags", keep=64, attr_clr=NOEXEC),
    )
    found = mounts(ran(inside(init, rootfs, *steps, script="cat /proc/self/mountinfo")))
    assert found["/srv"].options == {"rw", "nosuid", "relatime"}
    assert found["/srv/below"].options == {"ro", "noexec", "nosuid", "relatime"}
    refused(inside(init, rootfs, step("change_flags", keep=65)), errno.EINVAL, "no such register")
    refused(inside(init, rootfs, bind("/", "/srv", links=8, keep=64)), errno.EINVAL, "no mount is kept there")


def test_a_symlink_is_copied(init: Path, rootfs: Path) -> None:
    (rootfs.parent / "link").symlink_to("to/there")
    steps = (bind(rootfs.parent / "link", "/new/link", links=4),) * 2
    assert ran(inside(init, rootfs, *steps, script="readlink /new/link")) == "to/there\n"
    refused(inside(init, rootfs, PROC, bind(rootfs.parent / "link", "/proc/link", links=4)), 0, "cannot be mounted")


def test_a_tmpfs_has_the_mode_of_what_it_covers_unless_told(init: Path, rootfs: Path) -> None:
    (rootfs / "mnt").chmod(0o2750)
    steps = (mount("tmpfs", "/mnt"), mount("tmpfs", "/fresh"), mount("tmpfs", "/srv", "mode=700"))
    assert ran(inside(init, rootfs, *steps, script="stat -c %a /mnt /fresh /srv")) == "2750\n1777\n700\n"


def test_copy_up(init: Path, rootfs: Path) -> None:
    source = rootfs / "mnt"
    (source / "sub/deep").mkdir(parents=True)
    (source / "sub").chmod(0o2750)
    (source / "sub/deep/file").write_text("content")
    (source / "sub/deep/file").chmod(0o4711)
    os.chown(source / "sub/deep/file", 12, 34)
    os.chmod(source / "sub/deep/file", 0o4711)
    os.setxattr(source / "sub/deep/file", "security.capability", struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0))
    os.utime(source / "sub/deep/file", (1000, 2000))
    (source / "link").symlink_to("/etc/shadow")
    os.mkfifo(source / "fifo", 0o640)
    (source / "large").write_bytes(os.urandom(300_000))
    for number in range(200):
        (source / f"a-name-that-is-long-enough-{number}").write_text("")
    digest = "cd /mnt; find . | sort | xargs stat -c '%n %f %u %g %Y %N' | grep -v '^\\. '; md5sum large"
    plain = ran(inside(init, rootfs, PROC, script=digest))
    copied = inside(init, rootfs, PROC, mount("tmpfs", "/mnt", copyup=1, attr_set=RDONLY),
                    script=digest + "; touch /mnt/x 2>/dev/null || echo ro >/dev/null")  # fmt: skip
    assert ran(copied) == plain
    assert "sub/deep/file 89c9 12 34 2000" in plain
    assert len(plain.splitlines()) > 200
    check = "grep -c ' /mnt ' /proc/self/mountinfo; grep ' /mnt ' /proc/self/mountinfo | cut -d' ' -f6"
    assert (
        ran(inside(init, rootfs, PROC, mount("tmpfs", "/mnt", copyup=1, attr_set=RDONLY), script=check))
        == "1\nro,relatime\n"
    )


def test_copy_up_keeps_file_capabilities(init: Path, rootfs: Path) -> None:
    net_bind = 1 << 10
    shutil.copy(rootfs / "bin/busybox", rootfs / "mnt/busybox")
    os.setxattr(rootfs / "mnt/busybox", "security.capability", struct.pack("<5I", 0x02000001, net_bind, 0, 0, 0))
    steps = (
        *enter(rootfs, PROC, mount("tmpfs", "/mnt", copyup=1)),
        step("user", uid=1000, gid=1000, set_groups=1),
        step("capabilities"),
        step("execute", args=("/mnt/busybox", "grep", "CapPrm", "/proc/self/status")),
    )
    assert int(ran(run(init, *steps, namespaces=NAMESPACES)).split()[1], 16) == net_bind


def test_copy_up_tells_when_it_does_not_fit(init: Path, rootfs: Path) -> None:
    (rootfs / "mnt/large").write_bytes(bytes(100_000))
    refused(inside(init, rootfs, mount("tmpfs", "/mnt", "size=16k", copyup=1)), errno.ENOSPC, "tmpcopyup", "/mnt")


def test_a_kept_mount_is_sealed_later(init: Path, rootfs: Path) -> None:
    steps = (
        PROC,
        mount("tmpfs", "/mnt", keep=5),
        mount("tmpfs", "/mnt/sub"),
        step("seal_mount", keep=5, attr_set=RDONLY),
    )
    found = mounts(ran(inside(init, rootfs, *steps, script="cat /proc/self/mountinfo")))
    assert "ro" in found["/mnt"].options
    assert "rw" in found["/mnt/sub"].options
    refused(inside(init, rootfs, step("seal_mount", keep=5, attr_set=RDONLY)), errno.EINVAL)
    refused(inside(init, rootfs, mount("tmpfs", "/mnt", keep=65)), errno.EINVAL)


def test_a_mount_on_the_root_becomes_the_root(init: Path, rootfs: Path) -> None:
    (rootfs / "self").symlink_to("/")
    steps = (bind(rootfs_copy(rootfs), "/self"), PROC)
    assert ran(inside(init, rootfs, *steps, script="cat /which")) == "copy\n"


def rootfs_copy(rootfs: Path) -> Path:
    copy = rootfs.parent / "copy"
    copy_rootfs(rootfs, copy)
    (copy / "which").write_text("copy\n")
    return copy


@pytest.mark.parametrize("target", ["/proc/sys/kernel", "/link/kernel", "/proc/self/attr/current"])
def test_nothing_is_mounted_inside_proc(init: Path, rootfs: Path, target: str) -> None:
    """CVE-2019-16884: by any path that leads into /proc."""
    (rootfs / "link").symlink_to("proc/sys")
    source = "/bin/busybox" if target.endswith("current") else "/tmp"
    refused(inside(init, rootfs, PROC, bind(source, target)), 0, "cannot be mounted because it is inside /proc")


def test_what_is_mounted_on_proc_is_a_procfs(init: Path, rootfs: Path) -> None:
    (rootfs / "link").symlink_to("proc")
    for target in ("/proc", "/link"):
        refused(inside(init, rootfs, PROC, bind("/tmp", target)), 0, "not of type proc")
    ran(inside(init, rootfs, bind("/proc", "/proc", recursive=1)))
    ran(inside(init, rootfs, PROC, bind("/bin/busybox", "/proc/uptime")))


# -- binds


def test_bind_attributes(init: Path, rootfs: Path, host_file: Path) -> None:
    steps = (
        PROC,
        bind(host_file.parent, "/srv", attr_set=RDONLY | NOATIME),
        bind(host_file, "/etc/file", attr_set=NOEXEC, propagation=MS_PRIVATE),
        bind(host_file.parent, "/mnt", rattr_set=NOSUID),
        step("remount", target="/srv", attr_set=NODEV, attr_clr=RDONLY),
    )
    out = ran(inside(init, rootfs, *steps, script="cat /srv/file; cat /etc/file; echo; cat /proc/self/mountinfo"))
    assert out.startswith("host'shost's\n")
    found = mounts(out.partition("\n")[2])
    assert found["/srv"].options == {"rw", "nodev", "noatime"}
    assert found["/etc/file"].options == {"rw", "noexec", "relatime"}
    assert found["/mnt"].options == {"rw", "nosuid", "relatime"}


def test_recursive_binds_take_what_is_mounted_below(init: Path, rootfs: Path) -> None:
    steps = (PROC, mount("tmpfs", "/mnt"), mount("tmpfs", "/mnt/sub"))
    # /proc/PID/root does not work as the source of a bind; the host's own tree has enough mounts.
    found = mounts(ran(inside(init, rootfs, *steps, bind("/dev", "/srv", recursive=1, rattr_set=RDONLY),
                              bind("/dev", "/opt"), script="cat /proc/self/mountinfo")))  # fmt: skip
    below = [point for point in found if point.startswith("/srv/")]
    assert below
    assert all("ro" in found[point].options for point in below)
    assert not [point for point in found if point.startswith("/opt/")]


def test_a_bind_by_descriptor_and_its_alternative(init: Path, rootfs: Path, host_file: Path) -> None:
    tree = native.open_tree(-100, str(host_file.parent), 1 | 0x80000)
    try:
        blocked = step("bind", source="/no/such", target="/srv", on_errno=(errno.ENOENT,))
        instead = step("bind", fallback_level=1, source="x", source_fd="source:0", target="/srv")
        steps = (*enter(rootfs, blocked, instead), shell("cat /srv/file"))
        assert ran(run(init, *steps, namespaces=NAMESPACES, slots={"source:0": tree})) == "host's"
    finally:
        os.close(tree)


def test_a_missing_source(init: Path, rootfs: Path) -> None:
    refused(inside(init, rootfs, bind("/no/such", "/mnt")), errno.ENOENT, "open_tree /no/such")


# -- devices


def test_nodes_have_exactly_their_mode_and_owner(init: Path, rootfs: Path) -> None:
    nodes = (
        step("mknod", path="/dev/a", mode=stat.S_IFCHR | 0o640, major=1, minor=5, uid=3, gid=4),
        step("mknod", path="/dev/sub/b", mode=stat.S_IFBLK | 0o777, major=7, minor=9),
        step("mknod", path="/dev/c", mode=stat.S_IFIFO | 0o606),
    )
    show = "stat -c '%n %F %a %t:%T %u:%g' /dev/a /dev/sub/b /dev/c"
    assert ran(inside(init, rootfs, *DEV, *nodes, *nodes, script=show)).splitlines() == [
        "/dev/a character special file 640 1:5 3:4",
        "/dev/sub/b block special file 777 7:9 0:0",
        "/dev/c fifo 606 0:0 0:0",
    ]


def test_another_node_of_that_name_is_refused(init: Path, rootfs: Path) -> None:
    for other in ({"minor": 5}, {"mode": stat.S_IFBLK | 0o666}):
        values = {"mode": MKNOD, "major": 1, "minor": 3, **other}
        refused(
            inside(init, rootfs, *DEV, step("mknod", 0, (), path="/dev/null", **values)),
            errno.EEXIST,
            "a different file",
        )


def test_a_device_by_bind(init: Path, rootfs: Path) -> None:
    steps = (mount("tmpfs", "/dev"), step("bind_device", source="/dev/null", path="/dev/sub/null"))
    assert ran(inside(init, rootfs, *steps, script="stat -c '%F %t:%T' /dev/sub/null; echo x >/dev/sub/null")) == (
        "character special file 1:3\n"
    )
    refused(inside(init, rootfs, step("bind_device", source="/etc/passwd", path="/dev/x")), 0, "is not a device")


def test_a_symlinked_dev_is_harmless(init: Path, rootfs: Path, host_file: Path) -> None:
    """CVE-2026-41579: nodes and links stay inside, whatever /dev and its entries are."""
    shutil.rmtree(rootfs / "dev")
    (rootfs / "dev").symlink_to(host_file.parent)
    inner = rootfs / str(host_file.parent).lstrip("/")
    inner.mkdir(parents=True)
    (inner / "tty").symlink_to(host_file)
    before = sorted(os.listdir(host_file.parent))
    steps = (
        step("mknod", path="/dev/null", mode=MKNOD, major=1, minor=3),
        step("symlink", target="/proc/self/fd", path="/dev/fd"),
        step("symlink", target="pts/ptmx", path="/dev/ptmx"),
    )
    ran(inside(init, rootfs, *steps))
    assert sorted(os.listdir(host_file.parent)) == before
    assert sorted(os.listdir(inner)) == ["fd", "null", "ptmx", "tty"]
    refused(inside(init, rootfs, step("bind_device", source="/dev/tty", path="/dev/tty")), errno.ELOOP, "/dev/tty")


def test_links_replace_only_the_ptmx(init: Path, rootfs: Path) -> None:
    (rootfs / "dev/ptmx").symlink_to("/host/ptmx")
    (rootfs / "dev/fd").symlink_to("elsewhere")
    steps = (
        step("symlink", target="pts/ptmx", path="/dev/ptmx"),
        step("symlink", target="/proc/self/fd", path="/dev/fd"),
    )
    assert ran(inside(init, rootfs, *steps, script="readlink /dev/ptmx; readlink /dev/fd")) == "pts/ptmx\nelsewhere\n"


@pytest.mark.parametrize("kind", ["directory", "file", "device", "link"])
def test_what_the_image_has_for_a_ptmx(init: Path, rootfs: Path, kind: str) -> None:
    """The init replaces it, unless it is a directory, and leaves nothing else beside it."""
    ptmx = rootfs / "dev/ptmx"
    if kind == "directory":
        ptmx.mkdir()
    elif kind == "file":
        ptmx.write_text("x")
    elif kind == "device":
        os.mknod(ptmx, stat.S_IFCHR | 0o666, os.makedev(5, 2))
    else:
        ptmx.symlink_to("pts/ptmx")
    others = sorted(os.listdir(rootfs / "dev"))
    steps = (step("symlink", target="pts/ptmx", path="/dev/ptmx"),)
    if kind == "directory":
        refused(inside(init, rootfs, *steps), errno.EISDIR, "/dev/ptmx")
    else:
        assert ran(inside(init, rootfs, *steps, script="readlink /dev/ptmx")) == "pts/ptmx\n"
    assert sorted(os.listdir(rootfs / "dev")) == others


def test_standard_streams_get_the_containers_null(init: Path, rootfs: Path) -> None:
    steps = (
        *enter(rootfs, PROC, *DEV),
        step("reopen_null"),
        shell("stat -L -c %d /dev /proc/self/fd/0 | uniq | wc -l; readlink /proc/self/fd/0"),
    )
    assert ran(run(init, *steps, namespaces=NAMESPACES)) == "1\n/dev/null\n"


# -- what is removed


def test_masked_paths(init: Path, rootfs: Path) -> None:
    (rootfs / "srv/secret").mkdir(parents=True, exist_ok=True)
    (rootfs / "srv/secret/x").write_text("x")
    paths = ("/srv", "/etc/passwd", "/etc/group", "/no/such", "/proc/cpuinfo", "/mnt", "/root")
    masks = [step("mask_path", path=path) for path in paths]
    script = (
        "cat /etc/passwd /proc/cpuinfo; ls -A /srv /mnt; touch /srv/x 2>/dev/null || echo ro;"
        "stat -c '%F %t:%T' /etc/passwd; cat /proc/self/mountinfo"
    )
    out = ran(inside(init, rootfs, PROC, *DEV, *masks, script=script))
    head, _, table = out.partition("character special file 1:3\n")
    assert head == "/mnt:\n\n/srv:\nro\n"
    found = mounts(table)
    assert {found[path].fstype for path in ("/srv", "/mnt", "/root")} == {"tmpfs"}
    assert len({found[path].device for path in ("/srv", "/mnt", "/root")}) == 1
    assert all("ro" in found[path].options for path in ("/srv", "/mnt", "/root"))


@pytest.mark.parametrize("kind", ["file", "symlink", "zero"])
def test_a_false_null_masks_nothing(init: Path, rootfs: Path, host_file: Path, kind: str) -> None:
    """CVE-2025-31133."""
    null = rootfs / "dev/null"
    null.unlink(missing_ok=True)
    if kind == "file":
        null.write_text("")
    elif kind == "symlink":
        null.symlink_to("/proc/sys/kernel/core_pattern")
    else:
        os.mknod(null, MKNOD, os.makedev(1, 5))
    mask = step("mask_path", path="/etc/passwd")
    refused(inside(init, rootfs, PROC, mask), 0, "can't mask paths: container's /dev/null is invalid")
    refused(
        run(init, *enter(rootfs, PROC), step("reopen_null"), mask, namespaces=NAMESPACES), 0, "/dev/null is invalid"
    )


def test_readonly_paths(init: Path, rootfs: Path) -> None:
    steps = (
        PROC,
        step("readonly_path", path="/proc/sys"),
        step("readonly_path", path="/etc/passwd"),
        step("readonly_path", path="/no"),
    )
    script = "for f in /proc/sys/kernel/hostname /etc/passwd; do (echo x >$f) 2>/dev/null || echo ro; done"
    assert ran(inside(init, rootfs, *steps, script=script)) == "ro\nro\n"


# -- namespaces


def test_names_loopback_and_sysctl(init: Path, rootfs: Path) -> None:
    steps = (
        PROC, step("hostname", name="box"), step("domainname", name="example"), step("loopback_up"),
        step("sysctl", path="net/ipv4/ip_forward", value="1"), step("sysctl", path="kernel/shm_rmid_forced", value="1"),
    )  # fmt: skip
    files = "/proc/sys/kernel/domainname /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shm_rmid_forced"
    script = f"hostname; cat {files}; ip link show lo"
    out = ran(inside(init, rootfs, *steps, script=script))
    assert out.splitlines()[:4] == ["box", "example", "1", "1"]
    assert "UP" in out.splitlines()[4]


@pytest.mark.skipif(not Path("/proc/self/ns/time").exists(), reason="this kernel has no time namespaces")
def test_time_namespace(init: Path, rootfs: Path) -> None:
    steps = (
        step("unshare", flags=0x80), step("time_offset", clock="boottime", secs=1_000_000, nanosecs=5),
        step("time_offset", clock="monotonic", secs=-1, nanosecs=999_999_999), step("enter_time"),
    )  # fmt: skip
    show = "cat /proc/self/timens_offsets; cut -d. -f1 /proc/uptime"
    out = ran(inside(init, rootfs, *steps, PROC, script=show)).splitlines()
    assert out[0].split() == ["monotonic", "-1", "999999999"]
    assert out[1].split() == ["boottime", "1000000", "5"]
    assert int(out[2]) >= 1_000_000


def test_a_session_keyring_of_its_own(init: Path, rootfs: Path) -> None:
    out = ran(inside(init, rootfs, step("session_keyring", name="_ses.test"), PROC, script="cat /proc/keys"))
    line = next(line for line in out.splitlines() if "_ses.test" in line)
    assert int(line.split()[4], 16) & 0x00080000


def test_set_nondumpable(init: Path, session_directory: Path) -> None:
    """CVE-2016-9962. The files of such a process in /proc are root's, whatever user runs it. N2: user 1000 runs a copy
    of the init, since user 1000 can't reach a clone in /root."""
    owners = []
    init = Path(shutil.copy(init, session_directory / "init"))
    for steps in ((), (step("set_nondumpable"),)):
        plan = plan_of([*steps, step("request", what="look")])
        launch = Launch(init, wire.encode(plan, {}), namespaces=("--setuid", "1000"))
        try:
            message = launch.message()
            assert message is not None
            assert message.detail == "look"
            owners.append(os.stat(f"/proc/{launch.process.pid}/fd").st_uid)
        finally:
            launch.close()
    assert owners == [1000, 0]


# -- the process


STATUS = "grep -E '^(Uid|Gid|Groups|Cap)' /proc/self/status"


def status(text: str) -> dict[str, list[str]]:
    return {line.split(":")[0]: line.split(":")[1].split() for line in text.splitlines()}


def test_user_groups_and_capabilities(init: Path, rootfs: Path) -> None:
    net_bind, kill, chown = 1 << 10, 1 << 5, 1
    steps = (
        step("bounding", keep=net_bind | kill | chown),
        step("user", uid=1000, gid=1001, groups=("9", "4294967294", "8", "7", "5"), set_groups=1),
        step("capabilities", effective=kill, permitted=net_bind | kill, inheritable=net_bind),
        step("ambient", caps=net_bind),
    )
    got = status(ran(run(init, *enter(rootfs, PROC), *steps, shell(STATUS), namespaces=NAMESPACES)))
    assert got["Uid"] == ["1000"] * 4
    assert got["Gid"] == ["1001"] * 4
    assert got["Groups"] == ["5", "7", "8", "9", "4294967294"]  # the kernel sorts them
    assert {name: int(value[0], 16) for name, value in got.items() if name.startswith("Cap")} == {
        "CapInh": net_bind, "CapPrm": net_bind, "CapEff": net_bind, "CapBnd": net_bind | kill | chown,
        "CapAmb": net_bind,
    }  # fmt: skip


def test_inheritable_and_ambient_are_as_configured_not_as_the_callers(init: Path, rootfs: Path) -> None:
    """CVE-2022-29162."""
    steps = (step("capabilities", effective=1, permitted=1, inheritable=0), step("ambient"))
    got = status(ran(run(init, *enter(rootfs, PROC), *steps, shell(STATUS), namespaces=NAMESPACES)))
    assert (int(got["CapInh"][0], 16), int(got["CapAmb"][0], 16)) == (0, 0)


def test_ambient_capabilities_of_before_are_cleared(init: Path, rootfs: Path) -> None:
    some = step("capabilities", effective=3, permitted=3, inheritable=3)
    steps = (some, step("ambient", caps=3), step("ambient", caps=2))
    got = status(ran(run(init, *enter(rootfs, PROC), *steps, shell(STATUS), namespaces=NAMESPACES)))
    assert int(got["CapAmb"][0], 16) == 2


def test_an_ambient_capability_that_is_not_inheritable(init: Path, rootfs: Path) -> None:
    steps = (step("capabilities", effective=1, permitted=1, inheritable=0), step("ambient", caps=1 << 10))
    refused(run(init, *steps), errno.EPERM, "can't raise ambient capability 10")


@pytest.mark.parametrize("groups", [("x",), ("-1",), ("4294967296",)])
def test_impossible_groups(init: Path, rootfs: Path, groups: tuple[str, ...]) -> None:
    refused(run(init, step("user", groups=groups, set_groups=1)), errno.EINVAL, groups[0])


def test_the_program_must_be_the_users_to_execute(init: Path, rootfs: Path) -> None:
    (rootfs / "bin/own").write_text("#!/bin/sh\n")
    (rootfs / "bin/own").chmod(0o700)
    user = (step("user", uid=1000, gid=1000, set_groups=1), step("capabilities"))
    outcome = run(init, *enter(rootfs), *user, step("find_executable", name="/bin/own"), namespaces=NAMESPACES)
    refused(outcome, errno.EACCES, 'exec: "/bin/own"')


def test_home_from_the_containers_passwd(init: Path, rootfs: Path) -> None:
    long = "x:" * 6000 + "\n"
    lines = (
        "# comment\nbroken:line\n"
        + long
        + "near:x:10:0::/wrong:\nme:x:1000:1:Me:/home/me:/bin/sh\nlast:x:7:7::/seven:/bin/sh"
    )
    (rootfs / "etc/passwd").write_text(lines)
    for uid, home in ((1000, "/home/me"), (7, "/seven"), (1, "/"), (100, "/")):
        steps = (*enter(rootfs), step("home", uid=uid), shell("echo $HOME"))
        assert ran(run(init, *steps, namespaces=NAMESPACES)) == home + "\n"


@pytest.mark.parametrize("kind", ["fifo", "missing", "directory"])
def test_home_with_a_strange_passwd(init: Path, rootfs: Path, kind: str) -> None:
    (rootfs / "etc/passwd").unlink()
    if kind == "fifo":
        os.mkfifo(rootfs / "etc/passwd")
    elif kind == "directory":
        (rootfs / "etc/passwd").mkdir()
    assert ran(run(init, *enter(rootfs), step("home", uid=0), shell("echo $HOME"), namespaces=NAMESPACES)) == "/\n"


def test_a_working_directory_outside_of_the_root_is_refused(init: Path, rootfs: Path) -> None:
    """CVE-2024-21626: through a leaked descriptor."""
    leaked = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        steps = (*enter(rootfs, PROC), step("chdir", path=f"/proc/self/fd/{leaked}"), shell("ls"))
        outcome = run(init, *steps, namespaces=NAMESPACES, slots={"source:0": leaked})
        refused(outcome, errno.ELOOP, f'chdir to cwd ("/proc/self/fd/{leaked}")')
    finally:
        os.close(leaked)


def test_standard_streams_belong_to_the_user_except_the_null_device(init: Path, rootfs: Path) -> None:
    owner = os.stat("/dev/null").st_uid
    script = "stat -L -c %u /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2"
    out = ran(
        run(init, *enter(rootfs, PROC, *DEV), step("stdio_owner", uid=1000), shell(script), namespaces=NAMESPACES)
    )
    assert out == f"{owner}\n1000\n1000\n"  # stdin is /dev/null
    assert owner != 1000, "the machine's /dev/null had been given away before"


def test_a_hook_sees_the_containers_root_after_the_pivot(init: Path, rootfs: Path) -> None:
    hook = step("container_hook", path="/bin/sh", args=("sh", "-c", "cat >/state"), state_head="[", state_tail="]")
    assert ran(run(init, *enter(rootfs), hook, shell("cat /state"), namespaces=NAMESPACES)) == "[1]"


# -- the terminal


DEVPTS = mount("devpts", "/dev/pts", "newinstance", "ptmxmode=0666", "mode=0620")


class Terminal:
    """A container with a terminal; `master` is the descriptor that it sent."""

    def __init__(self, init: Path, *steps: Step) -> None:
        self.launch = Launch(init, wire.encode(plan_of(steps), {}), namespaces=NAMESPACES)
        message = self.launch.message()
        assert message is not None
        assert (message.type, message.detail) == (wire.REQUEST, "send_console"), message.detail
        (self.master,) = self.launch.received
        self.launch.answer()

    def finish(self) -> tuple[Outcome, str]:
        outcome = Outcome()
        self.launch.serve(outcome)
        text = b""
        while True:
            try:
                text += os.read(self.master, 1000)
            except OSError as error:
                if error.errno == errno.EIO:  # the last slave is closed
                    break
                raise
        self.launch.finish(outcome)
        os.close(self.master)
        self.launch.close()
        return outcome, text.decode()


def terminal(init: Path, rootfs: Path, script: str, *before: Step) -> tuple[Outcome, str]:
    steps = (
        *enter(rootfs, PROC, *DEV, DEVPTS, *before,
               step("console", ptmx="/dev/pts/ptmx", width=91, height=17, mount=1), step("send_console")),
        step("terminal_stdio"), shell(script),
    )  # fmt: skip
    return Terminal(init, *steps).finish()


def test_the_terminal(init: Path, rootfs: Path) -> None:
    script = "tty; stty size; stty -a | grep -o -e '.onlcr'; stat -c %F /dev/console; echo x >/dev/console; : </dev/tty"
    tty = step("mknod", path="/dev/tty", mode=MKNOD, major=5, minor=0)
    outcome, text = terminal(init, rootfs, script, tty)
    assert (outcome.error, outcome.code) == (None, 0), outcome
    # The settings of output are the kernel's defaults: the receiver of the master decides about them.
    assert text.splitlines() == ["/dev/pts/0", "17 91", " onlcr", "character special file", "x"]


def test_the_masters_size_can_be_changed(init: Path, rootfs: Path) -> None:
    steps = enter(rootfs, PROC, *DEV, DEVPTS, step("console", ptmx="/dev/pts/ptmx"), step("send_console"))
    console = Terminal(init, *steps, step("terminal_stdio"), step("request", what="resize"), shell("stty size"))
    assert console.launch.message() is not None
    fcntl.ioctl(console.master, termios.TIOCSWINSZ, struct.pack("HHHH", 5, 6, 0, 0))
    console.launch.answer()
    outcome, text = console.finish()
    assert (outcome.error, text.split()) == (None, ["5", "6"])


def refuse_console(init: Path, rootfs: Path, *before: Step) -> Outcome:
    return inside(init, rootfs, PROC, *before, step("console", ptmx="/dev/pts/ptmx", mount=1))


def test_a_ptmx_that_is_not_devpts_is_refused(init: Path, rootfs: Path) -> None:
    """CVE-2025-52565."""
    os.mknod(rootfs / "dev/ptmx0", stat.S_IFCHR | 0o666, os.makedev(5, 2))
    (rootfs / "dev/pts").mkdir(exist_ok=True)
    os.mknod(rootfs / "dev/pts/ptmx", stat.S_IFCHR | 0o666, os.makedev(5, 2))
    refused(refuse_console(init, rootfs), 0, "/dev/pts/ptmx is not on devpts")


def test_a_ptmx_with_something_mounted_on_it_is_refused(init: Path, rootfs: Path) -> None:
    refused(refuse_console(init, rootfs, DEVPTS, bind("/dev/null", "/dev/pts/ptmx")), errno.EXDEV, "/dev/pts/ptmx")


def test_a_symlinked_console_is_refused(init: Path, rootfs: Path, host_file: Path) -> None:
    """CVE-2025-52565: the slave must not be mounted where a link points to."""
    (rootfs / "dev/console").symlink_to("/etc/passwd")
    refused(refuse_console(init, rootfs, DEVPTS), errno.ELOOP, "/dev/console")


# -- when /proc is another file system


def test_writes_to_proc_are_the_hosts_procfs_or_fail(init: Path, rootfs: Path) -> None:
    """CVE-2025-52881, CVE-2019-19921: a /proc that the container has made receives nothing."""
    (rootfs / "proc/sys/net/ipv4").mkdir(parents=True)
    (rootfs / "proc/sys/net/ipv4/ip_forward").write_text("image's")
    sysctl = step("sysctl", path="net/ipv4/ip_forward", value="1")
    steps = (*enter(rootfs), sysctl, shell("cat /proc/sys/net/ipv4/ip_forward"))
    assert ran(run(init, *steps, namespaces=NAMESPACES)) == "image's"


def test_a_false_proc_on_the_host_is_not_taken(init: Path, tmp_path: Path, private_mounts: None) -> None:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    plan = os.memfd_create("plan")
    os.write(plan, wire.encode(plan_of([step("oom_score_adj", value=1), shell("true")]), {}))
    script = f"mount -t tmpfs none /proc && mkdir -p /proc/self && exec {init} {right.fileno()} {plan}"
    with left, right:
        done = subprocess.run(["unshare", "-m", "sh", "-c", script], pass_fds=(right.fileno(), plan), check=False)
        assert done.returncode == 1
        message = wire.decode_message(left.recv(wire.MESSAGE_SIZE))
    os.close(plan)
    assert "the host has no procfs on /proc" in message.detail


def test_a_file_mounted_over_in_the_hosts_proc_is_not_written(init: Path, tmp_path: Path, private_mounts: None) -> None:
    """CVE-2025-52881: a mount on a file of procfs, even of another file of procfs, is another mount. The init writes in
    a procfs of its own, where nothing is mounted over the file."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    look = shell("uname -n; cat /proc/sys/kernel/domainname")
    plan = os.memfd_create("plan")
    os.write(plan, wire.encode(plan_of([step("sysctl", path="kernel/hostname", value="meant"), look]), {}))
    over = "mount --bind /proc/sys/kernel/domainname /proc/sys/kernel/hostname"
    script = f"{over} && exec {init} {right.fileno()} {plan}"
    with left, right:
        command = ["unshare", "-mu", "sh", "-c", script]
        done = subprocess.run(command, pass_fds=(right.fileno(), plan), capture_output=True, text=True, check=False)
    os.close(plan)
    domain = Path("/proc/sys/kernel/domainname").read_text()
    assert (done.returncode, done.stdout) == (0, f"meant\n{domain}")
