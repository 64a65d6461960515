"""failures: the output and the exit code."""

from __future__ import annotations

import errno

import pytest

from pyrunc import output
from pyrunc.commands import failures
from pyrunc.errors import PyruncError
from pyrunc.libcontainer.diagnosis import terminal


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (PyruncError("broken", exit_code=3), 3, "broken"),
        (OSError(errno.ENOENT, "x", "/nowhere"), 1, "/nowhere: no such file or directory"),
        (MemoryError(), 1, "out of memory: cannot allocate memory"),
    ],
)
def test_a_failure_is_one_line(error: Exception, code: int, words: str, capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        raise error

    assert failures.guarded(work) == code
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert words in lines[0]


@pytest.mark.parametrize(("pointer", "origin"), [("/linux/resources/pids/limit", ""), ("", "--pids-limit")])
def test_why_a_controller_is_missing_is_looked_up_for_fields_and_options(
    pointer: str, origin: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal, "controller", lambda name: (f"why {name} is missing", "what to do"))
    message = 'pids.limit can\'t be set: controller "pids" not available'
    failures.report(PyruncError(message, pointer=pointer, origin=origin, hint="a guess"))
    assert "why pids is missing: what to do" in capfd.readouterr().err


def test_a_reader_that_has_gone_is_told_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        raise output.ReaderGone

    assert failures.guarded(work) == 1
    assert capfd.readouterr().err == ""


def test_other_errors_are_not_changed() -> None:
    error = PyruncError("something else")
    failures.name_missing(error, "/r", "x")
    assert error.message == "something else"
