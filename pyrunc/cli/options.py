"""The options that several commands have, each declared once."""

from __future__ import annotations

from typing import Any

import click

from ..libcontainer.plan.options import ExecOptions
from .goflags import GoNumber, choices

ID = "CONTAINER-ID"


def bundle() -> click.Option:
    """`--bundle DIR`."""
    return click.Option(
        ["--bundle", "-b"], default="", metavar="DIR", help="the bundle (default: the working directory)"
    )


def config() -> click.Option:
    """`--config FILE`, for commands that start no container."""
    return click.Option(["--config", "-f"], default="config.json", metavar="FILE", help="the configuration's file")


def output_format(*formats: str, short: bool = False) -> click.Option:
    """`--format FORMAT`. formats: those that the command has, the default first. short: `-f` is the same."""
    *first, last = formats
    return click.Option(
        ["--format", "-f"] if short else ["--format"],
        default=formats[0],
        metavar="FORMAT",
        help=f"{', '.join(first)} or {last} (default: {formats[0]})",
        shell_complete=choices(*formats),
    )


def launch_option(*names: str, help: str, metavar: str | None = None, **more: Any) -> click.Option:
    """An option of a launch. The first of `names` is that of a field of LaunchOptions or ExecOptions.

    The field gives the option its kind and its default.
    """
    default = getattr(ExecOptions, names[0].removeprefix("--").replace("-", "_"))
    if default is None or isinstance(default, bool):
        # --no-subreaper is an option of `run` alone, where it is off.
        return click.Option(list(names), is_flag=True, default=None if default is None else False, help=help, **more)
    if isinstance(default, int):
        more["type"] = GoNumber()
    return click.Option(
        list(names), default=default, multiple=isinstance(default, tuple), metavar=metavar, help=help, **more
    )


def isolation() -> list[click.Option]:
    """`--isolation`, `--network` and `--seccomp-profile`."""
    return [
        launch_option(
            "--isolation",
            metavar="sandbox",
            help="tighten the configuration: user namespace, capabilities, seccomp, Landlock, no network",
            shell_complete=choices("sandbox"),
        ),
        launch_option(
            "--network",
            metavar="none|host|config",
            help="the network of a sandbox: only lo (default), the host's, or what the configuration says",
            shell_complete=choices("none", "host", "config"),
        ),
        launch_option(
            "--seccomp-profile", metavar="FILE", help="a linux.seccomp that replaces that of the configuration"
        ),
    ]


def timeline() -> click.Option:
    """`--timeline FILE`."""
    return launch_option(
        "--timeline", metavar="FILE", help="write when each step began and ended, as Chrome trace-event JSON"
    )


def common_launch_options(process: str, pid: str) -> dict[str, click.Option]:
    """The options that `create`, `run`, `exec` and `restore` share, by parameter name.

    process, pid: what the help calls the process and its id.
    """
    options = [
        launch_option(
            "--console-socket",
            metavar="SOCKET",
            help="path of an AF_UNIX socket that receives the descriptor of the terminal's master",
        ),
        launch_option(
            "--pidfd-socket",
            metavar="SOCKET",
            help=f"path of an AF_UNIX socket that receives a descriptor of {process}",
        ),
        launch_option("--pid-file", metavar="FILE", help=f"write {pid} to a file"),
        launch_option("--preserve-fds", metavar="N", help="pass descriptors 3 to N + 2 on to the process (default: 0)"),
        timeline(),
    ]
    return {str(made.name): made for made in options}
