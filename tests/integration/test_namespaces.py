"""`linux.namespaces`: new, inherited and joined ones, user id mappings, time offsets, sysctl."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Runtime

# The specification's words, and the kernel's.
FILES = {
    "cgroup": "cgroup", "ipc": "ipc", "mount": "mnt", "network": "net", "pid": "pid", "time": "time", "user": "user",
    "uts": "uts",
}  # fmt: skip
OFFERED = ["cgroup", "ipc", "mount", "network", "pid", "uts"]
# The user namespace to which a namespace belongs (ioctl_nsfs(2)).
NS_GET_USERNS = 0xB701
LINKS = "cd /proc/self/ns; for n in cgroup ipc mnt net pid time user uts; do echo $n $(readlink $n); done"


def inside(runtime: Runtime, bundle: Bundle) -> dict[str, str]:
    """The container's namespaces by their file's name; none of a type that the kernel lacks."""
    lines = runtime.inside(bundle, LINKS).splitlines()
    return {line.split()[0]: line.split()[1] for line in lines if " " in line}


@pytest.mark.purev2
@pytest.mark.parametrize("type", OFFERED)
def test_new_and_inherited(runtime: Runtime, bundle: Bundle, type: str) -> None:
    file = FILES[type]
    bundle.namespace(type)
    assert inside(runtime, bundle)[file] != host.namespace("self", file)
    if type == "mount":
        return  # inherited: below
    bundle.without_namespace(type)
    assert inside(runtime, bundle)[file] == host.namespace("self", file)


def test_what_is_not_named_is_inherited(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["namespaces"] = [{"type": "mount"}]
    found = inside(runtime, bundle)
    assert {"cgroup", "ipc", "net", "pid", "user", "uts"} < set(found)
    for file in set(found) - {"mnt"}:
        assert found[file] == host.namespace("self", file)
    assert found["mnt"] != host.namespace("self", "mnt")


@pytest.mark.own("runc leaves the mounts on the host")
def test_without_a_mount_namespace_the_mounts_are_the_host_s_until_delete(runtime: Runtime, bundle: Bundle) -> None:
    bundle.without_namespace("mount")
    bundle.linux["maskedPaths"] = bundle.linux["readonlyPaths"] = []
    container = runtime.container(bundle.sh("grep -c . /proc/self/mountinfo; echo >/dev/null; ls -d /proc/self/ns"))
    points = [line.split(" ")[4] for line in host.mounts_of(runtime.token)]
    assert {str(bundle.rootfs), f"{bundle.rootfs}/proc"} <= set(points)
    assert host.namespace(container.pid, "mnt") == host.namespace("self", "mnt")
    assert "/proc/self/ns" in container.finish()
    container.delete()
    runtime.assert_nothing_left()


@pytest.mark.own("runc refuses it")
@pytest.mark.parametrize("mounts", [False, True])
def test_s5_without_a_mount_namespace_the_root_can_be_read_only(runtime: Runtime, bundle: Bundle, mounts: bool) -> None:
    """S5: the rootfs is then bound on itself, and the host's mount stays writable."""
    bundle.without_namespace("mount")
    bundle.config["root"]["readonly"] = True
    if mounts:
        bundle.mount("/mnt", "tmpfs", "tmpfs")
    else:
        bundle.config["mounts"] = []
    container = runtime.container(bundle.sh("touch /no 2>/dev/null || echo read-only; touch /mnt/yes && echo mounted"))
    (bundle.rootfs.parent / "beside").touch()
    lines = container.finish().splitlines()
    assert lines == ["read-only", "mounted"][: 1 + mounts]
    container.delete()
    runtime.assert_nothing_left()
    (bundle.rootfs / "after").touch()


@pytest.mark.own("runc leaves the mounts on the host")
def test_mounts_on_the_host_go_with_a_create_that_fails(runtime: Runtime, bundle: Bundle) -> None:
    bundle.without_namespace("mount")
    bundle.linux["maskedPaths"] = bundle.linux["readonlyPaths"] = []
    runtime.refuse(bundle.args("/nothing/like/that"))


@pytest.mark.own("runc wants a mount namespace for masked paths and the like; without any mounts it goes on")
def test_without_a_mount_namespace(runtime: Runtime, bundle: Bundle) -> None:
    """Only a chroot."""
    bundle.without_namespace("mount")
    bundle.config["mounts"] = []
    result = runtime.run(bundle.sh("ls /; echo ran"), ok=False)
    if result.code == 0:
        assert "srv" in result.out.split()
        assert "boot" not in result.out.split()
    runtime.assert_nothing_left()


def sleeper(parent: int) -> int:
    """The child that executes sleep by now; 0 if there is none. unshare(1) has done its work before."""
    return next((pid for pid, (name, _) in host.children(parent).items() if name == "sleep"), 0)


@pytest.fixture
def holder() -> Iterator[subprocess.Popen[bytes]]:
    """A process with new namespaces of the kinds that can be joined."""
    process = subprocess.Popen(
        ["unshare", *"--uts --ipc --net --cgroup --mount --pid --fork --kill-child sleep 1000".split()]
    )
    host.wait_for("its program", lambda: sleeper(process.pid))
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("type", ["uts", "ipc", "network", "cgroup"])
def test_joined_by_path(runtime: Runtime, bundle: Bundle, holder: subprocess.Popen[bytes], type: str) -> None:
    file = FILES[type]
    bundle.namespace(type, f"/proc/{holder.pid}/ns/{file}")
    assert inside(runtime, bundle)[file] == host.namespace(holder.pid, file)


def test_pid_namespace_joined_by_path(runtime: Runtime, bundle: Bundle, holder: subprocess.Popen[bytes]) -> None:
    child = next(iter(host.children(holder.pid)))
    bundle.namespace("pid", f"/proc/{child}/ns/pid")
    out = runtime.inside(bundle, "readlink /proc/self/ns/pid; cat /proc/1/comm; echo $$")
    assert out.split()[:2] == [host.namespace(child, "pid"), "sleep"]
    assert int(out.split()[2]) > 1


def test_mount_namespace_joined_by_path(runtime: Runtime, bundle: Bundle, holder: subprocess.Popen[bytes]) -> None:
    bundle.namespace("mount", f"/proc/{holder.pid}/ns/mnt")
    assert inside(runtime, bundle)["mnt"] == host.namespace(holder.pid, "mnt")


def test_container_joins_another_one(runtime: Runtime, bundle: Bundle) -> None:
    """A pod: the second container shares the first one's namespaces."""
    first = runtime.started(bundle.args("sleep", "1000"))
    second = runtime.bundle("second")
    for type in ("uts", "ipc", "pid"):
        second.namespace(type, f"/proc/{first.pid}/ns/{FILES[type]}")
    found = inside(runtime, second)
    for file in ("uts", "ipc", "pid"):
        assert found[file] == host.namespace(first.pid, file)
    assert found["mnt"] != host.namespace(first.pid, "mnt")


def test_hostname_in_a_joined_namespace(runtime: Runtime, bundle: Bundle, holder: subprocess.Popen[bytes]) -> None:
    bundle.namespace("uts", f"/proc/{holder.pid}/ns/uts")
    bundle.config["hostname"] = "joined"
    assert runtime.inside(bundle, "hostname") == "joined\n"
    name = subprocess.run(
        ["nsenter", "--uts", "--target", str(holder.pid), "hostname"], capture_output=True, text=True, check=True
    )
    assert name.stdout == "joined\n"


@pytest.mark.parametrize(("type", "other"), [("uts", "ipc"), ("network", "uts"), ("pid", "net"), ("ipc", "mnt")])
def test_namespace_of_another_type_is_refused(runtime: Runtime, bundle: Bundle, type: str, other: str) -> None:
    bundle.namespace(type, f"/proc/self/ns/{other}")
    result = runtime.refuse(bundle)
    if runtime.is_own:
        assert re.search(r"/linux/namespaces/\d", result.last_line)


@pytest.mark.parametrize("kind", ["missing", "file", "directory"])
def test_path_that_is_no_namespace_is_refused(runtime: Runtime, bundle: Bundle, kind: str) -> None:
    path = runtime.work / "ns"
    if kind == "file":
        path.write_text("")
    elif kind == "directory":
        path.mkdir()
    bundle.namespace("network", str(path))
    result = runtime.refuse(bundle)
    if kind == "missing":
        assert "no such file or directory" in result.last_line
    if runtime.is_own:
        assert re.search(r"/linux/namespaces/\d", result.last_line)


def test_relative_namespace_path_is_refused(runtime: Runtime, bundle: Bundle) -> None:
    bundle.namespace("uts", "proc/self/ns/uts")
    runtime.refuse(bundle)


@pytest.mark.parametrize("type", ["uts", "pid", "mount"])
def test_duplicates_are_refused(runtime: Runtime, bundle: Bundle, type: str) -> None:
    bundle.linux["namespaces"].append({"type": type})
    result = runtime.refuse(bundle)
    assert "duplicate" in result.last_line
    if runtime.is_own:
        assert "/linux/namespaces/4" in result.last_line


def test_unknown_type_is_refused(runtime: Runtime, bundle: Bundle) -> None:
    bundle.namespace("galaxy")
    result = runtime.refuse(bundle)
    assert "galaxy" in result.last_line


@pytest.mark.own("the runtime makes the namespace ahead of the clone, which makes it if that has failed")
def test_the_network_namespace_is_made_by_the_clone_if_not_before(
    runtime: Runtime, bundle: Bundle, tmp_path: Path
) -> None:
    if shutil.which("strace") is None:
        pytest.skip("needs strace, which makes the call fail")
    bundle.namespace("network")
    bundle.without_namespace("cgroup")
    bundle.sh("readlink /proc/self/ns/net; grep -c : /proc/net/dev").write()
    log = tmp_path / "strace"
    fails = ["-e", "inject=unshare:error=ENOSPC:when=1", "-e", "trace=unshare,clone3"]
    line = ["strace", "-f", "-qq", "-o", str(log), *fails, *runtime.command, "--root", str(runtime.root)]
    done = subprocess.run(
        [*line, "run", "--bundle", str(bundle.path), runtime.new_id()],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, env=runtime.environment(), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    namespace, devices = done.stdout.split()
    assert namespace != host.namespace("self", "net")
    assert devices == "1"  # lo
    _, failed, after = log.read_text().partition("ENOSPC")
    assert failed
    assert "CLONE_NEWNET" in after


@pytest.mark.own("the runtime makes the namespace ahead of the clone")
def test_the_network_namespace_belongs_to_the_container_s_user_namespace(runtime: Runtime, bundle: Bundle) -> None:
    bundle.namespace("network")
    for user in (False, True):
        if user:
            bundle.user_namespace()
        container = runtime.container(bundle)
        with open(f"/proc/{container.pid}/ns/net") as net:
            owner = fcntl.ioctl(net, NS_GET_USERNS)
        try:
            own = os.stat(f"/proc/{container.pid}/ns/user").st_ino
            assert (os.fstat(owner).st_ino, own == os.stat("/proc/self/ns/user").st_ino) == (own, not user)
        finally:
            os.close(owner)


def test_loopback_is_up_in_a_new_network_namespace(runtime: Runtime, bundle: Bundle) -> None:
    bundle.namespace("network")
    assert "UP" in runtime.inside(bundle, "ip link show lo").split("<")[1].split(">")[0]


def test_ipc_objects_are_the_container_s(runtime: Runtime, bundle: Bundle) -> None:
    assert len(runtime.inside(bundle, "cat /proc/sysvipc/shm").splitlines()) == 1


@pytest.mark.parametrize("host_id", [100000, 0])
def test_user_namespace(runtime: Runtime, bundle: Bundle, host_id: int) -> None:
    bundle.user_namespace(host_id)
    bundle.namespace("network")
    bundle.mount("/sys", "sysfs", "sysfs", "ro", "nosuid", "nodev", "noexec")
    container = runtime.container(
        bundle.sh(
            "cat /proc/self/uid_map /proc/self/gid_map; id -u; id -g; stat -c '%u %g' /; touch /new; ls /sys/class/net"
        )
    )
    assert host.namespace(container.pid, "user") != host.namespace("self", "user")
    assert host.process_status(container.pid, "Uid").split() == [str(host_id)] * 4
    lines = container.finish().splitlines()
    assert [line.split() for line in lines[:2]] == [["0", str(host_id), "65536"]] * 2
    assert lines[2:] == ["0", "0", "0 0", "lo"]
    made = (bundle.rootfs / "new").stat()
    assert (made.st_uid, made.st_gid) == (host_id, host_id)


def test_user_namespace_with_many_mappings(runtime: Runtime, bundle: Bundle) -> None:
    bundle.user_namespace()
    bundle.mounts.pop()  # devpts, whose gid=5 is not mapped
    mappings = [{"containerID": 0, "hostID": 100000, "size": 1}, {"containerID": 1000, "hostID": 200000, "size": 500}]
    bundle.linux["uidMappings"] = mappings
    bundle.linux["gidMappings"] = mappings
    bundle.process["user"] = {"uid": 1000, "gid": 1001, "additionalGids": [1002]}
    container = runtime.container(bundle.sh("cat /proc/self/uid_map; id -u; id -g; while :; do sleep 0.02; done"))
    container.start()
    host.wait_for("its output", lambda: container.output.count("\n") == 4)
    assert container.output.split()[-2:] == ["1000", "1001"]
    assert host.process_status(container.pid, "Uid").split() == ["200000"] * 4
    assert host.process_status(container.pid, "Gid").split() == ["200001"] * 4
    assert host.process_status(container.pid, "Groups").split() == ["200002"]


def test_devices_in_a_user_namespace(runtime: Runtime, bundle: Bundle) -> None:
    """The kernel refuses mknod there: the host's devices are bound."""
    bundle.user_namespace()
    out = runtime.inside(
        bundle,
        "stat -c '%F %t:%T' /dev/null /dev/zero /dev/full; head -c 3 /dev/zero | od -An -tx1; echo x > /dev/null",
    )
    assert out.splitlines()[:3] == [f"character special file 1:{minor}" for minor in (3, 5, 7)]
    assert out.split()[-3:] == ["00", "00", "00"]


@pytest.mark.own("1.1 ignores them; 1.5 does this")
def test_mappings_without_a_user_namespace_are_refused(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["uidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 1}]
    bundle.linux["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 1}]
    runtime.refuse(bundle)


def test_user_that_is_not_mapped_is_refused(runtime: Runtime, bundle: Bundle) -> None:
    bundle.user_namespace(size=100)
    bundle.process["user"] = {"uid": 1000, "gid": 0}
    result = runtime.refuse(bundle)
    if runtime.is_own:
        assert "/process/user" in result.last_line


def test_user_namespace_joined_by_path(runtime: Runtime, bundle: Bundle) -> None:
    holder = subprocess.Popen(["unshare", "--user", "--map-root-user", "sleep", "1000"])
    try:
        # uid_map is written first, then gid_map.
        host.wait_for("its program", lambda: Path(f"/proc/{holder.pid}/comm").read_text() == "sleep\n")
        bundle.namespace("user", f"/proc/{holder.pid}/ns/user")
        bundle.mounts.pop()  # devpts, whose gid=5 is not mapped
        if not runtime.is_own:  # runc 1.1 requires a path for them too
            bundle.linux["uidMappings"] = [{"containerID": 0, "hostID": 0, "size": 1}]
            bundle.linux["gidMappings"] = [{"containerID": 0, "hostID": 0, "size": 1}]
        out = runtime.inside(bundle, "readlink /proc/self/ns/user; cat /proc/self/uid_map")
        assert out.split()[0] == host.namespace(holder.pid, "user")
        assert out.split()[1:] == ["0", "0", "1"]
    finally:
        holder.kill()
        holder.wait()


@pytest.mark.own("time namespaces came with 1.2")
@pytest.mark.skipif(not Path("/proc/self/ns/time").exists(), reason="this kernel has no time namespaces")
class TestTime:
    """The time namespace and its offsets (time_namespaces(7))."""

    def test_new(self, runtime: Runtime, bundle: Bundle) -> None:
        bundle.namespace("time")
        assert inside(runtime, bundle)["time"] != host.namespace("self", "time")

    def test_offsets(self, runtime: Runtime, bundle: Bundle) -> None:
        bundle.namespace("time")
        bundle.linux["timeOffsets"] = {
            "monotonic": {"secs": 172800, "nanosecs": 5},
            "boottime": {"secs": 604800, "nanosecs": 500000000},
        }
        out = runtime.inside(bundle, "cat /proc/self/timens_offsets; cut -d. -f1 /proc/uptime")
        rows = [line.split() for line in out.splitlines()]
        assert ["monotonic", "172800", "5"] in rows
        assert ["boottime", "604800", "500000000"] in rows
        here = float(Path("/proc/uptime").read_text().split()[0])
        assert abs(int(rows[-1][0]) - here - 604800) < 60

    def test_negative_offset(self, runtime: Runtime, bundle: Bundle) -> None:
        bundle.namespace("time")
        bundle.linux["timeOffsets"] = {"boottime": {"secs": -10, "nanosecs": 0}}
        assert "-10" in runtime.inside(bundle, "cat /proc/self/timens_offsets")

    def test_joined_by_path(self, runtime: Runtime, bundle: Bundle) -> None:
        holder = subprocess.Popen(["unshare", *"--time --boottime 1000 --fork --kill-child sleep 1000".split()])
        try:
            child = host.wait_for("its program", lambda: sleeper(holder.pid))
            bundle.namespace("time", f"/proc/{child}/ns/time")
            assert inside(runtime, bundle)["time"] == host.namespace(child, "time")
        finally:
            holder.send_signal(signal.SIGKILL)
            holder.wait()

    def test_offsets_need_the_namespace(self, runtime: Runtime, bundle: Bundle) -> None:
        bundle.linux["timeOffsets"] = {"boottime": {"secs": 10, "nanosecs": 0}}
        assert "timeOffsets" in runtime.refuse(bundle).last_line


def test_sysctl(runtime: Runtime, bundle: Bundle) -> None:
    bundle.namespace("network")
    bundle.linux["sysctl"] = {
        "net.ipv4.ip_forward": "1",
        "net/ipv4/ip_default_ttl": "77",
        "kernel.msgmax": "4321",
        "fs.mqueue.msg_max": "12",
    }
    before = Path("/proc/sys/net/ipv4/ip_default_ttl").read_text(), Path("/proc/sys/kernel/msgmax").read_text()
    out = runtime.inside(
        bundle,
        "cd /proc/sys; cat net/ipv4/ip_forward net/ipv4/ip_default_ttl kernel/msgmax fs/mqueue/msg_max",
    )
    assert out.split() == ["1", "77", "4321", "12"]
    after = Path("/proc/sys/net/ipv4/ip_default_ttl").read_text(), Path("/proc/sys/kernel/msgmax").read_text()
    assert before == after


@pytest.mark.own("1.1 sets it by hostname only")
def test_sysctl_of_the_uts_namespace(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["sysctl"] = {"kernel.domainname": "by-sysctl"}
    assert runtime.inside(bundle, "cat /proc/sys/kernel/domainname") == "by-sysctl\n"


@pytest.mark.parametrize(
    ("key", "without"),
    [
        ("net.ipv4.ip_forward", "network"),
        ("kernel.msgmax", "ipc"),
        ("fs.mqueue.msg_max", "ipc"),
        ("kernel.domainname", "uts"),
        ("kernel.panic", None),
        ("vm.swappiness", None),
        ("kernel.hostname", None),
    ],
)
def test_sysctl_of_the_host_is_refused(runtime: Runtime, bundle: Bundle, key: str, without: str | None) -> None:
    if without:
        bundle.without_namespace(without)
    path = Path("/proc/sys", *key.split("."))
    before = path.read_text()
    bundle.linux["sysctl"] = {key: "1"}
    result = runtime.refuse(bundle)
    assert key in result.last_line
    assert path.read_text() == before


@pytest.mark.parametrize("key", ["net.../../kernel/panic", "net/../kernel/panic", "net.ipv4/../../kernel/panic"])
def test_sysctl_that_climbs_is_refused(runtime: Runtime, bundle: Bundle, key: str) -> None:
    bundle.namespace("network")
    before = Path("/proc/sys/kernel/panic").read_text()
    bundle.linux["sysctl"] = {key: "7"}
    runtime.refuse(bundle)
    assert Path("/proc/sys/kernel/panic").read_text() == before


def test_sysctl_that_is_not_there(runtime: Runtime, bundle: Bundle) -> None:
    bundle.namespace("network")
    bundle.linux["sysctl"] = {"net.ipv4.no_such_key": "1"}
    result = runtime.refuse(bundle)
    assert "no such file or directory" in result.last_line


def test_container_process_is_a_child_of_nobody(runtime: Runtime, bundle: Bundle) -> None:
    """After create, the runtime has ended and the init is a child of the caller's reaper."""
    container = runtime.container(bundle)
    parent = int(host.process_status(container.pid, "PPid"))
    assert parent == 1 or "pyrunc" not in Path(f"/proc/{parent}/cmdline").read_text()
    assert os.path.exists(f"/proc/{container.pid}")
