"""systemd's manager: which one is used, its properties, and how a scope is started and stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.launch import systemd_scope as scope
from pyrunc.libcontainer.plan.host import HostFacts
from pyrunc.libcontainer.systemd import bus, manager
from pyrunc.libcontainer.systemd.manager import Manager, StartFailed, gather, is_user
from tests.support.systemd import DENIED, NAME, FakeSystemd

PROPERTIES = [("Slice", ("s", "a.slice"))]


def test_facts(fake: FakeSystemd) -> None:
    fake.cgroup = "/user.slice/user@1.service/"
    facts = gather(None, HostFacts(euid=1000))
    assert (facts.user, facts.version, facts.cgroup) == (True, 252, "/user.slice/user@1.service")
    fake.cgroup = "/"
    assert gather(None, HostFacts()).cgroup == ""


@pytest.mark.parametrize(
    ("rootless", "facts", "owner", "user"),
    [
        (None, HostFacts(), 0, False),
        (None, HostFacts(euid=1000), 0, True),
        (True, HostFacts(), 0, True),
        (False, HostFacts(euid=1000), 0, False),
        (None, HostFacts(in_userns=True), 1000, True),
        (None, HostFacts(in_userns=True), 0, False),
    ],
)
def test_whose_systemd(fake: FakeSystemd, rootless: bool | None, facts: HostFacts, owner: int, user: bool) -> None:
    fake.owner = owner
    assert is_user(rootless, facts) is user


def test_the_root_of_a_user_namespace_without_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    assert is_user(None, HostFacts(in_userns=True)) is False


@pytest.mark.parametrize(("text", "number"), [("252.30-1~deb12u2", 252), ("v245", 245), ("249", 249), ("x", 0)])
def test_versions(text: str, number: int) -> None:
    assert manager.version(text) == number


def test_a_scope(fake: FakeSystemd) -> None:
    with Manager(False) as systemd:
        systemd.start_scope("x.scope", PROPERTIES)
        assert fake.calls[-1] == ("StartTransientUnit", ("x.scope", "replace", PROPERTIES, []))
        systemd.stop("x.scope")
    assert fake.methods == ["StartTransientUnit", "StopUnit", "ResetFailedUnit"]
    assert fake.units == {}


def test_stopping_what_is_not_there_is_no_error(fake: FakeSystemd) -> None:
    with Manager(False) as systemd:
        systemd.stop("x.scope")
    assert fake.methods == ["StopUnit", "ResetFailedUnit"]


def test_a_failed_unit_of_the_name_is_reset(fake: FakeSystemd) -> None:
    fake.units["x.scope"] = {}
    fake.failed.add("x.scope")
    with Manager(False) as systemd:
        systemd.start_scope("x.scope", PROPERTIES)
    assert fake.methods == ["StartTransientUnit", "ResetFailedUnit", "StartTransientUnit"]


def test_a_live_unit_of_the_name_is_left(fake: FakeSystemd) -> None:
    fake.units["x.scope"] = {"a": 1}
    with Manager(False) as systemd, pytest.raises(StartFailed, match="already exists") as caught:
        systemd.start_scope("x.scope", PROPERTIES)
    assert "another container" in caught.value.hint
    assert fake.methods == ["StartTransientUnit", "ResetFailedUnit", "StartTransientUnit"]
    assert fake.units == {"x.scope": {"a": 1}}


@pytest.mark.parametrize(("user", "hint"), [(False, "only root may start units"), (True, "the user's systemd")])
def test_access_denied(fake: FakeSystemd, user: bool, hint: str) -> None:
    fake.refused["StartTransientUnit"] = (DENIED, "Permission denied")
    with Manager(user) as systemd, pytest.raises(StartFailed, match="Permission denied") as caught:
        systemd.start_scope("x.scope", PROPERTIES)
    assert hint in caught.value.hint


def test_another_refusal_has_systemd_s_own_words(fake: FakeSystemd) -> None:
    fake.refused["StartTransientUnit"] = (NAME + ".Whatever", "Cannot set property X")
    with Manager(False) as systemd, pytest.raises(StartFailed) as caught:
        systemd.start_scope("x.scope", PROPERTIES)
    assert (caught.value.text, caught.value.hint) == ("Cannot set property X", "")


def test_a_job_that_fails_leaves_no_unit(fake: FakeSystemd) -> None:
    fake.result = "failed"
    with Manager(False) as systemd, pytest.raises(StartFailed, match="got `failed`") as caught:
        systemd.start_scope("x.scope", PROPERTIES)
    assert "journalctl -u x.scope" in caught.value.hint
    assert fake.methods == ["StartTransientUnit", "StopUnit", "ResetFailedUnit"]
    assert fake.units == {}


def test_a_job_without_an_end_leaves_no_unit(fake: FakeSystemd, monkeypatch: pytest.MonkeyPatch) -> None:

    def result(self: Manager, job: str) -> str:
        with monkeypatch.context() as patch:
            patch.setattr(bus, "DEADLINE_SECONDS", 0.1)
            self._bus.wait("JobRemoved", lambda values: False)
        return ""

    monkeypatch.setattr(Manager, "_result", result)
    with Manager(False) as systemd, pytest.raises(PyruncError, match="signal JobRemoved within"):
        systemd.start_scope("x.scope", PROPERTIES)
    assert fake.units == {}


def test_an_unanswered_start_stops_nothing_that_may_be_another_s(
    fake: FakeSystemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.silent.add("StartTransientUnit")
    with Manager(False) as systemd:
        monkeypatch.setattr(bus, "DEADLINE_SECONDS", 0.3)
        with pytest.raises(PyruncError, match=r"StartTransientUnit within 0.3 s"):
            systemd.start_scope("x.scope", PROPERTIES)
    assert fake.methods == ["StartTransientUnit"]


def test_a_stop_that_fails(fake: FakeSystemd, capfd: pytest.CaptureFixture[str]) -> None:
    fake.units["x.scope"] = {}
    fake.result = "timeout"
    with Manager(False) as systemd:
        systemd.stop("x.scope")
    assert "error removing unit `x.scope`: got `timeout`" in capfd.readouterr().err
    fake.refused["StopUnit"] = (DENIED, "Permission denied")
    with Manager(False) as systemd, pytest.raises(PyruncError, match=r"unable to stop unit .*: Permission denied"):
        systemd.stop("x.scope")


def test_a_process_is_moved_into_a_unit(fake: FakeSystemd) -> None:
    scope.attach(41, "x.scope", "/sub")
    assert fake.calls[-1] == ("AttachProcessesToUnit", ("x.scope", "/sub", [41]))
    fake.refused["AttachProcessesToUnit"] = (DENIED, "Permission denied")
    with pytest.raises(PyruncError, match=r'unable to move the process into unit "x.scope": Permission denied'):
        scope.attach(41, "x.scope", "")


@pytest.mark.parametrize("user", [False, True])
def test_a_bus_without_systemd(fake: FakeSystemd, user: bool) -> None:
    fake.refused["Get"] = ("org.freedesktop.DBus.Error.ServiceUnknown", "nobody")
    with Manager(user) as systemd, pytest.raises(PyruncError, match="asking systemd for its Version: nobody") as caught:
        systemd.get("Version")
    assert ("enable-linger" in caught.value.hint) is user


def test_no_bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"unix:path={tmp_path}/none"
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", address)
    monkeypatch.setattr(manager, "_BOOTED", str(tmp_path / "booted"))
    with pytest.raises(PyruncError, match="systemd not running on this host, cannot use systemd cgroups manager"):
        Manager(False)
    (tmp_path / "booted").mkdir()
    for user, hint in ((False, "systemctl start"), (True, "systemctl --user start")):
        with pytest.raises(PyruncError, match=f"failed to connect to dbus at {tmp_path}/none") as caught:
            Manager(user)
        assert hint in caught.value.hint
        assert "no such file or directory" in caught.value.line()


def test_no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with pytest.raises(PyruncError, match="neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR"):
        Manager(True)


def test_the_next_socket_is_tried(fake: FakeSystemd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none;{fake.address}")
    with Manager(False) as systemd:
        assert systemd.get("Version") == fake.version


def test_a_bus_that_says_no_to_hello(fake: FakeSystemd) -> None:
    fake.refused["Hello"] = ("org.freedesktop.DBus.Error.LimitsExceeded", "too many connections")
    with pytest.raises(PyruncError, match="too many connections"):
        Manager(False)
