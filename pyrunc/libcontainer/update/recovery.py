"""Undo a failed or killed update, or finish it, by its journal."""

from __future__ import annotations

import posix

from ...errors import PyruncError, from_os_error
from .. import saved_config
from ..cgroup import devices, files, limits
from ..kernel.fileio import name_whole, write_file
from ..plan import host
from . import journal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..state import Record
    from ..statedir import StateDir
    from .journal import Journal
    from .session import Container

UNDONE, FINISHED = "undone", "finished"


def recover(place: StateDir, record: Record) -> str:
    """Undo a killed update, or finish it if it can't be undone any more. Returns UNDONE or FINISHED, "" if there was
    none. Its temporary files are removed. Raises PyruncError, OSError."""
    for name in journal.drafts(place):
        try:
            posix.unlink(name, dir_fd=place.fd)
        except OSError as error:
            name_whole(error, place.fd, name)
            raise
    found = journal.load(place.fd)
    if found is None:
        return ""
    if found.forward:
        finish(found, place, record)
        return FINISHED
    undo(found, place, record, [])
    return UNDONE


def undo(found: Journal, place: StateDir, record: Record, copies: list[int]) -> None:
    """Restore the old values and remove the journal.

    place: the state directory. copies: copies of the unmounted mounts, if this command has them; they are closed.
    If one value can't be restored, the others still are. Then the journal stays, and PyruncError has the first failure.
    """
    failures: list[PyruncError] = []
    dirfd, cgroup = place.fd, record.cgroup
    if found.changes_files:
        failures += _undo_files(found, place, record, copies)
    if found.properties:
        from ..systemd import update

        try:
            update.set_properties(found.unit, found.user, found.properties)
        except PyruncError as error:
            failures.append(error)
    if found.writes or found.rules:
        failures += _undo_cgroup(found, cgroup)
    for path, text in reversed(found.files):
        try:
            write_file(path, text)
        except OSError as error:
            failures.append(from_os_error(error))
    try:
        found.record(dirfd, record, found.linux, found.kept, found.state)
    except OSError as error:
        failures.append(from_os_error(error))
    except PyruncError as error:
        failures.append(error)
    if failures:
        raise failures[0]
    journal.remove(dirfd)


def finish(found: Journal, place: StateDir, record: Record) -> None:
    """Finish a killed update that can't be undone any more. If that fails, the journal stays. Raises PyruncError,
    OSError."""
    from . import mounts

    mounts.finish(found, container_of(place, record))
    found.record(place.fd, record, found.after_linux, found.after, found.after_state)
    journal.remove(place.fd)


def _undo_files(found: Journal, place: StateDir, record: Record, copies: list[int]) -> list[PyruncError]:
    """Undo the changes in the container. Returns the failures."""
    from . import mounts

    try:
        mounts.undo(found, container_of(place, record), place.fd, copies)
    except OSError as error:
        return [from_os_error(error)]
    except PyruncError as error:
        return [error]
    return []


def _undo_cgroup(found: Journal, cgroup: str) -> list[PyruncError]:
    """Restore the control files in reverse order, and the device rules. Returns the failures."""
    try:
        fd = files.open_directory(cgroup)
    except FileNotFoundError:
        return []  # the container has ended
    # By file: a file that was written several times may refuse all writes but the last.
    refused: dict[str, PyruncError] = {}
    try:
        for file, text in reversed(found.writes):
            try:
                limits.write(fd, file, text)
            except OSError as error:
                refused[file] = PyruncError(f"writing {text.strip()} back to {file}", errno=error.errno or 0)
            else:
                refused.pop(file, None)
        if found.rules:
            try:
                devices.replace(fd, devices.assemble(found.rules))
            except PyruncError as error:
                refused["devices"] = error
    finally:
        posix.close(fd)
    return list(refused.values())


def container_of(place: StateDir, record: Record) -> Container:
    """The container of a state directory, for a session in it. Raises PyruncError."""
    from .session import Container

    return Container(record, place.path.rpartition("/")[0] or "/", saved_config.load(place), host.gather())
