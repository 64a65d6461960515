"""What a control file holds before a write, as the text that writes it back.

Most files hold one value. Some hold a line for each device or name, of which a write changes one: io.max, io.weight,
io.bfq.weight, io.latency, rdma.max, misc.max. Facts: the kernel's Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import posix

from ..kernel.fileio import read_fd

# What a line says of a device or name that has no line, since it has no limit.
_NO_LINE = {
    "io.max": "rbps=max wbps=max riops=max wiops=max",
    "io.weight": "default",
    "io.bfq.weight": "default",
    "io.latency": "target=0",
    "rdma.max": "hca_handle=max hca_object=max",
    "misc.max": "max",
}
_DEFAULT = "default"
# Bytes that no file needs: a write of nothing is no write, and clears nothing.
_EMPTY = "\n"


def previous(cgroup_fd: int, file: str, value: str) -> str | None:
    """The text that makes a write of `value` to a control file undone; None where the file is not there, or can't be
    read, as those that only take writes (memory.reclaim).

    cgroup_fd: the cgroup's directory. Raises OSError.
    """
    try:
        fd = posix.open(file, posix.O_RDONLY | posix.O_CLOEXEC, dir_fd=cgroup_fd)
    except (FileNotFoundError, PermissionError):
        return None
    try:
        text = read_fd(fd)
    finally:
        posix.close(fd)
    return undoing(file, text, value)


def undoing(file: str, text: str, value: str) -> str:
    """The text that brings a file from having been written `value` back to holding `text`."""
    if file not in _NO_LINE:
        return text.strip() or _EMPTY
    key, _, rest = value.strip().partition(" ")
    if not rest:
        key = _DEFAULT  # `io.weight` takes a bare number for its default
    for line in text.split("\n"):
        if line.partition(" ")[0] == key:
            return line
    return f"{key} {_NO_LINE[file]}"
