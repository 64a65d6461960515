"""Whole small files of the kernel's file systems (proc, sys, cgroup), read and written in one go."""

from __future__ import annotations

import errno
import posix

_CHUNK = 1 << 16
_RECORD = 1 << 12


def read_fd(fd: int) -> str:
    """All that is left to read from `fd`, as text; bytes that are not UTF-8 are kept by surrogateescape.

    Raises OSError.
    """
    parts = []
    while chunk := posix.read(fd, _CHUNK):
        parts.append(chunk)
    return b"".join(parts).decode("utf-8", "surrogateescape")


def write_fd(fd: int, text: str) -> None:
    """Write `text` in a single write, as control files demand: each write is a request of its own.

    Raises OSError; EIO where the kernel took only a part.
    """
    data = text.encode("utf-8", "surrogateescape")
    if posix.write(fd, data) != len(data):
        raise OSError(errno.EIO, "short write")


def read_file(path: str) -> str:
    """The content of the file at `path`. Raises OSError."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return read_fd(fd)
    finally:
        posix.close(fd)


def read_record(path: str, flags: int = 0) -> str:
    """The content of a file of less than 4 KiB that the kernel makes in one piece, so that one read gives all of it:
    /proc/PID/stat, cgroup.events. flags: further ones of open(2). Raises OSError."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | flags)
    try:
        return posix.read(fd, _RECORD).decode("utf-8", "surrogateescape")
    finally:
        posix.close(fd)


def write_file(path: str, text: str) -> None:
    """Write `text` to the existing file at `path` in a single write. Raises OSError."""
    fd = posix.open(path, posix.O_WRONLY | posix.O_CLOEXEC)
    try:
        write_fd(fd, text)
    finally:
        posix.close(fd)


def sysctl_path(key: str) -> str:
    """The path under /proc/sys of a sysctl: sysctl.d(5)'s two notations.

    Where the first separator is a slash, the key is the path. Where it is a dot, dots part the names and a slash
    stands for a dot in a name: `net.ipv4.conf.eth0/100.rp_filter` is net/ipv4/conf/eth0.100/rp_filter.
    """
    dot = key.find(".")
    slash = key.find("/")
    if dot < 0 or 0 <= slash < dot:
        return key
    return key.translate(_SWAP)


_SWAP = {ord("."): "/", ord("/"): "."}
