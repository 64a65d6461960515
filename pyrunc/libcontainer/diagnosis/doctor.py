"""What this host offers to containers, what it lacks, and what to do about that, for `doctor`. Cold.

Each check yields findings. Nothing is changed: a check removes what it makes, such as a user namespace.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from ...errors import PyruncError, errno_text
from ..kernel import landlock, lsm, native
from ..kernel.mountinfo import v1_mounts
from ..launch.newidmap import subordinate
from ..plan.host import MINIMUM_KERNEL, HostFacts
from ..seccomp import compiler
from ..seccomp.constants import ACTIONS
from . import terminal
from .bundle_check import CONTROLLERS

YES, NO, UNKNOWN = "yes", "no", "unknown"

# Namespaces: the name in linux.namespaces, the file in /proc/PID/ns, the kernel's option, the sysctl of their number.
_NAMESPACES = (
    ("cgroup", "cgroup", "CONFIG_CGROUPS", "max_cgroup_namespaces"),
    ("ipc", "ipc", "CONFIG_IPC_NS", "max_ipc_namespaces"),
    ("mount", "mnt", "CONFIG_NAMESPACES", "max_mnt_namespaces"),
    ("network", "net", "CONFIG_NET_NS", "max_net_namespaces"),
    ("pid", "pid", "CONFIG_PID_NS", "max_pid_namespaces"),
    ("time", "time", "CONFIG_TIME_NS", "max_time_namespaces"),
    ("user", "user", "CONFIG_USER_NS", "max_user_namespaces"),
    ("uts", "uts", "CONFIG_UTS_NS", "max_uts_namespaces"),
)
# Sysctls that forbid a user namespace to all but root: (file, value that forbids, value that permits).
_USERNS_SYSCTLS = (
    ("kernel/unprivileged_userns_clone", "0", "1"),  # Debian's
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),  # Ubuntu's
)
# Local file systems, which answer at once: a mount of another one may wait for a server.
_LOCAL = (
    "bcachefs", "btrfs", "erofs", "exfat", "ext4", "f2fs", "overlay", "ramfs", "squashfs", "tmpfs", "vfat", "xfs",
    "zfs",
)  # fmt: skip
# The kernel's names of actions (seccomp(2), /proc/sys/kernel/seccomp/actions_avail).
_ACTIONS = {
    "SCMP_ACT_ALLOW": "allow", "SCMP_ACT_ERRNO": "errno", "SCMP_ACT_KILL": "kill_thread",
    "SCMP_ACT_KILL_PROCESS": "kill_process", "SCMP_ACT_KILL_THREAD": "kill_thread", "SCMP_ACT_LOG": "log",
    "SCMP_ACT_NOTIFY": "user_notif", "SCMP_ACT_TRACE": "trace", "SCMP_ACT_TRAP": "trap",
}  # fmt: skip
# How long a program may take to print its version.
_PATIENCE_SECONDS = 10


class Finding:
    """The result of one check.

    area: the group. name: the feature. state: YES, NO or UNKNOWN. detail: what was found, one clause.
    hint: what to do about a NO, one clause; "" otherwise.
    """

    __slots__ = ("area", "detail", "hint", "name", "state")

    def __init__(self, area: str, name: str, state: str, detail: str = "", hint: str = "") -> None:
        self.area = area
        self.name = name
        self.state = state
        self.detail = detail
        self.hint = hint

    def to_dict(self) -> dict[str, str]:
        """The members by name; without an empty hint."""
        values = {"area": self.area, "name": self.name, "state": self.state, "detail": self.detail}
        return {**values, "hint": self.hint} if self.hint else values


def examine(facts: HostFacts) -> list[Finding]:
    """All findings on this host, in order. If the host refuses a check, the state is UNKNOWN."""
    found: list[Finding] = []
    for area, look in LOOKS:
        try:
            found += [Finding(area, *finding) for finding in look(facts)]
        except (OSError, PyruncError) as error:
            reason = error.line() if isinstance(error, PyruncError) else errno_text(error.errno or 0)
            found.append(Finding(area, area, UNKNOWN, reason))
    return found


# What a check yields: name, state, detail, hint.
_Found = Iterator[tuple[str, str, str, str]]


def _read(path: str) -> str:
    """A file's text without surrounding blanks; "" if it is missing or may not be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _kernel(facts: HostFacts) -> _Found:
    least = ".".join(map(str, MINIMUM_KERNEL))
    yield "kernel", YES, f"Linux {os.uname().release} on {facts.machine}; {least} or later is needed", ""
    if facts.in_userns:
        yield "initial user namespace", NO, "this is a user namespace", "run it on the host for what only its root may"


def _namespaces(facts: HostFacts) -> _Found:
    for name, file, option, limit in _NAMESPACES:
        most = _read(f"/proc/sys/user/{limit}")
        if not os.path.exists(f"/proc/self/ns/{file}"):
            yield name, NO, "the kernel has none", f"a kernel with {option}"
        elif most == "0":
            yield name, NO, f"user.{limit} is 0", f"sysctl user.{limit}=10000"
        else:
            yield name, YES, f"at most {most}" if most else "", ""
    for path, forbids, permits in _USERNS_SYSCTLS:
        name = path.replace("/", ".")
        value = _read("/proc/sys/" + path)
        if value == forbids:
            detail = f"{name} is {value}: user namespaces are root's alone"
            yield "user, without privilege", NO, detail, f"sysctl {name}={permits}"


def _controllers(facts: HostFacts) -> _Found:
    if not facts.cgroup_mount:
        hint = "mount -t cgroup2 cgroup2 /sys/fs/cgroup, or boot with systemd.unified_cgroup_hierarchy=1"
        yield "cgroup2", NO, "it is not mounted", hint
        return
    kind = "alone" if facts.cgroup_pure else "beside cgroup v1"
    yield "cgroup2", YES, f"on {facts.cgroup_mount}, {kind}", ""
    boot = "boot with systemd.unified_cgroup_hierarchy=1 cgroup_no_v1=all"
    for name in CONTROLLERS:
        if name in facts.controllers:
            yield name, YES, f"of {facts.cgroup_mount}", ""
            continue
        older = v1_mounts("blkio" if name == "io" else name)
        if older:
            yield name, NO, f"cgroup v1 has it, on {older[0]}", boot
        else:
            # A hierarchy of cgroup v1 may be mounted in another mount namespace alone.
            reason, cure = terminal.controller(name)
            cure = cure or "a kernel or a cgroup v2 hierarchy with it"
            yield name, NO, reason or "the kernel does not offer it", cure
    own = facts.cgroup_mount + facts.cgroup_self.rpartition("/")[0]
    state = os.stat(own)
    handed = _read(own + "/cgroup.controllers").split()
    detail = f"{own} is owned by uid {state.st_uid} and has {', '.join(handed) or 'no controllers'}"
    if facts.cgroup_writable:
        yield "own cgroups", YES, detail, ""
    else:
        yield "own cgroups", NO, detail, "start it in a delegated unit: systemd-run --user --scope -p Delegate=yes"


def _modules(facts: HostFacts) -> _Found:
    names = _read("/sys/kernel/security/lsm")
    for module, title in ((lsm.APPARMOR, "AppArmor"), (lsm.SELINUX, "SELinux")):
        try:
            lsm.require(module)
        except PyruncError:
            detail = f"of the security modules {names} at work" if names else "it is not at work"
            hint = f"boot with security={module}, where the kernel has it; or leave its labels out of the configuration"
            yield title, NO, detail if not names else f"at work are {names}", hint
        else:
            yield title, YES, "", ""
    yield _landlock(names)


def _landlock(names: str) -> tuple[str, str, str, str]:
    try:
        abi = native.landlock_abi()
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            hint = f"boot with lsm=landlock,{names}" if names else "boot with lsm=landlock,…"
            return "Landlock", NO, "the kernel has it, and it is not enabled", hint
        if error.errno != errno.ENOSYS:
            raise
        return "Landlock", NO, "the kernel does not have it", "a kernel with CONFIG_SECURITY_LANDLOCK"
    lacking = [
        f"{name} (ABI {since}, Linux {landlock.RELEASES[since]})"
        for table in (landlock.FS, landlock.NET, landlock.SCOPES)
        for name, since in table
        if since > abi
    ]
    return "Landlock", YES, f"ABI {abi}" + (", without " + ", ".join(lacking) if lacking else ""), ""


def _seccomp(facts: HostFacts) -> _Found:
    available = _read("/proc/sys/kernel/seccomp/actions_avail").split()
    if not available:
        yield "filters", NO, "the kernel has none", "a kernel with CONFIG_SECCOMP_FILTER"
        return
    for action in sorted(ACTIONS):
        known = _ACTIONS[action] in available
        yield action, YES if known else NO, _ACTIONS[action], "" if known else "a later kernel"
    version = compiler.version()
    if version:
        yield "libseccomp", YES, version, ""
    else:
        yield "libseccomp", NO, "it can't be loaded", "install libseccomp2 (Debian), libseccomp (Fedora)"


def _ids(facts: HostFacts) -> _Found:
    for tool in ("newuidmap", "newgidmap"):
        path = shutil.which(tool)
        if path:
            yield tool, YES, path, ""
        else:
            yield tool, NO, "it is not in $PATH", "install the package uidmap (Debian), shadow-utils (Fedora)"
    if facts.euid == 0:
        yield "mappings", YES, "root maps any id that is mapped where it is, and needs no subordinate ones", ""
        return
    for file, option in (("/etc/subuid", "--add-subuids"), ("/etc/subgid", "--add-subgids")):
        first, count = subordinate(file, facts.euid)
        if count:
            yield file, YES, f"{count} ids from {first} on for uid {facts.euid}", ""
        else:
            yield file, NO, f"none for uid {facts.euid}", f"usermod {option} 100000-165535 USER"


def _id_mapped_mounts(facts: HostFacts) -> _Found:
    """Try it on one mount of each file system, with a detached copy."""
    if facts.euid or facts.in_userns:
        yield "id-mapped mounts", UNKNOWN, "only the host's root can try", ""
        return
    from ..kernel import userns

    namespace = userns.make(("0 100000 65536",), ("0 100000 65536",))
    try:
        for kind, point in sorted(_mounted().items()):
            yield _id_mapped(namespace, kind, point)
    finally:
        os.close(namespace)


def _id_mapped(namespace: int, kind: str, point: str) -> tuple[str, str, str, str]:
    try:
        tree = native.open_tree(native.AT_FDCWD, point, native.OPEN_TREE_CLONE)
    except OSError as error:
        return kind, UNKNOWN, f"{point}: {errno_text(error.errno or 0)}", ""
    try:
        native.idmap_mount(tree, namespace, False)
    except OSError as error:
        if error.errno == errno.EINVAL:
            hint = "a later kernel may have it; or give the files the container's ids by chown"
            return kind, NO, f"tried on {point}", hint
        return kind, UNKNOWN, f"{point}: {errno_text(error.errno or 0)}", ""
    finally:
        os.close(tree)
    return kind, YES, f"tried on {point}", ""


def _mounted() -> dict[str, str]:
    """A mount point of each local file system that is mounted."""
    found: dict[str, str] = {}
    for line in _read("/proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        kind, point = after.split(" ")[0], before.split(" ")[4]
        if kind in _LOCAL and "\\" not in point:
            found.setdefault(kind, point)
    return found


def _programs(facts: HostFacts) -> _Found:
    criu = shutil.which("criu")
    if criu is None:
        yield "CRIU", NO, "it is not in $PATH", "install criu, for checkpoint and restore"
    else:
        yield "CRIU", YES, f"{_version(criu)} ({criu})", ""


def _version(program: str) -> str:
    try:
        done = subprocess.run(
            [program, "--version"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_PATIENCE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "its version can't be told"
    first = done.stdout.decode("utf-8", "replace").strip().partition("\n")[0]
    return first.removeprefix("Version: ") or "its version can't be told"


def _systemd(facts: HostFacts) -> _Found:
    try:
        from ..systemd import manager

        systemd = manager.gather(None, facts)
    except ImportError as error:
        yield "cgroup manager", NO, str(error), "install jeepney, by which pyrunc speaks to systemd"
    except PyruncError as error:
        yield "cgroup manager", NO, error.reason(), error.hint or "use --cgroup-manager cgroupfs"
    else:
        whose = "the user's" if systemd.user else "the system's"
        yield "cgroup manager", YES, f"{whose} systemd {systemd.version}", ""


LOOKS: tuple[tuple[str, Callable[[HostFacts], _Found]], ...] = (
    ("kernel", _kernel), ("namespaces", _namespaces), ("cgroups", _controllers), ("security modules", _modules),
    ("seccomp", _seccomp), ("subordinate ids", _ids), ("id-mapped mounts", _id_mapped_mounts),
    ("checkpoint", _programs), ("systemd", _systemd),
)  # fmt: skip
