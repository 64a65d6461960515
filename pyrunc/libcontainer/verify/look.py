"""Inspect a container from outside: its mount table, paths, sysctls, and settings of its namespaces.

A child of this process enters the namespaces, reads, and answers through a pipe as JSON. It executes nothing, it is not
in the container's pid namespace, and it imports nothing inside, where a module would be the container's. The root file
system is hostile: paths are resolved by openat2 in the root, and descriptors are O_PATH, so no FIFO and no device is
opened. There is a timeout, because a file system of the container (FUSE) may never answer.
"""

from __future__ import annotations

import json
import os
import select
import signal
import stat
import sys
import time
from typing import Any, NoReturn

from _prctl import prctl

from ...errors import PyruncError
from ...paths import clean
from ..kernel import native
from ..kernel.constants import CLONE_FLAGS, NS_FILES
from ..kernel.mounttable import Entry, parse
from .processfiles import id_map

_TIMEOUT = 20.0
_READ_BYTES = 1 << 16
# More than the size of a container's mount table, or of 10000 names in /dev.
_LARGEST = 1 << 26
_PR_SET_DUMPABLE = 4
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_IN_ROOT = 0x10
_FLAGS_BY_FILE = {NS_FILES[type]: flag for type, flag in CLONE_FLAGS.items()}
_MOST_NAMES = 10_000
_MOST_ATTEMPTS = 128
_ALL_IDS = 1 << 32


class Place:
    """The result of looking up a path of the container.

    error: the errno of its resolution, or 0. mount: the id of its mount. path: the path after following links.
    is_root: whether it is the root of that mount. mode, rdev (major, minor), uid, gid, dev, ino: as in stat(2), with
        ids of this process's user namespace. link: the target of a symlink.
    """

    def __init__(self, values: dict[str, Any]) -> None:
        self.error: int = values.get("error", 0)
        self.mount: int = values.get("mount", 0)
        self.path: str = values.get("path", "")
        self.mode: int = values.get("mode", 0)
        self.rdev: tuple[int, int] = tuple(values.get("rdev", (0, 0)))
        self.uid: int = values.get("uid", 0)
        self.gid: int = values.get("gid", 0)
        self.dev: int = values.get("dev", 0)
        self.ino: int = values.get("ino", 0)
        self.link: str = values.get("link", "")

    @property
    def type(self) -> str:
        """The type of the file as text."""
        names = {
            stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFCHR: "char device",
            stat.S_IFBLK: "block device", stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket",
        }  # fmt: skip
        return names.get(stat.S_IFMT(self.mode), "nothing")


class Look:
    """The result of a look.

    mounts: the mount table. places: the requested paths, by (path, whether a link at its end is followed).
    sources: the same for paths of the host. files: the content of files in the container's /proc, None if unreadable.
    devices: nodes in /dev, by path, as (type and permissions, major, minor). maps: the uid and gid maps from the
    container's ids to those in this result, as (id inside, id here, size).
    """

    def __init__(self, answer: dict[str, Any], maps: dict[str, list[tuple[int, int, int]]]) -> None:
        self.maps = maps
        self.mounts: list[Entry] = parse(answer["mountinfo"])
        self.places = {(path, bool(follow)): Place(values) for path, follow, values in answer["places"]}
        self.sources = {(path, bool(follow)): Place(values) for path, follow, values in answer["sources"]}
        self.files: dict[str, str | None] = answer["files"]
        self.devices: dict[str, list[int]] = answer["devices"]
        self._by_id = {entry.id: entry for entry in self.mounts}

    def place(self, path: str, follow: bool = True) -> Place:
        """A requested path of the container."""
        return self.places[path, follow]

    def mount_of(self, place: Place) -> Entry | None:
        """The mount of a place; None if the table does not have it."""
        return self._by_id.get(place.mount)

    def mount_at(self, place: Place) -> Entry | None:
        """The mount whose root a place is; None if it is below the root of one."""
        entry = self.mount_of(place)
        # The source of a bind mount may have been removed.
        return entry if entry is not None and place.path in (entry.point, entry.point + " (deleted)") else None

    def point(self, place: Place) -> str:
        """The mount point of the mount whose root a place is, or else the path of the place."""
        entry = self.mount_at(place)
        return entry.point if entry is not None else place.path


class Question:
    """The request for a look.

    pidfd, pid: the container's process. enter: namespaces to enter, by their names in /proc/PID/ns. root: the
    container's root in these namespaces. paths, sources, files: see Look. dev: whether to list the nodes of /dev.
    """

    def __init__(self, pidfd: int, pid: int, enter: list[str], root: str) -> None:
        self.pidfd = pidfd
        self.pid = pid
        self.enter = enter
        self.root = root
        self.paths: set[tuple[str, bool]] = set()
        self.sources: set[tuple[str, bool]] = set()
        self.files: set[str] = set()
        self.dev = False


def look(question: Question, timeout: float = _TIMEOUT) -> Look:
    """Look at a container. Raises PyruncError if it can't be entered, or does not answer in time (seconds); OSError if
    its process ends meanwhile."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _answer(question, writer)
    os.close(writer)
    try:
        data = _read(reader, time.monotonic() + timeout)
    finally:
        os.close(reader)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    if data is None:
        raise PyruncError(
            "looking into the container takes too long",
            hint="is a file system of the container's own (FUSE, NFS) hanging?",
        )
    answer: dict[str, Any] = json.loads(data) if data else {"failed": "the look at it has ended", "errno": 0}
    if "failed" in answer:
        raise PyruncError(f"looking into the container: {answer['failed']}", errno=answer["errno"])
    if "user" in question.enter:
        maps = {kind: [(0, 0, _ALL_IDS)] for kind in ("uid", "gid")}  # the look was in the container's user namespace
    else:
        maps = {kind: id_map(question.pid, kind) for kind in ("uid", "gid")}
    return Look(answer, maps)


def _read(fd: int, deadline: float) -> bytes | None:
    """Read the pipe to its end; None after the timeout, or if it is too much."""
    data = bytearray()
    while len(data) <= _LARGEST:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([fd], [], [], left)[0]:
            return None
        chunk = os.read(fd, _READ_BYTES)
        if not chunk:
            return bytes(data)
        data += chunk
    return None


def _answer(question: Question, writer: int) -> NoReturn:
    """The child's part. It always ends by _exit, and reports errors."""
    try:
        text = json.dumps(_seen(question))
    except OSError as error:
        text = json.dumps({"failed": "reading", "errno": error.errno or 0})
    except BaseException as error:  # the parent's code must not run in the child
        text = json.dumps({"failed": type(error).__name__, "errno": 0})
    data = text.encode()
    try:
        while data:
            data = data[os.write(writer, data) :]
    finally:
        os._exit(0)


def _seen(question: Question) -> dict[str, Any]:
    sources = [(path, follow, _source(path, follow)) for path, follow in sorted(question.sources)]
    proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    _set_nondumpable()
    # From here on nothing may be imported: in the container's root it would be the container's code.
    sys.path.clear()
    sys.meta_path.clear()
    if question.enter:
        try:
            native.setns(question.pidfd, sum(_FLAGS_BY_FILE[name] for name in question.enter))
        except OSError as error:
            return {"failed": "entering its namespaces", "errno": error.errno or 0}
    root = os.open(question.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    return {
        "mountinfo": _text(proc, "self/mountinfo"),
        "sources": sources,
        "places": [(path, follow, _place(proc, root, path, follow)) for path, follow in sorted(question.paths)],
        "files": {path: _text_or_none(proc, path) for path in sorted(question.files)},
        "devices": _devices(root) if question.dev else {},
    }


def _set_nondumpable() -> None:
    """Processes of the container that share a user namespace with the child must not trace it (CVE-2016-9962)."""
    prctl(_PR_SET_DUMPABLE, 0)


def _source(path: str, follow: bool) -> dict[str, Any]:
    try:
        return _stat(os.stat(path, follow_symlinks=follow))
    except OSError as error:
        return {"error": error.errno}


def _place(proc: int, root: int, path: str, follow: bool) -> dict[str, Any]:
    try:
        fd = _open(root, path, follow)
    except OSError as error:
        return {"error": error.errno}
    try:
        values = _stat(os.fstat(fd))
        if stat.S_ISLNK(values["mode"]):
            values["link"] = os.readlink("", dir_fd=fd)
        values["path"] = os.readlink(f"self/fd/{fd}", dir_fd=proc)
        for line in _text(proc, f"self/fdinfo/{fd}").splitlines():
            if line.startswith("mnt_id:"):
                values["mount"] = int(line.split()[1])
        return values
    except OSError as error:
        return {"error": error.errno}
    finally:
        os.close(fd)


def _open(root: int, path: str, follow: bool, flags: int = os.O_PATH) -> int:
    flags |= os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    for attempt in range(_MOST_ATTEMPTS):
        try:
            return native.openat2(root, clean(path), flags, 0, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
        except BlockingIOError:
            # A rename or a mount happened while a `..` was resolved (openat2(2), EAGAIN).
            if attempt == _MOST_ATTEMPTS - 1:
                raise
    raise AssertionError


def _stat(found: os.stat_result) -> dict[str, Any]:
    return {
        "mode": found.st_mode,
        "rdev": (os.major(found.st_rdev), os.minor(found.st_rdev)),
        "uid": found.st_uid,
        "gid": found.st_gid,
        "dev": found.st_dev,
        "ino": found.st_ino,
    }


def _text(proc: int, path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
    try:
        data = bytearray()
        while chunk := os.read(fd, _READ_BYTES):
            data += chunk
        return data.decode("utf-8", "surrogateescape")
    finally:
        os.close(fd)


def _text_or_none(proc: int, path: str) -> str | None:
    try:
        return _text(proc, path)
    except OSError:
        return None


def _devices(root: int) -> dict[str, tuple[int, int, int]]:
    """The nodes in /dev and its directories, on the same file system."""
    found: dict[str, tuple[int, int, int]] = {}
    left = _MOST_NAMES
    waiting = ["/dev"]
    device = -1
    while waiting and left > 0:
        path = waiting.pop()
        try:
            directory = _open(root, path, False, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            continue
        try:
            device = os.fstat(directory).st_dev if device < 0 else device
            for name in os.listdir(directory):
                left -= 1
                here = os.stat(name, dir_fd=directory, follow_symlinks=False)
                if left <= 0 or here.st_dev != device:
                    continue
                if stat.S_ISDIR(here.st_mode):
                    waiting.append(f"{path}/{name}")
                elif stat.S_ISCHR(here.st_mode) or stat.S_ISBLK(here.st_mode):
                    found[f"{path}/{name}"] = (here.st_mode, os.major(here.st_rdev), os.minor(here.st_rdev))
        except FileNotFoundError:
            continue  # it has vanished meanwhile
        finally:
            os.close(directory)
    return found
