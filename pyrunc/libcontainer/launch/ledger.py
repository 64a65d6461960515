"""The undo ledger: each effect outside the container is written down before it is made, and undone in reverse.

The file `ledger` in the state directory holds one JSON object a line: `{"effect": KIND, …}`. The first one is the
state directory itself, with the container's record. A failed create undoes it at once; `delete` undoes it; and what a
killed create left is undone by a `create` or `delete` of that id, or by `gc`. No other command acts on a ledger.
Undoing is idempotent, since an effect that was written down may not have been made, or may be undone already.

An effect is undone only if it is known to be the one that was written down: a process by its start time, a pid file by
its content, a cgroup by its file system.
"""

from __future__ import annotations

import errno
import posix
import time

from ... import jsonio, launcher, log
from ...errors import PyruncError, cut, prefixed
from .. import ownership, process, state
from ..cgroup import claims, files
from ..kernel import native
from ..statedir import EXEC_FILE, FILES, LEDGER_FILE, STATE_FILE, DamagedError, StateDir, make, open_directory, withdraw

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from ..state import Record

    Entry = dict[str, Any]

_FIRST_EFFECT = "state_dir"
# Another command has the lock without a ledger in the directory for a few system calls only.
_CLAIM_ATTEMPTS = 500
_CLAIM_WAIT = 0.001
# How often a lock is tried where there is a ledger: `state` and `list` have it for a moment.
_LOCK_ATTEMPTS = 10
_TYPE = 0o170000
_REGULAR = 0o100000
_OPEN_FILE = posix.O_RDONLY | posix.O_NONBLOCK | posix.O_NOFOLLOW | posix.O_CLOEXEC
_HEX = frozenset("0123456789abcdef")
# What exec.json of an earlier version holds.
_KEPT = {"linux", "noNewKeyring", "process", "root"}


class Ledger:
    """The open ledger of a launch. The file stays until the state directory is removed."""

    __slots__ = ("_fd", "entries", "place")

    place: StateDir

    def __init__(self, place: StateDir) -> None:
        """Start the ledger of a state directory. Raises OSError, FileExistsError if it has one."""
        self.place = place
        self.entries: list[Entry] = []
        flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_APPEND | posix.O_CLOEXEC
        try:
            self._fd = posix.open(LEDGER_FILE, flags, 0o600, dir_fd=place.fd)
        except OSError as error:
            error.filename = f"{place.path}/{LEDGER_FILE}"
            raise

    def record(self, effect: str, **facts: Any) -> None:
        """Write down an effect that is about to be made. Raises OSError."""
        entry = {"effect": effect, **facts}
        data = (jsonio.dumps(entry) + "\n").encode("utf-8", "surrogateescape")
        try:
            if posix.write(self._fd, data) != len(data):
                raise OSError(errno.ENOSPC, posix.strerror(errno.ENOSPC))
        except OSError as error:
            error.filename = f"{self.place.path}/{LEDGER_FILE}"
            raise
        self.entries.append(entry)

    def withdraw(self, effect: str, path: str) -> None:
        """Write down that this command has not made an effect after all, because another command was faster. Raises
        OSError."""
        self.record("withdrawn", undoes=effect, path=path)
        self.entries = _without_withdrawn(self.entries)

    def undo(self, claimed: bool) -> None:
        """Undo everything and remove the state directory, as if the launch had never been attempted.

        claimed: the caller has claimed the cgroup, so it is no other container's.
        """
        undo(self.entries, own=None if claimed else self.place)
        self.place.remove()

    def close(self) -> None:
        """Close the file, which stays on the disk. Nothing can be recorded any more."""
        if self._fd >= 0:
            posix.close(self._fd)
            self._fd = -1

    def unlock(self) -> None:
        """Release the lock on the state directory, which stays open."""
        self.place.unlock()


class MemoryLedger(Ledger):
    """A ledger in memory, for effects that only the command itself can undo: `exec` and `update` make no state
    directory, and `create` has none before its step `state_dir`."""

    __slots__ = ()

    def __init__(self) -> None:
        self.entries = []

    def record(self, effect: str, **facts: Any) -> None:
        """Note an effect that is about to be made."""
        self.entries.append({"effect": effect, **facts})

    def undo(self, claimed: bool) -> None:
        """Undo everything."""
        del claimed
        undo(self.entries)

    def close(self) -> None:
        """Do nothing: no file is open."""

    def unlock(self) -> None:
        """Do nothing: no directory is locked."""


class Contents:
    """The content of a ledger.

    entries: those that this version can undo, in their order. faults: what it can't undo, one clause each: effects of a
    later version, damaged lines, a damaged file. renamed: the ledger is of another id.
    """

    __slots__ = ("entries", "faults", "renamed")

    def __init__(self, entries: list[Entry], faults: list[str]) -> None:
        self.entries = entries
        self.faults = faults
        self.renamed = False

    def require_whole(self, place: StateDir) -> None:
        """Raise DamagedError if it has faults."""
        if self.faults:
            raise DamagedError(
                f"the ledger in {place.path} is damaged: {self.faults[0]}",
                hint=f"delete --force {place.id} undoes the rest of it",
            )

    def warn(self, place: StateDir) -> None:
        """Log each fault as a warning: the user has to undo these effects."""
        for fault in self.faults:
            log.warning(f"the ledger in {place.path}: {fault}; it is left as it is")


def read(place: StateDir) -> Contents:
    """The content of the ledger of a state directory; no entries if it has none.

    A line that was cut off by a kill is left out: its effect had not been made yet.
    """
    try:
        text = place.read(LEDGER_FILE)
    except FileNotFoundError:
        return Contents([], [])
    except DamagedError as error:
        return Contents([], [error.message])
    entries = []
    faults = []
    renamed = False
    complete, _, _ = text.rpartition("\n")
    for number, line in enumerate(complete.split("\n")):
        if line:
            try:
                entries.append(_judged(jsonio.loads(line), number, place.id))
            except ValueError as error:
                faults.append(f"line {number + 1}: {error}")
                renamed = renamed or isinstance(error, state.OtherIdError)
    contents = Contents(_without_withdrawn(entries), faults)
    contents.renamed = renamed
    return contents


def _judged(entry: Any, number: int, id: str) -> Entry:
    """The entry, if this version can undo it. Otherwise raises ValueError with the reason."""
    if type(entry) is not dict or type(entry.get("effect")) is not str:
        raise ValueError("it is not an effect")
    effect = entry["effect"]
    if effect == _FIRST_EFFECT:
        if number:
            raise ValueError("the state directory is not the first effect")
        state.judged(entry, id)
    if effect not in _MEMBERS:
        raise ValueError(f"the effect {cut(repr(effect))} is not known to this version of pyrunc")
    for name, is_right in _MEMBERS[effect]:
        if name not in entry:
            raise ValueError(f"{name} of {effect} is missing")
        if not is_right(entry[name]):
            raise ValueError(f"{name} of {effect} has a wrong value")
    result: Entry = entry
    return result


def _without_withdrawn(entries: list[Entry]) -> list[Entry]:
    """The entries without the withdrawn ones and the withdrawals."""
    left: list[Entry] = []
    for entry in entries:
        if entry["effect"] == "withdrawn":
            gone = (entry["undoes"], entry["path"])
            left = [other for other in left if (other["effect"], other.get("path")) != gone]
        else:
            left.append(entry)
    return left


def claim(contents: Contents, id: str) -> Record | None:
    """The record at the beginning of the ledger of `id`, as it was before there was a process; None if it has none."""
    entries = contents.entries
    return state.judged(entries[0], id) if entries and entries[0]["effect"] == _FIRST_EFFECT else None


def undo(
    entries: Iterable[Entry],
    deleting: bool = False,
    tell: Callable[[str], None] | None = None,
    own: StateDir | None = None,
) -> None:
    """Undo the effects, the last one first. All are tried; PyruncError for the first that could not be undone.

    deleting: the container was created, so what belongs to its caller stays: the pid file, the class of service
        that a closID names, and the network devices, which go with their namespace (config-linux.md).
    tell: called with a clause for each effect that was there and is undone.
    own: the state directory whose ledger it is: a cgroup that is another container's by now stays. None if no other
        container can have taken it.
    """
    failure: PyruncError | None = None
    entries = list(entries)
    if any(entry["effect"] == "systemd_unit" for entry in entries):
        launcher.require("systemd")
    for entry in reversed(entries):
        if deleting and entry["effect"] in _CALLERS_EFFECTS:
            continue
        try:
            what = describe(entry) if tell is not None else ""
            if own is not None and entry["effect"] == "cgroup":
                if not _undo_own_cgroup(entry, own):
                    continue
            else:
                _UNDO[entry["effect"]](entry)
            # A class of service or a cgroup that others use by now stays.
            if what and tell is not None and (entry["effect"] not in _SHARED_EFFECTS or not describe(entry)):
                tell(what)
        except (OSError, PyruncError) as error:
            what = f"undoing {entry['effect']} {entry.get('path', '')}"
            if failure is None:
                failure = prefixed(what, error)
                failure.__cause__ = error
            else:
                log.warning(prefixed(what, error).line())
    try:
        _remove_parents(entries, own is not None, tell)
    except PyruncError as error:
        if failure is None:
            failure = error
        else:
            log.warning(error.line())
    if failure is not None:
        raise failure


def _remove_parents(entries: list[Entry], itself: bool, tell: Callable[[str], None] | None) -> None:
    """Remove the unused parents of each recorded cgroup, also those that another container's create made. itself: also
    the container's own cgroup if another container has abandoned it. Raises PyruncError."""
    removed = []
    for entry in entries:
        if entry["effect"] == "cgroup":
            removed += claims.remove_parents(entry["path"])
        elif itself and entry["effect"] == _FIRST_EFFECT and entry.get("cgroup"):
            removed += claims.remove_parents(entry["cgroup"], itself=True)
    if tell is not None:
        for path in removed:
            tell(f"cgroup {path}")


def _undo_own_cgroup(entry: Entry, own: StateDir) -> bool:
    """Remove a cgroup; False where it is another container's by now."""
    with ownership.hold_to_remove(entry["path"], own) as held:
        if held.found != ownership.OWN:
            return held.found != ownership.OTHER
        try:
            _undo_cgroup(entry)
            return True
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
    _undo_cgroup(entry)  # the claim had the last descriptor
    return True


def describe(entry: Entry) -> str:
    """The part of an effect that still exists, as a clause; "" if none does. Raises OSError."""
    effect = entry["effect"]
    if effect in ("cgroup", "cgroup_parent", "resctrl_group", "resctrl_clos"):
        what = "cgroup" if effect.startswith("cgroup") else "resctrl group"
        return f"{what} {entry['path']}" if state.exists(entry["path"]) else ""
    if effect == "systemd_unit":
        return f"systemd unit {entry['unit']}" if state.exists(entry["path"]) else ""
    if effect == "process":
        return f"process {entry['pid']}" if process.find(entry["pid"], entry["startTime"]) else ""
    if effect == "pid_file":
        return f"pid file {entry['path']}" if _is_pid_file(entry["path"], entry.get("content", "")) else ""
    if effect == "net_device":
        from . import netdevices

        return f"network device {entry['name']}" if netdevices.namespace_path(entry) else ""
    if effect == "network_pin":
        from . import netdevices

        return f"mount of the network namespace on {entry['path']}" if netdevices.is_pinned(entry["path"]) else ""
    if effect == "host_mounts":
        from ..kernel import hostmounts

        mounts = hostmounts.count(entry["path"]) - entry["before"]
        return f"mounts on {entry['path']}" if mounts > 0 else ""
    return ""


def is_ours(place: StateDir, contents: Contents) -> bool:
    """Whether a state directory that has no readable state.json is known to be made by pyrunc.

    Its mode says so since format 1.1. Earlier ones are known by their content: a ledger that begins with this id, or
    only files that pyrunc makes, among them exec.json or two others.
    """
    if contents.renamed:
        return False
    if place.marked or claim(contents, place.id) is not None:
        return True
    names = {name for name in place.names() if not name.startswith(f".{STATE_FILE}.")}
    if not names <= set(FILES):
        return False
    if EXEC_FILE in names:
        try:
            kept = jsonio.loads(place.read(EXEC_FILE))
        except (DamagedError, ValueError):
            kept = None
        if type(kept) is dict and set(kept) >= _KEPT:
            return True
    return len(names) > 1 and STATE_FILE in names


# The results of `sweep`: the path is free now; another command works on the directory; it is a container's; pyrunc has
# not made it.
FREE, BUSY, CONTAINER, FOREIGN = range(4)


def sweep(path: str) -> int:
    """Undo what a killed create, or a delete that was killed at its end, left in the state directory at `path`.

    Returns one of the results above. Raises PyruncError for what could not be undone.
    """
    place = open_directory(path)
    if place is None:
        return FOREIGN if state.exists(path) else FREE
    try:
        if place.distrust:
            return CONTAINER if place.has(STATE_FILE) else FOREIGN
        try:
            place.lock(0)
        except BlockingIOError:
            return BUSY
        except FileNotFoundError:
            return FREE
        if place.has(STATE_FILE):
            return CONTAINER
        return FREE if sweep_locked(place) else FOREIGN
    finally:
        place.close()


def claim_id(path: str) -> Ledger:
    """Make the state directory at `path`, which claims the id, lock it and begin its ledger. What a killed command left
    there is undone first.

    Raises PyruncError in runc's words if the id is taken, OSError with nothing left.
    """
    for attempt in range(_CLAIM_ATTEMPTS):
        place = make(path)
        if place is not None:
            try:
                return Ledger(place)
            except FileExistsError:
                place.close()  # another create was faster
            except BaseException:
                withdraw(path)
                place.close()
                raise
        found = sweep(path)
        if found in (CONTAINER, FOREIGN) or (found == BUSY and attempt >= _LOCK_ATTEMPTS and _has_ledger(path)):
            raise _taken(path, found)
        if found == BUSY:
            time.sleep(_CLAIM_WAIT)  # another command makes it, reads it, or undoes it
    raise _taken(path, BUSY)


def _has_ledger(path: str) -> bool:
    return state.exists(path + "/" + LEDGER_FILE)


def _taken(path: str, found: int) -> PyruncError:
    root, _, id = path.rpartition("/")
    return PyruncError(
        f"container with given ID already exists: {id} in {root}",  # begins as runc's
        hint=f"{path} was not made by pyrunc: remove it, or take another id"
        if found == FOREIGN
        else f"take another id, or delete {id}",
    )


def sweep_locked(place: StateDir, tell: Callable[[str], None] | None = None) -> bool:
    """The same for a directory that is trusted, locked, and has no state.json. False if pyrunc has not made it.

    Raises PyruncError for what could not be undone, and if the ledger is damaged; the directory stays then.
    """
    contents = read(place)
    if not is_ours(place, contents):
        return False
    contents.require_whole(place)
    undo(contents.entries, tell=tell, own=place)
    place.remove()
    return True


def _undo_nothing(entry: Entry) -> None:
    """Do nothing: the state directory, which has the ledger, is removed last."""


def _undo_cgroup(entry: Entry) -> None:
    path = entry["path"]
    if _is_of(path, native.CGROUP2_SUPER_MAGIC):
        files.kill(path)
        files.remove(path, killing=True)


def _is_of(path: str, magic: int) -> bool:
    """Whether there is a directory at a path. Raises PyruncError if it is not of this file system."""
    try:
        fd = posix.open(path, posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        if native.fs_magic(fd) != magic:
            raise PyruncError(f"{path} is on another file system than what was made")
    finally:
        posix.close(fd)
    return True


def _undo_systemd_unit(entry: Entry) -> None:
    from ..systemd.manager import Manager

    files.kill(entry["path"])
    with Manager(entry["user"]) as manager:
        manager.stop(entry["unit"])
    files.remove(entry["path"], killing=True)


def _undo_cgroup_parent(entry: Entry) -> None:
    if _is_of(entry["path"], native.CGROUP2_SUPER_MAGIC):
        claims.remove_if_unused(entry["path"])


def _undo_resctrl_group(entry: Entry) -> None:
    from ..kernel import resctrl

    if _is_of(entry["path"], native.RDTGROUP_SUPER_MAGIC):
        resctrl.remove(entry["path"])


def _undo_resctrl_clos(entry: Entry) -> None:
    """Remove a class of service, unless others have put processes into it meanwhile."""
    from ..kernel import resctrl

    if _is_of(entry["path"], native.RDTGROUP_SUPER_MAGIC):
        resctrl.remove_unused(entry["path"])


def _undo_net_device(entry: Entry) -> None:
    from . import netdevices

    netdevices.undo(entry)


def _undo_network_pin(entry: Entry) -> None:
    from . import netdevices

    netdevices.unpin(entry["path"])


def _undo_host_mounts(entry: Entry) -> None:
    from ..kernel import hostmounts

    hostmounts.remove(entry["path"], entry["before"])


def _undo_process(entry: Entry) -> None:
    process.send_signal(entry["pid"], entry["startTime"])


def _undo_pid_file(entry: Entry) -> None:
    content = entry.get("content", "")
    draft = entry.get("draft", "")
    if draft and _is_pid_file(draft, content, begun=True):
        posix.unlink(draft)
    if _is_pid_file(entry["path"], content):
        posix.unlink(entry["path"])


def _is_pid_file(path: str, content: str, begun: bool = False) -> bool:
    """Whether the recorded pid file is at a path: a file of this user with that content.

    content: "" if an earlier version did not record it: any number counts then. begun: the file may be incomplete.
    """
    try:
        fd = posix.open(path, _OPEN_FILE)
    except OSError as error:
        # A create that fails because it has no descriptor left can't open the file. It has just made it.
        return error.errno in (errno.EMFILE, errno.ENFILE) and bool(content) and state.exists(path)
    try:
        found = posix.fstat(fd)
        if found.st_mode & _TYPE != _REGULAR or found.st_uid != posix.geteuid():
            return False
        text = posix.read(fd, 32)
    finally:
        posix.close(fd)
    if not content:
        return text.isdigit()
    data = content.encode("utf-8", "surrogateescape")
    return data.startswith(text) if begun else text == data


def _are_addresses(value: Any) -> bool:
    return type(value) is list and all(
        [
            type(address) is list
            and [type(part) for part in address] == [int, int, dict]
            and all([kind.isdigit() and _is_hex(data) for kind, data in address[2].items()])
            for address in value
        ]
    )


def _is_hex(value: Any) -> bool:
    return type(value) is str and len(value) % 2 == 0 and _HEX.issuperset(value)


_PATH = (("path", state.is_path),)
_PROCESS = (("pid", state.is_pid), ("startTime", state.is_number))
# The members that each effect's entry must have. A later version may add more.
_MEMBERS: dict[str, tuple[tuple[str, Callable[[Any], bool]], ...]] = {
    "state_dir": (),  # judged by state.judged
    "withdrawn": (("undoes", state.is_text), *_PATH),
    "cgroup": _PATH,
    "cgroup_parent": _PATH,
    "systemd_unit": (("unit", state.is_text), ("user", state.is_bool), *_PATH),
    "net_device": (
        ("name", state.is_text),
        ("newName", state.is_text),
        ("index", state.is_number),
        ("newIndex", state.is_number),
        ("up", state.is_bool),
        ("addresses", _are_addresses),
        ("path", state.is_text),
        *_PROCESS,
    ),
    "network_pin": _PATH,
    "resctrl_group": _PATH,
    "resctrl_clos": _PATH,
    "host_mounts": (*_PATH, ("before", state.is_number)),
    "process": _PROCESS,
    "pid_file": _PATH,
}
_UNDO: dict[str, Callable[[Entry], None]] = {
    "state_dir": _undo_nothing,
    "cgroup": _undo_cgroup,
    "cgroup_parent": _undo_cgroup_parent,
    "systemd_unit": _undo_systemd_unit,
    "net_device": _undo_net_device,
    "network_pin": _undo_network_pin,
    "resctrl_group": _undo_resctrl_group,
    "resctrl_clos": _undo_resctrl_clos,
    "host_mounts": _undo_host_mounts,
    "process": _undo_process,
    "pid_file": _undo_pid_file,
}
_SHARED_EFFECTS = ("cgroup_parent", "resctrl_clos")
_CALLERS_EFFECTS = ("pid_file", "resctrl_clos", "net_device")
