"""Files that the user names as output, such as a profile: written whole or not at all."""

from __future__ import annotations

import os
import stat
import tempfile

from ..libcontainer.kernel import native

_NEW_MODE = 0o666
# Names of descriptors (proc(5)): such a file is written to, not replaced.
_DESCRIPTORS = ("/dev/", "/proc/")


def write(path: str, text: str, *, replace: bool = True) -> None:
    """Write a text to a file. A full disk, or a kill at any moment, leaves an earlier file as it is, and no part of a
    new one.

    A file that is not regular, such as a FIFO or /dev/stdout, is written to; a link is followed. A file whose directory
    can't be written to is overwritten in its place. Raises OSError, FileExistsError if there is a file and `replace` is
    False.
    """
    native.refuse_closed(path)
    data = text.encode("utf-8", "surrogateescape")
    if not replace:
        _write_new(path, data)
        return
    try:
        found = os.stat(path)
    except FileNotFoundError:
        found = None
    if path.startswith(_DESCRIPTORS) or (found is not None and not stat.S_ISREG(found.st_mode)):
        _write_to(path, data)
        return
    target = os.path.realpath(path)
    try:
        fd, draft = tempfile.mkstemp(prefix=f".{os.path.basename(target)}.", dir=os.path.dirname(target))
    except PermissionError:
        if found is None:
            raise
        _write_to(target, data)
        return
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            if found is not None and (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(fd, found.st_uid, found.st_gid)
            os.fchmod(fd, stat.S_IMODE(found.st_mode) if found is not None else _NEW_MODE & ~_umask())
        os.rename(draft, target)
    except BaseException:
        os.unlink(draft)
        raise


def _write_new(path: str, data: bytes) -> None:
    """Raises FileExistsError and OSError."""
    with open(path, "xb") as file:
        try:
            file.write(data)
            file.flush()
        except BaseException:
            os.unlink(path)
            raise


def _write_to(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)


def _umask() -> int:
    """The umask of this process. It can be read only by setting it."""
    value = os.umask(0o077)
    os.umask(value)
    return value
