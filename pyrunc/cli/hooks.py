"""The command that tries a bundle's hooks: hooks."""

from __future__ import annotations

import click

from . import options
from .goflags import GoCommand, GoNumber, choices

HOOK_KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")

COMMANDS: list[click.Command] = [
    GoCommand(
        "hooks",
        params=[
            click.Argument(["action"], metavar="run", shell_complete=choices("run")),
            click.Argument(["path"], required=False, default="", metavar="[BUNDLE]"),
            options.config(),
            click.Option(
                ["--kind"],
                default="",
                metavar="KIND",
                help="prestart, createRuntime, createContainer, startContainer, poststart or poststop (default: all)",
                shell_complete=choices(*HOOK_KINDS),
            ),
            click.Option(["--index"], type=GoNumber(), default=-1, metavar="N", help="one hook of the kind, from 0 on"),
            options.output_format("table", "json"),
        ],
        help="""Try a bundle's hooks, and show how each ended.

        For each hook a container is made up to the point where the hook is due, with an id that is made up and without
        a cgroup, and is removed afterwards. Its program never runs. Hooks really run: what they change on the host
        stays. The exit code is 1 if one failed.
        """,
    ),
]
