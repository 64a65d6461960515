"""The state directory `ROOT/ID`: what is known of a container, its lock, and the status that the kernel tells.

The directory's existence claims the id and its flock is the container's lock. state.json is there once the container
is created; a directory without one belongs to a `create` that is at work or has died.
"""

from __future__ import annotations

import errno
import posix

from .. import jsonio, native
from ..report import PyruncError
from ..settings import SPEC_VERSION
from . import process
from .sysfiles import read_fd, read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STATE_FILE = "state.json"
START_SOCKET = "start.sock"
INIT_NAME = "pyrunc:[init]"
# What in the state root is no container begins with this sign, which no id has.
PRIVATE = ":"

# The signs that an id may have besides letters and digits, as letters.
_ID_SIGNS = {ord(sign): "x" for sign in "_+-."}


class Record:
    """What state.json holds, and by these names.

    ociVersion, id, bundle, annotations: as the specification's state has them (runtime.md, State).
    rootfs: absolute path of the root file system. created: RFC 3339 in UTC with nanoseconds.
    pid, startTime: the container's process and its start time in clock ticks; 0 while it is being created.
    owner: uid of who created it. cgroup: the cgroup's directory, "" for none.
    systemd: where systemd made the cgroup, the `unit` and whether the `user`'s systemd did; else {}.
    ownPids: whether the container has a pid namespace of its own.
    hooks: the poststart and poststop hooks as the config has them.
    startSteps: the init's steps after the start as [number, kind, arguments (of lists only the first item), pointer],
        for `start` to name the one that fails.
    """

    __slots__ = (
        "annotations", "bundle", "cgroup", "created", "hooks", "id", "ociVersion", "ownPids",
        "owner", "pid", "rootfs", "startSteps", "startTime", "systemd",
    )  # fmt: skip

    annotations: dict[str, str]
    bundle: str
    cgroup: str
    created: str
    hooks: dict[str, list[dict[str, Any]]]
    id: str
    ociVersion: str
    ownPids: bool
    owner: int
    pid: int
    rootfs: str
    startSteps: list[list[Any]]
    startTime: int
    systemd: dict[str, Any]

    def __init__(self, values: dict[str, Any]) -> None:
        """Take every field from `values`; KeyError where one is missing."""
        for name in self.__slots__:
            setattr(self, name, values[name])

    def values(self) -> dict[str, Any]:
        """The fields by name, as state.json holds them."""
        return {name: getattr(self, name) for name in self.__slots__}

    def hook_state(self, status: str) -> str:
        """The state as hooks read it on stdin: JSON with the specification's fields (runtime.md, State)."""
        fields: dict[str, Any] = {"ociVersion": SPEC_VERSION, "id": self.id, "status": status}
        if status != "stopped":
            fields["pid"] = self.pid
        fields["bundle"] = self.bundle
        if self.annotations:
            fields["annotations"] = self.annotations
        return jsonio.dumps(fields)

    def describe(self, status: str, owner: str = "") -> dict[str, Any]:
        """The state as `state` and `list` print it: runc's fields in runc's order."""
        fields: dict[str, Any] = {
            "ociVersion": self.ociVersion,
            "id": self.id,
            "pid": 0 if status == "stopped" else self.pid,
            "status": status,
            "bundle": self.bundle,
            "rootfs": self.rootfs,
            "created": self.created,
        }
        if self.annotations:
            fields["annotations"] = self.annotations
        fields["owner"] = owner
        return fields


def new_record(
    spec: dict[str, Any], *, id: str, bundle: str, cgroup: str, systemd: dict[str, Any] | None = None
) -> Record:
    """The record of a container that is to be created from a config.json in `bundle`."""
    hooks = spec.get("hooks", {})
    rootfs = spec["root"]["path"]
    namespaces = spec.get("linux", {}).get("namespaces", ())
    return Record(
        {
            "annotations": spec.get("annotations", {}),
            "bundle": bundle,
            "cgroup": cgroup,
            "created": now(),
            "hooks": {name: hooks[name] for name in ("poststart", "poststop") if hooks.get(name)},
            "id": id,
            "ociVersion": spec["ociVersion"],
            "ownPids": any(item["type"] == "pid" and not item.get("path") for item in namespaces),
            "owner": posix.geteuid(),
            "pid": 0,
            "rootfs": rootfs if rootfs.startswith("/") else bundle.rstrip("/") + "/" + rootfs,
            "startSteps": [],
            "startTime": 0,
            "systemd": systemd or {},
        }
    )


def check_id(id: str) -> str:
    """The id, when it is one: letters, digits and `_+-.`, no `.` or `..`, and short enough for a directory's name.

    Raises PyruncError in runc's words.
    """
    if not id:
        raise PyruncError("container id cannot be empty")
    if not id.isascii() or not id.translate(_ID_SIGNS).isalnum() or id in (".", "..") or len(id) > 255:
        raise PyruncError("invalid container ID format", hint="letters, digits, _, +, - and ., at most 255 of them")
    return id


def directory(root: str, id: str) -> str:
    """The state directory's path. Raises PyruncError for an id that is none (it must not lead out of the root)."""
    return root.rstrip("/") + "/" + check_id(id)


def now() -> str:
    """The time as RFC 3339 in UTC with nanoseconds, trailing zeros left out, as Go prints it."""
    import time  # here, since it reads /etc/localtime, and only a create asks for the time

    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    utc = time.gmtime(seconds)
    fraction = f".{nanoseconds:09}".rstrip("0").rstrip(".")
    return (
        f"{utc.tm_year:04}-{utc.tm_mon:02}-{utc.tm_mday:02}T{utc.tm_hour:02}:{utc.tm_min:02}:{utc.tm_sec:02}{fraction}Z"
    )


def load(path: str) -> Record | None:
    """The record of the state directory at `path`; None where there is no state.json. Raises PyruncError where it
    can't be read or understood."""
    try:
        return Record(jsonio.loads(read_file(path + "/" + STATE_FILE)))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (KeyError, ValueError) as error:
        raise PyruncError(f"the container's state in {path}/{STATE_FILE} is damaged: {error}") from error


def draft(dirfd: int, record: Record) -> str:
    """Write what is to be state.json under another name in an open state directory; gives that name. Raises OSError."""
    return _draft(STATE_FILE, jsonio.dumps(record.values()), 0o600, dirfd)


def save(dirfd: int, record: Record, drafted: str = "") -> None:
    """Write state.json in an open state directory, whole or not at all. Raises OSError.

    drafted: the name under which `draft` has written it already; "" where it has not.
    """
    name = drafted or draft(dirfd, record)
    posix.rename(name, STATE_FILE, src_dir_fd=dirfd, dst_dir_fd=dirfd)


def replace(path: str, text: str, mode: int, dir_fd: int | None = None) -> None:
    """Write a file under another name beside its place and rename it. Raises OSError, the other file removed."""
    name = _draft(path, text, mode, dir_fd)
    try:
        posix.rename(name, path, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    except OSError:
        posix.unlink(name, dir_fd=dir_fd)
        raise


def _draft(path: str, text: str, mode: int, dir_fd: int | None) -> str:
    """Write a new file beside `path`; gives its path. Raises OSError, the file removed."""
    folder, slash, name = path.rpartition("/")
    made = f"{folder}{slash}.{name}.{posix.getpid()}"
    fd = posix.open(made, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, mode, dir_fd=dir_fd)
    try:
        data = memoryview(text.encode("utf-8", "surrogateescape"))
        while data:
            data = data[posix.write(fd, data) :]
    except OSError:
        posix.unlink(made, dir_fd=dir_fd)
        raise
    finally:
        posix.close(fd)
    return made


def status(path: str, record: Record) -> str:
    """The container's status, as the kernel tells it: created, running, paused or stopped.

    A process with another start time is another process: the container is stopped. Raises OSError.
    """
    found = process.find(record.pid, record.startTime)
    if found is None:
        return "stopped"
    if record.cgroup and _frozen(record.cgroup):
        return "paused"
    # A program may take the init's name, and a `start` that was killed leaves the socket: both say only that it is
    # worth asking whether anybody holds the socket.
    if found.name == INIT_NAME and _is_held(path + "/" + START_SOCKET):
        return "created"
    return "running"


def _is_held(socket: str) -> bool:
    """Whether a process has this start socket open, which only an init that waits for the start has.

    A socket of another type is refused with EPROTOTYPE by one that is held, and with ECONNREFUSED by the file of one
    that is not, so nobody hears of the question (unix_find_bsd() of the kernel's sources). Raises OSError.
    """
    try:
        posix.close(native.connect(socket, stream=True))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ECONNREFUSED):
            return False
        if error.errno not in (errno.EPROTOTYPE, errno.EACCES):  # what may not be asked has the name at least
            raise
    return True


def _frozen(cgroup: str) -> bool:
    try:
        return "frozen 1" in read_file(cgroup + "/cgroup.events")
    except FileNotFoundError:
        return False


def exists(path: str) -> bool:
    """Whether there is something at a path. Raises OSError where that can't be told."""
    try:
        posix.lstat(path)
    except FileNotFoundError:
        return False
    return True


def open_directory(path: str) -> int:
    """A descriptor of a directory. Raises OSError."""
    return posix.open(path, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)


def lock(path: str, wait: bool = True) -> int:
    """Lock the state directory at `path`; the lock goes with the descriptor that is returned.

    Raises FileNotFoundError where it is not there (any more), BlockingIOError where it is locked and `wait` is false.
    """
    fd = open_directory(path)
    relock(fd, path, wait)
    return fd


def relock(fd: int, path: str, wait: bool = True) -> None:
    """Lock a state directory that is open. Raises as `lock`, the descriptor closed."""
    try:
        native.flock(fd, True, wait)
        # Whoever had the lock before may have removed the directory, and another may have been made in its place.
        there, here = posix.stat(path), posix.fstat(fd)
        if there.st_ino != here.st_ino or there.st_dev != here.st_dev:
            raise FileNotFoundError(2, "the state directory was replaced", path)
    except BaseException:
        posix.close(fd)
        raise


def make_root(root: str) -> None:
    """Make the directory of the state directories, and those above it, where missing. Raises OSError."""
    try:
        posix.mkdir(root, 0o700)
    except FileExistsError:
        return
    except FileNotFoundError:
        make_root(root.rpartition("/")[0] or "/")
        posix.mkdir(root, 0o700)


def owner_name(uid: int) -> str:
    """The user's name in /etc/passwd; "#UID" where it has none, as runc prints it."""
    try:
        fd = posix.open("/etc/passwd", posix.O_RDONLY | posix.O_CLOEXEC)
    except FileNotFoundError:
        return f"#{uid}"
    try:
        lines = read_fd(fd).split("\n")
    finally:
        posix.close(fd)
    for line in lines:
        fields = line.split(":")
        if len(fields) > 2 and fields[2] == str(uid):
            return fields[0]
    return f"#{uid}"


def remove(path: str) -> None:
    """Remove a state directory; one that is not there is no error. The ledger goes last but the directory."""
    try:
        names = posix.listdir(path)
    except FileNotFoundError:
        return
    for name in sorted(names, reverse=True):
        try:
            posix.unlink(path + "/" + name)
        except FileNotFoundError:
            continue
    try:
        posix.rmdir(path)
    except FileNotFoundError:
        return
