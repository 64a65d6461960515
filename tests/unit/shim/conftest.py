"""What the tests of the shim's modules share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.host import cgroup2_mount
from tests.support.shimloop import ProbeLoop, no_leaks


@pytest.fixture
def loop() -> Iterator[ProbeLoop]:
    """A loop that the test turns. It ends without watches, timers and open descriptors."""
    made = ProbeLoop()
    with no_leaks():
        yield made
        assert made.watched == 0
        assert not made._timers
    made.close()


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A new cgroup without processes, which the test may remove. The test is skipped where none can be made."""
    path = Path(cgroup2_mount()) / f"pyrunc-shim-{os.getpid()}"
    try:
        path.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup of its own: {error}")
    yield path
    if path.exists():
        path.rmdir()
