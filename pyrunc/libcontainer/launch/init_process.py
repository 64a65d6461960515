"""The container's init as the runtime, its parent, sees it: its pid, the socket to it, and what it has sent."""

from __future__ import annotations

import _signal
import posix

from ...errors import PyruncError
from .. import process
from ..kernel import interrupts, native
from ..plan import wire


class InitProcess:
    """The init, from just before its clone until it is reaped. In C it is csrc/init/init.c.

    pid, pidfd: 0 and -1 before the clone; pidfd is -1 again once the init is reaped.
    sync: the runtime's end of the socket to the init (docs/architecture.md, The wire); -1 before the clone and after
        `close_sync`.
    plan_fd, times_at: the memfd that holds the init's plan, or -1, and the offset at which the init stores its times.
    master: the pty's master that the init has sent and that is not handed on yet, or -1.
    received: a mount that the init has sent with its last request, or -1.
    listener: the number of the seccomp listener among the init's descriptors, once the init has told it; else -1.
    """

    __slots__ = ("listener", "master", "pid", "pidfd", "plan_fd", "received", "sync", "times_at")

    def __init__(self) -> None:
        self.pid = 0
        self.pidfd = -1
        self.sync = -1
        self.plan_fd = -1
        self.times_at = 0
        self.master = -1
        self.received = -1
        self.listener = -1

    def receive(self, waited: bool = False) -> wire.Message | None:
        """Wait for the init's next message; None at the end of file, which is its exec or its death.

        A descriptor that comes with the message is kept: a pty's master in `master`, a mount in `received`.
        waited: the caller has polled the socket already, and handles signals itself. Raises Interrupted for a signal,
        OSError, ConnectionResetError if the init has ended without an error message and without reading the last answer
        (one that executes its program has read it).
        """
        while not (waited or interrupts.poll([self.sync])):
            continue
        try:
            data, fds = native.recv(self.sync, wire.MESSAGE_SIZE, 1)
        except ConnectionResetError:
            # The runtime's answer is unread. The error comes once, before the init's last message (unix(7)).
            data, fds = native.recv(self.sync, wire.MESSAGE_SIZE, 1)
            if not data:
                raise
        if not data:
            return None
        message = wire.decode_message(data)
        if fds:
            if message.detail == "send_console":
                self.master = fds[0]
            else:
                self.received = fds[0]
        return message

    def answer(self) -> None:
        """Let the init go on. Raises BrokenPipeError or ConnectionResetError if it has ended."""
        native.send(self.sync, wire.GO_ON)

    def is_ending(self) -> bool:
        """Whether its end has begun, or is over; False if that can't be seen."""
        try:
            found = process.stat(self.pid)
        except (OSError, PyruncError):
            return False
        return found is not None and found.exiting

    def kill(self) -> None:
        """Kill the init and reap it. Does nothing before the clone and after the init is reaped. Raises OSError."""
        if self.pidfd < 0:
            return
        try:
            _signal.pidfd_send_signal(self.pidfd, _signal.SIGKILL)
        except ProcessLookupError:
            pass  # it is a zombie already
        try:
            self.wait()
        except ChildProcessError:
            self.close_pidfd()  # something else has reaped it

    def wait(self) -> posix.waitid_result:
        """Wait for the init's end and reap it. Raises OSError."""
        result = posix.waitid(posix.P_PIDFD, self.pidfd, posix.WEXITED)
        assert result is not None
        self.close_pidfd()
        return result

    # Each of these sets the attribute to -1 before the close: close(2) frees the number even if it fails, and another
    # file may have that number afterwards.

    def close_sync(self) -> None:
        """Close the runtime's end of the socket. Raises OSError."""
        fd, self.sync = self.sync, -1
        _close(fd)

    def close_pidfd(self) -> None:
        """Close the pidfd. Raises OSError."""
        fd, self.pidfd = self.pidfd, -1
        _close(fd)

    def close_plan(self) -> None:
        """Close the plan's memfd. Raises OSError."""
        fd, self.plan_fd = self.plan_fd, -1
        _close(fd)

    def close_received(self) -> None:
        """Close the mount that came with the last request. Raises OSError."""
        fd, self.received = self.received, -1
        _close(fd)


def _close(fd: int) -> None:
    if fd >= 0:
        posix.close(fd)
