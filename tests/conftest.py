"""What all tests rely on, however they are started."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """A shell has the programs that it starts in the background ignore SIGINT, and so would all that tests start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
