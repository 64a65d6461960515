"""The config.json that `spec` writes: a shell on the terminal, with few privileges."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .. import SPEC_VERSION

if TYPE_CHECKING:
    from ..._generated.spec_types import MountEntry, Spec

_CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]

_MOUNTS = (
    ("/proc", "proc", "proc", ""),
    ("/dev", "tmpfs", "tmpfs", "nosuid strictatime mode=755 size=65536k"),
    ("/dev/pts", "devpts", "devpts", "nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5"),
    ("/dev/shm", "tmpfs", "shm", "nosuid noexec nodev mode=1777 size=65536k"),
    ("/dev/mqueue", "mqueue", "mqueue", "nosuid noexec nodev"),
    ("/sys", "sysfs", "sysfs", "nosuid noexec nodev ro"),
    ("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid noexec nodev relatime ro"),
)

_MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
)
_READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def example() -> Spec:
    """A configuration for root, equal to that of `runc spec` (config.md, config-linux.md)."""
    return {
        "ociVersion": SPEC_VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                "bounding": list(_CAPABILITIES),
                "effective": list(_CAPABILITIES),
                "permitted": list(_CAPABILITIES),
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "pyrunc",
        "mounts": [_mount(*row) for row in _MOUNTS],
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [
                {"type": "pid"},
                {"type": "network"},
                {"type": "ipc"},
                {"type": "uts"},
                {"type": "mount"},
                {"type": "cgroup"},
            ],
            "maskedPaths": list(_MASKED),
            "readonlyPaths": list(_READONLY),
        },
    }


def rootless_example() -> Spec:
    """The same for the calling user: a user namespace with one id, the host's network, and the host's /sys."""
    spec = example()
    linux = spec["linux"]
    # A network namespace of this user's own would have no device but lo.
    linux["namespaces"] = [*(item for item in linux["namespaces"] if item["type"] != "network"), {"type": "user"}]
    linux["uidMappings"] = [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
    linux["gidMappings"] = [{"containerID": 0, "hostID": os.getegid(), "size": 1}]
    # Resource limits and device rules need a cgroup, and this user may have none.
    del linux["resources"]
    mounts: list[MountEntry] = []
    for mount in spec["mounts"]:
        if mount["destination"] == "/sys":
            # Only the owner of the network namespace may mount a new sysfs.
            mounts.append(_mount("/sys", "none", "/sys", "rbind nosuid noexec nodev ro"))
            continue
        # Group 5 has no mapping here.
        options = [word for word in mount.get("options", ()) if not word.startswith(("uid=", "gid="))]
        mounts.append({**mount, "options": options} if options else mount)
    spec["mounts"] = mounts
    return spec


def _mount(destination: str, fstype: str, source: str, options: str) -> MountEntry:
    mount: MountEntry = {"destination": destination, "type": fstype, "source": source}
    return {**mount, "options": options.split()} if options else mount
