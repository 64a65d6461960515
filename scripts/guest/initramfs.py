"""An initramfs: an archive in cpio's "newc" format (the kernel's driver-api/early-userspace/buffer-format)."""

from __future__ import annotations

import stat
from collections.abc import Mapping

_DIRECTORY = stat.S_IFDIR | 0o755
_PROGRAM = stat.S_IFREG | 0o755


def pack(files: Mapping[str, bytes | None]) -> bytes:
    """The archive of these files, all executable and root's. None stands for a directory, listed before its content."""
    archive = bytearray()
    for number, (name, content) in enumerate(files.items(), 1):
        mode = _DIRECTORY if content is None else _PROGRAM
        archive += _entry(name, mode, number, content or b"")
    return bytes(archive + _entry("TRAILER!!!", 0, 0, b""))


def _entry(name: str, mode: int, inode: int, content: bytes) -> bytes:
    path = name.encode() + b"\0"
    # inode, mode, uid, gid, links, mtime, size, device (major, minor), node (major, minor), length of name, checksum
    numbers = (inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0)
    header = b"070701" + b"".join(b"%08X" % number for number in numbers)
    return _padded(header + path) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
