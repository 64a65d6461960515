"""mistakes: the messages for words on the command line that make no sense (N7). test_cli.py tests the whole reader."""

from __future__ import annotations

import pytest

from pyrunc.cli.mistakes import Mistake, unknown_command
from pyrunc.cli.program import program

COMMANDS = list(program.commands)


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("stop", "did you mean kill or delete?"),
        ("restart", "did you mean kill or start?"),
        ("STATE", "did you mean state?"),
        ("cerate", "did you mean create?"),
        ("images", "images are an engine's matter: p runs bundles, p spec makes a config.json for one"),
        ("version", "--version prints it"),
        ("", "see p --help"),
    ],
)
def test_n7_what_is_meant_by_an_unknown_command(word: str, hint: str) -> None:
    found = unknown_command("p", word, COMMANDS)
    assert (found.message, found.hint, found.exit_code) == (f'unknown command "{word}"', hint, 3)


def test_no_hint_names_a_command_that_there_is_not() -> None:
    for word in ("stop", "top", "unpause", "rm", "ls", "info"):
        hint = unknown_command("p", word, COMMANDS).hint
        for name in hint.removeprefix("did you mean ").removesuffix("?").split(" or "):
            assert name in COMMANDS


def test_a_mistakes_line_has_no_parentheses() -> None:
    assert Mistake("a", hint="b").line() == "a; b"
    assert Mistake("a").line() == "a"
