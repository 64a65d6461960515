"""The engines on this machine itself, a guest with systemd and controllers (tests/guest), and systemd's cgroups."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.engines import images
from tests.engines.checks import succeeds
from tests.engines.cri import SHIM as SHIM_HANDLER
from tests.engines.cri import SHIM_NAME, Cri
from tests.engines.ctr import Ctr
from tests.engines.docker import Docker, Podman
from tests.engines.engine import BUSYBOX, PAUSE, Engine, Wish
from tests.engines.machine import REPOSITORY, Machine
from tests.support import host

# The runtime and its shim as engines call them: the installed launcher, or the ordinary build.
PYRUNC = "/usr/local/bin/pyrunc"
SHIM = f"/usr/local/bin/{SHIM_NAME}"

# The programs that the host has brought (GUEST_BRINGS).
BROUGHT = Path("/pyrunc/brought")

# The file with the shim's options: all that containerd 1.6 gives to a runtime that is not runc's.
SHIM_OPTIONS = "/etc/containerd/pyrunc.toml"


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
        """Put pyrunc and what the host has brought where engines look for them, and make the images."""
        given = os.environ.get("PYRUNC_TEST_RUNTIME")
        for path, module in ((PYRUNC, "pyrunc"), (SHIM, "pyrunc.shim")):
            if given:
                # The launcher is the shim by its name.
                command = str(Path(given).with_name(os.path.basename(path)))
            else:
                command = f"env PYTHONPATH={REPOSITORY} {sys.executable} -m {module}"
            self.write(path, f'#!/bin/sh\nexec {command} "$@"\n', 0o755)
        for program in BROUGHT.glob("*"):
            if program.is_file():
                self.path(f"/usr/local/bin/{program.name}").unlink(missing_ok=True)
                self.path(f"/usr/local/bin/{program.name}").symlink_to(program)
        if not self.path("/etc/resolv.conf").exists():
            self.write("/etc/resolv.conf", "")  # the CRI plugin copies it
        applets = self.run("busybox", "--list").out.split()
        box = images.busybox(self.tree, BUSYBOX, applets)
        images.archive(box, self.path("/var/tmp/busybox.tar"))
        pause = images.Image(PAUSE, box.files, ("tail", "-f", "/dev/null"))
        images.archive(pause, self.path("/var/tmp/pause.tar"))


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


class ShimCtr(Ctr):
    """ctr with pyrunc's own shim, beside runc by its own."""

    def run_words(self, name: str, command: Sequence[str], wish: Wish, detach: bool) -> list[str]:
        words = super().run_words(name, command, wish, detach)
        if self.runtime == "pyrunc":
            at = next(number for number, word in enumerate(words) if word.startswith("--runc-binary="))
            words[at] = "--runtime=io.containerd.pyrunc.v2"
        return words


def systemd_tables(machine: Machine, plugin: str) -> str:
    """The tables of the runtimes, with systemd's cgroups; docs/shim.md has the shim's by containerd's version."""
    runtimes = f'plugins."{plugin}".containerd.runtimes'
    text = ""
    for runtime in ("runc", "pyrunc"):
        text += f"""[{runtimes}.{runtime}]
  runtime_type = "io.containerd.runc.v2"
[{runtimes}.{runtime}.options]
  BinaryName = "{machine.which(runtime)}"
  SystemdCgroup = true
"""
    machine.write(SHIM_OPTIONS, "SystemdCgroup = true\n")
    option = f'ConfigPath = "{SHIM_OPTIONS}"' if plugin.startswith("io.containerd.grpc") else "SystemdCgroup = true"
    return f"""{text}[{runtimes}.{SHIM_HANDLER}]
  runtime_type = "io.containerd.pyrunc.v2"
[{runtimes}.{SHIM_HANDLER}.options]
  {option}
"""


class SystemdCri(Cri):
    """crictl; the containers are units of systemd, in a slice of their pod, as under a kubelet."""

    images = ("busybox", "pause")
    tables = staticmethod(systemd_tables)

    @staticmethod
    def cgroup_parent(name: str) -> str:
        return f"kubepods-pod{name.replace('-', '_')}.slice"


class ShimCri(SystemdCri):
    """The same with pyrunc's own shim, beside runc by its own."""

    def handler(self) -> str:
        return SHIM_HANDLER if self.runtime == "pyrunc" else self.runtime


def whose_cgroup(engine: Engine) -> None:
    """The container's cgroup is a unit of systemd with the limit among its properties, or not systemd's."""
    box = engine.idle(limits={"memory": "64m"})
    cgroup = engine.machine.cgroup(engine.pid(box))
    assert (cgroup / "memory.max").read_text() == f"{64 << 20}\n"
    scopes = [part for part in cgroup.parts if part.endswith(".scope")]
    assert bool(scopes) is dict(ENGINES.values())[type(engine)], cgroup
    if scopes:
        words = ("systemctl", "show", "--property=MemoryMax,ActiveState", scopes[-1])
        assert succeeds(engine.machine.run(*words)).split() == [f"MemoryMax={64 << 20}", "ActiveState=active"]


# The guest's own checks.
CHECKS = {"whose_cgroup": whose_cgroup}

# Each engine by a name, and whether its containers are units of systemd.
ENGINES: dict[str, tuple[type[Engine], bool]] = {
    "docker": (GuestDocker, False),
    "docker-systemd": (SystemdDocker, True),
    "podman": (Podman, False),
    "podman-systemd": (SystemdPodman, True),
    "containerd": (Ctr, False),
    "containerd-systemd": (SystemdCtr, True),
    "containerd-shim": (ShimCtr, False),
    "cri-systemd": (SystemdCri, True),
    "cri-shim-systemd": (ShimCri, True),
}
