"""The parts of a container that come from outside. CRIU leaves them out of a checkpoint and finds them by a name.

The names are runc's, so each of the two runtimes can restore the other's dumps: the path in the container for a bind
mount, /dev/null for a masked file, extRootNetNS or extRootPidNS for a namespace.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ...errors import PyruncError
from ...paths import clean
from ..compile.devices import DEFAULT_DEVICES
from ..compile.notify import DIRECTORY as NOTIFY
from ..kernel import native

Mounts = list[dict[str, str]]

# The namespaces that CRIU leaves as they are where they are another's: its word, and the name in the image.
if TYPE_CHECKING:
    from ..._generated.spec_types import MountEntry, NamespaceEntry
    from ..saved_config import Saved

NAMESPACES = {"network": ("net", "extRootNetNS"), "pid": ("pid", "extRootPidNS")}
# The namespaces that CRIU joins, by CRIU's names.
JOINED = {"ipc": "ipc", "uts": "uts", "mount": "mnt", "user": "user"}

DESCRIPTORS = "descriptors.json"
NULL = "/dev/null"

_INSIDE = native.RESOLVE_IN_ROOT | native.RESOLVE_NO_MAGICLINKS


def dumped_mounts(kept: Saved, root: int, notifies: bool) -> Mounts:
    """The external mounts of a running container, for a dump: the path of each, and its name.

    kept: the saved configuration. root: a descriptor of its root. notifies: whether it has a socket for notifications.
    """
    found: dict[str, str] = {}
    binds = [mount["destination"] for mount in kept["mounts"] if is_bind(mount)]
    for path in (*binds, *device_paths(kept["devicePaths"]), *((NOTIFY,) if notifies else ())):
        place = resolve(root, path)
        if place:
            found[place] = place
    for path in kept["linux"].get("maskedPaths") or ():
        place = resolve(root, path)
        if place and not _is_directory(root, path):
            found.setdefault(place, NULL)
    return [{"key": place, "val": name} for place, name in found.items()]


def is_bind(mount: MountEntry) -> bool:
    """Whether an entry of `mounts` mounts what exists elsewhere."""
    options = mount.get("options") or ()
    return (mount.get("type") == "bind" or "bind" in options or "rbind" in options) and "remount" not in options


def restored_mounts(
    binds: Iterable[tuple[str, str]], devices: Iterable[str], masked: bool, rootfs: str, notify: str
) -> Mounts:
    """The same for a restore: the name of each, and the source to mount.

    binds: destination and source of each. A name is the destination without links. Before the mounts are made, the
        links may differ, so both names are given. notify: the directory of its notifications.
    """
    found: dict[str, str] = {}
    root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        above = os.readlink(f"/proc/self/fd/{root}").rstrip("/")
        for destination, source in binds:
            found[clean(destination)] = source
            place = resolve(root, destination).removeprefix(above)
            if place:
                found[place] = source
    finally:
        os.close(root)
    for path in device_paths(devices):
        found.setdefault(path, path)
    if masked:
        found[NULL] = NULL
    found.setdefault(NOTIFY, notify)
    return [{"key": name, "val": source} for name, source in found.items()]


def device_paths(own: Iterable[str]) -> list[str]:
    """The device nodes of a container. If nodes can't be made, they are binds of the host's."""
    return list(dict.fromkeys([*(path for path, _, _ in DEFAULT_DEVICES), *own]))


def resolve(root: int, path: str) -> str:
    """A path of the container without links; "" if it does not exist. root: a descriptor of its root.

    If the descriptor is of another mount namespace, the path starts at that namespace's root.
    """
    try:
        fd = native.openat2(root, path.lstrip("/") or ".", os.O_PATH, 0, _INSIDE)
    except OSError:
        return ""
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def streams(pid: int, pipes: Sequence[int], files: Sequence[Sequence[int]]) -> list[str]:
    """The standard streams of a container. Streams from outside have CRIU's names: `pipe:[INODE]`, and
    `file[MOUNT:INODE]` for a file on a mount that the container does not have. Others are paths; "" for a closed one.

    pipes: the inodes of the pipes when the container was created: other pipes are the process's own.
    files: mount and inode of the files then. The process may have moved one to another descriptor meanwhile, as a shell
        does for the time of a redirection.
    """
    names = [f"pipe:[{inode}]" if inode else "" for inode in pipes or (0, 0, 0)]
    mounts = {line.split(" ", 1)[0] for line in _read(f"/proc/{pid}/mountinfo").splitlines()}
    for number, (name, given) in enumerate(zip(names, files or ((), (), ()), strict=False)):
        if name:
            continue
        if given and str(given[0]) not in mounts:
            names[number] = f"file[{given[0]:x}:{given[1]:x}]"
            continue
        try:
            link = os.readlink(f"/proc/{pid}/fd/{number}")
            found = os.stat(f"/proc/{pid}/fd/{number}")
            mount = _field(_read(f"/proc/{pid}/fdinfo/{number}"), "mnt_id:")
        except OSError:
            continue  # closed
        if stat.S_ISREG(found.st_mode) or (stat.S_ISFIFO(found.st_mode) and link.startswith("/")):
            names[number] = link if mount in mounts else f"file[{int(mount):x}:{found.st_ino:x}]"
        elif link.startswith("/"):
            names[number] = link
    return names


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def _field(text: str, name: str) -> str:
    """The value behind a name in a file of lines."""
    return next((line.split()[1] for line in text.splitlines() if line.startswith(name)), "0")


def inherited(names: Sequence[str]) -> list[dict[str, Any]]:
    """For a restore: the runtime's standard streams that replace those of the container."""
    return [
        {"key": name, "fd": number}
        for number, name in enumerate(names[:3])
        if name.startswith("pipe:") or name.startswith("file[")
    ]


def _is_directory(root: int, path: str) -> bool:
    try:
        os.close(native.openat2(root, path.lstrip("/") or ".", os.O_PATH | os.O_DIRECTORY, 0, _INSIDE))
    except OSError:
        return False
    return True


def dumped_namespaces(namespaces: Iterable[NamespaceEntry], pid: int) -> list[str]:
    """CRIU's options for namespaces that the container has joined: they stay out of the dump."""
    words = []
    for entry in namespaces:
        if entry.get("path") and entry["type"] in NAMESPACES:
            kind, name = NAMESPACES[entry["type"]]
            words.append(f"{kind}[{os.stat(f'/proc/{pid}/ns/{kind}').st_ino}]:{name}")
    return words


def joined_namespaces(namespaces: Iterable[NamespaceEntry]) -> list[dict[str, str]]:
    """The namespaces that a restored container joins by their paths. Raises PyruncError for one that CRIU can't
    join."""
    joined = []
    for index, entry in enumerate(namespaces):
        kind = entry["type"]
        if not entry.get("path") or kind in NAMESPACES:
            continue
        if kind not in JOINED:
            raise PyruncError(
                f"Do not know how to handle namespace {kind}",  # runc's words
                pointer=f"/linux/namespaces/{index}",
                hint="CRIU can't restore into one that is there",
            )
        joined.append({"ns": JOINED[kind], "ns_file": entry["path"]})
    return joined
