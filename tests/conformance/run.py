"""`make conformance`: every test of the suite with a runtime and, beside it, with runc; the table of both.

Exits with 1 if the runtime passes fewer checks of a test than runc, if a check fails that is not in
expected_failures.toml, or if that file is wrong.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.conformance import expected_failures
from tests.conformance.expected_failures import Entry, Verdict
from tests.conformance.ground import WORK, Ground
from tests.conformance.tap import Result, parse
from tests.support import host

BESIDE = "runc"

# The helper that the suite's tests put into their containers.
HELPER = "runtimetest"

# The longest test waits 3 × 10 s for its containers, on a machine that is not busy.
SECONDS = 120.0


class Row:
    """One test: its results with both runtimes, and the verdict."""

    def __init__(self, test: str, own: Result, other: Result, verdict: Verdict) -> None:
        self.test = test
        self.own = own
        self.other = other
        self.verdict = verdict

    @property
    def outcome(self) -> str:
        """The result in pytest's words."""
        if self.verdict.problems:
            return "failed"
        return "xfailed" if self.verdict.excused else "passed"


def programs(suite: Path) -> list[str]:
    """The names of the suite's tests, in order."""
    return sorted(
        path.name for path in suite.iterdir() if os.access(path, os.X_OK) and path.is_file() and path.name != HELPER
    )


def run_test(ground: Ground, suite: Path, test: str, runtime: str) -> Result:
    """Run one test with one runtime. Its output is kept beside the suite, in out/."""
    environment = {"PATH": os.environ.get("PATH", os.defpath), "TMPDIR": WORK, "RUNTIME": runtime}
    name = f"{test}-{runtime.replace('/', '-')}"
    ended = ground.run(name, (suite / test).resolve(), environment, SECONDS)
    said = suite / "out" / f"{test}.{os.path.basename(runtime)}"
    said.parent.mkdir(exist_ok=True)
    said.write_text(f"{ended.out}\n# exit code {ended.code}, stderr:\n{ended.err}")
    return parse(ended.out, ended.code, ended.err)


def run_tests(suite: Path, tests: list[str], runtimes: tuple[str, str], jobs: int) -> list[tuple[Result, Result]]:
    """Run all tests with both runtimes, `jobs` of them at a time: most of their time they wait."""
    with Ground(host.cgroup2_mount()) as ground, ThreadPoolExecutor(jobs) as pool:
        running = [[pool.submit(run_test, ground, suite, test, runtime) for runtime in runtimes] for test in tests]
        return [(own.result(), other.result()) for own, other in running]


def table(rows: Iterable[Row], names: tuple[str, str]) -> str:
    """The counts of each test, and a word for each result other than passed."""
    lines = [
        f"{'':34}" + "".join(f"{name[-22:]:>24}" for name in names),
        f"{'':34}" + f"{'passed':>10}{'failed':>7}{'skipped':>8}" * 2,
    ]
    for row in rows:
        counts = "".join(f"{each.passed:10}{each.failed:7}{each.skipped:8}" for each in (row.own, row.other))
        word = {"passed": "", "xfailed": "  listed", "failed": "  FAILED"}[row.outcome]
        lines.append(f"{row.test:34}{counts}{word}")
    return "\n".join(lines)


def explanations(rows: Collection[Row]) -> str:
    """The listed failures by their reasons, and then all other faults."""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        for failure, reason in row.verdict.excused:
            reasons.setdefault(reason, []).append(f"    {row.test}: {failure[:200]}")
    lines = [line for reason, failures in reasons.items() for line in ("listed: " + reason, *failures)]
    lines += [f"FAILED {row.test}: {problem}" for row in rows for problem in row.verdict.problems]
    return "\n".join(lines)


def closing_line(rows: Collection[Row], wrong: int, seconds: float) -> str:
    """The counts of tests, in the form of pytest's last line."""
    outcomes = [row.outcome for row in rows]
    counts = {"failed": outcomes.count("failed") + wrong, "passed": 0, "xfailed": 0}
    counts.update((word, outcomes.count(word)) for word in ("passed", "xfailed"))
    said = ", ".join(f"{count} {word}" for word, count in counts.items() if count or word == "passed")
    return f"==== {said} in {seconds:.2f}s ===="


def judge(tests: list[str], results: list[tuple[Result, Result]], entries: list[Entry]) -> list[Row]:
    """A row for each test."""
    facts = {name for name, probe in expected_failures.FACTS.items() if probe()}
    return [
        Row(test, own, other, expected_failures.judge(test, own, other, entries, facts.__contains__))
        for test, (own, other) in zip(tests, results, strict=True)
    ]


def main() -> int:
    """Run the tests that the arguments name, print the results, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", type=Path, required=True, help="where the suite was built")
    parser.add_argument("--runtime", required=True)
    parser.add_argument("--jobs", type=int, default=3 * (os.cpu_count() or 1), help="tests at a time")
    parser.add_argument("tests", nargs="*", help="these only")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("pyrunc: the conformance suite makes containers: run it as root")
    found = [shutil.which(name) for name in (options.runtime, BESIDE)]
    if None in found:
        sys.exit(f"pyrunc: there is no {options.runtime if found[0] is None else BESIDE}")
    runtimes = (os.path.abspath(str(found[0])), str(found[1]))
    suite = programs(options.suite)
    if unknown := set(options.tests) - set(suite):
        sys.exit(f"pyrunc: not in the suite: {', '.join(sorted(unknown))}")
    tests = options.tests or suite
    entries = expected_failures.load(expected_failures.FILE.read_text())
    wrong = expected_failures.strangers(entries, suite)
    begin = time.monotonic()
    rows = judge(tests, run_tests(options.suite, tests, runtimes, options.jobs), entries)
    for text in (table(rows, (os.path.basename(runtimes[0]), BESIDE)), explanations(rows), *wrong):
        if text:
            print(text)
    print(closing_line(rows, len(wrong), time.monotonic() - begin))
    return 1 if wrong or any(row.verdict.problems for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
