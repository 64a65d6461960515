"""The features structure: what this runtime implements, independent of the host (runtime-spec, features.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ..._generated.build import VERSION
from ...errors import PyruncError
from .. import SPEC_VERSION
from ..kernel import landlock
from ..kernel.constants import CAPABILITIES, CLONE_FLAGS
from ..kernel.scheduling import MEMORY_FLAGS, MEMORY_MODES
from ..plan.host import BROKER, LANDLOCK
from ..seccomp import compiler
from ..seccomp.constants import ACTIONS, FLAGS, OPERATORS
from ..systemd.properties import PREFIX
from .annotations import CRIU_CONFIG
from .annotations import PREFIX as ANNOTATION_PREFIX
from .mount_options import KNOWN_OPTIONS

if TYPE_CHECKING:
    from typing import Literal

    from ..._generated.spec_types import Features, SeccompFeatures

    Hook = Literal["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
    Namespace = Literal["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"]

OLDEST_SPEC_VERSION = "1.0.0"

HOOKS: tuple[Hook, ...] = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


def features() -> Features:
    """The structure for `features` (features.md, features-linux.md)."""
    return {
        "ociVersionMin": OLDEST_SPEC_VERSION,
        "ociVersionMax": SPEC_VERSION,
        "hooks": list(HOOKS),
        "mountOptions": sorted(KNOWN_OPTIONS),
        "linux": {
            "namespaces": cast("list[Namespace]", sorted(CLONE_FLAGS)),
            "capabilities": list(CAPABILITIES),
            "cgroup": {"v1": False, "v2": True, "systemd": True, "systemdUser": True, "rdma": True},
            "seccomp": _seccomp(),
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "memoryPolicy": {"modes": sorted(MEMORY_MODES), "flags": sorted(MEMORY_FLAGS)},
            "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
            "mountExtensions": {"idmap": {"enabled": True}},
            "netDevices": {"enabled": True},
        },
        "annotations": _annotations(),
        "potentiallyUnsafeConfigAnnotations": [PREFIX, ANNOTATION_PREFIX, CRIU_CONFIG, LANDLOCK, BROKER],
    }


def _seccomp() -> SeccompFeatures:
    try:
        architectures, flags = compiler.known_architectures(), compiler.supported_flags()
    except PyruncError:
        return {"enabled": False}
    return {
        "enabled": True,
        "actions": sorted(ACTIONS),
        "operators": sorted(OPERATORS),
        "archs": architectures,
        "knownFlags": list(FLAGS),
        "supportedFlags": flags,
    }


def _annotations() -> dict[str, str]:
    """Versions, by the names that readers of runc's features know; the newest Landlock ABI that the
    annotation knows; and that checkpoints are supported, as in runc's."""
    annotations = {
        "org.pyrunc.version": VERSION,
        LANDLOCK + ".abi": str(landlock.NEWEST),
        "org.opencontainers.runc.checkpoint.enabled": "true",
    }
    libseccomp = compiler.version()
    if libseccomp:
        annotations["io.github.seccomp.libseccomp.version"] = libseccomp
    return annotations
