"""The init's user namespace: the runtime writes its id maps and its setgroups file (user_namespaces(7))."""

from __future__ import annotations

import _signal
import errno
import posix

from ...errors import PyruncError
from . import native, procfs
from .fileio import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_POINTERS = {"uid_map": "/linux/uidMappings", "gid_map": "/linux/gidMappings"}
_CAPABILITIES = {"uid_map": "CAP_SETUID", "gid_map": "CAP_SETGID"}
# ioctl_ns(2): the user namespace that owns a namespace
_NS_GET_USERNS = 0xB701


NO_TOOL = (
    "; newuidmap and newgidmap can map more, and are not in PATH (package uidmap of Debian, shadow-utils of Fedora)"
)


def owner(path: str) -> int:
    """A descriptor of the user namespace that owns the namespace at a path. Raises OSError. ioctl_ns(2)."""
    import fcntl

    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return fcntl.ioctl(fd, _NS_GET_USERNS)
    finally:
        posix.close(fd)


def write_map(pid: int, file: str, lines: Sequence[str]) -> None:
    """Write a map, all lines at once, because the kernel accepts only one write.

    pid: the init, as the runtime's PID namespace numbers it. file: `uid_map` or `gid_map`.
    lines: `CONTAINER_ID HOST_ID SIZE` each. Raises PyruncError with the pointer of the mappings.
    """
    try:
        procfs.write(pid, file, "".join([line + "\n" for line in lines]))
    except OSError as error:
        raise PyruncError(
            f"writing /proc/{pid}/{file}", pointer=_POINTERS[file], errno=error.errno or 0, hint=_hint(file, error)
        ) from error


def _hint(file: str, error: OSError) -> str:
    if error.errno == errno.EPERM:
        hint = f"without {_CAPABILITIES[file]} only one id, the caller's own, can be mapped"
        # If the tools were there, the plan would have an alternative, with its own error.
        return hint + NO_TOOL if posix.geteuid() else hint
    if error.errno == errno.EINVAL:
        return "the ranges must not overlap, and host ids must be mapped in the runtime's own user namespace"
    return ""


def write_setgroups(pid: int, value: str) -> None:
    """Set whether the namespace's processes may call setgroups, before the gid map is written.

    value: `allow` or `deny`. A process that drops a group may gain access that the group is denied, so an unprivileged
    map of a single gid needs `deny` (CVE-2014-8989). Raises PyruncError.
    """
    try:
        procfs.write(pid, "setgroups", value)
    except OSError as error:
        raise PyruncError(
            f"writing {value} to /proc/{pid}/setgroups", pointer="/linux/gidMappings", errno=error.errno or 0
        ) from error


def check(namespace: int, uids: Sequence[str], gids: Sequence[str]) -> None:
    """Check that a user namespace has these maps, in any order.

    uids, gids: `CONTAINER_ID HOST_ID SIZE` each, with host ids of the runtime's user namespace; an empty list is not
    checked. Raises PyruncError with the pointer of mappings that differ, OSError if the namespace can't be entered.
    """
    pid = native.fork_user_namespace(namespace)
    try:
        for file, lines in (("uid_map", uids), ("gid_map", gids)):
            real = [" ".join(line.split()) for line in read_file(f"/proc/{pid}/{file}").splitlines()]
            if lines and sorted(real) != sorted(lines):
                # Wording of runc.
                raise PyruncError(
                    "user namespaces enabled, but both namespace path and non-matching mapping specified "
                    "-- you may only provide one",
                    pointer=_POINTERS[file],
                    hint="the namespace has " + ", ".join(real),
                )
    finally:
        posix.kill(pid, _signal.SIGKILL)
        posix.waitpid(pid, 0)


def make(uids: Sequence[str], gids: Sequence[str]) -> int:
    """A descriptor of a new user namespace with these maps and no process: an id map for mounts (mount_setattr(2)).

    uids, gids: `CONTAINER_ID HOST_ID SIZE` each. Raises PyruncError or OSError.
    """
    pid = native.fork_user_namespace()
    try:
        for file, lines in (("uid_map", uids), ("gid_map", gids)):
            try:
                procfs.write(pid, file, "".join([line + "\n" for line in lines]))
            except OSError as error:
                raise PyruncError(
                    f"writing the {file} of an id-mapped mount", errno=error.errno or 0, hint=_hint(file, error)
                ) from error
        return posix.open(f"/proc/{pid}/ns/user", posix.O_RDONLY | posix.O_CLOEXEC)
    finally:
        posix.kill(pid, _signal.SIGKILL)
        posix.waitpid(pid, 0)
