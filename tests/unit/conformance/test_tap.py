"""The output of the suite's programs, and the results that it gives."""

from __future__ import annotations

import pytest

from tests.conformance.tap import Result, parse

MIXED = """TAP version 13
ok 1 - has expected hostname
  ---
  {
    "actual": "not ok",
    "error": "expected"
  }
  ...
not ok 2 - has expected soft RLIMIT_NOFILE
ok 3 # SKIP linux.sysctl not set
ok 4 - mounts[0] (/proc) found in order
1..4
"""


def test_checks_are_counted_and_blocks_are_not() -> None:
    assert parse(MIXED, 0, "") == Result(2, ("has expected soft RLIMIT_NOFILE",), 1)


def test_a_skip_without_a_number() -> None:
    assert parse("1..1\nok # skip no such system\n", 0, "") == Result(0, (), 1)


def test_a_failure_that_speaks_of_skipping_is_a_failure() -> None:
    assert parse("not ok 1 # SKIP it\n1..1\n", 0, "").failed == 1


def test_an_indented_line_is_no_check() -> None:
    assert parse("ok 1 - outer\n  not ok 1 - inner\n1..1\n", 0, "") == Result(1, (), 0)


def test_an_exit_code_is_a_failure_with_what_stderr_says() -> None:
    assert parse("ok 1 - a\n1..1\n", 1, "failed to create\nexit  status 1\n") == Result(
        1, ("exit status 1: failed to create exit status 1",), 0
    )
    assert parse("", -9, "").failures == ("exit status -9: nothing on stderr",)


def test_a_program_that_does_not_end_fails() -> None:
    assert parse("ok 1 - a\n", None, "") == Result(1, ("no end in time",), 0)


def test_checks_that_never_came() -> None:
    assert parse("1..3\nok 1 - a\n", 0, "").failures == ("1 checks of 3",)


def test_a_program_without_a_check_passes_as_a_whole() -> None:
    assert parse("TAP version 13\n1..0\n", 0, "") == Result(1, (), 0)


@pytest.mark.parametrize(
    ("block", "failures"),
    [
        ('{"error": "hooks MUST\\nbe called"}', ("hooks MUST be called",)),
        ('{"error": ""}', ()),
        ('{"actual": 1}', ()),
        ("error: of another kind", ()),
        ("[]", ()),
    ],
)
def test_a_block_with_an_error_fails_a_program_without_a_check(block: str, failures: tuple[str, ...]) -> None:
    result = parse(f"TAP version 13\n  ---\n  {block}\n  ...\n1..0\n", 0, "")
    assert result.failures == failures
    assert result.passed == (0 if failures else 1)
