"""The short and the long form of the tests (N2)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import effort

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("long", "given", "number"), [(False, "", 2), (True, "", 9), (False, "5", 5), (True, "5", 5)])
def test_how_often(monkeypatch: pytest.MonkeyPatch, long: bool, given: str, number: int) -> None:
    monkeypatch.setattr(effort, "LONG", long)
    monkeypatch.setenv("PYRUNC_TEST_X", given)
    assert effort.times(2, 9, "PYRUNC_TEST_X") == number


@pytest.mark.parametrize(("value", "long"), [("1", True), ("0", False), ("", False)])
def test_the_environment_says_which_form(value: str, long: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from tests.support import effort; print(effort.LONG)"],
        cwd=ROOT, env={"PYRUNC_TEST_LONG": value}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.strip() == str(long)


@pytest.mark.parametrize(("words", "value"), [([], ""), (["LONG=1"], "1"), (["LONG=0"], "0")])
def test_make_hands_the_form_on(words: list[str], value: str) -> None:
    rule = "show:;@echo [$$PYRUNC_TEST_LONG]"
    done = subprocess.run(
        ["make", "-s", "--no-print-directory", f"--eval={rule}", "show", *words],
        cwd=ROOT, env={"PATH": "/usr/bin:/bin"}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.strip() == f"[{value}]"
