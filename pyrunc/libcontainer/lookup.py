"""Find a container by its state directory, check that the directory can be trusted, and lock it."""

from __future__ import annotations

from ..errors import PyruncError
from . import state
from .state import Record
from .statedir import StateDir, open_directory

# How long a command waits for a lock that another command holds.
LOCK_TIMEOUT_SECONDS = 10.0


def missing() -> PyruncError:
    """runc's error for a missing container."""
    return PyruncError("container does not exist")


def existing(path: str) -> Record:
    """The record of a created container, for a command that acts on it. Changes nothing. Raises PyruncError if there is
    none, and if the directory is not trusted."""
    place = opened(path)
    try:
        return existing_in(place)
    finally:
        place.close()


def existing_in(place: StateDir) -> Record:
    """The same for an open state directory."""
    record = state.load(place)
    if record is None:
        raise missing()
    place.require_trust()
    return record


def opened(path: str) -> StateDir:
    """The open state directory of a container. Raises PyruncError if there is none."""
    place = open_directory(path)
    if place is None:
        raise missing()
    return place


def locked(path: str) -> tuple[StateDir, Record]:
    """The locked state directory of a container, and its record. Raises PyruncError if there is none."""
    place = opened(path)
    try:
        try:
            take_lock(place)
        except FileNotFoundError:
            raise missing() from None
        return place, existing_in(place)
    except BaseException:
        place.close()
        raise


def take_lock(place: StateDir, force: bool = False) -> None:
    """Lock a state directory. Waits for another command that holds the lock; with `force`, ends that command.

    Raises FileNotFoundError if the directory is removed meanwhile, and on timeout PyruncError that names the other
    command.
    """
    try:
        place.lock(0)
        return
    except BlockingIOError:
        pass
    from . import holder

    if force:
        holder.end(place)
    try:
        place.lock(LOCK_TIMEOUT_SECONDS)
    except BlockingIOError as error:
        raise PyruncError(f"container {place.id} is in use", hint=holder.describe(place)) from error
