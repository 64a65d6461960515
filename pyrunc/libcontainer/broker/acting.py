"""A process of the broker that acts for a thread of a container: with its credentials, in its root directory.

Each is forked for one call: it may enter namespaces for good, and a call that never ends (a path on a file system that
the container itself serves, a peer that does not accept) delays no other call.
"""

from __future__ import annotations

import errno
import os
import posixpath
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..kernel import brokering, native
from ..kernel.constants import CAPABILITIES
from .model import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from .caller import Caller, Credentials

# The exit code of a worker that fails without an errno of the kernel; larger than any errno.
CRASHED = 255
ALL_CAPABILITIES = (1 << 64) - 1
_REASON_BYTES = 4096


def bits(*names: str) -> int:
    """Capabilities as bits."""
    return sum([1 << CAPABILITIES.index(name) for name in names])


# The capabilities over files. The user namespace of the thread decides on which files they count.
OVER_FILES = bits("CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID")


@dataclass(frozen=True)
class Place:
    """Where a thread looks up a path: its root directory, and the directory that the path is relative to."""

    root: int
    start: int

    def enter(self) -> None:
        """Make it the place of this process. Needs CAP_SYS_CHROOT."""
        os.fchdir(self.root)
        os.chroot(".")
        os.fchdir(self.start)


def place(caller: Caller, dirfd: int, path: str) -> Place:
    """The place of a path of the caller's. dirfd: as in openat(2)."""
    return Place(caller.root(), caller.starting_point(dirfd, path))


def become(credentials: Credentials, capabilities: int) -> None:
    """Take a thread's ids, groups and umask, with these effective capabilities. Files and peers see the thread's ids
    (SO_PEERCRED, unix(7)). Raises OSError."""
    brokering.keep_capabilities()
    os.umask(credentials.umask)
    os.setgroups(credentials.groups)
    real, _, saved, files = credentials.gids
    os.setresgid(real, files, saved)
    real, _, saved, files = credentials.uids
    os.setresuid(real, files, saved)
    brokering.set_effective(capabilities)
    brokering.protect_worker()


def open_path(path: str, flags: int = os.O_DIRECTORY) -> int:
    """An O_PATH descriptor of a path of the thread's, looked up once. Links of /proc that lead to another process's
    files are refused (ELOOP). Raises OSError."""
    return native.openat2(native.AT_FDCWD, path, os.O_PATH | flags, 0, native.RESOLVE_NO_MAGICLINKS)


def open_parent(path: str) -> tuple[int, str]:
    """The directory of a new entry, and its name. Raises Refusal as the kernel would: EEXIST for `.`, ENOENT for a name
    with a slash behind it and for none. Raises OSError."""
    parent, name = posixpath.split(path)
    if not name:
        is_root = bool(path) and not path.strip("/")
        raise Refusal(errno.EEXIST if is_root else errno.ENOENT, f"the path {path}")
    if name in (".", ".."):
        raise Refusal(errno.EEXIST, f"the path {path}")
    return open_path(parent or "."), name


def own_descriptors(proc: int) -> int:
    """The directory of this process's descriptors. proc: /proc of the broker, since the process may be in another root,
    and another pid namespace, by now."""
    return os.open("self/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=proc)


def resolved(descriptors: int, fd: int) -> str:
    """The path of an open file from this process's root directory. descriptors: of `own_descriptors`."""
    return os.readlink(str(fd), dir_fd=descriptors)


def seen_from(root: int, descriptors: int, fd: int, capabilities: int) -> str:
    """The path of an open file from the container's root directory, which is this process's from then on. The thread
    may have made any directory its own root, in which any file has the name of an allowed one (chroot(2)).
    capabilities: the effective ones after it."""
    brokering.set_effective(ALL_CAPABILITIES)
    os.fchdir(root)
    os.chroot(".")
    brokering.set_effective(capabilities)
    return resolved(descriptors, fd)


class Worker:
    """A forked process that carries out one call."""

    __slots__ = ("_reason", "pid", "pidfd")

    def __init__(self, job: Callable[[], None], listener: int | None = None) -> None:
        """Start it. job: raises Refusal or OSError to fail the call. listener: it closes this descriptor, since calls
        must fail as soon as the agent has ended; None for a worker of a worker. Raises OSError."""
        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._reason = reading
        try:
            self.pid = os.fork()
        except OSError:
            os.close(reading)
            os.close(writing)
            raise
        if not self.pid:
            if listener is not None:
                os.close(listener)
            _work(job, writing)
        os.close(writing)
        self.pidfd = os.pidfd_open(self.pid)

    def kill(self) -> None:
        """Kill it, also while it waits."""
        os.kill(self.pid, 9)

    def result(self) -> tuple[int, str]:
        """Wait for its end. Returns the errno, 0 or CRASHED, and the reason of a refusal."""
        _, status = os.waitpid(self.pid, 0)
        try:
            reason = os.read(self._reason, _REASON_BYTES).decode("utf-8", "surrogateescape")
        except BlockingIOError:
            reason = ""
        os.close(self._reason)
        os.close(self.pidfd)
        code = os.waitstatus_to_exitcode(status)
        if code < 0:
            return CRASHED, f"the process that carried it out was ended by signal {-code}"
        return code, reason


def run(job: Callable[[], None]) -> tuple[int, str]:
    """Carry out a job here: the errno or CRASHED, and the reason."""
    try:
        job()
    except Refusal as refusal:
        return refusal.errno, refusal.reason
    except OSError as error:
        return error.errno or CRASHED, ""
    return 0, ""


def _work(job: Callable[[], None], writing: int) -> None:
    code, reason = CRASHED, ""
    try:
        _forbid_imports()
        brokering.protect_worker()
        code, reason = run(job)
    except Exception as error:
        reason = f"internal error: {type(error).__name__}: {error}"
    finally:
        os.write(writing, reason.encode("utf-8", "surrogateescape")[:_REASON_BYTES])
        os._exit(code)


def _forbid_imports() -> None:
    """Import nothing from here on. The job's root directory is the container's, which may have a module under any name
    (as with CVE-2019-14271)."""
    sys.meta_path.clear()
    sys.path.clear()
    sys.path_importer_cache.clear()
