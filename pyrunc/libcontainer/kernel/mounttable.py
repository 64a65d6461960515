"""/proc/PID/mountinfo, parsed (proc_pid_mountinfo(5))."""

from __future__ import annotations

from .constants import (
    MOUNT_ATTR_ATIME,
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW,
    MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_STRICTATIME,
)
from .mountinfo import unescape

# The options for flags of a mount, in the kernel's order.
WORDS = (
    ("ro", MOUNT_ATTR_RDONLY),
    ("nosuid", MOUNT_ATTR_NOSUID),
    ("nodev", MOUNT_ATTR_NODEV),
    ("noexec", MOUNT_ATTR_NOEXEC),
    ("noatime", MOUNT_ATTR_NOATIME),
    ("nodiratime", MOUNT_ATTR_NODIRATIME),
    ("nosymfollow", MOUNT_ATTR_NOSYMFOLLOW),
)


class Entry:
    """One mount.

    id, parent: ids of mounts. device: `MAJOR:MINOR`. root: the mounted path of the file system. point: the mount point,
    from the reader's root. attributes: MOUNT_ATTR_*. propagation: those of `shared`, `master` and `unbindable` that it
    has. fstype, source, options (of the file system, a list).
    """

    __slots__ = (
        "attributes", "device", "fstype", "id", "options", "parent", "point", "propagation", "root", "source",
    )  # fmt: skip

    def __init__(self, line: str) -> None:
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        self.id, self.parent = int(fields[0]), int(fields[1])
        self.device = fields[2]
        self.root, self.point = unescape(fields[3]), unescape(fields[4])
        self.attributes = attributes(fields[5].split(","))
        self.propagation = frozenset(word.partition(":")[0] for word in fields[6:])
        fstype, source, options = right.split(" ", 2)
        self.fstype, self.source = unescape(fstype), unescape(source)
        self.options = [unescape(word) for word in options.split(",")]


def parse(text: str) -> list[Entry]:
    """The mounts of a mountinfo, in its order: the last one at a mount point is the topmost."""
    return [Entry(line) for line in text.splitlines() if " - " in line]


def attributes(words: list[str]) -> int:
    """MOUNT_ATTR_* of a mount's options in mountinfo. Without an option for access times it is strictatime."""
    bits = sum(bit for word, bit in WORDS if word in words)
    if not {"noatime", "relatime"} & set(words):
        bits |= MOUNT_ATTR_STRICTATIME
    return bits


def words(bits: int) -> str:
    """MOUNT_ATTR_* as options; `rw` if it is not read-only."""
    found = [word for word, bit in WORDS if bits & bit]
    if not bits & MOUNT_ATTR_RDONLY:
        found.insert(0, "rw")
    if bits & MOUNT_ATTR_ATIME == MOUNT_ATTR_STRICTATIME:
        found.append("strictatime")
    return ",".join(found)
