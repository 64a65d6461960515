"""The signals that end a command: while it has effects to undo, they are delivered only where it waits. Hot.

A handler that raises may do so between any two instructions: between a descriptor's close and the assignment that
records it, or in the middle of a rollback. So `hold` blocks these signals for the rest of the command. Only `poll` and
`during` deliver one, by raising Interrupted. Between two waits a command runs for milliseconds.
"""

from __future__ import annotations

import _signal
import errno

from ...errors import PyruncError
from . import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    T = TypeVar("T")

SIGNALS = (_signal.SIGHUP, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGTERM)


class Interrupted(PyruncError):
    """A signal ended the command. Its effects are undone as after any failure."""

    __slots__ = ()


class _Held:
    """signals: the signals that `hold` has blocked and its caller had not. open: whether waits deliver them: from
    `hold` to `close`. mask: the signals that are blocked during a wait, as bits (bit N - 1 is signal N)."""

    __slots__ = ("mask", "open", "signals")

    def __init__(self) -> None:
        self.mask = native.AS_NOW
        self.open = False
        self.signals: list[int] = []


_held = _Held()


def hold() -> None:
    """Block the signals that end a command except in `poll` and `during`, where they raise Interrupted. Ignored ones
    stay ignored. A second call does nothing.

    SIGCHLD gets its default action. If the caller has ignored it, children would be reaped before a wait for them.
    """
    if _held.open:
        return
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    before = _signal.pthread_sigmask(_signal.SIG_BLOCK, SIGNALS)
    signals = [number for number in SIGNALS if number not in before and not native.signal_ignored(number)]
    for number in signals:
        _signal.signal(number, _interrupt)
    _held.signals = signals
    _held.mask = native.signal_bits(before)
    _held.open = True


def block(numbers: Iterable[int], bits: int) -> None:
    """Block other signals too, also during waits: otherwise a SIGCHLD, which is ignored by default, would be lost.

    bits: the same signals, as `native.signal_bits` has them.
    """
    _signal.pthread_sigmask(_signal.SIG_BLOCK, numbers)
    if _held.open:
        _held.mask |= bits & ~native.signal_bits(_held.signals)


def close() -> None:
    """Stop delivering signals: a rollback follows, which must not be interrupted, or a signalfd receives them."""
    _held.open = False
    _held.mask = native.AS_NOW


def release() -> None:
    """Restore the signals' default action and unblock them. To be called before the first effect, because another
    program replaces this one and inherits the signal mask."""
    close()
    signals, _held.signals = _held.signals, []
    for number in signals:
        _signal.signal(number, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, signals)


def poll(fds: Sequence[int], timeout_ms: int = -1) -> list[int]:
    """`native.poll` that delivers signals: it raises Interrupted, also for a signal since the last wait, unless a
    descriptor is ready at once."""
    return native.poll(fds, timeout_ms, _held.mask)


def await_execve(sync: int, pid: int, name: str) -> bool:
    """`native.await_execve` that delivers signals like `poll`."""
    return native.await_execve(sync, pid, name, _held.mask)


def deliver_pending() -> None:
    """Deliver a pending signal without a wait. For loops whose descriptors may always be ready."""
    if _held.open:
        native.poll((), 0, _held.mask)


def poll_both(readers: Sequence[int], writers: Sequence[int], timeout_ms: int = -1) -> tuple[list[int], list[int]]:
    """`native.poll_both` that delivers signals like `poll`."""
    return native.poll_both(readers, writers, timeout_ms, _held.mask)


def during(call: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """Make a call that may wait for another process, such as the open of a FIFO. A signal may interrupt it.

    The result of an interrupted call is lost, so a call may make only descriptors.
    """
    if not _held.open:
        return call(*args, **options)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, _held.signals)
    try:
        return call(*args, **options)
    finally:
        _signal.pthread_sigmask(_signal.SIG_BLOCK, SIGNALS)


def connect(path: str, failure: str, *, no_listener: str = "", step: str = "") -> int:
    """Connect to the stream socket at `path`, an abstract name if it begins with @. Signals are delivered. unix(7).

    failure: the message of the error. no_listener: its hint if nobody listens on the socket. step: as PyruncError has
    it. Raises PyruncError, also if the socket's queue stays full for native.PATIENCE_MS.
    """
    try:
        return during(native.connect, path, stream=True, timeout_ms=native.PATIENCE_MS)
    except OSError as error:
        hint = ""
        if error.errno == errno.EAGAIN:
            hint = f"its queue is full: its owner has accepted no connection for {native.PATIENCE_MS // 1000} s"
        elif error.errno in (errno.ENOENT, errno.ECONNREFUSED):
            hint = no_listener
        raise PyruncError(failure, step=step, errno=error.errno or 0, hint=hint) from error


def _interrupt(number: int, frame: object) -> None:
    if not _held.open:
        return  # two signals were delivered at once
    close()
    _signal.pthread_sigmask(_signal.SIG_BLOCK, SIGNALS)  # `during` has unblocked them
    raise Interrupted(f"interrupted by signal {number}", exit_code=128 + number)
