"""CVE-2025-31133: the runtime masks a path by binding /dev/null on it. If the image's /dev/null is another file, the
runtime binds that file, readable and writable, instead.

Seen to fail: with is_null taken out of open_null in csrc/init/steps_devices.c.
"""

from __future__ import annotations

import os

import pytest

from tests.support.bundle import Bundle
from tests.support.runtime import Runtime

pytestmark = pytest.mark.own("1.1 has the flaw")


@pytest.mark.parametrize("kind", ["file", "symlink", "directory", "fifo"])
def test_null_that_is_something_else(runtime: Runtime, bundle: Bundle, kind: str) -> None:
    """/dev is a bind mount of a directory that the attacker fills."""
    dev = runtime.work / "dev"
    dev.mkdir()
    null = dev / "null"
    if kind == "file":
        null.write_text("attacker\n")
    elif kind == "symlink":
        null.symlink_to("/proc/sys/kernel/core_pattern")
    elif kind == "directory":
        null.mkdir()
    else:
        os.mkfifo(null)
    bundle.config["mounts"] = [bundle.mounts[0]]
    bundle.mount("/dev", "bind", str(dev), "bind")
    bundle.linux["maskedPaths"] = ["/srv/file", "/proc/sysrq-trigger"]
    result = runtime.run(bundle.sh("stat -c '%F %t:%T' /srv/file /proc/sysrq-trigger"), ok=False)
    if result.code == 0:
        assert result.out.splitlines() == ["character special file 1:3"] * 2
    else:
        assert "null" in result.last_line
    runtime.assert_nothing_left()


def test_null_that_is_another_device(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["devices"] = [
        {"path": "/dev/null", "type": "c", "major": 1, "minor": 5, "fileMode": 0o666, "uid": 0, "gid": 0}
    ]
    bundle.linux["maskedPaths"] = ["/srv/file"]
    result = runtime.run(bundle.sh("stat -c '%F %t:%T' /srv/file"), ok=False)
    assert result.code != 0 or result.out == "character special file 1:3\n"


def test_masked_path_that_is_a_symlink_stays_inside(runtime: Runtime, bundle: Bundle) -> None:
    """The masked path itself leads out of the image: the host's file is not hidden from the host."""
    victim = runtime.work / "victim"
    victim.write_text("still here\n")
    (bundle.rootfs / "masked").symlink_to("../" * 20 + str(victim).lstrip("/"))
    bundle.linux["maskedPaths"] = ["/masked"]
    runtime.run(bundle, ok=False)
    assert victim.read_text() == "still here\n"
