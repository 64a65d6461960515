"""CVE-2016-9962: before the exec, the init must not be dumpable. Otherwise other processes of the container may trace
it and take the host's files that it has open.

Seen to fail: with PR_SET_DUMPABLE set to 1 by the step set_nondumpable in csrc/init/steps_namespaces.c.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Runtime


@pytest.mark.own("its init can be looked into at that moment")
def test_init_can_t_be_looked_into_from_inside(runtime: Runtime, bundle: Bundle) -> None:
    """A second container in the same pid namespace, root with the same capabilities, looks at the waiting init."""
    victim = runtime.container(bundle.args("sleep", "1000"))
    attacker = runtime.bundle("attacker")
    attacker.namespace("pid", f"/proc/{victim.pid}/ns/pid")
    look = "; ".join(f"readlink /proc/1/{name} && echo seen" for name in ("exe", "root", "fd/0", "ns/mnt"))
    out = runtime.inside(attacker, f"cat /proc/1/comm; ({look}) 2>&1; true")
    assert "init" in out.lower()
    assert "seen" not in out
    # The control: after the exec it is like any other process, so the dumpable flag caused the refusal.
    victim.start()
    assert "seen" in runtime.inside(attacker, f"({look}) 2>&1; true")


@pytest.mark.purev2
def test_files_of_the_waiting_init_are_root_s(runtime: Runtime, bundle: Bundle) -> None:
    """proc(5): the files of a process that is not dumpable belong to root, whatever user runs it."""
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    container = runtime.container(bundle.args("sleep", "1000"))
    assert Path(f"/proc/{container.pid}/status").stat().st_uid == 0
    container.start()
    # The control. runc's start does not wait for the exec.
    host.wait_for("its exec", lambda: os.stat(f"/proc/{container.pid}/environ").st_uid == 1000)
