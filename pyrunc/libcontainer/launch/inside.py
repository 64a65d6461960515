"""The container's files as the host sees them: what a path of the container leads to, without entering the container.

The walk is for messages and for `validate`: no file is opened by the path that it finds. Each component is looked up by
itself, so that a symbolic link can't lead out of the rootfs. The content of a mount is known for bind mounts only.
"""

from __future__ import annotations

import errno
import posix

from ..spec.mount_options import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..._generated.spec_types import MountEntry
    from ..plan.model import LaunchPlan, Step

    # The names in a directory that are mount points, or lead to some.
    Names = dict[str, "Names"]

FOUND = ""
MISSING = "missing"
LOOP = "loop"
NOT_DIRECTORY = "not a directory"
UNKNOWN = "unknown"

_LINKS = 40  # path_resolution(7)
_S_IFMT, _S_IFLNK, _S_IFDIR = 0o170000, 0o120000, 0o040000


class Found:
    """What a path leads to.

    state: one of the words above. host: the host's path, if FOUND. path: the container's path without links, as far as
    it was walked. mode: st_mode, if FOUND. link, target: the first symbolic link of the path and its target; "" for
    none.
    """

    __slots__ = ("host", "link", "mode", "path", "state", "target")

    def __init__(self) -> None:
        self.state = FOUND
        self.host = ""
        self.path = ""
        self.mode = 0
        self.link = ""
        self.target = ""

    @property
    def is_directory(self) -> bool:
        """Whether it is an existing directory."""
        return self.state == FOUND and self.mode & _S_IFMT == _S_IFDIR


class Inside:
    """A rootfs with what is mounted on it. mounts: the sources of bind mounts by their place in the container; None for
    a file system whose content is not known beforehand."""

    __slots__ = ("_names", "mounts", "rootfs")

    def __init__(self, rootfs: str) -> None:
        self.rootfs = rootfs.rstrip("/") or "/."
        self.mounts: dict[str, str | None] = {}
        self._names: Names = {}  # of the container's root

    def mount(self, destination: str, source: str | None) -> Found:
        """Mount on a destination. Returns what the destination was before. Earlier mounts below it are hidden then."""
        found = self.find(destination)
        place = found.path
        if found.state in (FOUND, MISSING) and place:
            self._hide(place)
            self.mounts[place] = source
        return found

    def _hide(self, place: str) -> None:
        """Forget the mounts at and below a place, and note its name. It looks at none of the others, since a
        configuration may have very many."""
        names = self._names
        for part in place.split("/")[1:]:
            names = names.setdefault(part, {})
        hidden = [(place, names)]
        while hidden:
            path, below = hidden.pop()
            self.mounts.pop(path, None)
            hidden += [(f"{path}/{name}", more) for name, more in below.items()]
            below.clear()

    def _leads_to_mounts(self, place: str) -> bool:
        """Whether something is mounted below a place."""
        names: Names | None = self._names
        for part in place.split("/")[1:]:
            names = names.get(part) if names else None
        return bool(names)

    def find(self, path: str, cwd: str = "/") -> Found:
        """What a path leads to. A relative path starts at `cwd`."""
        found = Found()
        rest = [part for part in (path if path.startswith("/") else f"{cwd}/{path}").split("/") if part][::-1]
        # the container's path and the host's of each directory so far; no host path: it will be made
        walked: list[tuple[str, str]] = [("", self.mounts.get("") or self.rootfs)]
        links = 0
        found.mode = _S_IFDIR
        found.host = walked[0][1]
        while rest:
            part = rest.pop()
            if part == ".":
                continue
            if part == "..":
                if len(walked) > 1:
                    walked.pop()
                found.path, found.host = walked[-1]
                found.mode = _S_IFDIR
                continue
            if found.mode & _S_IFMT != _S_IFDIR:
                found.state = NOT_DIRECTORY
                return found
            above = walked[-1]
            place = f"{above[0]}/{part}"
            found.path = place
            if not self._enter(found, place, above[1], part):
                if found.state == MISSING:
                    found.path = "/".join([place, *[part for part in reversed(rest) if part != "."]])
                return found
            if found.mode & _S_IFMT == _S_IFLNK:
                links += 1
                target = posix.readlink(found.host)
                if not found.link:
                    found.link, found.target = place, target
                if links > _LINKS:
                    found.state = LOOP
                    return found
                rest += [part for part in target.split("/") if part][::-1]
                if target.startswith("/"):
                    walked = walked[:1]
                found.path, found.host = walked[-1]
                found.mode = _S_IFDIR
                continue
            walked.append((place, found.host))
        return found

    def _enter(self, found: Found, place: str, host: str, part: str) -> bool:
        """Fill in what a component is. False if the walk ends there."""
        if place in self.mounts:
            source = self.mounts[place]
            if source is None:
                found.state = UNKNOWN
                return False
            found.host = source
            try:
                found.mode = posix.stat(source).st_mode
            except OSError:
                found.state = UNKNOWN
                return False
            return True
        found.host = f"{host}/{part}" if host else ""
        try:
            if not host:
                raise FileNotFoundError(errno.ENOENT, "to be made", place)
            found.mode = posix.lstat(found.host).st_mode
        except (FileNotFoundError, NotADirectoryError):
            if self._leads_to_mounts(place):
                found.host, found.mode = "", _S_IFDIR  # a mount point will be made below it
                return True
            found.state = MISSING
            return False
        except OSError:
            found.state = UNKNOWN
            return False
        return True


def of_plan(plan: LaunchPlan, until: Step | None = None) -> Inside | None:
    """The container as the plan's steps before a given one make it; None if it has no rootfs of its own."""
    inside = None
    for step in plan.init:
        if step is until:
            break
        if step.kind in ("rootfs", "chroot"):
            inside = Inside(str(step.arg("path")))
        elif inside is not None and step.fallback_level == 0:
            if step.kind == "bind":
                inside.mount(str(step.arg("target")), str(step.arg("source")))
            elif step.kind in ("mount", "bind_cgroup"):
                inside.mount(str(step.arg("target")), None)
    return inside


def of_config(bundle: str, root: str, mounts: Iterable[MountEntry]) -> Inside:
    """The container of a configuration: the bundle, root.path, and its mounts."""

    def absolute(path: str) -> str:
        return path if path.startswith("/") else bundle.rstrip("/") + "/" + path

    inside = Inside(absolute(root))
    for mount in mounts:
        options = parse(mount.get("options") or ())
        if options.remount:
            continue
        is_bind = bool(options.bind) or mount.get("type") == "bind"
        inside.mount("/" + mount["destination"], absolute(mount.get("source") or "") if is_bind else None)
    return inside
