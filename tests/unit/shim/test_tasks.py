"""The task service's answers that need no runtime. The whole is in tests/shim."""

from __future__ import annotations

from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer import lifecycle
from pyrunc.shim import messages, runtime, ttrpc
from pyrunc.shim.tasks import SERVICES, Tasks
from pyrunc.shim.ttrpc import StatusError
from tests.unit.shim.test_containers import container, process


class Answer:
    """A call that keeps its answer."""

    def __init__(self) -> None:
        self.values: dict[str, Any] | None = None
        self.is_over = False

    def reply(self, **values: Any) -> None:
        self.values = values


class Service:
    """The service with one container, and the ends that were asked for."""

    def __init__(self) -> None:
        self.ended = 0
        loop: Any = None
        self.tasks = Tasks(loop, "n", lambda *event: None, self.end)
        self.one = container()
        self.one.is_created = True
        names = {"stdin": "", "stdout": "/o", "stderr": "", "terminal": False}
        self.one.init.given = names
        self.one.execs["e"] = process("e")
        self.one.execs["e"].given = names
        self.tasks.containers["c"] = self.one

    def end(self) -> None:
        self.ended += 1

    def call(self, name: str, **values: Any) -> dict[str, Any] | None:
        request, response, handler = self.tasks.services()[SERVICES[0]][name]
        answer: Any = Answer()
        handler(messages.decode(request, messages.encode(request, values)), answer)
        if answer.values is not None:
            messages.encode(response, answer.values)
        found: dict[str, Any] | None = answer.values
        return found

    def code(self, name: str, **values: Any) -> int:
        with pytest.raises(StatusError) as caught:
            self.call(name, **values)
        return caught.value.code


@pytest.fixture
def service() -> Service:
    return Service()


def test_both_versions_have_all_methods(service: Service) -> None:
    services = service.tasks.services()
    assert set(services) == {"containerd.task.v2.Task", "containerd.task.v3.Task"}
    wanted = (
        "State Create Start Delete Pids Pause Resume Checkpoint Kill Exec ResizePty CloseIO Update Wait Stats Connect "
        "Shutdown"
    )
    assert set(services["containerd.task.v3.Task"]) == set(wanted.split())


def test_state(service: Service) -> None:
    found = service.call("State", id="c")
    assert found is not None
    assert (found["id"], found["pid"], found["status"], found["stdout"]) == ("c", 7, 2, "/o")
    service.one.init.status = "paused"
    found = service.call("State", id="c", exec_id="e")
    assert found is not None
    assert (found["id"], found["status"]) == ("e", 4)


@pytest.mark.parametrize(
    "name", ["State", "Start", "Delete", "Pids", "Pause", "Kill", "Wait", "Stats", "Update", "Exec"]
)
def test_an_unknown_container(service: Service, name: str) -> None:
    assert service.code(name, id="other", **({"exec_id": "x"} if name == "Exec" else {})) == ttrpc.NOT_FOUND


def test_an_unknown_process(service: Service) -> None:
    for name in ("State", "Start", "Delete", "Kill", "Wait", "CloseIO", "ResizePty"):
        assert service.code(name, id="c", exec_id="other") == ttrpc.NOT_FOUND


def test_a_container_that_is_being_created(service: Service) -> None:
    service.one.is_created = False
    assert service.code("Start", id="c") == ttrpc.FAILED_PRECONDITION
    assert service.code("Create", id="c") == ttrpc.ALREADY_EXISTS


def test_the_wrong_order(service: Service) -> None:
    assert service.code("Start", id="c") == ttrpc.UNKNOWN
    assert service.code("Delete", id="c") == ttrpc.UNKNOWN
    assert service.code("Delete", id="c", exec_id="e") == ttrpc.UNKNOWN
    assert service.code("Resume", id="c") == ttrpc.UNKNOWN
    assert service.code("Exec", id="c", exec_id="e") == ttrpc.ALREADY_EXISTS
    service.one.init.status = "stopped"
    for name in ("Pause", "Update", "Checkpoint"):
        assert service.code(name, id="c") == ttrpc.UNKNOWN
    assert service.code("Exec", id="c", exec_id="new") == ttrpc.UNKNOWN
    service.one.execs["e"].status = "created"
    assert service.code("Start", id="c", exec_id="e") == ttrpc.FAILED_PRECONDITION


@pytest.mark.parametrize(
    ("failure", "code", "text"),
    [
        (PyruncError("container not running"), ttrpc.NOT_FOUND, "process already finished"),
        (PyruncError("container does not exist"), ttrpc.NOT_FOUND, "no such container"),
        (ProcessLookupError(3, "No such process"), ttrpc.NOT_FOUND, "process already finished"),
        (
            PyruncError("unable to signal init", errno=1),
            ttrpc.UNKNOWN,
            "unknown error after kill: unable to signal init",
        ),
    ],
)
def test_a_failed_kill(
    service: Service, monkeypatch: pytest.MonkeyPatch, failure: Exception, code: int, text: str
) -> None:
    def fail(*args: object) -> None:
        raise failure

    monkeypatch.setattr(lifecycle, "kill", fail)
    with pytest.raises(StatusError, match=text) as caught:
        service.call("Kill", id="c", signal=9)
    assert caught.value.code == code


def test_a_kill_of_an_exec(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, int]] = []
    is_there = True

    def kill_child(pid: int, number: int) -> bool:
        sent.append((pid, number))
        return is_there

    monkeypatch.setattr(runtime, "kill_child", kill_child)
    assert service.call("Kill", id="c", exec_id="e", signal=15) == {}
    assert sent == [(7, 15)]
    is_there = False  # it is reaped, and the loop's next turn tells that it has ended
    assert service.code("Kill", id="c", exec_id="e", signal=15) == ttrpc.NOT_FOUND
    service.one.execs["e"].ended = 0
    assert service.code("Kill", id="c", exec_id="e", signal=15) == ttrpc.NOT_FOUND
    service.one.execs["e"].pid = 0
    assert service.code("Kill", id="c", exec_id="e", signal=15) == ttrpc.FAILED_PRECONDITION


def test_a_wait(service: Service) -> None:
    assert service.call("Wait", id="c") is None
    assert len(service.one.init.waiting) == 1
    service.one.init.status = "stopped"
    service.one.init.exit_status = 3
    assert service.call("Wait", id="c") == {"exit_status": 3, "exited_at": None}


def test_waits_whose_clients_are_gone_are_forgotten(service: Service) -> None:
    for _ in range(3):
        service.call("Wait", id="c")
    waiting: Any = service.one.init.waiting
    waiting[0].call.is_over = waiting[2].call.is_over = True
    service.call("Wait", id="c")
    assert [one.call.is_over for one in service.one.init.waiting] == [False, False]  # type: ignore[attr-defined]


def test_a_shutdown_waits_for_the_last_container(service: Service) -> None:
    assert service.call("Shutdown", id="c", now=True) == {}
    assert service.ended == 0
    service.tasks.containers.clear()
    service.call("Shutdown", id="c")
    assert service.ended == 1
    found = service.call("Connect", id="c")
    assert found is not None
    assert found["task_pid"] == 0
