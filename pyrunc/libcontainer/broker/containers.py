"""A container whose calls the broker gets: its identity, and the checks of its threads."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..kernel import userns
from ..kernel.constants import CAPABILITIES
from . import acting
from .model import Refusal

if TYPE_CHECKING:
    from .caller import Caller, Credentials
    from .config import Policy
    from .memory import Limits


OPEN_ROOT = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True)
class Container:
    """id: the container's. pid: the process that its filter was first on. user_namespace: of `user_namespace`.
    is_of_host: it is the broker's own. root: of `root_directory`. proc: /proc of the broker, a descriptor. limits: of
    its cgroup. ahead: by how many seconds its uptime is ahead of the broker's."""

    id: str
    pid: int
    policy: Policy
    user_namespace: tuple[int, int]
    is_of_host: bool
    root: int
    proc: int
    limits: Limits
    ahead: int = 0

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

    def place(self, caller: Caller, dirfd: int, path: str) -> acting.Place:
        """The place of a path of the caller's. dirfd: as in openat(2). Raises Refusal (EPERM) for a container without a
        mount namespace."""
        if self.root < 0:
            raise Refusal(errno.EPERM, f"the path {path}, in a container without a mount namespace")
        return acting.place(caller, dirfd, path)

    def over_files(self, credentials: Credentials) -> int:
        """The capabilities over files that a process of the broker may take for a thread: those of a container's user
        namespace count only there."""
        return credentials.capabilities & acting.OVER_FILES if self.is_of_host else 0


def _names(capability: int) -> str:
    return " and ".join([name for bit, name in enumerate(CAPABILITIES) if capability >> bit & 1])


def namespace(pid: int | str, name: str) -> tuple[int, int]:
    """A namespace of a process: device and inode. Raises OSError."""
    st = os.stat(f"/proc/{pid}/ns/{name}")
    return st.st_dev, st.st_ino


def user_namespace(pid: int) -> tuple[int, int]:
    """The user namespace of the container that a process is in: the one that owns its pid namespace, as device and
    inode. A process may leave its user namespace for a further one at its first instruction, before it is looked at,
    but never its pid namespace (pid_namespaces(7)). Raises OSError."""
    fd = userns.owner(f"/proc/{pid}/ns/pid")
    try:
        st = os.fstat(fd)
    finally:
        os.close(fd)
    return st.st_dev, st.st_ino


def root_directory(pid: int) -> int:
    """A descriptor of the directory from which the paths of a container are named; -1 for a container without a mount
    namespace. Raises OSError.

    It is the broker's own root: a path that is not beneath a process's root is named from the root of its mount
    namespace (d_path() of the kernel). The process's root is none to rely on, since it may have made another one at its
    first instruction (chroot(2)), and without a mount namespace nothing tells the container's paths from the host's.
    """
    if namespace(pid, "mnt") == namespace("self", "mnt"):
        return -1
    return os.open("/", OPEN_ROOT)
