"""The commands of a container's life: create, run, start, state, kill, delete, list."""

from __future__ import annotations

import signal

import click

from . import options
from .goflags import ColdOption, GoCommand


def _regex() -> ColdOption:
    return ColdOption(["--regex", "-r"], is_flag=True, help="the id is a regular expression: all that it is found in")


def _signals(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The names of signals; with SIG or in lower case if they were typed so."""
    names = [member.name.removeprefix("SIG") for member in signal.Signals]
    begun = incomplete.upper()
    found = ["SIG" + name for name in names] if begun.startswith("SI") else names
    found = [name for name in found if name.startswith(begun)]
    return found if incomplete == begun else [name.lower() for name in found]


def _launch() -> list[click.Parameter]:
    """The options of create and run."""
    shared = options.common_launch_options("the container's process", "the container's process id")
    # exec takes no descriptors of socket activation, as with runc.
    passed = "pass N descriptors on to the process: 3 to N + 2, or those behind $LISTEN_FDS"
    shared["preserve_fds"].help = passed + ", which are passed on too (default: 0)"
    return [
        click.Argument(["id"], metavar=options.ID),
        options.bundle(),
        options.launch_option(
            "--config",
            "-f",
            metavar="FILE",
            help="the configuration, in the bundle or absolute (default: config.json)",
        ),
        shared["console_socket"],
        *options.isolation(),
        shared["pidfd_socket"],
        shared["pid_file"],
        options.launch_option("--no-pivot", help="do not use pivot_root (for a root filesystem on a ramdisk)"),
        options.launch_option("--no-new-keyring", help="keep the caller's session keyring"),
        options.launch_option("--no-subreaper", help="do not become the reaper of orphaned processes"),
        shared["preserve_fds"],
        shared["timeline"],
    ]


COMMANDS: list[click.Command] = [
    GoCommand(
        "create",
        params=_launch(),
        help="""Create a container from a bundle.

        Everything is made and set up but the process itself, which waits for `start`.
        """,
    ),
    GoCommand(
        "run",
        params=[
            *_launch(),
            options.launch_option("--detach", "-d", help="return when the process runs"),
            options.launch_option("--keep", help="do not delete the container when the process has ended"),
        ],
        help="""Create and start a container.

        In the foreground signals are forwarded to the process, its exit code becomes this command's (128 + n after
        signal n), and the container is deleted afterwards.
        """,
    ),
    GoCommand(
        "start",
        params=[click.Argument(["id"], metavar=options.ID), options.timeline()],
        help="Start the process of a created container.",
    ),
    GoCommand(
        "state",
        params=[click.Argument(["id"], metavar=options.ID)],
        help="Print the state of a container as JSON.",
    ),
    GoCommand(
        "kill",
        params=[
            click.Argument(["id"], metavar=options.ID),
            click.Argument(["signal"], required=False, default="TERM", metavar="[SIGNAL]", shell_complete=_signals),
            click.Option(["--all", "-a"], is_flag=True, help="send it to every process of the container"),
            _regex(),
        ],
        stop_after=1,
        help="""Send a signal to the process of a container.

        SIGNAL is a name (TERM, SIGTERM, RTMIN+1) or a number; TERM when it is absent. With --all it is no error that
        nothing runs in the container.
        """,
    ),
    GoCommand(
        "delete",
        params=[
            click.Argument(["ids"], nargs=-1, required=True, metavar=f"{options.ID}..."),
            click.Option(["--force", "-f"], is_flag=True, help="kill what still runs; an unknown id is no error"),
            _regex(),
        ],
        help="Delete containers that are stopped or were never started.\n\nAll that they hold on the host is removed.",
    ),
    GoCommand(
        "list",
        params=[
            options.output_format("table", "json", short=True),
            click.Option(["--quiet", "-q"], is_flag=True, help="print the ids alone"),
        ],
        help="List the containers under the root directory.",
    ),
]
