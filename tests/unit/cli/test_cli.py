"""What click's reader prints: help, and mistakes as runc prints them."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from pyrunc import cli, log
from pyrunc.cli import bundle, host, lifecycle

COMMANDS = [*lifecycle.COMMANDS, *bundle.COMMANDS, *host.COMMANDS]


@pytest.fixture(autouse=True)
def _fresh_log() -> object:
    yield
    log.configure("", "text", "info")


def test_a_mistake_in_a_command_prints_its_help_and_the_reason(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main("runc", ["create", "--nope", "c1"]) == 1
    printed = capfd.readouterr()
    assert printed.out.startswith("Incorrect Usage: flag provided but not defined: -nope\n\nUsage: runc create ")
    assert printed.err.endswith(' level=error msg="flag provided but not defined: -nope"\n')


def test_a_mistake_in_the_programs_options(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main("runc", ["--nope", "list"]) == 1
    assert capfd.readouterr().out.startswith("Incorrect Usage. flag provided but not defined: -nope\n\nUsage: runc [")


def test_a_wrong_number_of_arguments_names_the_binary(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main("runc", ["state"]) == 1
    printed = capfd.readouterr()
    assert printed.out.startswith("Incorrect Usage.\n\nUsage: runc state ")
    assert r"runc: \"state\" requires exactly 1 argument(s)" in printed.err


@pytest.mark.parametrize("words", [["nope"], ["help", "nope"]])
def test_an_unknown_command_exits_3(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main("pyrunc", words) == 3
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "No help topic for 'nope'" in printed.err


def test_a_mistake_goes_to_the_log_file_too(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log"
    assert cli.main("pyrunc", ["--log", str(path), "--log-format", "json", "start"]) == 1
    line = json.loads(path.read_text())
    assert (line["level"], line["msg"]) == ("error", 'pyrunc: "start" requires exactly 1 argument(s)')
    assert capfd.readouterr().err == 'pyrunc: "start" requires exactly 1 argument(s)\n'


def test_a_log_that_cant_be_written_is_the_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main("pyrunc", ["--log", f"{tmp_path}/no/log", "start"]) == 1
    assert "no such file or directory" in capfd.readouterr().err


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
@pytest.mark.parametrize("how", ["--help", "-h", "-help", "help", "-help=true"])
def test_every_command_has_its_help(command: click.Command, how: str, capfd: pytest.CaptureFixture[str]) -> None:
    name = str(command.name)
    assert cli.main("pyrunc", ["help", name] if how == "help" else [name, how]) == 0
    text = capfd.readouterr().out
    assert text.startswith(f"Usage: pyrunc {name} ")
    for param in command.params:
        if isinstance(param, click.Option):
            assert param.help
            assert param.opts[0] in text


def test_the_programs_help_lists_the_commands(capfd: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--help"], ["help"], ["--debug"]):
        assert cli.main("pyrunc", words) == 0
        text = capfd.readouterr().out
        assert all(f"\n  {command.name} " in text for command in COMMANDS)


def test_the_commands_are_those_of_the_table() -> None:
    assert {command.name for command in COMMANDS} == {
        "create", "start", "state", "kill", "delete", "run", "list", "spec", "features", "validate", "plan", "help",
    }  # fmt: skip
