"""The bundles of the bench: a small set as `spec` writes it, and a large one with more of everything."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from pyrunc.libcontainer.spec.example import example

BUSYBOX = "/bin/busybox"
MOUNTS = 20
# The capabilities that engines grant by default.
CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP",
    "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
)  # fmt: skip
FIRST_ID, IDS = 100_000, 65_536


class Bundles(NamedTuple):
    """A set's two bundles: of `true`, and of a process that stays."""

    short: Path
    long: Path


def small(work: Path) -> Bundles:
    """Containers of the example's config.json, without a terminal and without device rules.

    crun sets its RLIMIT_MEMLOCK to load such rules, which not every measuring machine permits.
    """
    return _both(work / "small", config())


def large(work: Path) -> Bundles:
    """Containers with 20 mounts, 14 capabilities and a user namespace."""
    path = work / "large"
    spec = config()
    capabilities = [f"CAP_{name}" for name in CAPABILITIES]
    spec["process"]["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), capabilities)
    spec["linux"]["namespaces"].append({"type": "user"})
    for name in ("uidMappings", "gidMappings"):
        spec["linux"][name] = [{"containerID": 0, "hostID": FIRST_ID, "size": IDS}]
    volumes = []
    for number in range(MOUNTS - len(spec["mounts"])):
        volume = path / "volumes" / str(number)
        volume.mkdir(parents=True)
        volumes.append(f"volumes/{number}")
        kind = {"type": "bind", "source": str(volume), "options": ["rbind", "ro", "nosuid", "nodev"]}
        if number % 2:
            kind = {"type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=755", "size=1024k"]}
        spec["mounts"].append({"destination": f"/volumes/{number}", **kind})
    bundles = _both(path, spec, volumes)
    for directory, _, files in os.walk(path):
        for name in ("", *files):
            os.chown(os.path.join(directory, name), FIRST_ID, FIRST_ID, follow_symlinks=False)
    return bundles


def config() -> Any:
    """The example's config.json in a form that every runtime here can run."""
    spec = example()
    spec["ociVersion"] = "1.0.2"
    spec["process"]["terminal"] = False
    del spec["linux"]["resources"]
    return spec


def _both(path: Path, spec: dict[str, Any], volumes: list[str] | None = None) -> Bundles:
    commands = {"short": ["/bin/true"], "long": ["/bin/sleep", "1000"]}
    return Bundles(*(_bundle(path / name, spec, args, volumes or []) for name, args in commands.items()))


def _bundle(path: Path, spec: dict[str, Any], args: list[str], directories: list[str]) -> Path:
    for name in ("bin", "proc", "dev", "sys", *directories):
        (path / "rootfs" / name).mkdir(parents=True)
    shutil.copy(BUSYBOX, path / "rootfs/bin/busybox")
    for name in ("true", "sleep"):
        (path / "rootfs/bin" / name).symlink_to("busybox")
    spec["process"]["args"] = args
    (path / "config.json").write_text(json.dumps(spec))
    return path
