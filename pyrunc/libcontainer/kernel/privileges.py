"""What this process is permitted: its capabilities, and what of the host takes rights away. Only failures load it."""

from __future__ import annotations

from .fileio import read_file


def capabilities() -> int:
    """The effective capabilities of this process (capabilities(7)): bit N is capability N. Raises OSError."""
    for line in read_file("/proc/self/status").split("\n"):
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def root_is_mount_point() -> bool:
    """Whether this process's root directory is a mount point, as everywhere but in a chroot (proc_pid_mountinfo(5)).

    Raises OSError.
    """
    return any([line.split(" ")[4:5] == ["/"] for line in read_file("/proc/self/mountinfo").split("\n")])


def apparmor_restricts() -> str:
    """A hint where AppArmor restricts user namespaces; else ""."""
    if sysctl("kernel/apparmor_restrict_unprivileged_userns"):
        return (
            "AppArmor gives user namespaces of ordinary users no capabilities here (sysctl "
            "kernel.apparmor_restrict_unprivileged_userns is 1)"
        )
    return ""


def sysctl(name: str) -> int | None:
    """The number in a file of /proc/sys, by its path there; None where this kernel has no such file."""
    try:
        words = read_file("/proc/sys/" + name).split()
    except OSError:
        return None
    return int(words[0]) if words else None
