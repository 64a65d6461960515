"""/proc/PID/mountinfo, parsed."""

from __future__ import annotations

from pathlib import Path

from pyrunc.libcontainer.kernel.constants import (
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW,
    MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_STRICTATIME,
)
from pyrunc.libcontainer.verify import mountinfo

LINE = r"36 35 98:0 /a\040b /mnt\0114 ro,nosuid,noatime shared:7 master:1 - ext3 /dev/a\134b rw,size=1k"


def test_a_line() -> None:
    (entry,) = mountinfo.parse(LINE + "\n")
    assert (entry.id, entry.parent, entry.device) == (36, 35, "98:0")
    assert (entry.root, entry.point) == ("/a b", "/mnt\t4")
    assert entry.attributes == MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOATIME
    assert entry.propagation == {"shared", "master"}
    assert (entry.fstype, entry.source, entry.options) == ("ext3", "/dev/a\\b", ["rw", "size=1k"])


def test_access_times() -> None:
    assert mountinfo.attributes(["rw", "relatime"]) == 0
    assert mountinfo.attributes(["rw"]) == MOUNT_ATTR_STRICTATIME
    assert mountinfo.attributes(["rw", "noatime"]) == MOUNT_ATTR_NOATIME
    assert mountinfo.attributes(["rw", "nodiratime", "relatime"]) == MOUNT_ATTR_NODIRATIME


def test_words() -> None:
    assert mountinfo.words(0) == "rw"
    assert mountinfo.words(MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV) == "ro,nodev"
    assert mountinfo.words(MOUNT_ATTR_STRICTATIME) == "rw,strictatime"
    assert mountinfo.words(MOUNT_ATTR_NOATIME | MOUNT_ATTR_NOSYMFOLLOW) == "rw,noatime,nosymfollow"


def test_the_machine_s_own() -> None:
    entries = mountinfo.parse(Path("/proc/self/mountinfo").read_text())
    assert "/" in [entry.point for entry in entries]
    for entry in entries:
        assert mountinfo.attributes([*mountinfo.words(entry.attributes).split(","), "relatime"]) & 0xF == (
            entry.attributes & 0xF
        )
