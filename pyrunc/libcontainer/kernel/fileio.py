"""Read and write small files of the kernel's file systems (proc, sys, cgroup) as a whole."""

from __future__ import annotations

import errno
import posix

_CHUNK = 1 << 16


def read_fd(fd: int) -> str:
    """Read `fd` to its end, as text. Bytes that are not UTF-8 become surrogates (surrogateescape).

    Raises OSError.
    """
    parts = []
    while chunk := posix.read(fd, _CHUNK):
        parts.append(chunk)
    return b"".join(parts).decode("utf-8", "surrogateescape")


def write_fd(fd: int, text: str) -> None:
    """Write `text` in a single write, because each write to a control file is a separate request.

    Raises OSError; EIO if the kernel took only a part.
    """
    data = text.encode("utf-8", "surrogateescape")
    if posix.write(fd, data) != len(data):
        raise OSError(errno.EIO, "short write")


def write_whole(fd: int, text: str, path: str) -> None:
    """Write all of `text` to a regular file, of which a nearly full disk takes a part. path: the file's, for the error.

    Raises OSError.
    """
    write_bytes(fd, text.encode("utf-8", "surrogateescape"), path)


def write_bytes(fd: int, data: bytes, path: str) -> None:
    """`write_whole` for bytes. Raises OSError."""
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[posix.write(fd, rest) :]
    except OSError as error:
        error.filename = error.filename or path
        raise


def name_whole(error: OSError, directory: int | None, name: str) -> None:
    """Give an error the path of the file `name` in an open directory, for a message: a call with a descriptor of the
    directory knows only the name. directory: None if `name` is a path."""
    error.filename = name
    error.filename2 = None
    if directory is None:
        return
    try:
        error.filename = f"{posix.readlink(f'/proc/self/fd/{directory}')}/{name}"
    except OSError:
        return  # without /proc the name is what there is


def read_file(path: str) -> str:
    """The content of the file at `path`. Raises OSError."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return read_fd(fd)
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
    """The path of a sysctl under /proc/sys, from either notation of sysctl.d(5).

    If the first separator is a slash, the key is the path. If it is a dot, dots separate the names and a slash stands
    for a dot in a name: `net.ipv4.conf.eth0/100.rp_filter` is net/ipv4/conf/eth0.100/rp_filter.
    """
    dot = key.find(".")
    slash = key.find("/")
    if dot < 0 or 0 <= slash < dot:
        return key
    return key.translate(_SWAP)


_SWAP = {ord("."): "/", ord("/"): "."}
