"""The encoder of plans under libFuzzer, for a short time, with AddressSanitizer, against the reference of the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fuzzing import ROOT, built, run, search

SEEDS = (b"", bytes(range(256)), bytes(range(255, -1, -1)) * 4, b"\x10\x01" * 200, b"\x40" * 64)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("fuzz"), "csrc/wire/encode.c", "csrc/wire/record.c", "csrc/wire/fuzz_encode.c")


def test_no_steps_are_encoded_otherwise_than_by_the_reference(target: Path, tmp_path: Path) -> None:
    search(target, tmp_path, SEEDS)


def test_a_difference_ends_it(target: Path, tmp_path: Path) -> None:
    """With a reference that encodes nothing, the steps of one seed are a crash."""
    (tmp_path / "sitecustomize.py").write_text(
        f"import sys\nsys.path.append({str(ROOT)!r})\nfrom tests.support import wire\n"
        "wire.encoded = lambda steps, slots: (0, b'')\n"
    )
    (tmp_path / "x").write_bytes(SEEDS[1])
    done = run(target, f"-artifact_prefix={tmp_path}/", str(tmp_path / "x"), path=tmp_path)
    assert done.returncode != 0
    assert "deadly signal" in done.stderr
