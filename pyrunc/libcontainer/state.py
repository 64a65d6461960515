"""The state of a container: its record (state.json), and its status, which comes from the kernel.

state.json exists when the container is created. A state directory without it belongs to a `create` that is running or
was killed. The file has the version of its format. Files of another minor version are read: unknown members are
ignored, missing ones have their default.
"""

from __future__ import annotations

import errno
import posix

from .. import _wire, jsonio
from ..errors import PyruncError, cut
from . import SPEC_VERSION, process
from .kernel import native
from .kernel.fileio import name_whole, write_bytes
from .statedir import START_SOCKET, STATE_FILE, DamagedError, RenamedError, StateDir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    from .._generated.spec_types import Spec, State

    Status = Literal["creating", "created", "running", "paused", "stopped"]

INIT_NAME = "pyrunc:[init]"
# The format of state.json, of the ledger and of exec.json. A new minor version only adds members. Files without a
# version are of 1.0.
FORMAT = "1.2"
_FIRST_FORMAT = "1.0"

# The characters that an id may contain besides letters and digits, mapped to a letter.
_ID_SIGNS = {ord(sign): "x" for sign in "_+-."}
_LARGEST_PID = 1 << 31
_LARGEST_NUMBER = 1 << 64
# How many levels of objects and arrays `updated` has at most.
_DEEPEST = 10
# The directory that must have the cgroup of another user's container for its path to be believed.
CGROUPS = "/sys/fs/cgroup/"
_CGROUPS_END = len(CGROUPS)
# A cgroup that does not exist, or is removed while one of its files is read (ENODEV).
_NO_CGROUP = (errno.ENOENT, errno.ENODEV, errno.ENOTDIR)


# The attributes of a record, in the order of the file.
_ATTRIBUTES = (
    "annotations", "bundle", "cgroup", "created", "hooks", "id", "ociVersion", "owner",
    "pid", "private_pid_namespace", "rootfs", "startSteps", "startTime", "systemd", "updated",
)  # fmt: skip


class Record(_wire.Record):
    """The members of state.json besides `version`. One attribute has another name in the file.

    ociVersion, id, bundle, annotations: as in the specification's state (runtime.md, State).
    rootfs: absolute path of the root file system. created: RFC 3339 in UTC with nanoseconds.
    pid, startTime: the container's process and its start time in clock ticks; 0 while it is being created.
    owner: the uid that created it. cgroup: the cgroup's directory, "" for none.
    systemd: the `unit` of the cgroup, and whether it is the `user`'s systemd that has it; {} without systemd.
    private_pid_namespace: whether the container has a pid namespace of its own (`ownPids` in the file).
    hooks: the poststart and poststop hooks as in config.json.
    startSteps: the init's steps after the start as [number, kind, arguments (of lists only the first item), pointer],
        for `start` to name the one that fails.
    updated: the `mounts` and `devices` that `update` has made, as in config.json, and the paths of those that it has
        removed, `unmounted` and `removedDevices`; {} without an update.
    """

    __slots__ = ()

    def values(self) -> dict[str, Any]:
        """The content of state.json: the fields and the version of their format."""
        values: dict[str, Any] = {"version": FORMAT, **{name: getattr(self, name) for name in _ATTRIBUTES}}
        values["ownPids"] = values.pop("private_pid_namespace")
        return values

    def hook_state(self, status: str) -> str:
        """The state for the stdin of hooks: JSON with the specification's fields (runtime.md, State)."""
        fields: dict[str, Any] = {"ociVersion": SPEC_VERSION, "id": self.id, "status": status}
        if status != "stopped":
            fields["pid"] = self.pid
        fields["bundle"] = self.bundle
        if self.annotations:
            fields["annotations"] = self.annotations
        return jsonio.dumps(fields)

    def describe(self, status: Status, owner: str = "") -> State:
        """The state for `state` and `list`: runc's fields in runc's order."""
        fields: State = {
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
        if self.updated:
            fields["updated"] = self.updated
        fields["owner"] = owner
        return fields


# The hooks that later commands run.
_LATER_HOOKS: tuple[Literal["poststart", "poststop"], ...] = ("poststart", "poststop")


def new_record(spec: Spec, *, id: str, bundle: str, cgroup: str, unit: str = "", user_unit: bool = False) -> Record:
    """The record of a new container from a config.json in `bundle`.

    cgroup, unit, user_unit: as in LaunchPlan.
    """
    hooks = spec.get("hooks", {})
    rootfs = spec["root"]["path"]
    namespaces = spec.get("linux", {}).get("namespaces", ())
    return Record(
        {
            "annotations": spec.get("annotations", {}),
            "bundle": bundle,
            "cgroup": cgroup,
            "created": now(),
            "hooks": {name: hooks[name] for name in _LATER_HOOKS if hooks.get(name)},
            "id": id,
            "ociVersion": spec["ociVersion"],
            "ownPids": any(item["type"] == "pid" and not item.get("path") for item in namespaces),
            "owner": posix.geteuid(),
            "pid": 0,
            "rootfs": rootfs if rootfs.startswith("/") else bundle.rstrip("/") + "/" + rootfs,
            "startSteps": [],
            "startTime": 0,
            "systemd": {"unit": unit, "user": user_unit} if unit else {},
            "updated": {},
        }
    )


def check_id(id: str) -> str:
    """Return a valid id: letters, digits and `_+-.`, not `.` or `..`, and short enough for the name of a directory.

    Raises PyruncError in runc's words for others.
    """
    if not id:
        raise PyruncError("container id cannot be empty")
    if not is_id(id):
        raise PyruncError("invalid container ID format", hint="letters, digits, _, +, - and ., at most 255 of them")
    return id


def is_id(name: str) -> bool:
    """Whether a name can be a container's id."""
    return name.isascii() and name.translate(_ID_SIGNS).isalnum() and name not in (".", "..") and len(name) <= 255


def ids(root: str) -> list[str]:
    """The names in the state root that can be an id, in order. Raises OSError."""
    names = sorted(posix.listdir(root))
    together = "".join(names)
    if together.isascii() and together.translate(_ID_SIGNS).isalnum():
        return names  # a listing has neither . nor .., nor an empty or a longer name
    return [name for name in names if is_id(name)]


def directory(root: str, id: str) -> str:
    """The state directory's path. Raises PyruncError for an invalid id, which might lead out of the root."""
    return root.rstrip("/") + "/" + check_id(id)


def now() -> str:
    """The time in RFC 3339's form, in UTC with nanoseconds but without trailing zeros, as Go prints it."""
    import time  # here, since it reads /etc/localtime, and only a create asks for the time

    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    utc = time.gmtime(seconds)
    fraction = f".{nanoseconds:09}".rstrip("0").rstrip(".")
    return (
        f"{utc.tm_year:04}-{utc.tm_mon:02}-{utc.tm_mday:02}T{utc.tm_hour:02}:{utc.tm_min:02}:{utc.tm_sec:02}{fraction}Z"
    )


class OtherIdError(ValueError):
    """The record is valid but has another id: its directory was renamed, or replaced another one."""


def judged(values: Any, id: str) -> Record:
    """Check the content of state.json, or of the ledger's first entry, of the container `id`. Returns the record.

    Members of a later minor version are ignored. Members that an earlier one lacks have their defaults.
    Raises ValueError that says what is wrong.
    """
    if type(values) is not dict:
        raise ValueError("it is not an object")
    if values.get("version") != FORMAT:
        check_format(values)
    fields = values
    if not _wire.is_record(fields):
        # Something is unusual, or wrong.
        fields = {**_defaults(), **values}
        for name, is_right, what in _FIELDS:
            if name not in fields:
                raise ValueError(f"{name} is missing")
            if not is_right(fields[name]):
                raise ValueError(f"{name} is not {what}")
    if fields["id"] != id:
        raise OtherIdError(f"it is the state of {cut(repr(fields['id']))}")
    return Record(fields)


def check_format(values: dict[str, Any]) -> None:
    """Raise ValueError for a version of the format that this version of pyrunc can't read."""
    version = values.get("version", _FIRST_FORMAT)
    major = version.partition(".")[0] if type(version) is str else ""
    if major != FORMAT.partition(".")[0]:
        raise ValueError(f"its format is {cut(str(version))}, and this version of pyrunc reads {FORMAT}")


def _defaults() -> dict[str, Any]:
    return {
        "annotations": {}, "cgroup": "", "created": "", "hooks": {}, "ociVersion": SPEC_VERSION, "owner": 0,
        "ownPids": False, "rootfs": "", "startSteps": [], "systemd": {}, "updated": {},
    }  # fmt: skip


def is_text(value: Any) -> bool:
    """Whether a value is text without NUL, which the kernel can take."""
    return type(value) is str and "\0" not in value


def is_path(value: Any) -> bool:
    """Whether a value is an absolute path."""
    return is_text(value) and value[:1] == "/"


def is_pid(value: Any) -> bool:
    """Whether a value is a process id, or 0."""
    return type(value) is int and 0 <= value < _LARGEST_PID


def is_number(value: Any) -> bool:
    """Whether a value is a number of at most 64 bits."""
    return type(value) is int and 0 <= value < _LARGEST_NUMBER


def is_bool(value: Any) -> bool:
    """Whether a value is true or false."""
    return type(value) is bool


def _is_place(value: Any) -> bool:
    return value == "" or is_path(value)


def _are_annotations(value: Any) -> bool:
    return type(value) is dict and all([type(text) is str for text in value.values()])


def _are_hooks(value: Any) -> bool:
    return type(value) is dict and all(
        [type(hooks) is list and all([_is_hook(hook) for hook in hooks]) for hooks in value.values()]
    )


def _is_hook(value: Any) -> bool:
    if type(value) is not dict or not is_path(value.get("path")):
        return False
    lists = [value[name] for name in ("args", "env") if name in value]
    timeout = value.get("timeout", 0)
    return all([type(texts) is list and all([is_text(text) for text in texts]) for texts in lists]) and is_number(
        timeout
    )


def _are_steps(value: Any) -> bool:
    if type(value) is not list:
        return False
    for step in value:
        if type(step) is not list or len(step) != 4:
            return False
        number, kind, arguments, pointer = step
        if type(number) is not int or type(kind) is not str or type(arguments) is not list or type(pointer) is not str:
            return False
    return True


def _is_unit(value: Any) -> bool:
    return value == {} or (type(value) is dict and is_text(value.get("unit")) and type(value.get("user")) is bool)


def is_updated(value: Any) -> bool:
    """Whether a value can be `updated` of the state: an object of lists, which `state` can show."""
    return (
        type(value) is dict
        and all([type(entries) is list for entries in value.values()])
        and not jsonio.is_deeper(value, _DEEPEST)
    )


# The check of each member of state.json, and what it has to be.
_FIELDS = (
    ("id", is_text, "text"),
    ("pid", is_pid, "a process id"),
    ("startTime", is_number, "a number"),
    ("bundle", is_path, "an absolute path"),
    ("rootfs", _is_place, "an absolute path"),
    ("cgroup", _is_place, "an absolute path"),
    ("created", is_text, "text"),
    ("ociVersion", is_text, "text"),
    ("owner", is_number, "a number"),
    ("ownPids", is_bool, "true or false"),
    ("annotations", _are_annotations, "an object of texts"),
    ("hooks", _are_hooks, "lists of hooks"),
    ("startSteps", _are_steps, "a list of steps"),
    ("systemd", _is_unit, "a unit of systemd"),
    ("updated", is_updated, "lists of what update has changed"),
)


def load(place: StateDir) -> Record | None:
    """The record in a state directory; None without a state.json.

    Raises DamagedError if it can't be read or understood.
    """
    try:
        return judged(jsonio.loads(place.read(STATE_FILE)), place.id)
    except FileNotFoundError:
        return None
    except DamagedError as error:
        raise DamagedError(f"the container's state is damaged: {error.message}") from error
    except OtherIdError as error:
        raise RenamedError(f"the container's state in {place.path}/{STATE_FILE} is damaged: {error}") from error
    except ValueError as error:
        raise DamagedError(f"the container's state in {place.path}/{STATE_FILE} is damaged: {error}") from error


def load_own(root: int, id: str, shared: Shared | None = None) -> Record | None:
    """The record of a container below an open state root, with one call of C. None if anything is unusual: `load` of
    the open state directory finds out what."""
    try:
        text = native.read_own(root, id, STATE_FILE, shared.room if shared is not None else None)
        return judged(jsonio.loads(text), id)
    except (OSError, ValueError):
        return None


def write_tmp(dirfd: int, record: Record) -> str:
    """Write the temporary file for state.json in an open state directory. Returns its name. Raises OSError."""
    data = jsonio.dumps(record.values()).encode("utf-8", "surrogateescape")
    return _write_tmp(STATE_FILE, data, 0o600, dirfd)


def save(dirfd: int, record: Record, written: str = "") -> None:
    """Replace state.json in an open state directory as a whole. Raises OSError.

    written: the name of the temporary file, where `write_tmp` has written it already; else "".
    """
    name = written or write_tmp(dirfd, record)
    try:
        posix.rename(name, STATE_FILE, src_dir_fd=dirfd, dst_dir_fd=dirfd)
    except OSError as error:
        name_whole(error, dirfd, STATE_FILE)
        raise


def replace(path: str, text: str, mode: int, dir_fd: int | None = None) -> None:
    """Write a temporary file beside `path` and rename it to `path`. Removes it and raises OSError if that fails."""
    replace_bytes(path, text.encode("utf-8", "surrogateescape"), mode, dir_fd)


def replace_bytes(path: str, data: bytes, mode: int, dir_fd: int | None = None) -> None:
    """`replace` for bytes."""
    name = _write_tmp(path, data, mode, dir_fd)
    try:
        posix.rename(name, path, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    except OSError as error:
        name_whole(error, dir_fd, path)
        posix.unlink(name, dir_fd=dir_fd)
        raise


def tmp_name(path: str) -> str:
    """The path of this process's temporary file for `path`."""
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}.{name}.{posix.getpid()}"


def _write_tmp(path: str, data: bytes, mode: int, dir_fd: int | None) -> str:
    """Write the temporary file for `path`. Returns its path. Removes it and raises OSError if that fails."""
    tmp = tmp_name(path)
    try:
        fd = posix.open(tmp, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, mode, dir_fd=dir_fd)
    except OSError as error:
        name_whole(error, dir_fd, tmp)
        raise
    try:
        write_bytes(fd, data, path)
    except OSError as error:
        name_whole(error, dir_fd, path)
        posix.unlink(tmp, dir_fd=dir_fd)
        raise
    finally:
        posix.close(fd)
    return tmp


class Shared:
    """The descriptors that a command opens once for many containers.

    asking: a datagram socket for checking whether the init waits. cgroups: the directory of the cgroups. A descriptor
    is -1 if it can't be opened: the code that needs it reports why. room: memory for the content of files.
    """

    __slots__ = ("asking", "cgroups", "room")

    def __init__(self) -> None:
        self.room = native.room()
        self.asking = self.cgroups = -1
        try:
            self.cgroups = posix.open(CGROUPS, posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
            self.asking = native.datagram_socket()
        except OSError:
            pass

    def close(self) -> None:
        """Close the descriptors."""
        for fd in (self.asking, self.cgroups):
            if fd >= 0:
                posix.close(fd)


def status(path: str, record: Record, shared: Shared | None = None) -> Status:
    """The container's status, from the kernel: created, running, paused or stopped.

    If the process with that pid has another start time, the container is stopped. shared: of a command that looks at
    many containers. Raises OSError.
    """
    # Reading the start time takes ten times as long as asking whether there is a process with the pid. So among many, a
    # held socket and such a process are enough.
    if shared is not None and shared.asking >= 0:
        held = native.ask_socket(shared.asking, path + "/" + START_SOCKET) == errno.EPROTOTYPE
        if held and process.exists(record.pid):
            return "paused" if record.cgroup and is_frozen(record.cgroup, shared) else "created"
    # Whoever may write to the state directory can listen on a socket there, so the socket says nothing of a process
    # that has ended, or that is no init any more.
    found = process.find(record.pid, record.startTime)
    if found is None:
        return "stopped"
    if record.cgroup and is_frozen(record.cgroup, shared):
        return "paused"
    # A program may have given itself the init's name. Without the permission to ask, the name decides.
    waits = found.name == INIT_NAME and _is_held(path + "/" + START_SOCKET, shared) is not False
    return "created" if waits else "running"


def _is_held(socket: str, shared: Shared | None) -> bool | None:
    """Whether a process has this start socket open, as the container's init has while it waits for the start; None
    without the permission to ask. A killed `start` leaves the socket's file.

    connect(2) of a datagram socket fails with EPROTOTYPE if the socket is open, and with ECONNREFUSED if only its file
    is left. It makes no connection and never waits, as it might for a stream socket of another user. Raises OSError.
    """
    if shared is not None and shared.asking >= 0:
        error = native.ask_socket(shared.asking, socket)
    elif not exists(socket):
        return False
    else:
        asking = native.datagram_socket()
        try:
            error = native.ask_socket(asking, socket)
        finally:
            posix.close(asking)
    if error == errno.EPROTOTYPE:
        return True
    if error == errno.EACCES:
        return None
    if error in (0, errno.ENOENT, errno.ECONNREFUSED):  # 0: a datagram socket, so not an init's
        return False
    raise OSError(error, posix.strerror(error), socket)


def is_frozen(cgroup: str, shared: Shared | None = None) -> bool:
    """Whether the cgroup is frozen; False if it vanishes meanwhile."""
    try:
        if shared is not None and shared.cgroups >= 0 and cgroup.startswith(CGROUPS):
            # The path from there is half as long, and relative whatever follows.
            return native.is_frozen("./" + cgroup[_CGROUPS_END:], shared.cgroups)
        return native.is_frozen(cgroup)
    except OSError as error:
        if error.errno in _NO_CGROUP:
            return False
        raise


def exists(path: str) -> bool:
    """Whether a path exists; links are not followed. Raises OSError if that is unknown."""
    try:
        posix.lstat(path)
    except FileNotFoundError:
        return False
    return True


def make_root(root: str) -> None:
    """Make the state root, and the directories above it, if they are missing. Raises OSError."""
    try:
        posix.mkdir(root, 0o700)
    except FileExistsError:
        return
    except FileNotFoundError:
        make_root(root.rpartition("/")[0] or "/")
        try:
            posix.mkdir(root, 0o700)
        except FileExistsError:
            return  # another command has just made it
