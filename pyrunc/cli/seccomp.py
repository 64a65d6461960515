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
                help="record: the file of the profile, - is standard output",
            ),
            click.Option(
                ["--arguments"],
                is_flag=True,
                default=False,
                help="record: allow socket, clone, ioctl and prctl only with the values that were seen",
            ),
            click.Option(
                ["--since"],
                default="load",
                metavar="load|start",
                help="record BUNDLE: count from the load of the filter on (default), or from the program's start",
                shell_complete=choices("load", "start"),
            ),
            click.Option(
                ["--diff"],
                default="",
                metavar="FILE",
                help="record: print how the profile differs from the one in FILE",
            ),
            click.Option(
                ["--seconds"],
                type=GoNumber(),
                default=0,
                metavar="N",
                help="ID: watch so many seconds (default: until SIGINT)",
            ),
            click.Option(
                ["--profile"],
                default="",
                metavar="FILE",
                help="explain: the file of a profile, or a config.json that has one",
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
        help="""Record system calls, or explain what a filter refuses.

        seccomp record BUNDLE -o FILE runs a bundle and writes a profile that allows the calls that were made, also by
        the container's init after it has loaded the filter. It exits with the exit code of the bundle's program.
        seccomp record ID -o FILE watches a running container until SIGINT, its end, or the end of --seconds.

        An argument that is a directory, or that has a slash, is a bundle.

        seccomp explain ID|BUNDLE does the same, and prints which calls a filter refused, how often, and by which rule.
        seccomp explain --profile FILE CALL [ARGUMENT…] prints what a profile decides about a call, and runs nothing.
        """,
    ),
]
