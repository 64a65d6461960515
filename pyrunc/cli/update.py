"""The command that changes an existing container: update (limits, mounts and devices)."""

from __future__ import annotations

import click

from . import options
from .goflags import GoCommand, GoNumber


def _text(name: str, metavar: str, help: str, hidden: bool = False) -> click.Option:
    return click.Option([name], default="", metavar=metavar, help=help, hidden=hidden)


def _texts(name: str, metavar: str, help: str) -> click.Option:
    return click.Option([name], multiple=True, default=(), metavar=metavar, help=help)


COMMANDS: list[click.Command] = [
    GoCommand(
        "update",
        params=[
            click.Argument(["id"], metavar=options.ID),
            click.Option(
                ["--resources", "-r"],
                default="",
                metavar="FILE",
                help="read the limits from a file, or with - from stdin, as JSON like linux.resources of config.json; "
                "the other options of limits are ignored then, but not those of mounts, devices and Intel RDT",
            ),
            click.Option(
                ["--blkio-weight"], type=GoNumber(), default=0, metavar="N", help="weight of block I/O, 10 to 1000"
            ),
            _text("--cpu-period", "USEC", "period of the CPU quota in microseconds"),
            _text("--cpu-quota", "USEC", "CPU time in each period in microseconds; -1 for no limit"),
            _text("--cpu-burst", "USEC", "CPU time that may be saved up for later periods, in microseconds"),
            _text("--cpu-share", "N", "share of the CPU beside other cgroups, 2 to 262144"),
            _text("--cpu-rt-period", "USEC", "not with cgroup v2: an error that says so"),
            _text("--cpu-rt-runtime", "USEC", "not with cgroup v2: an error that says so"),
            _text("--cpu-idle", "N", "1 for SCHED_IDLE, 0 for the usual scheduling"),
            _text("--cpuset-cpus", "LIST", "CPUs to use, such as 0-2,5"),
            _text("--cpuset-mems", "LIST", "memory nodes to use"),
            _text("--kernel-memory", "BYTES", "without effect: the kernel has no such limit any more", hidden=True),
            _text("--kernel-memory-tcp", "BYTES", "without effect: the kernel has no such limit any more", hidden=True),
            _text("--memory", "BYTES", "limit of memory, such as 512m; -1 for none"),
            _text("--memory-reservation", "BYTES", "memory that is reclaimed last"),
            _text("--memory-swap", "BYTES", "limit of memory and swap together; -1 for none"),
            click.Option(
                ["--pids-limit"], type=GoNumber(), default=0, metavar="N", help="limit of processes; -1 for none"
            ),
            _texts(
                "--mount",
                "MOUNT",
                "mount a path of the host in the container: type=bind,source=PATH,target=PATH and options as in "
                "config.json; or with type=tmpfs a new tmpfs",
            ),
            _texts(
                "--umount", "PATH", "unmount what the configuration or --mount has mounted on a path of the container"
            ),
            _texts(
                "--device",
                "DEVICE",
                "give the container a device of the host: PATH, or PATH:PATH-IN-THE-CONTAINER:rwm",
            ),
            _texts("--device-rm", "PATH", "take a device from the container"),
            _text("--l3-cache-schema", "SCHEMA", "share of the L3 cache (Intel RDT), such as L3:0=7f0;1=1f"),
            _text("--mem-bw-schema", "SCHEMA", "share of memory bandwidth (Intel RDT), such as MB:0=20;1=70"),
        ],
        help="""Change the limits, mounts and devices of a container.

        What is not named stays as it is. All of it is changed or nothing: if the kernel refuses one change, those
        that were made before are undone. --mount, --umount, --device and --device-rm may be given several times.
        """,
    ),
]
