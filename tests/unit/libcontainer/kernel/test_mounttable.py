"""/proc/PID/mountinfo, parsed."""

from __future__ import annotations

from pathlib import Path

from pyrunc.libcontainer.kernel import mounttable
from pyrunc.libcontainer.kernel.constants import (
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW,
    MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_STRICTATIME,
)

LINE = r"36 35 98:0 /a\040b /mnt\0114 ro,nosuid,noatime shared:7 master:1 - ext3 /dev/a\134b rw,size=1k"


def test_a_line() -> None:
    (entry,) = mounttable.parse(LINE + "\n")
    assert (entry.id, entry.parent, entry.device) == (36, 35, "98:0")
    assert (entry.root, entry.point) == ("/a b", "/mnt\t4")
    assert entry.attributes == MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOATIME
    assert entry.propagation == {"shared", "master"}
    assert (entry.fstype, entry.source, entry.options) == ("ext3", "/dev/a\\b", ["rw", "size=1k"])


def test_access_times() -> None:
    assert mounttable.attributes(["rw", "relatime"]) == 0
    assert mounttable.attributes(["rw"]) == MOUNT_ATTR_STRICTATIME
    assert mounttable.attributes(["rw", "noatime"]) == MOUNT_ATTR_NOATIME
    assert mounttable.attributes(["rw", "nodiratime", "relatime"]) == MOUNT_ATTR_NODIRATIME


def test_words() -> None:
    assert mounttable.words(0) == "rw"
    assert mounttable.words(MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV) == "ro,nodev"
    assert mounttable.words(MOUNT_ATTR_STRICTATIME) == "rw,strictatime"
    assert mounttable.words(MOUNT_ATTR_NOATIME | MOUNT_ATTR_NOSYMFOLLOW) == "rw,noatime,nosymfollow"


def test_the_machine_s_own() -> None:
    entries = mounttable.parse(Path("/proc/self/mountinfo").read_text())
    assert "/" in [entry.point for entry in entries]
    for entry in entries:
        assert mounttable.attributes([*mounttable.words(entry.attributes).split(","), "relatime"]) & 0xF == (
            entry.attributes & 0xF
        )
