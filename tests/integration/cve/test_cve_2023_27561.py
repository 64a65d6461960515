"""CVE-2023-27561: CVE-2019-19921 again, through a volume that two containers share. An attacker exchanges the parent of
the procfs's or sysfs's target with a symlink during the mount.

Seen to fail: with resolve and make_in_root of csrc/init/paths.c replaced by openat and mkdirat on the path as it is,
and symlinks not refused either.
"""

from __future__ import annotations

import os

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.race import exchanging
from tests.support.runtime import Runtime


@pytest.mark.own("1.1 has the flaw")
@pytest.mark.parametrize("type", ["proc", "sysfs"])
def test_parent_that_is_a_symlink(runtime: Runtime, bundle: Bundle, type: str) -> None:
    outside = runtime.work / "outside"
    (outside / "deep").mkdir(parents=True)
    (bundle.rootfs / "above").symlink_to("../" * 20 + str(outside).lstrip("/"))
    bundle.mount("/above/deep/new", type, type)
    result = runtime.run(bundle.sh("cat /proc/self/mountinfo"), ok=False)
    assert os.listdir(outside / "deep") == []
    assert result.code != 0 or host.mount_at(result.out, f"{outside}/deep/new").fstype == type
    runtime.assert_nothing_left()


@pytest.mark.own("1.1 has the flaw")
def test_exchanged_parent(runtime: Runtime, bundle: Bundle) -> None:
    outside = runtime.work / "outside"
    (outside / "proc").mkdir(parents=True)
    volume = runtime.work / "volume"
    (volume / "dir/proc").mkdir(parents=True)
    (volume / "link").symlink_to("../" * 20 + str(outside).lstrip("/"))
    bundle.mount("/volume", "bind", str(volume), "bind")
    bundle.mount("/volume/dir/proc", "proc", "proc")
    bundle.sh("cat /proc/self/mountinfo")
    with exchanging(volume / "dir", volume / "link"):
        results = [runtime.run(bundle, ok=False) for _ in range(8)]
    for result in results:
        points = [mount.point for mount in host.mountinfo(result.out) if mount.fstype == "proc"]
        # If the link won, its target was made inside the container.
        assert set(points) <= {"/proc", "/volume/dir/proc", "/volume/link/proc", f"{outside}/proc"}
    assert os.listdir(outside / "proc") == []
    assert not host.mounts_of(str(outside))
    runtime.assert_nothing_left()
