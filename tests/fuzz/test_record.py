"""The record of a container and the check of state.json under libFuzzer, for a short time, with AddressSanitizer."""

from __future__ import annotations

import json
import sysconfig
from pathlib import Path

import pytest

from tests.support.damage import WHOLE
from tests.support.fuzzing import ROOT, built, run, search

SEEDS = (
    json.dumps(WHOLE).encode(),
    b"{}",
    b"[]",
    json.dumps({**WHOLE, "startSteps": [[1]], "systemd": {"unit": "u", "user": 1}}).encode(),
    *(bytes([2, name % 16, name % 43, 3, 255] * 3) for name in range(48)),
)
# state.py imports the C core, whose module of cffi is there.
PATH = Path(f"{ROOT}:{sysconfig.get_path('platlib')}")


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("fuzz"), "csrc/wire/encode.c", "csrc/wire/record.c", "csrc/wire/fuzz_record.c")


def test_no_state_is_judged_otherwise_than_by_the_table(target: Path, tmp_path: Path) -> None:
    search(target, tmp_path, SEEDS, path=PATH)


def test_a_difference_ends_it(target: Path, tmp_path: Path) -> None:
    """With a table that accepts nothing, a whole state is a crash."""
    package = tmp_path / "tests/support"
    package.mkdir(parents=True)
    for directory in (package.parent, package):
        (directory / "__init__.py").write_text("")
    real = (ROOT / "tests/support/damage.py").read_text()
    (package / "damage.py").write_text(real + "\n_is_right = lambda values: False\n")
    (tmp_path / "x").write_bytes(SEEDS[0])
    assert run(target, str(tmp_path / "x"), path=PATH).returncode == 0
    done = run(target, f"-artifact_prefix={tmp_path}/", str(tmp_path / "x"), path=Path(f"{tmp_path}:{PATH}"))
    assert done.returncode != 0
    assert "deadly signal" in done.stderr
