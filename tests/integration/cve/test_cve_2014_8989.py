"""CVE-2014-8989: setgroups must be denied if a user maps only its own group. Otherwise the user drops a group that
denies it something. The kernel demands "deny" of unprivileged users; their containers must start all the same and have
it.

Seen to fail: with the step write_setgroups left out of compile/namespaces.py (create fails at gid_map), and with it
writing "allow".
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.rootless import UID, RootlessRuntime
from tests.support.runtime import Runtime


@pytest.mark.own("Debian's wants a cgroup of the user")
def test_setgroups_is_denied_for_a_single_mapped_id(rootless: RootlessRuntime) -> None:
    """A user who is root for nobody else: root, in a user namespace that maps one id, without capabilities in it."""
    rootless.options += ["--groups", "4321"]
    out = rootless.inside(rootless.bundle(), "cat /proc/self/setgroups; id -u; id -G; cat /proc/self/gid_map")
    lines = out.splitlines()
    assert lines[0] == "deny"
    assert lines[1] == "0"
    # The process still has the group that it had before: the attack was to drop it.
    assert "65534" in lines[2].split()
    assert lines[3].split() == ["0", str(UID), "1"]


def test_setgroups_is_left_to_root(runtime: Runtime, bundle: Bundle) -> None:
    """If the runtime may map any group, additional groups are set, and setgroups is allowed."""
    bundle.user_namespace()
    bundle.process["user"]["additionalGids"] = [5, 6]
    out = runtime.inside(bundle, "cat /proc/self/setgroups; id -G")
    assert out.splitlines() == ["allow", "0 5 6"]
    assert Path("/proc/self/setgroups").read_text() == "allow\n"
