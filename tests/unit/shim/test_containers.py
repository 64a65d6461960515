"""The order in which the ends of processes are reported, without a container. The whole is in tests/shim."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pyrunc.libcontainer import lifecycle
from pyrunc.shim import containers, messages
from pyrunc.shim.containers import Containers
from pyrunc.shim.model import Container, Process

if TYPE_CHECKING:
    from pyrunc.protobuf import Message


class Streams:
    """Standard streams whose last output comes when the test says so."""

    def __init__(self) -> None:
        self.done: Callable[[], None] | None = None
        self.is_slow = False

    def exited(self, done: Callable[[], None]) -> None:
        if self.is_slow:
            self.done = done
        else:
            done()


class Command:
    """A runtime that can't be started. begun: the commands that were to be."""

    root = "/r"

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.begun: list[str] = []

    def run(self, command: str, *given: object) -> None:
        self.begun.append(command)
        assert self.failure is not None
        raise self.failure


class Answer:
    """A call."""

    def __init__(self, is_answered: bool) -> None:
        self.is_answered = is_answered
        self.on_timeout = None

    def fail(self, error: BaseException) -> None:
        raise error


@pytest.fixture
def events() -> list[tuple[str, Message]]:
    return []


@pytest.fixture
def shim(events: list[tuple[str, Message]]) -> Containers:
    loop: Any = None
    return Containers(loop, "n", lambda topic, name, values: events.append((topic, values)))


def process(exec_id: str) -> Process:
    streams: Any = Streams()
    made = Process({}, exec_id, streams)
    made.status = "running"
    made.pid = 7
    return made


def container() -> Container:
    command: Any = Command()
    return Container(messages.decode("CreateTaskRequest", b"\x0a\x01c"), "n", {}, command, process(""))


def ids(events: list[tuple[str, Message]]) -> list[tuple[str, int]]:
    return [(values["id"], values["exit_status"]) for _, values in events]


def test_an_exit_waits_for_the_last_output(shim: Containers, events: list[tuple[str, Message]]) -> None:
    one = container()
    streams: Any = one.init.stdio
    streams.is_slow = True
    answered: list[str] = []
    one.init.waiting.append(lambda: answered.append("wait"))
    shim.exited(one, one.init, 3)
    assert (events, one.init.status) == ([], "running")
    streams.done()
    assert ids(events) == [("c", 3)]
    assert answered == ["wait"]
    assert one.init.status == "stopped"
    streams.done()
    assert len(events) == 1


def test_the_first_process_comes_last(shim: Containers, events: list[tuple[str, Message]]) -> None:
    one = container()
    one.execs["e"] = process("e")
    shim.exited(one, one.init, 137)
    assert events == []
    shim.exited(one, one.execs["e"], 0)
    assert ids(events) == [("e", 0), ("c", 137)]


class Memory:
    """A watch for kills that has one to tell."""

    def __init__(self, told: Callable[[], None]) -> None:
        self.told = told

    def look(self) -> None:
        self.told()

    def ended(self, pid: int, killed_by_others: bool) -> None:
        """The last look."""
        assert pid == 7
        if killed_by_others:
            self.told()


@pytest.mark.parametrize("exec_id", ["", "e"])
def test_a_kill_for_want_of_memory_is_told_before_the_exit(
    shim: Containers, events: list[tuple[str, Message]], exec_id: str
) -> None:
    one = container()
    one.execs["e"] = process("e")
    if not exec_id:
        one.execs["e"].status = "stopped"
    memory: Any = Memory(lambda: shim.publish("/tasks/oom", "TaskOOM", {}))
    one.memory = memory
    shim.exited(one, one.process(exec_id), 137)
    assert [topic for topic, _ in events] == ["/tasks/oom", "/tasks/exit"]


def test_an_exit_waits_for_its_start(shim: Containers, events: list[tuple[str, Message]]) -> None:
    one = container()
    one.init.starting = True
    shim.exited(one, one.init, 1)
    assert events == []
    one.init.starting = False
    shim.exited(one, one.init, one.init.ended)
    assert ids(events) == [("c", 1)]


def test_without_a_pid_namespace_the_others_are_killed(
    shim: Containers, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    killed: list[object] = []
    monkeypatch.setattr(lifecycle, "kill", lambda *args: killed.append(args))
    one = container()
    one.own_pids = False
    shim.exited(one, one.init, 0)
    assert killed == [("/r", "c", 9, True)]

    def fail(*args: object) -> None:
        raise OSError(1, "refused")

    monkeypatch.setattr(lifecycle, "kill", fail)
    other = container()
    other.own_pids = False
    shim.exited(other, other.init, 0)
    assert "failed to kill init's children of c: " in capfd.readouterr().err
    assert other.init.status == "stopped"


@pytest.mark.parametrize(
    ("failure", "is_answered", "begun", "text"),
    [
        (None, True, [], "the client's time for start was up before its turn"),
        (ValueError("embedded null byte"), False, ["start"], "the command line of start: embedded null byte"),
        (OSError(11, "x"), False, ["start"], "resource temporarily unavailable"),
    ],
)
def test_a_command_that_does_not_begin(
    shim: Containers, failure: Exception | None, is_answered: bool, begun: list[str], text: str
) -> None:
    """The caller learns it, also if other commands came before, and the next command has its turn."""
    one = container()
    command: Any = Command(failure)
    one.runtime = command
    call: Any = Answer(is_answered)
    failures: list[str] = []
    later: list[int] = []
    one.turn(lambda: None)
    shim.launch(one, call, "start", ["c"], lambda found: failures.append(str(found)))
    one.turn(lambda: later.append(1))
    one.end_turn()
    assert command.begun == begun
    assert [text in found.lower() for found in failures] == [True], failures
    assert later == [1]


def test_the_end_is_kept(tmp_path: Path) -> None:
    one = container()
    one.bundle = str(tmp_path)
    assert containers.noted_exit(str(tmp_path)) is None
    one.init.exit_status, one.init.exited_at = 5, 7 * 10**9
    containers._note_exit(one)
    assert containers.noted_exit(str(tmp_path)) == (5, 7 * 10**9)
    assert os.listdir(tmp_path) == [containers.EXIT]
    for damaged in ("", "[]", "{}", '{"status": "5", "at": 7}', '{"status": -1, "at": 7}', '{"status": 1, "at": 0}'):
        (tmp_path / containers.EXIT).write_text(damaged)
        assert containers.noted_exit(str(tmp_path)) is None
    containers.forget_exit(str(tmp_path))
    containers.forget_exit(str(tmp_path))
    assert not os.listdir(tmp_path)


def test_an_end_that_can_not_be_kept(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    one = container()
    one.bundle = f"{tmp_path}/gone"
    containers._note_exit(one)
    assert "the exit status of c is not kept: writing " in capfd.readouterr().err


def test_the_process_of_a_sandbox_has_no_events(shim: Containers) -> None:
    seen: list[str] = []
    shim.publish = lambda topic, name, values: seen.append(topic)
    one = container()
    shim.tell(one, "/tasks/start", "TaskStart", {})
    one.is_sandbox = True
    shim.tell(one, "/tasks/exit", "TaskExit", {})
    assert seen == ["/tasks/start"]
