"""Signals that end a command: they arrive while it waits, and at no other time. tests/conftest.py restores them.

The tests send them to this thread: other threads of the tests have not blocked them.
"""

from __future__ import annotations

import contextlib
import os
import posix
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.kernel import interrupts, native


@pytest.mark.parametrize("number", interrupts.SIGNALS)
def test_a_signal_raises_at_the_next_wait_and_not_before(number: int) -> None:
    interrupts.hold()
    signal.raise_signal(number)
    sum(range(1000))
    reader, _ = os.pipe()
    with pytest.raises(interrupts.Interrupted) as caught:
        interrupts.poll([reader])
    assert caught.value.exit_code == 128 + number


def test_a_signal_raises_in_the_wait_for_an_execve() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        interrupts.hold()
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(interrupts.Interrupted):
            interrupts.await_execve(ours.fileno(), os.getpid(), "none")


def test_a_second_hold_changes_nothing() -> None:
    interrupts.hold()
    interrupts.hold()
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(interrupts.Interrupted):
        interrupts.during(time.sleep, 0)


def test_one_signal_is_raised_and_the_undoing_not_disturbed() -> None:
    interrupts.hold()
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGHUP)
    with pytest.raises(interrupts.Interrupted):
        interrupts.poll([], 0)
    signal.raise_signal(signal.SIGINT)
    assert interrupts.poll([], 1) == []
    interrupts.during(time.sleep, 0)


def test_a_signal_is_not_kept_waiting_by_descriptors_that_are_always_ready() -> None:
    """Such as the pipe of a hook that writes without end."""
    reader, writer = os.pipe()
    os.write(writer, b"x")
    interrupts.hold()
    assert interrupts.poll([reader]) == [reader]
    signal.raise_signal(signal.SIGTERM)
    assert interrupts.poll([reader]) == [reader]
    with pytest.raises(interrupts.Interrupted):
        interrupts.deliver_pending()


def test_a_wait_takes_no_other_signal_from_a_signalfd() -> None:
    """A SIGCHLD, which is ignored by default, is lost once it is unblocked: nobody would learn of the container's
    end.
    """
    interrupts.hold()
    interrupts.block([signal.SIGCHLD, signal.SIGTERM], native.signal_bits([signal.SIGCHLD, signal.SIGTERM]))
    signals = native.signalfd(native.signal_bits([signal.SIGCHLD]))
    signal.raise_signal(signal.SIGCHLD)
    assert interrupts.poll([], 0) == []
    assert interrupts.poll([signals], 0) == [signals]
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(interrupts.Interrupted):
        interrupts.deliver_pending()


def test_a_signal_comes_into_a_call_that_waits(tmp_path: os.PathLike[str]) -> None:
    fifo = os.path.join(tmp_path, "fifo")
    os.mkfifo(fifo)

    interrupts.hold()
    own = threading.get_ident()
    threading.Timer(0.1, lambda: signal.pthread_kill(own, signal.SIGTERM)).start()
    with pytest.raises(interrupts.Interrupted):
        interrupts.during(os.open, fifo, os.O_WRONLY)
    assert signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_what_the_caller_ignores_or_blocks_stays_so() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGQUIT])
    interrupts.hold()
    for number in (signal.SIGHUP, signal.SIGQUIT):
        signal.raise_signal(number)
    assert interrupts.poll([], 1) == []
    assert interrupts.during(native.poll, [], 0) == []
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    interrupts.release()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) >= {signal.SIGQUIT}


def test_an_ignored_sigchld_is_set_right() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    interrupts.hold()
    assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL


def test_another_program_gets_the_signals_as_they_were() -> None:
    """The launcher hands a command over to the ordinary build, which inherits the mask."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    interrupts.hold()
    interrupts.release()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_connection_that_nobody_accepts_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "socket")
    with pytest.raises(PyruncError, match="to it") as caught:
        interrupts.connect(path, "to it", no_listener="nobody listens", step="s")
    assert caught.value.line() == "to it: no such file or directory (step s; nobody listens)"
    monkeypatch.setattr(native, "PATIENCE_MS", 1000)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        listener.bind(path)
        with pytest.raises(PyruncError, match="to it") as caught:
            interrupts.connect(path, "to it")
        assert caught.value.line() == "to it: connection refused"
        listener.listen(0)
        stack.callback(posix.close, interrupts.connect(path, "to it"))
        with pytest.raises(PyruncError, match="to it") as caught:
            interrupts.connect(path, "to it", no_listener="nobody listens")
        assert caught.value.hint == "its queue is full: its owner has accepted no connection for 1 s"
