"""The command that adds mounts to a running container and removes them: mounts."""

from __future__ import annotations

import click

from . import options
from .goflags import GoCommand, choices

COMMANDS: list[click.Command] = [
    GoCommand(
        "mounts",
        params=[
            click.Argument(["action"], metavar="ACTION", shell_complete=choices("add", "remove")),
            click.Argument(["id"], metavar=options.ID),
            click.Argument(["path"], metavar="FILE"),
        ],
        help="""Add mounts to a container that runs, or remove them.

        ACTION is add or remove. The file holds a JSON array of entries like mounts of config.json; - stands for stdin.
        To remove, only their destinations count. All of it is done or nothing, as with update --mount and --umount.
        """,
    ),
]
