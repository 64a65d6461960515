"""The thread of a container whose call waits: its memory, descriptors, credentials, root and working directory.

Its number may be another thread's once the call has ended. So everything is opened or copied first, and then the
listener is asked whether the call still waits. Open descriptors stay those of the thread.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from ..kernel import brokering, native
from . import listener
from .model import Notification, Refusal

PATH_MAX = 4096
_PIDFD_THREAD = os.O_EXCL
_KEPT = 64
_OPEN_PATH = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True)
class Credentials:
    """Those of a thread, with ids of the broker's user namespace. capabilities: the effective ones, as bits, in the
    user namespace of the thread."""

    uids: tuple[int, int, int, int]
    gids: tuple[int, int, int, int]
    groups: tuple[int, ...]
    umask: int
    capabilities: int


class Processes:
    """Pidfds of threads, kept: opening one for each call costs three system calls more."""

    __slots__ = ("_by_tid",)

    def __init__(self) -> None:
        self._by_tid: dict[int, int] = {}

    def get(self, tid: int) -> int | None:
        """A pidfd that was opened for a thread of this number. If that one has ended, each use of it fails (ESRCH)."""
        return self._by_tid.get(tid)

    def keep(self, tid: int, pidfd: int) -> None:
        """Keep a pidfd, and close others if there are many."""
        if len(self._by_tid) >= _KEPT:
            self.clear()
        self._by_tid[tid] = pidfd

    def drop(self, tid: int) -> None:
        """Forget a thread that has ended."""
        os.close(self._by_tid.pop(tid))

    def clear(self) -> None:
        """Close all."""
        for tid in list(self._by_tid):
            self.drop(tid)


class Caller:
    """The thread of one notification. Use it as a context: the end closes its descriptors."""

    __slots__ = ("_fd", "_fds", "_proc", "_processes", "notification")

    def __init__(self, fd: int, notification: Notification, processes: Processes) -> None:
        self._fd = fd
        self.notification = notification
        self._processes = processes
        self._fds: list[int] = []
        self._proc = -1

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._fds:
            os.close(fd)

    def check(self) -> None:
        """Raises Refusal (EINTR) if the call does not wait any more: no process gets that answer."""
        if not listener.is_waiting(self._fd, self.notification.id):
            raise Refusal(errno.EINTR, "the call has ended")

    def memory(self, address: int, size: int) -> bytes:
        """A copy of the thread's memory. Raises Refusal: EFAULT if it is not readable."""
        data = self._read(address, size)
        if len(data) != size:
            raise Refusal(errno.EFAULT, "an unreadable argument")
        return data

    def text(self, address: int, limit: int, too_long: int = errno.ENAMETOOLONG) -> str:
        """A copy of a string, without its NUL. limit: in bytes, with the NUL. Raises Refusal: too_long is the errno for
        a longer one, EFAULT if it is not readable."""
        data = self._read(address, limit)
        end = data.find(b"\0")
        if end < 0:
            raise Refusal(too_long if len(data) == limit else errno.EFAULT, "a string without an end")
        return data[:end].decode("utf-8", "surrogateescape")

    def _read(self, address: int, size: int) -> bytes:
        try:
            data = brokering.read_process(self.notification.tid, address, size)
        except OSError as error:
            self.check()
            raise Refusal(errno.EFAULT, "an unreadable argument") from error
        self.check()
        return data

    def write(self, address: int, data: bytes) -> None:
        """Write to the thread's memory. Raises Refusal (EFAULT)."""
        # The descriptor stays that of the thread's memory, even if another thread gets its number.
        memory = self._keep(os.open(f"/proc/{self.notification.tid}/mem", os.O_WRONLY | os.O_CLOEXEC))
        self.check()
        try:
            done = os.pwrite(memory, data, address)
        except (OSError, OverflowError) as error:
            raise Refusal(errno.EFAULT, "an argument that can't be written") from error
        if done != len(data):
            raise Refusal(errno.EFAULT, "an argument that can't be written")

    def descriptor(self, number: int) -> int:
        """A copy of a descriptor of the thread. Raises Refusal: EBADF without one."""
        tid = self.notification.tid
        kept = self._processes.get(tid)
        try:
            if kept is not None:
                return self._keep(native.pidfd_getfd(kept, number))
        except OSError as error:
            if error.errno != errno.ESRCH:
                raise Refusal(error.errno or errno.EBADF, f"descriptor {number}") from error
            self._processes.drop(tid)
        try:
            return self._keep(native.pidfd_getfd(self.pidfd(), number))
        except OSError as error:
            raise Refusal(error.errno or errno.EBADF, f"descriptor {number}") from error

    def pidfd(self) -> int:
        """A pidfd of the thread, which others keep; before Linux 6.9 of its process, whose threads nearly always have
        one table of descriptors. That one is not kept: the thread's number may become one of another process, while
        this process lives on. pidfd_open(2)."""
        tid = self.notification.tid
        try:
            pidfd = os.pidfd_open(tid, _PIDFD_THREAD)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            of_process = self._keep(os.pidfd_open(int(self._status()["Tgid"])))
            self.check()
            return of_process
        try:
            self.check()
        except Refusal:
            os.close(pidfd)
            raise
        if self._processes.get(tid) is not None:
            self._processes.drop(tid)
        self._processes.keep(tid, pidfd)
        return pidfd

    def proc(self) -> int:
        """The thread's directory in /proc, which stays the thread's."""
        if self._proc < 0:
            self._proc = self._keep(os.open(f"/proc/{self.notification.tid}", _OPEN_PATH))
            self.check()
        return self._proc

    def root(self) -> int:
        """The thread's root directory."""
        return self._directory("root")

    def working_directory(self) -> int:
        """The thread's working directory."""
        return self._directory("cwd")

    def _directory(self, name: str) -> int:
        return self._keep(os.open(name, _OPEN_PATH, dir_fd=self.proc()))

    def starting_point(self, number: int, path: str) -> int:
        """The directory that a path is relative to. number: the argument dirfd of the call. Raises Refusal."""
        if number == native.AT_FDCWD or path.startswith("/"):
            return self.working_directory()
        return self.descriptor(number)

    def user_namespace(self) -> tuple[int, int]:
        """Which user namespace the thread is in: device and inode."""
        st = os.stat("ns/user", dir_fd=self.proc())
        return st.st_dev, st.st_ino

    def credentials(self) -> Credentials:
        """The thread's credentials. Raises OSError."""
        status = self._status()
        uids, gids = [tuple(map(int, status[name].split())) for name in ("Uid", "Gid")]
        return Credentials(
            uids=uids,  # type: ignore[arg-type]  # four words: proc_pid_status(5)
            gids=gids,  # type: ignore[arg-type]
            groups=tuple(map(int, status["Groups"].split())),
            umask=int(status["Umask"], 8),
            capabilities=int(status["CapEff"], 16),
        )

    def maps(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """The ranges of host uids and gids that the thread's user namespace has: first and count. Raises OSError."""
        return self._ranges("uid_map"), self._ranges("gid_map")

    def _ranges(self, name: str) -> list[tuple[int, int]]:
        rows = [list(map(int, line.split())) for line in self._file(name).splitlines()]
        return [(outside, count) for _, outside, count in rows]

    def _status(self) -> dict[str, str]:
        lines = [line.partition(":") for line in self._file("status").splitlines()]
        return {name: value.strip() for name, _, value in lines}

    def _file(self, name: str) -> str:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.proc())
        with os.fdopen(fd, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()

    def _keep(self, fd: int) -> int:
        self._fds.append(fd)
        return fd
