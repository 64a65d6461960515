"""What Kubernetes does with pods, under containerd's CRI plugin."""

from __future__ import annotations

import pytest

from tests.engines.conftest import CHOSEN, Ground, judge
from tests.engines.pods import CHECKS

PAIRS = [(kind, name) for kind in CHOSEN if kind.startswith("cri") for name in CHECKS]


@pytest.mark.parametrize(("ground", "name"), PAIRS, ids=[f"{kind}-{name}" for kind, name in PAIRS], indirect=["ground"])
def test_check(ground: Ground, name: str) -> None:
    judge(ground, name, CHECKS[name])
