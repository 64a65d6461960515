"""The two readers of the command line agree: the generated table's and click's."""

from __future__ import annotations

from collections.abc import Callable

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrunc._generated import argv as table
from pyrunc.cli import fast_argv, program
from pyrunc.commands.settings import NEVER_EMPTY

WORDS = {
    "create": ["c1"],
    "run": ["c1"],
    "start": ["c1"],
    "state": ["c1"],
    "kill": ["c1"],
    "delete": ["c1"],
    "exec": ["c1", "ls", "-l"],
    "ps": ["c1", "-e"],
    "update": ["c1"],
    "events": ["c1"],
    "pause": ["c1"],
    "resume": ["c1"],
    "list": [],
}
VALUES = {fast_argv.TEXT: ["x", "", "--", "-", "a=b", "-v"], fast_argv.NUMBER: ["0", "3", "250"]}
VALUES |= {fast_argv.TEXTS: VALUES[fast_argv.TEXT], fast_argv.NUMBERS: VALUES[fast_argv.NUMBER]}
# A value of each kind, in the form that the command gets.
MEANT: dict[int, Callable[[str], object]] = {
    fast_argv.TEXT: str,
    fast_argv.NUMBER: int,
    fast_argv.TEXTS: lambda value: (value,),
    fast_argv.NUMBERS: lambda value: (int(value),),
}
TRUE = ["", "=true", "=1", "=t", "=T", "=TRUE", "=True"]
FALSE = ["=false", "=0", "=f", "=F", "=FALSE", "=False"]


def click_read(words: list[str]) -> tuple[dict[str, object], str, dict[str, object]]:
    result = program.read("pyrunc", words)
    assert not isinstance(result, int), words
    return result


def spellings(flags: dict[str, tuple[str, int]]) -> list[tuple[str, object, list[str]]]:
    """(parameter, its value, words) for every flag in every spelling."""
    found: list[tuple[str, object, list[str]]] = []
    for name, (param, kind) in flags.items():
        for dashes in ("-", "--"):
            if kind == fast_argv.BOOL:
                found += [(param, True, [f"{dashes}{name}{end}"]) for end in TRUE]
                found += [(param, False, [f"{dashes}{name}{end}"]) for end in FALSE]
                continue
            for value in VALUES[kind]:
                if not value and param in NEVER_EMPTY:
                    continue
                meant: object = MEANT[kind](value)
                found.append((param, meant, [f"{dashes}{name}={value}"]))
                found.append((param, meant, [f"{dashes}{name}", value]))
    return found


@pytest.mark.parametrize("command", sorted(table.COMMANDS))
def test_a_command_without_options_has_clicks_defaults(command: str) -> None:
    hot = fast_argv.parse([command, *WORDS[command]])
    assert hot == click_read([command, *WORDS[command]])


@pytest.mark.parametrize("command", sorted(table.COMMANDS))
def test_every_option_in_every_spelling(command: str) -> None:
    for param, value, words in spellings(table.COMMANDS[command][0]):
        line = [command, *words, *WORDS[command]]
        hot = fast_argv.parse(line)
        assert hot is not None, line
        assert hot[2][param] == value, line
        assert hot == click_read(line), line


@pytest.mark.parametrize("command", sorted(table.COMMANDS))
def test_every_global_option_before_and_behind_the_command(command: str) -> None:
    for param, value, words in spellings(table.SHARED_FLAGS):
        for line in ([*words, command, *WORDS[command]], [command, *words, *WORDS[command]]):
            hot = fast_argv.parse(line)
            assert hot is not None, line
            assert hot[0][param] == value, line
            assert hot == click_read(line), line


@pytest.mark.parametrize(
    "line",
    [
        ["create", "c1", "--bundle", "/b"],
        ["create", "c1", "-no-pivot", "-no-subreaper"],
        ["create", "c1", "--pidfd-socket", "/s"],
        ["run", "-pidfd-socket=s", "c1"],
        ["--root", "/r", "state", "--", "-odd"],
        ["state", "-"],
        ["state", ""],
        ["kill", "c1", "-9"],
        ["kill", "--all", "c1", "KILL"],
        ["delete", "a", "-f", "b", "c"],
        ["list", "-q", "-q=false"],
        ["create", "-b", "one", "--bundle=two", "c1"],
        ["--", "state", "c1"],
        ["exec", "-e", "A=1", "--env", "B=2,3", "-g", "4", "--additional-gids=5", "c1", "sh", "-e", "X"],
        ["exec", "--pid-file", "/p", "--process", "/j", "--detach", "c1"],
        ["exec", "--process", "/j", "--console-socket", "/s", "--detach", "--pid-file", "/p", "c1"],
        ["exec", "--no-new-privs=false", "c1", "true"],
        ["exec", "--no-new-privs=false", "--no-new-privs", "c1", "true"],
        ["exec", "--no-new-privs", "--no-new-privs=0", "c1", "true"],
        ["exec", "c1", "--", "--tty"],
        ["exec", "-t", "--", "c1", "-t"],
    ],
)
def test_orders_that_engines_use(line: list[str]) -> None:
    hot = fast_argv.parse(line)
    assert hot is not None
    assert hot == click_read(line)


def test_exec_takes_everything_behind_the_id_as_the_program() -> None:
    hot = fast_argv.parse(["exec", "-t", "c1", "--tty", "--", "-d"])
    assert hot is not None
    assert (hot[2]["id"], hot[2]["args"]) == ("c1", ("--tty", "--", "-d"))
    assert (hot[2]["tty"], hot[2]["detach"], hot[2]["no_new_privs"]) == (True, False, None)


def test_kill_takes_a_dashed_word_behind_the_id_as_the_signal() -> None:
    hot = fast_argv.parse(["kill", "c1", "--all"])
    assert hot is not None
    assert hot[2] == {"id": "c1", "signal": "--all", "all": False, "regex": False}


@pytest.mark.parametrize("line", [["--version"], ["-v"], ["--version=true"], ["-v", "list"], ["--root=/x", "-version"]])
def test_the_version_is_hot(line: list[str]) -> None:
    hot = fast_argv.parse(line)
    assert hot is not None
    assert hot[1] == "version"
    assert program.read("pyrunc", line) == 0


MISTAKES = [
    (["state"], 'pyrunc: "state" requires exactly 1 argument(s)'),
    (["state", "a", "b"], 'pyrunc: "state" requires exactly 1 argument(s)'),
    (["list", "a"], 'pyrunc: "list" requires exactly 0 argument(s)'),
    (["kill"], 'pyrunc: "kill" requires a minimum of 1 argument(s)'),
    (["kill", "a", "9", "9"], 'pyrunc: "kill" requires a maximum of 2 argument(s)'),
    (["delete"], 'pyrunc: "delete" requires a minimum of 1 argument(s)'),
    (["state", "--nope", "a"], "flag provided but not defined: -nope"),
    (["state", "-version", "a"], "flag provided but not defined: -version"),
    (["state", "-v", "a"], "flag provided but not defined: -v"),
    (["run", "-v", "/x:/y", "a"], "flag provided but not defined: -v"),
    (["create", "--bund", "x", "a"], "flag provided but not defined: -bund"),
    (["-x", "state", "a"], "flag provided but not defined: -x"),
    (["list", "-qf"], "flag provided but not defined: -qf"),
    (["create", "a", "--bundle"], "flag needs an argument: -bundle"),
    (["--root"], "flag needs an argument: -root"),
    (["create", "--no-pivot=maybe", "a"], 'invalid boolean value "maybe" for -no-pivot: parse error'),
    (["create", "--no-pivot=", "a"], 'invalid boolean value "" for -no-pivot: parse error'),
    (["--debug=2", "list"], 'invalid boolean value "2" for -debug: parse error'),
    (["create", "--preserve-fds", "x", "a"], 'invalid value "x" for flag -preserve-fds: parse error'),
    (["create", "--preserve-fds=", "a"], 'invalid value "" for flag -preserve-fds: parse error'),
    (["create", "---x", "a"], "bad flag syntax: ---x"),
    (["create", "-=x", "a"], "bad flag syntax: -=x"),
    (["run", "--isolation", "", "a"], "flag -isolation has an empty value"),
    (["run", "--isolation", "sandbox", "--isolation=", "a"], "flag -isolation has an empty value"),
    (["create", "--network=", "a"], "flag -network has an empty value"),
    (["create", "a", "--seccomp-profile", ""], "flag -seccomp-profile has an empty value"),
    (["plan", "--isolation="], "flag -isolation has an empty value"),
    (["exec"], 'pyrunc: "exec" requires a minimum of 1 argument(s)'),
    (["exec", "-g", "x", "a", "b"], 'invalid value "x" for flag -additional-gids: parse error'),
    (["nope"], "No such command 'nope'."),
    (["-", "list"], "No such command '-'."),
]


@pytest.mark.parametrize(("line", "message"), MISTAKES)
def test_every_mistake_is_left_to_click_which_names_it(line: list[str], message: str) -> None:
    assert fast_argv.parse(line) is None
    with pytest.raises(click.UsageError) as caught:
        program.read("pyrunc", line)
    assert caught.value.format_message() == message


@pytest.mark.parametrize(
    "line", [[], ["--help"], ["-h"], ["state", "--help"], ["state", "a", "-h"], ["spec"], ["plan"]]
)
def test_help_and_cold_commands_are_left_to_click(line: list[str]) -> None:
    assert fast_argv.parse(line) is None


@pytest.mark.parametrize(
    ("text", "number"), [("0x10", 16), ("010", 8), ("0o17", 15), ("+5", 5), ("-1", -1), ("1_0", 10), ("0b11", 3)]
)
def test_go_numbers_that_only_click_reads(text: str, number: int) -> None:
    line = ["create", "--preserve-fds", text, "a"]
    assert fast_argv.parse(line) is None
    assert click_read(line)[2]["preserve_fds"] == number


VOCABULARY = sorted(
    set(table.COMMANDS)
    | {"--" + name for name in ("root", "debug", "bundle", "all", "force", "quiet", "preserve-fds", "log=x", "version")}
    | {"--env", "-g", "-no-new-privs=f", "-no-new-privs"}
    | {"-b", "-f", "-q", "-d", "-a", "-b=x", "-debug=false", "-no-subreaper", "--", "-", "", "a", "7", "x=y", "-nope"}
)


@settings(max_examples=600)
@given(st.lists(st.sampled_from(VOCABULARY), max_size=7))
def test_the_readers_agree_on_any_words(line: list[str]) -> None:
    hot = fast_argv.parse(line)
    try:
        result = program.read("pyrunc", line)
    except click.UsageError:
        assert hot is None
        return
    if isinstance(result, int):
        assert hot is None or hot[1] == "version"
    else:
        assert hot == result
