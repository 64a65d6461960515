"""What the shim calls in its own process leaves no descriptor open, whatever fails: it runs for months.

Each call is made with 0, 1, 2 … free descriptors, so that each of its calls of the kernel that needs one fails once.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer import lifecycle, lookup, process, processes, state
from pyrunc.libcontainer.kernel import kmsg, userns
from pyrunc.libcontainer.plan.host import gather_limits
from pyrunc.shim import metrics, options, pods
from tests.support.boxes import Box

MOST = 9


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path)
    yield made
    made.end()


def held() -> set[str]:
    """The numbers of the open descriptors."""
    return {name for name in map(str, range(1024)) if os.path.lexists(f"/proc/self/fd/{name}")}


def leaves_nothing(call: Callable[[], object]) -> None:
    """Make a call with few free descriptors, then with more, until it has as many as it needs."""
    call()  # what is imported on demand is there
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    first = max(map(int, held())) + 1
    fillers = []
    while (fd := os.dup(0)) < first:
        fillers.append(fd)
    os.close(fd)
    try:
        before = held()
        for free in range(MOST):
            resource.setrlimit(resource.RLIMIT_NOFILE, (first + free, hard))
            try:
                call()
            except (OSError, PyruncError):
                assert free < MOST - 1, "it needs more"
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert held() == before, f"with {free} free descriptors"
    finally:
        for fd in fillers:
            os.close(fd)


@pytest.mark.parametrize("every", [False, True])
def test_a_signal(box: Box, every: bool) -> None:
    leaves_nothing(lambda: lifecycle.kill(box.root, "box", 18, every))


def test_a_record(box: Box) -> None:
    leaves_nothing(lambda: lookup.existing(state.directory(box.root, "box")))


def test_a_state(box: Box) -> None:
    leaves_nothing(lambda: lifecycle.state(box.root, "box"))


def test_what_fails(box: Box, tmp_path: Path) -> None:
    """Also with descriptors enough."""

    def fails() -> None:
        for call in (
            lambda: processes.pids(box.root, "box"),  # without a cgroup
            lambda: lifecycle.kill(box.root, "nobody", 9, False),
            lambda: metrics.gather(str(tmp_path / "none")),
        ):
            with pytest.raises((PyruncError, OSError)):
                call()

    leaves_nothing(fails)


def test_the_limits_of_the_host() -> None:
    leaves_nothing(gather_limits)


def test_metrics(cgroup: Path) -> None:
    leaves_nothing(lambda: metrics.gather(str(cgroup)))


def test_files(tmp_path: Path) -> None:
    leaves_nothing(lambda: options.write(str(tmp_path / "file"), "text"))
    leaves_nothing(pods.oom_score)
    leaves_nothing(lambda: os.close(userns.owner("/proc/self/ns/net")))
    leaves_nothing(lambda: kmsg.oom_killed(1, 0.0))


def test_a_process_that_can_t_be_looked_at(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pidfd is open by then."""
    record = lookup.existing(state.directory(box.root, "box"))

    def fail(pid: int, thread: int = 0) -> None:
        raise OSError(23, "Too many open files in system")

    monkeypatch.setattr(process, "stat", fail)
    before = held()
    with pytest.raises(OSError, match="Too many"):
        process.open_process(record.pid, record.startTime)
    assert held() == before
