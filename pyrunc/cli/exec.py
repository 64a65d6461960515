"""The command `exec`."""

from __future__ import annotations

import click

from ..libcontainer.kernel.capabilities import NAMES
from . import launching
from .goflags import GoCommand, GoNumber, choices
from .launching import option

_SHARED = launching.common("the process", "the process's id")

COMMANDS: list[click.Command] = [
    GoCommand(
        "exec",
        params=[
            click.Argument(["id"], metavar="CONTAINER-ID"),
            click.Argument(["args"], nargs=-1, required=False, metavar="[COMMAND [ARGS]...]"),
            _SHARED["console_socket"],
            _SHARED["pidfd_socket"],
            option("--cwd", metavar="PATH", help="working directory in the container"),
            option("--env", "-e", metavar="NAME=VALUE", help="add a variable to the environment"),
            option("--tty", "-t", help="give the process a terminal"),
            option("--user", "-u", metavar="UID[:GID]", help="run as this user, by number"),
            option("--additional-gids", "-g", type=GoNumber(), metavar="GID", help="add a supplementary group"),
            option("--process", "-p", metavar="FILE", help="a file with the whole process as JSON"),
            option("--detach", "-d", help="return when the process runs"),
            _SHARED["pid_file"],
            option("--process-label", metavar="LABEL", help="SELinux label of the process"),
            option("--apparmor", metavar="PROFILE", help="AppArmor profile of the process"),
            option("--no-new-privs", help="set no_new_privs for the process"),
            option(
                "--cap",
                "-c",
                metavar="CAP",
                help="add a capability to those of the container",
                shell_complete=choices(*NAMES),
            ),
            _SHARED["preserve_fds"],
            option("--cgroup", metavar="PATH", help="run in this cgroup, which is there, below the container's"),
            option("--ignore-paused", help="also in a paused container, when that is resumed"),
            _SHARED["timeline"],
        ],
        stop_after=1,
        help="""Start a further process in a container that is created or running.

        Without --process it is the container's own process but for its program and what the options change. In the
        foreground signals are forwarded to it, and its exit code becomes this command's (128 + n after signal n);
        255 says that it could not be started.
        """,
    ),
]
