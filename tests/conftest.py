"""Settings for all tests, however they are started."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest

# The variables by which `make` passes its options, and that it is not the first, to a `make` in one of its rules.
MAKE_VARIABLES = ("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS")

# Tests that build in the same directories are one group, which pytest-xdist gives to one worker.
BUILDING = (
    "test_launcher_install.py",
    "test_launcher_dist.py",
    "test_launcher_import.py",
    "test_snapshot.py",
    "test_launcher_wheel.py",
)

# Each of these files is a group: the fixtures of the module take longer than its tests.
BY_FILE = ("tests/unit/", "tests/fuzz/", "tests/integration/test_mutated_configs.py", "tests/shim/test_hostile.py")


# The signals that end a command.
ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


def _ignore(number: int, frame: object) -> None:
    """A handler that does nothing: unlike SIG_IGN, execve resets it to the default action."""


# The name of the Hypothesis profile of all tests, and of the one that tries other examples each time.
PROFILE = "pyrunc"
EXPLORING = "pyrunc-explore"


def pytest_configure() -> None:
    set_right()
    load_profile()


def load_profile() -> None:
    """Let no Hypothesis test fail because the machine is slow, and let all of them try the same examples each time.

    By default, an example that takes 200 ms or examples that take a second to draw are failures. The examples follow
    from the test's source, so that CI fails again where it failed, and `@reproduce_failure` is printed. A test's own
    `settings` must not give `deadline` or `suppress_health_check`: they would replace these.
    `--hypothesis-profile=pyrunc-explore` tries other examples each time.
    """
    try:
        from hypothesis import HealthCheck, settings
    except ModuleNotFoundError:
        return  # only the tests that import it need it
    untimed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
    settings.register_profile(PROFILE, untimed, derandomize=True)
    settings.register_profile(EXPLORING, untimed, derandomize=False)
    settings.load_profile(PROFILE)


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """Restore the actions of the signals that end commands, and the mask of signals. A call in this process may block
    them, as a launch does; then the next test's processes would have them blocked too."""
    actions = {number: signal.getsignal(number) for number in ENDING}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    held = sys.modules.get("pyrunc.libcontainer.kernel.interrupts")
    if held is not None:
        held.close()
    if signal.pthread_sigmask(signal.SIG_BLOCK, ()) != mask:
        for number in actions:
            signal.signal(number, signal.SIG_IGN)  # drops pending ones
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    for number, action in actions.items():
        if signal.getsignal(number) != action:
            signal.signal(number, action)


def group(nodeid: str) -> str:
    """The group of a test, which one worker of pytest-xdist runs in order; most tests form a group by themselves."""
    file = nodeid.partition("::")[0]
    if file.rpartition("/")[2] in BUILDING:
        return "building"
    if file.startswith(("tests/engines/", "tests/shim/test_containerd.py")):
        return file + nodeid.partition("[")[2].partition("-")[0]  # that of an engine
    return file if file.startswith(BY_FILE) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Choose how pytest-xdist distributes tests. Its own `loadgroup` has no effect with pytest 9.2."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group(nodeid)

    return ByGroup(config, log)


def set_right() -> None:
    """Let the tests' processes begin with a login's signals, umask and environment, and not with those of pytest's
    caller.

    A shell has its background processes ignore SIGINT and SIGQUIT; nohup ignores SIGHUP, which still does not end
    pytest itself; CI services may block signals, ignore SIGCHLD, or have a umask of 077.
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
