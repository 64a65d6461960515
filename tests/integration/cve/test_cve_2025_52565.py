"""CVE-2025-52565: the runtime binds the console on /dev/console. If that is a symlink of the image, the pty is mounted
on the symlink's target, such as a file of /proc that was to be masked.

The pty is opened by TIOCGPTPEER and mounted by descriptor, on a target that is resolved without following a symlink.

Seen to fail: with open_leaf in bind_file of csrc/init/steps_devices.c replaced by open_in_root.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Runtime


@pytest.mark.parametrize("target", ["/srv/file", "/proc/sysrq-trigger", "outside"])
def test_console_that_is_a_symlink(runtime: Runtime, bundle: Bundle, target: str) -> None:
    victim = runtime.work / "victim"
    victim.write_text("the host's\n")
    if target == "outside":
        target = "../" * 20 + str(victim).lstrip("/")
    dev = runtime.work / "dev"
    (dev / "pts").mkdir(parents=True)
    (dev / "console").symlink_to(target)
    os.mknod(dev / "null", 0o20666, os.makedev(1, 3))
    bundle.mounts[1] = {"destination": "/dev", "type": "bind", "source": str(dev), "options": ["bind"]}
    bundle.process["terminal"] = True
    bundle.sh("cat /proc/self/mountinfo > /tmp/mounts").write()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(runtime.work / "console.sock"))
    listener.listen(1)
    arguments = ("--bundle", str(bundle.path), "--console-socket", str(runtime.work / "console.sock"))
    result = runtime("run", "--detach", *arguments, runtime.new_id())
    mounts = bundle.rootfs / "tmp/mounts"
    if result.code == 0:
        text = host.wait_for("its mounts", lambda: _complete(mounts))
        points = {mount.point for mount in host.mountinfo(text) if mount.fstype == "devpts"}
        assert points <= {"/dev/pts", "/dev/console"}
    assert victim.read_text() == "the host's\n"
    assert (bundle.rootfs / "srv/file").read_text() == "from the image\n"
    listener.close()


def _complete(path: Path) -> str:
    text = path.read_text() if path.exists() else ""
    return text if text.endswith("\n") else ""


def test_ptmx_that_is_not_of_devpts(runtime: Runtime, bundle: Bundle) -> None:
    """/dev/pts is a directory of the attacker: its ptmx is no terminal, and the runtime sends nothing from it as a
    terminal.
    """
    dev = runtime.work / "dev"
    (dev / "pts").mkdir(parents=True)
    (dev / "pts/ptmx").write_text("attacker\n")
    os.mknod(dev / "null", 0o20666, os.makedev(1, 3))
    bundle.config["mounts"] = [bundle.mounts[0]]
    bundle.mount("/dev", "bind", str(dev), "bind")
    bundle.process["terminal"] = True
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(runtime.work / "console.sock"))
    listener.listen(1)
    runtime.refuse(bundle, "--console-socket", str(runtime.work / "console.sock"))
    listener.close()
