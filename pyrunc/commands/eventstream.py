"""The stream of `events`: statistics at an interval, and each OOM kill. Cold."""

from __future__ import annotations

import contextlib
import os
import select
import time

from .. import jsonio, log, output
from ..errors import PyruncError
from ..libcontainer import lookup, process, processes, state
from ..libcontainer.cgroup import oom, stats

STDOUT = 1
_NANOSECONDS = 1_000_000_000


def follow(root: str, id: str, interval: int) -> int:
    """Print events until the container's process has ended. Returns the exit code.

    interval: nanoseconds. The kernel reports changes of memory.events by POLLPRI, so no polling is needed.
    Raises PyruncError if the container has ended, or has no cgroup.
    """
    cgroup = processes.living_cgroup(root, id, "read the statistics of")
    record = lookup.existing(state.directory(root, id))
    pidfd = process.open_process(record.pid, record.startTime)
    if pidfd < 0:
        raise PyruncError("container not running")
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, pidfd)
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        memory = _open_events(cgroup)
        if memory >= 0:
            stack.callback(os.close, memory)
            poller.register(memory, select.POLLPRI)
        kills = max(0, _oom_kills(memory))
        above = oom.Above(cgroup, kills)
        due = time.monotonic_ns() + interval
        while True:
            wait = max(0, due - time.monotonic_ns())
            ready = [fd for fd, _ in poller.poll(-(-wait * 1000 // _NANOSECONDS))]
            # Also at the end: the kill may have ended the container.
            found = _oom_kills(memory)
            for _ in range(found - kills):
                _print_kill(id)
            kills = max(found, kills)
            if pidfd in ready:
                if found < 0 and above.was_killed(record.pid, kills):
                    _print_kill(id)
                return 0
            if time.monotonic_ns() >= due:
                due += interval
                _print_stats(id, cgroup)


def _print_kill(id: str) -> None:
    output.write(STDOUT, jsonio.dumps({"type": "oom", "id": id}) + "\n")


def _print_stats(id: str, cgroup: str) -> None:
    try:
        line = stats.event(id, cgroup)
    except PyruncError as error:
        log.error(error.line())  # as runc does: the container may be about to end
        return
    output.write(STDOUT, line)


def _open_events(cgroup: str) -> int:
    """A descriptor of memory.events; -1 without the memory controller."""
    try:
        return os.open(cgroup + "/memory.events", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1


def _oom_kills(fd: int) -> int:
    """oom_kill of memory.events; 0 without the file, -1 if the cgroup is gone."""
    if fd < 0:
        return 0
    try:
        return oom.kills_at(fd)
    except OSError:
        return -1
