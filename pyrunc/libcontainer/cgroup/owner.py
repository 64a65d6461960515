"""The owner of the container's cgroup: who may manage the cgroups below it (config-linux.md, "Cgroup ownership")."""

from __future__ import annotations

import posix

from ..kernel.fileio import read_file

# The files whose owner may do that (cgroups(7), "Cgroups delegation"). The specification gives the list for a kernel
# that does not tell. No other file may change hands: with memory.max the container would set its own limits.
_DELEGATE = "/sys/kernel/cgroup/delegate"
_DEFAULT_FILES = ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")


def give(cgroup_fd: int, uid: int) -> None:
    """Make the user `uid` (as the runtime's user namespace numbers it) the owner of the cgroup. Raises OSError."""
    try:
        files = tuple(read_file(_DELEGATE).split())
    except FileNotFoundError:
        files = _DEFAULT_FILES
    posix.fchown(cgroup_fd, uid, -1)
    for file in files:
        try:
            posix.chown(file, uid, -1, dir_fd=cgroup_fd, follow_symlinks=False)
        except FileNotFoundError:
            continue  # one of a controller that is not enabled here
