"""Controllers of cgroups: enabled from the hierarchy's root down to a container's cgroup, and delegated to its owner.

A cgroup has a controller's files only if the cgroup.subtree_control of every cgroup above it has the controller
(Documentation/admin-guide/cgroup-v2.rst, "Controlling Controllers"). Controllers stay enabled after the container:
others may rely on them by then, and would lose their limits.
"""

from __future__ import annotations

import errno
import posix

from ...errors import PyruncError
from ..kernel.fileio import read_file, write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# The list of files that a delegation gives away (cgroups(7), "Cgroups delegation"), and the specification's list for a
# kernel without that file. No other file may be given away: with memory.max the container could set its own limits.
_DELEGATE = "/sys/kernel/cgroup/delegate"
_DEFAULT_FILES = ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")
_STEP = "cgroup_controllers"
# The causes of the kernel's errors.
_HINTS = {
    errno.ENOENT: "the cgroup above does not hand it out",
    errno.EBUSY: "it has processes of its own, and only a cgroup without may hand out controllers: "
    "move them into a cgroup below it",
    errno.EOPNOTSUPP: "it is in threaded mode, in which only cpu, cpuset, perf_event and pids work",
    errno.EINVAL: "for cpu: a realtime process is in a cgroup other than the root",
    errno.EACCES: "the cgroup is not delegated to the runtime's user",
    errno.EPERM: "the cgroup is not delegated to the runtime's user",
    errno.EROFS: "the cgroup file system is mounted read-only",
}


def enable(path: str, mount: str, needed: dict[str, str], wanted: Sequence[str]) -> None:
    """Make the controllers available in the cgroup at `path`, which is beneath `mount`.

    needed: the controllers that the container needs, each with the pointer of a field that needs it.
    wanted: all controllers of the hierarchy; those that can't be enabled are left out.
    Raises PyruncError that names the controller and the cgroup that refused it.
    """
    refused: dict[str, PyruncError] = {}
    missing = _without(wanted, _read(path, "cgroup.controllers"))
    if missing:
        for directory in _above(path, mount):
            _hand_out(directory, missing, refused)
        missing = _without(needed, _read(path, "cgroup.controllers"))
    for controller in missing:
        error = refused.get(controller) or PyruncError(f'controller "{controller}" is not available in {path}')
        error.step = _STEP
        error.pointer = needed[controller]
        raise error


def _without(names: Iterable[str], others: Sequence[str]) -> list[str]:
    return [name for name in names if name not in others]


def _above(path: str, mount: str) -> list[str]:
    """The cgroups above `path`, from the mount point down."""
    inner = path[len(mount) :].strip("/")
    directories = []
    directory = mount
    for part in inner.split("/"):
        directories.append(directory)
        directory += "/" + part
    return directories if inner else []


def _hand_out(directory: str, names: list[str], refused: dict[str, PyruncError]) -> None:
    """Enable the controllers for the cgroups below `directory`; the first error of each goes to `refused`."""
    missing = _without(names, _read(directory, "cgroup.subtree_control"))
    if not missing:
        return
    number = _obstacle(directory)
    if number:
        for name in missing:
            refused.setdefault(name, _refusal(name, directory, number))
        return
    try:
        write_file(directory + "/cgroup.subtree_control", " ".join(["+" + name for name in missing]))
    except OSError:
        # A write enables all or none: enable them one by one to find those that are refused.
        for name in missing:
            try:
                write_file(directory + "/cgroup.subtree_control", "+" + name)
            except OSError as error:
                refused.setdefault(name, _refusal(name, directory, error.errno or 0))


def _refusal(controller: str, directory: str, number: int) -> PyruncError:
    return PyruncError(f'enabling controller "{controller}" in {directory}', errno=number, hint=_HINTS.get(number, ""))


def _obstacle(directory: str) -> int:
    """The errno for the memory controller in this cgroup, or 0. The root, which has no type, permits it.

    The kernel would permit cpu or pids in a cgroup with processes, and make it a threaded domain: its ordinary
    children, such as the container's cgroup, could not have processes any more.
    """
    try:
        if read_file(directory + "/cgroup.type").strip() != "domain":
            return errno.EOPNOTSUPP
        return errno.EBUSY if read_file(directory + "/cgroup.procs") else 0
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise PyruncError(f"reading cgroup {directory}", step=_STEP, errno=error.errno or 0) from error


def _read(directory: str, file: str) -> list[str]:
    """The controllers that a file lists."""
    try:
        return read_file(f"{directory}/{file}").split()
    except OSError as error:
        raise PyruncError(f"reading {directory}/{file}", step=_STEP, errno=error.errno or 0) from error


def delegate(cgroup_fd: int, uid: int) -> None:
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
            continue  # a file of a controller that is not enabled here
