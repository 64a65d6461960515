"""CVE-2021-30465: an attacker exchanges a mount's target with a symlink during the mount. The mount lands in the host's
part of the tree, and a later mount brings the host's files from there into the container.

Targets are resolved inside the rootfs at use, and mounted by descriptor.

Seen to fail: with resolve and make_in_root of csrc/init/paths.c replaced by openat and mkdirat on the path as it is.
"""

from __future__ import annotations

import os

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.race import exchanging
from tests.support.runtime import Runtime


def test_symlink_in_a_volume(runtime: Runtime, bundle: Bundle) -> None:
    """Without a race: the volume that is mounted first has a symlink at the second one's target."""
    volume = runtime.work / "volume"
    volume.mkdir()
    outside = runtime.work / "outside"
    outside.mkdir()
    (volume / "link").symlink_to("../" * 20 + str(outside).lstrip("/"))
    bundle.mount("/volume", "bind", str(volume), "bind")
    bundle.mount("/volume/link/target", "tmpfs", "caught")
    result = runtime.run(bundle.sh("cat /proc/self/mountinfo"), ok=False)
    assert os.listdir(outside) == []
    if result.code == 0:
        caught = [mount for mount in host.mountinfo(result.out) if mount.source == "caught"]
        # Inside the container's own tree, at the place that the link names there.
        assert [mount.point for mount in caught] == [f"{outside}/target"]
    runtime.assert_nothing_left()


@pytest.mark.own("1.1 has the flaw")
def test_exchanged_target(runtime: Runtime, bundle: Bundle) -> None:
    """With the race: whoever wins, nothing is mounted on the host's tree, and the container does not see it."""
    secret = runtime.work / "secret"
    secret.mkdir()
    (secret / "of-the-host").write_text("secret\n")
    volume = runtime.work / "volume"
    (volume / "dir").mkdir(parents=True)
    (volume / "link").symlink_to("../" * 20 + str(secret).lstrip("/"))
    bundle.mount("/volume", "bind", str(volume), "bind")
    bundle.mount("/volume/dir/mnt", "tmpfs", "caught")
    bundle.mount("/volume/dir/mnt/bound", "bind", str(bundle.rootfs / "srv"), "bind")
    bundle.sh("find /volume /tmp -name of-the-host; cat /proc/self/mountinfo")
    with exchanging(volume / "dir", volume / "link"):
        results = [runtime.run(bundle, ok=False) for _ in range(12)]
    for result in results:
        assert "of-the-host" not in result.out
        assert str(secret) not in {mount.root for mount in host.mountinfo(result.out)}
    assert sorted(os.listdir(secret)) == ["of-the-host"]
    runtime.assert_nothing_left()
