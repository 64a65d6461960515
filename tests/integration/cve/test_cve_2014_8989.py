"""CVE-2014-8989: setgroups must be denied where a user maps only its own group, or it drops a group that denies it
something. The kernel demands "deny" of unprivileged users; a container of theirs must start all the same and have it.

Seen to fail: with the step write_setgroups left out of compile/namespaces.py (create fails at gid_map), and with it
writing "allow".
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.bundle import Bundle, own
from tests.support.runtime import Runtime


@pytest.mark.own("Debian's wants --rootless and a cgroup of the user")
def test_setgroups_is_denied_for_a_single_mapped_id(runtime: Runtime, bundle: Bundle) -> None:
    """A user who is nobody's root: made of root by a user namespace that maps one id, without capabilities in it."""
    uid = 1234
    own(bundle.rootfs, uid)
    os.chown(runtime.work, uid, uid)
    os.chown(bundle.path, uid, uid)
    mapping = [{"containerID": 0, "hostID": uid, "size": 1}]
    bundle.namespace("user")
    bundle.linux.update(uidMappings=mapping, gidMappings=mapping)
    bundle.mounts.pop()  # devpts, whose gid=5 is not mapped
    bundle.sh("cat /proc/self/setgroups; id -u; id -G; cat /proc/self/gid_map").write()
    prefix = [
        "setpriv", f"--reuid={uid}", f"--regid={uid}", "--groups=4321", "--bounding-set=-all", "--inh-caps=-all",
    ]  # fmt: skip
    if not _python_is_reachable(prefix, runtime):
        pytest.skip("needs a Python interpreter and a checkout that other users can reach")
    id = runtime.new_id()
    runtime.root.mkdir()
    os.chown(runtime.root, uid, uid)
    result = runtime("--cgroup-manager", "disabled", "run", "--bundle", bundle.path, id, prefix=prefix)
    assert result.code == 0, result
    lines = result.out.splitlines()
    assert lines[0] == "deny"
    assert lines[1] == "0"
    # The group that it had before is there still: dropping it was what the attack did.
    assert "65534" in lines[2].split()
    assert lines[3].split() == ["0", str(uid), "1"]


def _python_is_reachable(prefix: list[str], runtime: Runtime) -> bool:
    return runtime("--version", prefix=prefix, with_root=False).code == 0


def test_setgroups_is_left_to_root(runtime: Runtime, bundle: Bundle) -> None:
    """Where the runtime may map groups at will, additional groups are set, and setgroups is allowed."""
    bundle.user_namespace()
    bundle.process["user"]["additionalGids"] = [5, 6]
    out = runtime.inside(bundle, "cat /proc/self/setgroups; id -G")
    assert out.splitlines() == ["allow", "0 5 6"]
    assert Path("/proc/self/setgroups").read_text() == "allow\n"
