"""The root file system of a container: the shim makes the mounts that containerd names, in the bundle. Hot.

Options are those of containerd's mounts (core/mount of containerd), which are those of mount(8).
"""

from __future__ import annotations

import errno
import posix
import sys

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
# Options of mount(8), which no file system knows. containerd's mount manager has removed its own options.
_FOREIGN = "X-"
_UIDMAP, _GIDMAP, _LOOP, _DIRECT = "uidmap=", "gidmap=", "loop", "direct-io"
# The types for which containerd runs a helper.
_HELPED = ("fuse.", "fuse3.")
_LOWER = "lowerdir="
# loop(4): struct loop_config, its member info.lo_flags, and LO_FLAGS_*
_LOOP_CTL_GET_FREE, _LOOP_CONFIGURE = 0x4C82, 0x4C0A
_LOOP_CONFIG_SIZE, _LO_FLAGS_AT = 304, 60
_LO_READ_ONLY, _LO_AUTOCLEAR, _LO_DIRECT = 1, 4, 16
_LOOP_TRIES = 100
# The bytes of data that mount(2) reads: a page, with the NUL.
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
    if entry["type"].startswith(_HELPED):
        text = f"the mount type {entry['type']} of the root file system is not supported: it needs a helper, mount.fuse"
        raise PyruncError(text)
    flags, data = _options(entry)
    maps = _take_maps(data)
    target = rootfs
    if entry["target"]:
        target = rootfs + "/" + entry["target"].lstrip("/")
        if ".." in target.split("/"):
            raise PyruncError(f"the target {entry['target']} of a mount is outside the root file system")
    layers = ""
    try:
        if maps is not None and entry["type"] == "overlay":
            layers = _map_layers(rootfs, data, maps)
        _attach(entry, target, flags, data)
        if maps is not None and not layers:
            _map_mount(target, maps)
    except OSError as error:
        message = f"failed to mount rootfs component: mount {entry['type']} {entry['source']} on {target}"
        raise PyruncError(message, errno=error.errno or 0) from error
    finally:
        if layers:  # the overlay has its own mounts of the layers
            unmount(layers)
            posix.rmdir(layers)


def _attach(entry: Message, target: str, flags: int, data: list[str]) -> None:
    """Raises OSError."""
    source, loop = entry["source"], -1
    if _LOOP in data:
        source, loop = _loop(source, bool(flags & _MS_RDONLY), _DIRECT in data)
        data = [option for option in data if option not in (_LOOP, _DIRECT)]
    directory, data = _shorten(entry["type"], data)
    try:
        if directory:
            # mount(2) reads one page of options: layers are named relative to the directory that has them all. The
            # shim's working directory is the first container's bundle, which may have been removed.
            here = posix.open(".", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
            try:
                posix.chdir(directory)
                native.mount(source, target, entry["type"], flags, ",".join(data))
            finally:
                posix.fchdir(here)
                posix.close(here)
        elif flags & _MS_BIND and not flags & _MS_REMOUNT:
            native.mount(source, target, entry["type"], flags & _BIND_KEEPS, "")
            if flags & ~_BIND_KEEPS:
                native.mount("", target, "", flags | _MS_REMOUNT, ",".join(data))
        else:
            native.mount(source, target, entry["type"], flags, ",".join(data))
    finally:
        if loop >= 0:
            posix.close(loop)  # the mount holds the device


def _options(entry: Message) -> tuple[int, list[str]]:
    """The flags, the other options as data of mount(2), and the options that the shim carries out. Raises PyruncError
    for an option that only a helper or a mount manager knows."""
    flags, data = 0, []
    for option in entry["options"]:
        if option in _FLAGS:
            bits, clears = _FLAGS[option]
            flags = flags & ~bits if clears else flags | bits
        elif option.startswith(_FOREIGN):
            text = f"the mount option {option} of the root file system is not supported: it is for mount(8), or for "
            raise PyruncError(text + "containerd's mount manager, which has not taken it out")
        else:
            data.append(option)
    return flags, data


def _take_maps(data: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Take the mappings of ids out of options: as lines of uid_map and of gid_map; None if there are not both, as with
    containerd. Raises PyruncError."""
    found = {}
    for prefix in (_UIDMAP, _GIDMAP):
        for option in [option for option in data if option.startswith(prefix)]:
            data.remove(option)
            entries = [entry.split(":") for entry in option.removeprefix(prefix).split(",")]
            if not all([len(entry) == 3 and all([number.isdigit() for number in entry]) for entry in entries]):
                raise PyruncError(
                    f"the mount option {option} of the root file system: mappings are CONTAINER:HOST:SIZE"
                )
            found[prefix] = tuple([" ".join(entry) for entry in entries])
    return (found[_UIDMAP], found[_GIDMAP]) if len(found) == 2 else None


def _map_layers(rootfs: str, data: list[str], maps: tuple[tuple[str, ...], tuple[str, ...]]) -> str:
    """Map the ids of an overlay's lower layers: the layers are taken from an id-mapped mount of the directory that has
    all of them. Returns the place of that mount. Raises PyruncError and OSError."""
    at = next((index for index, option in enumerate(data) if option.startswith(_LOWER)), -1)
    if at < 0:
        raise PyruncError("an overlay whose ids are mapped has no lowerdir")
    layers = data[at].removeprefix(_LOWER).split(":")
    shared = _shared(layers)
    place = rootfs.rstrip("/") + ".layers"
    posix.mkdir(place, 0o700)
    try:
        _map_mount(place, maps, source="/".join(shared) or "/")
    except BaseException:
        posix.rmdir(place)
        raise
    data[at] = _LOWER + ":".join(["/".join((place, *layer.split("/")[len(shared) :])) for layer in layers])
    return place


def _map_mount(target: str, maps: tuple[tuple[str, ...], tuple[str, ...]], source: str = "") -> None:
    """Mount the directory `source`, or `target` itself without one, on `target` with its ids mapped. Raises PyruncError
    and OSError. mount_setattr(2), MOUNT_ATTR_IDMAP."""
    from ..libcontainer.kernel import userns

    namespace = userns.make(*maps)
    try:
        tree = native.open_tree(native.AT_FDCWD, source or target, native.OPEN_TREE_CLONE)
        try:
            native.idmap_mount(tree, namespace, False)
            native.move_mount(tree, native.AT_FDCWD, target)
        finally:
            posix.close(tree)
    finally:
        posix.close(namespace)


def _loop(path: str, read_only: bool, direct: bool) -> tuple[str, int]:
    """Attach a file to a free loop device, which is freed after the last use. Returns its path, and a descriptor that
    keeps it in use. Raises OSError. loop(4)."""
    import fcntl

    control = posix.open("/dev/loop-control", posix.O_RDWR | posix.O_CLOEXEC)
    try:
        backing = posix.open(path, (posix.O_RDONLY if read_only else posix.O_RDWR) | posix.O_CLOEXEC)
        try:
            flags = _LO_AUTOCLEAR | (_LO_READ_ONLY if read_only else 0) | (_LO_DIRECT if direct else 0)
            config = bytearray(_LOOP_CONFIG_SIZE)
            config[0:4] = backing.to_bytes(4, sys.byteorder)
            config[_LO_FLAGS_AT : _LO_FLAGS_AT + 4] = flags.to_bytes(4, sys.byteorder)
            for _ in range(_LOOP_TRIES):
                device = f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}"
                fd = posix.open(device, posix.O_RDWR | posix.O_CLOEXEC)
                try:
                    fcntl.ioctl(fd, _LOOP_CONFIGURE, bytes(config))
                    return device, fd
                except OSError as error:
                    posix.close(fd)
                    if error.errno != errno.EBUSY:  # another process was faster
                        raise
            raise OSError(errno.EBUSY, posix.strerror(errno.EBUSY))
        finally:
            posix.close(backing)
    finally:
        posix.close(control)


def _shared(layers: list[str]) -> list[str]:
    """The parts of the path of the directory that has all layers."""
    parts = [layer.split("/") for layer in layers]
    shared = 0
    while all([len(part) > shared + 1 and part[shared] == parts[0][shared] for part in parts]):
        shared += 1
    return parts[0][:shared]


def _shorten(kind: str, data: list[str]) -> tuple[str, list[str]]:
    """The directory to mount from, and the options relative to it, if those of an overlay are too long; else "" and the
    options."""
    if kind != "overlay" or len(",".join(data)) <= _LARGEST_DATA:
        return "", data
    for index, option in enumerate(data):
        if not option.startswith(_LOWER):
            continue
        layers = option.removeprefix(_LOWER).split(":")
        shared = _shared(layers)
        directory = "/".join(shared)
        if not directory:
            break
        short = ["/".join(layer.split("/")[len(shared) :]) for layer in layers]
        return directory, [*data[:index], _LOWER + ":".join(short), *data[index + 1 :]]
    return "", data


def unmount(rootfs: str) -> None:
    """Unmount all mounts on a directory and below it. Failures are logged."""
    while True:
        try:
            native.detach_tree(rootfs)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOENT):  # no mount, no directory
                log.warning(f"failed to cleanup rootfs mount: unmount {rootfs}: {errno_text(error.errno or 0)}")
            return
