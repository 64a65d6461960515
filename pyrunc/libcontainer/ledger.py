"""The undo ledger: each effect outside the container is written down before it is made, and undone in reverse.

The file `ledger` in the state directory holds one JSON object a line: `{"effect": KIND, …}`. A failed create undoes
it at once; `delete` undoes it; and what a killed create left is undone by the next command that names the container.
Undoing is idempotent, since an effect that was written down may not have been made, or may be undone already.
"""

from __future__ import annotations

import posix

from .. import jsonio, log
from ..report import PyruncError, prefixed
from . import process, state
from .sysfiles import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Entry = dict[str, Any]

LEDGER_FILE = "ledger"


class Ledger:
    """The open ledger of a launch. The file and its entries last until the state directory is removed."""

    __slots__ = ("_fd", "entries", "path")

    def __init__(self, path: str) -> None:
        """Start the ledger of the state directory at `path`. Raises OSError."""
        self.path = path
        self.entries: list[Entry] = []
        flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_APPEND | posix.O_CLOEXEC
        self._fd = posix.open(path + "/" + LEDGER_FILE, flags, 0o600)

    def record(self, effect: str, **facts: Any) -> None:
        """Write down an effect that is about to be made. Raises OSError."""
        entry = {"effect": effect, **facts}
        posix.write(self._fd, (jsonio.dumps(entry) + "\n").encode("utf-8", "surrogateescape"))
        self.entries.append(entry)

    def undo(self) -> None:
        """Undo everything, the state directory with it, as if never attempted."""
        undo(self.entries)
        state.remove(self.path)

    def close(self) -> None:
        """Close the file, which stays."""
        posix.close(self._fd)


class Unwritten(Ledger):
    """The effects of a command that no other one could undo: they are kept in memory, for its own failure."""

    __slots__ = ()

    def __init__(self) -> None:
        self.path = ""
        self.entries = []

    def record(self, effect: str, **facts: Any) -> None:
        """Take down an effect that is about to be made."""
        self.entries.append({"effect": effect, **facts})

    def undo(self) -> None:
        """Undo everything."""
        undo(self.entries)

    def close(self) -> None:
        """Nothing is open."""


def read(path: str) -> list[Entry]:
    """The entries of a state directory; none where it has no ledger.

    A line that was cut off by a kill is left out: its effect had not been made yet.
    """
    try:
        text = read_file(path + "/" + LEDGER_FILE)
    except (FileNotFoundError, NotADirectoryError):
        return []
    complete, _, _ = text.rpartition("\n")
    entries = []
    for line in complete.split("\n"):
        if line:
            try:
                entries.append(jsonio.loads(line))
            except ValueError as error:
                raise PyruncError(f"the ledger in {path} is damaged: {error}") from error
    return entries


def undo(entries: Iterable[Entry], deleting: bool = False) -> None:
    """Undo the effects, the last one first. All are tried; PyruncError for the first that could not be undone.

    deleting: the container was created, so what belongs to its caller stays: the pid file, the class of service
        that a closID names, and the network devices, which go with their namespace (config-linux.md).
    """
    failure: PyruncError | None = None
    entries = list(entries)
    if any(entry["effect"] == "systemd_unit" for entry in entries):
        from . import systemd  # noqa: F401 - the launcher, which has it not, hands over here: nothing is undone yet
    for entry in reversed(entries):
        if deleting and entry["effect"] in _OF_CALLER:
            continue
        try:
            _UNDO[entry["effect"]](entry)
        except (OSError, PyruncError) as error:
            what = f"undoing {entry['effect']} {entry.get('path', '')}"
            if failure is None:
                failure = prefixed(what, error)
                failure.__cause__ = error
            else:
                log.warning(prefixed(what, error).line())
    if failure is not None:
        raise failure


def sweep(path: str) -> bool:
    """Undo what a dead create left of the state directory at `path`; False where there is nothing to sweep.

    A directory with a state.json is a container, and one whose lock is held is a create at work. One that holds other
    things but no ledger is none of ours: `--root` may name any directory, and `list` looks at all that is in it.
    """
    try:
        fd = state.lock(path, wait=False)
    except (BlockingIOError, FileNotFoundError, NotADirectoryError):
        return False
    try:
        names = posix.listdir(path)
        if state.STATE_FILE in names or (names and LEDGER_FILE not in names):
            return False
        undo(read(path))
        state.remove(path)
        return True
    finally:
        posix.close(fd)


def _undo_state_dir(entry: Entry) -> None:
    """Nothing here: the directory, which holds the ledger itself, goes last."""


def _undo_cgroup(entry: Entry) -> None:
    from .cgroup import files

    path = entry["path"]
    if state.exists(path):
        files.kill(path)
        files.remove(path)


def _undo_systemd_unit(entry: Entry) -> None:
    from .systemd import scope

    scope.undo(entry)


def _undo_cgroup_parent(entry: Entry) -> None:
    from .cgroup import files

    files.remove_if_unused(entry["path"])


def _undo_resctrl_group(entry: Entry) -> None:
    from . import resctrl

    resctrl.remove(entry["path"])


def _undo_resctrl_clos(entry: Entry) -> None:
    """A class of service that others may have come into meanwhile."""
    from . import resctrl

    resctrl.remove_unused(entry["path"])


def _undo_net_device(entry: Entry) -> None:
    from . import netdevices

    netdevices.undo(entry)


def _undo_host_mounts(entry: Entry) -> None:
    from . import hostmounts

    hostmounts.remove(entry["path"], entry["before"])


def _undo_process(entry: Entry) -> None:
    process.send_signal(entry["pid"], entry["startTime"])


def _undo_pid_file(entry: Entry) -> None:
    try:
        posix.unlink(entry["path"])
    except FileNotFoundError:
        return


_UNDO: dict[str, Callable[[Entry], None]] = {
    "state_dir": _undo_state_dir,
    "cgroup": _undo_cgroup,
    "cgroup_parent": _undo_cgroup_parent,
    "systemd_unit": _undo_systemd_unit,
    "net_device": _undo_net_device,
    "resctrl_group": _undo_resctrl_group,
    "resctrl_clos": _undo_resctrl_clos,
    "host_mounts": _undo_host_mounts,
    "process": _undo_process,
    "pid_file": _undo_pid_file,
}
_OF_CALLER = ("pid_file", "resctrl_clos", "net_device")
