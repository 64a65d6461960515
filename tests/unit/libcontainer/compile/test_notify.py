"""compile/notify.py: the steps that NOTIFY_SOCKET adds to a plan."""

from __future__ import annotations

from pyrunc.libcontainer.compile import notify
from pyrunc.libcontainer.plan.model import LaunchPlan
from tests.support.plans import compiled, find, kinds, minimal, values


def variables(plan: LaunchPlan) -> list[str]:
    """The NOTIFY_SOCKET of the process's environment."""
    (env,) = values(find(plan, "execute")[0], "env")
    return [entry for entry in env if entry.startswith("NOTIFY_SOCKET=")]


def test_without_a_socket_there_is_nothing_of_it() -> None:
    plan = compiled(minimal())
    assert not any("notify" in f"{step.kind} {step.args}" for step in plan.steps())


def test_the_socket_the_mount_and_the_variable() -> None:
    spec = minimal(mounts=[{"destination": "/run", "type": "tmpfs", "source": "tmpfs"}])
    spec["process"]["env"].append("NOTIFY_SOCKET=/of/config")
    plan = compiled(spec, id="web", root="/r", notify_socket="@manager")
    order = kinds(plan)
    assert order.index("state_dir") < order.index("notify_socket") < order.index("clone")
    assert values(find(plan, "notify_socket")[0], "path", "host") == ("/r/web/notify", "@manager")
    bind = find(plan, "bind")[-1]
    assert values(bind, "source", "target") == ("/r/web/notify", "/run/notify")
    assert bind.pointer == ""
    assert order.index("mount") < order.index("bind")  # on top of what the configuration mounts
    assert variables(plan) == [notify.VARIABLE]


def test_in_a_user_namespace_the_runtime_opens_it() -> None:
    spec = minimal()
    mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    spec["linux"]["namespaces"].append({"type": "user"})
    spec["linux"].update(uidMappings=mapping, gidMappings=mapping)
    plan = compiled(spec, notify_socket="/m")
    assert kinds(plan).index("notify_socket") < kinds(plan).index("open_source")
    assert find(plan, "open_source")[0].pointer == ""


def test_without_a_mount_namespace_it_is_said() -> None:
    spec = minimal()
    spec["linux"]["namespaces"] = []
    plan = compiled(spec, notify_socket="/m")
    assert [warning for warning in plan.warnings if warning.startswith("NOTIFY_SOCKET is not relayed")]
    assert variables(plan) == []
    assert not find(plan, "notify_socket")
