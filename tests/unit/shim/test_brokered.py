"""What a bundle asks of a broker. The whole is in tests/shim/test_broker.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.plan.host import BROKER
from pyrunc.shim import brokered


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"annotations": {BROKER: "web"}}, "web"),
        ({"annotations": {"other": BROKER}}, ""),
        ({"annotations": [BROKER]}, ""),
        ([BROKER], ""),
        ({"annotations": {BROKER: "web", "io.kubernetes.cri.container-type": "sandbox"}}, ""),
        ({"annotations": {BROKER: "web", "io.kubernetes.cri.container-type": "container"}}, "web"),
    ],
)
def test_the_policy_of_a_bundle(tmp_path: Path, config: Any, name: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert brokered.policy(str(tmp_path)) == name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps({"annotations": {BROKER: ""}}), "names no policy"),
        (json.dumps({"annotations": {BROKER: 5}}), "names no policy"),
        ("{", "config.json: "),
        (None, "config.json: no such file"),
    ],
)
def test_a_bundle_whose_policy_can_t_be_read(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(PyruncError, match=message):
        brokered.policy(str(tmp_path))
