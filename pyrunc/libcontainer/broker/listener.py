"""A seccomp listener: calls of a container's processes that wait, and the answers to them (seccomp_unotify(2))."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import struct

from .model import Notification

# struct seccomp_notif: id, pid, flags, then struct seccomp_data: nr, arch, instruction_pointer, args[6]
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")
# struct seccomp_notif_resp: id, val, error, flags
_RESPONSE = struct.Struct("=QqiI")
_ID = struct.Struct("=Q")
# linux/seccomp.h: _IOWR('!', 0, struct seccomp_notif) and so on
_RECEIVE, _SEND, _ID_VALID, _SET_FLAGS = 0xC0502100, 0xC0182101, 0x40082102, 0x40082104
_CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE
_SYNC_WAKE_UP = 1  # SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP
_EMPTY = bytes(_NOTIFICATION.size)
# The name of such a descriptor in /proc/PID/fd.
_KIND = "anon_inode:seccomp notify"


def is_listener(fd: int) -> bool:
    """Whether a descriptor is a seccomp listener. Raises OSError."""
    return os.readlink(f"/proc/self/fd/{fd}") == _KIND


def has_ended(fd: int) -> bool:
    """Whether no process has the filter any more. Raises OSError."""
    poll = select.poll()
    poll.register(fd, 0)
    return bool(poll.poll(0))


def prepare(fd: int) -> None:
    """Have a call wake the broker on its own processor, which is faster, where the kernel can (Linux 6.6)."""
    try:
        fcntl.ioctl(fd, _SET_FLAGS, _SYNC_WAKE_UP)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTTY):
            raise


def receive(fd: int) -> Notification | None:
    """The next call that waits; None if its process has ended meanwhile. Waits for one. Raises OSError."""
    buffer = bytearray(_EMPTY)
    try:
        fcntl.ioctl(fd, _RECEIVE, buffer)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    id, tid, _, number, architecture, _, *arguments = _NOTIFICATION.unpack(buffer)
    return Notification(id, tid, number, architecture, tuple(arguments))


def is_waiting(fd: int, id: int) -> bool:
    """Whether a call still waits. Only then is its thread's number still the thread's, and what was read of it is that
    of the call. Raises OSError."""
    try:
        fcntl.ioctl(fd, _ID_VALID, _ID.pack(id))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    return True


def answer(fd: int, id: int, failure: int) -> None:
    """Have a call return 0, or fail with an errno. A process that has ended needs none. Raises OSError."""
    _send(fd, _RESPONSE.pack(id, 0, -failure, 0))


def let_kernel(fd: int, id: int) -> None:
    """Have the kernel carry out a call with the process's own rights. Only for a decision by the registers: the process
    may change what they point to. Raises OSError."""
    _send(fd, _RESPONSE.pack(id, 0, 0, _CONTINUE))


def _send(fd: int, response: bytes) -> None:
    try:
        fcntl.ioctl(fd, _SEND, response)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
