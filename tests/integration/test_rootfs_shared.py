"""F9: containers that start at the same time on one rootfs, and images with files at places that a container needs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.runtime import Runtime

AT_ONCE = 3
ROUNDS = 3


def at_once(runtime: Runtime, bundles: list[Bundle]) -> list[str]:
    """Run the commands at the same time and return the output of each."""
    running, files = [], []
    for number, bundle in enumerate(bundles):
        bundle.write()
        files.append(runtime.work / f"said-{number}")
        with open(files[-1], "w") as said:
            command = runtime.argv("run", "--bundle", bundle.path, runtime.new_id())
            running.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said))
    for process in running:
        process.wait(120)
    return [path.read_text() for path in files]


def sharing(runtime: Runtime) -> list[Bundle]:
    """Bundles with one rootfs."""
    bundles = [runtime.bundle(f"bundle-{number}") for number in range(AT_ONCE)]
    for bundle in bundles[1:]:
        bundle.rootfs = bundles[0].rootfs
        bundle.config["root"]["path"] = str(bundles[0].rootfs)
    return bundles


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_f9_mount_points_that_are_missing(runtime: Runtime, kind: str) -> None:
    """F9: the second container uses the mount points that the first one has made."""
    source = runtime.work / "source"
    if kind == "file":
        source.touch()
    else:
        source.mkdir()
    bundles = sharing(runtime)
    for bundle in bundles:
        for number in range(300):
            bundle.mount(f"/made/{number % 7}/{number}", "bind", str(source), "bind")
        bundle.args("true")
    assert at_once(runtime, bundles) == [""] * AT_ONCE


@pytest.mark.parametrize("ptmx", ["missing", "the image's own"])
def test_f9_devices_and_links(runtime: Runtime, ptmx: str) -> None:
    """F9: without a tmpfs on /dev the devices, /dev/ptmx and the other links are made in the rootfs itself. A /dev/ptmx
    that another container has made is never missing: that container's program may be opening it."""
    bundles = sharing(runtime)
    dev = bundles[0].rootfs / "dev"
    for bundle in bundles:
        bundle.config["mounts"] = [bundle.mounts[0]]
        bundle.args("readlink", "/dev/ptmx")
    for _ in range(ROUNDS):
        for path in dev.iterdir():
            if path.is_symlink() or not path.is_dir():
                path.unlink()
        if ptmx != "missing":
            (dev / "ptmx").symlink_to("/host/ptmx")
        assert at_once(runtime, bundles) == ["pts/ptmx\n"] * AT_ONCE
        assert not [path for path in dev.iterdir() if path.name.startswith(".pyrunc")]


def test_f9_what_is_there_must_be_of_the_right_kind(runtime: Runtime, bundle: Bundle) -> None:
    source = runtime.work / "source"
    source.touch()
    (bundle.rootfs / "there").mkdir()
    assert "not a directory" in runtime.refuse(bundle.mount("/there", "bind", str(source), "bind")).last_line


@pytest.mark.parametrize("target", ["/dir", "/dir/", "/link"])
def test_f10_a_file_on_a_directory(runtime: Runtime, bundle: Bundle, target: str) -> None:
    """F10: move_mount(2) gives EINVAL where mount(2) gave ENOTDIR, and engines look for the message of ENOTDIR."""
    source = runtime.work / "source"
    source.touch()
    (bundle.rootfs / "dir").mkdir()
    (bundle.rootfs / "link").symlink_to("/dir")
    result = runtime.refuse(bundle.mount(target, "bind", str(source), "bind"))
    assert "not a directory" in result.last_line
    assert "invalid argument" not in result.last_line


@pytest.mark.parametrize("fstype", ["bind", "tmpfs"])
def test_f10_a_directory_on_a_file(runtime: Runtime, bundle: Bundle, fstype: str) -> None:
    options = ["bind"] if fstype == "bind" else []
    result = runtime.refuse(bundle.mount("/srv/file", fstype, "/" if fstype == "bind" else "tmpfs", *options))
    assert "not a directory" in result.last_line


def test_f10_a_device_on_a_directory(runtime: Runtime, bundle: Bundle) -> None:
    """F10: a device that is bound, in a user namespace."""
    bundle.user_namespace()
    bundle.config["mounts"] = [bundle.mounts[0]]
    folder = Path(bundle.rootfs / "dev/null")
    folder.mkdir()
    os.chown(folder, 100000, 100000)
    result = runtime.refuse(bundle)
    assert "not a directory" in result.last_line
    assert "invalid argument" not in result.last_line


def test_f10_an_unknown_file_system(runtime: Runtime, bundle: Bundle) -> None:
    """F10: mount(2)'s message; the new calls have the same errno."""
    assert "no such device" in runtime.refuse(bundle.mount("/mnt", "nonsensefs", "none")).last_line
