"""The state directory `ROOT/ID`: whether it can be trusted, its lock, its files, its removal.

`--root` may name any directory. It may belong to another user and have other content. So a state directory is opened
once, without following symbolic links, and its files are opened relative to that descriptor. Commands act on its files
only if the effective user owns the directory and nobody else may write to it. Anything that is not known to be made by
pyrunc is not touched.
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

# Names in the state root other than containers begin with this character, which no id has.
ID_INTERNAL_PREFIX = ":"

# The mode of the directory. The sticky bit marks it as made by pyrunc, from the mkdir on.
MODE = 0o1711
_STICKY = 0o1000
_OTHERS_READ_OR_WRITE = 0o066
_OTHERS_WRITE = 0o022

_TYPE = 0o170000
_DIRECTORY = 0o040000
_REGULAR = 0o100000
# A larger file counts as damaged: a state has a few kilobytes, a configuration up to a few megabytes.
_LARGEST = 1 << 26

_OPEN_DIRECTORY = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC
# The open must not wait if the file is a FIFO.
_OPEN_FILE = posix.O_RDONLY | posix.O_NONBLOCK | posix.O_NOFOLLOW | posix.O_CLOEXEC

_FIRST_WAIT = 0.001
_LONGEST_WAIT = 0.02


class DamagedError(PyruncError):
    """A file of a state directory that can't be read, can't be understood, or can't be trusted."""

    __slots__ = ()


class RenamedError(DamagedError):
    """A file is valid but belongs to a container with another id: the owner of the state root can exchange directories.
    Commands don't act on it."""

    __slots__ = ()


class StateDir:
    """An open state directory.

    path: as it was opened. id: the last part of the path. fd: its descriptor, which also holds the lock.
    owner: uid of its owner. mode: its permission bits. device, inode: they identify the directory.
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
        """Close the descriptor, which releases the lock."""
        if self.fd >= 0:
            posix.close(self.fd)
            self.fd = -1

    @property
    def distrust(self) -> str:
        """Why the directory's files are not trusted; "" if they are."""
        if self.owner != posix.geteuid():
            return f"it belongs to {owner_name(self.owner)}"
        if self.mode & _OTHERS_WRITE:
            return f"others may write to it, by its mode {self.mode:o}"
        return ""

    def require_trust(self) -> None:
        """Raise PyruncError if the files are not trusted."""
        distrust = self.distrust
        if distrust:
            others = self.owner != posix.geteuid()
            raise PyruncError(
                f"the state directory {self.path} is not trusted: {distrust}",
                hint=f"run this command as {owner_name(self.owner)}" if others else f"chmod 711 {self.path}",
            )

    @property
    def marked(self) -> bool:
        """Whether its mode marks it as made by pyrunc."""
        return bool(self.mode & _STICKY) and not self.mode & _OTHERS_READ_OR_WRITE

    def names(self) -> list[str]:
        """The names in the directory. Raises OSError."""
        return posix.listdir(self.fd)

    def has(self, name: str) -> bool:
        """Whether there is a file of this name, of any type. Raises OSError."""
        try:
            posix.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def read(self, name: str) -> str:
        """The text of a file. Bytes that are not UTF-8 become surrogates (surrogateescape).

        Raises FileNotFoundError if there is none. Raises DamagedError if it is not a regular file of the directory's
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
            if len(parts[0]) > found.st_size:  # another command appends to it
                while chunk := posix.read(fd, _LARGEST):
                    parts.append(chunk)
        except OSError as error:
            raise DamagedError(f"{self.path}/{name}: {errno_text(error.errno or 0)}") from error
        finally:
            posix.close(fd)
        return b"".join(parts).decode("utf-8", "surrogateescape")

    def _refused(self, found: posix.stat_result) -> str:
        """Why a file is not read; "" if it is."""
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
        """Take the lock, with a timeout.

        Raises BlockingIOError if another command still holds it, FileNotFoundError if the directory has been removed or
        replaced meanwhile.
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
            # The former holder of the lock may have removed the directory, and another one may be in its place.
            self._check_place()
            return

    def unlock(self) -> None:
        """Release the lock. Raises OSError."""
        native.unlock(self.fd)

    def is_locked(self) -> bool:
        """Whether another command holds the lock. It changes nothing, but until `close` nobody else can take the
        lock."""
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
        """Remove the directory and its content. Raises PyruncError.

        The files that identify a container are removed last: if the command is killed, the rest can be deleted again.
        Directories are emptied too, but not mounts on them. If it can't be listed, because there is no free descriptor,
        pyrunc's own files are removed by name.
        """
        if not self.mode & _STICKY:  # made by an earlier version of pyrunc
            try:
                posix.chmod(self.fd, MODE)
            except OSError as error:
                raise _not_removed(self.path, error) from error
        try:
            names: Iterable[str] = posix.listdir(self.fd)
        except OSError:
            names = (f".{STATE_FILE}.{posix.getpid()}", *FILES)
        for name in sorted(names, key=_order):
            try:
                _unlink(self.fd, name)
            except OSError as error:
                raise _not_removed(f"{self.path}/{name}", error) from error
        try:
            posix.rmdir(self.path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _not_removed(self.path, error) from error


def _not_removed(path: str, error: OSError) -> PyruncError:
    return PyruncError(f"removing the state directory: {path}", errno=error.errno or 0)


def _order(name: str) -> int:
    return 2 if name == STATE_FILE else int(name == LEDGER_FILE)


def _unlink(directory: int, name: str) -> None:
    """Remove a file, or a directory and its content except mounts. A missing one is no error.

    Directories in a directory are moved up first, so any depth works.
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
    """Whether there is a directory of this name; anything else of this name is removed."""
    try:
        posix.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return False
    except OSError as error:
        # EISDIR on Linux, EPERM by POSIX.
        if error.errno not in (errno.EISDIR, errno.EPERM):
            raise
        return True
    return False


def open_directory(path: str) -> StateDir | None:
    """The state directory at a path; None if there is no directory (a symbolic link is none). Raises OSError."""
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
    """Make a state directory and lock it; None if the name is taken, or another command was faster.

    Until it has a ledger, another command may use it too. Raises OSError.
    """
    try:
        posix.mkdir(path, MODE)
        made = open_directory(path)
    except FileExistsError:
        return None
    except BaseException:
        withdraw(path)  # after a signal, or without a free descriptor
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
    """Remove a new state directory. One that is not empty, or that pyrunc has not made, stays."""
    try:
        found = posix.stat(path, follow_symlinks=False)
        if found.st_uid == posix.geteuid() and found.st_mode & _STICKY:
            posix.rmdir(path)
    except OSError:
        return


def owner_name(uid: int) -> str:
    """The user's name in /etc/passwd; "#UID" without a name, as runc prints it."""
    try:
        text = read_file("/etc/passwd")
    except OSError:
        return f"#{uid}"
    for line in text.split("\n"):
        fields = line.split(":")
        if len(fields) > 2 and fields[2] == str(uid):
            return fields[0]
    return f"#{uid}"
