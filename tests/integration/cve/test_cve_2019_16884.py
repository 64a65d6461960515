"""CVE-2019-16884: a mount over /proc, or inside it, makes the runtime write its labels and limits to other files.

Seen to fail: with guard_proc of csrc/init/mounts.c taken out.
"""

from __future__ import annotations

import pytest

from tests.support.bundle import Bundle
from tests.support.runtime import Runtime


@pytest.mark.parametrize(("type", "options"), [("bind", ["bind"]), ("tmpfs", [])])
def test_proc_can_t_be_something_else(runtime: Runtime, bundle: Bundle, type: str, options: list[str]) -> None:
    (bundle.path / "fake").mkdir()
    bundle.mounts[0] = {
        "destination": "/proc", "type": type, "source": str(bundle.path / "fake"), "options": options,
    }  # fmt: skip
    result = runtime.refuse(bundle)
    if runtime.is_own or type == "bind":
        assert "cannot be mounted because it is not of type proc" in result.last_line.replace("\\", "")


@pytest.mark.parametrize("destination", ["/proc/self/attr", "/proc/sys", "/proc/1", "/proc/self"])
def test_nothing_is_mounted_inside_proc(runtime: Runtime, bundle: Bundle, destination: str) -> None:
    (bundle.path / "fake").mkdir()
    bundle.mount(destination, "bind", str(bundle.path / "fake"), "bind")
    assert "inside /proc" in runtime.refuse(bundle).last_line


def test_nor_by_a_symlink_of_the_image(runtime: Runtime, bundle: Bundle) -> None:
    (bundle.rootfs / "innocent").symlink_to("/proc/self")
    (bundle.path / "fake").mkdir()
    bundle.mount("/innocent/attr", "bind", str(bundle.path / "fake"), "bind")
    result = runtime.refuse(bundle)
    assert "proc" in result.last_line


@pytest.mark.parametrize("name", ["uptime", "cpuinfo", "meminfo", "stat", "loadavg"])
def test_what_lxcfs_gives_is_allowed(runtime: Runtime, bundle: Bundle, name: str) -> None:
    (bundle.path / "given").write_text("by lxcfs\n")
    bundle.mount(f"/proc/{name}", "bind", str(bundle.path / "given"), "bind")
    assert runtime.inside(bundle, f"cat /proc/{name}") == "by lxcfs\n"
