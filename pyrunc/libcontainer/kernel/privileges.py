"""The rights of this process: its capabilities, and restrictions of the host. Only failures import this module."""

from __future__ import annotations

from .fileio import read_file


def capabilities() -> int:
    """The effective capabilities of this process (capabilities(7)): bit N is capability N. Raises OSError."""
    for line in read_file("/proc/self/status").split("\n"):
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def root_is_mount_point() -> bool:
    """Whether this process's root directory is a mount point. In a chroot it is not (proc_pid_mountinfo(5)).

    Raises OSError.
    """
    return any([line.split(" ")[4:5] == ["/"] for line in read_file("/proc/self/mountinfo").split("\n")])


def apparmor_restricts() -> str:
    """A hint if AppArmor restricts user namespaces; otherwise ""."""
    if sysctl("kernel/apparmor_restrict_unprivileged_userns"):
        return (
            "AppArmor gives user namespaces of ordinary users no capabilities here (sysctl "
            "kernel.apparmor_restrict_unprivileged_userns is 1)"
        )
    return ""


def sysctl(name: str) -> int | None:
    """The number in the file /proc/sys/`name`; None if this kernel has no such file."""
    try:
        words = read_file("/proc/sys/" + name).split()
    except OSError:
        return None
    return int(words[0]) if words else None
