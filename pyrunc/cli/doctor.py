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
        help="""Show what this host offers to containers.

        It also shows what the host lacks, and what to do about that. With a bundle it shows what in the bundle would
        not work here; the exit code is 1 if the bundle would not run.
        """,
    ),
]
