"""`mounts`, `root`, masked and read-only paths, rootfsPropagation: what the container sees of its file systems."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pyrunc.libcontainer.plan.host import kernel_version
from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Runtime

HostMount = Callable[..., Path]

MOUNTINFO = "cat /proc/self/mountinfo"

NOT_RUNC = pytest.mark.own("the propagation is lost on the way, or fails")


@pytest.mark.purev2
def test_types(runtime: Runtime, bundle: Bundle) -> None:
    bundle.namespace("network")
    bundle.mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k")
    bundle.mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev")
    bundle.mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro")
    bundle.mount("/run", "tmpfs", "tmpfs", "nosuid")
    out = runtime.inside(bundle, f"{MOUNTINFO}; ls /sys/class/net; stat -c %a /dev/shm")
    for point, fstype, source, options in (
        ("/proc", "proc", "proc", {"rw", "relatime"}),
        ("/dev", "tmpfs", "tmpfs", {"rw", "nosuid"}),
        ("/dev/pts", "devpts", "devpts", {"rw", "nosuid", "noexec"}),
        ("/dev/shm", "tmpfs", "shm", {"nosuid", "nodev", "noexec"}),
        ("/dev/mqueue", "mqueue", "mqueue", {"nosuid", "nodev", "noexec"}),
        ("/sys", "sysfs", "sysfs", {"ro", "nosuid", "nodev", "noexec"}),
        ("/run", "tmpfs", "tmpfs", {"rw", "nosuid"}),
    ):
        mount = host.mount_at(out, point)
        assert (mount.fstype, mount.source) == (fstype, source)
        assert options <= mount.options, mount
    assert {"mode=620", "ptmxmode=666", "gid=5"} <= host.mount_at(out, "/dev/pts").super_options
    assert {"size=65536k", "mode=755"} <= host.mount_at(out, "/dev").super_options
    # sysfs of the container's own network namespace
    assert out.split()[-2:] == ["lo", "1777"]


def test_proc_is_of_the_container_s_pid_namespace(runtime: Runtime, bundle: Bundle) -> None:
    out = runtime.inside(bundle, "cat /proc/1/cmdline | tr '\\0' ' '; echo; ls /proc | grep '^[0-9]' | sort -n")
    assert out.startswith("/bin/sh -c")
    assert out.splitlines()[1] == "1"
    assert len(out.splitlines()) < 8


def test_mounts_are_made_in_the_listed_order(runtime: Runtime, bundle: Bundle) -> None:
    bundle.mount("/mnt", "tmpfs", "first")
    bundle.mount("/mnt/a/b", "tmpfs", "second")
    bundle.mount("/mnt/a/b/c", "tmpfs", "third")
    bundle.mount("/srv/x", "tmpfs", "hidden")
    bundle.mount("/srv", "tmpfs", "above")
    out = runtime.inside(bundle, f"{MOUNTINFO}; echo; ls /srv")
    sources = [mount.source for mount in host.mountinfo(out) if mount.point.startswith(("/mnt", "/srv"))]
    assert sources == ["first", "second", "third", "hidden", "above"]
    assert out.endswith("\n\n")


def test_relative_destination_is_below_the_root(runtime: Runtime, bundle: Bundle) -> None:
    bundle.mount("mnt/relative", "tmpfs", "relative")
    out = runtime.inside(bundle, MOUNTINFO)
    assert host.mount_at(out, "/mnt/relative").source == "relative"


@pytest.mark.purev2
def test_cgroup_mount_shows_the_container_s_own_part(runtime: Runtime, bundle: Bundle) -> None:
    if not host.cgroup2_mount():
        pytest.skip("needs a cgroup2 hierarchy")
    bundle.namespace("cgroup")
    bundle.mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro")
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro")
    out = runtime.inside(
        bundle,
        f"{MOUNTINFO}; cat /sys/fs/cgroup/cgroup.procs; cat /proc/self/cgroup; mkdir /sys/fs/cgroup/x 2>&1; true",
    )
    mount = host.mount_at(out, "/sys/fs/cgroup")
    assert mount.fstype == "cgroup2"
    assert {"ro", "nosuid", "nodev", "noexec"} <= mount.options
    lines = out.splitlines()
    assert "1" in lines
    assert "0::/" in lines
    assert "Read-only file system" in lines[-1]


@pytest.mark.own("it mounts the whole hierarchy")
def test_cgroup_mount_without_a_cgroup_namespace(runtime: Runtime, bundle: Bundle) -> None:
    if not host.cgroup2_mount():
        pytest.skip("needs a cgroup2 hierarchy")
    bundle.mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro")
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro")
    out = runtime.inside(bundle, MOUNTINFO)
    assert host.mount_at(out, "/sys/fs/cgroup").fstype == "cgroup2"


def test_bind_of_a_directory(runtime: Runtime, bundle: Bundle) -> None:
    source = runtime.work / "source"
    source.mkdir()
    (source / "from-host").write_text("host\n")
    bundle.mount("/mnt", "bind", str(source), "bind")
    assert runtime.inside(bundle, "cat /mnt/from-host; echo container > /mnt/from-container") == "host\n"
    assert (source / "from-container").read_text() == "container\n"


def test_bind_of_a_file(runtime: Runtime, bundle: Bundle) -> None:
    source = runtime.work / "file"
    source.write_text("host\n")
    bundle.mount("/etc/passwd", "bind", str(source), "bind", "ro")
    out = runtime.inside(bundle, f"cat /etc/passwd; echo x 2>&1 > /etc/passwd; {MOUNTINFO}")
    assert out.startswith("host\n")
    assert "ro" in host.mount_at(out, "/etc/passwd").options
    assert source.read_text() == "host\n"


def test_bind_of_a_socket_and_a_device(runtime: Runtime, bundle: Bundle) -> None:
    fifo = runtime.work / "fifo"
    os.mkfifo(fifo)
    bundle.mount("/run/fifo", "bind", str(fifo), "bind")
    bundle.mount("/run/zero", "bind", "/dev/zero", "bind")
    out = runtime.inside(bundle, "stat -c '%F %n' /run/fifo /run/zero")
    assert out.splitlines() == ["fifo /run/fifo", "character special file /run/zero"]


def test_bind_source_relative_to_the_bundle(runtime: Runtime, bundle: Bundle) -> None:
    (bundle.path / "beside").mkdir()
    (bundle.path / "beside/file").write_text("beside\n")
    bundle.mount("/mnt", "bind", "beside", "bind")
    assert runtime.inside(bundle, "cat /mnt/file") == "beside\n"


def test_bind_source_that_is_a_symlink_is_followed_on_the_host(runtime: Runtime, bundle: Bundle) -> None:
    (runtime.work / "real").mkdir()
    (runtime.work / "real/file").write_text("real\n")
    (runtime.work / "link").symlink_to("real")
    bundle.mount("/mnt", "bind", str(runtime.work / "link"), "rbind")
    assert runtime.inside(bundle, "cat /mnt/file") == "real\n"


@pytest.mark.parametrize(
    ("type", "options"), [("bind", ("bind",)), ("none", ("rbind",)), ("bind", ("rbind",)), ("", ("rbind",))]
)
def test_what_makes_a_bind_mount_is_the_option(
    runtime: Runtime, bundle: Bundle, type: str, options: tuple[str, ...]
) -> None:
    source = runtime.work / "source"
    source.mkdir()
    (source / "file").write_text("here\n")
    bundle.mount("/mnt", type, str(source), *options)
    if not type:
        del bundle.mounts[-1]["type"]
    assert runtime.inside(bundle, "cat /mnt/file") == "here\n"


def test_missing_targets_are_made(runtime: Runtime, bundle: Bundle) -> None:
    (runtime.work / "file").write_text("file\n")
    (runtime.work / "directory").mkdir()
    bundle.mount("/opt/new/tmpfs", "tmpfs", "tmpfs")
    bundle.mount("/opt/new/file", "bind", str(runtime.work / "file"), "bind")
    bundle.mount("/opt/new/directory", "bind", str(runtime.work / "directory"), "bind")
    out = runtime.inside(bundle, "stat -c '%F %n' /opt/new/*; cat /opt/new/file; stat -c %a /opt /opt/new")
    assert out.splitlines() == [
        "directory /opt/new/directory",
        "regular file /opt/new/file",
        "directory /opt/new/tmpfs",
        "file",
        "755",
        "755",
    ]
    # The image has the targets; the mounts are gone.
    assert (bundle.rootfs / "opt/new/file").read_text() == ""


def test_mount_over_a_mount(runtime: Runtime, bundle: Bundle) -> None:
    (runtime.work / "directory").mkdir()
    (runtime.work / "directory/file").write_text("bound\n")
    bundle.mount("/mnt", "tmpfs", "tmpfs")
    bundle.mount("/mnt/sub", "bind", str(runtime.work / "directory"), "bind")
    out = runtime.inside(bundle, "cat /mnt/sub/file")
    assert out == "bound\n"
    assert not (bundle.rootfs / "mnt/sub").exists()


@pytest.mark.parametrize("link", ["/etc", "../../../../../../../../etc"])
@pytest.mark.parametrize("kind", ["tmpfs", "directory", "file"])
def test_symlinked_targets_stay_inside_the_rootfs(runtime: Runtime, bundle: Bundle, link: str, kind: str) -> None:
    """The image says /data is /etc: that is the image's /etc, never the host's."""
    (bundle.rootfs / "data").symlink_to(link)
    (runtime.work / "directory").mkdir()
    (runtime.work / "directory/inner").write_text("inner\n")
    (runtime.work / "file").write_text("inner\n")
    target = "/data/new/pyrunc-test"
    if kind == "tmpfs":
        bundle.mount(target, "tmpfs", "tmpfs")
    else:
        bundle.mount(target, "bind", str(runtime.work / kind), "bind")
    out = runtime.inside(bundle, MOUNTINFO)
    assert host.mount_at(out, "/etc/new/pyrunc-test")
    assert (bundle.rootfs / "etc/new/pyrunc-test").exists()
    assert not os.path.lexists("/etc/new")
    runtime.assert_nothing_left()


def test_dangling_symlink_as_a_target(runtime: Runtime, bundle: Bundle) -> None:
    (bundle.rootfs / "data").symlink_to("/var/not/yet")
    bundle.mount("/data", "tmpfs", "tmpfs")
    result = runtime.run(bundle.sh(MOUNTINFO), ok=False)
    if result.code == 0:
        assert host.mount_at(result.out, "/var/not/yet")
    assert not os.path.exists("/var/not")
    runtime.assert_nothing_left()


def test_a_directory_can_t_be_mounted_on_a_file(runtime: Runtime, bundle: Bundle) -> None:
    bundle.mount("/etc/passwd", "tmpfs", "tmpfs")
    result = runtime.refuse(bundle)
    assert "not a directory" in result.last_line
    if runtime.is_own:
        assert "/mounts/3" in result.last_line


def test_proc_must_be_mounted_on_an_ordinary_directory(runtime: Runtime, bundle: Bundle) -> None:
    """CVE-2019-19921: /proc of the image may not be a symlink."""
    (bundle.rootfs / "proc").rmdir()
    (bundle.rootfs / "proc").symlink_to("/tmp")
    result = runtime.refuse(bundle)
    assert "must be mounted on ordinary directory" in result.last_line


def test_missing_bind_source(runtime: Runtime, bundle: Bundle) -> None:
    bundle.mount("/mnt", "bind", str(runtime.work / "nowhere"), "bind")
    result = runtime.refuse(bundle)
    assert "nowhere" in result.last_line
    assert "no such file or directory" in result.last_line
    assert not (runtime.work / "nowhere").exists()


def test_unknown_file_system(runtime: Runtime, bundle: Bundle) -> None:
    bundle.mount("/mnt", "no-such-fs", "none")
    result = runtime.refuse(bundle)
    assert "no such device" in result.last_line


def test_rootfs_is_writable_unless_readonly(runtime: Runtime, bundle: Bundle) -> None:
    runtime.inside(bundle, "echo x > /new")
    assert (bundle.rootfs / "new").read_text() == "x\n"


def test_readonly_rootfs(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["root"]["readonly"] = True
    bundle.mount("/tmp", "tmpfs", "tmpfs")
    out = runtime.inside(bundle, f"{MOUNTINFO}; touch /new 2>&1; touch /tmp/new && echo writable")
    assert "ro" in host.mount_at(out, "/").options
    assert "Read-only file system" in out
    assert out.endswith("writable\n")
    # The container's mount is read-only, not the directory.
    (bundle.rootfs / "still").touch()


def test_readonly_rootfs_with_missing_targets(runtime: Runtime, bundle: Bundle) -> None:
    """Targets, devices and the working directory are made before the rootfs becomes read-only."""
    bundle.config["root"]["readonly"] = True
    bundle.mount("/opt/new", "tmpfs", "tmpfs")
    bundle.process["cwd"] = "/var/new/cwd"
    assert runtime.inside(bundle, "pwd; ls -d /opt/new") == "/var/new/cwd\n/opt/new\n"


@pytest.mark.parametrize("under", ["tmpfs", "rootfs"])
def test_rootfs_that_is_a_mount(runtime: Runtime, bundle: Bundle, host_mount: HostMount, under: str) -> None:
    if under == "tmpfs":
        tree = host_mount("tree")
    else:
        tree = host_mount("tree", "--bind", str(bundle.rootfs))
    if under == "tmpfs":
        (tree / "bin").mkdir()
        for name in ("proc", "dev"):
            (tree / name).mkdir()
        (tree / "bin/busybox").write_bytes((bundle.rootfs / "bin/busybox").read_bytes())
        (tree / "bin/busybox").chmod(0o755)
        for name in ("sh", "cat", "ls"):
            (tree / "bin" / name).symlink_to("busybox")
    bundle.config["root"]["path"] = str(tree)
    out = runtime.inside(bundle, "ls -d /bin; cat /proc/self/mountinfo")
    assert out.startswith("/bin\n")


def test_submounts_of_the_rootfs_are_seen(runtime: Runtime, bundle: Bundle, host_mount: HostMount) -> None:
    (host_mount("bundle/rootfs/mnt") / "in-submount").touch()
    assert runtime.inside(bundle, "ls /mnt") == "in-submount\n"


def test_nothing_of_the_old_root_is_left(runtime: Runtime, bundle: Bundle) -> None:
    out = runtime.inside(bundle, MOUNTINFO)
    points = [mount.point for mount in host.mountinfo(out)]
    assert points == ["/", "/proc", "/dev", "/dev/pts"]
    assert host.mount_at(out, "/").root.endswith("/bundle/rootfs")


def test_missing_rootfs(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["root"]["path"] = "nowhere"
    result = runtime.refuse(bundle)
    assert "nowhere" in result.last_line
    assert "no such file or directory" in result.last_line


def test_masked_paths(runtime: Runtime, bundle: Bundle) -> None:
    (bundle.rootfs / "srv/dir").mkdir()
    (bundle.rootfs / "srv/dir/secret").write_text("secret\n")
    bundle.linux["maskedPaths"] = ["/srv/file", "/srv/dir", "/proc/version", "/proc/acpi", "/no/such/path"]
    out = runtime.inside(
        bundle,
        "echo file: $(cat /srv/file); echo dir: $(ls /srv/dir); stat -c '%F %t:%T' /srv/file /proc/version; "
        f"touch /srv/dir/x 2>&1; {MOUNTINFO}",
    )
    lines = out.splitlines()
    assert lines[:2] == ["file:", "dir:"]
    assert lines[2:4] == ["character special file 1:3"] * 2
    assert "Read-only file system" in lines[4]
    mount = host.mount_at(out, "/srv/dir")
    assert mount.fstype == "tmpfs"
    assert "ro" in mount.options
    assert not (bundle.rootfs / "no").exists()


def test_paths_that_are_listed_twice_are_mounted_over_once(runtime: Runtime, bundle: Bundle) -> None:
    (bundle.rootfs / "srv/dir").mkdir()
    bundle.linux["maskedPaths"] = ["/srv/file", "/srv/dir", "/srv/file", "/srv/dir", "/srv/file"]
    bundle.linux["readonlyPaths"] = ["/etc", "/tmp", "/etc"]
    points = [line.split()[4] for line in runtime.inside(bundle, MOUNTINFO).splitlines()]
    assert [points.count(path) for path in ("/srv/file", "/srv/dir", "/etc", "/tmp")] == [1, 1, 1, 1]


def test_masked_path_that_is_a_symlink_masks_what_it_names(runtime: Runtime, bundle: Bundle) -> None:
    (bundle.rootfs / "srv/link").symlink_to("/srv/file")
    bundle.linux["maskedPaths"] = ["/srv/link"]
    assert runtime.inside(bundle, "cat /srv/link /srv/file") == ""


def test_readonly_paths(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["readonlyPaths"] = ["/proc/sys", "/proc/bus", "/srv", "/etc/passwd", "/no/such/path"]
    out = runtime.inside(
        bundle,
        f"{MOUNTINFO}; touch /srv/x 2>&1; (echo x > /etc/passwd) 2>&1; (echo x > /proc/sys/kernel/domainname) 2>&1; "
        "cat /srv/file",
    )
    for point in ("/proc/sys", "/proc/bus", "/srv", "/etc/passwd"):
        assert "ro" in host.mount_at(out, point).options
    assert out.count("Read-only file system") == 3
    assert out.endswith("from the image\n")
    assert (bundle.rootfs / "etc/passwd").read_text().startswith("root:")


def test_readonly_path_keeps_the_other_flags(runtime: Runtime, bundle: Bundle) -> None:
    bundle.mount("/mnt", "tmpfs", "tmpfs", "nosuid", "nodev", "noexec")
    bundle.linux["readonlyPaths"] = ["/mnt"]
    out = runtime.inside(bundle, MOUNTINFO)
    assert {"ro", "nosuid", "nodev", "noexec"} <= host.mount_at(out, "/mnt").options


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("private", set[str]()),
        ("rprivate", set[str]()),
        ("slave", {"master"}),
        ("rslave", {"master"}),
        ("", {"master"}),
        pytest.param("shared", {"shared"}, marks=NOT_RUNC),
        pytest.param("rshared", {"shared"}, marks=NOT_RUNC),
        pytest.param("unbindable", {"unbindable"}, marks=NOT_RUNC),
        pytest.param("runbindable", {"unbindable"}, marks=NOT_RUNC),
    ],
)
def test_rootfs_propagation(runtime: Runtime, bundle: Bundle, value: str, shown: set[str]) -> None:
    if value:
        bundle.linux["rootfsPropagation"] = value
    out = runtime.inside(bundle, MOUNTINFO)
    propagation = host.mount_at(out, "/").propagation
    if value in ("", "slave", "rslave"):
        # Either a slave of the mount that held it, or without peers: runc makes that mount private first.
        assert propagation <= {"master"}
    else:
        assert propagation - {"master"} == shown
    runtime.assert_nothing_left()


def test_rootfs_propagation_of_an_unknown_kind(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["rootfsPropagation"] = "sideways"
    result = runtime.refuse(bundle)
    assert "sideways" in result.last_line or "propagation" in result.last_line.lower()


def test_mounts_of_the_container_do_not_reach_the_host(runtime: Runtime, bundle: Bundle, host_mount: HostMount) -> None:
    """The rootfs is on a shared mount, as everything is under systemd."""
    bundle.mount("/mnt", "tmpfs", "inner")
    before = Path("/proc/self/mountinfo").read_text()
    container = runtime.started(bundle.args("sleep", "1000"))
    assert "inner" not in Path("/proc/self/mountinfo").read_text()
    container.delete("--force")
    assert Path("/proc/self/mountinfo").read_text() == before


def test_recursive_source_below_the_rootfs_itself(runtime: Runtime, bundle: Bundle) -> None:
    """Binding the host's / does not recurse into itself."""
    bundle.mount("/mnt", "bind", "/", "rbind", "rslave", "ro")
    out = runtime.inside(bundle, f"ls /mnt{bundle.path}; ls -d /mnt/proc/self")
    assert out.split() == ["config.json", "rootfs", "/mnt/proc/self"]


def test_many_mounts(runtime: Runtime, bundle: Bundle) -> None:
    for number in range(150):
        bundle.mount(f"/mnt/{number}", "tmpfs", "tmpfs", "size=4k")
    assert runtime.inside(bundle, "grep -c ' /mnt/' /proc/self/mountinfo") == "150\n"


@pytest.mark.parametrize("name", ["with space", "tab\there", "umlaut-ü", 'quote"', "back\\slash", "x" * 200])
def test_odd_names(runtime: Runtime, bundle: Bundle, name: str) -> None:
    source = runtime.work / name
    source.mkdir()
    (source / "file").write_text("odd\n")
    bundle.mount(f"/mnt/{name}", "bind", str(source), "bind")
    assert runtime.inside(bundle, "cat /mnt/*/file") == "odd\n"


def test_an_overlay_of_more_layers_than_one_option_holds(runtime: Runtime, bundle: Bundle) -> None:
    layers = []
    for number in range(40):
        layer = runtime.work / f"layer:{number}"
        layer.mkdir()
        (layer / f"file-{number}").touch()
        layers.append(str(layer).replace(":", "\\:"))
    lowerdir = "lowerdir=" + ":".join(layers)
    assert len(lowerdir) > 255
    bundle.mount("/mnt", "overlay", "overlay", lowerdir)
    if kernel_version(os.uname().release) < (6, 8):
        assert "longer than the 255 bytes" in runtime.refuse(bundle).last_line
    else:
        assert runtime.inside(bundle, "ls /mnt | wc -l") == "40\n"
