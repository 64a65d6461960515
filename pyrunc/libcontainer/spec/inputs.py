"""Files that the command line names as input: --config, --process, --resources. Each is read once.

A pipe, a FIFO or a socket can be read only once. But the launcher may hand a command over to the ordinary build after
it has read such a file, and errors look up their place in the file. So the content is kept here, under the file's path.
At a hand-over the launcher calls `hand_over`, and the ordinary build gets the contents by `take` (docs/launcher.md, Hot
and cold). Hot.
"""

from __future__ import annotations

import errno
import posix

from ... import paths
from ..kernel import interrupts, native

STDIN = "-"
_CHUNK = 1 << 16
# A configuration with a hundred mounts has 20 KiB; a device such as /dev/zero has no end.
_LARGEST = 64 << 20
_S_IFMT, _S_IFREG = 0o170000, 0o100000

# path, or STDIN: the content that this process has read, and that which the launcher read before
_kept: dict[str, bytes] = {}
_given: dict[str, bytes] = {}


def read(path: str) -> bytes:
    """The content of the file at an absolute path, or of standard input for STDIN.

    A path that the launcher has read before the hand-over is not opened again.
    Raises OSError: with `filename` if it can't be opened, without if it can't be read; EFBIG above 64 MiB; EBADF for a
    standard stream that is closed.
    """
    data = _given.get(path)
    if data is None:
        number = 0 if path == STDIN else paths.descriptor(path)
        if native.was_closed(number):
            raise OSError(errno.EBADF, posix.strerror(errno.EBADF))
        fd = 0 if path == STDIN else _open(path)
        try:
            data = _read_all(fd)
        finally:
            if path != STDIN:
                posix.close(fd)
    _kept[path] = data
    return data


def hint(error: OSError) -> str:
    """What to do about an error of `read`; "" if its text has all."""
    return "standard input is closed: give it a file or a pipe" if error.errno == errno.EBADF else ""


def kept(path: str) -> bytes | None:
    """The content that was last read from a path; None if it was not read."""
    return _kept.get(path)


def hand_over() -> str:
    """Write the contents to memory files that the ordinary build inherits. Returns their descriptors, for `take`.

    Raises OSError if a content can't be handed over and can't be read again.
    """
    interrupts.release()
    numbers = []
    for path, data in _kept.items():
        try:
            fd = native.memfd("pyrunc-input", path.encode("utf-8", "surrogateescape") + b"\0" + data)
            posix.set_inheritable(fd, True)
        except OSError:
            if path != STDIN and posix.stat(path).st_mode & _S_IFMT == _S_IFREG:
                continue  # the ordinary build reads it again
            raise
        numbers.append(str(fd))
    return ",".join(numbers)


def take(numbers: str) -> None:
    """Read the contents that `hand_over` has written, and close the descriptors. Raises OSError."""
    for number in numbers.split(",") if numbers else ():
        fd = int(number)
        try:
            path, _, data = _read_all(fd).partition(b"\0")
        finally:
            posix.close(fd)
        _given[path.decode("utf-8", "surrogateescape")] = data


def _open(path: str) -> int:
    try:
        return posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError as error:
        number = paths.descriptor(path)
        if error.errno != errno.ENXIO or number < 0:
            raise
        return posix.dup(number)  # a socket can be read, but not opened by its name in /proc; dup sets close-on-exec


def _read_all(fd: int) -> bytes:
    chunks = []
    size = 0
    while chunk := posix.read(fd, _CHUNK):
        chunks.append(chunk)
        size += len(chunk)
        if size > _LARGEST:
            raise OSError(errno.EFBIG, posix.strerror(errno.EFBIG))
    return b"".join(chunks)
