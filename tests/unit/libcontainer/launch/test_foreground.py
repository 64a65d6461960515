"""`run` in the foreground: what ends it, what it passes on, what it reaps. Each test runs in a separate process."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from pyrunc.libcontainer.kernel import native
from pyrunc.libcontainer.kernel.interrupts import Interrupted
from pyrunc.libcontainer.launch import foreground
from pyrunc.libcontainer.plan.options import LaunchOptions


class Fake:
    """The parts of a launched container that the foreground uses; its process is a child that runs `body`."""

    hooks: dict[str, Any] = {}
    notify: Any = None

    def __init__(self, body: Callable[[], Any], private_pids: bool = True) -> None:
        self.options = LaunchOptions(id="x")
        self.record = self
        self.private_pid_namespace = private_pids
        self.foreground = foreground.Foreground(self, None)  # type: ignore[arg-type]
        self.pid = os.fork()
        if self.pid == 0:
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            body()
            os._exit(0)
        self.pidfd = os.pidfd_open(self.pid)
        self.init = self

    def wait(self) -> int:
        return self.foreground.wait()


def in_child(body: Callable[[], int]) -> int:
    """The result of `body` in a separate process, with its own signals and children."""
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
            while True:  # not pause(): a signal that comes just before it does not end it
                time.sleep(0.01)

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


class Starting(Fake):
    """A container whose init is still working: `sync` is our end of the socket, `init_end` the init's."""

    def __init__(self) -> None:
        super().__init__(signal.pause)
        self.sync, self.init_end = native.socketpair()

    def answer(self) -> None:
        """Send nothing."""

    def receive(self, waited: bool) -> None:
        """As if the program ran."""


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM])
def test_a_signal_before_the_program_runs_ends_the_start(number: int) -> None:
    def body() -> int:
        starting = Starting()
        os.kill(os.getpid(), number)
        try:
            starting.foreground.start()
        except Interrupted as error:
            os.kill(starting.pid, signal.SIGKILL)
            return error.exit_code
        return 1

    assert in_child(body) == 128 + number


def test_other_signals_wait_for_the_program() -> None:
    def body() -> int:
        starting = Starting()
        os.kill(os.getpid(), signal.SIGUSR1)
        threading.Timer(0.3, lambda: os.close(starting.init_end)).start()
        starting.foreground.start()
        return starting.wait()

    assert in_child(body) == 128 + signal.SIGUSR1


def test_f1_a_sigpipe_of_our_own_write_is_not_passed_on() -> None:
    def body() -> int:
        fake = Fake(lambda: time.sleep(0.3))
        read, write = os.pipe()
        os.close(read)
        try:
            os.write(write, b"x")
        except BrokenPipeError:
            return fake.wait()
        return 1

    assert in_child(body) == 0


@pytest.mark.parametrize(("private_pids", "no_subreaper", "adopted"), [(0, 0, 1), (1, 0, 0), (0, 1, 0)])
def test_orphans_come_to_us_where_no_pid_namespace_takes_them(
    private_pids: int, no_subreaper: int, adopted: int
) -> None:
    class Launch:
        options = LaunchOptions(id="x", no_subreaper=bool(no_subreaper))
        record = type("Record", (), {"private_pid_namespace": bool(private_pids)})

    def body() -> int:
        foreground.Foreground(Launch(), None)  # type: ignore[arg-type]
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
