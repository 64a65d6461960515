"""`run` and `exec` in the foreground: forward signals, relay the terminal, wait for the process to end. Hot."""

from __future__ import annotations

import _signal
import posix

from _prctl import prctl

from ..kernel import interrupts, native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .model import Launch
    from .notify import Notify
    from .relay import Relay

_PR_SET_CHILD_SUBREAPER = 36
# struct signalfd_siginfo (signalfd(2)): the number first (u32), then the error and the code, then the sender's pid.
_SIGINFO_SIZE = 128

# Signals that this process's own write(2) may raise. Its errno is handled instead.
_WRITE_SIGNALS = (_signal.SIGPIPE, _signal.SIGXFSZ)
# Left to the kernel, so that a background job that reads or writes its terminal stops (TOSTOP in termios(3)).
_BACKGROUND_SIGNALS = {_signal.SIGTTOU, _signal.SIGTTIN}


def _with_bits(numbers: set[int]) -> tuple[frozenset[int], int]:
    return frozenset(numbers), native.signal_bits(numbers)


# The signals that are read from the signalfd, without and with a relay.
_FORWARDED = _with_bits(_signal.valid_signals() - {_signal.SIGKILL, _signal.SIGSTOP})
_FORWARDED_WITH_RELAY = _with_bits(_signal.valid_signals() - {_signal.SIGKILL, _signal.SIGSTOP} - _BACKGROUND_SIGNALS)


class Foreground:
    """A foreground command, from just before its process starts until the process has ended and its output is written.

    All signals are blocked and read from a signalfd, and this process is the subreaper. After a failure the caller
    closes the relay.
    """

    __slots__ = ("_launch", "_pending", "_relay", "_signals")

    def __init__(self, launch: Launch, relay: Relay | None) -> None:
        """Block the signals, and prepare the relay. Raises OSError."""
        self._launch = launch
        self._relay = relay
        self._pending: list[int] = []  # signals that came before the program ran
        if not launch.options.no_subreaper and not launch.record.private_pid_namespace:
            # In a pid namespace of their own, orphans become children of its first process, not of this one.
            prctl(_PR_SET_CHILD_SUBREAPER, 1)
        numbers, bits = _FORWARDED if relay is None else _FORWARDED_WITH_RELAY
        interrupts.block(numbers, bits)
        self._signals = native.signalfd(bits)
        if relay is not None:
            relay.attach(launch.init.master, self._signals)

    def start(self) -> None:
        """Let the init go on, and wait until it has executed the program.

        Raises PyruncError if that fails, Interrupted for a signal that ends commands. Other signals are forwarded
        later.
        """
        launch = self._launch
        launch.answer()
        while True:
            if launch.init.sync in native.poll([launch.init.sync, self._signals]):
                if launch.receive(waited=True) is None:
                    return
                continue
            number = self._read()
            if number in interrupts.SIGNALS:
                raise interrupts.Interrupted(f"interrupted by signal {number}", exit_code=128 + number)
            self._pending.append(number)

    def wait(self) -> int:
        """Wait until the process ends. Returns its exit status, or 128 + n if signal n ended it. Raises OSError.

        Every signal is forwarded to it, except SIGCHLD, on which children are reaped (the container's orphans too, if
        this process is their subreaper), and SIGWINCH if a terminal is relayed.
        """
        relay = self._relay
        notify = self._launch.notify
        if notify is not None:
            # MAINPID is this command, which the service manager has started; it ends when the process does.
            notify.begin(posix.getpid())
            if relay is not None:
                relay.also(notify.fd, notify.serve)
        code = -1
        if relay is not None:
            # Not earlier: until the program runs, Ctrl-C has to end this command.
            relay.take_terminal()
        for number in self._pending:
            code = max(code, self._handle(number))
        while code < 0:
            if relay is not None:
                told = relay.wait()
            elif notify is not None:
                told = self._signals in self._serve(notify)
            else:
                told = True
            if told:
                code = self._handle(self._read())
        if notify is not None:
            notify.finish()
        if relay is not None:
            relay.drain()
        return code

    def _serve(self, notify: Notify) -> list[int]:
        """Wait for signals and notifications, and relay notifications. Returns the readable descriptors. Raises
        OSError."""
        found = native.poll([self._signals, notify.fd])
        if notify.fd in found:
            notify.serve()
        return found

    def close(self) -> None:
        """Restore the terminal, then wait until the user's side has read the rest of the output.

        The wait for a stalled reader ends when the reader goes away, and by a signal. Raises nothing.
        """
        relay = self._relay
        if relay is None:
            return
        relay.restore()
        try:
            while relay.flush():
                number = self._read()
                if number in interrupts.SIGNALS:
                    break
                if number == _signal.SIGTSTP:
                    _stop()
        finally:
            relay.close()

    def _read(self) -> int:
        """The number of the next signal. For one that this process's own write has raised, SIGCHLD, which is
        harmless."""
        info = posix.read(self._signals, _SIGINFO_SIZE)
        number = int.from_bytes(info[:4], "little")
        sender = int.from_bytes(info[12:16], "little")
        if number in _WRITE_SIGNALS and sender == posix.getpid():
            return int(_signal.SIGCHLD)
        return number

    def _handle(self, number: int) -> int:
        """Handle one signal. Returns the exit code if it was SIGCHLD for the process's end, else -1."""
        relay = self._relay
        if number == _signal.SIGCHLD:
            return _reap(self._launch.init.pid)
        if relay is not None and number == _signal.SIGWINCH:
            relay.resize()
            return -1
        try:
            _signal.pidfd_send_signal(self._launch.init.pidfd, number)
        except ProcessLookupError:
            pass  # it has ended; its SIGCHLD follows
        if relay is not None:
            if number == _signal.SIGTSTP:
                relay.restore()
                _stop()
                relay.take_terminal()
            elif number == _signal.SIGCONT:
                relay.take_terminal()
        return -1


def _stop() -> None:
    """Stop as by the default action of SIGTSTP: not if it is ignored or the process group is orphaned. Returns when
    this process is continued."""
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (_signal.SIGTSTP,))
    posix.kill(posix.getpid(), _signal.SIGTSTP)
    _signal.pthread_sigmask(_signal.SIG_BLOCK, (_signal.SIGTSTP,))


def _reap(pid: int) -> int:
    """Reap every child that has ended. Returns the exit code of the one with this pid, else -1."""
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
