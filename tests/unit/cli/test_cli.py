"""The output of click's reader: help, and mistakes in runc's form."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from pyrunc import log
from pyrunc.cli import help, program

COMMANDS = [*(command for group in program.GROUPS for command in group.COMMANDS), *help.COMMANDS]


@pytest.fixture(autouse=True)
def _fresh_log() -> object:
    yield
    log.configure("", "text", "info")


def said(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """The exit code and the message of a mistake; nothing else is printed."""
    code = program.main("pyrunc", ["--log-format", "json", *words])
    printed = capfd.readouterr()
    assert printed.out == ""
    return code, json.loads(printed.err)["msg"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["create", "--nope", "c1"], "flag provided but not defined: -nope; see pyrunc create --help"),
        (["--nope", "list"], "flag provided but not defined: -nope; see pyrunc --help"),
        (["run", "--bundel", "b", "x"], "flag provided but not defined: -bundel; did you mean --bundle?; "),
        (["run", "-it", "x"], "flag provided but not defined: -it; process.terminal in config.json gives the "),
        (["run", "--rm", "x"], "flag provided but not defined: -rm; run deletes the container when its process has "),
        (["run", "alpine", "sh"], 'pyrunc: "run" requires exactly 1 argument(s); run takes the id that the container'),
        (["kill", "-9", "x"], "flag provided but not defined: -9; the signal stands behind the id: kill ID 9; see "),
        (["kill", "-KILL", "x"], "flag provided but not defined: -KILL; the signal stands behind the id: kill ID KILL"),
        (["exec", "-td", "x"], "flag provided but not defined: -td; flags of one letter stand alone: -t -d; see "),
        (["state"], 'pyrunc: "state" requires exactly 1 argument(s); it takes the id of one container, which list'),
        (["run", "--bundle"], "flag needs an argument: -bundle; see pyrunc run --help"),
    ],
)
def test_n7_a_mistake_is_one_line(words: list[str], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    code, text = said(capfd, *words)
    assert code == 1
    assert text.startswith(message)
    assert " --help" in text


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("stop", "did you mean kill or delete?"),
        ("rm", "did you mean delete?"),
        ("lisst", "did you mean list?"),
        ("inspect", "did you mean state?"),
        ("pull", "images are an engine's matter: pyrunc runs bundles, pyrunc spec makes a config.json for one"),
        ("logs", "a runtime keeps no logs: the output of the process is that of create or run"),
        ("qqq", "see pyrunc --help"),
    ],
)
def test_n7_an_unknown_command(word: str, hint: str, capfd: pytest.CaptureFixture[str]) -> None:
    for words in ([word], [word, "x"], ["help", word]):
        assert said(capfd, *words) == (3, f'unknown command "{word}"; {hint}')


def test_n7_an_unknown_command_is_in_the_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log"
    assert program.main("pyrunc", ["--log", str(path), "--log-format=json", "stop", "x"]) == 3
    line = json.loads(path.read_text())
    assert (line["level"], line["msg"]) == ("error", 'unknown command "stop"; did you mean kill or delete?')
    assert capfd.readouterr().err == line["msg"] + "\n"


def test_the_log_is_never_what_a_containers_program_is_given(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert program.main("pyrunc", ["exec", "--nope", "x", "program", "--log", str(path)]) == 1
    assert program.main("pyrunc", ["--nope", "exec", "x", "program", "--log", str(path)]) == 1
    assert not path.exists()


def test_a_mistake_before_the_command_goes_to_the_log_too(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert program.main("pyrunc", ["--debug", "--nope", "--log", str(path), "--log-format", "json", "list"]) == 1
    assert "-nope" in json.loads(path.read_text().splitlines()[-1])["msg"]


def test_a_mistake_goes_to_the_log_file_too(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log"
    assert program.main("pyrunc", ["--log", str(path), "--log-format", "json", "start"]) == 1
    line = json.loads(path.read_text())
    assert line["level"] == "error"
    assert line["msg"].startswith('pyrunc: "start" requires exactly 1 argument(s); ')
    assert capfd.readouterr().err == line["msg"] + "\n"


def test_a_log_that_cant_be_written_is_the_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert program.main("pyrunc", ["--log", f"{tmp_path}/no/log", "start"]) == 1
    assert "no such file or directory" in capfd.readouterr().err


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
@pytest.mark.parametrize("how", ["--help", "-h", "-help", "help", "-help=true"])
def test_every_command_has_its_help(command: click.Command, how: str, capfd: pytest.CaptureFixture[str]) -> None:
    name = str(command.name)
    assert program.main("pyrunc", ["help", name] if how == "help" else [name, how]) == 0
    text = capfd.readouterr().out
    assert text.startswith(f"Usage: pyrunc {name} ")
    for param in command.params:
        if isinstance(param, click.Option):
            assert param.help
            assert (param.opts[0] in text) != param.hidden


def test_the_programs_help_lists_the_commands(capfd: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--help"], ["help"], ["--debug"]):
        assert program.main("pyrunc", words) == 0
        text = capfd.readouterr().out
        assert all(f"\n  {command.name} " in text for command in COMMANDS)


def test_the_commands_are_those_of_the_table() -> None:
    assert {command.name for command in COMMANDS} == {
        "create", "start", "state", "kill", "delete", "run", "list", "spec", "features", "validate", "plan", "help",
        "gc", "doctor", "hooks", "integrate", "exec", "ps", "pause", "resume", "update", "mounts", "events",
        "broker", "checkpoint", "restore", "verify", "seccomp",
    }  # fmt: skip


def test_the_list_of_commands_has_whole_sentences(capfd: pytest.CaptureFixture[str]) -> None:
    """click cuts a first sentence that does not fit beside the names."""
    assert program.main("pyrunc", ["--help"]) == 0
    lines = capfd.readouterr().out.partition("\nCommands:\n")[2].splitlines()
    assert len(lines) == len(COMMANDS)
    assert [line for line in lines if not line.endswith(".") or line.endswith("...")] == []
