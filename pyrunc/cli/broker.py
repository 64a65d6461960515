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
                help="print the linux.seccomp for a policy, and start no broker",
            ),
            click.Option(
                ["--base"],
                default="",
                metavar="FILE",
                help="--print-profile: the profile to add it to, or a config.json, which is printed whole",
            ),
            click.Option(
                ["--no-flags"],
                is_flag=True,
                default=False,
                help="--print-profile: add no flag to the profile, since runc 1.1 refuses all flags",
            ),
            click.Option(
                ["--policy"], default="", metavar="POLICY", help="--print-profile: the policy (default: default)"
            ),
            click.Option(
                ["--parent"],
                type=int,
                default=0,
                metavar="PID",
                help="end with this process, the broker's parent; a line on standard output tells it that the broker "
                "listens",
            ),
        ],
        help="""Carry out selected system calls for containers.

        These are rare calls that the containers may not make: mknod of harmless devices, mount of tmpfs, proc and
        overlay, sysinfo with the cgroup's limits, connect and bind by an allowlist.

        It is an agent of SCMP_ACT_NOTIFY: a runtime sends the listener of a container's filter to its socket. It runs
        in the foreground until SIGTERM or SIGINT. It is no second kernel: see docs/broker.md.
        """,
    ),
]
