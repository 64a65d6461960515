"""What all tests rely on, however they are started."""

from __future__ import annotations

import os
import signal


def _ignore(number: int, frame: object) -> None:
    """A handler, which execve sets back to the default action, unlike SIG_IGN."""


def pytest_configure() -> None:
    """Let what tests start begin with the signals and the umask of a login, and not with those of pytest's caller.

    A shell has what it starts in the background ignore SIGINT and SIGQUIT; nohup ignores SIGHUP, which still does not
    end pytest itself; CI services may block signals, ignore SIGCHLD, or have a umask of 077.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, _ignore)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.umask(0o022)
