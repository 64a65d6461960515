"""The features structure: what this runtime implements, whatever the host has (runtime-spec, features.md)."""

from __future__ import annotations

from typing import Any

from ..settings import SPEC_VERSION
from .capabilities import NAMES
from .compile.constants import CLONE_FLAGS
from .compile.mountoptions import KNOWN_OPTIONS
from .compile.scheduling import MEMORY_FLAGS, MEMORY_MODES

OLDEST_SPEC_VERSION = "1.0.0"

HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


def features() -> dict[str, Any]:
    """The structure for `features` (features.md, features-linux.md)."""
    return {
        "ociVersionMin": OLDEST_SPEC_VERSION,
        "ociVersionMax": SPEC_VERSION,
        "hooks": list(HOOKS),
        "mountOptions": sorted(KNOWN_OPTIONS),
        "linux": {
            "namespaces": sorted(CLONE_FLAGS),
            "capabilities": list(NAMES),
            "cgroup": {"v1": False, "v2": True, "systemd": False, "systemdUser": False, "rdma": False},
            "seccomp": {"enabled": False},
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "memoryPolicy": {"modes": sorted(MEMORY_MODES), "flags": sorted(MEMORY_FLAGS)},
            "intelRdt": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": False}},
            "netDevices": {"enabled": False},
        },
        "annotations": {"org.pyrunc.version": _version()},
        "potentiallyUnsafeConfigAnnotations": [],
    }


def _version() -> str:
    from .._generated.build import VERSION

    return VERSION
