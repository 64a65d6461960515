"""Rootless: the command run by an ordinary user, with one id or several, with a cgroup of the user's or none, and by
root of a user namespace of the user's.

Facts: user_namespaces(7), cgroups(7), newuidmap(1). Messages are runc's if runc has one.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pty
import shutil
import socket
import stat
import struct
import subprocess
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from pyrunc.libcontainer.kernel import native
from tests.support import host
from tests.support.agent import Agent
from tests.support.bundle import Bundle
from tests.support.rootless import ONE_ID, SUBGID, SUBUID, UID, Delegated, RootlessRuntime
from tests.support.seccomp import allowing

pytestmark = pytest.mark.own("Debian's takes only cgroup v1 here, and its words are older")

# Root of a user namespace: of one with only the user's id, and of one that also has the user's subordinate ids.
AS_ROOT = ("unshare", "--user", "--map-root-user", "--mount", "--")
AS_ROOT_OF_MANY = ("unshare", "--user", "--map-auto", "--map-root-user", "--mount", "--")


@pytest.fixture
def bundle(rootless: RootlessRuntime) -> Bundle:
    return rootless.bundle()


# ---- the life of a container


def test_what_spec_writes_runs(rootless: RootlessRuntime) -> None:
    folder = rootless.home
    assert rootless("spec", "--rootless", "--bundle", folder).code == 0
    config = json.loads((folder / "config.json").read_text())
    assert config["linux"]["uidMappings"] == ONE_ID
    os.rename(rootless.bundle().rootfs, folder / "rootfs")
    config["process"].update(terminal=False, args=["sh", "-c", "id -u; cat /proc/self/setgroups; ls /sys/class"])
    config["process"]["env"] = ["PATH=/bin"]
    (folder / "config.json").write_text(json.dumps(config))
    result = rootless("run", "--bundle", folder, rootless.new_id())
    assert result.code == 0, result
    assert result.out.splitlines()[:2] == ["0", "deny"]
    assert "net" in result.out.split()
    assert "error" not in result.err


def test_the_life_cycle(rootless: RootlessRuntime, bundle: Bundle) -> None:
    container = rootless.container(bundle.sh("trap 'exit 0' TERM; while :; do sleep 0.1; done"))
    assert container.status == "created"
    assert host.process_status(container.pid, "Uid").split() == [str(UID)] * 4
    container.start()
    assert container.status == "running"
    listed = rootless("list").out.splitlines()[1].split()
    assert (listed[0], listed[2], listed[-1]) == (container.id, "running", "tester")
    assert rootless("start", container.id).last_line.count("already running") == 1
    assert "not stopped" in rootless("delete", container.id).last_line
    container.kill("KILL")
    container.wait()
    assert container.status == "stopped"
    container.delete()
    assert "does not exist" in rootless("state", container.id).last_line


def test_the_state_is_in_the_user_s_runtime_directory(rootless: RootlessRuntime, bundle: Bundle) -> None:
    bundle.sh("true").write()
    env = {"XDG_RUNTIME_DIR": str(rootless.home)}
    create = rootless("create", "--bundle", bundle.path, "box", with_root=False, env=env)
    assert create.code == 0, create
    root = rootless.home / "pyrunc"
    assert stat.S_IMODE(root.stat().st_mode) == 0o1700, "the sticky bit keeps it from being pruned"
    assert (root / "box/state.json").stat().st_uid == UID
    assert rootless("delete", "--force", "box", with_root=False, env=env).code == 0
    result = rootless("create", "--bundle", bundle.path, "box", with_root=False)
    assert "/run/pyrunc" in result.last_line
    assert "XDG_RUNTIME_DIR" in result.last_line


def test_detached_with_a_pid_file(rootless: RootlessRuntime, bundle: Bundle) -> None:
    pid_file = rootless.home / "pid"
    rootless.run(bundle.args("sleep", "100"), "--detach", "--pid-file", str(pid_file))
    assert host.is_alive(int(pid_file.read_text()))


def test_a_failed_create_leaves_nothing(rootless: RootlessRuntime, bundle: Bundle) -> None:
    assert "no such file" in rootless.refuse(bundle.mount("/x", "bind", "/nowhere", "rbind")).last_line


# ---- ids


def test_one_id(rootless: RootlessRuntime, bundle: Bundle) -> None:
    out = rootless.inside(bundle, "id -u; cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups; touch /f")
    lines = [line.split() for line in out.splitlines()]
    assert lines == [["0"], ["0", str(UID), "1"], ["0", str(UID), "1"], ["deny"]]
    assert (bundle.rootfs / "f").stat().st_uid == UID


def test_subordinate_ids(rootless: RootlessRuntime, bundle: Bundle) -> None:
    rootless.subordinate_ids(bundle)
    bundle.process["user"] = {"uid": 5, "gid": 6, "additionalGids": [7]}
    (bundle.rootfs / "tmp").chmod(0o1777)
    out = rootless.inside(bundle, "id -u; id -G; cat /proc/self/setgroups; touch /tmp/f")
    assert out.splitlines() == ["5", "6 7", "allow"]
    made = (bundle.rootfs / "tmp/f").stat()
    assert (made.st_uid, made.st_gid) == (SUBUID + 4, SUBGID + 5)


def test_a_devpts_of_group_5_takes_a_gid_5(rootless: RootlessRuntime, bundle: Bundle) -> None:
    bundle.mounts[2]["options"].append("gid=5")
    result = rootless.refuse(bundle)
    assert "cannot specify gid=5 mount option for rootless container" in result.last_line
    assert "/mounts/2/options/" in result.last_line
    assert "leave gid=5 out" in result.last_line
    assert rootless.inside(rootless.subordinate_ids(bundle), "stat -c %g /dev/pts/ptmx") == "0\n"


@pytest.mark.parametrize(
    ("uids", "hint"),
    [("", "usermod --add-subuids 100000-165535 tester"), (f"tester:{SUBUID}:10\n", f"only {SUBUID}-{SUBUID + 9}")],
)
def test_ids_that_are_not_the_user_s(rootless: RootlessRuntime, bundle: Bundle, uids: str, hint: str) -> None:
    rootless.subordinates(uids, "")
    line = rootless.refuse(rootless.subordinate_ids(bundle)).last_line
    assert "newuidmap: uid range" in line
    assert "not allowed" in line
    assert "at /linux/uidMappings" in line
    assert hint in line


def test_a_tool_that_may_not_gain_privileges(rootless: RootlessRuntime, bundle: Bundle) -> None:
    rootless.options.append("--no-new-privs")
    line = rootless.refuse(rootless.subordinate_ids(bundle)).last_line
    assert "step map_by_tool" in line
    assert "no_new_privs" in line


def test_gids_that_are_not_the_user_s(rootless: RootlessRuntime, bundle: Bundle) -> None:
    rootless.subordinates((rootless.etc / "subuid").read_text(), "other:1:1\n")
    line = rootless.refuse(rootless.subordinate_ids(bundle)).last_line
    assert "newgidmap: gid range" in line
    assert "--add-subgids" in line
    assert "at /linux/gidMappings" in line


def test_ids_of_the_process_must_be_mapped(rootless: RootlessRuntime, bundle: Bundle) -> None:
    bundle.process["user"] = {"uid": 5, "gid": 0}
    assert "uid 5 is not mapped" in rootless.refuse(bundle).last_line
    bundle.process["user"] = {"uid": 0, "gid": 0, "additionalGids": [0]}
    line = rootless.refuse(bundle).last_line
    assert "cannot set any additional groups in a rootless container" in line
    assert "at /process/user/additionalGids" in line


def test_a_user_needs_a_user_namespace(rootless: RootlessRuntime, bundle: Bundle) -> None:
    bundle.without_namespace("user")
    del bundle.linux["uidMappings"], bundle.linux["gidMappings"]
    assert "rootless container requires user namespaces" in rootless.refuse(bundle).last_line


def test_a_joined_user_namespace(rootless: RootlessRuntime, bundle: Bundle) -> None:
    first = rootless.started(rootless.subordinate_ids(bundle).args("sleep", "100"))
    second = rootless.bundle("second")
    path = f"/proc/{first.pid}/ns/user"
    second.namespace("user", path)
    line = rootless.refuse(second).last_line
    assert "both namespace path and non-matching mapping specified" in line
    assert f"the namespace has 0 {UID} 1, 1 {SUBUID} 65536" in line
    rootless.subordinate_ids(second)
    assert rootless.inside(second, "readlink /proc/self/ns/user") == os.readlink(path) + "\n"
    del second.linux["uidMappings"], second.linux["gidMappings"]
    assert rootless.inside(second, "readlink /proc/self/ns/user") == os.readlink(path) + "\n"


# ---- devices and mounts


def test_devices_are_the_host_s(rootless: RootlessRuntime, bundle: Bundle) -> None:
    bundle.linux["devices"] = [{"path": "/dev/pipe", "type": "p", "fileMode": 0o600}]
    out = rootless.inside(bundle, "stat -c '%t %T %u' /dev/null /dev/tty; stat -c %F /dev/pipe; echo x > /dev/null")
    assert out.splitlines() == ["1 3 65534", "5 0 65534", "fifo"]
    plan = rootless("plan", "--bundle", bundle.path).out
    assert "bind_device" in plan
    assert "mknod " in plan


def test_s5_a_device_that_the_host_lacks(rootless: RootlessRuntime, bundle: Bundle) -> None:
    bundle.linux["devices"] = [{"path": "/dev/none", "type": "c", "major": 240, "minor": 7}]
    line = rootless.refuse(bundle).last_line
    assert "the host has no /dev/none to bind" in line
    assert "open /dev/none: no such file" in line
    assert "at /linux/devices/0" in line


def test_sys_is_the_host_s_where_the_network_is(rootless: RootlessRuntime, bundle: Bundle) -> None:
    """CVE-2023-25809: and not writable below either."""
    bundle.mount("/sys", "sysfs", "sysfs", "nosuid")
    mounts = host.mountinfo(rootless.inside(bundle, "cat /proc/self/mountinfo"))
    shown = [mount for mount in mounts if mount.point == "/sys" or mount.point.startswith("/sys/")]
    assert shown[0].fstype == "sysfs"
    assert len(shown) > 1
    assert all({"ro", "nosuid", "nodev", "noexec"} <= mount.options for mount in shown), shown
    bundle.namespace("network")
    mounts = host.mountinfo(rootless.inside(bundle, "cat /proc/self/mountinfo"))
    shown = [mount for mount in mounts if mount.point.startswith("/sys")]
    assert len(shown) == 1
    assert "rw" in shown[0].options


def test_a_proc_takes_a_pid_namespace(rootless: RootlessRuntime, bundle: Bundle) -> None:
    bundle.without_namespace("pid")
    line = rootless.refuse(bundle).last_line
    assert "error mounting" in line
    assert "at /mounts/0" in line
    assert "it takes a new pid namespace" in line
    bundle.mounts[0] = {"destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"]}
    result = rootless.run(bundle.sh("test -e /proc/1"))
    assert "not all processes can be killed" in result.err


def test_flags_of_the_host_s_mounts_stay(
    rootless: RootlessRuntime, bundle: Bundle, host_mount: Callable[..., Path]
) -> None:
    source = host_mount("mounted", "-t", "tmpfs", "-o", "nosuid,nodev,noexec,mode=755", "tmpfs")
    bundle.mount("/mnt", "bind", str(source), "rbind", "ro")
    mount = host.mount_at(rootless.inside(bundle, "cat /proc/self/mountinfo"), "/mnt")
    assert {"ro", "nosuid", "nodev", "noexec"} <= mount.options


@pytest.mark.parametrize("nested", [False, True], ids=["container-s", "runtime-s"])
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("rbind", "rw"), ("read-only",)),
        (("rw", "rbind", "exec", "suid"), ("read-only", "nosuid", "noexec")),
        (("rbind", "rrw"), ("read-only",)),
        (("rbind", "noatime"), ()),
        (("rbind", "dev", "ro"), ("nodev",)),
    ],
    ids=" ".join,
)
def test_f15_flags_that_are_locked_stay_and_are_told(
    rootless: RootlessRuntime,
    bundle: Bundle,
    host_mount: Callable[..., Path],
    nested: bool,
    words: tuple[str, ...],
    told: tuple[str, ...],
) -> None:
    """F15: engines give `rw` for every volume; its mount gets the flags that the user namespace has locked."""
    source = host_mount("mounted", "-t", "tmpfs", "-o", "mode=755", "tmpfs")
    (source / "file").write_text("there\n")
    host_mount("mounted", "-o", "remount,bind,ro,nosuid,nodev,noexec,relatime")
    bundle.mount("/mnt", "bind", str(source), *words)
    if nested:
        bundle.without_namespace("user")
        del bundle.linux["uidMappings"], bundle.linux["gidMappings"]
    inside = AS_ROOT if nested else ()
    result = rootless.run(bundle.sh("cat /proc/self/mountinfo /mnt/file"), inside=inside)
    mount = host.mount_at(result.out.replace("there\n", ""), "/mnt")
    assert {"ro", "nosuid", "nodev", "noexec", "relatime"} <= mount.options
    assert "there" in result.out
    assert "flags are locked in the user namespace" in result.err
    for name in told:
        assert name in result.err
    assert ("read-only" in told) == ("mounted read-only" in result.err)


@pytest.mark.parametrize("nested", [False, True], ids=["container-s", "runtime-s"])
def test_f15_flags_that_are_not_there_are_not_told(
    rootless: RootlessRuntime, bundle: Bundle, host_mount: Callable[..., Path], nested: bool
) -> None:
    source = host_mount("mounted", "-t", "tmpfs", "-o", "mode=777", "tmpfs")
    bundle.mount("/mnt", "bind", str(source), "rbind", "rw", "exec", "suid")
    if nested:
        bundle.without_namespace("user")
        del bundle.linux["uidMappings"], bundle.linux["gidMappings"]
    result = rootless.run(bundle.sh("cat /proc/self/mountinfo"), inside=AS_ROOT if nested else ())
    assert "rw" in host.mount_at(result.out, "/mnt").options
    assert "locked" not in result.err


@pytest.mark.parametrize("nested", [False, True], ids=["container-s", "runtime-s"])
def test_s5_a_directory_with_mounts_below_it_is_bound_with_them(
    rootless: RootlessRuntime, bundle: Bundle, host_mount: Callable[..., Path], nested: bool
) -> None:
    """S5: a plain bind would uncover what the locked mount below covers, which the kernel refuses (EINVAL)."""
    source = host_mount("mounted", "-t", "tmpfs", "-o", "mode=755", "tmpfs")
    host_mount("mounted/below", "-t", "tmpfs", "-o", "mode=777", "tmpfs")
    bundle.mount("/mnt", "bind", str(source), "bind", "ro")
    if nested:
        bundle.without_namespace("user")
        del bundle.linux["uidMappings"], bundle.linux["gidMappings"]
    out = rootless.run(bundle.sh("cat /proc/self/mountinfo"), inside=AS_ROOT if nested else ()).out
    assert "ro" in host.mount_at(out, "/mnt").options
    assert "ro" in host.mount_at(out, "/mnt/below").options


# ---- the process


def test_oom_score_adj_can_be_raised_only(rootless: RootlessRuntime, bundle: Bundle) -> None:
    own = int(Path("/proc/self/oom_score_adj").read_text())
    bundle.process["oomScoreAdj"] = own + 5
    assert rootless.inside(bundle, "cat /proc/self/oom_score_adj") == f"{own + 5}\n"
    if own - 5 < -1000:
        return
    bundle.process["oomScoreAdj"] = own - 5
    line = rootless.refuse(bundle).last_line
    assert "permission denied" in line
    assert "at /process/oomScoreAdj" in line


def test_hooks_run_as_the_user(rootless: RootlessRuntime, bundle: Bundle) -> None:
    out = rootless.home / "hooks"
    for name in ("prestart", "createRuntime", "poststart", "poststop"):
        bundle.hook(name, bundle.script(name, f"echo {name} $(id -u) >> {out}"))
    bundle.hook("createContainer", bundle.script("createContainer", f"echo createContainer $(id -u) >> {out}"))
    rootless.run(bundle.args("true"))
    assert out.read_text().splitlines() == [
        f"prestart {UID}", f"createRuntime {UID}", "createContainer 0", f"poststart {UID}", f"poststop {UID}",
    ]  # fmt: skip


@pytest.mark.parametrize("many", [False, True], ids=["one-id", "subordinate-ids"])
def test_a_console_socket(rootless: RootlessRuntime, bundle: Bundle, many: bool) -> None:
    if many:
        rootless.subordinate_ids(bundle)
        bundle.process["user"] = {"uid": 5, "gid": 5}
    bundle.process["terminal"] = True
    path = str(rootless.home / "c.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        os.chown(path, UID, UID)
        listener.listen()
        container = rootless.container(bundle.sh("tty; stat -c %u $(tty)"), "--console-socket", path)
        connection, _ = listener.accept()
        with connection:
            _, fds = native.recv(connection.fileno(), 4096, 1)
    container.start()
    container.wait()
    text = os.read(fds[0], 4096).decode()
    os.close(fds[0])
    assert text.split() == ["/dev/pts/0", "5" if many else "0"]


def test_a_seccomp_filter(rootless: RootlessRuntime, bundle: Bundle) -> None:
    bundle.linux["seccomp"] = allowing("SCMP_ACT_ERRNO", "mkdir", "mkdirat")
    out = rootless.inside(bundle, "grep Seccomp: /proc/self/status; mkdir /x 2>&1 || true")
    assert out.split()[:2] == ["Seccomp:", "2"]
    assert "not permitted" in out


def test_a_seccomp_agent(rootless: RootlessRuntime, bundle: Bundle) -> None:
    """The runtime takes the listener from the init, which is not dumpable: the user owns the init's user namespace."""
    address = str(rootless.home / "agent.sock")
    agent = Agent(address, lambda number, args: -errno.ENOMEDIUM)
    try:
        os.chown(address, UID, UID)
        bundle.linux["seccomp"] = {**allowing("SCMP_ACT_NOTIFY", "mkdir", "mkdirat"), "listenerPath": address}
        assert "No medium found" in rootless.inside(bundle, "mkdir /x 2>&1; true")
    finally:
        agent.close()


def test_a_foreground_terminal(rootless: RootlessRuntime, bundle: Bundle) -> None:
    bundle.process["terminal"] = True
    bundle.sh("test -t 0 && tty && stty size").write()
    master, slave = pty.openpty()
    command = [*rootless.as_user(), *rootless.own_command, "--root", str(rootless.root)]
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 33, 99, 0, 0))
    process = subprocess.Popen(
        [*command, "run", "--bundle", bundle.path, rootless.new_id()],
        stdin=slave, stdout=slave, stderr=slave, env=rootless.environment(), cwd=rootless.work,
    )  # fmt: skip
    assert process.wait(60) == 0
    os.close(slave)
    text = os.read(master, 4096).decode()
    os.close(master)
    assert text.split() == ["/dev/pts/0", "33", "99"]


def test_net_devices_are_refused(rootless: RootlessRuntime, bundle: Bundle) -> None:
    bundle.namespace("network")
    bundle.linux["netDevices"] = {"dummy0": {}}
    assert "network devices are not supported for rootless containers" in rootless.refuse(bundle).last_line


# ---- cgroups


def test_without_a_cgroup_of_his_the_container_has_none(rootless: RootlessRuntime, bundle: Bundle) -> None:
    container = rootless.started(bundle.args("sleep", "100"))
    assert host.cgroup_of(container.pid) == host.cgroup_of("self")
    assert not host.cgroups_of(rootless.token)
    assert "note: no cgroup: this user may not make one" in rootless("plan", "--bundle", bundle.path).out
    container.kill("KILL", "--all")
    container.wait()


def test_what_can_t_be_limited_is_an_error(rootless: RootlessRuntime, bundle: Bundle) -> None:
    bundle.linux["resources"] = {"unified": {"cgroup.max.depth": "3"}}
    line = rootless.refuse(bundle).last_line
    # runc's message.
    assert "rootless needs no limits + no cgrouppath when no permission is granted for cgroups" in line
    assert "at /linux/resources/unified/cgroup.max.depth" in line
    bundle.linux["resources"] = {}
    bundle.linux["cgroupsPath"] = f"/{rootless.token}"
    line = rootless.refuse(bundle).last_line
    assert "permission denied" in line
    assert "at /linux/cgroupsPath" in line


def test_rootless_false_wants_a_cgroup(rootless: RootlessRuntime, bundle: Bundle) -> None:
    bundle.write()
    for value, code in (("false", 1), ("auto", 0), ("true", 0)):
        result = rootless("--rootless", value, "run", "--bundle", bundle.path, rootless.new_id())
        assert result.code == code, result
        assert ("creating cgroup" in result.err) is bool(code)


@pytest.mark.purev2
@pytest.mark.parametrize("path", ["", "named"])
def test_a_delegated_cgroup(rootless: RootlessRuntime, bundle: Bundle, delegated: Delegated, path: str) -> None:
    if path:
        bundle.linux["cgroupsPath"] = path
    bundle.linux["resources"] = {"unified": {"cgroup.max.depth": "3"}}
    container = rootless.started(bundle.args("sleep", "100"))
    cgroup = delegated.path / (path or container.id)
    assert host.cgroup_of(container.pid).endswith(f"/{delegated.path.name}/{cgroup.name}")
    assert cgroup.stat().st_uid == UID
    assert (cgroup / "cgroup.max.depth").read_text() == "3\n"
    assert "no cgroup" not in rootless("plan", "--bundle", bundle.path).out
    container.kill("KILL", "--all")
    container.wait()
    container.delete()
    assert not cgroup.exists()


def test_a_limit_whose_controller_is_not_delegated(
    rootless: RootlessRuntime, bundle: Bundle, delegated: Delegated
) -> None:
    bundle.linux["resources"] = {"pids": {"limit": 5}}
    line = rootless.refuse(bundle).last_line
    assert "pids" in line
    assert "at /linux/resources/pids/limit" in line
    assert list(delegated.path.glob("pt*")) == []


def test_a_cgroup_beside_the_delegated_ones(rootless: RootlessRuntime, bundle: Bundle, delegated: Delegated) -> None:
    """The user owns the container's cgroup, but the command's own cgroup is not below the same delegated one."""
    bundle.linux["cgroupsPath"] = f"/{delegated.path.name}/box"
    delegated.leave()
    line = rootless.refuse(bundle).last_line
    assert "clone3: permission denied" in line
    assert "systemd-run --user --scope" in line
    assert not (delegated.path / "box").exists()


def test_the_container_manages_what_is_below_its_cgroup(
    rootless: RootlessRuntime, bundle: Bundle, delegated: Delegated
) -> None:
    bundle.namespace("cgroup").mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid")
    out = rootless.inside(bundle, "cd /sys/fs/cgroup && mkdir in && echo 1 > in/cgroup.procs && cat /proc/1/cgroup")
    assert "0::/in" in out


# ---- root of a user namespace


@pytest.mark.parametrize("inside", [AS_ROOT, AS_ROOT_OF_MANY], ids=["one-id", "subordinate-ids"])
def test_root_of_a_user_namespace(rootless: RootlessRuntime, bundle: Bundle, inside: tuple[str, ...]) -> None:
    """As under Podman and Docker: the user namespace is theirs, and the container has none of its own."""
    bundle.without_namespace("user")
    del bundle.linux["uidMappings"], bundle.linux["gidMappings"]
    bundle.mount("/sys", "sysfs", "sysfs", "ro").mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid")
    out = rootless.run(
        bundle.sh("id -u; stat -c '%t %T' /dev/null; cat /proc/self/uid_map; cat /proc/self/mountinfo"), inside=inside
    ).out
    lines = out.splitlines()
    assert lines[:2] == ["0", "1 3"]
    assert lines[2].split() == ["0", str(UID), "1"]
    assert "ro" in host.mount_at(out, "/sys/fs/cgroup").options


def test_root_of_a_user_namespace_with_another_user(rootless: RootlessRuntime, bundle: Bundle) -> None:
    bundle.without_namespace("user")
    del bundle.linux["uidMappings"], bundle.linux["gidMappings"]
    bundle.process["user"] = {"uid": 7, "gid": 7, "additionalGids": [8]}
    bundle.sh("id -u; id -G")
    assert rootless.run(bundle, inside=AS_ROOT_OF_MANY).out.splitlines() == ["7", "7 8"]
    line = rootless.run(bundle, inside=AS_ROOT, ok=False).last_line
    assert "cannot setuid to unmapped uid 7 in user namespace" in line
    # With a single gid setgroups is denied: as with runc, groups that nobody can set are left out.
    bundle.process["user"] = {"uid": 0, "gid": 0, "additionalGids": [0]}
    result = rootless.run(bundle, inside=AS_ROOT)
    assert result.out.splitlines() == ["0", "0"]
    assert "denies setgroups" in result.err


def test_a_user_namespace_in_a_user_namespace(rootless: RootlessRuntime, bundle: Bundle) -> None:
    nested = [{"containerID": 0, "hostID": 0, "size": 1}]
    bundle.linux.update(uidMappings=nested, gidMappings=nested)
    out = rootless.run(bundle.sh("cat /proc/self/uid_map"), inside=AS_ROOT).out
    assert out.split() == ["0", "0", "1"]
    shifted = [{"containerID": 0, "hostID": 100, "size": 1000}]
    bundle.linux.update(uidMappings=shifted, gidMappings=shifted)
    line = rootless.run(bundle, inside=AS_ROOT, ok=False).last_line
    assert "host uids 100-1099 are not mapped in the user namespace that the runtime is in" in line
    assert "at /linux/uidMappings/0" in line


def test_nested_ids_of_many(rootless: RootlessRuntime, bundle: Bundle) -> None:
    shifted = [{"containerID": 0, "hostID": 0, "size": 1}, {"containerID": 1, "hostID": 100, "size": 1000}]
    bundle.linux.update(uidMappings=shifted, gidMappings=shifted)
    bundle.process["user"] = {"uid": 3, "gid": 4, "additionalGids": [5]}
    out = rootless.run(bundle.sh("id -u; id -G"), inside=AS_ROOT_OF_MANY).out
    assert out.splitlines() == ["3", "4 5"]


def test_a_proc_that_is_covered(rootless: RootlessRuntime, bundle: Bundle) -> None:
    bundle.without_namespace("user")
    del bundle.linux["uidMappings"], bundle.linux["gidMappings"]
    cover = (*AS_ROOT[:-1], "sh", "-c", 'mount -t tmpfs none /proc/irq && exec "$@"', "sh")
    assert rootless.run(bundle.args("true"), inside=cover).code == 0, "what root of the namespace covers, it may see"
    locked = (*AS_ROOT[:-1], "sh", "-c", f'mount -t tmpfs none /proc/irq && exec {" ".join(AS_ROOT)} "$@"', "sh")
    line = rootless.run(bundle, inside=locked, ok=False).last_line
    assert "over which nothing is mounted" in line
    assert "at /mounts/0" in line


# ---- exec


@pytest.mark.parametrize("many", [False, True], ids=["one-id", "subordinate-ids"])
def test_exec(rootless: RootlessRuntime, bundle: Bundle, many: bool) -> None:
    if many:
        rootless.subordinate_ids(bundle)
    container = rootless.started(bundle.args("sleep", "100"))
    result = rootless("exec", container.id, "sh", "-c", "id -u; readlink /proc/self/ns/user; echo $$ > /dev/null")
    assert result.code == 0, result
    assert result.out.splitlines() == ["0", os.readlink(f"/proc/{container.pid}/ns/user")]
    if many:
        result = rootless("exec", "--user", "5:6", container.id, "id", "-u")
        assert result.out == "5\n", result


def test_exec_in_a_delegated_cgroup(rootless: RootlessRuntime, bundle: Bundle, delegated: Delegated) -> None:
    container = rootless.started(bundle.args("sleep", "100"))
    result = rootless("exec", container.id, "cat", "/proc/self/cgroup")
    assert f"0::/{delegated.path.name}/{container.id}" in result.out.splitlines(), result


def test_all_kinds_of_the_plan_are_shown(rootless: RootlessRuntime, bundle: Bundle) -> None:
    bundle.mount("/sys", "sysfs", "sysfs").namespace("cgroup").mount("/sys/fs/cgroup", "cgroup", "cgroup")
    rootless.subordinate_ids(bundle).write()
    result = rootless("plan", "--bundle", bundle.path, "--format", "tree")
    assert result.code == 0, result
    for words in (
        f"map_by_tool: (on EPERM) path={shutil.which('newuidmap')} file=uid_map",
        "bind: (on EPERM) source=/sys target=/sys",
        "bind_cgroup: (on EPERM or EBUSY)",
        "mask_path: (on ENOENT) path=/sys/fs/cgroup",
        "bind_device: source=/dev/null",
        "note: no cgroup",
    ):
        assert words in result.out, result.out
