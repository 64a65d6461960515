"""The command `exec`."""

from __future__ import annotations

import click

from ..libcontainer.kernel.constants import CAPABILITIES
from . import options
from .goflags import GoCommand, GoNumber, choices
from .options import launch_option

_SHARED = options.common_launch_options("the process", "the process's id")

COMMANDS: list[click.Command] = [
    GoCommand(
        "exec",
        params=[
            click.Argument(["id"], metavar=options.ID),
            click.Argument(["args"], nargs=-1, required=False, metavar="[COMMAND [ARGS]...]"),
            _SHARED["console_socket"],
            _SHARED["pidfd_socket"],
            launch_option("--cwd", metavar="PATH", help="working directory in the container"),
            launch_option("--env", "-e", metavar="NAME=VALUE", help="add a variable to the environment"),
            launch_option("--tty", "-t", help="give the process a terminal"),
            launch_option("--user", "-u", metavar="UID[:GID]", help="run as this user, by number"),
            launch_option("--additional-gids", "-g", type=GoNumber(), metavar="GID", help="add a supplementary group"),
            launch_option("--process", "-p", metavar="FILE", help="a file with the whole process as JSON"),
            launch_option("--detach", "-d", help="return when the process runs"),
            _SHARED["pid_file"],
            launch_option("--process-label", metavar="LABEL", help="SELinux label of the process"),
            launch_option("--apparmor", metavar="PROFILE", help="AppArmor profile of the process"),
            launch_option("--no-new-privs", help="set no_new_privs for the process"),
            launch_option(
                "--cap",
                "-c",
                metavar="CAP",
                help="add a capability to those of the container",
                shell_complete=choices(*CAPABILITIES),
            ),
            _SHARED["preserve_fds"],
            launch_option("--cgroup", metavar="PATH", help="run in this existing cgroup below the container's"),
            launch_option(
                "--ignore-paused", help="start in a paused container too; the process runs once that is resumed"
            ),
            _SHARED["timeline"],
        ],
        stop_after=1,
        help="""Start a further process in a container.

        The container is created or running. Without --process the new process has the settings of the container's own,
        but for its program and what the options change. In the foreground signals are forwarded to it, and its exit
        code becomes this command's (128 + n after signal n); 255 says that it could not be started.
        """,
    ),
]
