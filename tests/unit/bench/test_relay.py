"""The bench of the relay, with a script in a runtime's place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench import relay
from tests.bench.runtimes import Failed, Runtime


def script(work: Path, text: str) -> Runtime:
    return Runtime("fake", ["/bin/sh", "-c", text], work)


def test_the_bundle_writes_as_much_as_asked_for(tmp_path: Path) -> None:
    config = json.loads((relay.bundle(tmp_path, 3) / "config.json").read_text())
    words = dict(word.split("=") for word in config["process"]["args"] if "=" in word)
    assert int(words["bs"]) * int(words["count"]) == 3 << 20
    assert config["process"]["terminal"]


def test_throughput_counts_what_comes_out(tmp_path: Path) -> None:
    runtime = script(tmp_path, "head -c 3145728 /dev/zero")
    assert relay.throughput(runtime, tmp_path, "x", 3) > 0


@pytest.mark.parametrize("text", ["head -c 1000 /dev/zero", "head -c 3145728 /dev/zero; exit 1"])
def test_throughput_of_what_fails_or_loses_output_is_none(tmp_path: Path, text: str) -> None:
    with pytest.raises(Failed):
        relay.throughput(script(tmp_path, text), tmp_path, "x", 3)
