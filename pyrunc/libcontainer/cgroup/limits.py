"""The container's limits: the control files of its cgroup, by the cgroup's descriptor.

resources.py decides what is written. The kernel's Documentation/admin-guide/cgroup-v2.rst has the meaning.
"""

from __future__ import annotations

import posix

from ...errors import PyruncError
from ..kernel.fileio import read_fd, write_fd

# Most files hold one value. These hold a line for each device or name, of which a write changes one. The value is what
# a line says of a device or name without a limit.
_NO_LINE = {
    "io.max": "rbps=max wbps=max riops=max wiops=max",
    "io.weight": "default",
    "io.bfq.weight": "default",
    "io.latency": "target=0",
    "rdma.max": "hca_handle=max hca_object=max",
    "misc.max": "max",
}
_DEFAULT = "default"
# Clears a file. A write of zero bytes would not reach the file.
_EMPTY = "\n"


def write(cgroup_fd: int, file: str, value: str, optional: bool = False) -> None:
    """Write a control file in a single write. Raises OSError, except for a missing optional file."""
    try:
        fd = posix.open(file, posix.O_WRONLY | posix.O_CLOEXEC, dir_fd=cgroup_fd)
    except FileNotFoundError:
        if optional:
            return
        raise
    try:
        write_fd(fd, value)
    finally:
        posix.close(fd)


def check_memory(cgroup_fd: int, limit: int, swap: int) -> None:
    """Refuse limits at or below the memory in use, as cgroup v1 does. v2 would kill processes instead.

    limit, swap: bytes of memory and of memory+swap; 0 and -1 mean none. A cgroup without memory.current is not checked.
        Raises PyruncError in runc's words, OSError. config-linux.md, checkBeforeUpdate.
    """
    try:
        fd = posix.open("memory.current", posix.O_RDONLY | posix.O_CLOEXEC, dir_fd=cgroup_fd)
    except FileNotFoundError:
        return
    try:
        usage = int(read_fd(fd))
    finally:
        posix.close(fd)
    for name, field, value in (("memory+swap", "swap", swap), ("memory", "limit", limit)):
        if 0 < value <= usage:
            raise PyruncError(
                f"rejecting {name} limit {value} <= usage {usage}",
                pointer="/linux/resources/memory/" + field,
                hint="memory.checkBeforeUpdate asks for this",
            )


def previous(cgroup_fd: int, file: str, value: str) -> str | None:
    """The text that undoes a write of `value` to a control file; None if the file does not exist or can't be read, such
    as memory.reclaim.

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
    """The text that restores `text` in a control file after a write of `value`."""
    if file not in _NO_LINE:
        return text.strip() or _EMPTY
    key, _, rest = value.strip().partition(" ")
    if not rest:
        key = _DEFAULT  # `io.weight` accepts a bare number for its default
    for line in text.split("\n"):
        if line.partition(" ")[0] == key:
            return line
    return f"{key} {_NO_LINE[file]}"
