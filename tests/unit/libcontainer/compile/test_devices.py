"""Device nodes and the links in /dev."""

from __future__ import annotations

import errno
import stat
from typing import Any

import pytest

from pyrunc.libcontainer.plan.host import HostFacts
from pyrunc.libcontainer.plan.model import LaunchPlan
from tests.support.plans import compiled, find, kinds, minimal, values, with_linux

DEFAULTS = {
    "/dev/null": (1, 3),
    "/dev/zero": (1, 5),
    "/dev/full": (1, 7),
    "/dev/random": (1, 8),
    "/dev/urandom": (1, 9),
    "/dev/tty": (5, 0),
}


def with_device(**members: Any) -> LaunchPlan:
    return compiled(with_linux(devices=[members]))


def test_the_default_devices() -> None:
    nodes = find(compiled(minimal()), "mknod")
    assert {step.arg("path"): values(step, "major", "minor") for step in nodes} == DEFAULTS
    assert {values(step, "mode", "uid", "gid") for step in nodes} == {(stat.S_IFCHR | 0o666, 0, 0)}


def test_where_mknod_is_not_permitted_the_host_s_node_is_bound() -> None:
    steps = find(compiled(minimal()), "mknod", "bind_device")
    for node, bind in zip(steps[::2], steps[1::2], strict=True):
        assert (node.kind, node.fallback_level, node.on_errno) == ("mknod", 0, (errno.EPERM,))
        path = node.arg("path")
        assert (bind.kind, bind.fallback_level, bind.args) == ("bind_device", 1, (path, path))


@pytest.mark.parametrize(
    ("facts", "types"), [(HostFacts(), ("user",)), (HostFacts(in_userns=True), ())], ids=["new", "nested"]
)
def test_in_a_user_namespace_devices_are_bound_at_once(facts: HostFacts, types: tuple[str, ...]) -> None:
    plan = compiled(with_linux(*types), facts)
    assert not find(plan, "mknod")
    assert [step.arg("path") for step in find(plan, "bind_device")] == list(DEFAULTS)
    assert {step.fallback_level for step in find(plan, "bind_device")} == {0}


@pytest.mark.parametrize(("type", "kind"), [("c", stat.S_IFCHR), ("u", stat.S_IFCHR), ("b", stat.S_IFBLK)])
def test_a_device_of_the_configuration(type: str, kind: int) -> None:
    plan = with_device(path="/dev/x", type=type, major=10, minor=229, fileMode=0o640, uid=1, gid=2)
    step = find(plan, "mknod")[-1]
    assert step.args == ("/dev/x", kind | 0o640, 10, 229, 1, 2)
    assert step.pointer == "/linux/devices/0"


def test_what_a_device_has_where_nothing_is_said() -> None:
    step = find(with_device(path="/dev/x", type="b", major=8, minor=0), "mknod")[-1]
    assert step.args == ("/dev/x", stat.S_IFBLK | 0o666, 8, 0, 0, 0)


def test_mode_0_and_a_type_in_the_mode() -> None:
    assert find(with_device(path="/x", type="b", major=8, minor=0, fileMode=0), "mknod")[-1].arg("mode") == stat.S_IFBLK
    mode = find(with_device(path="/x", type="c", major=8, minor=0, fileMode=stat.S_IFBLK | 0o600), "mknod")[-1]
    assert mode.arg("mode") == stat.S_IFCHR | 0o600


def test_a_fifo_can_be_made_in_a_user_namespace() -> None:
    plan = compiled(with_linux("user", devices=[{"path": "/run/fifo", "type": "p", "fileMode": 0o600}]))
    step = find(plan, "mknod")[0]
    assert step.args == ("/run/fifo", stat.S_IFIFO | 0o600, 0, 0, 0, 0)
    assert step.on_errno == ()


def test_a_block_device_is_bound_in_a_user_namespace() -> None:
    plan = compiled(with_linux("user", devices=[{"path": "/dev/sda", "type": "b", "major": 8, "minor": 0}]))
    assert find(plan, "bind_device")[-1].args == ("/dev/sda", "/dev/sda")
    assert not find(plan, "mknod")


def test_an_entry_takes_the_place_of_a_default_device() -> None:
    plan = with_device(path="/dev/null", type="c", major=1, minor=3, fileMode=0o600)
    nulls = [step for step in find(plan, "mknod") if step.arg("path") == "/dev/null"]
    assert [values(step, "mode") for step in nulls] == [(stat.S_IFCHR | 0o600,)]
    assert len(find(plan, "mknod")) == len(DEFAULTS)


def test_ptmx_is_always_the_container_s_own() -> None:
    plan = with_device(path="/dev/../dev/ptmx", type="c", major=5, minor=2)
    assert len(find(plan, "mknod")) == len(DEFAULTS)
    assert find(plan, "symlink")[-1].args == ("pts/ptmx", "/dev/ptmx")


def test_links() -> None:
    links = {step.arg("path"): step.arg("target") for step in find(compiled(minimal()), "symlink")}
    assert links == {
        "/dev/fd": "/proc/self/fd",
        "/dev/stdin": "/proc/self/fd/0",
        "/dev/stdout": "/proc/self/fd/1",
        "/dev/stderr": "/proc/self/fd/2",
        "/dev/core": "/proc/kcore",
        "/dev/ptmx": "pts/ptmx",
    }


def test_core_only_where_the_kernel_has_kcore() -> None:
    links = [step.arg("path") for step in find(compiled(minimal(), HostFacts(kcore=False)), "symlink")]
    assert "/dev/core" not in links


def test_devices_come_after_the_mounts() -> None:
    plan = compiled(minimal(mounts=[{"destination": "/dev", "type": "tmpfs"}]))
    assert kinds(plan).index("mount") < kinds(plan).index("mknod") < kinds(plan).index("symlink")
