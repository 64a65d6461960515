"""What the tests of the shim's modules share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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
