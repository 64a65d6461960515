"""The engines on this machine itself, a guest with systemd and controllers (tests/guest), and systemd's cgroups."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.engines import images
from tests.engines.ctr import Ctr
from tests.engines.docker import Docker, Podman
from tests.engines.engine import BUSYBOX, Engine, Wish
from tests.engines.machine import REPOSITORY, Machine
from tests.support import host

# The runtime as engines call it: the installed launcher, or the ordinary build.
PYRUNC = "/usr/local/bin/pyrunc"


class Local(Machine):
    """The machine on which the tests run. What is started ends with it."""

    def __init__(self) -> None:
        self.tree = Path("/")
        self.pid = 1
        self.python = sys.executable

    def path(self, name: str) -> Path:
        return Path(name)

    def words(self, *command: str) -> list[str]:
        return list(command)

    def cgroup(self, pid: int) -> Path:
        return Path(f"/sys/fs/cgroup{host.cgroup_of(pid)}")

    def furnish(self) -> None:
        """Put pyrunc where engines look for it, and make the image."""
        command = os.environ.get("PYRUNC_TEST_RUNTIME") or f"env PYTHONPATH={REPOSITORY} {sys.executable} -m pyrunc"
        self.write(PYRUNC, f'#!/bin/sh\nexec {command} "$@"\n', 0o755)
        applets = self.run("busybox", "--list").out.split()
        images.archive(images.busybox(self.tree, BUSYBOX, applets), self.path("/var/tmp/busybox.tar"))


class GuestDocker(Docker):
    """dockerd without a network, with cgroups that the runtime makes."""

    options = ("--iptables=false", "--bridge=none", "--exec-opt=native.cgroupdriver=cgroupfs")


class SystemdDocker(GuestDocker):
    """dockerd whose containers are units of systemd."""

    options = ("--iptables=false", "--bridge=none", "--exec-opt=native.cgroupdriver=systemd")


class SystemdPodman(Podman):
    """Podman whose containers are units of systemd."""

    def __init__(self, machine: Machine, runtime: str) -> None:
        super().__init__(machine, runtime)
        self.program = (*self.program, "--cgroup-manager=systemd")


class SystemdCtr(Ctr):
    """ctr with runc's option for systemd; it names the unit."""

    def run_words(self, name: str, command: Sequence[str], wish: Wish, detach: bool) -> list[str]:
        words = super().run_words(name, command, wish, detach)
        return [*words[:2], "--runc-systemd-cgroup", f"--cgroup=system.slice:ctr:{name}", *words[2:]]


# Each engine by a name, and whether its containers are units of systemd.
ENGINES: dict[str, tuple[type[Engine], bool]] = {
    "docker": (GuestDocker, False),
    "docker-systemd": (SystemdDocker, True),
    "podman": (Podman, False),
    "podman-systemd": (SystemdPodman, True),
    "containerd": (Ctr, False),
    "containerd-systemd": (SystemdCtr, True),
}
