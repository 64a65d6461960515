"""The command events: resource usage of a container, and kills for want of memory."""

from __future__ import annotations

import click

from . import options
from .goflags import GoCommand

COMMANDS: list[click.Command] = [
    GoCommand(
        "events",
        params=[
            click.Argument(["id"], metavar=options.ID),
            click.Option(
                ["--interval"],
                default="5s",
                metavar="DURATION",
                help="how often the statistics are printed, such as 500ms or 1m30s (default: 5s)",
            ),
            click.Option(["--stats"], is_flag=True, help="print the statistics once"),
        ],
        help="""Print what a container uses, one JSON object on each line.

        Events of type stats come at the interval, those of type oom when the kernel has killed a process of the
        container for want of memory. The command ends when the container does.
        """,
    ),
]
