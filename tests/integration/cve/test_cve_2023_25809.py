"""CVE-2023-25809: a rootless container could write to /sys/fs/cgroup, and so to its user's cgroups on the host. It
could limit, freeze and move the user's other processes, and escape its own limits.

Seen to fail: the first test with _sealed of compile/mounts.py giving 0; the second and the third with shows_the_hosts
of compile/cgroup.py giving False; the second also with attributes of 0 in the step bind_cgroup.
"""

from __future__ import annotations

import pytest

from tests.support import host
from tests.support.rootless import Delegated, RootlessRuntime

pytestmark = [pytest.mark.own("Debian's finds no cgroup2 hierarchy beside version 1"), pytest.mark.purev2]

AS_ROOT = ("unshare", "--user", "--map-root-user", "--mount", "--")


def attack(directory: str) -> str:
    """A script that makes a cgroup in the user's cgroup on the host, wherever the container sees it."""
    return f'for d in $(find /sys/fs/cgroup -type d -name "{directory}"); do echo found; mkdir $d/mine 2>&1; done; true'


@pytest.mark.parametrize("where", ["/sys", "/sys/fs/cgroup"])
def test_a_bound_sys(rootless: RootlessRuntime, delegated: Delegated, where: str) -> None:
    """A configuration as `runc spec --rootless` writes it, without a cgroup mount after it."""
    bundle = rootless.bundle()
    bundle.mounts.append({"destination": "/sys", "type": "bind", "source": "/sys", "options": ["rbind", "ro"]})
    bundle.mount(where, "bind", where, "rbind", "ro")
    out = rootless.inside(bundle, attack(delegated.path.name))
    assert "found" in out
    assert "Read-only file system" in out
    assert not (delegated.path / "mine").exists()


@pytest.mark.parametrize("inside", [(), AS_ROOT], ids=["user", "root-of-a-user-namespace"])
@pytest.mark.parametrize("mounted", ["rw", "nosuid", "ro"])
def test_a_cgroup_mount_without_a_cgroup_namespace(
    rootless: RootlessRuntime, delegated: Delegated, inside: tuple[str, ...], mounted: str
) -> None:
    bundle = rootless.bundle()
    if inside:
        bundle.without_namespace("user")
        del bundle.linux["uidMappings"], bundle.linux["gidMappings"]
    bundle.mount("/sys", "bind", "/sys", "rbind", "ro").mount("/sys/fs/cgroup", "cgroup", "cgroup", mounted)
    result = rootless.run(bundle.sh(attack(delegated.path.name)), inside=inside)
    assert "found" in result.out
    assert "Read-only file system" in result.out
    assert ("mounted read-only" in result.err) is (mounted != "ro")
    assert not (delegated.path / "mine").exists()


def test_a_cgroup_namespace_whose_root_is_not_the_container_s(rootless: RootlessRuntime, delegated: Delegated) -> None:
    """Without a cgroup of its own the container is in the command's, to which its user may write."""
    bundle = rootless.bundle()
    bundle.namespace("cgroup").mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid")
    bundle.sh("mkdir /sys/fs/cgroup/mine 2>&1; cat /proc/self/mountinfo; true").write()
    out = rootless("--cgroup-manager", "disabled", "run", "--bundle", bundle.path, rootless.new_id()).out
    assert "Read-only file system" in out
    assert "ro" in host.mount_at(out, "/sys/fs/cgroup").options
    assert not (delegated.shell / "mine").exists()


def test_the_container_s_own_cgroup_is_its_own(rootless: RootlessRuntime, delegated: Delegated) -> None:
    bundle = rootless.bundle()
    bundle.namespace("cgroup").mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid")
    assert rootless.inside(bundle, "mkdir /sys/fs/cgroup/mine && ls -d /sys/fs/cgroup/mine") == "/sys/fs/cgroup/mine\n"
