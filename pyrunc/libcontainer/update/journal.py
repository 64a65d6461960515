"""The journal of an update: its changes and the old values, in the file `update` of the state directory.

The file is written before the first change and removed after the last. If an update fails, it restores the old values
itself. If it is killed, the next `update`, `gc` or `delete` of the container finds the file.
"""

from __future__ import annotations

import posix

from ... import jsonio
from .. import saved_config, state
from ..kernel.fileio import name_whole
from ..statedir import EXEC_FILE, STATE_FILE, DamagedError, StateDir
from ..statedir import UPDATE_FILE as FILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ..._generated.spec_types import DeviceEntry, Updated
    from ..saved_config import Saved
    from ..state import Record

_VERSION = 1
_S_IFMT, _S_IFBLK = 0o170000, 0o060000
# The names of state.tmp_name.
_DRAFTS = (f".{FILE}.", f".{EXEC_FILE}.", f".{STATE_FILE}.")
_HALF = "the limits may be half changed: name all of them in another update"


class Journal:
    """The old values of one update.

    linux: the old values of the changed members of the saved `linux`. writes: (control file, text) that undo its
        writes, in the order of these. rules: the old device rules, empty if they do not change. files: absolute paths
        of other files (resctrl) and their old texts. unit: systemd's unit, "" for none; user: whether it is the user's
        systemd's;
    properties: the old properties of the unit, as systemd/properties.py writes them.

    Mounts and devices: helper: pid and start time of the process that changes them, 0 for none. kept: old values of
    members of the saved configuration; state: the old `updated` of the state. made: paths in the container of files
    that were made, with the number of mounts that were attached by then. attached: ids of mounts, as in
    session.Witness. unmounts: (id, unique id, path) of mounts to unmount; nodes: (path, mode, major, minor, uid, gid)
    of nodes to remove; placeholders: paths of the files below bound nodes. forward: these three are being removed, so
    the update has to be finished; after, after_linux and after_state are recorded at its end.
    """

    __slots__ = (
        "after", "after_linux", "after_state", "attached", "files", "forward", "helper", "kept", "linux", "made",
        "nodes", "placeholders", "properties", "rules", "state", "unit", "unmounts", "user", "writes",
    )  # fmt: skip

    def __init__(self, linux: dict[str, Any]) -> None:
        self.linux = linux
        self.writes: list[tuple[str, str]] = []
        self.rules: tuple[str, ...] = ()
        self.files: list[tuple[str, str]] = []
        self.unit = ""
        self.user = False
        self.properties: tuple[str, ...] = ()
        self.helper = (0, 0)
        self.kept: dict[str, Any] = {}
        self.state: Updated = {}
        self.made: list[tuple[str, int]] = []
        self.attached: list[tuple[int, int]] = []
        self.unmounts: list[tuple[int, int, str]] = []
        self.nodes: list[tuple[str, int, int, int, int, int]] = []
        self.placeholders: list[str] = []
        self.forward = False
        self.after: Mapping[str, Any] = {}
        self.after_linux: Mapping[str, Any] = {}
        self.after_state: Updated = {}

    @property
    def changes_files(self) -> bool:
        """Whether the update changes mounts or devices."""
        return bool(self.kept)

    def removed(self) -> list[DeviceEntry]:
        """The nodes to remove, as entries of linux.devices."""
        return [
            {"path": path, "type": "b" if mode & _S_IFMT == _S_IFBLK else "c", "major": major, "minor": minor}
            for path, mode, major, minor, _, _ in self.nodes
        ]

    def save(self, dirfd: int) -> None:
        """Write the file in the open state directory. Raises OSError."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        state.replace(FILE, jsonio.dumps({"version": _VERSION, **fields}), 0o600, dir_fd=dirfd)

    def record_changes(self, dirfd: int, record: Record, linux: Mapping[str, Any], kept: Saved) -> None:
        """Record the container after the update. linux: members of the saved `linux`. kept: the saved configuration,
        which is changed. Raises OSError."""
        self.record(dirfd, record, linux, self.after, self.after_state, kept)

    def record(
        self,
        dirfd: int,
        record: Record,
        linux: Mapping[str, Any],
        others: Mapping[str, Any],
        shown: Updated,
        kept: Saved | None = None,
    ) -> None:
        """Record the container in exec.json and state.json. linux: members of the saved `linux`. others: other members.
        shown: `updated` of the state. kept: the saved configuration, which is changed, or None to read it.
        Raises OSError, PyruncError."""
        saved_config.replace_linux(dirfd, linux, others, kept)
        if self.changes_files and record.updated != shown:
            record.updated = shown
            state.replace(STATE_FILE, jsonio.dumps(record.values()), 0o600, dir_fd=dirfd)


def load(dirfd: int) -> Journal | None:
    """The journal that a killed update has left in the open state directory; None if there is none.

    Raises PyruncError for a file that is damaged, OSError.
    """
    try:
        text = StateDir(f"/proc/self/fd/{dirfd}", dirfd).read(FILE)
    except FileNotFoundError:
        return None
    except DamagedError as error:
        raise DamagedError(f"the record of an unfinished update is damaged: {error.message}", hint=_HALF) from error
    try:
        fields = jsonio.loads(text)
        found = Journal(dict(fields["linux"]))
        found.writes = [(str(file), str(value)) for file, value in fields["writes"]]
        found.rules = tuple([str(rule) for rule in fields["rules"]])
        found.files = [(str(path), str(value)) for path, value in fields["files"]]
        found.unit = str(fields["unit"])
        found.user = bool(fields["user"])
        found.properties = tuple([str(value) for value in fields["properties"]])
        if fields.get("kept"):
            _load_files(found, fields)
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"the record of an unfinished update is damaged: {error}", hint=_HALF) from error
    return found


def _load_files(found: Journal, fields: dict[str, Any]) -> None:
    """Read the members about mounts and devices. Raises KeyError, TypeError, ValueError."""
    found.kept = dict(fields["kept"])
    found.state = _updated(fields["state"])
    pid, start_time = fields["helper"]
    found.helper = (int(pid), int(start_time))
    found.made = [(str(path), int(attached)) for path, attached in fields["made"]]
    found.attached = [(int(id), int(unique)) for id, unique in fields["attached"]]
    found.unmounts = [(int(id), int(unique), str(path)) for id, unique, path in fields["unmounts"]]
    for path, *numbers in fields["nodes"]:
        mode, major, minor, uid, gid = numbers
        found.nodes.append((str(path), int(mode), int(major), int(minor), int(uid), int(gid)))
    found.placeholders = [str(path) for path in fields["placeholders"]]
    found.forward = bool(fields["forward"])
    found.after = dict(fields["after"])
    found.after_linux = dict(fields["after_linux"])
    found.after_state = _updated(fields["after_state"])


def _updated(value: Any) -> Updated:
    """`updated` of the state, of a value that was read. Raises TypeError, ValueError."""
    updated: Updated = value
    if not state.is_updated(value):
        raise ValueError("`updated` is no object of lists")
    return updated


def drafts(place: StateDir) -> list[str]:
    """The temporary files that a killed command has left in a state directory, which the caller has locked. Raises
    OSError."""
    return [name for name in place.names() if name.startswith(_DRAFTS)]


def remove(dirfd: int) -> None:
    """Remove the file. Raises OSError."""
    try:
        posix.unlink(FILE, dir_fd=dirfd)
    except OSError as error:
        name_whole(error, dirfd, FILE)
        raise
