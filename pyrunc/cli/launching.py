"""The options of commands that start a process: kind and default are those of the field in plan/options.py."""

from __future__ import annotations

from typing import Any

import click

from ..libcontainer.plan.options import ExecOptions
from .goflags import GoNumber


def option(*names: str, help: str, metavar: str | None = None, **more: Any) -> click.Option:
    """A command's option. The first of `names` is that of a field of LaunchOptions or ExecOptions."""
    default = getattr(ExecOptions, names[0].removeprefix("--").replace("-", "_"))
    if default is None or isinstance(default, bool):
        # --no-subreaper is an option of `run` alone, where it is off.
        return click.Option(list(names), is_flag=True, default=None if default is None else False, help=help, **more)
    if isinstance(default, int):
        more["type"] = GoNumber()
    return click.Option(
        list(names), default=default, multiple=isinstance(default, tuple), metavar=metavar, help=help, **more
    )


def common(process: str, pid: str) -> dict[str, click.Option]:
    """The options that `create`, `run`, `exec` and `restore` have in common, by name.

    process, pid: how their help calls the process and its id.
    """
    options = [
        option(
            "--console-socket",
            metavar="SOCKET",
            help="path of an AF_UNIX socket that receives the descriptor of the terminal's master",
        ),
        option(
            "--pidfd-socket",
            metavar="SOCKET",
            help=f"path of an AF_UNIX socket that receives a descriptor of {process}",
        ),
        option("--pid-file", metavar="FILE", help=f"write {pid} to a file"),
        option("--preserve-fds", metavar="N", help="pass descriptors 3 to N + 2 on to the process (default: 0)"),
        option("--timeline", metavar="FILE", help="write when each step began and ended, as Chrome trace-event JSON"),
    ]
    return {str(made.name): made for made in options}
