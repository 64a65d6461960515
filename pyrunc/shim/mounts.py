"""The root file system of a container: containerd names its mounts, and the shim makes them in the bundle. Hot.

Options are those of containerd's mounts (core/mount of containerd), which are those of mount(8).
"""

from __future__ import annotations

import errno
import posix

from .. import log
from ..errors import PyruncError, errno_text
from ..libcontainer.kernel import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..protobuf import Message

# mount(2)
_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_REC = 0x1, 0x20, 0x1000, 0x4000
# option: the flag, and whether the option clears it
_FLAGS = {
    "async": (0x10, True), "atime": (0x400, True), "bind": (_MS_BIND, False), "defaults": (0, False),
    "dev": (0x4, True), "diratime": (0x800, True), "dirsync": (0x80, False), "exec": (0x8, True),
    "mand": (0x40, False), "noatime": (0x400, False), "nodev": (0x4, False), "nodiratime": (0x800, False),
    "noexec": (0x8, False), "nomand": (0x40, True), "norelatime": (0x200000, True),
    "nostrictatime": (0x1000000, True), "nosuid": (0x2, False), "rbind": (_MS_BIND | _MS_REC, False),
    "relatime": (0x200000, False), "remount": (_MS_REMOUNT, False), "ro": (_MS_RDONLY, False),
    "rw": (_MS_RDONLY, True), "strictatime": (0x1000000, False), "suid": (0x2, True), "sync": (0x10, False),
}  # fmt: skip
# The flags of a bind mount that only a second call sets.
_BIND_KEEPS = _MS_BIND | _MS_REC
# Options that ask for more than mount(2).
_UNKNOWN = ("loop", "uidmap=", "gidmap=", "X-")
# What mount(2) reads of the data: a page, with its NUL.
_LARGEST_DATA = 4095


def mount_all(mounts: list[Message], rootfs: str) -> None:
    """Make the mounts in their order; the target of each is below `rootfs`. Raises PyruncError after it has unmounted
    those that were made."""
    try:
        for entry in mounts:
            _mount(entry, rootfs)
    except PyruncError:
        unmount(rootfs)
        raise


def _mount(entry: Message, rootfs: str) -> None:
    flags, data = _options(entry)
    target = rootfs
    if entry["target"]:
        target = rootfs + "/" + entry["target"].lstrip("/")
        if ".." in target.split("/"):
            raise PyruncError(f"the target {entry['target']} of a mount is outside the root file system")
    directory, data = _shorten(entry["type"], data)
    try:
        if directory:
            # mount(2) reads one page of options: layers are named relative to the directory that has them all.
            # Our own directory is the first container's bundle, which may have no name any more.
            here = posix.open(".", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
            try:
                posix.chdir(directory)
                native.mount(entry["source"], target, entry["type"], flags, ",".join(data))
            finally:
                posix.fchdir(here)
                posix.close(here)
        elif flags & _MS_BIND and not flags & _MS_REMOUNT:
            native.mount(entry["source"], target, entry["type"], flags & _BIND_KEEPS, "")
            if flags & ~_BIND_KEEPS:
                native.mount("", target, "", flags | _MS_REMOUNT, ",".join(data))
        else:
            native.mount(entry["source"], target, entry["type"], flags, ",".join(data))
    except OSError as error:
        message = f"failed to mount rootfs component: mount {entry['type']} {entry['source']} on {target}"
        raise PyruncError(message, errno=error.errno or 0) from error


def _options(entry: Message) -> tuple[int, list[str]]:
    """The flags and the data of mount(2). Raises PyruncError for an option that asks for more."""
    flags, data = 0, []
    for option in entry["options"]:
        if option in _FLAGS:
            bits, clears = _FLAGS[option]
            flags = flags & ~bits if clears else flags | bits
        elif option.startswith(_UNKNOWN):
            raise PyruncError(f"the mount option {option} of the root file system is not supported")
        else:
            data.append(option)
    return flags, data


def _shorten(kind: str, data: list[str]) -> tuple[str, list[str]]:
    """The directory to mount from, and the options relative to it, if those of an overlay are too long; else "" and the
    options."""
    if kind != "overlay" or len(",".join(data)) <= _LARGEST_DATA:
        return "", data
    for index, option in enumerate(data):
        if not option.startswith("lowerdir="):
            continue
        layers = option.removeprefix("lowerdir=").split(":")
        parts = [layer.split("/") for layer in layers]
        shared = 0
        while all([len(part) > shared + 1 and part[shared] == parts[0][shared] for part in parts]):
            shared += 1
        directory = "/".join(parts[0][:shared])
        if not directory:
            break
        short = ["/".join(part[shared:]) for part in parts]
        return directory, [*data[:index], "lowerdir=" + ":".join(short), *data[index + 1 :]]
    return "", data


def unmount(rootfs: str) -> None:
    """Unmount all that is mounted on a directory, and what is mounted below. Failures are logged."""
    while True:
        try:
            native.detach_tree(rootfs)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOENT):  # no mount, no directory
                log.warning(f"failed to cleanup rootfs mount: unmount {rootfs}: {errno_text(error.errno or 0)}")
            return
