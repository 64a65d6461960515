"""cgroupsPath: the container's cgroup in the cgroup2 hierarchy, and its membership from the first moment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Runtime

pytestmark = [
    pytest.mark.skipif(not host.cgroup2_mount(), reason="needs a cgroup2 hierarchy"),
    pytest.mark.own("on a hybrid host it uses the v1 hierarchies"),
]


def directory(path: str) -> Path:
    """A cgroup's directory on the host."""
    return Path(host.cgroup2_mount() + path)


@pytest.mark.purev2
def test_absolute_path(runtime: Runtime, bundle: Bundle) -> None:
    path = f"/{runtime.token}/deep/one"
    bundle.linux["cgroupsPath"] = path
    container = runtime.container(bundle.args("sleep", "1000"))
    assert host.cgroup_of(container.pid) == path
    assert str(container.pid) in (directory(path) / "cgroup.procs").read_text().split()
    container.start()
    assert host.cgroup_of(container.pid) == path
    container.delete("--force")
    assert host.cgroups_of(runtime.token) == []


def test_relative_path_is_beside_the_runtime_s_own(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["cgroupsPath"] = f"{runtime.token}/relative"
    container = runtime.container(bundle)
    above = os.path.dirname(host.cgroup_of("self")).rstrip("/")
    assert host.cgroup_of(container.pid) == f"{above}/{runtime.token}/relative"


@pytest.mark.parametrize("path", ["/{}/deep/one", "{}/relative"])
def test_the_same_path_is_the_same_place(runtime: Runtime, bundle: Bundle, path: str) -> None:
    """Also for a `create` in another working directory."""
    bundle.linux["cgroupsPath"] = path.format(runtime.token)
    first = runtime.container(bundle)
    found = host.cgroup_of(first.pid)
    first.delete()
    second = runtime.container(bundle, cwd=bundle.path)
    assert host.cgroup_of(second.pid) == found


def test_default_path_is_named_after_the_container(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.container(bundle)
    assert host.cgroup_of(container.pid).endswith("/" + container.id)


@pytest.mark.purev2
def test_every_process_of_the_container_is_in_it(runtime: Runtime, bundle: Bundle) -> None:
    bundle.sh("sleep 1000 & sleep 1000 & (sleep 1000) & echo ready; wait")
    container = runtime.started(bundle)
    host.wait_for("its children", lambda: "ready" in container.output)
    procs = directory(host.cgroup_of(container.pid)) / "cgroup.procs"
    host.wait_for("four processes", lambda: len(procs.read_text().split()) == 4)


def test_hooks_find_the_process_in_its_cgroup(runtime: Runtime, bundle: Bundle) -> None:
    """The container is in its cgroup from the first moment: an OCI hook such as nvidia's looks for the cgroup of the
    state's pid.
    """
    script = bundle.script(
        "hook.sh", "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/'); cat /proc/$pid/cgroup > " + str(runtime.work / "cg")
    )
    bundle.hook("prestart", script)
    container = runtime.container(bundle)
    assert f"0::{host.cgroup_of(container.pid)}\n" in (runtime.work / "cg").read_text()
    assert container.id in host.cgroup_of(container.pid)


def test_path_that_climbs_is_kept_inside(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["cgroupsPath"] = f"/../../{runtime.token}"
    container = runtime.container(bundle)
    assert host.cgroup_of(container.pid) == f"/{runtime.token}"


def test_two_containers_below_one_cgroup(runtime: Runtime, bundle: Bundle) -> None:
    """The last container removes the cgroups that the first one made above its own."""
    bundle.linux["cgroupsPath"] = f"/{runtime.token}/one"
    first = runtime.container(bundle)
    bundle.linux["cgroupsPath"] = f"/{runtime.token}/two"
    second = runtime.container(bundle)
    first.delete()
    assert host.cgroup_of(second.pid) == f"/{runtime.token}/two"
    assert not directory(f"/{runtime.token}/one").exists()
    second.delete()
    assert not directory(f"/{runtime.token}").exists()


def test_the_first_container_s_cgroups_go_with_it(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["cgroupsPath"] = f"/{runtime.token}/one"
    first = runtime.container(bundle)
    bundle.linux["cgroupsPath"] = f"/{runtime.token}/two"
    runtime.container(bundle).delete()
    assert host.cgroup_of(first.pid) == f"/{runtime.token}/one"
    first.delete()
    assert host.cgroups_of(runtime.token) == []


def test_cgroup_that_somebody_else_made_is_used_and_kept(runtime: Runtime, bundle: Bundle) -> None:
    """A pod's cgroup is the engine's: the runtime removes the container's own one below it, and keeps the pod's."""
    pod = directory(f"/{runtime.token}-pod")
    pod.mkdir()
    try:
        bundle.linux["cgroupsPath"] = f"/{runtime.token}-pod/container"
        container = runtime.container(bundle)
        assert host.cgroup_of(container.pid) == f"/{runtime.token}-pod/container"
        container.delete()
        assert os.path.isdir(pod)
        assert not (pod / "container").exists()
    finally:
        pod.rmdir()


def test_cgroup_with_processes_of_somebody_else_is_refused(runtime: Runtime, bundle: Bundle) -> None:
    """COMPAT: `container's cgroup is not empty`."""
    bundle.linux["cgroupsPath"] = f"/{runtime.token}/shared"
    first = runtime.container(bundle)
    bundle.write()
    result = runtime("create", "--bundle", bundle.path, runtime.new_id())
    assert result.code == 1
    assert "container's cgroup is not empty" in result.last_line
    assert host.cgroup_of(first.pid) == f"/{runtime.token}/shared"
    assert first.status == "created"


def test_cgroups_that_the_container_made_below_its_own_go_too(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["cgroupsPath"] = f"/{runtime.token}"
    container = runtime.started(bundle.args("sleep", "1000"))
    (directory(f"/{runtime.token}") / "inner/innermost").mkdir(parents=True)
    container.delete("--force")
    assert not directory(f"/{runtime.token}").exists()


def test_disabled_manager_makes_no_cgroup(runtime: Runtime, bundle: Bundle) -> None:
    bundle.write()
    id = runtime.new_id()
    result = runtime("--cgroup-manager", "disabled", "create", "--bundle", bundle.path, id)
    assert result.code == 0, result
    assert host.cgroups_of(runtime.token) == []
    assert host.cgroup_of(runtime.state(id)["pid"]) == host.cgroup_of("self")


@pytest.mark.own("--cgroup-manager is an option of pyrunc")
def test_exec_can_not_join_a_cgroup_of_a_container_without_one(runtime: Runtime, bundle: Bundle) -> None:
    bundle.write()
    id = runtime.new_id()
    assert runtime("--cgroup-manager", "disabled", "create", "--bundle", bundle.path, id).code == 0
    result = runtime("exec", "--cgroup", "sub", id, "true")
    assert result.code != 0
    assert "can't join a sub cgroup of a container without a cgroup" in result.last_line


def test_systemd_s_path_needs_its_manager(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["cgroupsPath"] = f"system.slice:pyrunc:{runtime.token}"
    bundle.write()
    result = runtime("create", "--bundle", bundle.path, runtime.new_id())
    if result.code == 0:
        # As in runc's cgroupfs manager, the text is a directory's name.
        assert host.cgroups_of(runtime.token)
    else:
        assert "/linux/cgroupsPath" in result.last_line
