"""CVE-2026-41579: /dev of the image is a symlink: device nodes, links and the console are made where it leads.

Everything below /dev is resolved inside the rootfs, so that is a place of the image at worst.

Seen to fail: with resolve and make_in_root of csrc/init/paths.c replaced by openat and mkdirat on the path as it is.
"""

from __future__ import annotations

import os

import pytest

from tests.support.bundle import Bundle
from tests.support.runtime import Runtime

CLIMBING = "../" * 20
DEFAULT = (
    "console", "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout",
    "tty", "urandom", "zero",
)  # fmt: skip


def nodes() -> dict[str, tuple[int, int, int] | None]:
    """The host's own entries with the names of those that a container gets. Its other ones come and go by others."""
    found: dict[str, tuple[int, int, int] | None] = {}
    for name in ("made", *DEFAULT):
        try:
            status = os.lstat(f"/dev/{name}")
        except FileNotFoundError:
            found[name] = None
        else:
            found[name] = status.st_ino, status.st_mode, status.st_rdev
    return found


@pytest.mark.own("1.1 has the flaw")
@pytest.mark.parametrize("mounted", [True, False], ids=["tmpfs", "no-mount"])
@pytest.mark.parametrize("kind", ["absolute", "climbing", "inside", "dangling"])
def test_symlinked_dev(runtime: Runtime, bundle: Bundle, kind: str, mounted: bool) -> None:
    victim = runtime.work / "victim"
    victim.mkdir()
    (bundle.rootfs / "dev").rmdir()
    links = {
        "absolute": str(victim),
        "climbing": CLIMBING + str(victim).lstrip("/"),
        "inside": "/srv",
        "dangling": "/no/dev",
    }
    (bundle.rootfs / "dev").symlink_to(links[kind])
    bundle.mounts[1:] = bundle.mounts[1:2] if mounted else []
    bundle.linux["devices"] = [
        {"path": "/dev/made", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666, "uid": 0, "gid": 0}
    ]
    before = nodes()
    result = runtime.run(bundle.sh("echo gone > /dev/null; ls /dev/"), ok=False)
    assert os.listdir(victim) == []
    assert nodes() == before
    if result.code == 0:
        assert {"made", "null", "zero"} <= set(result.out.split())
    runtime.assert_nothing_left()


@pytest.mark.parametrize("name", ["null", "made", "stdin", "pts"])
def test_entries_of_dev_that_are_symlinks(runtime: Runtime, bundle: Bundle, name: str) -> None:
    """No file system on /dev: the image's own directory, in which names that are to be made are links already."""
    victim = runtime.work / "victim"
    (bundle.rootfs / "dev" / name).symlink_to(CLIMBING + str(victim).lstrip("/"))
    bundle.mounts[1:] = []
    bundle.linux["devices"] = [
        {"path": "/dev/made", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666, "uid": 0, "gid": 0}
    ]
    runtime.run(bundle, ok=False)
    assert not os.path.lexists(victim)
    runtime.assert_nothing_left()
