"""Each check under each engine, with pyrunc and beside it with runc."""

from __future__ import annotations

import pytest

from tests.engines.checks import CHECKS
from tests.engines.conftest import CHOSEN, Ground, judge
from tests.engines.kinds import KINDS

PAIRS = [(kind, name) for kind in CHOSEN for name in KINDS[kind].checks]


@pytest.mark.parametrize(("ground", "name"), PAIRS, ids=[f"{kind}-{name}" for kind, name in PAIRS], indirect=["ground"])
def test_check(ground: Ground, name: str) -> None:
    judge(ground, name, CHECKS[name])
