"""Counting the kills of memory.events; the stream itself is in tests/integration/test_events.py and the guest."""

from __future__ import annotations

import os
from pathlib import Path

from pyrunc.commands import eventstream


def test_kills_are_counted_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "memory.events"
    path.write_text("low 0\noom 5\noom_kill 2\n")
    fd = eventstream._open_events(str(tmp_path))
    try:
        assert eventstream._oom_kills(fd) == 2
        path.write_text("low 0\noom 5\noom_kill 4\n")
        assert eventstream._oom_kills(fd) == 4
    finally:
        os.close(fd)


def test_without_the_controller_there_are_none(tmp_path: Path) -> None:
    assert eventstream._open_events(str(tmp_path)) == -1
    assert eventstream._oom_kills(-1) == 0


def test_a_count_that_is_gone(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)  # its read fails, as that of a file of a removed cgroup
    assert eventstream._oom_kills(fd) == -1
    os.close(fd)
