"""Change the mounts and devices of a running container: compare the request with the record, find the mounts and nodes
in the container, change them by a session, and undo or finish that by the journal.

Changes that can be undone come first: make files, attach mounts, make nodes. Then the journal records that the update
has to be finished, and nodes are removed and mounts unmounted. If one of these fails, the others are attached again
from copies that the command holds. If the command is killed there, the next command that finds the journal finishes
the update. It also unmounts mounts in use, because the copies ended with the killed command.
"""

from __future__ import annotations

import errno
import posix

from ...errors import PyruncError
from ...paths import clean
from .. import process
from ..compile.update import Changes
from ..kernel import native
from ..spec.mount_options import parse
from . import session, words
from .session import Container, Witness

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal, TypedDict

    from ..._generated.spec_types import DeviceEntry, Linux, MountEntry, UpdatedMount
    from ..._generated.spec_types import Updated as ShownUpdates
    from ..saved_config import MadeMount, Saved, Updated
    from .journal import Journal
    from .words import Asked

    class Members(TypedDict):
        """The members of the saved configuration that an update of mounts changes."""

        mounts: list[MountEntry]
        devicePaths: list[str]
        updated: Updated


_S_IFMT, _S_IFDIR, _S_IFREG, _S_IFCHR, _S_IFBLK = 0o170000, 0o040000, 0o100000, 0o020000, 0o060000
_NODE = {_S_IFCHR: "c", _S_IFBLK: "b"}
# The members of `updated` that are lists of paths.
_SHOWN_PATHS: tuple[Literal["unmounted", "devices", "removedDevices"], ...] = ("unmounted", "devices", "removedDevices")
# Errnos of a file that stays because it is not as the update has made it: in use by now, or gone.
_STAYS = (errno.ENOTEMPTY, errno.EBUSY, errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.ELOOP)


class Update:
    """One change of a container's mounts and devices.

    after: the new values of the changed members of the saved configuration. linux: those of its `linux`.
    devices: linux.devices afterwards. removed: the entries of the devices to remove. copies: copies of mounts for a
    failed update, in the order of found.unmounts.
    """

    __slots__ = ("after", "asked", "container", "copies", "devices", "found", "linux", "place", "removed")

    def __init__(self, container: Container, asked: Asked, found: Journal, place: int) -> None:
        """Plan the change. found: the journal, which is filled in. place: the state directory.

        Raises PyruncError for an impossible change. Changes nothing.
        """
        self.container = container
        self.asked = asked
        self.found = found
        self.place = place
        self.copies: list[int] = []
        _require(container)
        kept = container.kept
        self.removed: list[DeviceEntry] = []
        self.linux: Linux = {}
        self.devices = list(kept["linux"].get("devices") or ())
        self.after = _members(kept)
        found.kept = {name: value if name in kept else None for name, value in _members(kept).items()}
        found.state = container.record.updated
        found.linux["devices"] = kept["linux"].get("devices")
        # Compile before there is a journal: the explanation of an error may need the ordinary build.
        session.compiled(container, self._changes())
        if asked.umounts or asked.removals:
            self._look()

    # ---- what is recorded ----------------------------------------------------------------------------------------

    def _recorded(self, path: str) -> MadeMount:
        """The mount on a path by the configuration or an earlier update, as in `updated`; without an id if it is the
        configuration's. Raises PyruncError."""
        for made in reversed(self.after["updated"].get("mounts", ())):
            if path in (made["destination"], made["named"]):
                return {**made}
        for entry in reversed(self.after["mounts"]):
            if clean("/" + entry["destination"]) == path:
                if not _can_be_unmounted(entry):
                    raise PyruncError(
                        f"{path} is a mount of type {entry.get('type')}, which containers need",
                        origin=words.UMOUNT,
                        hint="what is unmounted is of type bind or tmpfs",
                    )
                return {"destination": entry["destination"], "named": path}
        raise PyruncError(
            f"nothing is mounted on {path} by the configuration or by update",
            origin=words.UMOUNT,
            hint=f"state {self.container.record.id} shows what update has mounted",
        )

    def _device(self, path: str) -> DeviceEntry:
        """The entry of linux.devices for a path. Raises PyruncError."""
        for entry in self.container.kept["linux"].get("devices") or ():
            if clean(entry["path"]) == path and entry["type"] in ("b", "c", "u"):
                return {**entry, "type": "b" if entry["type"] == "b" else "c"}
        raise PyruncError(f"the container has no device {path}", origin=words.DEVICE_RM)

    # ---- what is there -------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Find the mounts and nodes to remove in the container. Raises PyruncError."""

        def look(root: int, pid: int) -> None:
            for path in self.asked.umounts:
                self._look_for_mount(root, self._recorded(path), path)
            for path in self.asked.removals:
                self._look_for_device(root, self._device(path))

        session.run(self.container, Changes(), Witness(), look=look)
        # Mounts below others are unmounted first, independent of the order in which they are named.
        self.found.unmounts.sort(key=lambda mount: -mount[2].count("/"))

    def _look_for_mount(self, root: int, recorded: MadeMount, path: str) -> None:
        at = recorded["destination"] if "id" in recorded else path
        try:
            fd = session.open_inside(root, at, follow=True)
        except OSError as error:
            raise PyruncError(f"{path} in the container", errno=error.errno or 0, origin=words.UMOUNT) from error
        try:
            id, unique, is_root = native.mount_id(fd)
            resolved = session.path_of(fd)
        finally:
            posix.close(fd)
        if not is_root:
            raise PyruncError(f"{path} is not a mount point", origin=words.UMOUNT)
        if "id" in recorded and (recorded["id"], recorded["unique"]) != (id, unique):
            raise PyruncError(f"what is mounted on {path} is not what update has mounted there", origin=words.UMOUNT)
        self.found.unmounts.append((id, unique, resolved))
        _forget_mount(self.after, recorded)

    def _look_for_device(self, root: int, device: DeviceEntry) -> None:
        path = clean(device["path"])
        self.removed.append(device)
        self._forget_device(device["path"])
        try:
            fd = session.open_inside(root, path.rpartition("/")[0] or "/", follow=True)
        except FileNotFoundError:
            return
        except OSError as error:
            raise PyruncError(f"{path} in the container", errno=error.errno or 0, origin=words.DEVICE_RM) from error
        try:
            resolved = session.path_of(fd).rstrip("/") + path[path.rindex("/") :]
        finally:
            posix.close(fd)
        try:
            fd = session.open_inside(root, resolved, follow=False)
        except FileNotFoundError:
            return
        except OSError as error:
            raise PyruncError(f"{path} in the container", errno=error.errno or 0, origin=words.DEVICE_RM) from error
        try:
            node = posix.fstat(fd)
            id, unique, is_root = native.mount_id(fd)
        finally:
            posix.close(fd)
        numbers = (posix.major(node.st_rdev), posix.minor(node.st_rdev))
        if _NODE.get(node.st_mode & _S_IFMT) != device["type"] or numbers != (device["major"], device["minor"]):
            raise PyruncError(f"{path} is another file than the device by now", origin=words.DEVICE_RM)
        if is_root:
            self.found.unmounts.append((id, unique, resolved))
            self.found.placeholders.append(resolved)
        else:
            self.found.nodes.append((resolved, node.st_mode, *numbers, node.st_uid, node.st_gid))

    # ---- doing it ------------------------------------------------------------------------------------------------

    def carry_out(self, linux: Linux) -> None:
        """Make the changes. linux: the new values of other members of the saved `linux`.

        Raises PyruncError and OSError. The journal has the changes so far.
        """
        found = self.found
        self.linux = linux
        changes = self._changes()
        changes.copied = [path for _, _, path in found.unmounts]
        changes.removed = found.removed()
        changes.unmounted = [(path, False) for path in changes.copied]
        roots: list[int] = []
        try:
            session.run(
                self.container,
                changes,
                Recorder(self),
                copies=self.copies,
                look=lambda root, _: roots.append(posix.dup(root)),
            )
            for path in found.placeholders:
                _remove(roots[0], path)
        finally:
            _close(roots)

    def _changes(self) -> Changes:
        """The changes that make and mount something."""
        changes = Changes()
        changes.mounts = self.asked.mounts
        changes.devices = self.asked.devices
        return changes

    def settle(self, pid: int) -> None:
        """Record the ids of the new mounts. pid: of a process in their mount namespace. Raises OSError."""
        where = session.mounts_of(pid)
        updated = self.after["updated"]
        made = self.found.attached[: len(self.asked.mounts)]
        for entry, (id, unique) in zip(self.asked.mounts, made, strict=True):
            path = where.get(id, entry["destination"])
            self.after["mounts"].append({**entry, "destination": path})
            updated.setdefault("mounts", []).append(
                {"destination": path, "named": entry["destination"], "id": id, "unique": unique}
            )
        for asked in self.asked.devices:
            path = asked["path"]
            self._forget_device(path)
            updated["removedDevices"] = [other for other in updated.get("removedDevices", ()) if other != path]
            updated.setdefault("devices", []).append(path)
            self.devices.append(words.entry_of(asked))
            self.after["devicePaths"].append(path)
        self.linux["devices"] = self.devices
        self.found.after, self.found.after_linux, self.found.after_state = self.after, self.linux, _shown(self.after)

    def _forget_device(self, path: str) -> None:
        self.devices = [entry for entry in self.devices if entry["path"] != path]
        self.after["devicePaths"] = [other for other in self.after["devicePaths"] if other != path]
        updated = self.after["updated"]
        if path in updated.get("devices", ()):
            updated["devices"].remove(path)
        else:
            updated.setdefault("removedDevices", []).append(path)

    def commit(self) -> None:
        """Record that the update has to be finished from now on. Raises OSError."""
        self.found.forward = True
        self.found.save(self.place)

    def close(self) -> None:
        """Close the copies."""
        _close(self.copies)
        self.copies = []


class Recorder(Witness):
    """Records the messages of a session in the journal of an update."""

    __slots__ = ("settled", "update")

    def __init__(self, update: Update) -> None:
        self.update = update
        self.settled = False

    def began(self, pid: int, start_time: int) -> None:
        """Before the process does anything."""
        self.update.found.helper = (pid, start_time)
        self.update.found.save(self.update.place)

    def made(self, path: str) -> None:
        """Before something is made."""
        self.update.found.made.append((path, len(self.update.found.attached)))
        self.update.found.save(self.update.place)

    def attached(self, id: int, unique: int) -> None:
        """Before a mount is attached."""
        self.update.found.attached.append((id, unique))
        self.update.found.save(self.update.place)

    def done(self, pid: int) -> None:
        """All is made and attached."""
        if not self.settled:
            self.settled = True
            self.update.settle(pid)

    def commit(self) -> None:
        """Before anything is removed or unmounted."""
        self.update.commit()


class Restorer(Witness):
    """Records in the journal of a failed update the new ids of mounts that are attached again."""

    __slots__ = ("found", "lost", "place")

    def __init__(self, found: Journal, place: int, lost: list[tuple[int, int, str]]) -> None:
        self.found = found
        self.place = place
        self.lost = lost

    def began(self, pid: int, start_time: int) -> None:
        """Before the process does anything."""
        self.found.helper = (pid, start_time)
        self.found.save(self.place)

    def attached(self, id: int, unique: int) -> None:
        """The next unmounted mount is attached again."""
        old, its_unique, path = self.lost.pop(0)
        self.found.unmounts.append((id, unique, path))
        for made in (self.found.kept["updated"] or {}).get("mounts", ()):
            if (made["id"], made["unique"]) == (old, its_unique):
                made["id"], made["unique"] = id, unique
        self.found.save(self.place)


class _Scene:
    """The container as a session found it: its root, open until `close`, and its mounts."""

    __slots__ = ("mounts", "root")

    def __init__(self, container: Container) -> None:
        self.root = -1
        self.mounts: dict[int, str] = {}

        def look(root: int, pid: int) -> None:
            self.root = posix.dup(root)
            self.mounts = session.mounts_of(pid)

        try:
            session.run(container, Changes(), Witness(), look=look)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self.root >= 0:
            posix.close(self.root)
            self.root = -1


def undo(found: Journal, container: Container, place: int, copies: list[int]) -> None:
    """Restore the container's mounts and nodes. copies: copies of found.unmounts, if this command made them; they are
    closed. Raises PyruncError and OSError."""
    if not _is_there(found, container):
        return
    if found.forward:
        _restore(found, container, place, copies)
        found.forward = False
        found.save(place)
    scene = _Scene(container)
    try:
        _undo_made(found, container, scene)
        for node in found.nodes:
            _make_again(scene.root, node)
    finally:
        scene.close()


def _undo_made(found: Journal, container: Container, scene: _Scene) -> None:
    """Unmount the new mounts and remove the new files, the last ones first: a mount point may be in a mount."""
    changes = Changes()
    made = list(found.made)
    for number in range(len(found.attached), -1, -1):
        if made and made[-1][1] == number:
            if changes.unmounted:
                session.run(container, changes, Witness())
                changes = Changes()
            while made and made[-1][1] == number:
                _remove(scene.root, made.pop()[0])
        if number:
            path = session.find(scene.root, scene.mounts, (*found.attached[number - 1], ""))
            if path:
                changes.unmounted.append((path, True))
    if changes.unmounted:
        session.run(container, changes, Witness())


def finish(found: Journal, container: Container) -> None:
    """Finish a killed update: remove and unmount the rest. Raises PyruncError, OSError."""
    if not _is_there(found, container):
        return
    scene = _Scene(container)
    try:
        changes = Changes()
        changes.removed = found.removed()
        for identity in found.unmounts:
            path = session.find(scene.root, scene.mounts, identity)
            if path:
                changes.unmounted.append((path, True))
        session.run(container, changes, Witness())
        for path in found.placeholders:
            _remove(scene.root, path)
    finally:
        scene.close()


def _is_there(found: Journal, container: Container) -> bool:
    """Whether there is a container whose files are to be put right; the update's own process has ended then."""
    if found.helper[0]:
        session.still(*found.helper)
    touched = found.made or found.attached or found.nodes or found.unmounts
    record = container.record
    return bool(touched) and process.find(record.pid, record.startTime) is not None


def _restore(found: Journal, container: Container, place: int, copies: list[int]) -> None:
    """Attach unmounted mounts again, from their copies."""
    scene = _Scene(container)
    changes = Changes()
    slots: dict[str, int] = {}
    lost: list[tuple[int, int, str]] = []
    try:
        for identity, copy in zip(found.unmounts, copies, strict=False):
            if session.find(scene.root, scene.mounts, identity):
                continue
            slot = f"copy:{len(lost)}"
            lost.append(identity)
            slots[slot] = posix.dup(copy)
            changes.restored.append((slot, identity[2]))
    except BaseException:
        _close([*slots.values()])
        raise
    finally:
        scene.close()
        _close(copies)
    if lost:
        session.run(container, changes, Restorer(found, place, lost), slots=slots)


def _remove(root: int, path: str) -> None:
    """Remove an empty directory, an empty file or a node that an update has made at a path of the container. If it has
    content by now, or is another file, it stays. Raises OSError."""
    try:
        parent, name = session.open_parent(root, path)
    except OSError as error:
        if error.errno in _STAYS:
            return
        raise
    try:
        found = posix.stat(name, dir_fd=parent, follow_symlinks=False)
        kind = found.st_mode & _S_IFMT
        if kind == _S_IFDIR:
            posix.rmdir(name, dir_fd=parent)
        elif kind in _NODE or (kind == _S_IFREG and found.st_size == 0):
            posix.unlink(name, dir_fd=parent)
    except OSError as error:
        if error.errno not in _STAYS:
            raise
    finally:
        posix.close(parent)


def _make_again(root: int, node: tuple[str, int, int, int, int, int]) -> None:
    """Make a node that was removed, with its mode and owner. Raises OSError."""
    path, mode, major, minor, uid, gid = node
    parent, name = session.open_parent(root, path)
    try:
        posix.mknod(name, mode, posix.makedev(major, minor), dir_fd=parent)
        posix.chown(name, uid, gid, dir_fd=parent, follow_symlinks=False)
        fd = session.open_inside(parent, name, follow=False)
        try:
            posix.chmod(f"/proc/self/fd/{fd}", mode & 0o7777)
        finally:
            posix.close(fd)
    except FileExistsError:
        pass
    finally:
        posix.close(parent)


def _require(container: Container) -> None:
    """Raise PyruncError if the container's mounts can't be changed."""
    if container.facts.euid != 0:
        raise PyruncError(
            "mounts and devices of a running container can't be changed without root",
            hint="a user's mount can't be handed from one mount namespace to another; run the command as root",
        )
    if not any(namespace["type"] == "mount" for namespace in container.kept["linux"].get("namespaces") or ()):
        raise PyruncError(
            "the container has no mount namespace of its own: its mounts are the host's",
            hint="give it one in linux.namespaces",
        )


def _members(kept: Saved) -> Members:
    """A copy of the members of the saved configuration that an update of mounts changes."""
    before: dict[str, Any] = {**(kept.get("updated") or {})}
    updated: Any = {
        name: [dict(entry) if type(entry) is dict else entry for entry in entries] for name, entries in before.items()
    }
    return {
        "mounts": list(kept.get("mounts") or ()),
        "devicePaths": list(kept["devicePaths"]),
        "updated": updated,
    }


def _can_be_unmounted(entry: MountEntry) -> bool:
    return entry.get("type") in words.TYPES or bool(parse(entry.get("options") or ()).bind)


def _forget_mount(members: Members, recorded: MadeMount) -> None:
    updated = members["updated"]
    if "id" in recorded:
        updated["mounts"].remove(recorded)
    else:
        updated.setdefault("unmounted", []).append(recorded["destination"])
    for index in range(len(members["mounts"]) - 1, -1, -1):
        if members["mounts"][index]["destination"] == recorded["destination"]:
            del members["mounts"][index]
            return


def _shown(members: Members) -> ShownUpdates:
    """`updated` of the state: the mounts and devices that updates have made, and those that they have removed."""
    updated = members["updated"]
    places = [made["destination"] for made in updated.get("mounts", ())]
    mounts = [entry for entry in members["mounts"] if entry["destination"] in places]
    shown: ShownUpdates = {}
    if places:
        shown["mounts"] = [_shown_mount(entry) for entry in mounts[len(mounts) - len(places) :]]
    for name in _SHOWN_PATHS:
        if updated.get(name):
            shown[name] = updated[name]
    return shown


def _shown_mount(entry: MountEntry) -> UpdatedMount:
    """The entry of a mount that an update has made. It has a type and a source (words.mount)."""
    return {**entry, "type": entry["type"], "source": entry["source"]}


def _close(fds: list[int]) -> None:
    for fd in fds:
        posix.close(fd)
    fds.clear()
