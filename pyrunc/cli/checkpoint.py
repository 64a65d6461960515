"""The commands checkpoint and restore."""

from __future__ import annotations

import click

from . import options
from .goflags import GoCommand, GoNumber, choices


def _flag(name: str, help: str) -> click.Option:
    return click.Option([name], is_flag=True, help=help)


def _text(names: list[str], metavar: str, help: str) -> click.Option:
    return click.Option(names, default="", metavar=metavar, help=help)


def _shared() -> list[click.Parameter]:
    """The options of both commands."""
    return [
        click.Argument(["id"], metavar=options.ID),
        _text(["--image-path"], "DIR", "directory of CRIU's images (default: checkpoint, in the working directory)"),
        _text(["--work-path"], "DIR", "directory of CRIU's log and work files (default: that of the images)"),
        _flag("--tcp-established", "allow established TCP connections"),
        _flag("--ext-unix-sk", "allow connections to UNIX sockets outside of the container"),
        _flag("--shell-job", "allow a session or a terminal from outside of the container"),
        _flag("--lazy-pages", "leave memory where it is until it is used (userfaultfd)"),
        _flag("--file-locks", "keep file locks"),
        click.Option(
            ["--manage-cgroups-mode"],
            default="",
            metavar="MODE",
            help="how CRIU treats cgroups: soft, full, strict or ignore (default: soft)",
            shell_complete=choices("soft", "full", "strict", "ignore"),
        ),
        click.Option(
            ["--empty-ns"],
            multiple=True,
            metavar="NAMESPACE",
            help="make the namespace, but leave it empty; network, which is always so",
            shell_complete=choices("network"),
        ),
        _flag("--auto-dedup", "punch out of earlier images what a later one has"),
    ]


_LAUNCH = options.common_launch_options("the container's process", "the container's process id")

COMMANDS: list[click.Command] = [
    GoCommand(
        "checkpoint",
        params=[
            *_shared(),
            _text(["--parent-path"], "PATH", "directory of an earlier dump's images, relative to --image-path"),
            _flag("--leave-running", "let the container run on"),
            _flag("--tcp-skip-in-flight", "leave out TCP connections that are not established yet"),
            _flag("--link-remap", "link files that have been unlinked back, where needed"),
            click.Option(
                ["--status-fd"],
                type=GoNumber(),
                default=-1,
                metavar="N",
                help="write a zero byte to this descriptor when --lazy-pages is ready",
            ),
            _text(["--page-server"], "ADDRESS:PORT", "where memory pages are sent to, or with --lazy-pages are served"),
            click.Option(
                ["--network-lock"],
                default="",
                metavar="METHOD",
                help="how connections are held up meanwhile: iptables, nftables or skip (default: what the host has)",
                shell_complete=choices("iptables", "nftables", "skip"),
            ),
            _flag("--pre-dump", "dump memory alone, and let the container run on"),
        ],
        help="""Save a running container by CRIU, and delete it.

        It takes CRIU 3.17 or later. With --leave-running or --pre-dump the container runs on.
        """,
    ),
    GoCommand(
        "restore",
        params=[
            *_shared(),
            options.bundle(),
            _LAUNCH["console_socket"],
            click.Option(["--detach", "-d"], is_flag=True, help="return when the processes run"),
            _LAUNCH["pid_file"],
            _flag("--no-subreaper", "do not become the reaper of orphaned processes"),
            _flag("--no-pivot", "without effect, with a warning: CRIU makes the root itself"),
            _flag("--tcp-close", "restore TCP connections as closed ones"),
            _text(["--lsm-profile"], "PROFILE", "run with this profile, TYPE:NAME, such as apparmor:NAME"),
            _text(["--lsm-mount-context"], "LABEL", "mount with this SELinux context"),
        ],
        help="""Restore a container from a checkpoint, by CRIU.

        The bundle is that of the container which was dumped. In the foreground signals are forwarded to the process,
        its exit code becomes this command's (128 + n after signal n), and the container is deleted afterwards.
        """,
    ),
]
