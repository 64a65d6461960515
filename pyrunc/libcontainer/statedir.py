"""The state directory `ROOT/ID` as a directory: whether it may be believed, its lock, its files, its removal.

ROOT is whatever directory `--root` names. It may belong to another user, and other things may lie in it. So a state
directory is opened once, without following a symbolic link, and all its files are reached by that descriptor. What
its files say is acted upon only where the effective user owns the directory and nobody else may write to it; what is
not known to be made by pyrunc is left alone.
"""

from __future__ import annotations

import errno
import posix
import time

from ..errors import PyruncError, errno_text
from .kernel import native
from .kernel.fileio import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

STATE_FILE = "state.json"
LEDGER_FILE = "ledger"
EXEC_FILE = "exec.json"
START_SOCKET = "start.sock"
UPDATE_FILE = "update"
NETWORK_FILE = "netns"
FILES = (STATE_FILE, LEDGER_FILE, EXEC_FILE, START_SOCKET, UPDATE_FILE, NETWORK_FILE)

# What in the state root is no container begins with this sign, which no id has.
ID_INTERNAL_PREFIX = ":"

# The directory's mode. The sticky bit marks it as made by pyrunc, from its first moment on.
MODE = 0o1711
_STICKY = 0o1000
_OTHERS_READ_OR_WRITE = 0o066
_OTHERS_WRITE = 0o022

_TYPE = 0o170000
_DIRECTORY = 0o040000
_REGULAR = 0o100000
# A larger file is damaged: a state of a container has a few kilobytes, a configuration up to a few megabytes.
_LARGEST = 1 << 26

_OPEN_DIRECTORY = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC
# A FIFO in the file's place must not stop us.
_OPEN_FILE = posix.O_RDONLY | posix.O_NONBLOCK | posix.O_NOFOLLOW | posix.O_CLOEXEC

_FIRST_WAIT = 0.001
_LONGEST_WAIT = 0.02


class DamagedError(PyruncError):
    """A file of a state directory that can't be read, can't be understood, or can't be trusted."""

    __slots__ = ()


class RenamedError(DamagedError):
    """A file that is whole, but of a container with another id. The owner of the state root can exchange directories:
    nothing is done by what it says."""

    __slots__ = ()


class StateDir:
    """An open state directory.

    path: as it was opened. id: the last part of the path. fd: its descriptor, which holds the lock once there is one.
    owner: uid of its owner. mode: its permission bits. device, inode: which directory it is.
    """

    __slots__ = ("device", "fd", "id", "inode", "mode", "owner", "path")

    def __init__(self, path: str, fd: int) -> None:
        """Take over a descriptor of the directory at `path`. Raises OSError."""
        found = posix.fstat(fd)
        self.path = path
        self.id = path.rpartition("/")[2]
        self.fd = fd
        self.owner = found.st_uid
        self.mode = found.st_mode & 0o7777
        self.device = found.st_dev
        self.inode = found.st_ino

    def close(self) -> None:
        """Close the descriptor, which gives the lock up."""
        if self.fd >= 0:
            posix.close(self.fd)
            self.fd = -1

    @property
    def distrust(self) -> str:
        """Why nothing may be done by what the directory's files say; "" where they are believed."""
        if self.owner != posix.geteuid():
            return f"it belongs to {owner_name(self.owner)}"
        if self.mode & _OTHERS_WRITE:
            return f"others may write to it, by its mode {self.mode:o}"
        return ""

    def require_trust(self) -> None:
        """Raise PyruncError where the files are not believed."""
        distrust = self.distrust
        if distrust:
            others = self.owner != posix.geteuid()
            raise PyruncError(
                f"the state directory {self.path} is not trusted: {distrust}",
                hint=f"run this command as {owner_name(self.owner)}" if others else f"chmod 711 {self.path}",
            )

    @property
    def marked(self) -> bool:
        """Whether its mode says that pyrunc has made it."""
        return bool(self.mode & _STICKY) and not self.mode & _OTHERS_READ_OR_WRITE

    def names(self) -> list[str]:
        """The names in the directory. Raises OSError."""
        return posix.listdir(self.fd)

    def has(self, name: str) -> bool:
        """Whether there is a file of this name, of whatever type. Raises OSError."""
        try:
            posix.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def read(self, name: str) -> str:
        """The text of a file; bytes that are not UTF-8 are kept by surrogateescape.

        Raises FileNotFoundError where there is none, DamagedError where it is not a regular file of the directory's
        owner that nobody else may write to, is too large, or can't be read.
        """
        try:
            fd = posix.open(name, _OPEN_FILE, dir_fd=self.fd)
        except FileNotFoundError:
            raise
        except OSError as error:
            reason = {errno.ELOOP: "it is a symbolic link", errno.ENXIO: "it is a socket"}.get(error.errno or 0)
            raise DamagedError(f"{self.path}/{name}: {reason or errno_text(error.errno or 0)}") from error
        try:
            found = posix.fstat(fd)
            reason = self._refused(found)
            if reason:
                raise DamagedError(f"{self.path}/{name}: {reason}")
            parts = [posix.read(fd, found.st_size + 1)]
            if len(parts[0]) > found.st_size:  # it is being appended to
                while chunk := posix.read(fd, _LARGEST):
                    parts.append(chunk)
        except OSError as error:
            raise DamagedError(f"{self.path}/{name}: {errno_text(error.errno or 0)}") from error
        finally:
            posix.close(fd)
        return b"".join(parts).decode("utf-8", "surrogateescape")

    def _refused(self, found: posix.stat_result) -> str:
        """Why a file is not read; "" where it is."""
        if found.st_mode & _TYPE != _REGULAR:
            return "it is not a regular file"
        if found.st_uid != self.owner:
            return f"it belongs to {owner_name(found.st_uid)}"
        if found.st_mode & _OTHERS_WRITE:
            return f"others may write to it, by its mode {found.st_mode & 0o7777:o}"
        if found.st_nlink != 1:
            return "it has another name elsewhere (a hard link)"
        if found.st_size > _LARGEST:
            return f"it has {found.st_size} bytes"
        return ""

    def lock(self, seconds: float) -> None:
        """Take the lock, waiting at most so long.

        Raises BlockingIOError where another command has it still, FileNotFoundError where the directory has been
        removed or replaced meanwhile.
        """
        deadline = 0.0
        wait = _FIRST_WAIT
        while True:
            try:
                native.flock(self.fd, True, False)
            except BlockingIOError:
                self._check_place()
                now = time.monotonic()
                deadline = deadline or now + seconds
                if now >= deadline:
                    raise
                time.sleep(min(wait, deadline - now))
                wait = min(wait * 2, _LONGEST_WAIT)
                continue
            # Whoever had the lock before may have removed the directory, and another may have been made in its place.
            self._check_place()
            return

    def unlock(self) -> None:
        """Give the lock up. Raises OSError."""
        native.unlock(self.fd)

    def is_locked(self) -> bool:
        """Whether another command has the lock. Nothing is changed, but until `close` nobody can take the lock."""
        try:
            native.flock(self.fd, False, False)
        except BlockingIOError:
            return True
        return False

    def _check_place(self) -> None:
        there = posix.stat(self.path, follow_symlinks=False)
        if there.st_ino != self.inode or there.st_dev != self.device:
            raise FileNotFoundError(errno.ENOENT, "the state directory was replaced", self.path)

    def remove(self) -> None:
        """Remove the directory with all that is in it. Raises OSError.

        What makes it known as a container's goes last: a command that is killed meanwhile leaves what can be deleted
        again. Directories in it are emptied too, but not what is mounted on one. Where it can't be listed, for
        want of a descriptor, the files that pyrunc makes are tried by name.
        """
        if not self.mode & _STICKY:  # made by an earlier version
            posix.chmod(self.fd, MODE)
        try:
            names: Iterable[str] = posix.listdir(self.fd)
        except OSError:
            names = (f".{STATE_FILE}.{posix.getpid()}", *FILES)
        for name in sorted(names, key=_order):
            _unlink(self.fd, name)
        try:
            posix.rmdir(self.path)
        except FileNotFoundError:
            return


def _order(name: str) -> int:
    return 2 if name == STATE_FILE else int(name == LEDGER_FILE)


def _unlink(directory: int, name: str) -> None:
    """Remove a file, or a directory with all that is in it but mounts; one that is not there is no error.

    Directories that lie in another one are moved up first, so that no depth is too deep.
    """
    names = [name]
    count = 0
    while names:
        name = names.pop()
        if not _is_directory(directory, name):
            continue
        resolve = native.RESOLVE_BENEATH | native.RESOLVE_NO_XDEV | native.RESOLVE_NO_SYMLINKS
        inner = native.openat2(directory, name, _OPEN_DIRECTORY, 0, resolve)
        try:
            for entry in posix.listdir(inner):
                if _is_directory(inner, entry):
                    count += 1
                    moved = f".removed.{posix.getpid()}.{count}"
                    posix.rename(entry, moved, src_dir_fd=inner, dst_dir_fd=directory)
                    names.append(moved)
        finally:
            posix.close(inner)
        posix.rmdir(name, dir_fd=directory)


def _is_directory(directory: int, name: str) -> bool:
    """Whether there is a directory of this name; all else is removed."""
    try:
        posix.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return False
    except OSError as error:
        # EISDIR, as Linux says it, or EPERM, as POSIX has it.
        if error.errno not in (errno.EISDIR, errno.EPERM):
            raise
        return True
    return False


def open_directory(path: str) -> StateDir | None:
    """The state directory at a path; None where there is no directory (a symbolic link is none). Raises OSError."""
    try:
        fd = posix.open(path, _OPEN_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise
    return _opened(path, fd)


def _opened(path: str, fd: int) -> StateDir:
    try:
        return StateDir(path, fd)
    except BaseException:
        posix.close(fd)
        raise


def make(path: str) -> StateDir | None:
    """Make a state directory and lock it; None where the name is taken, or another command was faster.

    Until a ledger is in it, it may be another command's as well. Raises OSError.
    """
    try:
        posix.mkdir(path, MODE)
        made = open_directory(path)
    except FileExistsError:
        return None
    except BaseException:
        withdraw(path)  # a signal, or no descriptor is left
        raise
    if made is None:
        return None
    try:
        made.require_trust()
        made.lock(0)
    except (BlockingIOError, FileNotFoundError):
        made.close()
        return None
    except BaseException:
        withdraw(path)
        made.close()
        raise
    return made


def withdraw(path: str) -> None:
    """Remove a state directory that was just made; one that has something in it, or was not made by us, stays."""
    try:
        found = posix.stat(path, follow_symlinks=False)
        if found.st_uid == posix.geteuid() and found.st_mode & _STICKY:
            posix.rmdir(path)
    except OSError:
        return


def owner_name(uid: int) -> str:
    """The user's name in /etc/passwd; "#UID" where it has none, as runc prints it."""
    try:
        text = read_file("/etc/passwd")
    except OSError:
        return f"#{uid}"
    for line in text.split("\n"):
        fields = line.split(":")
        if len(fields) > 2 and fields[2] == str(uid):
            return fields[0]
    return f"#{uid}"
