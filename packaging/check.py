"""Run a launcher that was just built, before anything else uses it: `check.py [--installed] PROGRAM`.

A launcher by itself runs the everyday commands. An installed launcher also hands over to the ordinary build beside it.
The exit code is 1 if a command fails or its output lacks something, and stderr says which command and how.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

# A command line, with {empty} for an empty directory, and a part of its output. The first command imports every module
# that `main` needs; the second one reads a directory and prints a table.
ALONE: dict[tuple[str, ...], str] = {("--version",): "pyrunc version ", ("--root", "{empty}", "list"): "ID "}

# Commands of the ordinary build: click's help, and JSON by the extension modules and the generated modules.
INSTALLED: dict[tuple[str, ...], str] = {("--help",): "Usage: pyrunc ", ("features",): '"ociVersionMin"'}

SECONDS = 60


class CheckError(Exception):
    """A built program does not work; the text says which command shows it."""


def check(program: Path, installed: bool) -> None:
    """Run the program's commands, in an empty environment. Raises CheckError for the first one that fails."""
    with tempfile.TemporaryDirectory() as empty:
        for words, wanted in [*ALONE.items(), *(INSTALLED.items() if installed else ())]:
            run(program, [word.format(empty=empty) for word in words], wanted)


def run(program: Path, words: list[str], wanted: str) -> None:
    """Run one command. Raises CheckError if it fails or does not print the expected text."""
    shown = " ".join([str(program), *words])
    try:
        done = subprocess.run(
            [program.resolve(), *words], env={}, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CheckError(f"{shown}: {error}") from error
    if done.returncode < 0:
        raise CheckError(f"{shown}: ended by {signal.Signals(-done.returncode).name}")
    if done.returncode:
        raise CheckError(f"{shown}: exit code {done.returncode}: {done.stderr.strip()}")
    if wanted not in done.stdout:
        raise CheckError(f"{shown}: printed {done.stdout[:200]!r}, without {wanted!r}")


def main() -> None:
    """Read the command line and run the checks."""
    parser = argparse.ArgumentParser(description="Run a launcher that was just built.")
    parser.add_argument("--installed", action="store_true", help="the ordinary build is beside it")
    parser.add_argument("program", type=Path)
    args = parser.parse_args()
    try:
        check(args.program, args.installed)
    except CheckError as error:
        sys.exit(f"pyrunc: the launcher that was built does not work: {error}")


if __name__ == "__main__":
    main()
