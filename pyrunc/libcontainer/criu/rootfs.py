"""The root file system for a restore, in CRIU's own mount namespace, so nothing stays on the host.

CRIU needs a root that is a mount point, and the mount points of all mounts in it. Both are made in the child that
becomes CRIU. The mounts end with the namespace, also after a kill.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from typing import NamedTuple

from ...errors import PyruncError
from ...paths import clean
from ..kernel import native

_INSIDE = native.RESOLVE_IN_ROOT | native.RESOLVE_NO_MAGICLINKS
_TREE = native.OPEN_TREE_CLONE | native.AT_RECURSIVE
# The modes of mount points on the host; those of a launch have them too.
_DIRECTORY_MODE, _FILE_MODE = 0o755, 0o644
# More links than a path may have (path_resolution(7)).
_ATTEMPTS = 40


class MountPoint(NamedTuple):
    """A mount of the configuration. source: of a bind mount; "" for a file system, whose content CRIU restores."""

    destination: str
    source: str
    pointer: str


def prepare(rootfs: str, place: str, mounts: Sequence[MountPoint]) -> None:
    """Enter a mount namespace, make missing mount points in the root file system, and bind it on `place`.

    mounts: in the configuration's order. Raises PyruncError and OSError.
    """
    native.private_mounts()
    _bind(rootfs, place)
    root = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for number, mount in enumerate(mounts):
            if not _below_file_system(mount.destination, mounts[:number]):
                _make(root, mount)
    finally:
        os.close(root)
    # With all mounts in it: CRIU mounts them again.
    native.detach_tree(place)
    _bind(rootfs, place)


def _bind(source: str, place: str) -> None:
    try:
        tree = native.open_tree(native.AT_FDCWD, source, _TREE)
        try:
            native.move_mount(tree, native.AT_FDCWD, place)
        finally:
            os.close(tree)
    except OSError as error:
        raise PyruncError(f"binding {source} on {place}", errno=error.errno or 0, pointer="/root/path") from error


def _below_file_system(destination: str, before: Sequence[MountPoint]) -> bool:
    """Whether a mount is on one that is no bind mount: CRIU restores the content of that one."""
    path = clean(destination)
    above = [mount for mount in before if path.startswith(clean(mount.destination).rstrip("/") + "/")]
    nearest = max(above, key=lambda mount: len(clean(mount.destination)), default=None)
    return nearest is not None and not nearest.source


def _make(root: int, mount: MountPoint) -> None:
    """Make a missing mount point, and mount a bind's source on it, which may have further mount points."""
    try:
        is_file = bool(mount.source) and not stat.S_ISDIR(os.stat(mount.source).st_mode)
        target = make_inside(root, mount.destination, is_file)
        try:
            if mount.source:
                tree = native.open_tree(native.AT_FDCWD, mount.source, _TREE)
                try:
                    native.move_mount(tree, target, "")
                finally:
                    os.close(tree)
        finally:
            os.close(target)
    except OSError as error:
        what = f"create criu restore mountpoint for {mount.destination} mount"  # wording of runc
        raise PyruncError(what, errno=error.errno or 0, pointer=mount.pointer) from error


def make_inside(root: int, path: str, is_file: bool) -> int:
    """A descriptor of a path in the root file system. A missing file and its parents are made.

    Links stay in the root, and are not followed to make a file. Raises OSError.
    """
    parts = [part for part in clean(path).split("/") if part]
    for _ in range(_ATTEMPTS):
        try:
            return native.openat2(root, "/".join(parts) or ".", os.O_PATH, 0, _INSIDE)
        except FileNotFoundError:
            _make_first_missing(root, parts, is_file)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


def _make_first_missing(root: int, parts: Sequence[str], is_file: bool) -> None:
    for count in range(1, len(parts) + 1):
        try:
            os.close(native.openat2(root, "/".join(parts[:count]), os.O_PATH, 0, _INSIDE))
        except FileNotFoundError:
            above = native.openat2(root, "/".join(parts[: count - 1]) or ".", os.O_PATH | os.O_DIRECTORY, 0, _INSIDE)
            try:
                if is_file and count == len(parts):
                    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                    os.close(os.open(parts[count - 1], flags, _FILE_MODE, dir_fd=above))
                else:
                    os.mkdir(parts[count - 1], _DIRECTORY_MODE, dir_fd=above)
            finally:
                os.close(above)
            if count < len(parts):
                continue
            return
