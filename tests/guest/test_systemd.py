"""The systemd cgroup manager against the real systemd: scopes, slices, properties, limits, annotations, both buses."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Container, Result, Runtime

ROOT = Path("/sys/fs/cgroup")
MIB = 1 << 20
TESTER = 1000
INFINITY = str((1 << 64) - 1)


def systemctl(*args: str) -> str:
    """The output of systemctl."""
    return subprocess.run(["systemctl", *args], capture_output=True, text=True, check=False).stdout


def shown(unit: str, *names: str) -> dict[str, str]:
    """Properties of a unit."""
    text = systemctl("show", "--property", ",".join(names), "--", unit)
    return dict([line.split("=", 1) for line in text.splitlines()])


def is_known(unit: str) -> bool:
    """Whether systemd has the unit in its memory."""
    return unit in systemctl("list-units", "--all", "--plain", "--no-legend", "--", unit)


def gone(unit: str) -> None:
    """Wait until systemd has forgotten the unit. It collects units some time after their end."""
    host.wait_for("the unit's end", lambda: not is_known(unit))


@pytest.fixture
def systemd(runtime: Runtime) -> Iterator[Runtime]:
    """The runtime with systemd as its cgroup manager. No unit of the test may be left at its end."""
    runtime.command.append("--systemd-cgroup")
    yield runtime
    for id in runtime.ids:
        result = runtime("delete", "--force", id)
        assert result.code == 0, result
    assert systemctl("list-units", "--all", "--plain", "--no-legend", f"*{runtime.token}*") == ""


def placed(runtime: Runtime, bundle: Bundle, slice: str = "") -> str:
    """Give the bundle a cgroupsPath of the test's own; the unit's name."""
    bundle.linux["cgroupsPath"] = f"{slice}:test:{runtime.token}"
    return f"test-{runtime.token}.scope"


def limited(bundle: Bundle, **resources: Any) -> Bundle:
    bundle.linux["resources"] = resources
    return bundle


def files(container: Container) -> Path:
    return ROOT / host.cgroup_of(container.pid)[1:]


def test_the_life_of_a_container(systemd: Runtime, bundle: Bundle) -> None:
    unit = placed(systemd, bundle)
    container = systemd.container(bundle.args("sleep", "1000"))
    assert host.cgroup_of(container.pid) == f"/system.slice/{unit}"
    assert shown(unit, "ActiveState", "SubState", "Slice", "Delegate", "ControlGroup", "Transient") == {
        "ActiveState": "active",
        "SubState": "running",
        "Slice": "system.slice",
        "Delegate": "yes",
        "ControlGroup": f"/system.slice/{unit}",
        "Transient": "yes",
    }
    names = ["CPUAccounting", "MemoryAccounting", "IOAccounting", "TasksAccounting", "DefaultDependencies"]
    assert list(shown(unit, *names).values()).count("yes") == 4
    assert shown(unit, "DefaultDependencies", "Description") == {
        "DefaultDependencies": "no",
        "Description": f"pyrunc container {systemd.token}",
    }
    assert container.status == "created"
    container.start()
    assert container.status == "running"
    # Any command finds the unit, whatever manager its command line names.
    del systemd.command[-1]
    assert container.id in systemd("list", "--quiet").out
    container.kill()
    container.wait()
    assert container.status == "stopped"
    container.delete()
    gone(unit)
    assert not (ROOT / "system.slice" / unit).exists()


def test_run_in_the_foreground(systemd: Runtime, bundle: Bundle) -> None:
    unit = placed(systemd, bundle)
    bundle.namespace("cgroup")
    script = "cat /proc/self/cgroup; exit 7"
    result = systemd.run(bundle.sh(script), ok=False)
    assert (result.code, result.out) == (7, "0::/\n"), result
    gone(unit)
    systemd.assert_nothing_left()


def test_kill_all_and_delete_by_force(systemd: Runtime, bundle: Bundle) -> None:
    unit = placed(systemd, bundle)
    bundle.without_namespace("pid")
    container = systemd.started(bundle.sh("sleep 1000 & sleep 1000 & wait"))
    host.wait_for("its children", lambda: len((files(container) / "cgroup.procs").read_text().split()) == 3)
    container.kill("USR1", "--all")
    container.delete("--force")
    gone(unit)


@pytest.mark.parametrize(
    ("path", "slice", "cgroup"),
    [
        ("", "system.slice", "system.slice/pyrunc-{id}.scope"),
        ("machine.slice:p:{token}", "machine.slice", "machine.slice/p-{token}.scope"),
        ("pods-a-b.slice:p:{token}", "pods-a-b.slice", "pods.slice/pods-a.slice/pods-a-b.slice/p-{token}.scope"),
        ("-.slice:p:{token}", "-.slice", "p-{token}.scope"),
        ("::{token}", "system.slice", "system.slice/-{token}.scope"),
    ],
)
def test_slices(systemd: Runtime, bundle: Bundle, path: str, slice: str, cgroup: str) -> None:
    bundle.linux["cgroupsPath"] = path.format(token=systemd.token)
    container = systemd.container(bundle)
    expected = cgroup.format(token=systemd.token, id=container.id)
    assert host.cgroup_of(container.pid) == "/" + expected
    assert shown(expected.rpartition("/")[2], "Slice") == {"Slice": slice}


def test_limits_are_properties_and_files(systemd: Runtime, bundle: Bundle) -> None:
    unit = placed(systemd, bundle)
    limited(
        bundle,
        memory={"limit": 64 * MIB, "swap": 80 * MIB, "reservation": 16 * MIB},
        cpu={"shares": 512, "quota": 33333, "period": 50000, "burst": 1000},
        pids={"limit": 20},
        unified={"memory.high": str(48 * MIB), "cgroup.max.depth": "3"},
    )
    container = systemd.container(bundle)
    assert shown(
        unit, "MemoryMax", "MemorySwapMax", "MemoryLow", "MemoryHigh", "CPUWeight", "CPUQuotaPerSecUSec",
        "CPUQuotaPeriodUSec", "TasksMax",
    ) == {
        "MemoryMax": str(64 * MIB),
        "MemorySwapMax": str(16 * MIB),
        "MemoryLow": str(16 * MIB),
        "MemoryHigh": str(48 * MIB),
        "CPUWeight": "59",
        "CPUQuotaPerSecUSec": "670ms",
        "CPUQuotaPeriodUSec": "50ms",
        "TasksMax": "20",
    }  # fmt: skip
    expected = {
        "memory.max": str(64 * MIB), "memory.swap.max": str(16 * MIB), "memory.low": str(16 * MIB),
        "memory.high": str(48 * MIB), "cpu.weight": "59", "cpu.max": "33500 50000", "cpu.max.burst": "1000",
        "pids.max": "20", "cgroup.max.depth": "3",
    }  # fmt: skip
    assert {name: (files(container) / name).read_text().strip() for name in expected} == expected
    # systemd's own actions do not change it.
    systemctl("daemon-reload")
    assert {name: (files(container) / name).read_text().strip() for name in expected} == expected


def test_no_limit_is_one_too(systemd: Runtime, bundle: Bundle) -> None:
    unit = placed(systemd, bundle)
    systemd.container(limited(bundle, memory={"limit": -1}, cpu={"quota": -1, "idle": 1}, pids={"limit": -1}))
    assert shown(unit, "MemoryMax", "MemorySwapMax", "TasksMax", "CPUQuotaPerSecUSec", "CPUWeight") == {
        "MemoryMax": "infinity",
        "MemorySwapMax": "infinity",
        "TasksMax": "infinity",
        "CPUQuotaPerSecUSec": "infinity",
        "CPUWeight": "idle",
    }


def test_limits_by_their_effect(systemd: Runtime, bundle: Bundle) -> None:
    placed(systemd, bundle)
    limited(bundle, pids={"limit": 1}, memory={"limit": 32 * MIB, "swap": 32 * MIB})
    assert "can't fork" in systemd.run(bundle.sh("cat /etc/passwd & wait"), ok=False).err
    hog = ["dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"]
    assert systemd.run(bundle.args(*hog), ok=False).code == 137


@pytest.mark.qemu("User-Mode Linux has no cpuset controller")
def test_cpusets(systemd: Runtime, bundle: Bundle) -> None:
    unit = placed(systemd, bundle)
    container = systemd.container(limited(bundle, cpu={"cpus": "1", "mems": "0"}))
    assert shown(unit, "AllowedCPUs", "AllowedMemoryNodes") == {"AllowedCPUs": "1", "AllowedMemoryNodes": "0"}
    assert (files(container) / "cpuset.cpus").read_text() == "1\n"


@pytest.mark.qemu("User-Mode Linux has no hugetlb controller")
def test_controllers_that_systemd_does_not_delegate(systemd: Runtime, bundle: Bundle) -> None:
    placed(systemd, bundle)
    container = systemd.container(limited(bundle, hugepageLimits=[{"pageSize": "2MB", "limit": 0}]))
    assert (files(container) / "hugetlb.2MB.max").read_text() == "0\n"


def test_block_io(systemd: Runtime, bundle: Bundle) -> None:
    unit = placed(systemd, bundle)
    name = next(path.name for path in Path("/sys/block").iterdir() if path.name.startswith(("ubd", "vd", "sd")))
    major, minor = (Path("/sys/block") / name / "dev").read_text().strip().split(":")
    device = {"major": int(major), "minor": int(minor), "rate": 2 * MIB}
    container = systemd.container(limited(bundle, blockIO={"throttleReadBpsDevice": [device]}))
    assert shown(unit, "IOReadBandwidthMax") == {"IOReadBandwidthMax": f"/dev/block/{major}:{minor} {2 * MIB}"}
    assert (files(container) / "io.max").read_text() == f"{major}:{minor} rbps={2 * MIB} wbps=max riops=max wiops=max\n"


def test_device_rules(systemd: Runtime, bundle: Bundle) -> None:
    placed(systemd, bundle)
    bundle.linux["devices"] = [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666}]
    limited(bundle, devices=[{"allow": False, "access": "rwm"}])
    result = systemd.run(bundle.sh(": < /dev/null && (: < /dev/fuse) || echo refused"))
    assert result.out == "refused\n", result


def test_annotations(systemd: Runtime, bundle: Bundle) -> None:
    unit = placed(systemd, bundle)
    bundle.config["annotations"] = {
        "org.systemd.property.TimeoutStopUSec": "uint64 123456789",
        "org.systemd.property.CollectMode": "'inactive-or-failed'",
        "org.systemd.property.RuntimeMaxSec": "3600",
        "org.systemd.property.Description": "'my own'",
        "org.systemd.property.After": "['basic.target']",
        "org.example.other": "x",
    }
    systemd.container(bundle)
    found = shown(unit, "TimeoutStopUSec", "CollectMode", "RuntimeMaxUSec", "Description", "After")
    assert "basic.target" in found.pop("After")
    assert found == {
        "TimeoutStopUSec": "2min 3.456789s",
        "CollectMode": "inactive-or-failed",
        "RuntimeMaxUSec": "1h",
        "Description": "my own",
    }


def refused(systemd: Runtime, bundle: Bundle, unit: str) -> str:
    """The last line of a create that fails; neither a unit nor anything else is left."""
    result = systemd.refuse(bundle)
    gone(unit)
    return result.last_line


@pytest.mark.parametrize(
    ("annotation", "text", "what"),
    [
        ("NoSuchThing", "'x'", "NoSuchThing"),
        ("TimeoutStopUSec", "'soon'", ""),
        ("Slice", "'machine.slice'", "The slice is named by linux.cgroupsPath"),
    ],
)
def test_annotations_that_systemd_refuses(
    systemd: Runtime, bundle: Bundle, annotation: str, text: str, what: str
) -> None:
    unit = placed(systemd, bundle)
    bundle.config["annotations"] = {"org.systemd.property." + annotation: text}
    line = refused(systemd, bundle, unit)
    assert what in line
    assert "step systemd_scope" in line
    if annotation == "NoSuchThing":
        assert "at /annotations/org.systemd.property.NoSuchThing" in line
        assert "unable to start container process: unable to apply cgroup configuration: unable to start unit" in line


def test_what_the_kernel_refuses_leaves_no_unit(systemd: Runtime, bundle: Bundle) -> None:
    unit = placed(systemd, bundle)
    line = refused(systemd, limited(bundle, unified={"memory.max": "much"}), unit)
    assert "at /linux/resources/unified/memory.max" in line


def test_what_systemd_refuses_names_the_field(systemd: Runtime, bundle: Bundle) -> None:
    unit = placed(systemd, bundle)
    line = refused(systemd, limited(bundle, unified={"cpu.weight": "10001"}), unit)
    assert "CPUWeight" in line
    assert "at /linux/resources/unified/cpu.weight" in line


def test_an_init_that_fails_later_leaves_no_unit(systemd: Runtime, bundle: Bundle) -> None:
    unit = placed(systemd, bundle)
    refused(systemd, bundle.mount("/x", "bind", "/no/such/source", "bind"), unit)


def test_the_unit_of_another_is_left_alone(systemd: Runtime, bundle: Bundle) -> None:
    unit = placed(systemd, bundle)
    container = systemd.started(bundle.args("sleep", "1000"))
    line = systemd.refuse(bundle).last_line
    assert f"Unit {unit} already exists" in line or "was already loaded" in line
    assert "another container has this cgroupsPath" in line
    assert shown(unit, "ActiveState") == {"ActiveState": "active"}
    assert container.status == "running"


def test_a_failed_unit_of_the_name_is_reset(systemd: Runtime, bundle: Bundle) -> None:
    unit = placed(systemd, bundle)
    command = ["systemd-run", "--scope", "--unit", unit, "--property", "RuntimeMaxSec=1", "sleep", "1000"]
    subprocess.run(command, capture_output=True, check=False)
    host.wait_for("its failure", lambda: shown(unit, "ActiveState")["ActiveState"] == "failed")
    container = systemd.container(bundle)
    assert shown(unit, "ActiveState") == {"ActiveState": "active"}
    container.delete()
    gone(unit)


def test_a_killed_create_leaves_nothing(systemd: Runtime, bundle: Bundle) -> None:
    unit = placed(systemd, bundle)
    bundle.hook("createRuntime", bundle.script("hook", f"echo > {bundle.path}/started; exec sleep 1000"))
    bundle.write()
    id = systemd.new_id()
    process = systemd.background("create", "--bundle", bundle.path, id)
    host.wait_for("the hook", (bundle.path / "started").exists)
    assert is_known(unit)
    process.kill()
    process.wait()
    assert systemd("state", id).code == 1
    gone(unit)


def test_plan_and_features(systemd: Runtime, bundle: Bundle) -> None:
    placed(systemd, bundle, "a-b.slice")
    limited(bundle, memory={"limit": 64 * MIB})
    bundle.write()
    result = systemd("plan", "--bundle", bundle.path)
    assert result.code == 0, result
    assert "StartTransientUnit" in result.out
    assert "MemoryMax=uint64" in systemd("plan", "--format", "tree", "--bundle", bundle.path).out
    assert '"systemd": true' in systemd("features").out


def test_systemd_s_own_socket_where_there_is_no_bus(systemd: Runtime, bundle: Bundle) -> None:
    unit = placed(systemd, bundle)
    bundle.write()
    prefix = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /run/dbus && exec "$@"', "sh"]
    id = systemd.new_id()
    result = systemd("create", "--bundle", bundle.path, id, prefix=prefix)
    assert result.code == 0, result
    assert shown(unit, "ActiveState") == {"ActiveState": "active"}
    result = systemd("delete", id, prefix=prefix)
    assert result.code == 0, result
    gone(unit)


# Mounts that were made since the tests began are not in their mount namespace.
HOST_MOUNTS = ["nsenter", "--target", "1", "--mount"]
AS_TESTER = ["setpriv", f"--reuid={TESTER}", f"--regid={TESTER}", "--init-groups"]


class Rootless:
    """The runtime as the user `tester`, whose systemd keeps running."""

    def __init__(self, runtime: Runtime, bundle: Bundle) -> None:
        self.runtime = runtime
        self.bundle = bundle
        for path in (runtime.work, bundle.path):
            os.chown(path, TESTER, TESTER)
        bundle.user_namespace(TESTER, 1)
        for mount in bundle.mounts:
            mount["options"] = [option for option in mount.get("options", ()) if option != "gid=5"]

    def __call__(self, *args: str | Path, inside: Sequence[str] = ()) -> Result:
        prefix = [*HOST_MOUNTS, *AS_TESTER, *inside]
        return self.runtime(*args, prefix=prefix, env={"XDG_RUNTIME_DIR": f"/run/user/{TESTER}", "HOME": "/tmp"})

    def units(self) -> str:
        """The units of the test in the user's systemd, as systemctl lists them."""
        command = ["env", f"XDG_RUNTIME_DIR=/run/user/{TESTER}", "systemctl", "--user", "list-units", "--all"]
        words = ["--plain", "--no-legend", f"*{self.runtime.token}*"]
        return subprocess.run(
            [*HOST_MOUNTS, *AS_TESTER, *command, *words], capture_output=True, text=True, check=True
        ).stdout


@pytest.fixture
def rootless(systemd: Runtime, bundle: Bundle) -> Iterator[Rootless]:
    subprocess.run(["loginctl", "enable-linger", "tester"], check=True)
    is_there = [*HOST_MOUNTS, "test", "-S", f"/run/user/{TESTER}/bus"]
    host.wait_for("the user's bus", lambda: subprocess.run(is_there, check=False).returncode == 0)
    made = Rootless(systemd, bundle)
    yield made
    for id in systemd.ids:
        result = made("delete", "--force", id)
        assert result.code == 0, result
    systemd.ids.clear()
    host.wait_for("the units' end", lambda: made.units() == "")


def test_the_user_s_systemd(rootless: Rootless) -> None:
    runtime, bundle = rootless.runtime, rootless.bundle
    unit = placed(runtime, bundle)
    limited(bundle.args("sleep", "1000"), memory={"limit": 64 * MIB}, pids={"limit": 9}).namespace("cgroup").write()
    id = runtime.new_id()
    result = rootless("create", "--bundle", bundle.path, id)
    assert result.code == 0, result
    state = runtime.state(id)
    manager = f"/user.slice/user-{TESTER}.slice/user@{TESTER}.service"
    assert host.cgroup_of(state["pid"]) == f"{manager}/user.slice/{unit}"
    path = ROOT / host.cgroup_of(state["pid"])[1:]
    assert (path / "memory.max").read_text() == f"{64 * MIB}\n"
    assert (path / "pids.max").read_text() == "9\n"
    assert unit in rootless.units()
    assert rootless("start", id).code == 0
    # The command starts outside of the unit's cgroups, so that the user may not move a process into them.
    assert host.cgroup_of("self").endswith("pyrunc-guest.service")
    result = rootless("exec", id, "sh", "-c", "cat /proc/self/cgroup; exit 5")
    assert (result.code, result.out) == (5, "0::/\n"), result
    (path / "sub").mkdir()
    result = rootless("exec", "--cgroup", "sub", id, "cat", "/proc/self/cgroup")
    assert (result.code, result.out) == (0, "0::/sub\n"), result
    for words in (("kill", id, "KILL"),):
        assert rootless(*words).code == 0
    host.wait_for("its end", lambda: not host.is_alive(state["pid"]))
    result = rootless("delete", id)
    assert result.code == 0, result
    assert not path.exists()


def test_the_root_of_a_user_namespace_has_the_user_s_systemd(rootless: Rootless) -> None:
    """As under an engine that makes its own namespace. The bus sees this root as the user outside."""
    runtime, bundle = rootless.runtime, rootless.bundle
    unit = placed(runtime, bundle)
    limited(bundle.without_namespace("user").args("sleep", "1000"), pids={"limit": 9})
    del bundle.linux["uidMappings"], bundle.linux["gidMappings"]
    bundle.write()
    id = runtime.new_id()
    inside = ["unshare", "--user", "--map-root-user", "--mount"]
    result = rootless("run", "--detach", "--bundle", bundle.path, id, inside=inside)
    assert result.code == 0, result
    pid = runtime.state(id)["pid"]
    assert host.cgroup_of(pid).endswith(f"/user@{TESTER}.service/user.slice/{unit}")
    assert (ROOT / host.cgroup_of(pid)[1:] / "pids.max").read_text() == "9\n"
    result = rootless("delete", "--force", id, inside=inside)
    assert result.code == 0, result
    host.wait_for("its end", lambda: not host.is_alive(pid))


def test_a_controller_that_the_user_has_not_is_named(rootless: Rootless) -> None:
    runtime, bundle = rootless.runtime, rootless.bundle
    placed(runtime, bundle)
    # Debian's user@.service has pids, memory and cpu, but not io.
    limited(bundle, unified={"io.max": "8:0 rbps=1"}).write()
    result = rootless("create", "--bundle", bundle.path, runtime.new_id())
    assert result.code == 1
    assert 'enabling controller \\"io\\"' in result.last_line
    assert rootless.units() == ""
    assert "not delegated" in result.last_line


def test_a_user_without_a_bus(rootless: Rootless) -> None:
    runtime, bundle = rootless.runtime, rootless.bundle
    placed(runtime, bundle)
    bundle.write()
    result = runtime("create", "--bundle", bundle.path, runtime.new_id(), prefix=AS_TESTER)
    assert "neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR" in result.last_line
    result = runtime("--rootless", "false", "create", "--bundle", bundle.path, runtime.new_id(), prefix=AS_TESTER)
    assert "only root may start units of the system's systemd" in result.last_line
