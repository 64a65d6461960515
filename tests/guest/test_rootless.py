"""A user's containers in a delegated cgroup: the limits of its controllers work, and the user sets them without root,
with access only to the user's own files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.rootless import Delegated, RootlessRuntime

MIB = 1 << 20


@pytest.fixture
def bundle(rootless: RootlessRuntime) -> Bundle:
    return rootless.bundle()


def handed_out(delegated: Delegated) -> set[str]:
    return set((delegated.path / "cgroup.controllers").read_text().split())


def test_limits_of_a_delegated_cgroup(rootless: RootlessRuntime, bundle: Bundle, delegated: Delegated) -> None:
    assert {"memory", "pids"} <= handed_out(delegated), "systemd hands these out"
    bundle.linux["resources"] = {"memory": {"limit": 64 * MIB}, "pids": {"limit": 20}}
    container = rootless.started(bundle.args("sleep", "100"))
    cgroup = delegated.path / container.id
    assert host.cgroup_of(container.pid) == f"/{delegated.path.name}/{container.id}"
    assert (cgroup / "memory.max").read_text() == f"{64 * MIB}\n"
    assert (cgroup / "pids.max").read_text() == "20\n"
    assert {"memory", "pids"} <= set((delegated.path / "cgroup.subtree_control").read_text().split())
    container.delete("--force")
    assert not cgroup.exists()


def test_a_fork_bomb_of_a_user(rootless: RootlessRuntime, bundle: Bundle, delegated: Delegated) -> None:
    bundle.linux["resources"] = {"pids": {"limit": 12}}
    # A fork that fails ends the inner shell, but not the first process.
    container = rootless.started(bundle.sh("(while :; do sleep 1000 & done); exec sleep 1000"))
    events = delegated.path / container.id / "pids.events"
    host.wait_for("a fork that fails", lambda: int(events.read_text().split()[1]) > 0)
    container.delete("--force")


def test_the_container_can_t_raise_its_limits(rootless: RootlessRuntime, bundle: Bundle, delegated: Delegated) -> None:
    """With a cgroup namespace and a mount of its own the container sees its cgroup, whose files the user owns."""
    bundle.linux["resources"] = {"pids": {"limit": 12}}
    bundle.namespace("cgroup").mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro")
    out = rootless.inside(bundle, "cd /sys/fs/cgroup; cat pids.max; echo max > pids.max || echo refused; cat pids.max")
    assert out.split() == ["12", "refused", "12"]


@pytest.fixture
def only_pids(rootless: RootlessRuntime) -> Iterator[Delegated]:
    """A cgroup that is delegated to the user with no controller but pids."""
    above = Path("/sys/fs/cgroup", rootless.token + "-above")
    above.mkdir()
    (above / "cgroup.subtree_control").write_text("+pids")
    value = Delegated(rootless, above)
    yield value
    value.remove()
    above.rmdir()


def test_what_is_not_handed_out_is_an_error(rootless: RootlessRuntime, bundle: Bundle, only_pids: Delegated) -> None:
    assert handed_out(only_pids) == {"pids"}
    bundle.linux["resources"] = {"pids": {"limit": 5}, "memory": {"limit": 64 * MIB}}
    line = rootless.refuse(bundle).last_line
    assert "memory" in line
    assert "not delegated to the runtime's user" in line
    assert "at /linux/resources/memory/limit" in line
