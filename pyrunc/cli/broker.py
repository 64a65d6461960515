"""The command that carries out selected system calls for containers: broker."""

from __future__ import annotations

import click

from .goflags import GoCommand

COMMANDS: list[click.Command] = [
    GoCommand(
        "broker",
        params=[
            click.Option(["--socket"], default="", metavar="PATH", help="where runtimes send listeners: listenerPath"),
            click.Option(["--config"], default="", metavar="FILE", help="the policies"),
            click.Option(
                ["--print-profile"],
                is_flag=True,
                default=False,
                help="print the linux.seccomp that has calls asked at the broker, and do not start it",
            ),
            click.Option(
                ["--base"],
                default="",
                metavar="FILE",
                help="--print-profile: the profile to add it to; of a config.json all is printed",
            ),
            click.Option(
                ["--no-flags"],
                is_flag=True,
                default=False,
                help="--print-profile: add no flag to the profile; runc 1.1 refuses any",
            ),
            click.Option(
                ["--policy"], default="", metavar="POLICY", help="--print-profile: the policy (default: default)"
            ),
        ],
        help="""Carry out selected rare system calls for containers that may not make them: mknod of harmless devices,
        mount of tmpfs, proc and overlay, sysinfo with the cgroup's limits, connect and bind by an allowlist.

        It is an agent of SCMP_ACT_NOTIFY: a runtime sends the listener of a container's filter to its socket. It runs
        in the foreground until SIGTERM or SIGINT. It is no second kernel: see docs/broker.md.
        """,
    ),
]
