"""The command that says what this host offers: doctor."""

from __future__ import annotations

import click

from . import options
from .goflags import GoCommand

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
]
