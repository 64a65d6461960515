"""HostFacts: the facts of the host that the compiler and the runtime need.

`gather` is on the hot path of create and run. It needs no privilege, so `pyrunc plan` uses it too.
"""

from __future__ import annotations

import errno
import posix

from ...errors import PyruncError
from ..kernel import native
from ..kernel.fileio import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    IdMap = tuple[tuple[int, int, int], ...]

# cgroup.kill and mount_setattr's MOUNT_ATTR_NOSYMFOLLOW came with Linux 5.14: the newest interfaces that pyrunc needs.
MINIMUM_KERNEL = (5, 14)
MACHINES = ("x86_64", "aarch64")

# The maps of the initial user namespace.
_ALL_IDS = ((0, 0, 4294967295),)

# Where distributions put newuidmap and newgidmap, if PATH does not have them.
_TOOL_DIRECTORIES = ("/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin", "/run/wrappers/bin")

# The usual mount points of the cgroup2 hierarchy, tried in this order before the mount table is read: alone, and beside
# the version 1 hierarchies as in systemd's hybrid mode.
_FIRST_USERNS = 0xEFFFFFFD

# The annotation that has a Landlock ruleset (spec/landlock.py).
LANDLOCK = "org.pyrunc.landlock"
# The annotation that names a policy of the broker. The shim carries it out (shim/brokered.py).
BROKER = "org.pyrunc.broker"

_CGROUP_MOUNTS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")


class SystemdFacts:
    """The systemd that makes the container's cgroup.

    user: whether it is the user's manager instead of the system's. version: its number, such as 252.
    cgroup: its own cgroup, "/…" in the cgroup2 hierarchy; "" for the root.
    """

    __slots__ = ("cgroup", "user", "version")

    def __init__(self, *, user: bool = False, version: int = 252, cgroup: str = "") -> None:
        self.user = user
        self.version = version
        self.cgroup = cgroup


class HostFacts:
    """Facts of the host at one moment. It is plain data: a test can make up any host.

    euid, egid: the runtime's effective ids.
    kernel: its version as (major, minor).
    machine: `x86_64` or `aarch64`, as uname(2) has it.
    in_userns: the runtime itself runs in a user namespace other than the initial one.
    uid_map, gid_map: the maps of the runtime's user namespace as (id in it, id in its parent, size).
    newuidmap, newgidmap: absolute paths of the programs that map the subordinate ids of this user (/etc/subuid,
        /etc/subgid); "" if they are missing, and for root, who does not need them.
    cgroup_mount: the mount point of the cgroup2 hierarchy; "" for none.
    cgroup_pure: cgroup_mount is /sys/fs/cgroup itself.
    cgroup_self: the runtime's own cgroup in that hierarchy, "/…"; "" for none.
    controllers: the controllers that the hierarchy's root offers, in the kernel's order.
    cgroup_writable: the runtime may make cgroups beside its own and put processes of its own cgroup into them.
    cap_last_cap: the number of the last capability that the kernel knows.
    capabilities: the runtime's permitted capabilities, as a bit set.
    setgroups: whether the runtime's user namespace allows setgroups(2).
    kcore: whether /proc/kcore is there.
    landlock: the ABI of the kernel's Landlock; 0 for none, and if nobody has asked.
    open_files: the runtime's soft and hard limit of open files, 2**64 - 1 for none (getrlimit(2)).
    systemd: None unless systemd makes the container's cgroup.
    """

    __slots__ = (
        "cap_last_cap",
        "capabilities",
        "cgroup_mount",
        "cgroup_pure",
        "cgroup_self",
        "cgroup_writable",
        "controllers",
        "egid",
        "euid",
        "gid_map",
        "in_userns",
        "kcore",
        "kernel",
        "landlock",
        "machine",
        "newgidmap",
        "newuidmap",
        "open_files",
        "setgroups",
        "systemd",
        "uid_map",
    )

    def __init__(
        self,
        *,
        euid: int = 0,
        egid: int = 0,
        kernel: tuple[int, int] = MINIMUM_KERNEL,
        machine: str = "x86_64",
        in_userns: bool = False,
        uid_map: IdMap = _ALL_IDS,
        gid_map: IdMap = _ALL_IDS,
        newuidmap: str = "",
        newgidmap: str = "",
        cgroup_mount: str = "/sys/fs/cgroup",
        cgroup_pure: bool = True,
        cgroup_self: str = "/",
        cgroup_writable: bool = True,
        controllers: tuple[str, ...] = (),
        cap_last_cap: int = 40,
        capabilities: int = (1 << 41) - 1,
        setgroups: bool = True,
        kcore: bool = True,
        landlock: int = 0,
        open_files: tuple[int, int] = (1024, 4096),
        systemd: SystemdFacts | None = None,
    ) -> None:
        self.euid = euid
        self.egid = egid
        self.kernel = kernel
        self.machine = machine
        self.in_userns = in_userns
        self.uid_map = uid_map
        self.gid_map = gid_map
        self.newuidmap = newuidmap
        self.newgidmap = newgidmap
        self.cgroup_mount = cgroup_mount
        self.cgroup_pure = cgroup_pure
        self.cgroup_self = cgroup_self
        self.cgroup_writable = cgroup_writable
        self.controllers = controllers
        self.cap_last_cap = cap_last_cap
        self.capabilities = capabilities
        self.setgroups = setgroups
        self.kcore = kcore
        self.landlock = landlock
        self.open_files = open_files
        self.systemd = systemd


def gather(landlock: bool = False) -> HostFacts:
    """The facts of this host. Raises PyruncError on a kernel or a machine that pyrunc does not support.

    landlock: also ask for the ABI of Landlock, which few configurations need (LANDLOCK).
    """
    uname = posix.uname()
    kernel = kernel_version(uname.release)
    if kernel < MINIMUM_KERNEL:
        raise PyruncError(
            f"Linux {uname.release} is too old: pyrunc needs {MINIMUM_KERNEL[0]}.{MINIMUM_KERNEL[1]} or later"
        )
    if uname.machine not in MACHINES:
        raise PyruncError(f"the machine {uname.machine} is not supported: pyrunc runs on {' and '.join(MACHINES)}")
    mount, controllers = _find_cgroup2()
    cgroup_self = own_cgroup(_proc_file("/proc/self/cgroup")) if mount else ""
    euid = posix.geteuid()
    nested = in_userns()
    return HostFacts(
        euid=euid,
        egid=posix.getegid(),
        kernel=kernel,
        machine=uname.machine,
        in_userns=nested,
        uid_map=id_map(_proc_file("/proc/self/uid_map")) if nested else _ALL_IDS,
        gid_map=id_map(_proc_file("/proc/self/gid_map")) if nested else _ALL_IDS,
        newuidmap=_find_tool("newuidmap") if euid else "",
        newgidmap=_find_tool("newgidmap") if euid else "",
        cgroup_mount=mount,
        cgroup_pure=mount == _CGROUP_MOUNTS[0],
        cgroup_self=cgroup_self,
        cgroup_writable=bool(mount) and _is_delegated(mount + cgroup_self.rpartition("/")[0], bool(euid) or nested),
        controllers=controllers,
        capabilities=native.capabilities(),
        cap_last_cap=_cap_last_cap(),
        setgroups=_proc_file("/proc/self/setgroups").strip() != "deny",
        kcore=posix.access("/proc/kcore", posix.F_OK),
        landlock=landlock_abi() if landlock else 0,
        open_files=native.open_files(),
    )


def landlock_abi() -> int:
    """The ABI of the kernel's Landlock; 0 if it has none, does not enable it, or a filter on the runtime refuses the
    call."""
    try:
        return native.landlock_abi()
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
            return 0
        raise PyruncError("landlock_create_ruleset", errno=error.errno or 0) from error


def gather_limits() -> HostFacts:
    """The facts of this host on which the limits of an existing container depend: `euid`, `in_userns`, `cgroup_mount`,
    `cgroup_pure` and `controllers`. The other facts are left out. Raises PyruncError."""
    mount, controllers = _find_cgroup2()
    return HostFacts(
        euid=posix.geteuid(),
        in_userns=in_userns(),
        cgroup_mount=mount,
        cgroup_pure=mount == _CGROUP_MOUNTS[0],
        controllers=controllers,
    )


def kernel_version(release: str) -> tuple[int, int]:
    """(major, minor) of uname's release, such as `6.1.0-18-amd64`. Raises PyruncError if it has no such numbers."""
    major, _, rest = release.partition(".")
    end = 0
    while end < len(rest) and rest[end].isdigit():
        end += 1
    if not (major.isdigit() and end):
        raise PyruncError(f'the kernel\'s release "{release}" does not begin with a version')
    return int(major), int(rest[:end])


def in_userns() -> bool:
    """Whether this process is in another user namespace than the initial one (user_namespaces(7)).

    The inode number of the initial one is fixed (PROC_USER_INIT_INO in the kernel's linux/proc_ns.h). The maps do not
    tell: a namespace that maps every id to itself, as with systemd's PrivateUsers=full, has the same maps.
    """
    try:
        return posix.stat("/proc/self/ns/user").st_ino != _FIRST_USERNS
    except FileNotFoundError:
        return False  # a kernel without user namespaces
    except OSError as error:
        raise PyruncError("reading /proc/self/ns/user", errno=error.errno or 0) from error


def _cap_last_cap() -> int:
    """The number of the kernel's last capability. It works also if /proc has only processes (ProcSubset=pid)."""
    try:
        return int(read_file("/proc/sys/kernel/cap_last_cap"))
    except OSError:
        return native.last_capability()


def id_map(text: str) -> IdMap:
    """A /proc/PID/uid_map or gid_map as (id inside, id outside, size), in its order (user_namespaces(7))."""
    words = [int(word) for word in text.split()]
    return tuple(zip(words[::3], words[1::3], words[2::3], strict=True))


def _find_tool(name: str) -> str:
    """The path of a program in PATH or its usual directories; "" if it is in none of them.

    Relative entries of PATH are ignored: they would lead into a bundle.
    """
    path = posix.environ.get(b"PATH", b"").decode("utf-8", "surrogateescape")
    for directory in (*path.split(":"), *_TOOL_DIRECTORIES):
        file = f"{directory}/{name}"
        if directory.startswith("/") and posix.access(file, posix.X_OK):
            return file
    return ""


def _is_delegated(directory: str, rootless: bool) -> bool:
    """Whether this process may make cgroups in a cgroup, and move into them from a sibling.

    Users other than root need the right to write cgroup.procs of the nearest common ancestor, which is this cgroup
    (cgroups(7), "Cgroups delegation").
    """
    if not posix.access(directory, posix.W_OK):
        return False
    return not rootless or posix.access(directory + "/cgroup.procs", posix.W_OK)


def own_cgroup(proc_cgroup: str) -> str:
    """The cgroup2 path in a /proc/PID/cgroup file (cgroups(7): the line `0::/…`); "" without such a line."""
    for line in proc_cgroup.split("\n"):
        if line.startswith("0::"):
            return line[3:].removesuffix(" (deleted)")
    return ""


def cgroup_directory(facts: HostFacts, cgroup: str) -> str:
    """The directory of a cgroup; `/proc/PID/cgroup` stands for the cgroup of a process. Raises OSError."""
    if cgroup.startswith("/proc/"):
        return facts.cgroup_mount + own_cgroup(read_file(cgroup))
    return cgroup


def _find_cgroup2() -> tuple[str, tuple[str, ...]]:
    """The mount point of cgroup2 and the controllers of its root; ("", ()) if it is not mounted.

    Only directories of cgroup2 have a file cgroup.controllers, so one open answers both questions. The mount table may
    be long, so it is read only if cgroup2 is not at a usual mount point.
    """
    for mount in _CGROUP_MOUNTS:
        controllers = _controllers(mount)
        if controllers is not None:
            return mount, controllers
    from ..kernel.mountinfo import mount_points

    for mount in mount_points(_proc_file("/proc/self/mountinfo"), "cgroup2"):
        controllers = _controllers(mount)
        if controllers is not None:
            return mount, controllers
    return "", ()


def _controllers(mount: str) -> tuple[str, ...] | None:
    """The content of `mount`/cgroup.controllers; None if there is no such file or it may not be read."""
    try:
        return tuple(read_file(mount + "/cgroup.controllers").split())
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
            return None
        raise PyruncError(f"reading {mount}/cgroup.controllers", errno=error.errno or 0) from error


def _proc_file(path: str) -> str:
    """A file that every kernel with /proc has."""
    try:
        return read_file(path)
    except OSError as error:
        raise PyruncError(f"reading {path}", errno=error.errno or 0, hint="is /proc mounted?") from error
