"""The claim on a cgroup, its attributes, and the removal of cgroups that no container uses.

A create claims its cgroup before the init is cloned into it, and a delete claims it before it is removed.
"""

from __future__ import annotations

import errno
import posix
import time

from ... import log
from ...errors import PyruncError, errno_text
from ..kernel import native
from . import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# How long a create waits for another command's claim on a cgroup without processes.
CLAIM_SECONDS = 2.0
# The attribute of a cgroup that names the state directory of its container.
MARK = "user.pyrunc.container"
# The hierarchy's root on every host: it has no such attribute.
_ROOTS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
_LINKS_OF_LEAF = 2
# Of such a cgroup: it has no attribute, is in use, is claimed, or belongs to another user.
_NOT_OURS = (errno.ENODATA, errno.EOPNOTSUPP, errno.EBUSY, errno.EAGAIN, errno.EACCES, errno.EPERM)
# Another user's cgroup, or a read-only cgroup file system: the caller's next step tells.
_MAY_NOT = (errno.EACCES, errno.EPERM, errno.EROFS)
_OPEN_KILL = posix.O_WRONLY | posix.O_NONBLOCK | posix.O_CLOEXEC


def take(
    path: str, place: str, record: Callable[[str], None], withdraw: Callable[[str], None] | None = None
) -> tuple[bool, int, int]:
    """Make the cgroup at `path`, or find it unused, and claim it for the new container with the state directory
    `place`.

    A cgroup has no processes until the init is cloned into it, so without a claim two creates would both find it empty.
    The claim is a lock on its cgroup.kill, which only its owner can open: any user could lock the directory. It lasts
    until the descriptor is closed, or this process ends.

    The attribute MARK of the cgroup is set under the claim. If a cgroup made here has it already, another command has
    had the claim between the mkdir and now.

    record, withdraw: as for `create`. The effect is also withdrawn, and the cgroup abandoned, if another command has
    had the new cgroup first.
    Returns whether it was made, the descriptor of its directory, and that of the claim, -1 if there is nothing to lock:
    in the hierarchy's root, and in another user's cgroup. Raises the errors of `create`, PyruncError if another command
    has the claim, and OSError.
    """
    for _ in range(files.CREATE_ATTEMPTS):
        made = files.create(path, record, withdraw)
        fd = claim = -1
        try:
            fd = files.open_directory(path)
            claim = _claim(fd, path)
            if _is_at(fd, path):
                if made and _mark(fd, place, posix.XATTR_CREATE):
                    return True, fd, claim
                # Another container may have been created in it just before, also in a cgroup made here: the claim was
                # free again.
                files.refuse_in_use(path)
                _mark(fd, place, 0)
                return made, fd, claim
        except FileNotFoundError:
            pass  # removed in between, as below
        except (BlockingIOError, PyruncError) as error:
            _close(fd, claim)
            if made:
                # It is as if it had been there. The next attempt is refused, unless the other one has failed.
                if withdraw is not None:
                    withdraw(path)
                abandon(path)
                continue
            if isinstance(error, PyruncError):
                raise
            raise PyruncError(
                "container's cgroup is not empty: another container is being created in it",
                step="cgroup_create",
                pointer="/linux/cgroupsPath",
                hint=f"{path} is in use",
            ) from error
        except BaseException:
            _close(fd, claim)
            raise
        _close(fd, claim)
    raise PyruncError(f"creating cgroup {path}", step="cgroup_create", errno=errno.ENOENT, hint="others remove it")


def _claim(fd: int, path: str) -> int:
    """Claim a cgroup whose directory is open. Raises OSError, BlockingIOError if another command has the claim,
    FileNotFoundError if the cgroup is gone, PyruncError if another command has the claim and the cgroup is in use.

    A delete has the claim until the cgroup is removed, so it is waited for.
    """
    try:
        claim = posix.open("cgroup.kill", _OPEN_KILL, dir_fd=fd)
    except PermissionError:
        return -1
    except FileNotFoundError:
        if _is_at(fd, path):
            return -1
        raise
    deadline = 0.0
    wait = files.FIRST_WAIT_SECONDS
    try:
        while True:
            try:
                native.flock(claim, True, False)
                return claim
            except BlockingIOError:
                now = time.monotonic()
                deadline = deadline or now + CLAIM_SECONDS
                if now > deadline:
                    raise
            files.refuse_in_use(path)
            time.sleep(wait)
            wait = min(wait * 2, files.LONGEST_WAIT_SECONDS)
    except BaseException:
        posix.close(claim)
        raise


def claim(path: str) -> int:
    """Claim the existing cgroup at `path`, without a wait.

    Returns a descriptor, -1 if this process may not lock it, and for the hierarchy's root, which has no such file.
    Raises BlockingIOError if another command has the claim, FileNotFoundError if there is no cgroup, and OSError.
    """
    has_none = False
    while True:
        try:
            fd = posix.open(path + "/cgroup.kill", _OPEN_KILL)
        except OSError as error:
            if error.errno in _MAY_NOT:
                return -1
            if error.errno not in files.GONE:
                raise
            posix.stat(path)
            if has_none:
                return -1
            has_none = True  # or the cgroup was made after the open: look again
            continue
        try:
            native.flock(fd, True, False)
            if posix.fstat(fd).st_ino == posix.stat(path + "/cgroup.kill").st_ino:
                return fd
        except BaseException:
            posix.close(fd)
            raise
        posix.close(fd)  # it was removed before the lock, and another one is there


def abandon(path: str) -> None:
    """Leave a cgroup to another container, which has found it unused: whoever is the last one to use it removes it."""
    files.mark_parent(path)


def _is_at(fd: int, path: str) -> bool:
    """Whether an open directory is the one at a path. Raises FileNotFoundError if the path does not exist."""
    return posix.fstat(fd).st_ino == posix.stat(path).st_ino


def remove_if_unused(path: str) -> None:
    """Remove a parent cgroup that was made for the container, unless others use it by now.

    Raises PyruncError.
    """
    try:
        _remove_unclaimed(path)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EBUSY, errno.EAGAIN):
            raise PyruncError(f"removing cgroup {path}", errno=error.errno or 0) from error


def _remove_unclaimed(path: str) -> None:
    """Remove a cgroup, unless a create has claimed it and is about to clone into it. Raises OSError."""
    held = claim(path)
    try:
        posix.rmdir(path)
    finally:
        _close(held)


def remove_parents(path: str, itself: bool = False) -> list[str]:
    """Remove the parents of `path` that have files.PARENT_MARK and no other cgroup below them. Gives what was removed.

    itself: also the cgroup at `path`, which another container has abandoned. Raises PyruncError.
    """
    removed: list[str] = []
    parent = path if itself else path.rpartition("/")[0]
    while parent and parent not in _ROOTS:
        try:
            posix.getxattr(parent, files.PARENT_MARK)
            _remove_unclaimed(parent)
            removed.append(parent)
        except FileNotFoundError:
            pass  # the caller, or another command, has removed it; what is above it may be unused since then
        except OSError as error:
            if error.errno in _NOT_OURS:
                break
            raise PyruncError(f"removing cgroup {parent}", errno=error.errno or 0) from error
        parent = parent.rpartition("/")[0]
    return removed


def _mark(fd: int, place: str, flags: int) -> bool:
    """Store in the attribute of a cgroup the path of its container's state directory; False if that fails. It is for
    the sake of other containers alone."""
    try:
        posix.setxattr(fd, MARK, place.encode("utf-8", "surrogateescape"), flags)
    except OSError as error:
        log.debug(f"marking the cgroup of {place}: {errno_text(error.errno or 0)}")
        return False
    return True


def other_marks(path: str, own: str, below: bool) -> list[tuple[int, str]]:
    """The attributes of a cgroup, and with `below` of those below it, that differ from `own`, with the cgroup's inode
    number.

    Anybody with write access to the cgroup may have set them. A cgroup that does not exist or can't be read has none.
    Raises PyruncError.
    """
    found: list[tuple[int, str]] = []

    def look(at: int | str) -> None:
        try:
            text = posix.getxattr(at, MARK).decode("utf-8", "surrogateescape")
            if text != own:
                found.append((posix.stat(at).st_ino, text))
        except OSError:
            return

    try:
        # A directory of cgroup2 has 2 links, and one for each cgroup below it: a walk needs a descriptor.
        if not below or posix.stat(path).st_nlink == _LINKS_OF_LEAF:
            look(path)
        else:
            files.walk(path, look)
    except FileNotFoundError:
        return found
    except OSError as error:
        raise PyruncError(f"looking for whose the cgroup {path} is", errno=error.errno or 0) from error
    return found


def _close(*fds: int) -> None:
    for fd in fds:
        if fd >= 0:
            posix.close(fd)
