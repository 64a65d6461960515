"""`run` in the foreground: what ends it, what is passed on, what is reaped. Each in a process of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from pyrunc.libcontainer import foreground
from pyrunc.libcontainer.options import LaunchOptions


class Fake:
    """As much of a launched container as the foreground looks at, its process a child that runs `body`."""

    def __init__(self, body: Callable[[], Any], own_pids: bool = True) -> None:
        self.options = LaunchOptions(id="x")
        self.record = self
        self.ownPids = own_pids
        self.signals = foreground.take_signals(self)  # type: ignore[arg-type]
        self.pid = os.fork()
        if self.pid == 0:
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            body()
            os._exit(0)
        self.pidfd = os.pidfd_open(self.pid)

    def wait(self) -> int:
        return foreground.wait(self, None, self.signals)  # type: ignore[arg-type]


def in_child(body: Callable[[], int]) -> int:
    """What `body` gives in a process of its own, whose signals and children are its own."""
    child = os.fork()
    if child == 0:
        code = 255
        try:
            code = body()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("code", [0, 1, 42])
def test_exit_code(code: int) -> None:
    assert in_child(lambda: Fake(lambda: os._exit(code)).wait()) == code


def test_death_by_a_signal_is_128_and_its_number() -> None:
    assert in_child(lambda: Fake(lambda: os.kill(os.getpid(), signal.SIGKILL)).wait()) == 137


def test_a_process_that_ended_before_the_wait_is_noticed() -> None:
    def body() -> int:
        fake = Fake(lambda: os._exit(5))
        os.waitid(os.P_PID, fake.pid, os.WEXITED | os.WNOWAIT)
        return fake.wait()

    assert in_child(body) == 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGTSTP, 64])
def test_signals_are_passed_on(number: int) -> None:
    def body() -> int:
        read, write = os.pipe()

        def process() -> None:
            signal.signal(number, lambda got, frame: os._exit(got))
            os.write(write, b"x")
            signal.pause()

        fake = Fake(process)
        os.read(read, 1)
        os.kill(os.getpid(), number)
        return fake.wait()

    assert in_child(body) == number


def test_other_children_are_reaped_and_do_not_end_it() -> None:
    def body() -> int:
        read, write = os.pipe()

        def process() -> None:
            os.read(read, 1)
            os._exit(9)

        fake = Fake(process)
        other = os.fork()
        if other == 0:
            os._exit(1)
        os.waitid(os.P_PID, other, os.WEXITED | os.WNOWAIT)
        assert foreground._reap(fake.pid) == -1
        try:
            os.waitpid(other, os.WNOHANG)
            return 200
        except ChildProcessError:
            os.write(write, b"x")
        return fake.wait()

    assert in_child(body) == 9


@pytest.mark.parametrize(("own_pids", "no_subreaper", "adopted"), [(0, 0, 1), (1, 0, 0), (0, 1, 0)])
def test_orphans_come_to_us_where_no_pid_namespace_takes_them(own_pids: int, no_subreaper: int, adopted: int) -> None:
    class Launched:
        options = LaunchOptions(id="x", no_subreaper=bool(no_subreaper))
        record = type("Record", (), {"ownPids": bool(own_pids)})

    def body() -> int:
        foreground.take_signals(Launched())  # type: ignore[arg-type]
        read, write = os.pipe()
        middle = os.fork()
        if middle == 0:
            if os.fork() == 0:
                os.read(read, 1)
            os._exit(0)
        os.waitpid(middle, 0)
        os.write(write, b"x")
        try:
            return int(os.waitpid(-1, 0)[0] > 0)
        except ChildProcessError:
            return 0

    assert in_child(body) == adopted
