"""The output of one program of the suite, in the Test Anything Protocol: which checks passed, failed and were
skipped.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

_CHECK = re.compile(r"(?P<not>not )?ok\b *\d*(?: -)? *(?P<description>.*?) *(?P<skip># *skip\b.*)?$", re.IGNORECASE)
_PLAN = re.compile(r"1\.\.(\d+)")


class Result(NamedTuple):
    """The checks of one program: how many passed and were skipped, and a description of each that failed."""

    passed: int
    failures: tuple[str, ...]
    skipped: int

    @property
    def failed(self) -> int:
        """How many checks failed."""
        return len(self.failures)


def parse(text: str, code: int | None, stderr: str) -> Result:
    """The result by a program's output and its exit code; the code is None if it took too long and was ended.

    A program that ends without a single check passes as a whole, unless it prints a diagnostic with an error: some
    tests of the suite know no other way to fail.
    """
    passed = skipped = 0
    failures: list[str] = []
    planned = 0
    blocks = _Blocks()
    errors: list[str] = []
    for line in text.splitlines():
        if blocks.take(line):
            errors += blocks.error()
        elif plan := _PLAN.fullmatch(line):
            planned = max(planned, int(plan[1]))
        elif check := _CHECK.match(line):
            if check["not"]:
                failures.append(check["description"])
            elif check["skip"]:
                skipped += 1
            else:
                passed += 1
    seen = passed + skipped + len(failures)
    if code is None:
        failures.append("no end in time")
    elif code != 0:
        failures.append(f"exit status {code}: {_one_line(stderr)}")
    elif seen < planned:
        failures.append(f"{seen} checks of {planned}")
    elif seen == 0 and errors:
        failures += errors
    elif seen == 0:
        passed = 1
    return Result(passed, tuple(failures), skipped)


class _Blocks:
    """The YAML blocks between the lines, which begin with --- and end with ..., indented. The suite writes JSON."""

    def __init__(self) -> None:
        self.lines: list[str] | None = None
        self.ended: list[str] = []

    def take(self, line: str) -> bool:
        """Take the line if it belongs to a block; returns whether it does."""
        word = line.strip() if line.startswith(" ") else ""
        self.ended = []
        if self.lines is None:
            if word == "---":
                self.lines = []
                return True
            return False
        if word == "...":
            self.ended, self.lines = self.lines, None
        else:
            self.lines.append(line)
        return True

    def error(self) -> list[str]:
        """The error in the block that has just ended, in one line."""
        try:
            value = json.loads("\n".join(self.ended))
        except ValueError:
            return []
        error = value.get("error") if isinstance(value, dict) else None
        return [_one_line(str(error))] if error else []


def _one_line(text: str) -> str:
    return " ".join(text.split()) or "nothing on stderr"
