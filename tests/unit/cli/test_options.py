"""The options that several commands have."""

from __future__ import annotations

import click
import pytest

from pyrunc.cli import options
from pyrunc.cli.program import program
from pyrunc.libcontainer.plan.options import ExecOptions

# The formats of each command that has --format, the default first; whether -f means --format, as in runc.
FORMATS = {
    "doctor": (("table", "json"), False),
    "hooks": (("table", "json"), False),
    "list": (("table", "json"), True),
    "plan": (("table", "json", "tree"), False),
    "ps": (("table", "json"), True),
    "seccomp": (("table", "json"), False),
    "validate": (("text", "json"), False),
    "verify": (("table", "json"), False),
}


def option_of(command: str, spelling: str) -> click.Option | None:
    found = [param for param in program.commands[command].params if spelling in param.opts]
    assert all(isinstance(param, click.Option) for param in found)
    return found[0] if found and isinstance(found[0], click.Option) else None


@pytest.mark.parametrize("command", sorted(program.commands))
def test_the_format_of_a_command(command: str) -> None:
    made = option_of(command, "--format")
    assert (made is not None) == (command in FORMATS)
    if made is not None:
        formats, short = FORMATS[command]
        assert (made.default, "-f" in made.opts) == (formats[0], short)
        offered = [item.value for item in made.shell_complete(click.Context(program), "")]
        assert offered == list(formats)
        assert made.help is not None
        assert all(name in made.help for name in formats)


def test_the_help_of_three_formats() -> None:
    assert options.output_format("table", "json", "tree").help == "table, json or tree (default: table)"


def test_a_launch_option_has_its_fields_kind_and_default() -> None:
    assert options.launch_option("--detach", help="x").is_flag
    number = options.launch_option("--preserve-fds", help="x")
    assert (number.default, number.type.name) == (ExecOptions.preserve_fds, "value")
    assert options.launch_option("--additional-gids", help="x").multiple


def test_the_options_of_every_launch_name_the_process() -> None:
    made = options.common_launch_options("the process", "its id")
    assert set(made) == {"console_socket", "pidfd_socket", "pid_file", "preserve_fds", "timeline"}
    assert "write its id to" in str(made["pid_file"].help)
