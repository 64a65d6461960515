"""The commands about a bundle that start no container: spec, validate, plan, features."""

from __future__ import annotations

import click

from . import options
from .goflags import GoCommand

COMMANDS: list[click.Command] = [
    GoCommand(
        "spec",
        params=[
            options.bundle(),
            click.Option(
                ["--file", "-f"],
                default="",
                metavar="FILE",
                help="write to this file, in the bundle or absolute, also where it exists",
            ),
            click.Option(["--rootless"], is_flag=True, help="write one for a container of this user, who is not root"),
        ],
        help="""Write a config.json to start from.

        It runs `sh` on the terminal, in the bundle's directory rootfs. An existing config.json is left alone.
        """,
    ),
    GoCommand(
        "validate",
        params=[
            click.Argument(["path"], required=False, default="", metavar="[BUNDLE]"),
            options.bundle(),
            options.config(),
            options.output_format("text", "json"),
            click.Option(["--spec-only"], is_flag=True, help="look neither at the root file system nor at this host"),
        ],
        help="""Check a bundle, and print every problem in it.

        It checks config.json, the root file system and what this host lacks for it. The exit code is 1 if a problem is
        more than a warning.
        """,
    ),
    GoCommand(
        "plan",
        params=[
            click.Argument(["id"], required=False, default="container", metavar=f"[{options.ID}]"),
            options.bundle(),
            options.config(),
            options.output_format("table", "json", "tree"),
            *options.isolation(),
            click.Option(["--diff"], default="", metavar="BUNDLE", help="show what differs from another bundle"),
            click.Option(
                ["--timeline"],
                default="",
                metavar="FILE",
                help="draw a timeline that create, start, run or exec has written",
            ),
        ],
        help="""Show what `run` would do, step by step, without doing it.

        Each step has its phase, who carries it out, the kernel's call, its arguments, and the place in config.json
        that causes it. No privilege is needed. A step that would fail on this host is marked, and the exit code is 1.
        """,
    ),
    GoCommand(
        "features",
        params=[],
        help="Print as JSON what this runtime supports.\n\nIt is runtime-spec's features structure.",
    ),
]
