"""A built launcher is run once (N1): if it crashes, fails or prints something else, it is not installed."""

from __future__ import annotations

import sys
from pathlib import Path

import check
import pytest

GOOD = """#!/bin/sh
case $* in
    --version) echo "pyrunc version 1" ;;
    *list) echo "ID  PID" ;;
    --help) echo "Usage: pyrunc COMMAND" ;;
    features) echo '{"ociVersionMin": 1}' ;;
esac
"""


def program(folder: Path, text: str) -> Path:
    path = folder / "pyrunc"
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("installed", [False, True])
def test_a_launcher_that_works(tmp_path: Path, installed: bool) -> None:
    check.check(program(tmp_path, GOOD), installed)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("kill -SEGV $$", "ended by SIGSEGV"),
        ("kill -ABRT $$", "ended by SIGABRT"),
        ("echo no such thing >&2; exit 3", "exit code 3: no such thing"),
        ("true", "printed '', without"),
    ],
)
@pytest.mark.parametrize("command", ["--version", "*list", "--help", "features"])
def test_a_launcher_that_does_not(tmp_path: Path, command: str, broken: str, said: str) -> None:
    path = program(tmp_path, GOOD.replace(f"    {command}) ", f"    {command}) {broken}; exit;; other) "))
    with pytest.raises(check.CheckError, match=said) as caught:
        check.check(path, installed=True)
    assert f"{path} " in str(caught.value)
    assert command.strip("*") in str(caught.value)


def test_what_only_an_installation_can_do_is_not_asked_of_the_launcher_alone(tmp_path: Path) -> None:
    check.check(program(tmp_path, GOOD.replace("--help) ", "--help) exit 1 ;; other) ")), installed=False)


def test_a_launcher_that_can_not_be_started(tmp_path: Path) -> None:
    with pytest.raises(check.CheckError, match="Exec format error"):
        check.check(program(tmp_path, "\x7fELF"), installed=False)


def test_a_launcher_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "SECONDS", 0.2)
    with pytest.raises(check.CheckError, match="timed out"):
        check.check(program(tmp_path, "#!/bin/sh\nexec sleep 60\n"), installed=False)


def test_the_callers_environment_is_not_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    check.check(program(tmp_path, GOOD.replace("case", '[ -z "$PYTHONHOME" ] || exit 1\ncase', 1)), installed=True)


def test_the_program_ends_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["check.py", str(program(tmp_path, "#!/bin/sh\nkill -SEGV $$\n"))])
    with pytest.raises(SystemExit, match=r"does not work: .*/pyrunc --version: ended by SIGSEGV"):
        check.main()
