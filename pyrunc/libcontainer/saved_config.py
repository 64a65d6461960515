"""exec.json of a state directory: the parts of a container's configuration that later commands need.

These commands are `exec`, `update`, `checkpoint` and `verify`. The bundle's config.json may have changed or be gone.
"""

from __future__ import annotations

import posix

from .. import jsonio
from .._generated import validators
from . import SPEC_VERSION, state
from .kernel import native
from .kernel.fileio import name_whole, write_whole
from .plan.host import LANDLOCK
from .state import FORMAT, check_format
from .statedir import EXEC_FILE as FILE
from .statedir import DamagedError, StateDir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Literal, NotRequired, TypedDict

    from .._generated.spec_types import Linux, MountEntry, Process, Root, Spec
    from .plan.options import LaunchOptions

    LinuxMember = Literal[
        "devices", "gidMappings", "intelRdt", "maskedPaths", "memoryPolicy", "mountLabel", "namespaces", "personality",
        "resources",
        "seccomp", "uidMappings",
    ]  # fmt: skip

    class MadeMount(TypedDict):
        """A mount that `update` has made: its path, the requested path, and its ids (session.Identity), which mounts of
        the configuration do not have."""

        destination: str
        named: str
        id: NotRequired[int]
        unique: NotRequired[int]

    class Updated(TypedDict):
        """The changes by updates; the last three are paths in the container."""

        mounts: NotRequired[list[MadeMount]]
        unmounted: NotRequired[list[str]]
        devices: NotRequired[list[str]]
        removedDevices: NotRequired[list[str]]

    class Saved(TypedDict):
        """The content of the file; `load` describes its members. Earlier versions saved no mounts and no rest."""

        version: str
        process: Process
        root: Root
        linux: Linux
        mounts: NotRequired[list[MountEntry]]
        annotations: NotRequired[dict[str, str]]
        devicePaths: list[str]
        noNewKeyring: bool
        isolation: NotRequired[str]
        pipes: NotRequired[list[int]]
        files: NotRequired[list[list[int]]]
        updated: NotRequired[Updated]
        rest: NotRequired[Any]


_LINUX: tuple[LinuxMember, ...] = (
    "devices", "gidMappings", "intelRdt", "maskedPaths", "memoryPolicy", "mountLabel", "namespaces", "personality",
    "resources",
    "seccomp", "uidMappings",
)  # fmt: skip

_NAMES: tuple[Literal["domainname", "hostname"], ...] = ("domainname", "hostname")

_TYPE = 0o170000
_FIFO = 0o010000
_FILE = 0o100000


def save(dirfd: int, spec: Spec, options: LaunchOptions) -> None:
    """Write the file in the open state directory of a new container. Raises OSError."""
    linux = spec.get("linux", {})
    members: Any = {name: linux[name] for name in _LINUX if name in linux}
    kept: Saved = {
        "version": FORMAT,
        "devicePaths": [device["path"] for device in linux.get("devices") or ()],
        "mounts": spec.get("mounts", []),
        "noNewKeyring": options.no_new_keyring,
        "process": spec["process"],
        "root": spec["root"],
        "linux": members,
    }
    # Only for `verify`: the other commands need not check it.
    kept["rest"] = {
        **{name: spec[name] for name in _NAMES if name in spec},
        "linux": {name: value for name, value in linux.items() if name not in _LINUX},
        "noPivot": options.no_pivot,
        "rootless": options.rootless,
        "notify": bool(options.notify_socket),
    }
    annotations = {
        name: value
        for name, value in spec.get("annotations", {}).items()
        if name.startswith("run.oci.") or name == LANDLOCK
    }
    if annotations:
        kept["annotations"] = annotations
    if options.isolation:
        kept["isolation"] = options.isolation
    if not spec["process"].get("terminal"):
        _keep_streams(kept)
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC
    try:
        fd = posix.open(FILE, flags, 0o600, dir_fd=dirfd)
        try:
            write_whole(fd, jsonio.dumps(kept), FILE)
        finally:
            posix.close(fd)
    except OSError as error:
        name_whole(error, dirfd, FILE)
        raise


def _keep_streams(kept: Saved) -> None:
    """Add `pipes`, and `files` if a standard stream is a file. Raises OSError."""
    found = [posix.fstat(fd) for fd in (0, 1, 2)]
    types = [stat.st_mode & _TYPE for stat in found]
    kept["pipes"] = [stat.st_ino if stat.st_mode & _TYPE == _FIFO else 0 for stat in found] if _FIFO in types else []
    if _FILE in types:
        kept["files"] = [[native.mount_id(fd)[0], found[fd].st_ino] if types[fd] == _FILE else [] for fd in (0, 1, 2)]


def load(place: StateDir, mounts: bool = True) -> Saved:
    """Load the file: `process`, `root`, `mounts` and `linux` as in config.json, `noNewKeyring`, `devicePaths` (the
    paths of linux.devices), and the `annotations` that pyrunc carries out, if there are any. `pipes` has the inodes of
    the standard streams that were pipes, 0 for others; [] if none was. `files` has mount and inode of those that were
    files, [] for others; [] if none was, or an earlier version has saved it. `updated` has the changes of updates
    (update/mounts.py). `isolation` is that of `--isolation`, by which `exec` tightens its process too. `rest`, which is
    not checked, has the other inputs of the plan (verify/expected.py).

    mounts: whether the caller uses `mounts`, and so they are checked.
    Raises DamagedError if it can't be read or understood.
    """
    try:
        value = jsonio.loads(place.read(FILE))
        _judge(value, ("process", "root", "linux", "mounts") if mounts else ("process", "root", "linux"))
    except FileNotFoundError as error:
        raise DamagedError(f"reading {place.path}/{FILE}", errno=error.errno or 0) from error
    except ValueError as error:
        raise DamagedError(f"{place.path}/{FILE} is damaged: {error}") from error
    kept: Saved = value
    kept.setdefault("noNewKeyring", False)
    kept.setdefault("pipes", [])
    kept.setdefault("files", [])
    kept.setdefault("devicePaths", [device["path"] for device in kept["linux"].get("devices") or ()])
    return kept


def spec_of(kept: Saved) -> Spec:
    """The result of `load` as a partial config.json."""
    return {
        "ociVersion": SPEC_VERSION,
        "process": kept["process"],
        "root": kept["root"],
        "linux": kept["linux"],
        "annotations": kept.get("annotations", {}),
    }


def _judge(kept: Any, configured: tuple[str, ...]) -> None:
    """Raise ValueError if a member is not of the form that `save` writes. configured: the members of config.json that
    are checked."""
    if type(kept) is not dict:
        raise ValueError("it is not an object")
    check_format(kept)
    for name in ("process", "root", "linux"):
        if type(kept.get(name)) is not dict:
            raise ValueError(f"{name} is not an object")
    if type(kept["root"].get("path")) is not str:
        raise ValueError("the path of root is missing")
    # All parts were valid by the schema when the container was created. Earlier versions saved no mounts.
    parts = {name: kept[name] for name in configured if name in kept}
    violation = validators.config({"ociVersion": SPEC_VERSION, **parts})
    validators.unknown.clear()  # members of a later version need no warning here
    if violation is not None:
        raise ValueError(f"{violation[0][1:].replace('/', '.')} has a wrong value")
    _judge_updated(kept.get("updated", {}))
    annotations = kept.get("annotations", {})
    if type(annotations) is not dict or any([type(value) is not str for value in annotations.values()]):
        raise ValueError("annotations has a wrong value")
    if type(kept.get("isolation", "")) is not str:
        raise ValueError("isolation has a wrong value")
    paths = kept.get("devicePaths", [])
    if type(paths) is not list or any([type(path) is not str for path in paths]):
        raise ValueError("devicePaths has a wrong value")
    pipes = kept.get("pipes", [])
    if type(pipes) is not list or not all([state.is_number(value) for value in pipes]):
        raise ValueError("pipes has a wrong value")
    files = kept.get("files", [])
    if type(files) is not list or len(files) not in (0, 3) or not all([_is_file(entry) for entry in files]):
        raise ValueError("files has a wrong value")


def _is_file(entry: Any) -> bool:
    """Whether an entry of `files` is [], or the ids of a mount and an inode."""
    return type(entry) is list and len(entry) in (0, 2) and all([state.is_number(value) for value in entry])


def _judge_updated(updated: Any) -> None:
    """Raise ValueError if `updated` is not of the form that update/mounts.py writes."""
    if type(updated) is not dict or any([type(entries) is not list for entries in updated.values()]):
        raise ValueError("updated has a wrong value")
    for made in updated.get("mounts", ()):
        if type(made) is not dict or [type(made.get(name)) for name in ("destination", "named", "id", "unique")] != [
            str, str, int, int,
        ]:  # fmt: skip
            raise ValueError("updated.mounts has a wrong value")


def replace_linux(
    dirfd: int, members: Mapping[str, Any], others: Mapping[str, Any] | None = None, kept: Saved | None = None
) -> None:
    """Change members of the saved `linux` in an open state directory; None removes a member.

    others: the same for members beside `linux`. kept: the result of `load`, which is changed; None reads the file.
    The file is replaced as a whole. Raises OSError, and PyruncError if it is damaged.
    """
    if kept is None:
        kept = load(StateDir(f"/proc/self/fd/{dirfd}", dirfd))
    parts: tuple[tuple[Any, Mapping[str, Any]], ...] = ((kept["linux"], members), (kept, others or {}))
    for part, changed in parts:
        for name, value in changed.items():
            if value is None:
                part.pop(name, None)
            else:
                part[name] = value
    state.replace(FILE, jsonio.dumps(kept), 0o600, dir_fd=dirfd)
