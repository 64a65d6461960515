"""Whose a cgroup is: that of the container that has it in its record, or of another one that has found it unused since.

A stopped container has no processes, so another container may be created in its cgroup. Whoever acts on a cgroup for a
container therefore claims it first, as a create does (cgroup.claims.take), and then looks whose it is. Until the claim
ends, no other command of pyrunc creates a container in the cgroup, or removes it.
"""

from __future__ import annotations

import posix
import time

from .. import jsonio
from . import process, state
from .cgroup import claims
from .statedir import LEDGER_FILE, DamagedError, StateDir, open_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .state import Record

# What is found at the path of a cgroup: it is the container's, another one's by now, or there is none.
OWN, OTHER, GONE = range(3)

# How long another command's claim is waited for: any, and one while the container's process lives. Then no create takes
# the cgroup, but the container's own `run` has the claim, during its hooks. A container that may write to its cgroup
# can lock it too, and hand the descriptor to a process elsewhere. So a claim does not hinder a command for ever.
_PATIENCE_SECONDS = 2.0
_PATIENCE_WITH_PROCESS_SECONDS = 0.02
_WAIT_SECONDS = 0.001
_STATE_DIR = "state_dir"


class Hold:
    """A cgroup that a command acts on. The end of the context releases the claim. found: OWN, OTHER or GONE."""

    __slots__ = ("_claim", "found")

    def __init__(self, found: int, claim: int = -1) -> None:
        """Take over the descriptor of the claim; -1 without one."""
        self.found = found
        self._claim = claim

    def __enter__(self) -> Hold:
        return self

    def __exit__(self, *_: object) -> None:
        if self._claim >= 0:
            posix.close(self._claim)


def hold(path: str, own: StateDir, record: Record | None = None, below: bool = True) -> Hold:
    """Claim the cgroup at `path` for the container of a state directory, unless it is another one's by now.

    record: of a container whose process may live. Then no other container is below the cgroup, but the cgroup may still
    be another one's: a process that the kernel ends leaves it before it has ended. below: as for `is_anothers`.
    Raises PyruncError and OSError.
    """
    begin = 0.0
    while True:
        try:
            held, is_busy = Hold(OWN, claims.claim(path)), False
        except FileNotFoundError:
            return Hold(GONE)
        except BlockingIOError:
            held, is_busy = Hold(OWN), True  # another command has the claim
        try:
            lives = record is not None and _lives(record)
            is_other = is_anothers(path, own, below and not lives)
        except BaseException:
            held.__exit__()
            raise
        if is_other:
            held.__exit__()
            return Hold(OTHER)
        if not is_busy:
            return held
        now = time.monotonic()
        begin = begin or now
        if now - begin > (_PATIENCE_WITH_PROCESS_SECONDS if lives else _PATIENCE_SECONDS):
            return held
        time.sleep(_WAIT_SECONDS)


def hold_to_remove(path: str, own: StateDir, below: bool = True) -> Hold:
    """The same for a container that is deleted. If the cgroup is another one's, that one's last command removes it:
    its delete, or its create if it fails."""
    held = hold(path, own, None, below)
    if held.found != OTHER:
        return held
    claims.abandon(path)
    return hold(path, own, None, below)  # the other create may have failed before it could see that


def _lives(record: Record) -> bool:
    return process.find(record.pid, record.startTime) is not None


def is_anothers(path: str, own: StateDir, below: bool = True) -> bool:
    """Whether a cgroup has become that of another container, which has found it empty, or is above one of another.

    own: the state directory that says it is its own. below: look at the cgroups below it too. What a mark says is
    believed only where the other container says the same. Raises PyruncError, OSError.
    """
    return any([_is_of_other(inode, mark, own) for inode, mark in claims.other_marks(path, own.path, below)])


def _is_of_other(inode: int, mark: str, own: StateDir) -> bool:
    other = open_directory(mark) if mark.startswith("/") and "\0" not in mark else None
    if other is None:
        return False
    try:
        if other.distrust or (other.device, other.inode) == (own.device, own.inode):
            return False
        record = _record(other)
        if record is None:
            if other.is_locked():
                record = _record_of_create(other)
            else:
                record = _record(other)  # its creation may have ended just now
        return record is not None and record.cgroup != "" and posix.stat(record.cgroup).st_ino == inode
    except FileNotFoundError:
        return False
    finally:
        other.close()


def _record(place: StateDir) -> Record | None:
    try:
        return state.load(place)
    except DamagedError:
        return None


def _record_of_create(place: StateDir) -> Record | None:
    """The record so far of a create that is at work: its ledger begins with it. None without one."""
    try:
        line, newline, _ = place.read(LEDGER_FILE).partition("\n")
        entry = jsonio.loads(line) if newline else None
        is_record = type(entry) is dict and entry.get("effect") == _STATE_DIR
        return state.judged(entry, place.id) if is_record else None
    except (FileNotFoundError, DamagedError, ValueError):
        return None
