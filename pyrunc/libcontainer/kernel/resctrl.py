"""Intel RDT by the resctrl file system: classes of service and monitoring groups (linux.intelRdt).

Kernel documentation, filesystems/resctrl; config-linux.md, "IntelRdt". A class of service is a directory of resctrl:
`schemata` has its shares of caches and memory bandwidth, `tasks` its processes. A container without a closID has its
own class, which is removed with the container. A class that a closID names stays.
"""

from __future__ import annotations

import errno
import posix

from ...errors import PyruncError, cut
from . import native
from .fileio import read_file, write_file
from .mountinfo import mount_points

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Shares = dict[tuple[str, str], int]

# The values of a plan's `make`.
FIND = 0  # the class of service must exist
OWN = 1  # make it, and remove it with the container; use an existing one, which stays
SHARED = 2  # make it, and it stays; an existing one must have the same schemata

_MOUNT = "/sys/fs/resctrl"
_DEFAULT_CLOS = "/"


def root() -> str:
    """The mount point of resctrl. Raises PyruncError if it is not mounted."""
    try:
        fd = posix.open(_MOUNT, posix.O_PATH | posix.O_CLOEXEC)
    except FileNotFoundError:
        found = False
    else:
        try:
            found = native.fs_magic(fd) == native.RDTGROUP_SUPER_MAGIC
        finally:
            posix.close(fd)
    if found:
        return _MOUNT
    points = mount_points(read_file("/proc/self/mountinfo"), "resctrl")
    if not points:
        # Wording of runc.
        raise PyruncError(
            "intelRdt is specified in config, but Intel RDT is not enabled",
            pointer="/linux/intelRdt",
            hint=f"on a machine that has it: mount -t resctrl resctrl {_MOUNT}",
        )
    return points[0]


def clos_path(mount: str, clos: str) -> str:
    """The directory of a class of service; "/" is the default class, resctrl's root."""
    return mount if clos == _DEFAULT_CLOS else f"{mount}/{clos}"


def monitor_path(mount: str, clos: str, group: str) -> str:
    """The directory of a monitoring group in a class of service."""
    return f"{clos_path(mount, clos)}/mon_groups/{group}"


def prepare(
    clos: str,
    make: int,
    schemata: Sequence[str],
    record: Callable[[str, str], None],
    withdraw: Callable[[str, str], None],
) -> None:
    """Make or find a class of service and write its schemata.

    make: FIND, OWN or SHARED. record(effect, path) is called before a directory is made, withdraw(effect, path) if
    another process makes it in that moment. Raises PyruncError.
    """
    mount = root()
    path = clos_path(mount, clos)
    made = make != FIND and _make(mount, path, "resctrl_group" if make == OWN else "resctrl_clos", record, withdraw)
    if not _exists(path + "/tasks"):
        # Wording of runc.
        raise PyruncError(
            "clos dir not accessible (must be pre-created when schemata, l3CacheSchema and memBwSchema are empty)"
            if make == FIND
            else f"{path} is no class of service",
            pointer="/linux/intelRdt/closID",
            hint=f"mkdir {path}" if make == FIND else "",
        )
    if not schemata:
        return
    if make == SHARED and not made:
        _compare(mount, path, schemata)
    write_schemata(path + "/schemata", schemata)


def write_schemata(path: str, schemata: Sequence[str]) -> None:
    """Change the schemata of a class of service. path: its file `schemata`. Raises PyruncError."""
    _write(root(), path, "".join([line + "\n" for line in schemata]))


def monitor(clos: str, group: str, record: Callable[[str, str], None], withdraw: Callable[[str, str], None]) -> None:
    """Make the monitoring group of a container, which must not exist. Raises PyruncError."""
    mount = root()
    path = monitor_path(mount, clos, group)
    if not _make(mount, path, "resctrl_group", record, withdraw):
        raise PyruncError(f"the monitoring group {path} is in use", pointer="/linux/intelRdt/enableMonitoring")


def assign(clos: str, group: str, pid: int) -> None:
    """Put a process into a class of service, and into its monitoring group unless `group` is "". Raises PyruncError."""
    mount = root()
    _write(mount, clos_path(mount, clos) + "/tasks", str(pid))
    if group:
        _write(mount, monitor_path(mount, clos, group) + "/tasks", str(pid))


def remove(path: str) -> None:
    """Remove a group; its processes move to the group above. Raises OSError."""
    try:
        posix.rmdir(path)
    except FileNotFoundError:
        return


def remove_unused(path: str) -> None:
    """Remove a class of service without processes. Raises OSError."""
    try:
        used = bool(read_file(path + "/tasks").split())
    except FileNotFoundError:
        return
    if not used:
        remove(path)


def _exists(path: str) -> bool:
    try:
        posix.stat(path)
    except FileNotFoundError:
        return False
    return True


def _make(
    mount: str,
    path: str,
    effect: str,
    record: Callable[[str, str], None],
    withdraw: Callable[[str, str], None],
) -> bool:
    """Make a directory; False if it exists."""
    if _exists(path):
        return False
    record(effect, path)
    try:
        posix.mkdir(path, 0o755)
    except FileExistsError:
        withdraw(effect, path)
        return False
    except OSError as error:
        raise _failure(mount, f"mkdir {path}", error) from error
    return True


def _write(mount: str, path: str, text: str) -> None:
    try:
        write_file(path, text)
    except OSError as error:
        raise _failure(mount, f"writing {cut(repr(text.strip()))} to {path}", error) from error


def _failure(mount: str, what: str, error: OSError) -> PyruncError:
    """The error with resctrl's own message."""
    try:
        status = read_file(mount + "/info/last_cmd_status").strip()
    except OSError:
        status = ""
    hint = "no class of service is left" if error.errno == errno.ENOSPC else ""
    if status and status != "ok":
        hint = f"last_cmd_status: {status}"
    return PyruncError(f"intelrdt: {what}", pointer="/linux/intelRdt", errno=error.errno or 0, hint=hint)


def _compare(mount: str, path: str, schemata: Sequence[str]) -> None:
    """Refuse schemata that differ from those of an existing class of service (config-linux.md, "IntelRdt")."""
    there = parse(read_file(path + "/schemata").split("\n"))
    step, least = _bandwidth(mount)
    for name, value in parse(schemata).items():
        wanted = max(-(-value // step) * step, least) if name[0] == "MB" else value
        if there.get(name) not in (value, wanted):
            resource, domain = name
            raise PyruncError(
                f"the schemata of {path} are not those of the config: {resource}:{domain} differs",
                pointer="/linux/intelRdt",
                hint=f"cat {path}/schemata",
            )


def _bandwidth(mount: str) -> tuple[int, int]:
    """The granularity of memory bandwidth, to which the kernel rounds up, and its minimum."""
    try:
        return (
            int(read_file(mount + "/info/MB/bandwidth_gran")),
            int(read_file(mount + "/info/MB/min_bandwidth")),
        )
    except FileNotFoundError:
        return 1, 0


def parse(schemata: Sequence[str]) -> Shares:
    """Schemata as {(resource, domain): share}: `L3:0=7f0;1=1f` is {("L3", "0"): 0x7f0, ("L3", "1"): 0x1f}.

    Masks of caches are hexadecimal, memory bandwidth is decimal. Raises PyruncError for a line of another form.
    """
    shares: Shares = {}
    for line in schemata:
        resource, colon, rest = line.strip().partition(":")
        if not colon and not resource:
            continue
        for part in rest.split(";"):
            domain, _, value = part.partition("=")
            try:
                share = int(value.strip(), 10 if resource == "MB" else 16)
            except ValueError:
                raise PyruncError(f"{cut(repr(line))} is no line of schemata", pointer="/linux/intelRdt") from None
            shares[resource.strip(), domain.strip()] = share
    return shares
