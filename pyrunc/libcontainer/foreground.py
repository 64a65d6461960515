"""`run` in the foreground: signals go on to the container, its end is waited for, the terminal is relayed."""

from __future__ import annotations

import _signal
import posix

from .. import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .console import Relay
    from .launch import Launched

_PR_SET_CHILD_SUBREAPER = 36
_SIGINFO_SIZE = 128  # struct signalfd_siginfo begins with the signal's number (signalfd(2))


def take_signals(launched: Launched) -> int:
    """Get ready for `wait` before the process starts; gives the descriptor from which the signals are read.

    From then on all signals wait to be passed on, and this process is the subreaper. Raises OSError.
    """
    if not launched.options.no_subreaper and not launched.record.ownPids:
        # With a pid namespace of its own, the container's orphans never come up to here.
        from _prctl import prctl

        prctl(_PR_SET_CHILD_SUBREAPER, 1)
    numbers = _signal.valid_signals() - {_signal.SIGKILL, _signal.SIGSTOP}
    _signal.pthread_sigmask(_signal.SIG_BLOCK, numbers)
    return native.signalfd(numbers)


def wait(launched: Launched, relay: Relay | None, signals: int) -> int:
    """Wait until the container's process ends: its exit status, or 128 + n where signal n ended it.

    Every signal is passed on to it, but SIGCHLD, at which children are reaped (those of the container too, where
    this process is their subreaper), and SIGWINCH where a terminal is relayed. Raises OSError.
    """
    code = -1
    while code < 0:
        if relay is None or relay.wait(signals):
            code = _handle(launched, relay, signals)
    if relay is not None:
        relay.finish()
    return code


def _handle(launched: Launched, relay: Relay | None, signals: int) -> int:
    """Take one signal; the exit code where it was the news of the process's end, else -1."""
    number = int.from_bytes(posix.read(signals, _SIGINFO_SIZE)[:4], "little")
    if number == _signal.SIGCHLD:
        return _reap(launched.pid)
    if number == _signal.SIGWINCH and relay is not None:
        relay.resize()
        return -1
    try:
        _signal.pidfd_send_signal(launched.pidfd, number)
    except ProcessLookupError:
        pass  # it has ended, and its SIGCHLD is on the way
    return -1


def _reap(pid: int) -> int:
    """Reap every child that has ended; the exit code of the one with this pid, -1 where it is not among them."""
    code = -1
    while True:
        try:
            result = posix.waitid(posix.P_ALL, 0, posix.WEXITED | posix.WNOHANG)
        except ChildProcessError:
            return code
        if result is None:
            return code
        if result.si_pid == pid:
            code = result.si_status if result.si_code == posix.CLD_EXITED else 128 + result.si_status
