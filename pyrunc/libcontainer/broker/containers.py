"""A container whose calls the broker gets: who it is, and what a thread of it must have."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..kernel.constants import CAPABILITIES
from .acting import OVER_FILES
from .model import Refusal

if TYPE_CHECKING:
    from .caller import Caller, Credentials
    from .config import Policy
    from .memory import Limits


@dataclass(frozen=True)
class Container:
    """id: the container's. pid: the process that its filter was first on. user_namespace: that process's, as device and
    inode. is_of_host: it is the broker's own. root: that process's root directory, a descriptor. proc: /proc of the
    broker, a descriptor. limits: of its cgroup."""

    id: str
    pid: int
    policy: Policy
    user_namespace: tuple[int, int]
    is_of_host: bool
    root: int
    proc: int
    limits: Limits

    def credentials(self, caller: Caller) -> Credentials:
        """The caller's credentials. Raises Refusal (EPERM) if the caller is in a user namespace that the container has
        made: there it has every capability."""
        if caller.user_namespace() != self.user_namespace:
            raise Refusal(errno.EPERM, "a process in a further user namespace")
        credentials = caller.credentials()
        caller.check()
        return credentials

    def require(self, caller: Caller, capability: int, failure: int = errno.EPERM) -> Credentials:
        """The caller's credentials. Raises Refusal, with the errno `failure` if the caller does not have the
        capability."""
        credentials = self.credentials(caller)
        if credentials.capabilities & capability != capability:
            raise Refusal(failure, f"a process without {_names(capability)}")
        return credentials

    def over_files(self, credentials: Credentials) -> int:
        """The capabilities over files that a process of the broker may take for a thread: those of a container's user
        namespace count only there."""
        return credentials.capabilities & OVER_FILES if self.is_of_host else 0


def _names(capability: int) -> str:
    return " and ".join([name for bit, name in enumerate(CAPABILITIES) if capability >> bit & 1])


def namespace(pid: int | str, name: str) -> tuple[int, int]:
    """A namespace of a process: device and inode. Raises OSError."""
    st = os.stat(f"/proc/{pid}/ns/{name}")
    return st.st_dev, st.st_ino
