"""The systemd cgroup manager against a fake systemd (tests/support/systemd.py), which makes real cgroups.

tests/guest/test_systemd.py tests with the real systemd. The tests here make systemd behave as the real one can't be
made to, and show with the launcher that commands are handed over to the build that speaks D-Bus.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Runtime
from tests.support.systemd import DENIED, MANAGER, NAME, STRANGER, FakeSystemd
from tests.support.systemd import signal as signal_of

pytestmark = pytest.mark.own("runc trusts no bus but systemd's")


@pytest.fixture
def fake(runtime: Runtime) -> Iterator[FakeSystemd]:
    """systemd, as the runtime's cgroup manager. Its cgroups are in one of the test's."""
    root = host.cgroup2_mount()
    if not root:
        pytest.skip("needs a cgroup2 hierarchy")
    made = FakeSystemd(runtime.work / "bus", "/" + runtime.token, Path(root))
    runtime.variables["DBUS_SYSTEM_BUS_ADDRESS"] = made.address
    runtime.command.append("--systemd-cgroup")
    yield made
    for id in runtime.ids:
        result = runtime("delete", "--force", id)
        assert result.code == 0, result
    runtime.ids.clear()
    made.close()


def test_the_life_of_a_container(runtime: Runtime, fake: FakeSystemd, bundle: Bundle) -> None:
    bundle.linux["cgroupsPath"] = f"machine.slice:p:{runtime.token}"
    container = runtime.container(bundle.args("sleep", "1000"))
    unit = f"p-{runtime.token}.scope"
    assert host.cgroup_of(container.pid) == f"/{runtime.token}/machine.slice/{unit}"
    assert fake.units[unit]["PIDs"] == ("au", [container.pid])
    record = json.loads((runtime.root / container.id / "state.json").read_text())
    assert record["systemd"] == {"unit": unit, "user": False}
    # Without the option, and, except for delete, without systemd: the state has what is needed.
    runtime.command.remove("--systemd-cgroup")
    asked = len(fake.calls)
    assert container.status == "created"
    container.start()
    assert container.status == "running"
    assert container.id in runtime("list", "--quiet").out
    container.kill()
    container.wait()
    assert container.status == "stopped"
    assert len(fake.calls) == asked
    container.delete()
    assert fake.methods == ["StartTransientUnit", "StopUnit", "ResetFailedUnit"]
    assert fake.units == {}
    runtime.assert_nothing_left([f"cgroup {host.cgroup2_mount()}/{runtime.token}"])


def test_run_in_the_foreground(runtime: Runtime, fake: FakeSystemd, bundle: Bundle) -> None:
    bundle.namespace("cgroup")
    result = runtime.run(bundle.sh("grep 0:: /proc/self/cgroup; exit 7"), ok=False)
    assert (result.code, result.out) == (7, "0::/\n"), result
    assert fake.methods == ["StartTransientUnit", "StopUnit", "ResetFailedUnit"]


def test_a_detached_run(runtime: Runtime, fake: FakeSystemd, bundle: Bundle) -> None:
    bundle.args("sleep", "1000").write()
    id = runtime.new_id()
    assert runtime("run", "--detach", "--bundle", bundle.path, id).code == 0
    assert host.cgroup_of(runtime.state(id)["pid"]).endswith(f"/system.slice/pyrunc-{id}.scope")
    runtime("delete", "--force", id)
    assert fake.units == {}


def test_device_rules_are_attached_to_the_scope(runtime: Runtime, fake: FakeSystemd, bundle: Bundle) -> None:
    bundle.linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    bundle.linux["devices"] = [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666}]
    assert runtime.run(bundle.sh(": < /dev/null && (: < /dev/fuse) || echo refused")).out == "refused\n"


@pytest.mark.parametrize("user", [False, True])
def test_an_init_that_fails_leaves_no_unit(runtime: Runtime, fake: FakeSystemd, bundle: Bundle, user: bool) -> None:
    if user:
        bundle.user_namespace().namespace("cgroup")
    runtime.refuse(bundle.args("/no/such/program"))
    assert fake.methods == ["StartTransientUnit", "StopUnit", "ResetFailedUnit"]
    assert fake.units == {}


def test_a_failing_write_names_the_field(runtime: Runtime, fake: FakeSystemd, bundle: Bundle) -> None:
    bundle.linux["resources"] = {"unified": {"cgroup.max.depth": "deep"}}
    line = runtime.refuse(bundle).last_line
    assert "unable to start container process: writing" in line
    assert "at /linux/resources/unified/cgroup.max.depth" in line
    assert fake.units == {}


def test_what_systemd_refuses(runtime: Runtime, fake: FakeSystemd, bundle: Bundle) -> None:
    fake.refused["StartTransientUnit"] = (NAME + ".X", "Cannot set property CollectMode, or unknown property.")
    bundle.config["annotations"] = {"org.systemd.property.CollectMode": "'x'"}
    line = runtime.refuse(bundle).last_line
    assert "unable to start container process: unable to apply cgroup configuration: unable to start unit" in line
    assert "at /annotations/org.systemd.property.CollectMode" in line
    fake.refused["StartTransientUnit"] = (DENIED, "Permission denied")
    assert "Permission denied (step systemd_scope; only root" in runtime.refuse(bundle).last_line
    assert "StopUnit" not in fake.methods


def test_the_unit_of_another_is_left_alone(runtime: Runtime, fake: FakeSystemd, bundle: Bundle) -> None:
    bundle.linux["cgroupsPath"] = f":p:{runtime.token}"
    container = runtime.started(bundle.args("sleep", "1000"))
    line = runtime.refuse(bundle).last_line
    assert "already exists" in line
    assert "another container has this cgroupsPath" in line
    assert "at /linux/cgroupsPath" in line
    assert container.status == "running"
    assert "StopUnit" not in fake.methods


@pytest.mark.parametrize(
    ("refused", "what"),
    [
        ({"cgroupsPath": "/a/b"}, "expected cgroupsPath to be of format"),
        ({"cgroupsPath": "a:b:c"}, "invalid slice name: a"),
    ],
)
def test_a_wrong_path_asks_for_nothing(
    runtime: Runtime, fake: FakeSystemd, bundle: Bundle, refused: dict[str, str], what: str
) -> None:
    bundle.linux.update(refused)
    line = runtime.refuse(bundle).last_line
    assert what in line
    assert "at /linux/cgroupsPath" in line
    assert fake.methods == []


def test_a_killed_create_is_swept(runtime: Runtime, fake: FakeSystemd, bundle: Bundle) -> None:
    bundle.hook("createRuntime", bundle.script("hook", f"echo $$ > {bundle.path}/hook.pid; exec sleep 1000"))
    bundle.write()
    id = runtime.new_id()
    process = runtime.background("create", "--bundle", bundle.path, id)
    file = bundle.path / "hook.pid"
    pid = int(host.wait_for("the hook", lambda: file.exists() and file.read_text()))
    process.kill()
    process.wait()
    os.kill(pid, 9)
    assert len(fake.units) == 1
    runtime.command.remove("--systemd-cgroup")
    assert runtime("gc").code == 0
    assert fake.units == {}
    assert not (runtime.root / id).exists()


@pytest.mark.parametrize("signal", [9, 15])
@pytest.mark.parametrize("call", ["Get", "Subscribe", "StartTransientUnit", "JobRemoved"])
def test_a_create_that_ends_while_it_waits_for_systemd(
    runtime: Runtime, fake: FakeSystemd, bundle: Bundle, call: str, signal: int
) -> None:
    fake.silent.add(call)
    bundle.write()
    id = runtime.new_id()
    process = runtime.background("create", "--bundle", bundle.path, id)
    last = "StartTransientUnit" if call == "JobRemoved" else call
    host.wait_for("the call", lambda: last in [name for name, _ in fake.calls])
    if call == "JobRemoved":
        host.wait_for("the unit", lambda: fake.units)
    process.send_signal(signal)
    # Before the launch there is nothing to undo, so that a signal may simply end the command.
    assert process.wait(60) == (-signal if signal == 9 or call == "Get" else 128 + signal)
    fake.silent.clear()
    runtime.assert_nothing_left([f"state directory {id}"])
    assert runtime("state", id).code == 1
    if call != "Get":  # before the launch there is no state root either
        assert runtime("gc").code == 0
    runtime.assert_nothing_left()
    assert fake.units == {}


def test_a_delete_without_a_bus_can_be_repeated(runtime: Runtime, fake: FakeSystemd, bundle: Bundle) -> None:
    container = runtime.started(bundle.args("true"))
    container.wait()
    none = {"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/no/bus"}
    result = runtime("delete", container.id, env=none)
    assert result.code == 1
    assert "undoing systemd_unit" in result.last_line
    assert container.status == "stopped"
    container.delete()
    assert fake.units == {}


@pytest.mark.parametrize("command", ["create", "run"])
def test_without_systemd(runtime: Runtime, bundle: Bundle, command: str) -> None:
    if os.path.isdir("/run/systemd/system"):
        pytest.skip("systemd runs here")
    bundle.write()
    for flags in (["--systemd-cgroup"], ["--cgroup-manager", "systemd"]):
        env = {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={runtime.work}/none"}
        result = runtime(*flags, command, "--bundle", bundle.path, runtime.new_id(), env=env)
        assert result.code == 1
        assert "systemd not running on this host, cannot use systemd cgroups manager" in result.last_line
    assert not runtime.left_over()


def test_the_bundle_is_found_from_where_the_command_was_given(
    runtime: Runtime, fake: FakeSystemd, bundle: Bundle
) -> None:
    """The launcher hands over before it changes its directory."""
    bundle.sh("echo here").write()
    result = runtime("run", "--bundle", "bundle", runtime.new_id(), cwd=bundle.path.parent)
    assert result.out == "here\n", result


def test_a8_what_another_user_of_the_bus_sends(runtime: Runtime, fake: FakeSystemd, bundle: Bundle) -> None:
    """A8: forged and malformed signals neither make a create fail nor end its wait; nor those of a delete."""
    forged = [
        signal_of(STRANGER, MANAGER, "JobRemoved", None, ()),
        signal_of(STRANGER, MANAGER, "JobRemoved", "uoss", (7, "/job/7", "x.scope", "failed")),
    ]
    fake.bogus = {"StartTransientUnit": [*forged], "StopUnit": [*forged], "AddMatch": [*forged]}
    container = runtime.started(bundle.args("sleep", "1000"))
    assert len(fake.units) == 1
    container.delete("--force")
    assert fake.units == {}
