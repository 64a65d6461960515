#!/usr/bin/env python3
"""Run the linters: lint.py [--fix] [TOOL…]; all of them where none is named. The exit code is 1 where one objects.

They come from PyPI, with the extra `dev` of pyproject.toml, and stand beside the interpreter that runs this: what a
distribution has installed makes no difference. --fix lets ruff and clang-format change the files.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent

# Not ours, or made by a build.
IGNORED_DIRECTORIES = {".git", ".venv", ".cache", "build", "dist", "out", "_generated", "__pycache__"}
IGNORED_SUFFIXES = (".gen.h", ".gen.c", ".png", ".so", ".pyc", "go.sum")


def files() -> Iterator[Path]:
    """Every file of the sources, relative to their top."""
    for directory, names, leaves in os.walk(ROOT):
        names[:] = [
            name for name in names if name not in IGNORED_DIRECTORIES and not name.endswith((".egg-info", "_cache"))
        ]
        for leaf in leaves:
            if not leaf.endswith(IGNORED_SUFFIXES):
                yield (Path(directory) / leaf).relative_to(ROOT)


def is_shell(path: Path) -> bool:
    """Whether the first line says that this is a program of sh or bash."""
    with (ROOT / path).open("rb") as file:
        first = file.readline(100)
    return first.startswith(b"#!") and first.split()[0].rpartition(b"/")[2] in (b"sh", b"bash")


def command(tool: str, fix: bool) -> list[str]:
    """The command line of a tool. KeyError for an unknown one."""
    sources = sorted(path for path in files() if not (ROOT / path).is_symlink())
    text = [str(path) for path in sources]
    c = [name for name in text if name.endswith((".c", ".h"))]
    return {
        "ruff": ["ruff", "check", "-q", *(["--fix"] if fix else []), "."],
        "ruff-format": ["ruff", "format", "-q", *([] if fix else ["--check"]), "."],
        "mypy": ["mypy"],
        "clang-format": ["clang-format", *(["-i"] if fix else ["--dry-run", "-Werror"]), *c],
        "shellcheck": ["shellcheck", *(str(path) for path in sources if is_shell(path))],
        "codespell": ["codespell", *text],
        "lint-imports": ["lint-imports", "--no-cache"],  # the order of the rooms: pyproject.toml
    }[tool]


TOOLS = ("ruff", "ruff-format", "clang-format", "shellcheck", "codespell", "lint-imports", "mypy")
FIXERS = ("ruff", "ruff-format", "clang-format")


def run(tool: str, fix: bool = False) -> subprocess.CompletedProcess[str]:
    """Run one tool in the top of the sources; its output is captured, stderr with stdout."""
    program, *words = command(tool, fix)
    return subprocess.run(
        [BIN / program, *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )


def main() -> int:
    """Read the command line, run the tools, print what those say that object."""
    parser = argparse.ArgumentParser(description="Run the linters.")
    parser.add_argument("--fix", action="store_true", help="let ruff and clang-format change the files")
    parser.add_argument("tools", nargs="*", metavar="TOOL", help=", ".join(TOOLS))
    args = parser.parse_args()
    if unknown := sorted(set(args.tools) - set(TOOLS)):
        parser.error(f"no such tool: {', '.join(unknown)}")
    failed = []
    for tool in args.tools or (FIXERS if args.fix else TOOLS):
        try:
            done = run(tool, args.fix)
        except FileNotFoundError:
            sys.exit(f"lint: {BIN / command(tool, args.fix)[0]} is missing (make .venv/.developer installs it)")
        if done.returncode:
            print(done.stdout, end="")
            failed.append(tool)
    if failed:
        print(f"lint: {', '.join(failed)} failed", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
