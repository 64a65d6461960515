"""`linux.devices`, the default devices and links, and `resources.devices` as the cgroup enforces it."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from pyrunc.libcontainer.cgroup import devices
from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Runtime

DENY_ALL = {"allow": False, "access": "rwm"}
KMSG = {"type": "c", "major": 1, "minor": 11}
# Opened for writing: the kernel requires no capability for these, so only the cgroup can refuse.
WRITE_KMSG = "( : >> /dev/kmsg ) 2>&1 && echo opened"


@pytest.mark.purev2
def test_default_devices_and_links(runtime: Runtime, bundle: Bundle) -> None:
    out = runtime.inside(
        bundle,
        "cd /dev; stat -c '%n %F %t:%T %a %u:%g' null zero full random urandom tty; "
        "for link in fd stdin stdout stderr ptmx; do echo $link $(readlink $link); done; ls -A",
    )
    lines = out.splitlines()
    assert lines[:6] == [
        f"{name} character special file {number} 666 0:0"
        for name, number in (
            ("null", "1:3"), ("zero", "1:5"), ("full", "1:7"), ("random", "1:8"), ("urandom", "1:9"), ("tty", "5:0"),
        )
    ]  # fmt: skip
    assert lines[6:11] == [
        "fd /proc/self/fd",
        "stdin /proc/self/fd/0",
        "stdout /proc/self/fd/1",
        "stderr /proc/self/fd/2",
        "ptmx pts/ptmx",
    ]
    core = ["core"] if os.path.exists("/proc/kcore") else []
    assert sorted(lines[11:]) == sorted(
        [*core, "fd", "full", "null", "ptmx", "pts", "random", "stderr", "stdin", "stdout", "tty", "urandom", "zero"]
    )


def test_default_devices_work(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["resources"] = {"devices": [DENY_ALL]}
    out = runtime.inside(
        bundle,
        "cat /dev/null; head -c 2 /dev/zero | od -An -tx1; head -c 4 /dev/urandom | wc -c; "
        "echo x > /dev/full || echo full; echo gone > /dev/null; ls -l /dev/pts/ptmx > /dev/null && echo ptmx",
    )
    assert out.split() == ["00", "00", "4", "full", "ptmx"]


def test_listed_devices_are_made(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["devices"] = [
        {"path": "/dev/char", "type": "c", "major": 1, "minor": 7, "fileMode": 0o640, "uid": 5, "gid": 6},
        {"path": "/dev/unbuffered", "type": "u", "major": 1, "minor": 5, "fileMode": 0o600, "uid": 0, "gid": 0},
        {"path": "/dev/sub/block", "type": "b", "major": 7, "minor": 0, "fileMode": 0o660, "uid": 0, "gid": 6},
        {"path": "/dev/fifo", "type": "p", "fileMode": 0o622, "uid": 1000, "gid": 0},
        {"path": "/run/elsewhere", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666, "uid": 0, "gid": 0},
    ]
    out = runtime.inside(
        bundle,
        "stat -c '%n %F %t:%T %a %u:%g' /dev/char /dev/unbuffered /dev/sub/block /dev/fifo /run/elsewhere",
    )
    assert out.splitlines() == [
        "/dev/char character special file 1:7 640 5:6",
        "/dev/unbuffered character special file 1:5 600 0:0",
        "/dev/sub/block block special file 7:0 660 0:6",
        "/dev/fifo fifo 0:0 622 1000:0",
        "/run/elsewhere character special file 1:3 666 0:0",
    ]


@pytest.mark.own("it then may not open /dev/null itself")
def test_a_listed_device_replaces_a_default_one(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["devices"] = [
        {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600, "uid": 1, "gid": 2}
    ]
    assert runtime.inside(bundle, "stat -c '%t:%T %a %u:%g' /dev/null") == "1:3 600 1:2\n"


@pytest.mark.parametrize(
    "device",
    [
        {"path": "/dev/x", "type": "q", "major": 1, "minor": 3},
        {"path": "dev/x", "type": "c", "major": 1, "minor": 3},
        {"path": "/dev/x", "type": "c"},
    ],
)
@pytest.mark.own("1.1 takes some of these")
def test_devices_that_are_refused(runtime: Runtime, bundle: Bundle, device: dict[str, Any]) -> None:
    bundle.linux["devices"] = [device]
    assert "/linux/devices/0" in runtime.refuse(bundle).last_line


@pytest.mark.parametrize("there", ["file", "directory", "fifo", "number"])
@pytest.mark.own("1.1 takes a node of another number for the right one")
def test_another_file_at_the_path_of_a_device(runtime: Runtime, bundle: Bundle, there: str) -> None:
    path = bundle.rootfs / "srv/device"
    if there == "file":
        path.touch()
    elif there == "directory":
        path.mkdir()
    elif there == "fifo":
        os.mkfifo(path)
    else:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    bundle.linux["devices"] = [{"path": "/srv/device", "type": "c", "major": 1, "minor": 3}]
    before = path.lstat()
    assert "/linux/devices/0" in runtime.refuse(bundle).last_line
    assert (path.lstat().st_mode, path.lstat().st_rdev) == (before.st_mode, before.st_rdev)


def test_the_same_node_at_the_path_of_a_device(runtime: Runtime, bundle: Bundle) -> None:
    os.mknod(bundle.rootfs / "srv/device", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    bundle.linux["devices"] = [{"path": "/srv/device", "type": "c", "major": 1, "minor": 3}]
    assert runtime.inside(bundle, "stat -c %t:%T /srv/device") == "1:3\n"


@pytest.mark.own("it makes them in any case")
def test_links_without_a_proc_to_lead_to(runtime: Runtime, bundle: Bundle) -> None:
    """runtime-linux.md, Dev symbolic links: only if their source exists when the mounts are made."""
    bundle.mounts[:] = [mount for mount in bundle.mounts if mount["destination"] != "/proc"]
    assert runtime.inside(bundle, "cd /dev; ls -d null zero; readlink fd stdin stdout stderr; true") == "null\nzero\n"


def test_device_path_that_leads_out_of_the_rootfs(runtime: Runtime, bundle: Bundle) -> None:
    (bundle.rootfs / "out").symlink_to("/../../../../tmp")
    name = f"device-of-{runtime.token}"
    bundle.linux["devices"] = [
        {"path": f"/out/{name}", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666, "uid": 0, "gid": 0}
    ]
    runtime.run(bundle, ok=False)
    assert not os.path.lexists(f"/tmp/{name}")


@pytest.fixture
def kmsg(bundle: Bundle) -> Bundle:
    """A bundle with /dev/kmsg, which the default rules do not allow."""
    bundle.linux["devices"] = [{"path": "/dev/kmsg", **KMSG, "fileMode": 0o666, "uid": 0, "gid": 0}]
    return bundle


def needs_cgroup2() -> None:
    if not host.cgroup2_mount():
        pytest.skip("needs a cgroup2 hierarchy to attach the device rules to")


@pytest.mark.purev2
def test_denied_devices_can_t_be_opened(runtime: Runtime, kmsg: Bundle) -> None:
    needs_cgroup2()
    kmsg.linux["resources"] = {"devices": [DENY_ALL]}
    out = runtime.run(kmsg.sh(WRITE_KMSG + "; true")).out
    assert "Operation not permitted" in out
    assert "opened" not in out


def test_without_rules_devices_can_t_be_opened_either(runtime: Runtime, kmsg: Bundle) -> None:
    """As with runc, no access is allowed that no rule allows."""
    needs_cgroup2()
    assert "Operation not permitted" in runtime.run(kmsg.sh(WRITE_KMSG + "; true")).out


def test_the_rules_of_an_earlier_start_in_the_cgroup_do_not_stay(runtime: Runtime, kmsg: Bundle) -> None:
    needs_cgroup2()
    path = Path(host.cgroup2_mount()) / runtime.token
    path.mkdir()
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        devices.attach(fd, devices.assemble(["a * * rwm allow", "c 1 11 rwm deny"]))
    finally:
        os.close(fd)
    kmsg.linux["cgroupsPath"] = f"/{runtime.token}"
    kmsg.linux["resources"] = {"devices": [DENY_ALL, {"allow": True, **KMSG, "access": "rw"}]}
    assert "opened" in runtime.run(kmsg.sh(WRITE_KMSG)).out


def test_allowed_devices_can_be_opened(runtime: Runtime, kmsg: Bundle) -> None:
    needs_cgroup2()
    kmsg.linux["resources"] = {"devices": [DENY_ALL, {"allow": True, **KMSG, "access": "rw"}]}
    assert "opened" in runtime.run(kmsg.sh(WRITE_KMSG)).out


def test_access_is_by_kind(runtime: Runtime, kmsg: Bundle) -> None:
    needs_cgroup2()
    kmsg.linux["resources"] = {"devices": [DENY_ALL, {"allow": True, **KMSG, "access": "r"}]}
    out = runtime.run(kmsg.sh(WRITE_KMSG + "; true")).out
    assert "Operation not permitted" in out


@pytest.mark.parametrize("rule", [{"major": 1}, {"minor": 11}, {"type": "c"}, {"type": "a"}, {}])
def test_wildcards(runtime: Runtime, kmsg: Bundle, rule: dict[str, Any]) -> None:
    needs_cgroup2()
    if rule == {"minor": 11} and not runtime.is_own:
        pytest.skip("not of runc: it wants the type with a minor number")
    kmsg.linux["resources"] = {"devices": [DENY_ALL, {"allow": True, "access": "rwm", "type": "c", **rule}]}
    assert "opened" in runtime.run(kmsg.sh(WRITE_KMSG)).out


def test_the_later_rule_wins(runtime: Runtime, kmsg: Bundle) -> None:
    needs_cgroup2()
    allow, deny = {"allow": True, **KMSG, "access": "rwm"}, {"allow": False, **KMSG, "access": "rwm"}
    kmsg.linux["resources"] = {"devices": [DENY_ALL, allow, deny]}
    assert "opened" not in runtime.run(kmsg.sh(WRITE_KMSG + "; true")).out
    kmsg.linux["resources"] = {"devices": [DENY_ALL, deny, allow]}
    assert "opened" in runtime.run(kmsg).out


def test_deny_one_of_all(runtime: Runtime, kmsg: Bundle) -> None:
    needs_cgroup2()
    everything = {"allow": True, "access": "rwm"}
    kmsg.linux["resources"] = {"devices": [everything, {"allow": False, **KMSG, "access": "w"}]}
    assert "opened" not in runtime.run(kmsg.sh(WRITE_KMSG + "; true")).out


@pytest.mark.purev2
def test_any_node_may_be_made_but_not_opened(runtime: Runtime, bundle: Bundle) -> None:
    """As with runc, mknod is always allowed; the rules decide whether the node can be opened."""
    needs_cgroup2()
    bundle.linux["resources"] = {"devices": [DENY_ALL]}
    out = runtime.inside(
        bundle,
        "mknod /tmp/mem c 1 1 && mknod /tmp/loop b 7 0 && echo made; cat /tmp/mem 2>&1; cat /tmp/loop 2>&1; true",
    )
    assert out.startswith("made\n")
    assert out.count("Operation not permitted") == 2


def test_rules_hold_in_the_waiting_container_s_cgroup(runtime: Runtime, kmsg: Bundle) -> None:
    """The rules apply to processes that an engine puts into the container's cgroup later, and to exec."""
    needs_cgroup2()
    kmsg.linux["resources"] = {"devices": [DENY_ALL]}
    container = runtime.started(kmsg.sh("mknod /dev/mine c 1 11; while :; do sleep 0.02; done"))
    host.wait_for("its node", lambda: os.path.exists(f"/proc/{container.pid}/root/dev/mine"))
    if not runtime.is_own:
        return
    procs = host.cgroup2_mount() + host.cgroup_of(container.pid) + "/cgroup.procs"
    child = os.fork()
    if child == 0:
        status = 9
        try:
            with open(procs, "w") as file:
                file.write("0")
            os.open("/dev/kmsg", os.O_WRONLY)
            status = 0
        except PermissionError:
            status = 1
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


@pytest.mark.parametrize(
    "rule", [{"allow": True, "type": "x", "access": "r"}, {"allow": True, "type": "c", "access": "q"}]
)
def test_rules_that_are_refused(runtime: Runtime, bundle: Bundle, rule: dict[str, Any]) -> None:
    if not runtime.is_own and rule["access"] == "q":
        pytest.skip("not of runc: it takes any access")
    bundle.linux["resources"] = {"devices": [rule]}
    result = runtime.refuse(bundle)
    if runtime.is_own:
        assert "/linux/resources/devices/0" in result.last_line


@pytest.mark.own("it then needs /dev/null in that directory")
def test_dev_as_a_bind_mount_is_left_alone(runtime: Runtime, bundle: Bundle) -> None:
    """If the config binds a directory on /dev, runc makes no devices in it."""
    (runtime.work / "dev").mkdir()
    (runtime.work / "dev/mine").write_text("mine\n")
    bundle.config["mounts"] = [bundle.mounts[0]]
    bundle.mount("/dev", "bind", str(runtime.work / "dev"), "bind")
    assert runtime.inside(bundle, "ls -A /dev") == "mine\n"
    assert os.listdir(runtime.work / "dev") == ["mine"]
