"""The command `exec`."""

from __future__ import annotations

import click

from ..libcontainer.kernel.capabilities import NAMES
from .goflags import GoCommand, GoNumber, choices


def _many(*names: str, help: str, metavar: str) -> click.Option:
    return click.Option(list(names), multiple=True, default=(), metavar=metavar, help=help)


COMMANDS: list[click.Command] = [
    GoCommand(
        "exec",
        params=[
            click.Argument(["id"], metavar="CONTAINER-ID"),
            click.Argument(["args"], nargs=-1, required=False, metavar="[COMMAND [ARGS]...]"),
            click.Option(
                ["--console-socket"],
                default="",
                metavar="SOCKET",
                help="path of an AF_UNIX socket that receives the descriptor of the terminal's master",
            ),
            click.Option(
                ["--pidfd-socket"],
                default="",
                metavar="SOCKET",
                help="path of an AF_UNIX socket that receives a descriptor of the process",
            ),
            click.Option(["--cwd"], default="", metavar="PATH", help="working directory in the container"),
            _many("--env", "-e", metavar="NAME=VALUE", help="add a variable to the environment"),
            click.Option(["--tty", "-t"], is_flag=True, help="give the process a terminal"),
            click.Option(["--user", "-u"], default="", metavar="UID[:GID]", help="run as this user, by number"),
            click.Option(
                ["--additional-gids", "-g"],
                type=GoNumber(),
                multiple=True,
                default=(),
                metavar="GID",
                help="add a supplementary group",
            ),
            click.Option(["--process", "-p"], default="", metavar="FILE", help="a file with the whole process as JSON"),
            click.Option(["--detach", "-d"], is_flag=True, help="return when the process runs"),
            click.Option(["--pid-file"], default="", metavar="FILE", help="write the process's id to a file"),
            click.Option(["--process-label"], default="", metavar="LABEL", help="SELinux label of the process"),
            click.Option(["--apparmor"], default="", metavar="PROFILE", help="AppArmor profile of the process"),
            click.Option(["--no-new-privs"], is_flag=True, default=None, help="set no_new_privs for the process"),
            click.Option(
                ["--cap", "-c"],
                multiple=True,
                default=(),
                metavar="CAP",
                help="add a capability to those of the container",
                shell_complete=choices(*NAMES),
            ),
            click.Option(
                ["--preserve-fds"],
                type=GoNumber(),
                default=0,
                metavar="N",
                help="pass descriptors 3 to N + 2 on to the process (default: 0)",
            ),
            _many("--cgroup", metavar="PATH", help="run in this cgroup, which is there, below the container's"),
            click.Option(["--ignore-paused"], is_flag=True, help="also in a paused container, when that is resumed"),
            click.Option(
                ["--timeline"],
                default="",
                metavar="FILE",
                help="write when each step began and ended, as Chrome trace-event JSON",
            ),
        ],
        stop=1,
        help="""Start a further process in a container that is created or running.

        Without --process it is the container's own process but for its program and what the options change. In the
        foreground signals are forwarded to it, and its exit code becomes this command's (128 + n after signal n);
        255 says that it could not be started.
        """,
    ),
]
