"""The relay of sd_notify(3): it passes a container's notifications on to the runtime's service manager. Cold.

The container's datagrams are not trusted. A datagram has at most 4096 bytes, and only assignments of ASSIGNMENTS
pass: with MAINPID or FDSTORE a container could make the manager watch another process or keep descriptors. No
descriptor of the container's passes. It may send one with BARRIER=1. The relay closes that one after the manager has
closed a pipe of the relay: if the manager itself closed the container's descriptor, the close might block (FUSE).
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time

from ... import log
from ...errors import errno_text
from ..kernel import interrupts, native

DIRECTORY = "notify"
NAME = "notify.sock"
# The bytes of a datagram that systemd reads (NOTIFY_BUFFER_MAX, which is PIPE_BUF).
MAX_MESSAGE = 4096
# How many datagrams wait for the manager, and how many barriers are under way.
MAX_WAITING = 64
# How many datagrams are read before the caller gets its turn.
_TURNS = 64
# How long the manager may take to answer a barrier, in milliseconds, as with sd_notify_barrier(3) by runc and crun.
_BARRIER_MS = 30_000
_GONE = select.EPOLLERR | select.EPOLLHUP
_DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Assignments that are passed on, each with the only value that has a meaning, or "" for any text, or "0" for a number.
ASSIGNMENTS = {"READY": "1", "STOPPING": "1", "RELOADING": "1", "STATUS": "", "MONOTONIC_USEC": "0"}


def address(name: str) -> str:
    """The address in NOTIFY_SOCKET in the form of unix(7): a path, or an abstract name after a NUL."""
    return "\0" + name[1:] if name.startswith("@") else name


def permitted(message: bytes) -> list[str]:
    """The assignments of a container's datagram that are passed on, in their order. A datagram that is no UTF-8 has
    none."""
    try:
        lines = message.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        return []
    kept = []
    for line in lines:
        name, equals, value = line.partition("=")
        wanted = ASSIGNMENTS.get(name) if equals else None
        if (
            wanted == value
            or (wanted == "" and value.isprintable())
            or (wanted == "0" and value.isascii() and value.isdigit() and len(value) <= 20)
        ):
            kept.append(line)
    return kept


class Notify:
    """The container's socket, and the connection to the manager's.

    fd: readable when `serve` has something to do. ready: the container has sent READY=1, and it was passed on.
    """

    __slots__ = ("_barriers", "_epoll", "_host", "_main_pid", "_own", "_path", "_waiting", "fd", "ready")

    def __init__(self, state_dir: int, path: str) -> None:
        """Make the container's socket in the directory `notify` of an open state directory.

        path: the manager's socket, as NOTIFY_SOCKET has it. Raises OSError, FileNotFoundError if the container was
        created without that directory.
        """
        self._path = path
        self._main_pid = 0
        self._waiting: list[tuple[bytes, int]] = []
        self._barriers: dict[int, int] = {}
        self._host: socket.socket | None = None
        self.ready = False
        directory = os.open(DIRECTORY, _DIRECTORY_FLAGS, dir_fd=state_dir)
        try:
            self._own = _bind(directory)
        finally:
            os.close(directory)
        self._epoll = select.epoll()
        self.fd = self._epoll.fileno()

    def begin(self, main_pid: int) -> None:
        """Connect to the manager and relay from now on. main_pid: sent as MAINPID with the first READY.

        Raises nothing: if the manager can't be reached, a warning is logged and notifications are dropped, as with
        runc.
        """
        self._main_pid = main_pid
        self._epoll.register(self._own, select.EPOLLIN)
        host = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            host.setblocking(False)
            host.connect(address(self._path))
        except OSError as error:
            host.close()
            self._warn(error)
            return
        self._host = host
        self._epoll.register(host, 0)

    def serve(self) -> None:
        """Receive and send what is possible without waiting. Raises nothing."""
        for fd, events in self._epoll.poll(0):
            if fd in self._barriers:
                self._end_barrier(fd)
            elif self._host is not None and fd == self._host.fileno() and events & _GONE:
                self._lose(OSError(self._host.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), ""))
        for _ in range(_TURNS):
            if len(self._waiting) >= MAX_WAITING or not self._receive():
                break
        self._send()

    def wait_ready(self, pidfd: int) -> None:
        """Relay until the container has sent READY=1 and the manager has handled it, or the container's process has
        ended. Raises only what a signal's handler raises."""
        while not self.ready:
            found = interrupts.poll([self.fd, pidfd])
            interrupts.deliver_pending()  # the container may send without end
            self.serve()
            if pidfd in found:
                break
        self._flush()

    def finish(self) -> None:
        """Relay what the container has sent before its end, and close. Raises nothing."""
        self.serve()
        self.close()

    def close(self) -> None:
        """Close all. Raises nothing."""
        for fd in list(self._barriers):
            self._end_barrier(fd)
        for _, fd in self._waiting:
            _close(fd)
        self._waiting.clear()
        self._epoll.close()
        self._own.close()
        if self._host is not None:
            self._host.close()
            self._host = None

    def _receive(self) -> bool:
        """Receive one datagram. Returns whether there may be more."""
        try:
            data, fds = native.recv(self._own.fileno(), MAX_MESSAGE, 1)
        except BlockingIOError:
            return False
        except OSError as error:
            log.debug(f"a notification of the container is dropped: {errno_text(error.errno or 0)}")
            return error.errno == errno.EMSGSIZE
        if data.strip() == b"BARRIER=1" and fds:
            self._barrier(fds[0])
            return True
        for fd in fds:
            os.close(fd)
        lines = permitted(data)
        if "READY=1" in lines and not self.ready:
            self.ready = True
            lines.append(f"MAINPID={self._main_pid}")
        if lines:
            self._queue("\n".join(lines).encode(), -1)
        return True

    def _barrier(self, theirs: int) -> None:
        """Close the container's descriptor when the manager has handled all earlier notifications."""
        if self._host is None or len(self._barriers) >= MAX_WAITING:
            os.close(theirs)
            return
        try:
            end, other = os.pipe()
        except OSError:
            os.close(theirs)
            return
        self._barriers[end] = theirs
        self._epoll.register(end, 0)  # a hang-up is always reported
        self._queue(b"BARRIER=1", other)

    def _end_barrier(self, end: int) -> None:
        theirs = self._barriers.pop(end)
        self._epoll.unregister(end)
        os.close(end)
        _close(theirs)

    def _queue(self, data: bytes, fd: int) -> None:
        if self._host is None:
            _close(fd)
            return
        self._waiting.append((data, fd))

    def _send(self) -> None:
        """Send as much as the manager's socket has room for. The rest waits, and while too much waits, nothing more is
        read."""
        host = self._host
        if host is None:
            return
        while self._waiting:
            data, fd = self._waiting[0]
            try:
                socket.send_fds(host, [data], [] if fd < 0 else [fd])
            except BlockingIOError:
                break
            except OSError as error:
                self._lose(error)
                return
            _close(fd)
            del self._waiting[0]
        self._epoll.modify(host, select.EPOLLOUT if self._waiting else 0)
        self._epoll.modify(self._own, select.EPOLLIN if len(self._waiting) < MAX_WAITING else 0)

    def _lose(self, error: OSError) -> None:
        """The manager is gone: drop waiting and later notifications."""
        if self._host is not None:
            self._epoll.unregister(self._host)
            self._host.close()
            self._host = None
        self._warn(error)
        for _, fd in self._waiting:
            _close(fd)
        self._waiting.clear()
        self._epoll.modify(self._own, select.EPOLLIN)

    def _flush(self) -> None:
        """Wait until the manager has handled all notifications, 30 s at most: it looks up the sender, so this process
        must still exist."""
        try:
            end, other = os.pipe()
        except OSError:
            return
        self._queue(b"BARRIER=1", other)
        until = time.monotonic() + _BARRIER_MS / 1000
        try:
            while self._host is not None:
                self._send()
                left = int((until - time.monotonic()) * 1000)
                if left <= 0:
                    log.warning(f"NOTIFY_SOCKET {self._path}: no answer to BARRIER=1 for {_BARRIER_MS // 1000} s")
                    return
                waiting = [self._host.fileno()] if self._waiting and self._host is not None else []
                if end in interrupts.poll_both([end], waiting, left)[0]:
                    return
        finally:
            os.close(end)

    def _warn(self, error: OSError) -> None:
        reason = errno_text(error.errno or errno.ECONNREFUSED)
        log.warning(f"NOTIFY_SOCKET {self._path}: {reason}; nothing more is relayed")


def _bind(directory: int) -> socket.socket:
    """A socket in a directory, to which every user may send. A socket that another command has left is replaced."""
    own = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    umask = os.umask(0)
    try:
        own.setblocking(False)
        os.fchmod(own.fileno(), 0o666)
        try:
            os.unlink(NAME, dir_fd=directory)
        except FileNotFoundError:
            pass
        # By the descriptor: the path may be longer than an address of unix(7), and may have been replaced meanwhile.
        own.bind(f"/proc/self/fd/{directory}/{NAME}")
    except BaseException:
        own.close()
        raise
    finally:
        os.umask(umask)
    return own


def _close(fd: int) -> None:
    if fd >= 0:
        os.close(fd)
