"""What all tests rely on, however they are started."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest

# What `make` hands on to a `make` that one of its rules runs: its options and that it is not the first.
MAKE_VARIABLES = ("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS")

# Tests that build in the same directories are one group, which pytest-xdist gives to one worker.
BUILDING = (
    "test_launcher_install.py",
    "test_launcher_dist.py",
    "test_launcher_import.py",
    "test_snapshot.py",
    "test_launcher_wheel.py",
)

# Of these a file is a group: what a fixture of the module makes takes longer than its tests.
BY_FILE = ("tests/unit/", "tests/fuzz/", "tests/integration/test_mutated_configs.py")


# The signals that end a command.
ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


def _ignore(number: int, frame: object) -> None:
    """A handler, which execve sets back to the default action, unlike SIG_IGN."""


def pytest_configure() -> None:
    set_right()


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """Give the signals that end commands their actions back, and the mask of signals: what a test calls in this process
    may block them, as a launch does, and what the next test starts would have them blocked too."""
    actions = {number: signal.getsignal(number) for number in ENDING}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    held = sys.modules.get("pyrunc.libcontainer.kernel.interrupts")
    if held is not None:
        held.close()
    if signal.pthread_sigmask(signal.SIG_BLOCK, ()) != mask:
        for number in actions:
            signal.signal(number, signal.SIG_IGN)  # which drops those that are pending
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    for number, action in actions.items():
        if signal.getsignal(number) != action:
            signal.signal(number, action)


def group(nodeid: str) -> str:
    """The group of a test, which one worker of pytest-xdist runs in order; most tests are one of their own."""
    file = nodeid.partition("::")[0]
    if file.rpartition("/")[2] in BUILDING:
        return "building"
    if file.startswith("tests/engines/"):
        return file + nodeid.partition("[")[2].partition("-")[0]  # an engine's
    return file if file.startswith(BY_FILE) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """How pytest-xdist hands tests out. Its own `loadgroup` has no effect with pytest 9.2."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group(nodeid)

    return ByGroup(config, log)


def set_right() -> None:
    """Let what tests start begin with a login's signals, umask and environment, and not with those of pytest's caller.

    A shell has what it starts in the background ignore SIGINT and SIGQUIT; nohup ignores SIGHUP, which still does not
    end pytest itself; CI services may block signals, ignore SIGCHLD, or have a umask of 077.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, _ignore)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for name in MAKE_VARIABLES:
        os.environ.pop(name, None)
    os.umask(0o022)
