"""The whole comparison of a living container with its plan."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ...errors import PyruncError
from .. import lookup, process, state
from ..kernel.constants import NS_FILES
from . import cgroupchecks, devicechecks, expected, mountchecks, namespacechecks, processchecks, processfiles
from .differences import Findings
from .look import Question, look

if TYPE_CHECKING:
    from ..state import Record
    from .expected import Expected

# The namespaces, by the specification's names, that have to be entered to inspect their settings.
_ENTERED = ("mount", "network", "uts", "ipc")


def verify(root: str, id: str) -> Findings:
    """Compare the container with its plan. Changes nothing.

    Raises PyruncError if there is no such container, it does not run (any more), or it can't be inspected.
    """
    path = state.directory(root, id)
    place = lookup.opened(path)
    try:
        record = lookup.existing_in(place)
        status = state.status(path, record)
        pidfd = process.open_process(record.pid, record.startTime)
        if pidfd < 0:
            raise _stopped()
        try:
            return _compare(expected.of(place, root, record), record, pidfd, status != "created")
        except (PyruncError, OSError) as error:
            if process.is_ending(record.pid, record.startTime):  # or it is being deleted
                raise _stopped() from error
            raise
        finally:
            os.close(pidfd)
    finally:
        place.close()


def _compare(wanted: Expected, record: Record, pidfd: int, is_started: bool) -> Findings:
    pid = record.pid
    findings = Findings()
    question = Question(pidfd, pid, _to_enter(pid), "/" if wanted.has("mount") else record.rootfs)
    for checks in (namespacechecks, mountchecks, devicechecks):
        checks.ask(wanted, question)
    seen = look(question)
    namespacechecks.check(wanted, pid, findings)
    namespacechecks.check_inside(wanted, seen, findings)
    processchecks.check(wanted, pid, is_started, findings)
    cgroupchecks.check(wanted, pid, findings)
    mountchecks.check(wanted, seen, findings)
    devicechecks.check(wanted, seen, findings)
    if process.is_ending(pid, record.startTime):  # the last reads may have been of another process
        raise _stopped()
    return findings


def _stopped() -> PyruncError:
    return PyruncError("container not running", hint="only a living container can be compared with its plan")


def _to_enter(pid: int) -> list[str]:
    """The namespaces of the container that are not this process's. Its user namespace only where this process has not
    the rights to enter the others from outside."""
    types = [type for type in _ENTERED if processfiles.namespace(pid, type) != processfiles.namespace("self", type)]
    if os.geteuid() != 0 and processfiles.namespace(pid, "user") != processfiles.namespace("self", "user"):
        types.insert(0, "user")
    return [NS_FILES[type] for type in types]
