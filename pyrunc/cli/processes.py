"""The commands about a running container: ps, pause, resume."""

from __future__ import annotations

import click

from . import options
from .goflags import GoCommand

COMMANDS: list[click.Command] = [
    GoCommand(
        "ps",
        params=[
            click.Argument(["id"], metavar=options.ID),
            click.Argument(["arguments"], nargs=-1, metavar="[PS-OPTION]..."),
            options.output_format("table", "json", short=True),
        ],
        stop_after=1,
        help="""Show the processes of a container.

        The table is that of the host's ps, whose options may follow the id (default: -ef). With json it is an array
        of process ids.
        """,
    ),
    GoCommand(
        "pause",
        params=[click.Argument(["id"], metavar=options.ID)],
        help="""Stop all processes of a container by the cgroup freezer.

        `resume` lets them run on.
        """,
    ),
    GoCommand(
        "resume",
        params=[click.Argument(["id"], metavar=options.ID)],
        help="Let the processes of a paused container run on.",
    ),
]
