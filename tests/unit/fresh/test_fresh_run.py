"""`make test-fresh` (N2): the arguments of pytest, and what is left behind."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "scripts/fresh/run.py"


@pytest.fixture(scope="module")
def fresh() -> ModuleType:
    """scripts/fresh/run.py, by another name than that of scripts/guest/run.py."""
    spec = importlib.util.spec_from_file_location("fresh_run", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("tests", "given", "words"),
    [
        ("unit", [], ["tests/unit"]),
        ("unit", ["-q", "-k", "mounts"], ["tests/unit", "-q", "-k", "mounts"]),
        ("unit", ["tests/integration/test_run.py::test_x"], ["tests/integration/test_run.py::test_x"]),
        ("python", ["tests/integration/test_run.py::test_x"], ["tests/integration/test_run.py::test_x"]),
        ("full", ["-x"], ["-x"]),
    ],
)
def test_what_pytest_is_told(fresh: ModuleType, tests: str, given: list[str], words: list[str]) -> None:
    assert fresh.pytest_words(tests, given) == words


def test_for_a_version_of_python_there_is_more_than_the_unit_tests(fresh: ModuleType) -> None:
    words = fresh.pytest_words("python", ["-x"])
    assert (words[0], words[-1]) == ("tests/unit", "-x")
    assert all((SCRIPT.parents[2] / word).exists() for word in words[:-1])


@pytest.mark.parametrize("words", [[], ["trixie"], ["sarge", "unit"], ["trixie", "some"]])
def test_wrong_words_are_told(words: list[str]) -> None:
    done = subprocess.run([sys.executable, SCRIPT, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    usage = "run.py bookworm|trixie|sid unit|python|packages|full|launcher PYTEST_ARGUMENT…"
    assert done.stderr == f"pyrunc-fresh: usage: {usage}\n"
