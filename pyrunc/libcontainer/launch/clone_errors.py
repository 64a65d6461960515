"""Why the init could not be cloned. An errno has several causes, so each is checked before it is named. On demand."""

from __future__ import annotations

import errno
import posix

from ...errors import PyruncError, errno_text
from .. import process
from ..kernel import native
from ..kernel.fileio import read_file
from ..kernel.privileges import apparmor_restricts, capabilities, root_is_mount_point, sysctl
from ..plan.host import cgroup_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .model import Launch

_CAP_SYS_ADMIN = 1 << 21
_CAP_SYS_RESOURCE = 1 << 24
# An init whose program can't even be executed has less than this left of its cgroup's memory.
_LITTLE_MEMORY = 1 << 20
# In /proc/sys/user, by the clone flag.
_LIMITS = {
    native.CLONE_NEWUSER: "max_user_namespaces",
    native.CLONE_NEWPID: "max_pid_namespaces",
    native.CLONE_NEWNS: "max_mnt_namespaces",
    native.CLONE_NEWNET: "max_net_namespaces",
    native.CLONE_NEWIPC: "max_ipc_namespaces",
    native.CLONE_NEWUTS: "max_uts_namespaces",
}
_ALL_NEW = sum(_LIMITS)


def explain(launch: Launch, error: native.CloneError, flags: int, cgroup: str, join: tuple[str, ...]) -> PyruncError:
    """The error of a failed clone, with its cause if one is found. The attempt's descriptors must still be open."""
    number = error.errno or 0
    if error.call == native.KILLED:
        return PyruncError(native.KILLED)
    if error.call == "setns":
        kind, _, slot = join[error.index].partition("=")
        hint = _lacks(_CAP_SYS_ADMIN, "CAP_SYS_ADMIN") if number == errno.EPERM else ""
        return PyruncError(
            f"joining the {kind} namespace: setns", errno=number, pointer=_pointer(launch, slot), hint=hint
        )
    message = error.call
    if error.call == "clone3" and number in (errno.EBUSY, errno.EOPNOTSUPP):
        message = "error adding pid of the init to cgroups: clone3"  # wording of runc
    if number == errno.ENOMEM:
        for pair in join:
            kind, _, slot = pair.partition("=")
            if kind == "pid" and slot != "container" and not has_first_process(launch.slots[slot]):
                return PyruncError(
                    f"joining the pid namespace: {error.call}",
                    errno=number,
                    pointer=_pointer(launch, slot),
                    hint="the first process of that namespace has ended, so the kernel lets no other one in",
                )
    return PyruncError(message, errno=number, hint=_cause(launch, error.call, number, flags, cgroup))


def image_failed(error: OSError) -> PyruncError:
    """The error of a failed memfd for the init's program."""
    number = error.errno or 0
    hint = ""
    if number == errno.EACCES and sysctl("vm/memfd_noexec") == 2:
        hint = "the sysctl vm.memfd_noexec is 2, which forbids executable memfds"
        if isinstance(error.__cause__, OSError):
            hint += f", and a tmpfs for the init's program can't be made: {errno_text(error.__cause__.errno or 0)}"
    return PyruncError("memfd_create for the init's program", errno=number, hint=hint)


def _pointer(launch: Launch, slot: str) -> str:
    """Where the configuration names the namespace that a slot holds; "" for the namespaces of a container's process."""
    for step in launch.plan.prepare:
        if step.kind == "open_namespace" and step.arg("slot") == slot:
            return step.pointer
    return ""


def _cause(launch: Launch, call: str, number: int, flags: int, cgroup: str) -> str:
    """The cause of an errno as a hint; "" if none is found."""
    try:
        directory = cgroup_directory(launch.facts, cgroup)
    except OSError:
        directory = ""
    own = launch.facts.cgroup_mount + launch.facts.cgroup_self
    if number == errno.EPERM:
        return _not_permitted(flags)
    if number == errno.EACCES and directory:
        return _not_delegated(launch, directory) or _not_permitted(flags)
    if number == errno.ENOSPC:
        return _no_cpu(directory) or _no_namespace(flags)
    if number == errno.EAGAIN:
        return _too_many_processes(launch, directory or own)
    if number in (errno.ENOMEM, errno.E2BIG):
        return _no_memory(launch, directory or own)
    if number == errno.EBUSY and _words(directory + "/cgroup.subtree_control"):
        return "the cgroup hands out controllers to those below it, so it may have no processes itself"
    if number == errno.EOPNOTSUPP and _words(directory + "/cgroup.type") in (["threaded"], ["domain", "invalid"]):
        return "the cgroup is below one in threaded mode, and may have no processes"
    return ""


def has_first_process(namespace: int) -> bool:
    """Whether the pid namespace behind a descriptor has a first process that has not ended (pid_namespaces(7)).

    True also if that is unknown: this user may not be permitted to see a process's namespace.
    """
    there = posix.fstat(namespace)
    for name in ("self", *posix.listdir("/proc")):
        if name != "self" and not name.isdigit():
            continue
        try:
            if name == "self" or _is_first(name):
                here = posix.stat(f"/proc/{name}/ns/pid")
                if (here.st_ino, here.st_dev) == (there.st_ino, there.st_dev):
                    return name == "self" or _lives(int(name))
        except PermissionError:
            # A process that has just ended fails with the same errno.
            if _words(f"/proc/{name}/stat"):
                return True
        except OSError:
            continue  # the process has ended
    return False


def _lives(pid: int) -> bool:
    found = process.stat(pid)
    return found is not None and process.find(pid, found.start_time) is not None


def _is_first(pid: str) -> bool:
    """Whether a process is the first of a pid namespace below that of /proc (NSpid in proc_pid_status(5)).

    Raises OSError.
    """
    for line in read_file(f"/proc/{pid}/status").split("\n"):
        if line.startswith("NSpid:"):
            numbers = line.split()[1:]
            return len(numbers) > 1 and numbers[-1] == "1"
    return False


def _not_permitted(flags: int) -> str:
    if not flags & native.CLONE_NEWUSER:
        return _lacks(_CAP_SYS_ADMIN, "CAP_SYS_ADMIN") if flags & _ALL_NEW else ""
    if not capabilities() & _CAP_SYS_ADMIN:
        if sysctl("kernel/unprivileged_userns_clone") == 0:
            return "the sysctl kernel.unprivileged_userns_clone is 0: user namespaces are for root alone"
        if sysctl("kernel/apparmor_restrict_unprivileged_userns"):
            return apparmor_restricts()
    if not root_is_mount_point():
        return "the runtime is in a chroot, and the kernel makes no user namespace there"
    return ""


def _not_delegated(launch: Launch, directory: str) -> str:
    """Whoever moves a process needs write access to cgroup.procs of the new cgroup and of the nearest common ancestor
    of the old and the new one (cgroups(7), "Cgroup delegation containment rules")."""
    common = launch.facts.cgroup_mount
    for own, other in zip(
        launch.facts.cgroup_self.split("/")[1:], directory[len(common) :].split("/")[1:], strict=False
    ):
        if own != other:
            break
        common += "/" + own
    for place in (common, directory):
        if not posix.access(place + "/cgroup.procs", posix.W_OK, effective_ids=True):
            return (
                f"this user may not write to {place}/cgroup.procs: start the command in a cgroup of its own "
                "(systemd-run --user --scope)"
            )
    return ""


def _no_cpu(directory: str) -> str:
    path = directory + "/cpuset.cpus.effective"
    if directory and posix.access(path, posix.F_OK) and not _words(path):
        return "the cgroup's cpuset has no CPU that is there"
    return ""


def _no_namespace(flags: int) -> str:
    """A limit of namespaces that is reached, by a count of the visible ones (namespaces(7), /proc/sys/user)."""
    for flag, name in _LIMITS.items():
        limit = sysctl("user/" + name)
        if flags & flag and limit is not None and len(_namespaces(name.split("_")[1])) >= limit:
            return f"the limit user.{name} ({limit}) is reached"
    return ""


def _namespaces(kind: str) -> set[int]:
    found = set()
    for name in posix.listdir("/proc"):
        if name.isdigit():
            try:
                found.add(posix.stat(f"/proc/{name}/ns/{kind}").st_ino)
            except OSError:
                continue
    return found


def _too_many_processes(launch: Launch, directory: str) -> str:
    for place in _above(launch, directory):
        limit, current = _words(place + "/pids.max"), _words(place + "/pids.current")
        if limit and current and limit[0] != "max" and int(current[0]) >= int(limit[0]):
            return f"the limit of {limit[0]} processes in pids.max of {place} is reached"
    if not capabilities() & (_CAP_SYS_ADMIN | _CAP_SYS_RESOURCE):
        for line in read_file("/proc/self/limits").split("\n"):
            words = line.split()
            if words[:2] == ["Max", "processes"] and words[2].isdigit() and _threads() >= int(words[2]):
                return f"this user's limit of {words[2]} processes (RLIMIT_NPROC) is reached"
    total = read_file("/proc/loadavg").split()[3].partition("/")[2]
    for name in ("threads-max", "pid_max"):
        limit_of_host = sysctl("kernel/" + name)
        if limit_of_host is not None and int(total) >= limit_of_host:
            return f"the limit kernel.{name} ({limit_of_host}) is reached"
    return ""


def _threads() -> int:
    """How many visible threads this process's real user has."""
    own, count = str(posix.getuid()), 0
    for name in posix.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            lines = [line.split() for line in read_file(f"/proc/{name}/status").split("\n")]
        except OSError:
            continue
        fields = {words[0]: words[1] for words in lines if len(words) > 1}
        if fields.get("Uid:") == own:
            count += int(fields.get("Threads:", "1"))
    return count


def _no_memory(launch: Launch, directory: str) -> str:
    for place in _above(launch, directory):
        limit, current = _words(place + "/memory.max"), _words(place + "/memory.current")
        if limit and current and limit[0] != "max" and int(limit[0]) - int(current[0]) < _LITTLE_MEMORY:
            return f"memory limit too low? {place} has {limit[0]} bytes, of which {current[0]} are in use"
    return ""


def _above(launch: Launch, directory: str) -> Iterator[str]:
    """A cgroup and those above it, without the hierarchy's root, which has no limits."""
    while len(directory) > len(launch.facts.cgroup_mount):
        yield directory
        directory = directory.rpartition("/")[0]


def _lacks(capability: int, name: str) -> str:
    return "" if capabilities() & capability else f"the runtime lacks {name}"


def _words(path: str) -> list[str]:
    """The words of a small file; none if it can't be read."""
    try:
        return read_file(path).split()
    except OSError:
        return []
