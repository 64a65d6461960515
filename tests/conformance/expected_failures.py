"""The failures that are not the runtime's fault (expected_failures.toml), and those that remain.

Each `[[expected]]` has `tests`, the names of programs of the suite; `checks`, fnmatch patterns for the descriptions of
the failures (if it is missing, every failure of the tests is expected); and the `reason`. `without` names what the
machine must lack for the entry to hold. `chance = true` says that the failure depends on timing. Every other entry is
an error if its check passes, or if the suite has no such test.
"""

from __future__ import annotations

import fnmatch
import tomllib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.conformance.tap import Result

FILE = Path(__file__).with_name("expected_failures.toml")


class Entry(NamedTuple):
    """One entry, of one test."""

    test: str
    checks: tuple[str, ...]
    reason: str
    without: str
    chance: bool

    def covers(self, failure: str) -> bool:
        """Whether the entry is about this failure."""
        return not self.checks or any(fnmatch.fnmatchcase(failure, pattern) for pattern in self.checks)

    def must_fail(self, has: Callable[[str], bool]) -> bool:
        """Whether the entry would be wrong if nothing failed."""
        return not self.chance and not (self.without and has(self.without))


class Verdict(NamedTuple):
    """The verdict on one test: each listed failure, with its reason, and all other faults."""

    excused: tuple[tuple[str, str], ...]
    problems: tuple[str, ...]


def load(text: str) -> list[Entry]:
    """Load the entries. Raises ValueError for an entry with a missing or an unknown member."""
    entries = []
    for table in tomllib.loads(text).get("expected", []):
        unknown = set(table) - {"tests", "checks", "reason", "without", "chance"}
        if unknown or not table.get("tests") or not table.get("reason"):
            raise ValueError(f"an entry needs tests and a reason, and knows no {', '.join(sorted(unknown))}: {table}")
        if table.get("without", SELINUX) not in FACTS:
            raise ValueError(f"nobody knows how to find out about {table['without']!r}")
        for test in table["tests"]:
            entries.append(
                Entry(
                    test,
                    tuple(table.get("checks", ())),
                    table["reason"],
                    table.get("without", ""),
                    table.get("chance", False),
                )
            )
    return entries


def judge(
    test: str, own: Result, other: Result, entries: Collection[Entry], has: Callable[[str], bool] = lambda fact: False
) -> Verdict:
    """The verdict on a test with the result `own` for the runtime, and `other` for the one beside it."""
    mine = [entry for entry in entries if entry.test == test and not (entry.without and has(entry.without))]
    excused: list[tuple[str, str]] = []
    problems: list[str] = []
    by_chance = 0
    for failure in own.failures:
        entry = next((entry for entry in mine if entry.covers(failure)), None)
        if entry is None:
            problems.append(failure)
        else:
            excused.append((failure, entry.reason))
            by_chance += entry.chance
    for entry in mine:
        if entry.must_fail(has) and not any(entry.covers(failure) for failure in own.failures):
            what = f"of {' or '.join(entry.checks)} " if entry.checks else ""
            problems.append(f"the failure {what}is listed, and did not happen")
    # A failure by chance counts as passed: the luck of the other runtime does not make this one worse.
    if own.passed + by_chance < other.passed:
        problems.append(f"{own.passed} checks passed, {other.passed} with the runtime beside it")
    return Verdict(tuple(excused), tuple(problems))


def strangers(entries: Collection[Entry], suite: Collection[str]) -> list[str]:
    """Entries of tests that the suite does not have."""
    names = {entry.test for entry in entries} - set(suite)
    return [f"{name} is listed, and not in the suite" for name in sorted(names)]


def all_capabilities() -> bool:
    """Whether a container can get every capability that the kernel knows."""
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    lines = Path("/proc/self/status").read_text().splitlines()
    bounding = next(int(line.split()[1], 16) for line in lines if line.startswith("CapBnd:"))
    return bounding == (1 << last + 1) - 1


CAPABILITIES, SELINUX = "all capabilities", "SELinux"

# What a machine may have or lack.
FACTS: Mapping[str, Callable[[], bool]] = {
    CAPABILITIES: all_capabilities,
    SELINUX: Path("/sys/fs/selinux/enforce").exists,
}
