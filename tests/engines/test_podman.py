"""What Podman has beyond the options of Docker, with pyrunc and beside it with runc or crun."""

from __future__ import annotations

import pytest

from tests.engines.conftest import CHOSEN, Ground, judge
from tests.engines.podman import CHECKS, PEERS

PAIRS = [(kind, name) for kind in CHOSEN if kind in ("podman", "rootless", "delegated") for name in CHECKS]


@pytest.mark.parametrize(("ground", "name"), PAIRS, ids=[f"{kind}-{name}" for kind, name in PAIRS], indirect=["ground"])
def test_check(ground: Ground, name: str) -> None:
    judge(ground, name, CHECKS[name], PEERS.get(name, "runc"))
