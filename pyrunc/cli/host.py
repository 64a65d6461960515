"""The commands about the runtime and its host: doctor, features, help, integrate."""

from __future__ import annotations

import click

from . import options
from .goflags import GoCommand, choices


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


ENGINES = ("containerd", "docker", "podman", "crio", "kubernetes")

COMMANDS: list[click.Command] = [
    GoCommand(
        "doctor",
        params=[
            click.Argument(["path"], required=False, default="", metavar="[BUNDLE]"),
            options.config(),
            options.output_format("table", "json"),
        ],
        help="""Show what this host offers to containers, and what is to be done about what it lacks.

        With a bundle it is also told what in that would not work here; the exit code is 1 where it would not run.
        """,
    ),
    GoCommand("features", params=[], help="Print as JSON what this runtime supports (runtime-spec, features)."),
    _Help(
        "help",
        params=[click.Argument(["command"], required=False, default="", metavar="[COMMAND]", shell_complete=_commands)],
        help="Show the commands, or the help of one.",
    ),
    GoCommand(
        "integrate",
        params=[
            click.Argument(["engine"], metavar="ENGINE", shell_complete=choices(*ENGINES)),
            click.Option(["--write"], is_flag=True, help="merge the lines into the engine's file; the first is kept"),
            click.Option(["--undo"], is_flag=True, help="take them out again, or put the kept file back"),
            click.Option(["--check"], is_flag=True, help="start a container through the engine"),
            click.Option(
                ["--file", "-f"], default="", metavar="FILE", help="the engine's file (default: its usual one)"
            ),
            click.Option(["--path"], default="", metavar="FILE", help="the program to start (default: this one)"),
            click.Option(["--default"], is_flag=True, help="make it the runtime of all containers"),
            click.Option(["--image"], default="", metavar="IMAGE", help="for kubernetes, and docker with --check"),
        ],
        help="""Print what an engine's configuration needs to start this runtime.

        ENGINE is containerd, docker, podman, crio or kubernetes. For containerd the global option --systemd-cgroup has
        systemd make the cgroups; without it they are made as for runc in the same file, or as the kubelet has it.
        For kubernetes a RuntimeClass and a DaemonSet are printed, for `kubectl apply -f -`.
        """,
    ),
]
