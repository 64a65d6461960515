"""CVE-2026-88264: /dev is the image's own directory, and its console is a symlink. The runtime mounts the pty on the
symlink's target: a file of the host, or one that the container must not reach.

The console's directory is opened inside the rootfs, and the name in it is not followed.

Seen to fail: with open_leaf in bind_file of csrc/init/steps_devices.c replaced by openat of the name, which follows
symlinks ("absolute", "climbing"), and by open_in_root ("inside", "procfs"); with unlinkat taken out of step_symlink
(the ptmx).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Result, Runtime

CLIMBING = "../" * 20


@pytest.fixture
def terminal(runtime: Runtime, bundle: Bundle) -> Iterator[Bundle]:
    """A bundle with a terminal and no mount on /dev; the image has what devpts needs. The container records its
    mounts.
    """
    bundle.config["mounts"] = [bundle.mounts[0]]
    bundle.mount("/dev/pts", "devpts", "devpts", "newinstance", "ptmxmode=0666")
    bundle.process["terminal"] = True
    bundle.sh("cat /proc/self/mountinfo > /tmp/mounts; stat -c %F /dev/console > /tmp/kind")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(runtime.work / "console.sock"))
        listener.listen(1)
        yield bundle


def _run(runtime: Runtime, bundle: Bundle) -> Result:
    bundle.write()
    socket_path = runtime.work / "console.sock"
    return runtime("run", "--detach", "--bundle", bundle.path, "--console-socket", socket_path, runtime.new_id())


def _ptys(bundle: Bundle) -> set[str]:
    """Where devpts is mounted in the container, by the container's record."""
    path = bundle.rootfs / "tmp/kind"
    host.wait_for("the container's words", lambda: path.exists() and path.read_text().endswith("\n"))
    text = (bundle.rootfs / "tmp/mounts").read_text()
    return {mount.point for mount in host.mountinfo(text) if mount.fstype == "devpts"}


@pytest.mark.parametrize("kind", ["absolute", "climbing", "inside", "procfs", "dangling", "itself"])
def test_console_that_is_a_symlink(runtime: Runtime, terminal: Bundle, kind: str) -> None:
    victim = runtime.work / "victim"
    victim.write_text("the host's\n")
    targets = {
        "absolute": str(victim),
        "climbing": CLIMBING + str(victim).lstrip("/"),
        "inside": "/srv/file",
        "procfs": "/proc/version",
        "dangling": CLIMBING + str(victim).lstrip("/") + "-new",
        "itself": "console",
    }
    (terminal.rootfs / "dev/console").symlink_to(targets[kind])
    result = _run(runtime, terminal)
    if result.code == 0:
        assert _ptys(terminal) <= {"/dev/pts", "/dev/console"}
    assert victim.read_text() == "the host's\n"
    assert not os.path.lexists(f"{victim}-new")
    assert not host.mounts_of(str(victim))
    assert (terminal.rootfs / "srv/file").read_text() == "from the image\n"
    if runtime.is_own:
        assert result.code != 0
        assert "/dev/console" in result.last_line
        runtime.assert_nothing_left()


@pytest.mark.parametrize("kind", ["missing", "file", "null", "fifo"])
def test_console_that_is_something_else_is_covered(runtime: Runtime, terminal: Bundle, kind: str) -> None:
    """Anything but a symlink can be a mount point: the pty is mounted on it, and the runtime neither opens nor writes
    it.
    """
    console = terminal.rootfs / "dev/console"
    if kind == "file":
        console.write_text("the image's\n")
    elif kind == "null":
        os.mknod(console, 0o20666, os.makedev(1, 3))
    elif kind == "fifo":
        os.mkfifo(console)
    result = _run(runtime, terminal)
    assert result.code == 0, result
    assert _ptys(terminal) == {"/dev/pts", "/dev/console"}
    assert (terminal.rootfs / "tmp/kind").read_text() == "character special file\n"
    assert kind != "file" or console.read_text() == "the image's\n"


def test_console_that_is_a_directory(runtime: Runtime, terminal: Bundle) -> None:
    (terminal.rootfs / "dev/console").mkdir()
    result = _run(runtime, terminal)
    assert result.code != 0
    assert "/dev/console" in result.last_line
    runtime.assert_nothing_left()


@pytest.mark.parametrize("kind", ["file", "symlink", "device"])
def test_ptmx_of_the_image(runtime: Runtime, terminal: Bundle, kind: str) -> None:
    """The image's /dev/ptmx would open ptys of the host, or another file: the runtime removes it and does not follow
    it.
    """
    victim = runtime.work / "victim"
    victim.write_text("the host's\n")
    ptmx: Path = terminal.rootfs / "dev/ptmx"
    if kind == "file":
        ptmx.write_text("the image's\n")
    elif kind == "symlink":
        ptmx.symlink_to(CLIMBING + str(victim).lstrip("/"))
    else:
        os.mknod(ptmx, 0o20666, os.makedev(5, 2))
    result = _run(runtime, terminal)
    assert result.code == 0, result
    assert _ptys(terminal) == {"/dev/pts", "/dev/console"}
    assert os.readlink(ptmx) == "pts/ptmx"
    assert victim.read_text() == "the host's\n"
