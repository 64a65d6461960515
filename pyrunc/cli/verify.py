"""The command that compares a container with its plan: verify."""

from __future__ import annotations

import click

from . import options
from .goflags import GoCommand

COMMANDS: list[click.Command] = [
    GoCommand(
        "verify",
        params=[
            click.Argument(["id"], metavar=options.ID),
            options.output_format("table", "json"),
        ],
        help="""Compare a living container with its plan.

        Each difference is shown with its place in config.json, what is expected and what is found. pyrunc looks at the
        container from outside; nothing is executed in it. The exit code is 1 if something differs.
        """,
    ),
]
