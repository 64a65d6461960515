"""`delete`: remove a container, or the rest of one. Its effects are in its state.json, or else in its ledger."""

from __future__ import annotations

import _signal
import posix

from .. import launcher, log
from ..errors import PyruncError
from . import ownership, process, state
from .cgroup import claims, files
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
        kill_and_wait(place, record)
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
    _kill_entries(contents)
    destroy(place, record, contents.entries, killing=True)


def _kill_known(place: StateDir) -> None:
    """SIGKILL the known processes of a container, damaged or not, without its lock. Raises PyruncError."""
    try:
        record = state.load(place)
    except DamagedError:
        record = None
    if record is not None:
        _require_systemd(record)
        _kill_cgroup(place, record)
        try:
            process.send_signal(record.pid, record.startTime)
        except OSError as error:
            raise PyruncError("unable to signal init", errno=error.errno or 0) from error


def _kill_cgroup(place: StateDir, record: Record) -> None:
    """SIGKILL what is in the container's cgroup, unless that is another one's by now. Raises PyruncError and
    OSError."""
    if record.cgroup:
        with ownership.hold(record.cgroup, place, record) as held:
            if held.found == ownership.OWN:
                files.kill(record.cgroup)


def _kill_entries(contents: ledger.Contents) -> None:
    """Kill the processes that a ledger names, and wait for their end. Raises PyruncError."""
    for entry in contents.entries:
        if entry["effect"] == "process":
            pidfd = process.open_process(entry["pid"], entry["startTime"])
            if pidfd >= 0:
                _end_process(pidfd)


def destroy(
    place: StateDir,
    record: Record,
    entries: list[ledger.Entry],
    poststop: Callable[[], None] | None = None,
    killing: bool = False,
) -> None:
    """Undo the effects of a stopped container, and run the poststop hooks, whose failures are warnings.

    entries: its ledger. poststop: runs the hooks, if a timeline records them. killing: also kill the processes in its
    cgroup if the container has a pid namespace of its own, which has ended all but those that are on their way into it.
    The caller holds the lock. Raises PyruncError.
    """
    if record.cgroup:
        # What is in the cgroup, or at its path, from now on is another container's.
        entries = [entry for entry in entries if entry["effect"] != "cgroup"]
        _remove_cgroup(place, record, killing or not record.private_pid_namespace)
    ledger.undo(entries, deleting=True)
    if record.cgroup and not record.systemd:
        claims.remove_parents(record.cgroup)  # also those that another container's create made
    place.remove()
    if poststop is not None:
        poststop()
    else:
        lifecycle_hooks.poststop(record)


def _remove_cgroup(place: StateDir, record: Record, killing: bool) -> None:
    """Remove the cgroup of a stopped container, unless it is another one's by now. Raises PyruncError."""
    path = record.cgroup
    with ownership.hold_to_remove(path, place, below=not record.private_pid_namespace) as held:
        if held.found == ownership.OWN:
            if killing:
                files.kill(path)
            if not record.systemd:  # otherwise systemd removes it with the unit
                files.remove(path, killing=True)


def _require_systemd(record: Record) -> None:
    """Require the part that can delete a unit. Call it before the command's first effect."""
    if record.systemd:
        launcher.require("systemd")


def whole(place: StateDir) -> ledger.Contents:
    """The entries of the ledger. Raises DamagedError if one is not understood."""
    contents = ledger.read(place)
    contents.require_whole(place)
    return contents


def kill_and_wait(place: StateDir, record: Record) -> None:
    """Kill the container and wait until its process has ended. Raises PyruncError on timeout."""
    pidfd = process.open_process(record.pid, record.startTime)
    if pidfd >= 0:
        _end_process(pidfd, lambda: _kill_cgroup(place, record))


def _end_process(pidfd: int, kill_others: Callable[[], None] | None = None) -> None:
    """Kill a process, and wait for its end. kill_others: called before that. Raises PyruncError."""
    try:
        if kill_others is not None:
            kill_others()
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
