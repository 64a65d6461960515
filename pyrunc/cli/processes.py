"""The commands about the processes of a running container: ps, pause, resume."""

from __future__ import annotations

import click

from .goflags import GoCommand, choices

_ID = "CONTAINER-ID"

COMMANDS: list[click.Command] = [
    GoCommand(
        "ps",
        params=[
            click.Argument(["id"], metavar=_ID),
            click.Argument(["arguments"], nargs=-1, metavar="[PS-OPTION]..."),
            click.Option(
                ["--format", "-f"],
                default="table",
                metavar="FORMAT",
                help="table or json (default: table)",
                shell_complete=choices("table", "json"),
            ),
        ],
        stop=1,
        help="""Show the processes of a container.

        The table is that of the host's ps, whose options may follow the id (default: -ef). With json it is an array
        of process ids.
        """,
    ),
    GoCommand(
        "pause",
        params=[click.Argument(["id"], metavar=_ID)],
        help="""Stop all processes of a container by the cgroup freezer.

        `resume` lets them run on.
        """,
    ),
    GoCommand(
        "resume",
        params=[click.Argument(["id"], metavar=_ID)],
        help="Let the processes of a paused container run on.",
    ),
]
