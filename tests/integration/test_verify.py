"""`verify` finds changes of a living container, made from outside or by itself, and names their pointers."""

from __future__ import annotations

import json
import os
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.marks import numa
from tests.support.runtime import REPOSITORY, Container, Runtime

pytestmark = pytest.mark.own("no other runtime verifies")

CAPABILITIES = ["CAP_CHOWN", "CAP_NET_ADMIN", "CAP_SYS_CHROOT", "CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"]
CHOWN, NET_ADMIN = 1 << 0, 1 << 12
CLONE_NEWUTS = "0x04000000"

Found = list[tuple[str, str, str]]


def verified(container: Container, code: int = 1) -> list[dict[str, str]]:
    """The differences that `verify` prints."""
    result = container.runtime("verify", "--format", "json", container.id)
    assert result.code == code, result
    value = json.loads(result.out)
    assert value["id"] == container.id
    differences: list[dict[str, str]] = value["differences"]
    return differences


def found(container: Container) -> Found:
    """The same as (pointer, expected, found)."""
    return [(entry["pointer"], entry["expected"], entry["found"]) for entry in verified(container)]


def enter(container: Container, *command: str, kinds: str = "-m -p") -> None:
    """Run a command in namespaces of the container, with all rights; without -m in `kinds`, the mount namespace is the
    host's.
    """
    subprocess.run(["nsenter", "-t", str(container.pid), *kinds.split(), "--", *command], check=True)


def shell(container: Container, script: str) -> None:
    """Run a script of the container's own busybox in it."""
    enter(container, "/bin/busybox", "sh", "-c", script)


@pytest.fixture
def box(bundle: Bundle) -> Bundle:
    """A bundle with every kind of thing that is compared, whose process only waits."""
    bundle.args("sleep", "1000")
    bundle.config["hostname"] = "the-box"
    bundle.config["domainname"] = "the-domain"
    bundle.process.update(
        capabilities=dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES),
        noNewPrivileges=False,
        oomScoreAdj=77,
        rlimits=[{"type": "RLIMIT_NOFILE", "soft": 512, "hard": 1024}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}],
        scheduler={"policy": "SCHED_BATCH", "nice": 5},
        ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 6},
        user={"uid": 0, "gid": 0, "umask": 0o027, "additionalGids": [5, 1001]},
    )
    bundle.linux.update(
        sysctl={"kernel.msgmax": "9999", "net.ipv4.ip_local_port_range": "2000 3000"},
        maskedPaths=["/proc/keys", "/proc/acpi", "/no/such/path", "/srv/hidden"],
        readonlyPaths=["/proc/sys", "/no/such/path"],
        devices=[{"path": "/dev/mine", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 3, "gid": 4}],
    )
    (bundle.rootfs / "srv/hidden").mkdir()
    bundle.namespace("network").namespace("cgroup")
    bundle.mount("/mnt", "tmpfs", "tmpfs", "nosuid", "nodev", "size=1m", "mode=750")
    bundle.mount("/srv/bound", "bind", str(bundle.path / "bound"), "bind", "ro", "nosuid")
    (bundle.path / "bound").mkdir()
    return bundle


def test_a_container_that_is_as_its_plan(runtime: Runtime, box: Bundle) -> None:
    container = runtime.container(box)
    assert verified(container, 0) == []
    container.start()
    assert verified(container, 0) == []
    result = runtime("verify", container.id)
    assert result.code == 0
    assert result.out.splitlines()[0] == f"{container.id}: as its plan"


def test_the_bundle_may_be_gone_or_changed(runtime: Runtime, box: Bundle) -> None:
    container = runtime.started(box)
    (box.path / "config.json").write_text("{")
    assert verified(container, 0) == []


# -- mounts


Change = Callable[[Container], object]


def remount(path: str, options: str) -> Change:
    return lambda container: enter(container, "/bin/busybox", "mount", "-o", f"remount,bind,{options}", path)


MOUNTS: dict[str, tuple[Change, Found]] = {
    "unmounted": (
        lambda container: shell(container, "umount /mnt"),
        [("/mounts/3", "tmpfs", "no mount there, but what is mounted at /")],
    ),
    "flag lost": (remount("/mnt", "nosuid,dev"), [("/mounts/3/options", "rw,nosuid,nodev", "rw,nosuid")]),
    "flag gained": (
        remount("/mnt", "nosuid,nodev,noexec"), [("/mounts/3/options", "rw,nosuid,nodev", "rw,nosuid,nodev,noexec")]
    ),
    "bind mount made writable": (
        remount("/srv/bound", "rw,nosuid"), [("/mounts/4/options", "ro,nosuid", "rw,nosuid")]
    ),
    "size": (
        lambda container: shell(container, "mount -o remount,size=2m /mnt"), [("/mounts/3/options", "1m", "2048k")]
    ),
    "read-only file system": (
        lambda container: shell(container, "mount -o remount,ro /mnt"),
        [("/mounts/3/options", "rw,nosuid,nodev", "ro,nosuid,nodev"), ("/mounts/3/options", "rw", "ro")],
    ),
    "shared": (
        lambda container: shell(container, "mount --make-shared /mnt"), [("/mounts/3/options", "not shared", "shared")]
    ),
    "root shared": (
        lambda container: shell(container, "mount --make-shared /"),
        [("/linux/rootfsPropagation", "not shared", "shared")],
    ),
    "other file system on top": (
        lambda container: shell(container, "mount -t ramfs ramfs /mnt"),
        [("/mounts/3", "tmpfs", "ramfs"), ("/mounts", "only those of the plan", "ramfs, rw")],
    ),
    "same file system on top": (
        lambda container: shell(container, "mount -t tmpfs -o nosuid,nodev,size=1m,mode=750 tmpfs /mnt"),
        [("/mounts", "only those of the plan", "tmpfs, rw,nosuid,nodev")],
    ),
    "another one": (
        lambda container: shell(container, "mount -t tmpfs -o noexec tmpfs /home"),
        [("/mounts", "none", "tmpfs, rw,noexec")],
    ),
    "mask taken off a file": (
        lambda container: shell(container, "umount /proc/keys"), [("/linux/maskedPaths/0", "hidden", "a file")]
    ),
    "mask taken off a directory": (
        lambda container: shell(container, "umount /srv/hidden"),
        [("/linux/maskedPaths/3", "hidden", "a directory of ext4")],
    ),
    "mask made writable": (
        remount("/srv/hidden", "rw"),
        [("/linux/maskedPaths/3", "hidden by a read-only tmpfs", "by one that is writable")],
    ),
    "read-only path unmounted": (
        lambda container: shell(container, "umount /proc/sys"),
        [("/linux/readonlyPaths/0", "bound on itself, read-only", "no mount there")],
    ),
    "read-only path writable": (
        remount("/proc/sys", "rw"), [("/linux/readonlyPaths/0", "read-only", "writable")]
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", MOUNTS)
def test_mounts(runtime: Runtime, box: Bundle, what: str) -> None:
    change, expected = MOUNTS[what]
    container = runtime.started(box)
    change(container)
    differences = found(container)
    root = host.mount_at(Path(f"/proc/{container.pid}/mountinfo").read_text(), "/").fstype
    assert differences == [
        (pointer, right, real.replace("directory of ext4", f"directory of {root}")) for pointer, right, real in expected
    ]


def test_a_bind_mount_of_another_directory(runtime: Runtime, box: Bundle) -> None:
    container = runtime.started(box)
    (box.path / "bound").rename(box.path / "other")
    source = str(box.path / "bound")
    assert found(container) == [("/mounts/4/source", source, "bound, but the source is not there any more")]
    (box.path / "bound").mkdir()
    assert found(container) == [("/mounts/4/source", source, "another file than is there now")]


@pytest.mark.parametrize("readonly", [True, False])
def test_the_root(runtime: Runtime, box: Bundle, readonly: bool) -> None:
    box.config["root"]["readonly"] = readonly
    (box.rootfs / "srv/bound").mkdir()
    container = runtime.started(box)
    assert verified(container, 0) == []
    shell(container, "mount -o remount,bind,rw /")
    if readonly:
        assert found(container) == [("/root/readonly", "read-only", "writable")]
    else:
        assert verified(container, 0) == []


def test_mounts_that_come_from_the_host_are_of_the_plan(runtime: Runtime, box: Bundle) -> None:
    source = box.path / "tree"
    (source / "below").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "first", source / "below"], check=True)
    try:
        box.mount("/opt", "bind", str(source), "rbind", "rslave")
        container = runtime.started(box)
        assert verified(container, 0) == []
        subprocess.run(["mount", "-t", "tmpfs", "second", source / "below"], check=True)
        assert host.mount_at(Path(f"/proc/{container.pid}/mountinfo").read_text(), "/opt/below").source == "second"
        assert verified(container, 0) == []
        subprocess.run(["umount", source / "below"], check=True)
    finally:
        subprocess.run(["umount", source / "below"], check=True)


# -- the process, changed from outside


def prlimit(soft: int, hard: int) -> Change:
    return lambda container: resource.prlimit(container.pid, resource.RLIMIT_NOFILE, (soft, hard))


def run(*command: str) -> Change:
    return lambda container: subprocess.run(
        [word.replace("PID", str(container.pid)) for word in command], check=True, stdout=subprocess.DEVNULL
    )


OUTSIDE: dict[str, tuple[Change, Found]] = {
    "rlimit": (
        prlimit(100, 1024), [("/process/rlimits/0", "soft 512, hard 1024", "soft 100, hard 1024")]
    ),
    "oom_score_adj": (
        lambda container: Path(f"/proc/{container.pid}/oom_score_adj").write_text("500"),
        [("/process/oomScoreAdj", "77", "500")],
    ),
    "policy": (
        run("chrt", "--idle", "--pid", "0", "PID"),
        [("/process/scheduler/policy", "SCHED_BATCH", "SCHED_IDLE")],
    ),
    "nice": (run("renice", "9", "PID"), [("/process/scheduler/nice", "5", "9")]),
    "ioprio": (
        run("ionice", "-c", "3", "-p", "PID"), [("/process/ioPriority", "IOPRIO_CLASS_BE 6", "IOPRIO_CLASS_IDLE 7")]
    ),
    "hostname": (
        lambda container: enter(container, "hostname", "another", kinds="-u"), [("/hostname", "the-box", "another")]
    ),
    "domainname": (
        lambda container: enter(container, "sh", "-c", "echo else > /proc/sys/kernel/domainname", kinds="-u"),
        [("/domainname", "the-domain", "else")],
    ),
    "sysctl of ipc": (
        lambda container: enter(container, "sh", "-c", "echo 7777 > /proc/sys/kernel/msgmax", kinds="-i"),
        [("/linux/sysctl/kernel.msgmax", "9999", "7777")],
    ),
    "sysctl of net": (
        lambda container: enter(
            container, "sh", "-c", "echo 2000 4000 > /proc/sys/net/ipv4/ip_local_port_range", kinds="-n"
        ),
        [("/linux/sysctl/net.ipv4.ip_local_port_range", "2000 3000", "2000 4000")],
    ),
    "device removed": (
        lambda container: shell(container, "rm /dev/mine"), [("/linux/devices/0", "c 1:5 0640 3:4", "missing")]
    ),
    "device's mode": (
        lambda container: shell(container, "chmod 666 /dev/mine"),
        [("/linux/devices/0", "c 1:5 0640 3:4", "c 1:5 0666 3:4")],
    ),
    "device's owner": (
        lambda container: shell(container, "chown 9:8 /dev/mine"),
        [("/linux/devices/0", "c 1:5 0640 3:4", "c 1:5 0640 9:8")],
    ),
    "another device in its place": (
        lambda container: shell(container, "rm /dev/null; mknod -m 666 /dev/null c 1 5"),
        [("/linux/devices", "c 1:3 0666 0:0", "c 1:5 0666 0:0")],
    ),
    "a file in its place": (
        lambda container: shell(container, "rm /dev/zero; echo > /dev/zero"),
        [("/linux/devices", "c 1:5 0666 0:0", "a file")],
    ),
    "a device more": (
        lambda container: shell(container, "mkdir /dev/deep; mknod -m 600 /dev/deep/mem c 1 1"),
        [("/linux/devices", "none", "c 1:1 0600")],
    ),
    "a link": (
        lambda container: shell(container, "ln -sf /etc/passwd /dev/stdin"),
        [("/linux/devices", "a link to /proc/self/fd/0", "a link to /etc/passwd")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", OUTSIDE)
def test_changed_from_outside(runtime: Runtime, box: Bundle, what: str) -> None:
    change, expected = OUTSIDE[what]
    container = runtime.started(box)
    change(container)
    assert found(container) == expected


def test_cpu_affinity(runtime: Runtime, box: Bundle) -> None:
    container = runtime.started(box)
    cpus = os.sched_getaffinity(container.pid)
    if len(cpus) < 2:
        pytest.skip("there is one CPU only")
    os.sched_setaffinity(container.pid, {min(cpus)})
    (difference,) = verified(container)
    assert difference["pointer"] == "/linux/resources/cpu/cpus"
    assert difference["found"] == f"{min(cpus)} (fewer than configured)"


def test_its_cgroup(runtime: Runtime, box: Bundle) -> None:
    container = runtime.started(box)
    cgroup = Path(host.cgroup2_mount()) / host.cgroup_of(container.pid)[1:]
    below = cgroup / "below"
    below.mkdir()
    (below / "cgroup.procs").write_text(str(container.pid))
    assert verified(container, 0) == []  # its limits apply there too
    other = cgroup.parent / f"{runtime.token}-other"
    other.mkdir()
    try:
        (other / "cgroup.procs").write_text(str(container.pid))
        own = "/" + str(cgroup.relative_to(host.cgroup2_mount()))
        assert found(container) == [("/linux/cgroupsPath", own, f"{own.rpartition('/')[0]}/{other.name}")]
        (cgroup / "cgroup.procs").write_text(str(container.pid))
    finally:
        host.wait_for("the cgroup to be empty", lambda: not (other / "cgroup.procs").read_text())
        other.rmdir()
        below.rmdir()


def test_device_rules(runtime: Runtime, box: Bundle) -> None:
    from pyrunc.libcontainer.cgroup import devices

    box.linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    container = runtime.started(box)
    assert verified(container, 0) == []
    cgroup = Path(host.cgroup2_mount()) / host.cgroup_of(container.pid)[1:]
    fd = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
    try:
        devices.replace(fd, devices.assemble(["a * * rwm allow"]))
    finally:
        os.close(fd)
    (difference,) = verified(container)
    assert difference["pointer"] == "/linux/resources/devices"
    assert difference["found"] == "another program is attached"


def test_namespaces_by_path(runtime: Runtime, box: Bundle) -> None:
    holder = subprocess.Popen(["unshare", "-n", "-u", "sleep", "1000"])
    try:
        host.wait_for("the namespace", lambda: host.namespace(holder.pid, "net") != host.namespace("self", "net"))
        path = str(box.path / "netns")
        Path(path).touch()
        subprocess.run(["mount", "--bind", f"/proc/{holder.pid}/ns/net", path], check=True)
        box.namespace("network", path)
        del box.linux["sysctl"]
        container = runtime.started(box)
        assert verified(container, 0) == []
        subprocess.run(["umount", path], check=True)
        Path(path).unlink()
        index = [entry["type"] for entry in box.linux["namespaces"]].index("network")
        result = runtime("verify", "--format", "json", container.id)
        assert result.code == 0
        (unseen,) = json.loads(result.out)["unseen"]
        assert (unseen["pointer"], unseen["why"]) == (
            f"/linux/namespaces/{index}/path", f"{path}: no such file or directory"
        )  # fmt: skip
        os.symlink("/proc/self/ns/net", path)
        (difference,) = verified(container)
        assert difference["pointer"] == f"/linux/namespaces/{index}/path"
        Path(path).unlink()
    finally:
        holder.kill()
        holder.wait()


# -- the process, changed by itself


@pytest.fixture(scope="session")
def selfchange(session_directory: Path) -> Path:
    """tests/support/selfchange.c as a static program."""
    target = session_directory / "selfchange"
    source = REPOSITORY / "tests/support/selfchange.c"
    subprocess.run(["cc", "-static", "-O1", "-Wall", "-Werror", "-o", target, source], check=True)
    return target


FEWER, MORE = "fewer than configured: without ", "more than configured: with "

ITSELF: dict[str, tuple[list[str], Found]] = {
    "no_new_privs": (
        ["no_new_privs", ""], [("/process/noNewPrivileges", "0", "1 (more restricted than configured)")]
    ),
    "seccomp": (
        ["no_new_privs", "", "seccomp", ""],
        [
            ("/linux/seccomp", "none", "filter (more restricted than configured)"),
            ("/process/noNewPrivileges", "0", "1 (more restricted than configured)"),
        ],
    ),
    "capabilities": (
        ["caps", str(CHOWN | NET_ADMIN)],
        [
            (f"/process/capabilities/{name}", "with CAP_CHOWN CAP_NET_ADMIN", FEWER + "CAP_CHOWN CAP_NET_ADMIN")
            for name in ("effective", "permitted")
        ],
    ),
    "bounding": (
        ["bounding", "12"], [("/process/capabilities/bounding", "with CAP_NET_ADMIN", FEWER + "CAP_NET_ADMIN")]
    ),
    "uid": (
        ["uid", "1000"],
        [
            ("/process/user/uid", "0 0 0 0", "1000 1000 1000 1000"),
            *[
                (f"/process/capabilities/{name}", f"with {' '.join(sorted(CAPABILITIES))}",
                 FEWER + " ".join(sorted(CAPABILITIES)))
                for name in ("effective", "permitted")
            ],
        ],
    ),
    "gid": (["gid", "7"], [("/process/user/gid", "0 0 0 0", "7 7 7 7")]),
    "groups": (["groups", "9"], [("/process/user/additionalGids", "5 1001", "9")]),
    "umask": (["umask", "0"], [("/process/user/umask", "0027", "0000")]),
}  # fmt: skip


def ordered(entries: Found) -> Found:
    """Capabilities in one order: the kernel's is by number."""
    return sorted(
        (pointer, " ".join(sorted(right.split())), " ".join(sorted(real.split()))) for pointer, right, real in entries
    )


@pytest.mark.parametrize("what", ITSELF)
def test_changed_by_itself(runtime: Runtime, box: Bundle, selfchange: Path, what: str) -> None:
    words, expected = ITSELF[what]
    (box.rootfs / "bin/selfchange").write_bytes(selfchange.read_bytes())
    (box.rootfs / "bin/selfchange").chmod(0o755)
    container = runtime.started(box.args("selfchange", *words))
    host.wait_for("the change", lambda: container.output == "changed\n")
    assert ordered(found(container)) == ordered(expected)


@numa
@pytest.mark.parametrize(
    ("policy", "shown"),
    [
        ({"mode": "MPOL_INTERLEAVE", "nodes": "0"}, "interleave:0"),
        ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}, "bind=static:0"),
        ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_NUMA_BALANCING"]}, "bind:0"),
        ({"mode": "MPOL_PREFERRED", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"]}, "prefer=relative:0"),
        ({"mode": "MPOL_PREFERRED"}, "local"),
        ({"mode": "MPOL_PREFERRED_MANY", "nodes": "0"}, "prefer (many):0"),
    ],
    ids=lambda value: " ".join([value["mode"], *value.get("flags", ())]) if isinstance(value, dict) else "",
)
def test_the_memory_policy(
    runtime: Runtime, bundle: Bundle, selfchange: Path, policy: dict[str, Any], shown: str
) -> None:
    """A process changes its own policy, here to none (0); no other process can."""
    bundle.linux["memoryPolicy"] = policy
    (bundle.rootfs / "bin/selfchange").write_bytes(selfchange.read_bytes())
    (bundle.rootfs / "bin/selfchange").chmod(0o755)
    waiting = runtime.container(bundle.args("selfchange", "mempolicy", "0"))
    assert verified(waiting, 0) == []
    waiting.start()
    host.wait_for("the change", lambda: waiting.output == "changed\n")
    assert found(waiting) == [("/linux/memoryPolicy", shown, "default")]


def test_capabilities_of_a_user(runtime: Runtime, box: Bundle, selfchange: Path) -> None:
    """After the execve a process that is not root has only its ambient capabilities."""
    (box.rootfs / "bin/selfchange").write_bytes(selfchange.read_bytes())
    (box.rootfs / "bin/selfchange").chmod(0o755)
    box.process["user"] = {"uid": 1000, "gid": 1000}
    container = runtime.started(box.args("sleep", "1000"))
    assert verified(container, 0) == []
    names = ["CAP_CHOWN", "CAP_NET_ADMIN"]
    box.process["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted", "inheritable", "ambient"), names)
    container = runtime.started(box.args("sleep", "1000"))
    assert verified(container, 0) == []
    container = runtime.started(box.args("selfchange", "ambient", ""))
    host.wait_for("the change", lambda: container.output == "changed\n")
    assert found(container) == [
        ("/process/capabilities/ambient", "with CAP_CHOWN CAP_NET_ADMIN", FEWER + "CAP_CHOWN CAP_NET_ADMIN")
    ]


@pytest.mark.parametrize("nnp", [True, False])
def test_root_with_fewer_permitted_than_in_the_bounding_set(runtime: Runtime, box: Bundle, nnp: bool) -> None:
    box.process["capabilities"] = {"bounding": CAPABILITIES, "permitted": CAPABILITIES[:2], "effective": []}
    box.process["noNewPrivileges"] = nnp
    assert verified(runtime.started(box), 0) == []


def test_seccomp_of_the_configuration(runtime: Runtime, box: Bundle) -> None:
    box.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}
    container = runtime.container(box)
    assert verified(container, 0) == []
    container.start()
    assert verified(container, 0) == []


def test_a_process_that_has_changed_its_root(runtime: Runtime, box: Bundle, selfchange: Path) -> None:
    """`verify` looks at the container's mounts from the root of its mount namespace."""
    (box.rootfs / "bin/selfchange").write_bytes(selfchange.read_bytes())
    (box.rootfs / "bin/selfchange").chmod(0o755)
    container = runtime.started(box.args("selfchange", "chroot", "/srv"))
    host.wait_for("the change", lambda: container.output == "changed\n")
    assert verified(container, 0) == []


def test_a_namespace_that_is_not_the_configuration_s(runtime: Runtime, box: Bundle, selfchange: Path) -> None:
    box.without_namespace("uts")
    del box.config["hostname"], box.config["domainname"]
    (box.rootfs / "bin/selfchange").write_bytes(selfchange.read_bytes())
    (box.rootfs / "bin/selfchange").chmod(0o755)
    names = [*CAPABILITIES, "CAP_SYS_ADMIN"]
    box.process["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), names)
    container = runtime.started(box.args("selfchange", "unshare", CLONE_NEWUTS))
    host.wait_for("the change", lambda: container.output == "changed\n")
    (difference,) = verified(container)
    assert (difference["pointer"], difference["what"]) == ("/linux/namespaces", "uts namespace")


# -- other kinds of containers


@pytest.mark.parametrize("kind", ["user", "no mount", "no-pivot", "terminal-less", "minimal"])
def test_other_containers(runtime: Runtime, bundle: Bundle, kind: str) -> None:
    bundle.args("sleep", "1000")
    flags = []
    if kind == "user":
        bundle.user_namespace()
        bundle.process["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [5]}
        bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 512, "hard": 1024}]
    elif kind == "no mount":
        bundle.without_namespace("mount")
        bundle.mount("/mnt", "tmpfs", "tmpfs", "nosuid")
        bundle.config["root"]["readonly"] = True
    elif kind == "no-pivot":
        flags.append("--no-pivot")
    elif kind == "minimal":
        bundle.config["mounts"] = []
        bundle.linux["namespaces"] = [{"type": "pid"}, {"type": "mount"}]
    container = runtime.started(bundle, *flags)
    assert verified(container, 0) == []
    if kind == "user":
        resource.prlimit(container.pid, resource.RLIMIT_NOFILE, (100, 1024))
        assert found(container) == [("/process/rlimits/0", "soft 512, hard 1024", "soft 100, hard 1024")]
    elif kind == "no mount":
        mounted = bundle.rootfs / "mnt"
        subprocess.run(["mount", "-o", "remount,bind,suid", mounted], check=True)
        assert found(container)[0][0].startswith("/mounts/")
        container.delete("--force")


def test_a_hostile_root_file_system(runtime: Runtime, box: Bundle) -> None:
    """Paths do not lead out of the rootfs, and files that would make a reader wait are not opened."""
    container = runtime.started(box)
    outside = box.path / "outside"
    outside.mkdir()
    shell(container, "umount /mnt; rmdir /mnt; ln -s /../../../../../../../../../../mnt-elsewhere /mnt")
    shell(container, "rm /dev/mine; mkfifo /dev/mine; rm /dev/full; ln -s /proc/1/root/dev/full /dev/full")
    shell(container, "umount /srv/bound /srv/hidden; rm -r /srv; ln -s /srv /srv")
    differences = {entry["pointer"]: entry["found"] for entry in verified(container)}
    assert differences["/mounts/3"] == "nothing there"
    assert differences["/mounts/4"] == "nothing there"
    assert differences["/linux/devices/0"].startswith("p 0:0 ")
    assert differences["/linux/devices"] == "a symlink"


def test_what_is_no_living_container(runtime: Runtime, box: Bundle) -> None:
    assert "container does not exist" in runtime("verify", "nobody").last_line
    container = runtime.started(box)
    container.kill()
    container.wait()
    result = runtime("verify", container.id)
    assert result.code == 1
    assert "container not running" in result.last_line
    result = runtime("verify", "--format", "yaml", container.id)
    assert "invalid format option" in result.last_line


def test_a_container_of_an_earlier_version(runtime: Runtime, box: Bundle) -> None:
    container = runtime.started(box)
    file = runtime.root / container.id / "exec.json"
    kept: dict[str, Any] = json.loads(file.read_text())
    del kept["rest"]
    file.write_text(json.dumps(kept))
    result = runtime("verify", container.id)
    assert result.code == 1
    assert "an earlier version of pyrunc created it" in result.last_line
    kept["rest"] = {"linux": {"readonlyPaths": 5}}
    file.write_text(json.dumps(kept))
    assert (
        "exec.json is damaged: rest has a wrong value at /linux/readonlyPaths"
        in runtime("verify", container.id).last_line
    )


def test_a_paused_container(runtime: Runtime, box: Bundle) -> None:
    container = runtime.started(box)
    assert runtime("pause", container.id).code == 0
    assert verified(container, 0) == []
    assert runtime("resume", container.id).code == 0


def test_the_table(runtime: Runtime, box: Bundle) -> None:
    container = runtime.started(box)
    shell(container, "umount /mnt")
    result = runtime("verify", container.id)
    assert result.code == 1
    lines = result.out.splitlines()
    assert lines[0].split() == ["POINTER", "WHAT", "EXPECTED", "FOUND"]
    assert lines[1].split()[:4] == ["/mounts/3", "mount", "at", "/mnt"]
    assert lines[1].endswith("no mount there, but what is mounted at /")


def test_what_update_has_changed_is_of_the_plan(runtime: Runtime, box: Bundle) -> None:
    """Mounts and devices that `update` has added or removed while the container ran."""
    (box.path / "more").mkdir()
    container = runtime.started(box)
    mount = f"type=bind,source={box.path / 'more'},target=/new/place,ro"
    result = runtime("update", "--mount", mount, "--umount", "/srv/bound", "--device-rm", "/dev/mine", container.id)
    assert result.code == 0, result
    result = runtime("update", "--device", "/dev/zero:/dev/other:rw", container.id)
    assert result.code == 0, result
    assert verified(container, 0) == []
    shell(container, "umount /new/place")
    assert [(entry["pointer"], entry["what"]) for entry in verified(container)] == [
        ("/mounts/4", "mount at /new/place")
    ]
