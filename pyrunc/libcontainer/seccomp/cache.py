"""Compiled seccomp filters, kept between commands: a cached start reads one file, and loads no libseccomp. Hot.

They are in a directory of the state root that only its owner may read or write. The name of a file is a hash of the
filter's inputs. The file has these inputs too, so a hash collision costs only time. Its lines are FORMAT, the path of
libseccomp, the identity of that file, the filter's checksum, and the length of the key; then come the key and the
filter, as bytes. All of them are compared. A damaged file is ignored and written again.
"""

from __future__ import annotations

import posix

from ... import log
from ..._generated.build import FILTERS, VERSION
from .. import state, statedir
from ..kernel import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..._generated.spec_types import Seccomp

FORMAT = b"pyrunc-seccomp-5"
DIRECTORY = statedir.ID_INTERNAL_PREFIX + "seccomp"
# A host has a profile or two for all of its containers: more files than this are not worth their memory on /run.
MOST_FILES = 64

# The members of the profile that the filter depends on, besides the names of system calls. Flags and listener are not
# part of the filter. STRICT is no member of the specification: an annotation makes unknown system calls an error.
STRICT = "fail unknown"
_MEMBERS = ("defaultAction", "defaultErrnoRet", "architectures", STRICT)
# The largest program (BPF_MAXINSNS) and path (PATH_MAX), and more than the numbers take. A larger file is damaged, and
# would be read into memory.
_MOST_BESIDE_KEY = 4096 * 8 + 4096 + 512
_OTHERS = 0o077
_TYPE = 0o170000
_REGULAR, _DIRECTORY = 0o100000, 0o040000


class UnsafeError(OSError):
    """Other users could read or write the cache, or a file in it."""


def key(profile: Seccomp, kernel: tuple[int, int]) -> bytes:
    """A filter's inputs: the profile, pyrunc, and the kernel, whose features libseccomp checks.

    The names, most of a profile, are joined: that takes a fifth of the time of their repr. The checks of a
    profile refuse names that are empty or have a NUL, so different profiles have different keys.
    """
    rules = profile.get("syscalls") or ()
    others = [(rule["action"], rule.get("errnoRet"), rule.get("args")) for rule in rules]
    parts = [VERSION, FILTERS, posix.uname().machine, kernel, *[profile.get(name) for name in _MEMBERS], others]
    texts = [repr(parts), *["\0".join(rule["names"]) for rule in rules]]
    return "\0\0".join(texts).encode("utf-8", "surrogatepass")


def lookup(root: str, profile: Seccomp, kernel: tuple[int, int]) -> bytes | None:
    """The filter of a profile (compiler.compile_filter); None if it is not in the cache of the state root.

    A cache that other users could have written to is not read, with a warning.
    """
    wanted = key(profile, kernel)
    try:
        data = _read(root, _hash(wanted), len(wanted) + _MOST_BESIDE_KEY)
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning(f"the cache of seccomp filters in {root}/{DIRECTORY} is not used: {error.strerror}")
        return None
    lines = data.split(b"\n", 5)
    if len(lines) != 6 or lines[0] != FORMAT or lines[2] != identity(lines[1]):
        return None
    program = lines[5][len(wanted) :]
    if lines[4] != b"%d" % len(wanted) or not lines[5].startswith(wanted) or lines[3] != _checksum(program):
        return None
    return program


def store(root: str, profile: Seccomp, kernel: tuple[int, int], program: bytes, library: str) -> None:
    """Put a filter into the cache of the state root. A missing cache is made.

    library: the file that libseccomp was loaded from. Failures are logged: a start works without a cache.
    """
    wanted = key(profile, kernel)
    name = _hash(wanted)
    path = native.fs_bytes(library)
    lines = [FORMAT, path, identity(path), _checksum(program), b"%d" % len(wanted), wanted + program]
    try:
        state.make_root(root)
        try:
            posix.mkdir(root + "/" + DIRECTORY, 0o700)
        except FileExistsError:
            pass
        directory = _open(root)
        try:
            _make_room(directory)
            state.replace_bytes(name, b"\n".join(lines), 0o600, dir_fd=directory)
        finally:
            posix.close(directory)
    except OSError as error:
        log.debug(f"the seccomp filter is not cached: {error}")


def identity(path: bytes) -> bytes:
    """The identity of a file, which an upgrade changes; empty without a file."""
    try:
        found = posix.stat(path)
    except (OSError, ValueError):  # ValueError: a damaged path, with a NUL
        return b""
    return b"%d:%d:%d:%d" % (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _hash(content: bytes) -> str:
    """A file's name."""
    return f"{native.checksum(content):016x}"


def _checksum(program: bytes) -> bytes:
    """The filter's checksum, against damage of the file."""
    return b"%016x" % native.checksum(program)


def _open(root: str) -> int:
    directory = posix.open(
        root + "/" + DIRECTORY, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC
    )
    return _checked(directory)


def _read(root: str, name: str, most: int) -> bytes:
    """The content of a file of the cache, or its first `most` bytes. Raises OSError."""
    directory = _open(root)
    try:
        # The open must not wait if the file is a FIFO.
        flags = posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC
        fd = _checked(posix.open(name, flags, dir_fd=directory), _REGULAR)
    finally:
        posix.close(directory)
    try:
        return posix.read(fd, min(posix.fstat(fd).st_size, most))
    finally:
        posix.close(fd)


def _checked(fd: int, kind: int = 0) -> int:
    """Return the descriptor if its file has this type and only this user can read or write it. Raises UnsafeError."""
    found = posix.fstat(fd)
    wrong = bool(kind) and (found.st_mode & _TYPE != kind or found.st_nlink != 1)
    if found.st_uid != posix.geteuid() or found.st_mode & _OTHERS or wrong:
        posix.close(fd)
        raise UnsafeError(0, "others may have written to it")
    return fd


def _make_room(directory: int) -> None:
    """Remove the oldest files if there are too many."""
    names = posix.listdir(directory)
    if len(names) < MOST_FILES:
        return
    times = []
    for name in names:
        try:
            found = posix.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            continue  # another command has removed it
        if found.st_mode & _TYPE != _DIRECTORY:  # a directory is not pyrunc's, and would end the removal
            times.append((found.st_mtime_ns, name))
    for _, name in sorted(times)[: max(0, len(times) - MOST_FILES + 1)]:
        try:
            posix.unlink(name, dir_fd=directory)
        except FileNotFoundError:
            continue
