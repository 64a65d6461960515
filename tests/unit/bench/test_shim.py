"""The table of the shim's bench."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from tests.bench import shim, table
from tests.bench.shim import Flavour
from tests.bench.table import Samples
from tests.shim import wire

FLAVOURS = [Flavour(name, "shim", "2.3", "runc") for name in (table.SUBJECT, shim.RUNC, shim.CRUN)]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> shim.Bench:
    """A bench that has measured one life of each: 10, 40 and 12 ms."""
    monkeypatch.setattr(shim, "versions", lambda flavours: "versions")
    value = object.__new__(shim.Bench)
    value.flavours, value.samples, value.notes = FLAVOURS, Samples(), {"A note."}
    value.options = argparse.Namespace(rounds=1, batches=2, at_once=3, pods=4, settle=5)
    for flavour, milliseconds in zip(FLAVOURS, (10.0, 40.0, 12.0), strict=True):
        value.samples.add(shim.LIFE, flavour.name, milliseconds)
    for name, kib in ((table.SUBJECT, 1024.0), (shim.RUNC, 4096.0)):
        for _ in range(4):
            value.samples.add(shim.PSS, name, kib)
    return value


def test_text(bench: shim.Bench) -> None:
    text = bench.text()
    row = next(line for line in text.splitlines() if line.startswith("| a life"))
    assert "| 0.25 | 0.83 | ≤ 0.35 × Go + runc: met, ≤ 0.6 × Go + crun: **missed** |" in row
    assert "MiB: pyrunc 4, Go + runc 16." in text
    assert "A note." in text
    assert "- a life: start … delete: 0.833 × Go + crun" in text
    assert text.endswith("\n")


def test_options_name_the_runtime() -> None:
    box = FLAVOURS[0].options()
    assert box["type_url"] == "containerd.runc.v1.Options"
    assert wire.decode("Options", box["value"])["binary_name"] == "runc"


def test_cpu(tmp_path: Path) -> None:
    (tmp_path / "cpu.stat").write_text("usage_usec 12500\nuser_usec 1\n")
    assert shim.cpu(tmp_path) == 12.5
