"""The plan by which `update` changes mounts and devices."""

from __future__ import annotations

from typing import Any

from pyrunc.libcontainer.compile.update import Changes, compile_change
from pyrunc.libcontainer.kernel.constants import MS_REC, MS_SLAVE, S_IFCHR
from pyrunc.libcontainer.plan.host import HostFacts
from pyrunc.libcontainer.plan.model import LaunchPlan
from pyrunc.libcontainer.plan.options import LaunchOptions

DEVICE: Any = {
    "source": "/dev/x", "path": "/dev/y", "type": "c", "major": 1, "minor": 2, "fileMode": 0o640, "uid": 3, "gid": 4,
}  # fmt: skip


def compiled(changes: Changes, *types: str, facts: HostFacts | None = None) -> LaunchPlan:
    kept: Any = {"root": {"path": "r"}, "process": {"cwd": "/"}, "linux": {}}
    kept["linux"]["namespaces"] = [{"type": name} for name in (*types, "pid", "mount", "cgroup")]
    options = LaunchOptions(id="box", bundle="/bundle", command="update")
    return compile_change(kept, 5, 7, changes, options, facts or HostFacts())


def kinds(plan: LaunchPlan) -> list[str]:
    return [step.kind for step in plan.init]


def test_only_the_mount_and_user_namespaces_are_joined_and_no_cgroup() -> None:
    plan = compiled(Changes())
    assert [step.kind for step in plan.prepare] == ["open_process", "clone"]
    assert plan.prepare[-1].args == (0, "", ("mount=container",))
    assert kinds(plan) == ["set_nondumpable", "send_root", "ready", "end"]
    plan = compiled(Changes(), "user")
    assert plan.prepare[-1].args == (0, "", ("user=container", "mount=container"))
    assert kinds(plan) == ["set_nondumpable", "become_root", "send_root", "ready", "end"]


def test_a_source_is_opened_on_the_host_and_no_peer_of_it() -> None:
    changes = Changes()
    changes.mounts = [{"destination": "/x", "type": "bind", "source": "/s", "options": ["rbind", "ro", "rshared"]}]
    plan = compiled(changes)
    assert [step.kind for step in plan.prepare] == ["open_process", "open_source", "clone"]
    [bind] = [step for step in plan.init if step.kind == "bind"]
    assert (bind.arg("source_fd"), bind.arg("propagation")) == ("source:0", MS_SLAVE | MS_REC)
    assert kinds(plan)[2:-2] == ["bind", "remount"]


def test_a_source_in_the_rootfs_is_the_hosts() -> None:
    changes = Changes()
    changes.mounts = [{"destination": "/x", "type": "bind", "source": "/bundle/r/s", "options": ["rbind"]}]
    [bind] = [step for step in compiled(changes).init if step.kind == "bind"]
    assert bind.arg("source_fd") == "source:0"


def test_a_node_or_the_hosts_device_bound() -> None:
    changes = Changes()
    changes.devices = [DEVICE]
    plan = compiled(changes)
    assert kinds(plan)[2:-2] == ["mknod", "bind"]
    assert plan.init[2].args == ("/dev/y", S_IFCHR | 0o640, 1, 2, 3, 4)
    assert plan.init[3].fallback_level == 1
    assert kinds(compiled(changes, "user"))[3:-2] == ["bind"]
    assert kinds(compiled(changes, facts=HostFacts(in_userns=True)))[2:-2] == ["bind"]


def test_what_cant_be_undone_comes_last_and_is_asked_for() -> None:
    changes = Changes()
    changes.mounts = [{"destination": "/x", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]}]
    changes.copied, changes.unmounted, changes.removed = ["/y"], [("/y", False)], [DEVICE]
    assert kinds(compiled(changes))[2:] == [
        "mount", "seal_mount", "copy_mount", "request", "remove_device", "umount", "ready", "end",
    ]  # fmt: skip
