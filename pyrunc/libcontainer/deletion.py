"""`delete`: remove a container, or the rest of one. Its effects are in its state.json, or else in its ledger."""

from __future__ import annotations

import _signal
import posix

from .. import launcher, log
from ..errors import PyruncError
from . import process, state
from .cgroup import files
from .kernel import native
from .launch import ledger, lifecycle_hooks
from .lookup import missing, take_lock
from .state import Record
from .statedir import STATE_FILE, DamagedError, RenamedError, StateDir, open_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# How long `delete` waits for the end of a killed process.
KILL_TIMEOUT_MS = 10_000


def delete(root: str, id: str, force: bool) -> None:
    """Remove a container that has stopped or was never started, and run the poststop hooks.

    force: also kill a running container, end the command that creates or starts it, and undo the known effects of one
    with damaged files; an unknown id is no error. Raises PyruncError.
    """
    path = state.directory(root, id)
    place = open_directory(path)
    try:
        if place is None or not _delete(place, force):
            raise missing()
    except PyruncError as error:
        if not force or error.message != missing().message:
            raise
    finally:
        if place is not None:
            place.close()


def _delete(place: StateDir, force: bool) -> bool:
    """Delete the container; False if there is none. Raises PyruncError."""
    if place.distrust and not place.has(STATE_FILE) and not ledger.claim(ledger.read(place), place.id):
        return False
    place.require_trust()
    if force:
        _kill_known(place)  # before the lock is taken: a `start` that waits for the container may hold it
    try:
        take_lock(place, force)
    except FileNotFoundError:
        return False
    try:
        record = state.load(place)
    except RenamedError:
        raise
    except DamagedError as error:
        if not force:
            raise DamagedError(error.message, hint=f"delete --force {place.id} removes what is known of it") from error
        _delete_damaged(place, error)
        return True
    if record is None:
        _delete_left_behind(place, force)
        return False
    _require_systemd(record)
    found = state.status(place.path, record)
    if found != "stopped":
        if not force and found != "created":
            message = f"cannot delete container {place.id} that is not stopped: {found}"
            raise PyruncError(message, hint="kill it first, or use delete --force")
        kill_and_wait(record)
    contents = ledger.read(place)
    if force:
        contents.warn(place)
    else:
        contents.require_whole(place)
    destroy(place, record, contents.entries)
    return True


def _delete_left_behind(place: StateDir, force: bool) -> None:
    """Undo the effects of a killed create, unless the directory is not pyrunc's. Raises PyruncError."""
    contents = ledger.read(place)
    if force and contents.faults and ledger.is_ours(place, contents):
        contents.warn(place)
        ledger.undo(contents.entries, own=place)
        place.remove()
        return
    ledger.sweep_locked(place)


def _delete_damaged(place: StateDir, error: DamagedError) -> None:
    """Delete a container with a damaged state.json, by its ledger. Raises PyruncError: `error` if the directory is not
    known to be pyrunc's."""
    contents = ledger.read(place)
    if not ledger.is_ours(place, contents):
        raise DamagedError(error.message, hint=f"{place.path} is not known to be made by pyrunc") from error
    log.warning(error.line())
    contents.warn(place)
    record = ledger.claim(contents, place.id)
    if record is None:
        if not any([entry["effect"] in ("cgroup", "process", "systemd_unit") for entry in contents.entries]):
            log.warning(f"the processes of container {place.id}, if there are any, are not known")
        ledger.undo(contents.entries, deleting=True, own=place)
        place.remove()
        return
    _require_systemd(record)
    if record.cgroup and not ledger.is_anothers(record.cgroup, place):
        files.kill(record.cgroup)
    _kill_entries(contents)
    destroy(place, record, contents.entries)


def _kill_known(place: StateDir) -> None:
    """SIGKILL the known processes of a container, damaged or not, without its lock. Raises PyruncError."""
    try:
        record = state.load(place)
    except DamagedError:
        record = None
    if record is not None:
        _require_systemd(record)
        cgroup = record.cgroup
        if cgroup and process.find(record.pid, record.startTime) is None and ledger.is_anothers(cgroup, place):
            return
        _kill_all(record.pid, record.startTime, cgroup)


def _kill_entries(contents: ledger.Contents) -> None:
    """Kill the processes that a ledger names, and wait for their end. Raises PyruncError."""
    for entry in contents.entries:
        if entry["effect"] == "process":
            _end_process(entry["pid"], entry["startTime"], "")


def destroy(
    place: StateDir, record: Record, entries: list[ledger.Entry], poststop: Callable[[], None] | None = None
) -> None:
    """Undo the effects of a stopped container, and run the poststop hooks, whose failures are warnings.

    entries: its ledger. poststop: runs the hooks, if a timeline records them. The caller holds the lock. Raises
    PyruncError.
    """
    if record.cgroup and ledger.is_anothers(record.cgroup, place, below=not record.private_pid_namespace):
        entries = [entry for entry in entries if entry["effect"] != "cgroup"]
    elif record.cgroup:
        if not record.private_pid_namespace:
            files.kill(record.cgroup)
        if not record.systemd:  # otherwise systemd removes it with the unit
            files.remove(record.cgroup, killing=True)
            if all(entry["effect"] != "cgroup" for entry in entries):
                files.remove_parents(record.cgroup)  # not this container's create made the cgroup, but one that lost it
    ledger.undo(entries, deleting=True)
    place.remove()
    if poststop is not None:
        poststop()
    else:
        lifecycle_hooks.poststop(record)


def _require_systemd(record: Record) -> None:
    """Require the part that can delete a unit. Call it before the command's first effect."""
    if record.systemd:
        launcher.require("systemd")


def whole(place: StateDir) -> ledger.Contents:
    """The entries of the ledger. Raises DamagedError if one is not understood."""
    contents = ledger.read(place)
    contents.require_whole(place)
    return contents


def kill_and_wait(record: Record) -> None:
    """Kill the container and wait until its process has ended. Raises PyruncError on timeout."""
    _end_process(record.pid, record.startTime, record.cgroup)


def _end_process(pid: int, start_time: int, cgroup: str) -> None:
    """Kill a process and the processes of a cgroup, and wait for the end of the process. Does nothing if it has ended.

    cgroup: "" for none. Raises PyruncError.
    """
    pidfd = process.open_process(pid, start_time)
    if pidfd < 0:
        return
    try:
        if cgroup:
            files.kill(cgroup)
        _kill(pidfd)
        if not native.poll([pidfd], KILL_TIMEOUT_MS):
            raise PyruncError("container init still running", hint="its process is stuck in the kernel")
    finally:
        posix.close(pidfd)


def _kill(pidfd: int) -> None:
    """SIGKILL a process, unless it has ended. Raises PyruncError."""
    try:
        _signal.pidfd_send_signal(pidfd, _signal.SIGKILL)
    except ProcessLookupError:
        return
    except OSError as error:
        raise PyruncError("unable to signal init", errno=error.errno or 0) from error


def _kill_all(pid: int, start_time: int, cgroup: str) -> None:
    """SIGKILL the container's process and the other processes of its cgroup."""
    if cgroup:
        files.kill(cgroup)
    try:
        process.send_signal(pid, start_time)
    except OSError as error:
        raise PyruncError("unable to signal init", errno=error.errno or 0) from error
