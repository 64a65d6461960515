"""System calls that only the broker needs: typed wrappers of csrc/native/brokering.c. Cold.

Every function raises OSError(errno, text) on failure. New descriptors are close-on-exec and belong to the caller.
"""

from __future__ import annotations

import os

from ..._core import ffi as _ffi
from ..._core import lib as _lib
from .native import fs_bytes

# A structure sysinfo of machines with 64 bits.
SYSINFO_BYTES = 112


def _check(value: int) -> int:
    if value < 0:
        raise OSError(-value, os.strerror(-value))
    return value


def read_process(pid: int, address: int, size: int) -> bytes:
    """Up to `size` bytes, 8 KiB at most, of a process's memory: fewer if the memory after them is not readable.

    Raises OSError: EFAULT if none is. process_vm_readv(2).
    """
    data = _ffi.new("char[]", size)
    count = _check(_lib.pyrunc_read_process(pid, address, data, size))
    return bytes(_ffi.buffer(data, count))


def connect(fd: int, address: bytes) -> None:
    """Connect a socket to an address as the kernel has it (struct sockaddr). connect(2)."""
    _check(_lib.pyrunc_connect_to(fd, address, len(address)))


def bind(fd: int, address: bytes) -> None:
    """Bind a socket to an address as the kernel has it (struct sockaddr). bind(2)."""
    _check(_lib.pyrunc_bind_to(fd, address, len(address)))


def keep_capabilities() -> None:
    """Keep the permitted capabilities through a change of the user. prctl(2)."""
    _check(_lib.pyrunc_keep_capabilities())


def protect_worker() -> None:
    """Be no target of ptrace(2), and end with the parent. A change of the user or the user namespace undoes it.
    prctl(2)."""
    _check(_lib.pyrunc_protect_worker())


def set_effective(mask: int) -> None:
    """Have those permitted capabilities effective that the mask has, and no others. capset(2)."""
    _check(_lib.pyrunc_set_effective(mask))


def sysinfo() -> bytes:
    """The host's struct sysinfo. sysinfo(2)."""
    data = _ffi.new("char[]", SYSINFO_BYTES)
    _check(_lib.pyrunc_sysinfo(data, SYSINFO_BYTES))
    return bytes(_ffi.buffer(data, SYSINFO_BYTES))


def fsopen(type: str) -> int:
    """A context for a new file system. fsopen(2)."""
    return _check(_lib.pyrunc_fsopen(type.encode()))


def fs_set(fd: int, key: str, value: str) -> None:
    """Set an option of a new file system. fsconfig(2), FSCONFIG_SET_STRING."""
    _check(_lib.pyrunc_fs_set(fd, key.encode(), fs_bytes(value)))


def fs_set_flag(fd: int, key: str) -> None:
    """Set an option without a value. fsconfig(2), FSCONFIG_SET_FLAG."""
    _check(_lib.pyrunc_fs_set_flag(fd, key.encode()))


def fs_create(fd: int) -> None:
    """Make the file system. fsconfig(2), FSCONFIG_CMD_CREATE."""
    _check(_lib.pyrunc_fs_create(fd))


def fsmount(fd: int, attributes: int) -> int:
    """A descriptor of a detached mount of the file system. attributes: MOUNT_ATTR_*. fsmount(2)."""
    return _check(_lib.pyrunc_fsmount(fd, attributes))
