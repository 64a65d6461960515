"""Which lines of the host's ps `ps` keeps, and its message if ps fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyrunc.commands import pstable
from pyrunc.errors import PyruncError

TABLE = """UID          PID    PPID CMD
root           1       0 init 12
root          12       1 sh -c PID 1
root         120      12 12 in the command

"""


def test_the_header_and_the_lines_of_the_pids() -> None:
    assert pstable.select(TABLE, [12, 9]).splitlines() == TABLE.splitlines()[:1] + TABLE.splitlines()[2:3]


def test_a_container_without_processes_has_the_header_alone() -> None:
    assert pstable.select(TABLE, []) == "UID          PID    PPID CMD\n"


@pytest.mark.parametrize("text", ["", "USER COMMAND\nroot init\n"])
def test_a_table_without_pids(text: str) -> None:
    with pytest.raises(PyruncError, match="couldn't find PID field in ps output"):
        pstable.select(text, [1])


@pytest.fixture
def fake_ps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "ps"
    monkeypatch.setenv("PATH", str(tmp_path))
    return program


def test_the_arguments_are_those_of_the_user_or_ef(fake_ps: Path) -> None:
    fake_ps.write_text('#!/bin/sh\necho "PID $*"\n')
    fake_ps.chmod(0o755)
    assert pstable.table([], ()) == "PID -ef\n"
    assert pstable.table([], ("-o", "pid,cmd")) == "PID -o pid,cmd\n"


def test_a_ps_that_fails_says_why(fake_ps: Path) -> None:
    fake_ps.write_text("#!/bin/sh\necho 'unknown option' >&2\nexit 1\n")
    fake_ps.chmod(0o755)
    with pytest.raises(PyruncError, match="ps exited with 1: unknown option"):
        pstable.table([], ())


def test_a_host_without_ps(fake_ps: Path) -> None:
    with pytest.raises(PyruncError, match=r"exec ps: no such file or directory .*procps"):
        pstable.table([], ())
