from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import pyrunc
from pyrunc import main

ENTRY = Path(pyrunc.__file__).with_name("__main__.py")


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["/usr/bin/runc"], "runc"),
        (["pyrunc"], "pyrunc"),
        (["/x/pyrunc/__main__.py"], "pyrunc"),
        (["-c"], "pyrunc"),
        ([], "pyrunc"),
    ],
)
def test_the_name(argv: list[str], name: str) -> None:
    assert main.program_name(argv) == name


def test_the_version_names_the_binary_the_commit_and_the_specification(capfd: pytest.CaptureFixture[str]) -> None:
    assert main.main(["/usr/bin/runc", "--version"]) == 0
    assert re.fullmatch(
        r"runc version \d+\.\d+\.\d+(-dev)?\ncommit: (unknown|[0-9a-f]{40}(-dirty)?)\nspec: 1\.3\.0\n",
        capfd.readouterr().out,
    )


def test_both_readers_print_the_same_version(capfd: pytest.CaptureFixture[str]) -> None:
    from pyrunc.cli import program

    main.main(["pyrunc", "--version"])
    hot = capfd.readouterr().out
    assert program.main("pyrunc", ["--version"]) == 0
    assert capfd.readouterr().out == hot


def test_no_command_prints_the_help(capfd: pytest.CaptureFixture[str]) -> None:
    assert main.main(["pyrunc"]) == 0
    assert "Usage: pyrunc" in capfd.readouterr().out


def test_a_start_by_path_without_the_site_module() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(ENTRY), "--version"], capture_output=True, text=True, check=True, cwd="/"
    )
    assert done.stdout.startswith("pyrunc version ")


def test_a_closed_output_is_no_traceback() -> None:
    done = subprocess.run(
        f"exec {sys.executable} -I -S {ENTRY} --version >&-", shell=True, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
