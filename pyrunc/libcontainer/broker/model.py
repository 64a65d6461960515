"""The types that the modules of the broker share: a notification, and a refusal."""

from __future__ import annotations

import os
from dataclasses import dataclass


class Refusal(Exception):
    """A call that the broker does not carry out. errno: what the process gets. reason: for the broker's log."""

    def __init__(self, errno: int, reason: str) -> None:
        super().__init__(f"{reason}: {os.strerror(errno)}")
        self.errno = errno
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Notification:
    """A call that waits for the broker (struct seccomp_notif). tid: the thread, in the broker's pid namespace.

    The arguments are the registers, which the process can't change any more; it can change the memory that they point
    to.
    """

    id: int
    tid: int
    number: int
    architecture: int
    arguments: tuple[int, ...]

    def signed(self, index: int) -> int:
        """An argument that is an int in C."""
        value = self.arguments[index] & 0xFFFFFFFF
        return value - (1 << 32) if value >> 31 else value
