"""The command that cleans up after killed ones: gc."""

from __future__ import annotations

import click

from .goflags import GoCommand

COMMANDS: list[click.Command] = [
    GoCommand(
        "gc",
        params=[
            click.Option(["--dry-run"], is_flag=True, help="print what would be undone, and undo nothing"),
        ],
        help="""Undo what killed commands left behind.

        It looks under the root directory. Containers, running or stopped, stay; so do directories of other users and
        those that are not pyrunc's. The exit code is 1 if something could not be undone.
        """,
    ),
]
