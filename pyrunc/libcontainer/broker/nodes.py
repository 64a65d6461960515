"""mknod(2) and mknodat(2) of harmless devices, for a thread of a container."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from ..kernel import brokering
from . import acting
from .acting import bits
from .caller import PATH_MAX
from .model import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from .caller import Caller, Credentials
    from .config import Mknod
    from .containers import Container

_DAC_OVERRIDE = bits("CAP_DAC_OVERRIDE")


def is_for_kernel(mode: int) -> bool:
    """Whether a node is no device: the kernel makes it without a capability. mode: a register."""
    return stat.S_IFMT(mode) in (0, stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK)


def mknod(
    caller: Caller, container: Container, policy: Mknod, dirfd: int, address: int, mode: int, device: int
) -> Callable[[], None]:
    """The job of making a device. address: the path's. Raises Refusal."""
    numbers = (os.major(device), os.minor(device))
    if not stat.S_ISCHR(mode) or numbers not in policy.devices:
        kind = "b" if stat.S_ISBLK(mode) else "c" if stat.S_ISCHR(mode) else "?"
        raise Refusal(errno.EPERM, f"the device {kind} {numbers[0]}:{numbers[1]}")
    credentials = container.require(caller, policy.capability)
    path = caller.text(address, PATH_MAX)
    where = container.place(caller, dirfd, path)
    maps = None if container.is_of_host else caller.maps()

    def make() -> None:
        where.enter()
        acting.become(credentials, bits("CAP_MKNOD") | container.over_files(credentials))
        parent, name = acting.open_parent(path)
        if maps is not None and _is_over(credentials, parent, maps):
            brokering.set_effective(bits("CAP_MKNOD", "CAP_DAC_OVERRIDE"))
        os.mknod(name, mode, device, dir_fd=parent)

    return make


def _is_over(credentials: Credentials, parent: int, maps: tuple[list[tuple[int, int]], list[tuple[int, int]]]) -> bool:
    """Whether a thread of a user namespace may write to a directory whoever owns it: it has CAP_DAC_OVERRIDE, and the
    namespace has the directory's owner and group (user_namespaces(7))."""
    if not credentials.capabilities & _DAC_OVERRIDE:
        return False
    st = os.fstat(parent)
    found = zip((st.st_uid, st.st_gid), maps, strict=True)
    return all([any([first <= id < first + count for first, count in ranges]) for id, ranges in found])
