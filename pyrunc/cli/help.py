"""The command that click itself answers: help."""

from __future__ import annotations

import click

from .goflags import GoCommand


class _Help(GoCommand):
    """`help [COMMAND]`, as runc has it."""

    def invoke(self, ctx: click.Context) -> int:
        """Print the help of the program or a command. Returns the exit code. Raises click.NoSuchCommand."""
        root = ctx.find_root()
        name = ctx.params["command"]
        if not name:
            click.echo(root.get_help())
            return 0
        program = root.command
        command = program.get_command(root, name) if isinstance(program, click.Group) else None
        if command is None:
            raise click.NoSuchCommand(name, ctx=ctx)
        click.echo(command.get_help(click.Context(command, info_name=name, parent=root)))
        return 0


def _commands(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    program = ctx.find_root().command
    names = program.list_commands(ctx) if isinstance(program, click.Group) else []
    return [name for name in names if name.startswith(incomplete)]


COMMANDS: list[click.Command] = [
    _Help(
        "help",
        params=[click.Argument(["command"], required=False, default="", metavar="[COMMAND]", shell_complete=_commands)],
        help="Show the commands, or the help of one.",
    ),
]
