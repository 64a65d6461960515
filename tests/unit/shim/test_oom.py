"""Kills for want of memory. Without a memory controller, cgroup.events stands in: its `frozen` counts as the kernel's
other files do, and is reported the same way."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyrunc.libcontainer.cgroup import oom as kernel_counts
from pyrunc.shim import oom
from pyrunc.shim.oom import Watcher
from tests.support.shimloop import ProbeLoop


@pytest.fixture
def as_memory_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oom, "_FILE", "cgroup.events")
    monkeypatch.setattr(kernel_counts, "KEY", "frozen")


def freeze(cgroup: Path, frozen: int) -> None:
    (cgroup / "cgroup.freeze").write_text(str(frozen))


@pytest.mark.usefixtures("as_memory_events")
def test_a_kill_is_told_once(loop: ProbeLoop, cgroup: Path) -> None:
    told: list[int] = []
    watcher = Watcher(loop, str(cgroup), lambda: told.append(1))
    assert loop.idle() == 0, "nothing has happened yet"
    freeze(cgroup, 1)
    loop.until(lambda: told)
    assert loop.idle() == 0
    freeze(cgroup, 0)
    loop.until(lambda: watcher._kills == 0)
    assert told == [1], "another change of the file"
    freeze(cgroup, 1)
    loop.until(lambda: len(told) == 2)
    watcher.close()
    watcher.close()
    freeze(cgroup, 0)


@pytest.mark.usefixtures("as_memory_events")
def test_a_kill_can_be_looked_for_before_the_loop_hears_of_it(loop: ProbeLoop, cgroup: Path) -> None:
    """The kill of a container's process is reported as an exit, too, and its event goes first."""
    told: list[int] = []
    watcher = Watcher(loop, str(cgroup), lambda: told.append(1))
    freeze(cgroup, 1)
    watcher.look()
    assert told == [1]
    loop.idle()
    assert told == [1]
    watcher.close()
    watcher.look()


@pytest.mark.usefixtures("as_memory_events")
def test_kills_before_the_watch_do_not_count(loop: ProbeLoop, cgroup: Path) -> None:
    told: list[int] = []
    freeze(cgroup, 1)
    watcher = Watcher(loop, str(cgroup), lambda: told.append(1))
    watcher.look()
    assert not told
    watcher.close()


@pytest.mark.usefixtures("as_memory_events")
def test_a_cgroup_that_is_removed_ends_the_watch(
    loop: ProbeLoop, cgroup: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    watcher = Watcher(loop, str(cgroup), lambda: pytest.fail("no kill"))
    cgroup.rmdir()
    watcher.look()
    assert loop.watched == 0
    watcher.look()
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("as_memory_events")
@pytest.mark.parametrize("grown", [False, True])
@pytest.mark.parametrize("by_others", [False, True])
def test_the_kill_that_ends_a_container_whose_cgroup_is_gone(
    loop: ProbeLoop, cgroup: Path, monkeypatch: pytest.MonkeyPatch, grown: bool, by_others: bool
) -> None:
    """Without a log that can tell, the cgroup above decides, unless the shim itself has sent SIGKILL."""
    counts = iter([3, 4 if grown else 3])
    monkeypatch.setattr("pyrunc.libcontainer.cgroup.oom.oom_kills", lambda path: next(counts))
    monkeypatch.setattr("pyrunc.libcontainer.kernel.kmsg.oom_killed", lambda pid, since: None)
    told: list[int] = []
    watcher = Watcher(loop, str(cgroup), lambda: told.append(1))
    cgroup.rmdir()
    watcher.ended(77, by_others)
    assert told == [1] * (grown and by_others)
    assert loop.watched == 0


@pytest.mark.usefixtures("as_memory_events")
def test_the_kill_that_ends_a_container_whose_cgroup_is_there(loop: ProbeLoop, cgroup: Path) -> None:
    told: list[int] = []
    watcher = Watcher(loop, str(cgroup), lambda: told.append(1))
    freeze(cgroup, 1)
    watcher.ended(77, True)
    assert told == [1]
    assert loop.watched == 0


def test_without_the_controller_there_is_nothing_to_watch(loop: ProbeLoop, tmp_path: Path) -> None:
    watcher = Watcher(loop, str(tmp_path), lambda: None)
    watcher.look()
    watcher.close()
    assert loop.watched == 0


def test_a_file_that_cannot_be_watched_is_an_error_and_closed(loop: ProbeLoop, tmp_path: Path) -> None:
    (tmp_path / "memory.events").write_text("low 0\noom_kill 2\n")
    with pytest.raises(PermissionError):
        Watcher(loop, str(tmp_path), lambda: None)
