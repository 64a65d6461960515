"""The signals that end a command which has something to undo: they come in only where it waits. Hot.

A handler that raises may raise between any two instructions: between a descriptor's close and the note that it is
closed, in the middle of the undoing. So `hold` blocks these signals for the rest of the command, and only `poll` and
`during` let one in, which then raises Interrupted there. What a command does between two waits takes milliseconds.
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
    """A signal ended the command; its effects are undone like after any failure."""

    __slots__ = ()


class _Held:
    """signals: those that `hold` has blocked, and its caller had not. open: whether they are let in at all, between
    `hold` and `close`. mask: what is blocked in a wait, as bits (bit N - 1 is signal N)."""

    __slots__ = ("mask", "open", "signals")

    def __init__(self) -> None:
        self.mask = native.AS_NOW
        self.open = False
        self.signals: list[int] = []


_held = _Held()


def hold() -> None:
    """Let the signals that end a command wait for `poll` and `during`, where they raise Interrupted; ignored ones stay
    ignored.

    SIGCHLD must not be ignored, as a caller may have left it: children would be reaped before they are waited for.
    """
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    before = _signal.pthread_sigmask(_signal.SIG_BLOCK, SIGNALS)
    signals = [number for number in SIGNALS if number not in before and not native.signal_ignored(number)]
    for number in signals:
        _signal.signal(number, _interrupt)
    _held.signals = signals
    _held.mask = sum([1 << (number - 1) for number in before])
    _held.open = True


def block(numbers: Iterable[int]) -> None:
    """Block other signals too, also while those of `hold` are let in: a SIGCHLD, which is ignored by default, would be
    lost there."""
    _signal.pthread_sigmask(_signal.SIG_BLOCK, numbers)
    if _held.open:
        _held.mask |= sum([1 << (number - 1) for number in numbers if number not in _held.signals])


def close() -> None:
    """Let none in any more: what follows is the undoing, which is not to be ended, or is served by a signalfd."""
    _held.open = False
    _held.mask = native.AS_NOW


def release() -> None:
    """Give the signals back their default action, and let them in: the command has done nothing yet that is to be
    undone, and another program takes its place, which inherits the mask of signals."""
    close()
    signals, _held.signals = _held.signals, []
    for number in signals:
        _signal.signal(number, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, signals)


def poll(fds: Sequence[int], timeout_ms: int = -1) -> list[int]:
    """`native.poll`, where a signal may come in: Interrupted, also for one that has come since the last wait, unless a
    descriptor is ready at once."""
    return native.poll(fds, timeout_ms, _held.mask)


def look() -> None:
    """Let in a signal that has come, without waiting: between waits for what may always be ready."""
    if _held.open:
        native.poll((), 0, _held.mask)


def poll_both(readers: Sequence[int], writers: Sequence[int], timeout_ms: int = -1) -> tuple[list[int], list[int]]:
    """`native.poll_both`, in the same way."""
    return native.poll_both(readers, writers, timeout_ms, _held.mask)


def during(call: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """A call that may wait for others, such as the open of a FIFO, and in which a signal may come in.

    What the call has made is lost then; it is to be nothing but descriptors.
    """
    if not _held.open:
        return call(*args, **options)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, _held.signals)
    try:
        return call(*args, **options)
    finally:
        _signal.pthread_sigmask(_signal.SIG_BLOCK, SIGNALS)


def connect(path: str, failure: str, *, no_listener: str = "", step: str = "") -> int:
    """Connect to the stream socket at `path`, an abstract name if it begins with @. Signals may come in. unix(7).

    failure: the message of the error. no_listener: its hint if nobody listens on the socket. step: as PyruncError has
    it. Raises PyruncError, after native.PATIENCE_MS also if the socket's queue stays full.
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
        return  # two have come in at once
    close()
    _signal.pthread_sigmask(_signal.SIG_BLOCK, SIGNALS)  # `during` has let them in
    raise Interrupted(f"interrupted by signal {number}", exit_code=128 + number)
