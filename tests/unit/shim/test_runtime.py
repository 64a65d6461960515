"""The runtime's commands: their logs and their pid files. What runs them is in tests/shim."""

from __future__ import annotations

import gc
import os
import subprocess
from pathlib import Path

import pytest

from pyrunc.errors import PyruncError
from pyrunc.shim import runtime
from tests.support.host import open_descriptors
from tests.support.shimloop import ProbeLoop


def test_the_last_error_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    log.write_text(
        '{"level":"error","msg":"first"}\n{"level":"warning","msg":"w"}\nnoise\n3\n{"level":"error","msg":"last\\nline"}\n'
        '{"level":"info","msg":"i"}\n'
    )
    assert runtime.last_error(str(log)) == "last line"
    log.write_text("")
    assert runtime.last_error(str(log)) == ""


def test_a_pid_file(tmp_path: Path) -> None:
    (tmp_path / "pid").write_text("42")
    assert runtime.read_pid(str(tmp_path / "pid")) == 42
    (tmp_path / "pid").write_text("")
    with pytest.raises(ValueError):
        runtime.read_pid(str(tmp_path / "pid"))


def test_the_service_managers_variables_are_not_for_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("posix.environ", {b"NOTIFY_SOCKET": b"/x", b"LISTEN_FDS": b"1", b"PATH": b"/bin"})
    assert runtime.environment() == {b"PATH": b"/bin"}


def test_a_program_has_the_given_streams(tmp_path: Path) -> None:
    out = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    words = ["sh", "-c", "echo text; readlink /proc/self/fd/0; ls /proc/self/fd >&2"]
    pid = runtime.spawn(words, (-1, out, -1), path="/bin/sh")
    assert os.waitpid(pid, 0)[1] == 0
    assert (tmp_path / "out").read_text() == "text\n/dev/null\n"


def test_the_ordinary_build_starts_itself() -> None:
    path, words = runtime.own_program(runtime.SHIM)
    assert words == [path, "-P", "-m", "pyrunc.shim"]
    assert runtime.own_program(runtime.RUNTIME)[1][-1] == "pyrunc"


def test_a_command_that_has_ended_keeps_nothing(tmp_path: Path) -> None:
    """A call has its command, to end it, and the command has what answers the call: nothing collects such a cycle."""
    answers: list[PyruncError | None] = []
    log = tmp_path / "log.json"
    log.write_text('{"level": "error", "msg": "why"}\n')
    loop = ProbeLoop()
    loop.begin_launch()
    command = runtime.Command(loop, "create", str(log), answers.append)
    command.on_end(1)
    assert [str(answer) for answer in answers] == ["why"]
    assert not log.exists()
    assert not [found for found in gc.get_referents(command) if getattr(found, "__self__", None) is answers]
    loop.close()


def test_a_reserve_of_descriptors() -> None:
    before = open_descriptors()
    reserve = runtime.Reserve()
    assert len(open_descriptors()) == len(before) + runtime._RESERVED
    reserve.close()
    reserve.close()
    assert open_descriptors() == before


def test_a_reserve_that_can_not_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was opened is closed."""
    before = open_descriptors()
    opened: list[int] = []

    def fail(path: str, flags: int) -> int:
        if opened:
            raise OSError(24, "x")
        opened.append(os.dup(0))
        return opened[0]

    monkeypatch.setattr("posix.open", fail)
    with pytest.raises(OSError):
        runtime.Reserve()
    monkeypatch.undo()
    assert open_descriptors() == before


def test_a_child_is_signalled_until_it_is_reaped() -> None:
    """A number that is free again may be another process's."""
    with subprocess.Popen(["sleep", "1000"]) as child:
        assert runtime.kill_child(child.pid, 9)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert runtime.kill_child(child.pid, 9)  # a zombie: its number is not free
        assert child.wait() == -9
    assert not runtime.kill_child(child.pid, 9)
    assert not runtime.kill_child(os.getppid(), 9)
