"""Run a test's function where /sys/fs/cgroup is a pure cgroup2 hierarchy, as on a current distribution.

The function runs in a child process with a mount namespace of its own, so the host's mounts stay as they are.
"""

from __future__ import annotations

import ctypes
import os
import traceback
from collections.abc import Callable

CLONE_NEWCGROUP = 0x02000000
_CLONE_NEWNS = 0x00020000
_MS_REC = 0x4000
_MS_PRIVATE = 1 << 18
_MNT_DETACH = 2
_MOUNT_POINT = "/sys/fs/cgroup"

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def enter(besides: int = 0) -> None:
    """Give the calling process a mount namespace with nothing but cgroup2 at /sys/fs/cgroup, and other new namespaces
    besides it, as flags of unshare(2). Needs CAP_SYS_ADMIN."""
    _check(_libc.unshare(_CLONE_NEWNS | besides), "unshare")
    # Nothing that follows may reach the host's namespace.
    _check(_libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None), "making / private")
    with open("/proc/self/mountinfo") as table:
        points = [line.split(" ")[4] for line in table]
    below = [point for point in points if point == _MOUNT_POINT or point.startswith(_MOUNT_POINT + "/")]
    for point in sorted(below, reverse=True):
        _check(_libc.umount2(point.encode(), _MNT_DETACH), f"unmounting {point}")
    _check(_libc.mount(b"cgroup2", _MOUNT_POINT.encode(), b"cgroup2", 0, None), "mounting cgroup2")


def run(function: Callable[[], None]) -> None:
    """Call `function` there, in a child process; AssertionError with the child's traceback where it fails."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reader)
            enter()
            function()
            status = 0
        except BaseException:
            os.write(writer, traceback.format_exc()[-60000:].encode())
        finally:
            os._exit(status)
    os.close(writer)
    with open(reader, encoding="utf-8", errors="replace") as pipe:
        report = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"in the pure cgroup2 namespace, wait status {status}:\n{report}"
