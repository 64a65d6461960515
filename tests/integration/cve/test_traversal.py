"""Values of the configuration that become a path of the cgroup hierarchy: none leads out of it, or out of the
container's own cgroup, by `..` or a slash.

There is no CVE of this name; CVE-2024-3154 shows what happens if a runtime passes such values on. A container could
write to a limit of the cgroup above, and make and remove a directory of the host.

Seen to fail: with controlFile's and pageSize's pattern taken out of spec-schemas/config.schema.json, with `clean` taken
out of path_for in pyrunc/libcontainer/cgroup/files.py, and with the check of the id taken out of state.py.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Runtime

pytestmark = pytest.mark.skipif(not host.cgroup2_mount(), reason="needs a cgroup2 hierarchy")

UP = "../" * 20


@pytest.mark.own("on a hybrid host it uses the v1 hierarchies")
@pytest.mark.parametrize(
    ("resources", "at"),
    [
        ({"unified": {"../cgroup.max.depth": "7"}}, "unified/..~1cgroup.max.depth"),
        ({"unified": {"./../cgroup.max.depth": "7"}}, "unified/.~1..~1cgroup.max.depth"),
        ({"unified": {"cgroup./../../cgroup.max.depth": "7"}}, "unified/cgroup.~1..~1..~1cgroup.max.depth"),
        ({"unified": {"/VICTIM": "7"}}, "unified/"),
        ({"unified": {f"{UP}VICTIM": "7"}}, "unified/.."),
        ({"unified": {"memory.max\0": "7"}}, "unified/memory.max"),
        ({"hugepageLimits": [{"pageSize": "/../../cgroup.max.depth", "limit": 7}]}, "hugepageLimits/0/pageSize"),
        ({"hugepageLimits": [{"pageSize": "2MB/../../x", "limit": 7}]}, "hugepageLimits/0/pageSize"),
        ({"hugepageLimits": [{"pageSize": "../2MB", "limit": 7}]}, "hugepageLimits/0/pageSize"),
    ],
)
def test_limit_of_another_cgroup(runtime: Runtime, bundle: Bundle, resources: dict[str, Any], at: str) -> None:
    victim = runtime.work / "victim"
    victim.write_text("the host's\n")
    pod = Path(host.cgroup2_mount(), runtime.token)
    pod.mkdir()
    try:
        bundle.linux["cgroupsPath"] = f"/{runtime.token}/container"
        if "unified" in resources:
            resources["unified"] = {
                name.replace("VICTIM", str(victim).lstrip("/")): text for name, text in resources["unified"].items()
            }
        bundle.linux["resources"] = resources
        result = runtime.refuse(bundle)
        assert f"at /linux/resources/{at}" in result.last_line
        assert (pod / "cgroup.max.depth").read_text() == "max\n"
        assert os.listdir(pod) == [name for name in os.listdir(pod) if os.path.isfile(pod / name)]
        assert victim.read_text() == "the host's\n"
    finally:
        pod.rmdir()


@pytest.mark.own("on a hybrid host it uses the v1 hierarchies")
@pytest.mark.parametrize("path", ["/{up}{victim}/made", "{up}{victim}/made", "/a/{up}{victim}/made", "/{up}{victim}"])
def test_cgroup_outside_of_the_hierarchy(runtime: Runtime, bundle: Bundle, path: str) -> None:
    """The victim is an empty directory of the host: the runtime neither fills it, nor removes it at delete."""
    victim = runtime.work / "victim"
    victim.mkdir()
    inode = victim.stat().st_ino
    bundle.linux["cgroupsPath"] = path.format(up=UP, victim=str(victim).lstrip("/"))
    container = runtime.container(bundle)
    assert host.cgroup_of(container.pid).rstrip("/").endswith(str(victim) + ("/made" if "made" in path else ""))
    assert os.listdir(victim) == []
    container.delete("--force")
    assert victim.stat().st_ino == inode
    assert os.listdir(victim) == []
    runtime.assert_nothing_left()


@pytest.mark.parametrize("path", ["/TOKEN\n/x", "/TOKEN\0/../x", "/TOKEN\0"])
def test_cgroup_path_that_is_no_path(runtime: Runtime, bundle: Bundle, path: str) -> None:
    """A line feed is a legal, if strange, part of a name; a NUL character would end the path early."""
    bundle.linux["cgroupsPath"] = path.replace("TOKEN", runtime.token)
    bundle.write()
    result = runtime("create", "--bundle", bundle.path, runtime.new_id())
    if result.code != 0:
        assert "/linux/cgroupsPath" in result.last_line or not runtime.is_own
        runtime.assert_nothing_left()
    else:
        assert "\0" not in path


@pytest.mark.parametrize("id", ["..", ".", "../../victim", "a/../../victim", "/victim", "a\nb", ""])
def test_id_that_is_a_path(runtime: Runtime, bundle: Bundle, id: str) -> None:
    """The id names the state directory, and the cgroup of a container without cgroupsPath."""
    bundle.write()
    runtime.root.mkdir()
    victim = runtime.work / "victim"
    victim.mkdir()
    for command in (
        ("create", "--bundle", str(bundle.path)), ("run", "--bundle", str(bundle.path)), ("delete", "--force"),
        ("state",), ("kill",), ("start",),
    ):  # fmt: skip
        result = runtime(*command, id)
        assert result.code != 0, result
        assert result.last_line
    assert os.listdir(victim) == []
    assert os.listdir(runtime.root) == []
    runtime.assert_nothing_left()
