"""Which module carries out which system call, by its number. The arguments are as on x86-64 and arm64."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..kernel import brokering, native
from ..seccomp import compiler
from . import memory, mounts, nodes, sockets
from .model import Refusal

if TYPE_CHECKING:
    from .caller import Caller
    from .config import Policy
    from .containers import Container

# The system calls of each call of a policy.
NAMES = {
    "mknod": ("mknod", "mknodat"), "mount": ("mount",), "sysinfo": ("sysinfo",), "connect": ("connect",),
    "bind": ("bind",),
}  # fmt: skip
Job = Callable[[], None]


class LetKernelError(Exception):
    """The kernel is to carry out a call, by what the registers say alone."""


def numbers() -> dict[int, str]:
    """The number of each system call on this machine, with its name. arm64 has no mknod."""
    token = compiler.architecture("")
    found = {compiler.find_number(name, token): name for names in NAMES.values() for name in names}
    return {number: name for number, name in found.items() if number >= 0}


def carry_out(name: str, caller: Caller, container: Container) -> Job | None:
    """Carry out a call: None if it is done, otherwise the job that a worker is to carry out.

    Raises Refusal, OSError as the kernel's, LetKernelError.
    """
    policy = container.policy
    arguments = caller.notification.arguments
    if name in ("mknod", "mknodat"):
        return _mknod(name, caller, container, policy)
    if name == "mount" and policy.mount:
        return mounts.mount(caller, container, policy.mount)
    if name == "sysinfo" and policy.sysinfo:
        limits = container.limits
        data = memory.sysinfo(brokering.sysinfo(), limits.memory(), limits.swap(), limits.processes(), container.ahead)
        caller.write(arguments[0], data)
        return None
    if name in ("connect", "bind"):
        allowed = policy.connect if name == "connect" else policy.bind
        if allowed:
            act = sockets.connect if name == "connect" else sockets.bind
            notification = caller.notification
            return act(caller, container, allowed, notification.signed(0), arguments[1], notification.signed(2))
    raise Refusal(errno.EPERM, f"{name}, which policy {policy.name} does not have")


def _mknod(name: str, caller: Caller, container: Container, policy: Policy) -> Job | None:
    arguments = caller.notification.arguments
    dirfd = native.AT_FDCWD
    if name == "mknodat":
        dirfd, arguments = caller.notification.signed(0), arguments[1:]
    mode, device = arguments[1] & 0xFFFF, arguments[2] & 0xFFFFFFFF
    if nodes.is_for_kernel(mode):
        raise LetKernelError
    if not policy.mknod:
        raise Refusal(errno.EPERM, f"{name}, which policy {policy.name} does not have")
    return nodes.mknod(caller, container, policy.mknod, dirfd, arguments[0], mode, device)
