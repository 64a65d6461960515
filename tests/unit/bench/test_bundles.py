"""The bench's bundles have what the table says about them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.bench import bundles


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")
def test_large_set(tmp_path: Path) -> None:
    made = bundles.large(tmp_path)
    spec = json.loads((made.long / "config.json").read_text())
    assert len(spec["mounts"]) == 20
    assert len(set(spec["process"]["capabilities"]["effective"])) == 14
    assert "user" in [item["type"] for item in spec["linux"]["namespaces"]]
    assert {(path.lstat().st_uid, path.lstat().st_gid) for path in made.long.rglob("*")} == {(100_000, 100_000)}
    sources = [mount["source"] for mount in spec["mounts"] if mount["type"] == "bind"]
    assert sources
    assert all(Path(source).is_dir() for source in sources)


def test_the_bundles_of_a_set_differ_in_the_process_only(tmp_path: Path) -> None:
    short, long = (json.loads((path / "config.json").read_text()) for path in bundles.small(tmp_path))
    assert short["process"].pop("args") == ["/bin/true"]
    assert long["process"].pop("args") == ["/bin/sleep", "1000"]
    assert short == long
    assert "resources" not in short["linux"]
