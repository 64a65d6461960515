"""External resources of a container: their names in a dump and what a restore puts in their place."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.criu import external
from pyrunc.libcontainer.kernel import native

if TYPE_CHECKING:
    from pyrunc._generated.spec_types import NamespaceEntry


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root file system with links in it, one of which leads out."""
    path = tmp_path / "rootfs"
    for name in ("run", "var", "dev", "proc/acpi", "data"):
        (path / name).mkdir(parents=True)
    (path / "var/run").symlink_to("/run")
    (path / "out").symlink_to("../../../../../../etc")
    (path / "run/x").mkdir()
    (path / "proc/kcore").touch()
    (path / "dev/null").touch()
    return path


def test_mounts_of_a_dump_are_named_by_their_place(root: Path) -> None:
    kept: Any = {
        "mounts": [
            {"destination": "/data", "options": ["rbind"]},
            {"destination": "/var/run/x", "type": "bind"},
            {"destination": "/gone", "options": ["bind"]},
            {"destination": "data", "options": ["ro", "bind"]},
            {"destination": "/run", "type": "tmpfs"},
            {"destination": "/dev", "options": ["remount", "bind"]},
        ],
        "devicePaths": ["/dev/fuse"],
        "linux": {"maskedPaths": ["/proc/kcore", "/proc/acpi", "/proc/gone"]},
    }
    fd = os.open(root, os.O_PATH)
    try:
        found = external.dumped_mounts(kept, fd, False)
    finally:
        os.close(fd)
    place = str(root)
    assert found == [
        {"key": f"{place}/data", "val": f"{place}/data"},
        {"key": f"{place}/run/x", "val": f"{place}/run/x"},
        {"key": f"{place}/dev/null", "val": f"{place}/dev/null"},
        {"key": f"{place}/proc/kcore", "val": "/dev/null"},
    ]


def test_a_restore_has_both_names_of_a_mount_behind_a_link(root: Path) -> None:
    found = external.restored_mounts([("/var/run/x", "/s1"), ("data/../data", "/s2")], [], True, str(root), "/n")
    named = {entry["key"]: entry["val"] for entry in found}
    assert (named["/var/run/x"], named["/run/x"], named["/data"]) == ("/s1", "/s1", "/s2")
    assert (named["/dev/null"], named["/dev/tty"], named["/run/notify"]) == ("/dev/null", "/dev/tty", "/n")
    found = external.restored_mounts([("/run/notify", "/own")], ["/dev/fuse"], False, str(root), "/n")
    named = {entry["key"]: entry["val"] for entry in found}
    assert (named["/run/notify"], named["/dev/fuse"]) == ("/own", "/dev/fuse")


def test_a_link_does_not_lead_out_of_the_container(root: Path) -> None:
    fd = os.open(root, os.O_PATH)
    try:
        assert external.resolve(fd, "/out/passwd") == ""
        assert external.resolve(fd, "/../../var/run") == f"{root}/run"
        assert external.resolve(fd, "/") == str(root)
    finally:
        os.close(fd)


def test_namespaces_that_are_another_s() -> None:
    entries: list[NamespaceEntry] = [
        {"type": "network", "path": "/x"}, {"type": "pid", "path": "/y"}, {"type": "ipc", "path": "/z"},
        {"type": "uts"},
    ]  # fmt: skip
    assert external.dumped_namespaces(entries, os.getpid()) == [
        f"net[{os.stat('/proc/self/ns/net').st_ino}]:extRootNetNS",
        f"pid[{os.stat('/proc/self/ns/pid').st_ino}]:extRootPidNS",
    ]
    assert external.joined_namespaces(entries) == [{"ns": "ipc", "ns_file": "/z"}]
    assert external.joined_namespaces([{"type": "mount", "path": "/m"}]) == [{"ns": "mnt", "ns_file": "/m"}]


@pytest.mark.parametrize("kind", ["cgroup", "time"])
def test_a_namespace_that_criu_can_not_join(kind: Literal["cgroup", "time"]) -> None:
    with pytest.raises(PyruncError, match=f"Do not know how to handle namespace {kind}") as caught:
        external.joined_namespaces([{"type": "uts"}, {"type": kind, "path": "/x"}])
    assert caught.value.pointer == "/linux/namespaces/1"


def test_the_standard_streams(tmp_path: Path) -> None:
    """A file on a mount of the process is not external; a pipe is what it was at the start."""
    with open(tmp_path / "file", "wb") as file, open("/dev/null", "rb") as null:
        process = subprocess.Popen(["sleep", "100"], stdin=null, stdout=file, stderr=subprocess.PIPE)
    try:
        assert process.stderr is not None
        assert external.streams(process.pid, [], []) == ["/dev/null", str(tmp_path / "file"), ""]
        assert external.streams(process.pid, [0, 12, 34], []) == ["/dev/null", "pipe:[12]", "pipe:[34]"]
        # A file on another mount, wherever the process has it now; one on a mount of the process, where it is.
        with open(tmp_path / "file") as file:
            own = native.mount_id(file.fileno())[0]
        assert external.streams(process.pid, [0, 0, 34], [[0x7FFF_FFFF, 0x1A], [own, 26], []]) == [
            "file[7fffffff:1a]", str(tmp_path / "file"), "pipe:[34]",
        ]  # fmt: skip
    finally:
        process.kill()
        process.communicate()


def test_what_a_restore_puts_in_their_place() -> None:
    assert external.inherited(["/dev/null", "pipe:[12]", "file[3c:1a]"]) == [
        {"key": "pipe:[12]", "fd": 1},
        {"key": "file[3c:1a]", "fd": 2},
    ]
    assert external.inherited(["", "", ""]) == []
    assert external.inherited(["pipe:[1]"] * 5) == [{"key": "pipe:[1]", "fd": fd} for fd in range(3)]
