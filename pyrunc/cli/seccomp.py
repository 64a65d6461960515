"""The command that records the system calls of a container and explains what a filter refuses: seccomp."""

from __future__ import annotations

import click

from ..libcontainer.seccomp.constants import ARCHITECTURES
from . import options
from .goflags import GoCommand, GoNumber, choices

COMMANDS: list[click.Command] = [
    GoCommand(
        "seccomp",
        params=[
            click.Argument(["action"], metavar="ACTION", shell_complete=choices("record", "explain")),
            click.Argument(["words"], nargs=-1, metavar="[ID|BUNDLE|CALL [ARGUMENT…]]"),
            options.config(),
            click.Option(
                ["--output", "-o"],
                default="",
                metavar="FILE",
                help="record: write the profile there, - is stdout",
            ),
            click.Option(
                ["--arguments"],
                is_flag=True,
                default=False,
                help="record: allow socket, clone, ioctl and prctl only with the values that their argument had",
            ),
            click.Option(
                ["--since"],
                default="load",
                metavar="load|start",
                help="record a bundle: from the load of the filter on (default), or from the program's own start",
                shell_complete=choices("load", "start"),
            ),
            click.Option(
                ["--diff"], default="", metavar="FILE", help="record: print how the profile differs from this one"
            ),
            click.Option(
                ["--seconds"], type=GoNumber(), default=0, metavar="N", help="end after this time (default: at SIGINT)"
            ),
            click.Option(
                ["--profile"],
                default="",
                metavar="FILE",
                help="explain: a profile, or a config.json with one",
            ),
            click.Option(
                ["--arch"],
                default="",
                metavar="ARCH",
                help="explain --profile: SCMP_ARCH_… (default: the machine's)",
                shell_complete=choices(*ARCHITECTURES),
            ),
            options.output_format("table", "json"),
        ],
        help="""Record the system calls of a container, or explain what a seccomp filter refuses.

        seccomp record BUNDLE -o FILE runs a bundle and writes the profile that allows the calls that it made, those of
        the runtime after the load of the filter included. seccomp record ID does so for a running container, until
        SIGINT, its end, or --seconds.

        seccomp explain ID|BUNDLE prints which calls a filter refused, how often, and by which rule.
        seccomp explain --profile FILE CALL [ARGUMENT…] prints what a profile decides about a call, and runs nothing.
        """,
    ),
]
