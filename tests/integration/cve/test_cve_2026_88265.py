"""CVE-2026-88265: /dev is the image's own directory, and its null is a symlink. A file that the image has chosen is
bound over masked paths, and opened as the program's standard streams.

The runtime does not take a device node for its own because of its name, and checks the device number of null before
use.

Seen to fail: with the check of what is there taken out of step_mknod ("mknod"), with open_leaf in bind_file replaced by
openat of the name ("bind"), and with is_null taken out of open_null (the volume's), all in csrc/init/steps_devices.c.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Runtime

CLIMBING = "../" * 20
NULL = (1, 3)
KINDS = ["absolute", "climbing", "inside", "procfs", "dangling", "file", "device", "directory", "fifo", "hard-link"]


def _put(path: Path, kind: str, victim: Path, bundle: Bundle) -> None:
    """Replace the image's device node by something else."""
    if kind == "file":
        path.write_text("the image's\n")
    elif kind == "device":
        os.mknod(path, 0o20666, os.makedev(1, 11))
    elif kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "hard-link":
        os.link(bundle.rootfs / "srv/file", path)
    else:
        targets = {
            "absolute": str(victim),
            "climbing": CLIMBING + str(victim).lstrip("/"),
            "inside": "/srv/file",
            "procfs": "/proc/version",
            "dangling": CLIMBING + str(victim).lstrip("/") + "-new",
        }
        path.symlink_to(targets[kind])


@pytest.mark.parametrize("userns", [False, True], ids=["mknod", "bind"])
@pytest.mark.parametrize("name", ["null", "zero", "urandom", "tty"])
@pytest.mark.parametrize("kind", KINDS)
def test_device_of_the_image(runtime: Runtime, bundle: Bundle, kind: str, name: str, userns: bool) -> None:
    """In a user namespace devices are the host's, bound on the image's files of these names, which may be any file."""
    victim = runtime.work / "victim"
    victim.write_text("the host's\n")
    bundle.config["mounts"] = [bundle.mounts[0]]
    _put(bundle.rootfs / "dev" / name, kind, victim, bundle)
    if userns:
        bundle.user_namespace()
    bundle.linux["maskedPaths"] = ["/etc/group", "/proc/version"]
    bundle.sh(f"stat -c '%t:%T' /dev/{name} /etc/group /proc/version; echo written > /etc/group; true")
    result = runtime.run(bundle, ok=False)
    if result.code == 0:
        number = os.stat("/dev/" + name).st_rdev if name != "null" else os.makedev(*NULL)
        assert result.out.split() == [f"{os.major(number):x}:{os.minor(number):x}", "1:3", "1:3"], result
    else:
        assert f"/dev/{name}" in result.last_line
    if runtime.is_own:
        assert (result.code == 0) == (userns and kind in ("file", "device", "fifo", "hard-link"))
    assert victim.read_text() == "the host's\n"
    assert not os.path.lexists(f"{victim}-new")
    assert not host.mounts_of(str(victim))
    assert (bundle.rootfs / "srv/file").read_text() == "from the image\n"
    runtime.assert_nothing_left()


@pytest.mark.own("1.1 has the flaw")
@pytest.mark.parametrize("kind", KINDS)
def test_null_of_a_volume(runtime: Runtime, bundle: Bundle, kind: str) -> None:
    """The engine answers for a bind mount on /dev: the runtime makes no node in it, but checks its null."""
    victim = runtime.work / "victim"
    victim.write_text("the host's\n")
    volume = runtime.work / "volume"
    volume.mkdir()
    bundle.config["mounts"] = [bundle.mounts[0]]
    bundle.mount("/dev", "bind", str(volume), "bind")
    _put(volume / "null", kind, victim, bundle)
    bundle.linux["maskedPaths"] = ["/etc/group"]
    bundle.sh("echo written > /etc/group; stat -c '%t:%T' /etc/group")
    result = runtime.run(bundle, ok=False)
    assert result.code != 0
    assert "null" in result.last_line
    assert victim.read_text() == "the host's\n"
    assert not os.path.lexists(f"{victim}-new")
    assert "written" not in (bundle.rootfs / "srv/file").read_text()
    runtime.assert_nothing_left()
