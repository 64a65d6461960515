"""Writes to a process's files in /proc that can't be redirected to another file.

The files are opened beneath a descriptor of the root of a real procfs, without symbolic links and without crossing
mounts (CVE-2019-16884, CVE-2019-19921, CVE-2025-52881).
"""

from __future__ import annotations

import errno
import posix

from . import native
from .fileio import write_fd

# The inode number of a procfs root (proc(5), PROC_ROOT_INO in the kernel's sources).
_ROOT_INODE = 1

_RESOLVE = native.RESOLVE_BENEATH | native.RESOLVE_NO_XDEV | native.RESOLVE_NO_SYMLINKS | native.RESOLVE_NO_MAGICLINKS


def open_root(path: str = "/proc") -> int:
    """A descriptor of procfs's root directory. Raises OSError; EXDEV if something else is mounted at `path`."""
    fd = posix.open(path, posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
    try:
        if native.fs_magic(fd) != native.PROC_SUPER_MAGIC or posix.fstat(fd).st_ino != _ROOT_INODE:
            raise OSError(errno.EXDEV, "not procfs", path)
    except OSError:
        posix.close(fd)
        raise
    return fd


def write(pid: int, name: str, text: str) -> None:
    """Write `text` in a single write to /proc/`pid`/`name`. Raises OSError."""
    root = open_root()
    try:
        fd = native.openat2(root, f"{pid}/{name}", posix.O_WRONLY | posix.O_CLOEXEC, 0, _RESOLVE)
    finally:
        posix.close(root)
    try:
        write_fd(fd, text)
    finally:
        posix.close(fd)
