"""The container's cgroup: a directory of the cgroup2 hierarchy, and the control files in it.

Facts: the kernel's Documentation/admin-guide/cgroup-v2.rst. The path of a container's cgroup is that of runc's cgroupfs
driver, so engines find it.
"""

from __future__ import annotations

import _signal
import errno
import posix
import time

from ...errors import PyruncError, errno_text
from ...paths import clean
from ..kernel.fileio import read_fd, read_file, write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..plan.host import HostFacts

# How long the kernel may take to freeze the processes of a cgroup, or to remove killed ones from it.
PATIENCE_SECONDS = 10.0
FIRST_WAIT_SECONDS = 0.0005
LONGEST_WAIT_SECONDS = 0.02

# Another process may remove an empty parent cgroup between the check and the mkdir.
CREATE_ATTEMPTS = 10

# How many processes are signalled at a time: each needs a descriptor.
_AT_ONCE = 32
_SIGKILL = 9
# The attribute of a cgroup that was made as a parent, or was abandoned. Its last user removes it: who removes the last
# cgroup below it, or whose create fails in it.
PARENT_MARK = "user.pyrunc.parent"
_OPEN = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC

# A cgroup that another process removes meanwhile: ENOENT when opened, ENODEV when read.
GONE = (errno.ENOENT, errno.ENODEV)


def path_for(spec_path: str, container_id: str, facts: HostFacts) -> str:
    """The absolute path of the container's cgroup.

    spec_path: linux.cgroupsPath; "" stands for the container's id. An absolute path starts at the hierarchy's root, a
    relative one at the parent of the runtime's own cgroup (which has no processes, so it may hand out controllers).
    `..` never leads out of the hierarchy.
    Raises PyruncError if there is no cgroup2 hierarchy. config-linux.md, "Cgroups Path".
    """
    if not facts.cgroup_mount:
        raise PyruncError(
            "no cgroup v2 hierarchy is mounted",
            pointer="/linux/cgroupsPath" if spec_path else "",
            hint="mount -t cgroup2 none /sys/fs/cgroup, or run with --cgroup-manager disabled",
        )
    inner = clean(spec_path or container_id)
    if not spec_path.startswith("/"):
        parent = facts.cgroup_self.rpartition("/")[0]
        inner = clean(parent + inner)
    return facts.cgroup_mount + inner if inner != "/" else facts.cgroup_mount


def open_directory(path: str) -> int:
    """A descriptor of a cgroup's directory. Raises OSError."""
    return posix.open(path, _OPEN)


def create(path: str, record: Callable[[str], None], withdraw: Callable[[str], None] | None = None) -> bool:
    """Make the cgroup at `path` and its missing parents, mode 0755; False if it exists.

    record(directory): called before each mkdir, from the top down, with the directory.
    withdraw(directory): called if another process has made this directory in that moment.
    Raises PyruncError: `container's cgroup is not empty` if it has processes, and if it is frozen.
    """
    made = _make(path, record, withdraw)
    if made is None and withdraw is not None:
        withdraw(path)
    if not made:
        refuse_in_use(path)
    return bool(made)


def _make(path: str, record: Callable[[str], None], withdraw: Callable[[str], None] | None = None) -> bool | None:
    """Make the cgroup at `path` and its missing parents; False if it exists, None if another process has just made
    it."""
    missing = _missing(path)
    if not missing:
        return False
    for attempt in range(CREATE_ATTEMPTS):
        try:
            for directory in missing:
                record(directory)
                made = _mkdir(directory)
                if made and directory != path:
                    mark_parent(directory)
                elif directory != path and withdraw is not None:
                    withdraw(directory)  # whoever has made it in this moment removes it
            return made or None
        except OSError as error:
            if error.errno == errno.ENOENT and attempt + 1 < CREATE_ATTEMPTS:
                missing = _missing(path)
                continue
            raise PyruncError(
                f"creating cgroup {path}",
                step="cgroup_create",
                errno=error.errno or 0,
                hint="the runtime may not write to the cgroup above it" if error.errno == errno.EACCES else "",
            ) from error
    return False


def mark_parent(path: str) -> None:
    """Have the last user of a cgroup remove it."""
    try:
        posix.setxattr(path, PARENT_MARK, b"1")
    except OSError:
        return  # it is removed by the container that it was made for, or stays


def _missing(path: str) -> list[str]:
    """The missing directories of `path`, the topmost first."""
    missing: list[str] = []
    while path and not _exists(path):
        missing.append(path)
        path = path.rpartition("/")[0]
    missing.reverse()
    return missing


def _exists(path: str) -> bool:
    try:
        posix.stat(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise PyruncError(f"looking for cgroup {path}", step="cgroup_create", errno=error.errno or 0) from error
    return True


def _mkdir(path: str) -> bool:
    """mkdir; False if another runtime has just made the same directory."""
    try:
        posix.mkdir(path, 0o755)
    except FileExistsError:
        return False
    return True


def refuse_in_use(path: str) -> None:
    """Raise PyruncError if the existing cgroup at `path` has processes or is frozen."""
    count = len(procs(path))
    if count:
        raise PyruncError(
            f"container's cgroup is not empty: {count} process(es) found",
            step="cgroup_create",
            pointer="/linux/cgroupsPath",
            hint=f"{path} is in use",
        )
    if _read_or_gone(path + "/cgroup.freeze").strip() == "1":
        raise PyruncError(
            "container's cgroup unexpectedly frozen",
            step="cgroup_create",
            pointer="/linux/cgroupsPath",
            hint=f"thaw it: echo 0 > {path}/cgroup.freeze",
        )


def is_empty(path: str) -> bool:
    """Whether the cgroup and those below it have no live process. A cgroup that does not exist is empty.

    Raises PyruncError.
    """
    populated = _event(path, "populated")
    if populated is not None:
        return not populated
    return not procs(path)  # the hierarchy's root has no cgroup.events


def procs(path: str) -> list[int]:
    """The process ids in the cgroup and all below it, in the caller's pid namespace.

    Processes outside of that namespace are left out; a cgroup that does not exist has none. Raises PyruncError.
    """
    pids: list[int] = []

    def look(fd: int) -> None:
        try:
            text = _read_at(fd, "cgroup.procs")
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            # a threaded cgroup has its processes in the cgroup.procs of the domain above, which may be outside of
            # `path`
            text = _read_at(fd, "cgroup.threads")
        pids.extend([int(line) for line in text.split() if line != "0"])

    try:
        walk(path, look)
    except OSError as error:
        raise PyruncError(f"reading the processes of cgroup {path}", errno=error.errno or 0) from error
    return pids


def kill(path: str) -> None:
    """SIGKILL every process in the cgroup and below it, also frozen ones and those that fork meanwhile.

    Nothing happens if the cgroup does not exist. Raises PyruncError.
    """
    try:
        _write_or_gone(path + "/cgroup.kill", "1")
    except PyruncError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        _kill_threaded(path)


def _kill_threaded(path: str) -> None:
    """The same for a cgroup that its container has made threaded: it has no cgroup.kill (cgroup-v2.rst, "Threads")."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while procs(path) and time.monotonic() < deadline:
        signal_all(path, _SIGKILL)
        time.sleep(LONGEST_WAIT_SECONDS)


def signal_all(path: str, number: int) -> None:
    """Send a signal to every process that is in the cgroup or below it. Raises PyruncError."""
    pids = procs(path)
    for at in range(0, len(pids), _AT_ONCE):
        _signal_some(path, pids[at : at + _AT_ONCE], number)


def _signal_some(path: str, pids: list[int], number: int) -> None:
    pidfds = {}
    try:
        for pid in pids:
            try:
                pidfds[pid] = _open_process(pid)
            except ProcessLookupError:
                continue
        # If the pid is still in the cgroup after its descriptor was opened, it is the container's process.
        there = set(procs(path))
        for pid, pidfd in pidfds.items():
            try:
                if pid in there:
                    _signal.pidfd_send_signal(pidfd, number)
            except ProcessLookupError:
                continue
            except OSError as error:
                raise PyruncError(f"unable to signal process {pid}", errno=error.errno or 0) from error
    finally:
        for pidfd in pidfds.values():
            posix.close(pidfd)


def _open_process(pid: int) -> int:
    """A pidfd of a process, or of a thread's process. Raises OSError, ProcessLookupError if it is gone."""
    try:
        return posix.pidfd_open(pid)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT):
            raise
    try:
        status = read_file(f"/proc/{pid}/status")
    except FileNotFoundError:
        raise ProcessLookupError(errno.ESRCH, "the thread is gone") from None
    group = next((line.split()[1] for line in status.split("\n") if line.startswith("Tgid:")), "0")
    return posix.pidfd_open(int(group))


def freeze(path: str) -> None:
    """Freeze every process in the cgroup and below it, and wait until all are frozen.

    If they are not within PATIENCE_SECONDS, thaws the cgroup and raises PyruncError.
    """
    _write(path + "/cgroup.freeze", "1")
    try:
        _wait_for(path, "frozen", True)
    except PyruncError:
        _write(path + "/cgroup.freeze", "0")
        raise


def thaw(path: str) -> None:
    """Thaw a frozen cgroup, and wait until its processes run. Raises PyruncError."""
    _write(path + "/cgroup.freeze", "0")
    _wait_for(path, "frozen", False)


def is_frozen(path: str) -> bool:
    """Whether every process of the cgroup is frozen; False if the cgroup does not exist.

    Raises PyruncError.
    """
    return bool(_event(path, "frozen"))


def remove(path: str, killing: bool = False) -> None:
    """Remove the cgroup and those that the container made below it. Nothing happens if it does not exist.

    killing: kill the processes that are still in it. An `exec` clones its process into the cgroup, and may do so just
        after the container was killed; in a frozen cgroup that process waits for ever.
    Waits up to PATIENCE_SECONDS for killed processes to leave. Raises PyruncError, EBUSY if live processes stay.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    wait = FIRST_WAIT_SECONDS
    while True:
        try:
            posix.rmdir(path)  # the usual case in one call
            return
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise PyruncError(
                    f"removing cgroup {path}",
                    errno=error.errno or 0,
                    hint="processes are still in it" if error.errno == errno.EBUSY else "",
                ) from error
        if killing and wait > FIRST_WAIT_SECONDS:  # most of those that were killed have left by then
            kill(path)
        _remove_children(path)
        time.sleep(wait)
        wait = min(wait * 2, LONGEST_WAIT_SECONDS)


def _remove_children(path: str) -> None:
    """Remove the cgroups below `path`, the deepest first. Busy ones stay: the caller tries again."""

    def is_busy(fd: int, name: str) -> bool:
        try:
            posix.rmdir(name, dir_fd=fd)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EBUSY):
                raise
            return error.errno == errno.EBUSY
        return False

    try:
        walk(path, lambda fd: None, is_busy, is_busy)
    except OSError as error:
        raise PyruncError(f"removing the cgroups below {path}", errno=error.errno or 0) from error


def walk(
    path: str,
    look: Callable[[int], None],
    enter: Callable[[int, str], bool] | None = None,
    leave: Callable[[int, str], bool] | None = None,
) -> None:
    """Walk a cgroup and all below it, each before its children.

    One directory is open at a time, and each is opened from the one above or below it: a container with write access to
    its cgroups can nest them deeper than PATH_MAX or the limit of descriptors allows.

    look(fd): called in each cgroup. enter(fd, name): called before the walk enters the child `name`, which is skipped
    if it returns False. leave(fd, name): called after the walk of the child. Raises OSError. Cgroups that vanish
    meanwhile are skipped.
    """
    fd = _open_or_gone(path)
    if fd < 0:
        return
    names: list[str] = []  # the path of the open one from the start
    try:
        _ignore_gone(look, fd)
        to_do = [_children(fd)]  # the children that are left at each level
        while True:
            if to_do[-1]:
                name = to_do[-1].pop()
                if enter is not None and not enter(fd, name):
                    continue
                child = _open_or_gone(name, fd)
                if child < 0:
                    continue
                posix.close(fd)
                fd = child
                names.append(name)
                _ignore_gone(look, fd)
                to_do.append(_children(fd))
            elif names:
                to_do.pop()
                above = posix.open("..", _OPEN, dir_fd=fd)
                posix.close(fd)
                fd = above
                name = names.pop()
                if leave is not None:
                    leave(fd, name)
            else:
                return
    finally:
        posix.close(fd)


def _open_or_gone(path: str, directory: int | None = None) -> int:
    """A descriptor of a cgroup's directory, -1 if it is gone. Raises OSError."""
    try:
        return posix.open(path, _OPEN | posix.O_NOFOLLOW, dir_fd=directory)
    except OSError as error:
        if error.errno not in GONE:
            raise
        return -1


def _ignore_gone(look: Callable[[int], None], fd: int) -> None:
    try:
        look(fd)
    except OSError as error:
        if error.errno not in GONE:
            raise


def _children(fd: int) -> list[str]:
    """The names of the cgroups in an open one; none if it is gone. Raises OSError."""
    try:
        with posix.scandir(fd) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError as error:
        if error.errno not in GONE:
            raise
        return []


def _read_at(fd: int, name: str) -> str:
    """The content of a control file of an open cgroup; "" if there is none. Raises OSError."""
    try:
        file = posix.open(name, posix.O_RDONLY | posix.O_CLOEXEC, dir_fd=fd)
    except FileNotFoundError:
        return ""
    try:
        return read_fd(file)
    finally:
        posix.close(file)


def _wait_for(path: str, event: str, value: bool) -> None:
    """Wait until `event` of cgroup.events is `value`. Raises PyruncError after PATIENCE_SECONDS."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    wait = FIRST_WAIT_SECONDS
    while _event(path, event) is (not value):  # None, if the cgroup is gone, ends the wait
        if time.monotonic() > deadline:
            raise PyruncError(
                f"cgroup {path} did not become {event if value else 'un' + event}: {errno_text(errno.ETIMEDOUT)}",
                hint="a process in it is stuck in the kernel",
            )
        time.sleep(wait)
        wait = min(wait * 2, LONGEST_WAIT_SECONDS)


def _event(path: str, name: str) -> bool | None:
    """The flag `name` of cgroup.events; None if the cgroup is gone or the file has no such flag."""
    words = _read_or_gone(path + "/cgroup.events").split()
    for key, value in zip(words[::2], words[1::2], strict=False):
        if key == name:
            return value == "1"
    return None


def _read_or_gone(path: str) -> str:
    """The content of a control file; "" if its cgroup is gone."""
    try:
        return read_file(path)
    except OSError as error:
        if error.errno in GONE:
            return ""
        raise PyruncError(f"reading {path}", errno=error.errno or 0) from error


def _write(path: str, text: str) -> None:
    try:
        write_file(path, text)
    except OSError as error:
        raise PyruncError(f"writing {path}", errno=error.errno or 0) from error


def _write_or_gone(path: str, text: str) -> None:
    """Write a control file. Nothing happens if its cgroup is gone."""
    try:
        _write(path, text)
    except PyruncError as error:
        if error.errno not in GONE:
            raise
