"""The list of failures that are not the runtime's fault, and the verdict that uses it."""

from __future__ import annotations

import pytest

from tests.conformance import expected_failures
from tests.conformance.expected_failures import Entry, judge
from tests.conformance.tap import Result


def entry(test: str = "kill", *checks: str, without: str = "", chance: bool = False) -> Entry:
    return Entry(test, checks, "because", without, chance)


def failing(*failures: str, passed: int = 1) -> Result:
    return Result(passed, failures, 0)


def test_a_failure_that_is_not_listed_is_a_problem() -> None:
    assert judge("kill", failing("a"), failing("a"), []).problems == ("a",)
    assert judge("kill", failing("a"), failing("a"), [entry("start")]).problems == ("a",)
    assert judge("kill", failing("a", "b"), failing(), [entry("kill", "b")]).problems == ("a",)


def test_a_failure_that_is_listed_is_excused_with_its_reason() -> None:
    verdict = judge("kill", failing("check 7 of all"), failing(), [entry("kill", "check ? of *")])
    assert verdict == ((("check 7 of all", "because"),), ())


def test_an_entry_for_what_does_not_fail_is_a_problem() -> None:
    assert judge("kill", failing(), failing(), [entry()]).problems == ("the failure is listed, and did not happen",)
    two = [entry("kill", "a"), entry("kill", "b")]
    assert judge("kill", failing("a"), failing(), two).problems == ("the failure of b is listed, and did not happen",)


def test_fewer_passed_checks_are_a_problem_whatever_is_listed() -> None:
    verdict = judge("kill", failing("a", passed=1), failing(passed=2), [entry()])
    assert verdict.problems == ("1 checks passed, 2 with the runtime beside it",)
    assert judge("kill", failing(passed=3), failing(passed=2), []).problems == ()


def test_what_depends_on_timing_may_happen_or_not() -> None:
    some = [entry(chance=True)]
    assert judge("kill", failing(), failing("a", passed=0), some).problems == ()
    assert judge("kill", failing("a", passed=0), failing(), some).problems == ()


def test_an_entry_holds_only_where_the_machine_lacks_something() -> None:
    some = [entry(without="SELinux")]
    assert judge("kill", failing("a"), failing("a"), some).problems == ()
    assert judge("kill", failing("a"), failing("a"), some, lambda fact: fact == "SELinux").problems == ("a",)
    assert judge("kill", failing(), failing(), some, lambda fact: True).problems == ()


def test_a_test_that_the_suite_does_not_have() -> None:
    assert expected_failures.strangers([entry("kill"), entry("killed")], ["kill"]) == [
        "killed is listed, and not in the suite"
    ]


def test_the_file_is_read() -> None:
    text = '[[expected]]\ntests = ["a", "b"]\nchecks = ["c*"]\nreason = "r"\nchance = true\n'
    assert expected_failures.load(text) == [Entry("a", ("c*",), "r", "", True), Entry("b", ("c*",), "r", "", True)]
    assert expected_failures.load(expected_failures.FILE.read_text())


@pytest.mark.parametrize(
    "text",
    [
        'tests = ["a"]',
        'reason = "r"',
        'tests = ["a"]\nreason = "r"\ncheck = "c"',
        'tests = ["a"]\nreason = "r"\nwithout = "it"',
    ],
)
def test_an_entry_that_says_too_little_or_something_unknown(text: str) -> None:
    with pytest.raises(ValueError):
        expected_failures.load("[[expected]]\n" + text)


def test_what_the_machine_has_can_be_found_out() -> None:
    for probe in expected_failures.FACTS.values():
        assert probe() in (True, False)
