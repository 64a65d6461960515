"""The command that prints what an engine's configuration needs: integrate."""

from __future__ import annotations

import click

from .goflags import GoCommand, choices

ENGINES = ("containerd", "docker", "podman", "crio", "kubernetes")

COMMANDS: list[click.Command] = [
    GoCommand(
        "integrate",
        params=[
            click.Argument(["engine"], metavar="ENGINE", shell_complete=choices(*ENGINES)),
            click.Option(
                ["--write"],
                is_flag=True,
                help="merge the lines into the engine's file, and keep a copy of the file as it was",
            ),
            click.Option(["--undo"], is_flag=True, help="take the lines out again, or put the copy back"),
            click.Option(["--check"], is_flag=True, help="start a container through the engine"),
            click.Option(
                ["--file", "-f"], default="", metavar="FILE", help="the engine's file (default: its usual one)"
            ),
            click.Option(["--path"], default="", metavar="FILE", help="the program to start (default: this one)"),
            click.Option(["--default"], is_flag=True, help="make it the runtime of all containers"),
            click.Option(["--image"], default="", metavar="IMAGE", help="for kubernetes, and docker with --check"),
        ],
        help="""Print what an engine needs to start this runtime.

        ENGINE is containerd, docker, podman, crio or kubernetes. For containerd the global option --systemd-cgroup has
        systemd make the cgroups; without it they are made as for runc in the same file, or as the kubelet has it.
        For kubernetes a RuntimeClass and a DaemonSet are printed, for `kubectl apply -f -`.
        """,
    ),
]
