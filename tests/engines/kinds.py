"""The tested engines, by the names that `make test-engines ENGINES=` takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from tests.engines.buildkit import BuildKit
from tests.engines.checks import CHECKS
from tests.engines.cri import Cri
from tests.engines.crio import Crio
from tests.engines.ctr import Ctr
from tests.engines.docker import Docker, Podman, Remapped
from tests.engines.engine import Engine
from tests.engines.machine import Machine
from tests.engines.rootless import Delegated, Rootless
from tests.engines.tree import PROGRAMS, install


class Kind(NamedTuple):
    """An engine: its adapter, its checks, and the preparation of the machine."""

    adapter: type[Engine]
    checks: Sequence[str] = tuple(CHECKS)
    prepare: Callable[[Machine], None] = lambda machine: None


def newer_containerd(machine: Machine) -> None:
    """Put the containerd that was built from its module in the place of Debian's."""
    install(machine, PROGRAMS / "containerd")


def newer_dockerd(machine: Machine) -> None:
    """Put the dockerd that was built from its module in the place of Debian's."""
    install(machine, PROGRAMS / "moby")


# What Docker refuses with userns-remap, and what a mapped root may not do on the host.
NOT_MAPPED = ("network_host", "host_namespaces", "privileged", "exec_privileged", "volumes")
MAPPED = tuple(name for name in CHECKS if name not in NOT_MAPPED)

# What only a cgroup of the container's own makes possible.
OWN_CGROUP = ("nothing_is_left", "pause", "kill_paused")

KINDS: Mapping[str, Kind] = {
    "docker": Kind(Docker),
    "remapped": Kind(Remapped, MAPPED),
    "podman": Kind(Podman),
    "rootless": Kind(Rootless, tuple(name for name in CHECKS if name not in OWN_CGROUP)),
    "delegated": Kind(Delegated),
    "containerd": Kind(Ctr),
    "containerd2": Kind(Ctr, prepare=newer_containerd),
    "cri": Kind(Cri),
    "cri2": Kind(Cri, prepare=newer_containerd),
    "crio": Kind(Crio),
    "buildkit": Kind(BuildKit, ()),
    "moby": Kind(Docker, prepare=newer_dockerd),
}
