"""compile_restore: the runtime's steps for a restore, and the stages of CRIU at which they run."""

from __future__ import annotations

from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.compile.restore import compile_restore
from pyrunc.libcontainer.plan.host import HostFacts, SystemdFacts
from pyrunc.libcontainer.plan.model import LaunchPlan
from pyrunc.libcontainer.plan.options import LaunchOptions
from tests.support.plans import minimal, with_linux


def compiled(spec: Any, facts: HostFacts | None = None, **options: Any) -> LaunchPlan:
    """The plan of a restore of the container `box` in /bundle."""
    given = {"id": "box", "root": "/r", "bundle": "/bundle", "command": "restore", **options}
    return compile_restore(spec, LaunchOptions(**given), facts or HostFacts())


def served(plan: LaunchPlan, what: str) -> list[str]:
    """The kinds of the steps at a stage."""
    return [step.kind for step in plan.served.get(what, ())]


def test_the_runtime_prepares_in_this_order() -> None:
    spec = with_linux("pid")
    spec["process"]["terminal"] = True
    spec["linux"]["namespaces"] += [{"type": "network", "path": "/run/netns/a"}, {"type": "ipc", "path": "/i"}]
    spec["linux"]["resources"] = {"pids": {"limit": 5}}
    facts = HostFacts(controllers=("cpu", "memory", "pids"))
    plan = compiled(spec, facts, detach=True, console_socket="/s", pid_file="/p")
    assert [step.kind for step in plan.prepare] == [
        "state_dir", "cgroup_create", "cgroup_controllers", "cgroup_limit", "cgroup_devices", "open_namespace",
        "console_socket",
    ]  # fmt: skip
    assert (served(plan, "ready"), served(plan, "send_console")) == (
        ["save_state", "write_pid_file"],
        ["receive_console"],
    )
    assert plan.init == ()
    assert list(plan.steps())  # show can print all of them


def test_hooks_and_network_devices_come_when_the_namespaces_are_there() -> None:
    spec = with_linux("network")
    spec["linux"]["netDevices"] = {"eth0": {}, "eth1": {"name": "lan"}}
    hook = {"path": "/h"}
    spec["hooks"] = {
        "createRuntime": [hook], "prestart": [hook, hook], "createContainer": [hook], "startContainer": [hook],
        "poststart": [hook],
    }  # fmt: skip
    plan = compiled(spec)
    assert served(plan, "namespaces") == ["net_device"] * 2 + ["runtime_hook"] * 3
    assert [step.args[:2] for step in plan.served["namespaces"]][:3] == [
        ("eth0", "eth0"), ("eth1", "lan"), ("prestart", 0),
    ]  # fmt: skip
    assert "create_runtime" not in plan.served


def test_systemd_s_scope_is_made_with_criu_in_it() -> None:
    facts = HostFacts(systemd=SystemdFacts(), controllers=("pids",))
    spec = with_linux()
    spec["linux"]["cgroupsPath"] = "system.slice:pyrunc:box"
    plan = compiled(spec, facts, cgroup_manager="systemd")
    assert served(plan, "cgroup")[0] == "systemd_scope"
    assert "cgroup_create" not in [step.kind for step in plan.prepare]
    assert plan.cgroup.endswith("/system.slice/pyrunc-box.scope")


def test_a_class_of_service_is_there_before_the_processes() -> None:
    spec = with_linux()
    spec["linux"]["intelRdt"] = {"closID": "c"}
    plan = compiled(spec)
    assert "resctrl_group" in [step.kind for step in plan.prepare]
    assert served(plan, "cgroup") == ["resctrl_assign"]
    assert "limits" not in plan.served


@pytest.mark.parametrize(
    ("terminal", "options", "message"),
    [
        (True, {"detach": True}, "cannot allocate tty if pyrunc will detach without setting console socket"),
        (False, {"detach": True, "console_socket": "/s"}, "cannot use console socket if pyrunc will not detach"),
        (True, {"console_socket": "/s"}, "cannot use console socket if pyrunc will not detach"),
    ],
)
def test_a_terminal_and_its_socket_go_together(terminal: bool, options: Any, message: str) -> None:
    spec = minimal()
    spec["process"]["terminal"] = terminal
    with pytest.raises(PyruncError, match=message):
        compiled(spec, **options)


def test_no_pivot_is_warned_of() -> None:
    assert compiled(minimal()).warnings == ()
    assert "--no-pivot is without effect" in compiled(minimal(), no_pivot=True).warnings[0]
