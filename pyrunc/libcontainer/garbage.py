"""`gc`: undo the effects of killed commands under the state root, by the ledgers. Cold.

A killed `create`, or a `delete` that was killed at its end, leaves a state directory: pyrunc made it, it has no
state.json, or no ledger because a delete has removed it, and no command has its lock. A killed `update` is undone too.
Containers, running or stopped, other users' directories, and directories that pyrunc did not make stay untouched.
"""

from __future__ import annotations

from collections.abc import Callable

from ..errors import PyruncError, from_os_error, prefixed
from . import deletion, state
from .launch import ledger
from .statedir import LEDGER_FILE, STATE_FILE, UPDATE_FILE, DamagedError, StateDir, open_directory
from .update import journal, recovery

_CGROUPS = ("cgroup", "cgroup_parent", "systemd_unit")


def collect(root: str, dry_run: bool, tell: Callable[[str], None]) -> list[PyruncError]:
    """Undo what killed commands left under the root.

    tell: called with a line for each thing that is undone, or with dry_run would be.
    Returns the failures.
    """
    try:
        names = state.ids(root)
    except FileNotFoundError:
        return []
    used = _cgroups_in_use(root, names)
    failures = []
    for name in names:

        def say(what: str, name: str = name) -> None:
            tell(f"{name}: {'would undo' if dry_run else 'undone'}: {what}")

        try:
            _collect(state.directory(root, name), dry_run, used, say)
        except PyruncError as error:
            failures.append(prefixed(name, error))
        except OSError as error:
            failures.append(prefixed(name, from_os_error(error)))
    return failures


def _cgroups_in_use(root: str, names: list[str]) -> list[str]:
    """The cgroups of all containers under the root."""
    found = []
    for name in names:
        try:
            place = open_directory(state.directory(root, name))
            if place is None:
                continue
            try:
                record = state.load(place)
            finally:
                place.close()
        except (PyruncError, OSError):
            continue
        if record is not None and record.cgroup:
            found.append(record.cgroup)
    return found


def _collect(path: str, dry_run: bool, used: list[str], tell: Callable[[str], None]) -> None:
    """Undo what a killed command left at a path. Raises PyruncError and OSError."""
    place = open_directory(path)
    if place is None:
        return
    try:
        if place.distrust:
            return
        try:
            place.lock(0)
        except (BlockingIOError, FileNotFoundError):
            return  # a command works on it
        if place.has(STATE_FILE):
            _collect_container(place, dry_run, tell)
            return
        contents = ledger.read(place)
        if not ledger.is_ours(place, contents):
            return
        contents.require_whole(place)
        entries = [entry for entry in contents.entries if not _is_used(entry, used)]
        if dry_run:
            for entry in reversed(entries):
                what = ledger.describe(entry)
                if what:
                    tell(what)
        else:
            ledger.undo(entries, tell=tell, own=place)
            place.remove()
        tell(f"state directory {path}")
    finally:
        place.close()


def _collect_container(place: StateDir, dry_run: bool, tell: Callable[[str], None]) -> None:
    """Undo a killed update of a container, and finish a killed delete that has removed the ledger. Raises PyruncError
    and OSError."""
    try:
        record = state.load(place)
    except DamagedError:
        return
    if record is None:
        return
    drafts = journal.drafts(place)
    if place.has(UPDATE_FILE) or drafts:
        found = journal.load(place.fd)
        if not dry_run:
            recovery.recover(place, record)
        if found is not None:
            what = "mounts and devices" if found.changes_files else "limits"
            tell(f"update of {what}" + (", by finishing it" if found.forward else ""))
        for draft in drafts:
            tell(f"file {place.path}/{draft}")
    if place.marked and not place.has(LEDGER_FILE) and state.status(place.path, record) == "stopped":
        if not dry_run:
            deletion.destroy(place, record, [])
        tell(f"state directory {place.path}")


def _is_used(entry: ledger.Entry, used: list[str]) -> bool:
    """Whether an entry's cgroup is by now that of another container, or above it."""
    path = entry.get("path", "")
    return entry["effect"] in _CGROUPS and any(cgroup == path or cgroup.startswith(path + "/") for cgroup in used)
