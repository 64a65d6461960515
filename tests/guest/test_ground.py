"""The facts about the guest on which every other test in it depends."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pyrunc.libcontainer.plan import host as hostfacts
from tests.support import host
from tests.support.bundle import Bundle, Config
from tests.support.runtime import Runtime

CGROUP = Path("/sys/fs/cgroup")
# The controllers that systemd enables in its tree.
CONTROLLERS = {"uml": {"cpu", "io", "memory", "pids"}, "qemu": {"cpu", "cpuset", "io", "memory", "pids"}}
# The controllers that the tests enable themselves.
OTHERS: dict[str, set[str]] = {"uml": set(), "qemu": {"hugetlb", "rdma"}}


def _controllers(name: str, folder: Path = CGROUP) -> set[str]:
    return set((folder / f"cgroup.{name}").read_text().split())


def test_systemd_is_up() -> None:
    assert Path("/proc/1/comm").read_text() == "systemd\n"
    failed = subprocess.run(["systemctl", "--failed", "--plain"], capture_output=True, text=True, check=True)
    state = subprocess.run(["systemctl", "is-system-running"], capture_output=True, text=True, check=False)
    assert state.stdout == "running\n", failed.stdout


def test_the_system_bus_answers() -> None:
    done = subprocess.run(
        ["busctl", "get-property", "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
         "org.freedesktop.systemd1.Manager", "ControlGroup"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("s ")


def test_cgroup2_is_alone() -> None:
    with open("/proc/self/mountinfo") as table:
        mounts = [mount for mount in host.mountinfo(table.read()) if mount.fstype.startswith("cgroup")]
    assert [(mount.point, mount.fstype) for mount in mounts] == [(str(CGROUP), "cgroup2")]
    facts = hostfacts.gather()
    assert facts.cgroup_pure
    assert facts.cgroup_mount == str(CGROUP)


def test_the_controllers_are_there(guest: str) -> None:
    assert _controllers("controllers") >= CONTROLLERS[guest] | OTHERS[guest]
    # Enabled for the root's children, where a container without a cgroupsPath has its cgroup, and for this one.
    assert _controllers("subtree_control") >= CONTROLLERS[guest]
    assert _controllers("controllers", CGROUP / host.cgroup_of("self")[1:]) >= CONTROLLERS[guest]


def test_the_processes_are_roots_with_all_capabilities() -> None:
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    assert int(host.process_status(os.getpid(), "CapEff"), 16) == (1 << last + 1) - 1
    assert host.process_status(os.getpid(), "Seccomp") == "0"


@pytest.mark.qemu("User-Mode Linux has no AppArmor")
def test_apparmor_is_on() -> None:
    assert Path("/sys/module/apparmor/parameters/enabled").read_text() == "Y\n"


def test_overlays_can_be_mounted(runtime: Runtime, host_mount: Callable[..., Path]) -> None:
    layers = host_mount("layers")
    for name in ("lower", "upper", "work"):
        (layers / name).mkdir()
    (layers / "lower/file").write_text("below\n")
    options = f"lowerdir={layers}/lower,upperdir={layers}/upper,workdir={layers}/work"
    merged = host_mount("merged", "-t", "overlay", "overlay", "-o", options)
    assert (merged / "file").read_text() == "below\n"


def test_run(runtime: Runtime, bundle: Bundle) -> None:
    id = runtime.new_id()
    bundle.sh("echo in $(hostname) as $$; cat /proc/self/cgroup; exit 7").namespace("cgroup")
    bundle.config["hostname"] = "inside"
    bundle.write()
    result = runtime("run", "--bundle", bundle.path, id)
    assert result.code == 7, result
    assert result.out == "in inside as 1\n0::/\n"
    runtime.assert_nothing_left()


def test_the_container_has_a_cgroup_with_all_controllers(runtime: Runtime, bundle: Bundle, guest: str) -> None:
    bundle.linux["cgroupsPath"] = f"/{runtime.token}/one"
    container = runtime.started(bundle.args("sleep", "60"))
    assert host.cgroup_of(container.pid) == f"/{runtime.token}/one"
    assert _controllers("controllers", CGROUP / runtime.token) >= CONTROLLERS[guest]
    assert container.status == "running"
    container.kill()
    container.wait()
    assert container.status == "stopped"
    container.delete()
    assert not (CGROUP / runtime.token / "one").exists()


def _opened(runtime: Runtime, rules: list[Config]) -> list[str]:
    """What a container with these rules can open: two devices that any of its processes may open, and /dev/null."""
    bundle = runtime.bundle(f"bundle-{len(rules)}")
    bundle.linux["devices"] = [
        {"path": f"/dev/{name}", "type": "c", "major": 10, "minor": minor, "fileMode": 0o666}
        for name, minor in (("fuse", 229), ("loop-control", 237))
    ]
    bundle.linux["resources"] = {"devices": rules}
    bundle.sh(
        "for file in fuse loop-control null; do\n"
        "(: < /dev/$file) && echo read $file; (: >> /dev/$file) && echo write $file; done; exit 0"
    )
    id = runtime.new_id()
    bundle.write()
    result = runtime("run", "--bundle", bundle.path, id)
    assert result.code == 0, result
    assert result.err.count("Operation not permitted") == 6 - len(result.out.splitlines()), result
    return result.out.splitlines()


def test_device_rules(runtime: Runtime) -> None:
    all_devices = ["read fuse", "write fuse", "read loop-control", "write loop-control", "read null", "write null"]
    assert _opened(runtime, [{"allow": True, "access": "rwm"}]) == all_devices
    rules = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "r"},
    ]
    assert _opened(runtime, rules) == ["read fuse", "read null", "write null"]
