"""Cgroups above the containers' that the runtime makes: deleting the last container below one removes it."""

from __future__ import annotations

from pathlib import Path

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Runtime


def test_the_last_container_removes_the_parents(runtime: Runtime, bundle: Bundle) -> None:
    """The container for which they were made is deleted first."""
    parent = Path(host.cgroup2_mount(), runtime.token)
    containers = []
    for name in ("one", "two", "three"):
        bundle.linux["cgroupsPath"] = f"/{runtime.token}/deep/{name}"
        containers.append(runtime.started(bundle.args("sleep", "1000")))
    for container in containers[:-1]:
        container.delete("--force")
        assert (parent / "deep/three").exists()
    containers[-1].delete("--force")
    assert not parent.exists()


def test_a_parent_above_one_that_another_container_made_is_removed(runtime: Runtime, bundle: Bundle) -> None:
    """The last container has made the lower parent, the first one the upper parent."""
    parent = Path(host.cgroup2_mount(), runtime.token)
    containers = []
    for name in ("first/one", "last/one"):
        bundle.linux["cgroupsPath"] = f"/{runtime.token}/{name}"
        containers.append(runtime.started(bundle.args("sleep", "1000")))
    containers[0].delete("--force")
    assert not (parent / "first").exists()
    containers[1].delete("--force")
    assert not parent.exists()


def test_a_parent_that_pyrunc_did_not_make_stays(runtime: Runtime, bundle: Bundle) -> None:
    parent = Path(host.cgroup2_mount(), runtime.token)
    parent.mkdir()
    try:
        bundle.linux["cgroupsPath"] = f"/{runtime.token}/made/one"
        runtime.started(bundle.args("sleep", "1000")).delete("--force")
        assert not any(path.is_dir() for path in parent.iterdir())
    finally:
        parent.rmdir()


def test_a_parent_that_others_use_stays(runtime: Runtime, bundle: Bundle) -> None:
    parent = Path(host.cgroup2_mount(), runtime.token)
    bundle.linux["cgroupsPath"] = f"/{runtime.token}/one"
    container = runtime.started(bundle.args("sleep", "1000"))
    other = parent / "other"
    other.mkdir()
    container.delete("--force")
    assert other.is_dir()
    other.rmdir()
    parent.rmdir()
