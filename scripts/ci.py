"""Run each of CI's suites to its end, even if another one fails, and print each suite's result and duration.

The last line counts the tests of all suites: `N passed, N failed, N skipped`. The exit code is 0 if all passed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[1]
LOGS = ROOT / "build/ci"

MAKE = ("make", "--no-print-directory")

# CI's suites, in this order. A contributor runs the first one; the others need more of a machine. The long form is the
# launcher's, whose commands take a tenth of the time.
SUITES: tuple[tuple[str, ...], ...] = (
    (*MAKE, "test"),
    (*MAKE, "test-launcher", "LONG=1"),
    (*MAKE, "test-pythons", "PYTHON_RELEASES=trixie"),
    (*MAKE, "test-guest"),
    (*MAKE, "conformance"),
    (*MAKE, "test-shim"),
    (
        *MAKE, "test-engines", "ENGINES=docker podman containerd", "ENGINES_DEBIAN=bookworm", "QUICK=1",
        "PYTEST=-k test_checks",
    ),
)  # fmt: skip

# The time for all suites together, in seconds. A suite that is not finished by then has failed.
SECONDS = 57 * 60

# How many lines of failed tests are repeated at the end.
SHOWN = 40

# pytest's closing line, and that of tests/conformance, which has the same form.
CLOSING = re.compile(r"^(?:=+ )?(?P<counts>\d+ [a-z]+(?:, \d+ [a-z]+)*) in [\d.]+s\b")
COLOUR = re.compile(r"\x1b\[[\d;]*m")
# pytest's word for a result, and the result that it counts as here.
COUNTED = {
    "passed": "passed", "xpassed": "passed", "failed": "failed", "error": "failed", "errors": "failed",
    "skipped": "skipped", "xfailed": "skipped",
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """The result of a suite: its command as a person reads it, its duration in seconds, what is wrong with it, the
    counts of its tests, the lines that name failed tests, and the processor time, in seconds, of the processes that
    were waited for. Other work on the machine does not lengthen the processor time."""

    name: str
    seconds: float
    problem: str | None
    counts: Counter[str]
    failures: tuple[str, ...] = ()
    cpu: float = 0


def count(output: str) -> Counter[str]:
    """Add up the closing lines in a suite's output. The suite may have run pytest more than once."""
    counts: Counter[str] = Counter()
    for line in output.splitlines():
        if found := CLOSING.match(COLOUR.sub("", line)):
            for part in found["counts"].split(", "):
                number, word = part.split(" ")
                if word in COUNTED:
                    counts[COUNTED[word]] += int(number)
    return counts


def failures(output: str) -> tuple[str, ...]:
    """The lines of pytest's summary that name a failed test."""
    lines = (COLOUR.sub("", line) for line in output.splitlines())
    return tuple(line for line in lines if line.startswith(("FAILED ", "ERROR ")))


def judge(name: str, seconds: float, code: int | None, output: str) -> Outcome:
    """The result of a suite that printed `output` and ended with this exit code; None: it was ended before its time."""
    counts = count(output)
    if code is None:
        problem = f"not finished after {seconds:.0f} s"
    elif code > 0:
        problem = f"exit code {code}"
    elif code < 0:
        problem = f"killed by {signal.Signals(-code).name}"
    elif counts["failed"]:
        problem = "failed tests, but exit code 0"
    elif not counts["passed"]:
        problem = "no test passed"
    else:
        problem = None
    if problem is not None and not counts["failed"]:
        counts["failed"] = 1
    return Outcome(name, seconds, problem, counts, failures(output))


def run(command: tuple[str, ...], log: Path, seconds: float) -> tuple[int | None, str]:
    """Run a suite and show its output. Returns its exit code and its output; the code is None if it was ended after
    `seconds`.

    The suite prints to a file: a process that it leaves behind could keep a pipe open, and the wait for its end would
    hang.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as target, open(log, "rb") as source:
        child = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=target, stderr=target, start_new_session=True
        )
        end = time.monotonic() + seconds
        code: int | None = None
        try:
            while code is None and time.monotonic() < end:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    code = child.wait(0.2)
                sys.stdout.buffer.write(source.read())
                sys.stdout.flush()
        finally:
            if code is None:
                stop(child)
        sys.stdout.buffer.write(source.read())
        sys.stdout.flush()
    return code, log.read_text(errors="replace")


def cpu() -> float:
    """The processor time of all children that were waited for, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def stop(child: subprocess.Popen[bytes]) -> None:
    """End a suite's process group; the tests first get time to remove what they made."""
    for number, seconds in ((signal.SIGTERM, 20), (signal.SIGKILL, 5)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(seconds)


def describe(counts: Counter[str]) -> str:
    """`N passed, N failed, N skipped`."""
    return ", ".join(f"{counts[word]} {word}" for word in ("passed", "failed", "skipped"))


def report(outcomes: list[Outcome], seconds: float) -> list[str]:
    """The last lines: failed tests, a line for each suite, the failed suites, and the sum."""
    lines = []
    for outcome in outcomes:
        if outcome.problem is not None:
            lines += [f"ci: {outcome.name}: {line}" for line in outcome.failures[:SHOWN]]
            if len(outcome.failures) > SHOWN:
                lines.append(f"ci: {outcome.name}: and {len(outcome.failures) - SHOWN} more")
    width = max(len(outcome.name) for outcome in outcomes)
    for outcome in outcomes:
        said = "" if outcome.problem is None else f"  FAILED: {outcome.problem}"
        times = f"{outcome.seconds:5.0f} s (processor: {outcome.cpu:4.0f} s)"
        lines.append(f"ci: {outcome.name:{width}} {times}  {describe(outcome.counts)}{said}")
    lines.append(f"ci: {seconds / 60:.0f} minutes")
    if failed := [outcome.name for outcome in outcomes if outcome.problem is not None]:
        lines.append(f"ci: failed: {', '.join(failed)}")
    return [*lines, describe(sum((outcome.counts for outcome in outcomes), Counter()))]


def main(suites: tuple[tuple[str, ...], ...] = SUITES, seconds: float = SECONDS) -> int:
    """Run the suites. Returns 0 if all passed, else 1."""
    start = time.monotonic()
    outcomes = []
    for number, command in enumerate(suites):
        name = shlex.join(word for word in command if word != "--no-print-directory")
        print(f"ci: {name}", flush=True)
        began = time.monotonic()
        left = seconds - (began - start)
        if left > 0:
            before = cpu()
            code, output = run(command, LOGS / f"{number}.log", left)
            outcome = replace(judge(name, time.monotonic() - began, code, output), cpu=cpu() - before)
        else:
            outcome = Outcome(name, 0, "not run: no time is left", Counter(failed=1))
        print(f"ci: {name}: {outcome.problem or 'passed'}, {outcome.seconds:.0f} s", flush=True)
        outcomes.append(outcome)
    print("\n".join(report(outcomes, time.monotonic() - start)), flush=True)
    return int(any(outcome.problem is not None for outcome in outcomes))


def leave(number: int, frame: FrameType | None) -> None:
    """End the running suite too when a signal comes."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(each, leave)
    sys.exit(main())
