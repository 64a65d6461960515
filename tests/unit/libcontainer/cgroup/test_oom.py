"""Kills of the OOM killer: by the counts of cgroups, and where systemd has removed one, by the kernel's log."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyrunc.libcontainer.cgroup import oom
from pyrunc.libcontainer.kernel import kmsg

PID = 77


def count(cgroup: Path, kills: int) -> None:
    cgroup.mkdir(exist_ok=True)
    text = f"low 0\nhigh 0\nmax 8\noom 3\noom_kill {kills}\noom_group_kill 1\n"
    (cgroup / "memory.events").write_text(text)


def test_oom_kills(tmp_path: Path) -> None:
    assert oom.oom_kills(str(tmp_path)) == 0
    count(tmp_path, 2)
    assert oom.oom_kills(str(tmp_path)) == 2


@pytest.mark.parametrize("known", [True, False, None])
def test_the_log_is_asked_only_where_the_cgroup_is_gone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, known: bool | None
) -> None:
    asked: list[int] = []

    def tell(pid: int, since: float) -> bool | None:
        asked.append(pid)
        assert since == 7.0
        return known

    monkeypatch.setattr(kmsg, "begun", lambda start_time: start_time / 10)

    monkeypatch.setattr(kmsg, "oom_killed", tell)
    count(tmp_path / "a", 1)
    count(tmp_path / "b", 0)
    assert oom.was_oom_killed(str(tmp_path / "a"), PID, 70)
    assert not oom.was_oom_killed(str(tmp_path / "b"), PID, 70)
    assert not oom.was_oom_killed("", PID, 70)
    assert not oom.was_oom_killed(str(tmp_path / "c"), 0, 70)
    assert asked == []
    assert oom.was_oom_killed(str(tmp_path / "c"), PID, 70) is (known is True)
    assert asked == [PID]


@pytest.mark.parametrize(("known", "expected"), [(True, True), (False, False), (None, "unless_known")])
@pytest.mark.parametrize("unless_known", [True, False])
def test_a_count_that_is_gone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, known: bool | None, expected: bool | str, unless_known: bool
) -> None:
    monkeypatch.setattr(kmsg, "oom_killed", lambda pid, since: known if (pid, since) == (PID, 8.0) else None)
    monkeypatch.setattr(kmsg, "now", lambda: 8.0)
    count(tmp_path, 5)  # two of them are others'
    above = oom.Above(str(tmp_path / "box"), 3)
    count(tmp_path, 6)
    assert above.was_killed(PID, 3, unless_known) is (unless_known if expected == "unless_known" else expected)


def test_without_a_further_kill_the_log_is_not_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its record may be that of an earlier process with the pid."""
    monkeypatch.setattr(kmsg, "oom_killed", lambda pid, since: pytest.fail("asked"))
    count(tmp_path, 5)
    above = oom.Above(str(tmp_path / "box"), 3)
    assert not above.was_killed(PID, 3)
    count(tmp_path, 6)
    assert not above.was_killed(PID, 4), "the kill was counted"
    (tmp_path / "memory.events").unlink()
    assert not above.was_killed(PID, 3), "the cgroup above is gone too"
