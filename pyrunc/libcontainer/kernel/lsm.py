"""Whether the Linux security modules that a configuration can name are enabled on this host."""

from __future__ import annotations

import posix

from ...errors import PyruncError
from . import native
from .fileio import read_file

# The names of the modules; plans have them too.
APPARMOR = "apparmor"
SELINUX = "selinux"

_APPARMOR_SWITCH = "/sys/module/apparmor/parameters/enabled"
_SELINUX_MOUNT = "/sys/fs/selinux"


def require(name: str) -> None:
    """Raise PyruncError if the module `name` (APPARMOR or SELINUX) is not enabled on this host.

    Otherwise the kernel would return a bare EINVAL or ENOENT when the rest of the container is made.
    """
    if name == APPARMOR:
        if not _apparmor_enabled():
            raise PyruncError(
                "apparmor profile is specified in config, but AppArmor is disabled or not supported by the kernel",
                hint=f"{_APPARMOR_SWITCH} tells whether it is enabled",
            )
    elif not _selinux_enabled():
        # Wording of runc.
        raise PyruncError(
            "selinux label is specified in config, but selinux is disabled or not supported",
            hint=f"where SELinux is enabled, selinuxfs is mounted on {_SELINUX_MOUNT}",
        )


def _apparmor_enabled() -> bool:
    """Whether AppArmor is enabled: its module parameter `enabled` (the kernel's admin-guide, LSM/apparmor)."""
    try:
        return read_file(_APPARMOR_SWITCH).startswith("Y")
    except FileNotFoundError:
        return False


def _selinux_enabled() -> bool:
    """Whether selinuxfs is mounted, as is_selinux_enabled(3) judges it."""
    try:
        fd = posix.open(_SELINUX_MOUNT, posix.O_PATH | posix.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return native.fs_magic(fd) == native.SELINUX_MAGIC
    finally:
        posix.close(fd)
