"""What a launch holds, what a failed launch closes, and what it releases for other commands."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pyrunc import log
from pyrunc.errors import INIT_FAILED, START_FAILED, PyruncError
from pyrunc.libcontainer.launch import handlers, lifecycle_hooks
from pyrunc.libcontainer.launch.ledger import MemoryLedger
from pyrunc.libcontainer.launch.model import Launch
from tests.support.launches import launched


def opened() -> int:
    return os.open(os.devnull, os.O_RDONLY)


def test_room_is_made_of_what_only_the_clone_needs(tmp_path: Path) -> None:
    launch = launched(tmp_path)
    first, second = opened(), opened()
    launch.slots = {"source:0": first, "source:1": first}
    launch.idmaps = {"idmap:0": second}
    launch.cgroup_fd, launch.console_socket = opened(), opened()
    fds = [first, second, launch.cgroup_fd, launch.console_socket]
    launch.make_room()
    for fd in fds:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
    assert (launch.slots, launch.idmaps, launch.cgroup_fd, launch.console_socket) == ({}, {}, -1, -1)


def test_effects_are_kept_in_memory_until_there_is_a_state_directory(tmp_path: Path) -> None:
    launch = launched(tmp_path)
    assert isinstance(launch.ledger, MemoryLedger)
    launch.release()
    handlers.HANDLERS["state_dir"](launch, launch.options.state_dir)
    assert not isinstance(launch.ledger, MemoryLedger)
    assert launch.ledger.place.fd == launch.state_dir_fd
    launch.claim = opened()
    launch.release()
    assert launch.claim == -1
    launch.undo()
    assert not os.path.exists(launch.options.state_dir)
    os.close(launch.state_dir_fd)


def test_the_prefixes_are_runc_s(tmp_path: Path) -> None:
    launch = launched(tmp_path)
    assert (launch.error_prefix, launch.clone_error_prefix) == (INIT_FAILED, START_FAILED)
    assert not launch.is_filtered
    launch.plan.filter_flags = 0
    assert launch.is_filtered


@pytest.mark.parametrize("pid", [0, 4711])
def test_a_failed_launch_runs_poststop_hooks_where_there_was_a_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pid: int
) -> None:
    ran: list[object] = []
    monkeypatch.setattr(lifecycle_hooks, "poststop", lambda record, timeline: ran.append(record))
    launch = launched(tmp_path)
    launch.init.pid = pid
    launch.fail(PyruncError("x"))
    assert ran == [launch.record] * bool(pid)


def test_a_timeline_that_can_t_be_written_is_a_warning_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        has_init = True

        def write(self) -> None:
            raise OSError(errno.ENOSPC, "x")

    warnings: list[str] = []
    monkeypatch.setattr(log, "warning", warnings.append)
    launch: Launch = launched(tmp_path)
    launch.timeline = Broken()  # type: ignore[assignment]
    launch.try_timeline()
    launch.try_timeline()
    assert [line.endswith("no space left on device") for line in warnings] == [True]
