"""The agent of one container, a separate process: it receives the waiting calls and answers them.

Calls that can't take long are carried out here, others by workers, each forked for one call. So a call that never ends
delays neither other containers nor other calls of its container.
"""

from __future__ import annotations

import errno
import select
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ... import log
from ...errors import join
from ..seccomp import compiler
from . import calls, listener
from .acting import CRASHED, Worker
from .caller import Caller, Processes
from .model import Refusal

if TYPE_CHECKING:
    from .containers import Container
    from .model import Notification

# How many calls of a container may be carried out by workers at a time, and how long one of a path may take.
MAX_WORKERS = 32
PATIENCE_SECONDS = 30.0
# How often, in seconds, the agent checks whether the calls of its workers still wait.
_LOOK_SECONDS = 1.0
# How many lines the log gets of one container in so many seconds.
_LINES, _LINES_SECONDS = 20, 10.0
# Calls that may wait as long as the peer wants, as they would without a broker.
_PATIENT = ("connect",)


@dataclass(frozen=True)
class _Pending:
    """A call that a worker carries out. due: when it is killed; None for never."""

    id: int
    name: str
    worker: Worker
    due: float | None


class Agent:
    """The agent of a container. fd: its listener."""

    def __init__(self, fd: int, container: Container) -> None:
        self._fd = fd
        self._container = container
        self._numbers = calls.numbers()
        self._architecture = compiler.architecture("")
        self._processes = Processes()
        self._pending: dict[int, _Pending] = {}
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self._lines = Allowance(_LINES, _LINES_SECONDS)
        self._unlogged = 0
        self._calls = Allowance(container.policy.calls_per_second, 1.0)

    def serve(self) -> None:
        """Answer calls until the container's last process with the filter has ended. Raises OSError."""
        listener.prepare(self._fd)
        while self._turn():
            pass
        for pending in self._pending.values():
            pending.worker.kill()
            pending.worker.result()

    def _turn(self) -> bool:
        """Wait, and answer the calls. False at the end."""
        ready = dict(self._poll.poll(_LOOK_SECONDS * 1000 if self._pending else None))
        events = ready.pop(self._fd, 0)
        for pidfd in ready:
            self._end(pidfd)
        if self._pending:
            self._look()
        if events & select.POLLIN:
            if not self._calls.take():
                # Its threads wait meanwhile: a container can't use more of the host's time than this.
                time.sleep(self._calls.wait())
            self._take()
        return bool(events & select.POLLIN) or not events

    def _take(self) -> None:
        notification = listener.receive(self._fd)
        if notification is None:
            return
        name = self._numbers.get(notification.number, "")
        try:
            self._carry_out(name, notification)
        except calls.LetKernelError:
            listener.let_kernel(self._fd, notification.id)
        except Refusal as refusal:
            self._refuse(name, notification.id, refusal.errno, refusal.reason)
        except OSError as error:
            log.debug(f"{self._container.id}: {name}: {error}")
            listener.answer(self._fd, notification.id, error.errno or errno.EIO)
        except Exception as error:
            log.error(join([f"{self._container.id}: {name}: internal error: {type(error).__name__}: {error}"]))
            listener.answer(self._fd, notification.id, errno.ENOSYS)

    def _carry_out(self, name: str, notification: Notification) -> None:
        if notification.architecture != self._architecture or not name:
            raise Refusal(errno.ENOSYS, f"system call {notification.number} of {notification.architecture:#x}")
        if not notification.tid:
            raise Refusal(errno.ENOSYS, "a process that is not in the broker's pid namespace")
        with Caller(self._fd, notification, self._processes) as caller:
            job = calls.carry_out(name, caller, self._container)
            if job is None:
                listener.answer(self._fd, notification.id, 0)
                return
            if len(self._pending) >= MAX_WORKERS:
                raise Refusal(errno.EAGAIN, f"more than {MAX_WORKERS} calls at a time")
            worker = Worker(job, self._fd)
        due = None if name in _PATIENT else time.monotonic() + PATIENCE_SECONDS
        self._pending[worker.pidfd] = _Pending(notification.id, name, worker, due)
        self._poll.register(worker.pidfd, select.POLLIN)

    def _end(self, pidfd: int) -> None:
        """Answer a call whose worker has ended."""
        pending = self._pending.pop(pidfd)
        self._poll.unregister(pidfd)
        code, reason = pending.worker.result()
        if code == CRASHED:
            code = errno.EIO
        if reason:
            self._refuse(pending.name, pending.id, code, reason)
        else:
            listener.answer(self._fd, pending.id, code)

    def _look(self) -> None:
        """Kill the workers whose call has ended, or has taken too long: `_end` answers it."""
        now = time.monotonic()
        for pending in self._pending.values():
            if (pending.due and now >= pending.due) or not listener.is_waiting(self._fd, pending.id):
                pending.worker.kill()

    def _refuse(self, name: str, id: int, code: int, reason: str) -> None:
        listener.answer(self._fd, id, code)
        if not self._lines.take():
            self._unlogged += 1
            return
        if self._unlogged:
            log.warning(f"{self._container.id}: {self._unlogged} further refusals are not logged")
            self._unlogged = 0
        failure = errno.errorcode.get(code, str(code))
        log.warning(join([f"{self._container.id}: {name or 'a call'} is refused with {failure}: {reason}"]))


class Allowance:
    """A rate limit: at most `count` in `seconds`."""

    __slots__ = ("_count", "_left", "_seconds", "_until")

    def __init__(self, count: int, seconds: float) -> None:
        self._count = self._left = count
        self._seconds = seconds
        self._until = 0.0

    def take(self) -> bool:
        """Use one of the allowance. False if none is left for now."""
        now = time.monotonic()
        if now >= self._until:
            self._until = now + self._seconds
            self._left = self._count
        self._left -= 1
        return self._left >= 0

    def wait(self) -> float:
        """The seconds until one is left."""
        return max(self._until - time.monotonic(), 0.0)
