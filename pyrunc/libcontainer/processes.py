"""The processes of a running container: list them, and freeze them by the cgroup freezer.

Facts: the kernel's Documentation/admin-guide/cgroup-v2.rst, cgroup.procs and cgroup.freeze.
"""

from __future__ import annotations

from ..errors import PyruncError
from . import lookup, ownership, state
from .cgroup import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .state import Record


def pids(root: str, id: str) -> list[int]:
    """The pids of the container's processes in the caller's pid namespace, in ascending order.

    A stopped container may have some if it shares its pid namespace, but not those of another container that has its
    cgroup by now. Raises PyruncError if there is no such container, or if it has no cgroup.
    """
    place = lookup.opened(state.directory(root, id))
    try:
        record = lookup.existing_in(place)
        found = files.procs(_cgroup(record, "list the processes of"))
        if found and record.pid not in found and ownership.is_anothers(record.cgroup, place):
            return []
    finally:
        place.close()
    return sorted(found)


def pause(root: str, id: str) -> None:
    """Freeze the container's cgroup and wait until every process in it is stopped.

    Raises PyruncError after thawing the cgroup again if that takes too long, and `container not running` if the
    container is neither created nor running.
    """

    def freeze(record: Record, found: str) -> None:
        if found not in ("created", "running"):
            # Wording of runc.
            raise PyruncError("container not running", hint="it is paused already" if found == "paused" else "")
        files.freeze(_cgroup(record, "pause"))

    _with_own_cgroup(root, id, freeze)


def resume(root: str, id: str) -> None:
    """Thaw the container's cgroup and wait until its processes run. Raises PyruncError: `container not paused` if
    it is not frozen."""

    def thaw(record: Record, found: str) -> None:
        if found != "paused":
            raise PyruncError("container not paused")
        files.thaw(_cgroup(record, "resume"))

    _with_own_cgroup(root, id, thaw)


def _with_own_cgroup(root: str, id: str, work: Callable[[Record, str], None]) -> None:
    """Call `work` with the container's record and status, while nobody else takes its cgroup. Raises PyruncError."""
    place = lookup.opened(state.directory(root, id))
    try:
        record = lookup.existing_in(place)
        if not record.cgroup:
            work(record, state.status(place.path, record))
            return
        with ownership.hold(record.cgroup, place, record) as held:
            # Without a cgroup of its own it has ended, and may be deleted by now.
            own = held.found == ownership.OWN
            work(record, state.status(place.path, record) if own else "stopped")
    finally:
        place.close()


def living_cgroup(root: str, id: str, what: str) -> str:
    """The directory of the cgroup of a container that has not stopped. what: the action, for the error.

    Raises PyruncError if there is no such container, or it has stopped, or has no cgroup.
    """
    path = state.directory(root, id)
    record = lookup.existing(path)
    if state.status(path, record) == "stopped":
        raise not_running(id)
    return _cgroup(record, what)


def not_running(id: str) -> PyruncError:
    """That the container has ended, in the words of runc's events."""
    return PyruncError(f"container with id {id} is not running")


def _cgroup(record: Record, what: str) -> str:
    """The directory of the container's cgroup. Raises PyruncError if it has none."""
    if not record.cgroup:
        raise PyruncError(f"can't {what} a container without a cgroup", hint="it was created without one")
    return record.cgroup
