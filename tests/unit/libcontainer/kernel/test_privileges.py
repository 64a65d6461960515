"""What this process may do, according to /proc."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyrunc.libcontainer.kernel import privileges


def test_the_capabilities_are_the_effective_ones() -> None:
    code = (
        "from pyrunc.libcontainer.kernel import privileges; before = privileges.capabilities()\n"
        "import os; os.setresuid(4711, 4711, 4711); print(before, privileges.capabilities())"
    )
    if os.geteuid() != 0:
        pytest.skip("needs root, to give capabilities up")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = done.stdout.split()
    assert int(before) == privileges.capabilities() != 0
    assert after == "0"


def test_a_sysctl_is_a_number_or_none() -> None:
    assert privileges.sysctl("kernel/pid_max") == int(Path("/proc/sys/kernel/pid_max").read_text())
    assert privileges.sysctl("kernel/no_such_sysctl") is None


@pytest.mark.parametrize(("value", "said"), [(None, False), (0, False), (1, True)])
def test_apparmor_is_named_where_it_restricts(monkeypatch: pytest.MonkeyPatch, value: int | None, said: bool) -> None:
    monkeypatch.setattr(privileges, "sysctl", lambda name: value)
    assert ("AppArmor" in privileges.apparmor_restricts()) == said


def test_a_chroot_s_root_is_no_mount_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert privileges.root_is_mount_point()
    monkeypatch.setattr(privileges, "read_file", lambda path: "36 35 98:0 /mnt1 /mnt2 rw - ext3 /dev/root rw\n")
    assert not privileges.root_is_mount_point()
