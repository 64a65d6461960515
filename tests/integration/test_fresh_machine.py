"""A directory entered as a machine's root, as `make test-fresh` does (N2): what the machine has and what it lacks."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import copy_rootfs
from tests.support.runtime import REPOSITORY

spec = importlib.util.spec_from_file_location("fresh_machine", REPOSITORY / "scripts/fresh/machine.py")
assert spec is not None
assert spec.loader is not None
machine = importlib.util.module_from_spec(spec)
spec.loader.exec_module(machine)

Inside = Callable[[str], tuple[int, str]]


@pytest.fixture
def inside(private_mounts: None, rootfs_template: Path, tmp_path: Path) -> Iterator[Inside]:
    """A function that runs a shell script in a machine of busybox, and returns its exit code and its output."""
    if not host.cgroup2_mount():
        pytest.skip("needs a cgroup2 hierarchy, in which the machine gets one of its own")
    group = machine.cgroup()
    root = tmp_path / "root"
    copy_rootfs(rootfs_template, root)

    def run(script: str) -> tuple[int, str]:
        # A file, since a process that is left may keep the output open.
        with (tmp_path / "out").open("w") as file:
            done = subprocess.run(
                machine.words(root, "/tmp", group, ("sh", "-c", script)),
                stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=False, timeout=60,
            )  # fmt: skip
        return done.returncode, (tmp_path / "out").read_text()

    yield run
    machine.remove(group)


def test_it_has_file_systems_of_its_own(inside: Inside) -> None:
    code, out = inside("pwd; cat /proc/self/mountinfo; cat /proc/self/cgroup; ls -l /dev/null; ls -d /.old; ps")
    assert code == 0
    mounts = host.mountinfo(out)
    assert [(mount.point, mount.fstype) for mount in mounts if mount.point != "/"] == [
        ("/proc", "proc"), ("/sys", "sysfs"), ("/sys/fs/cgroup", "cgroup2"), ("/run", "tmpfs"), ("/dev", "tmpfs"),
        ("/dev/pts", "devpts"), ("/dev/shm", "tmpfs"), ("/dev/mqueue", "mqueue"),
    ]  # fmt: skip
    assert len([mount for mount in mounts if mount.point == "/"]) == 1
    assert out.startswith("/tmp\n")
    assert re.search(r"^0::/.*pyrunc-fresh-\w+$", out, re.MULTILINE)
    assert "crw-rw-rw-" in out
    assert "/.old: No such file" in out


def test_user_namespaces_can_be_made(inside: Inside) -> None:
    """The kernel refuses user namespaces in a chroot, and half of the tests need them."""
    assert inside("busybox unshare -U -m true") == (0, "")


def test_its_cgroup_is_removed_with_all_that_is_below(tmp_path: Path) -> None:
    if not host.cgroup2_mount():
        pytest.skip("needs a cgroup2 hierarchy")
    group = machine.cgroup()
    (group / "a/b").mkdir(parents=True)
    machine.remove(group)
    assert not group.exists()


@pytest.mark.parametrize(("script", "code"), [("exit 3", 3), ("kill -TERM $$", 143), ("sleep 1000 & exit 0", 0)])
def test_it_ends_with_its_command(inside: Inside, script: str, code: int) -> None:
    assert inside(script) == (code, "")
