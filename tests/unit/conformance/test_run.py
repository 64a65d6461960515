"""The table of `make conformance`, its explanations and its closing line."""

from __future__ import annotations

from pathlib import Path

from tests.conformance import run
from tests.conformance.expected_failures import Entry
from tests.conformance.tap import Result

ENTRIES = [Entry("b", (), "the suite is wrong", "", False)]
GOOD, BAD = Result(309, (), 39), Result(0, ("it fails",), 0)


def rows() -> list[run.Row]:
    return run.judge(["a", "b", "c"], [(GOOD, GOOD), (BAD, BAD), (BAD, GOOD)], ENTRIES)


def test_the_outcomes() -> None:
    assert [row.outcome for row in rows()] == ["passed", "xfailed", "failed"]


def test_the_table() -> None:
    lines = [line.split() for line in run.table(rows(), ("pyrunc", "runc")).splitlines()]
    assert lines[0] == ["pyrunc", "runc"]
    assert lines[2:] == [
        ["a", "309", "0", "39", "309", "0", "39"],
        ["b", "0", "1", "0", "0", "1", "0", "listed"],
        ["c", "0", "1", "0", "309", "0", "39", "FAILED"],
    ]


def test_reasons_and_problems() -> None:
    assert run.explanations(rows()).splitlines() == [
        "listed: the suite is wrong",
        "    b: it fails",
        "FAILED c: it fails",
        "FAILED c: 0 checks passed, 309 with the runtime beside it",
    ]


def test_the_closing_line_counts_tests() -> None:
    assert run.closing_line(rows(), 0, 1.5) == "==== 1 failed, 1 passed, 1 xfailed in 1.50s ===="
    assert run.closing_line(rows()[:1], 0, 2) == "==== 1 passed in 2.00s ===="
    assert run.closing_line([], 2, 0) == "==== 2 failed, 0 passed in 0.00s ===="


def test_the_programs_of_the_suite(tmp_path: Path) -> None:
    for name, mode in (("start", 0o755), ("kill", 0o755), ("runtimetest", 0o755), ("rootfs-amd64.tar.gz", 0o644)):
        (tmp_path / name).touch(mode)
    (tmp_path / "out").mkdir()
    assert run.programs(tmp_path) == ["kill", "start"]
