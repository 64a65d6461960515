"""A configuration file read, replaced and restored: whole or not at all, never through a symlink.

Mode, owner and extended attributes (SELinux's label) stay. The first file that is replaced is kept beside it.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ..errors import PyruncError

BACKUP = ".before-pyrunc"
_MODE = 0o644
_MODE_BITS = 0o7777


@dataclass(frozen=True)
class Found:
    """A file's text, and its inode as it was read."""

    text: str
    inode: os.stat_result


def backup_of(path: Path) -> Path:
    """The path of the copy of the file as it was before the first change."""
    return path.with_name(path.name + BACKUP)


def read(path: Path) -> Found | None:
    """The file, or None if there is none.

    Raises PyruncError for a symlink, a file that is not regular or not UTF-8, and one that can't be read.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            hint = f"it leads to {os.readlink(path)}; name the file itself by --file"
            raise PyruncError(f"{path} is a symlink", hint=hint) from error
        raise PyruncError(f"open {path}", errno=error.errno or 0) from error
    with os.fdopen(fd, "rb") as file:
        inode = os.fstat(fd)
        if not stat.S_ISREG(inode.st_mode):
            raise PyruncError(f"{path} is no regular file")
        try:
            return Found(file.read().decode(), inode)
        except UnicodeDecodeError as error:
            raise PyruncError(f"{path} is no UTF-8: byte {error.start}") from error


def write(path: Path, text: str, found: Found | None) -> bool:
    """Replace the file that `read` has found by a text, and keep a copy of the first one that is replaced. Returns
    whether the copy was made now.

    Raises PyruncError if the file has changed since it was read, or can't be written.
    """
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        kept = found is not None and _keep(path, found)
        _replace(path, text, found)
    except OSError as error:
        raise PyruncError(f"write {path}", errno=error.errno or 0) from error
    return kept


def restore(path: Path) -> None:
    """Put the kept file back in its place."""
    try:
        os.rename(backup_of(path), path)
        _sync(path.parent)
    except OSError as error:
        raise PyruncError(f"restore {path}", errno=error.errno or 0) from error


def remove(path: Path) -> None:
    """Remove a file that may be absent."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise PyruncError(f"remove {path}", errno=error.errno or 0) from error


def _keep(path: Path, found: Found) -> bool:
    """Keep a copy of the file before the first change; an existing copy stays."""
    temporary = _temporary(path, found.text, found)
    try:
        os.link(temporary, backup_of(path), follow_symlinks=False)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True


def _replace(path: Path, text: str, found: Found | None) -> None:
    temporary = _temporary(path, text, found)
    try:
        if found is None:
            os.link(temporary, path, follow_symlinks=False)  # must not replace a file that was made meanwhile
            temporary.unlink()
        else:
            now = os.lstat(path)
            if (now.st_dev, now.st_ino, now.st_mtime_ns) != (
                found.inode.st_dev, found.inode.st_ino, found.inode.st_mtime_ns
            ):  # fmt: skip
                raise PyruncError(f"{path} was changed meanwhile", hint="run the command again")
            os.rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _temporary(path: Path, text: str, found: Found | None) -> Path:
    """A new file beside `path` with the text, and with the mode, owner and attributes of `found`, written to the
    disk."""
    fd, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(fd, "wb") as file:
        try:
            file.write(text.encode())
            file.flush()
            if found is not None:
                os.fchown(fd, found.inode.st_uid, found.inode.st_gid)
                _copy_attributes(path, fd)
            os.fchmod(fd, found.inode.st_mode & _MODE_BITS if found is not None else _MODE)
            os.fsync(fd)
        except BaseException:
            os.unlink(name)
            raise
    return Path(name)


def _copy_attributes(path: Path, fd: int) -> None:
    """Copy extended attributes. Those that the file system or the kernel refuses are left out."""
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return
    for name in names:
        try:
            os.setxattr(fd, name, os.getxattr(path, name, follow_symlinks=False))
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.ENODATA):
                raise


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
