"""The mounts of a container without a mount namespace of its own, which are made in the runtime's.

They are below a bind mount of the rootfs on itself, and are unmounted with it.
"""

from __future__ import annotations

import posix

from . import native
from .fileio import read_file
from .mountinfo import escape


def resolved(path: str) -> str:
    """The path without symlinks, as mountinfo has it. Raises OSError."""
    fd = posix.open(path, posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
    try:
        return posix.readlink(f"/proc/self/fd/{fd}")
    finally:
        posix.close(fd)


def count(path: str) -> int:
    """How many mounts are stacked on a resolved path. Raises OSError."""
    escaped = escape(path)
    lines = read_file("/proc/self/mountinfo").split("\n")
    return sum([line.split(" ", 5)[4] == escaped for line in lines if line])


def most() -> int:
    """How many mounts a mount namespace may have (fs.mount-max, proc_sys_fs(5)); 0 if that is unknown."""
    try:
        return int(read_file("/proc/sys/fs/mount-max"))
    except (OSError, ValueError):
        return 0


def remove(path: str, before: int) -> None:
    """Unmount the mounts on a resolved path until `before` of them are left. Raises OSError."""
    for _ in range(count(path) - before):
        native.detach_tree(path)
