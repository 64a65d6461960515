"""What `exec` and `update` need of the configuration that a container was created from, kept in its state directory.

The bundle's own config.json may have changed since, or be gone.
"""

from __future__ import annotations

import posix

from .. import jsonio
from ..report import PyruncError
from . import state
from .sysfiles import read_file, write_fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .options import LaunchOptions

FILE = "exec.json"

_LINUX = (
    "gidMappings", "intelRdt", "memoryPolicy", "mountLabel", "namespaces", "personality", "resources",
    "seccomp", "uidMappings",
)  # fmt: skip


def save(dirfd: int, spec: dict[str, Any], options: LaunchOptions) -> None:
    """Write the file in the open state directory of a container that is being created. Raises OSError."""
    linux = spec.get("linux", {})
    kept = {
        "devicePaths": [device["path"] for device in linux.get("devices") or ()],
        "noNewKeyring": options.no_new_keyring,
        "process": spec["process"],
        "root": spec["root"],
        "linux": {name: linux[name] for name in _LINUX if name in linux},
    }
    fd = posix.open(FILE, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o600, dir_fd=dirfd)
    try:
        write_fd(fd, jsonio.dumps(kept))
    finally:
        posix.close(fd)


def load(path: str) -> dict[str, Any]:
    """What the state directory at `path` keeps: `process`, `root` and `linux` as in config.json, `noNewKeyring`, and
    `devicePaths`, the paths of linux.devices.

    Raises PyruncError where it can't be read or understood.
    """
    try:
        kept: dict[str, Any] = jsonio.loads(read_file(path + "/" + FILE))
    except OSError as error:
        raise PyruncError(f"reading {path}/{FILE}", errno=error.errno or 0) from error
    except ValueError as error:
        raise PyruncError(f"{path}/{FILE} is damaged: {error}") from error
    return kept


def replace_linux(dirfd: int, members: dict[str, Any]) -> None:
    """Give members of the kept `linux` other values, in an open state directory; None takes a member out.

    The file is replaced whole or not at all. Raises OSError, and PyruncError where it is damaged.
    """
    kept = load(f"/proc/self/fd/{dirfd}")
    for name, value in members.items():
        if value is None:
            kept["linux"].pop(name, None)
        else:
            kept["linux"][name] = value
    state.replace(FILE, jsonio.dumps(kept), 0o600, dir_fd=dirfd)
