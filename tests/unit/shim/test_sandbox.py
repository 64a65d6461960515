"""The sandbox service's answers that need no runtime. The whole is in tests/shim/test_sandbox.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pyrunc.protobuf import MalformedError
from pyrunc.shim import messages, sandbox, ttrpc
from pyrunc.shim.tasks import Tasks
from pyrunc.shim.ttrpc import StatusError
from tests.unit.shim.test_containers import container


class Answer:
    """A call that keeps its answer."""

    def __init__(self) -> None:
        self.values: dict[str, Any] | None = None
        self.error: BaseException | None = None
        self.is_over = self.is_answered = False
        self.on_timeout = None

    def reply(self, **values: Any) -> None:
        self.values = values

    def fail(self, error: BaseException) -> None:
        self.error = error


class Service:
    """The service of a shim, whose ends are counted."""

    def __init__(self) -> None:
        self.ended = 0
        loop: Any = None
        self.tasks = Tasks(loop, "n", lambda *event: None, self.end)
        self.methods = sandbox.Sandboxes(self.tasks).services()[sandbox.SERVICE]

    def end(self) -> None:
        self.ended += 1

    def begin(self, name: str, **values: Any) -> Answer:
        request, _, handler = self.methods[name]
        answer: Any = Answer()
        handler(messages.decode(request, messages.encode(request, values)), answer)
        found: Answer = answer
        return found

    def call(self, name: str, **values: Any) -> Any:
        answer = self.begin(name, sandbox_id="s", **values)
        assert answer.values is not None
        return messages.decode(self.methods[name][1], messages.encode(self.methods[name][1], answer.values))

    def code(self, name: str, **values: Any) -> int:
        with pytest.raises(StatusError) as caught:
            self.begin(name, **{"sandbox_id": "s", **values})
        return caught.value.code

    def ready(self) -> Any:
        """The sandbox as after its start."""
        self.call("CreateSandbox", bundle_path="/b")
        one = self.tasks.sandbox
        assert one is not None
        one.container = container()
        one.status, one.pid, one.created_at = "ready", 7, 3 * 10**9
        return one


@pytest.fixture
def service() -> Service:
    return Service()


def test_nothing_is_there(service: Service) -> None:
    for name in ("StartSandbox", "Platform", "StopSandbox", "WaitSandbox", "SandboxStatus", "PingSandbox"):
        assert service.code(name) == ttrpc.NOT_FOUND
    service.call("ShutdownSandbox")
    assert service.ended == 1


def test_one_shim_has_one_sandbox(service: Service) -> None:
    service.call("CreateSandbox", bundle_path="/b")
    assert service.code("CreateSandbox", sandbox_id="t") == ttrpc.ALREADY_EXISTS
    assert service.code("PingSandbox", sandbox_id="t") == ttrpc.NOT_FOUND
    assert service.call("PingSandbox") == {}


@pytest.mark.parametrize("id", ["", "..", "a/b", "-x"])
def test_ids_that_are_no_names(service: Service, id: str) -> None:
    with pytest.raises(MalformedError):
        service.begin("CreateSandbox", sandbox_id=id)


def test_a_specification_of_its_own(service: Service, tmp_path: Path) -> None:
    (tmp_path / "config.json").touch()
    with pytest.raises(MalformedError, match="specification of its own"):
        service.begin("CreateSandbox", sandbox_id="s", bundle_path=str(tmp_path))
    assert service.tasks.sandbox is None


def test_status(service: Service) -> None:
    service.ready()
    found = service.call("SandboxStatus")
    assert (found["pid"], found["state"], found["created_at"]) == (7, "SANDBOX_READY", {"seconds": 3, "nanos": 0})
    assert found["exited_at"] is None
    assert found["info"] == {}


def test_the_end_answers_those_who_wait(service: Service) -> None:
    one = service.ready()
    first = service.begin("WaitSandbox", sandbox_id="s")
    gone = service.begin("WaitSandbox", sandbox_id="s")
    gone.is_over = True
    second = service.begin("WaitSandbox", sandbox_id="s")
    assert len(one.waiting) == 2, "who is gone is forgotten"
    one.container.init.exit_status, one.container.init.exited_at = 137, 5 * 10**9
    sandbox._ended(one)
    wanted = {"exit_status": 137, "exited_at": {"seconds": 5, "nanos": 0}}
    assert first.values == second.values == wanted
    assert service.call("WaitSandbox") == wanted
    assert service.call("SandboxStatus")["state"] == "SANDBOX_NOTREADY"


def test_a_start_that_fails_answers_those_who_wait(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.call("CreateSandbox", bundle_path="/b")
    waiting = service.begin("WaitSandbox", sandbox_id="s")
    assert waiting.values is None

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyrunc.shim.pods.remove", fail)
    with pytest.raises(OSError, match="No space"):
        service.begin("StartSandbox", sandbox_id="s")
    assert waiting.values is not None
    assert waiting.values["exit_status"] == 255
    assert service.call("WaitSandbox")["exit_status"] == 255
    assert service.call("SandboxStatus")["state"] == "SANDBOX_NOTREADY"
    assert service.code("StartSandbox") == ttrpc.FAILED_PRECONDITION


def test_a_shutdown_without_a_start_answers_those_who_wait(service: Service) -> None:
    service.call("CreateSandbox", bundle_path="/b")
    waiting = service.begin("WaitSandbox", sandbox_id="s")
    service.call("ShutdownSandbox")
    assert waiting.values is not None
    assert waiting.values["exit_status"] == 255


def test_while_it_starts(service: Service) -> None:
    service.ready().status = "starting"
    for name in ("StartSandbox", "StopSandbox", "ShutdownSandbox"):
        assert service.code(name) == ttrpc.FAILED_PRECONDITION


def test_a_step_leads_on() -> None:
    answer: Any = Answer()
    seen: list[str] = []
    step = sandbox.Step(answer, lambda: seen.append("then"), lambda: seen.append("failed"))
    step.reply(pid=3)
    assert (seen, answer.values) == (["then"], None)
    step.on_timeout = answer.fail
    assert answer.on_timeout == answer.fail
    answer.is_answered = True
    assert step.is_answered
    error = OSError()
    step.fail(error)
    assert seen == ["then", "failed"]
    assert answer.error is error
