"""Builders of images, with pyrunc and beside it with runc."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.engines import buildah, buildkit
from tests.engines.conftest import CHOSEN, Ground, judge

TABLES: Mapping[str, Mapping[str, Callable[[Any], None]]] = {
    "podman": buildah.CHECKS,
    "rootless": buildah.CHECKS,
    "buildkit": buildkit.CHECKS,
}
PAIRS = [(kind, name) for kind in CHOSEN for name in TABLES.get(kind, ())]


@pytest.mark.parametrize(("ground", "name"), PAIRS, ids=[f"{kind}-{name}" for kind, name in PAIRS], indirect=["ground"])
def test_check(ground: Ground, name: str) -> None:
    judge(ground, name, TABLES[ground.kind][name])
