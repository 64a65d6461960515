"""exec in a container of the user's systemd: who moves the process into its cgroup."""

from __future__ import annotations

import posix

import pytest

from pyrunc.libcontainer.exec import exec as execution
from pyrunc.libcontainer.plan.host import HostFacts
from pyrunc.libcontainer.plan.options import ExecOptions
from tests.support.records import record

MANAGER = "/user.slice/user-1000.slice/user@1000.service"


def asked(
    monkeypatch: pytest.MonkeyPatch, own: str, writable: bool, cgroup: tuple[str, ...] = ()
) -> tuple[str, str, str]:
    """The file that decides, and the unit and subcgroup of the target for a runtime in the cgroup `own`."""
    files: list[object] = []

    def access(path: object, mode: int) -> bool:
        files.append(path)
        return writable

    monkeypatch.setattr(posix, "access", access)
    container = record(7, 8, f"/sys/fs/cgroup{MANAGER}/app.slice/x.scope")
    container.systemd = {"unit": "x.scope", "user": True}
    options = ExecOptions(id="box", cgroup=cgroup)
    target = execution._target(container, options, HostFacts(euid=1000, cgroup_self=own))
    assert target.cgroup.startswith(container.cgroup)
    (file,) = files
    return str(file).removeprefix("/sys/fs/cgroup"), target.unit, target.subcgroup


@pytest.mark.parametrize(
    ("own", "file"),
    [
        ("/user.slice/user-1000.slice/session-1.scope", "/user.slice/user-1000.slice/cgroup.procs"),
        (f"{MANAGER}/app.slice/y.scope", f"{MANAGER}/app.slice/cgroup.procs"),
        (f"{MANAGER}/app.slice/x.scope", f"{MANAGER}/app.slice/x.scope/cgroup.procs"),
        ("/system.slice/a.service", "/cgroup.procs"),
        ("/", "/cgroup.procs"),
    ],
)
def test_the_cgroup_above_both_decides(monkeypatch: pytest.MonkeyPatch, own: str, file: str) -> None:
    assert asked(monkeypatch, own, True) == (file, "", "")
    assert asked(monkeypatch, own, False) == (file, "x.scope", "")


def test_a_cgroup_below_the_container_s(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(monkeypatch, "/", False, ("a/b",)) == ("/cgroup.procs", "x.scope", "/a/b")


def test_the_system_s_systemd_is_root_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posix, "access", lambda path, mode: pytest.fail("not asked"))
    container = record(7, 8, "/sys/fs/cgroup/system.slice/x.scope")
    container.systemd = {"unit": "x.scope", "user": False}
    assert execution._target(container, ExecOptions(id="box"), HostFacts()).unit == ""
