"""Bind mounts with a source in the container's own rootfs: they show the mounts that were made before them.

B4. config.md, "Mounts": the runtime mounts the entries in the listed order.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Runtime

MAPS = [{"containerID": 0, "hostID": 100000, "size": 65536}]


@pytest.fixture(params=["plain", "user-namespace"])
def inside(request: pytest.FixtureRequest, bundle: Bundle) -> Bundle:
    """A bundle with a tmpfs on /mnt; in it a tmpfs of 4 MiB, and the host's /etc."""
    if request.param != "plain":
        bundle.user_namespace()
    bundle.mount("/mnt", "tmpfs", "tmpfs").mount("/mnt/x", "tmpfs", "tmpfs", "size=4m")
    return bundle.mount("/mnt/etc", "bind", "/etc", "rbind", "ro")


def kinds(out: str, *points: str) -> list[str]:
    return [host.mount_at(out, point).fstype for point in points]


def test_b4_a_source_that_is_an_earlier_mount(runtime: Runtime, inside: Bundle) -> None:
    inside.mount("/out", "bind", f"{inside.rootfs}/mnt/x", "bind", "ro")
    mount = host.mount_at(runtime.inside(inside, "cat /proc/self/mountinfo"), "/out")
    assert mount.fstype == "tmpfs"
    assert "ro" in mount.options
    assert "size=4096k" in mount.super_options


def test_b4_a_source_that_holds_earlier_mounts(runtime: Runtime, inside: Bundle) -> None:
    inside.mount("/out", "bind", f"{inside.rootfs}/mnt", "rbind")
    out = runtime.inside(inside, "cat /proc/self/mountinfo; cat /out/etc/hostname")
    assert kinds(out.replace(Path("/etc/hostname").read_text(), ""), "/out", "/out/x") == ["tmpfs", "tmpfs"]
    assert Path("/etc/hostname").read_text() in out


def test_b4_a_relative_source(runtime: Runtime, inside: Bundle) -> None:
    inside.mount("/out", "bind", "./rootfs/mnt/etc", "bind")
    assert runtime.inside(inside, "cat /out/hostname") == Path("/etc/hostname").read_text()


def test_b4_a_file_of_an_earlier_mount(runtime: Runtime, inside: Bundle) -> None:
    inside.mount("/out", "bind", f"{inside.rootfs}/mnt/etc/hostname", "bind")
    assert runtime.inside(inside, "cat /out") == Path("/etc/hostname").read_text()


def test_b4_a_later_mount_is_not_seen(runtime: Runtime, inside: Bundle) -> None:
    source = f"{inside.rootfs}/mnt"
    inside.mounts.insert(3, {"destination": "/out", "type": "bind", "source": source, "options": ["rbind"]})
    (inside.rootfs / "mnt/file").write_text("of the image\n")
    assert runtime.inside(inside, "cat /out/file; ls /mnt") == "of the image\netc\nx\n"


def test_b4_a_source_that_is_not_there(runtime: Runtime, inside: Bundle) -> None:
    inside.mount("/out", "bind", f"{inside.rootfs}/mnt/none", "bind")
    line = runtime.refuse(inside).last_line
    assert "no such file or directory" in line
    assert "at /mounts/6" in line


@pytest.mark.own("1.1 knows no id-mapped mounts")
@pytest.mark.parametrize("options", [("bind",), ("bind", "idmap=uids=0-100000-65536;gids=0-100000-65536")])
def test_b4_ids_of_an_earlier_mount_are_mapped(
    runtime: Runtime, inside: Bundle, host_mount: Callable[..., Path], options: tuple[str, ...]
) -> None:
    source = host_mount("source")
    (source / "file").touch()
    os.chown(source / "file", 7, 8)
    user_namespace = "uidMappings" in inside.linux
    inside.mount("/mnt/own", "bind", str(source), "bind")
    inside.mount("/out", "bind", f"{inside.rootfs}/mnt/own", *options)
    if len(options) == 1:
        inside.mounts[-1].update(uidMappings=MAPS, gidMappings=MAPS)
    out = runtime.inside(inside, "stat -c '%u %g' /out/file; grep ' /out ' /proc/self/mountinfo")
    assert out.splitlines()[0] == ("7 8" if user_namespace else "100007 100008")
    assert "idmapped" in out
