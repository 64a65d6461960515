"""Events: their order, and what becomes of them while containerd is away, slow, or refuses."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyrunc.shim import events as module
from pyrunc.shim import messages
from pyrunc.shim.events import Publisher
from tests.support.host import SECONDS
from tests.support.shimloop import ProbeLoop


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only tests that set a limit of time themselves come to it."""
    monkeypatch.setattr(module, "ANSWER_SECONDS", SECONDS)
    monkeypatch.setattr(module, "CLOSE_SECONDS", SECONDS)


class Containerd:
    """The event service of a containerd, which the test drives."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.topics: list[str] = []
        self.requests: list[dict[str, object]] = []
        self.events: list[dict[str, object]] = []
        self.answers = True
        self.status: list[dict[str, object] | None] = []  # of the next answers; success behind the last
        self.connections: list[tuple[socket.socket, bytearray]] = []
        self.listener: socket.socket | None = None

    def start(self) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen()
        self.listener.setblocking(False)

    def die(self) -> None:
        """As by kill -9: its socket stays, and nobody listens."""
        if self.listener is not None:
            self.listener.close()
            self.listener = None
        for connection, _ in self.connections:
            connection.close()
        self.connections = []

    def restart(self) -> None:
        self.die()
        self.path.unlink()
        self.start()

    def serve(self) -> None:
        """Do what there is to do now."""
        try:
            assert self.listener is not None
            connection, _ = self.listener.accept()
            connection.setblocking(False)
            self.connections.append((connection, bytearray()))
        except (AssertionError, BlockingIOError):
            pass
        for connection, buffer in list(self.connections):
            try:
                data = connection.recv(1 << 20)
            except BlockingIOError:
                continue
            except ConnectionResetError:
                data = b""
            if not data:
                connection.close()
                self.connections.remove((connection, buffer))
                continue
            buffer.extend(data)
            while len(buffer) >= 10 and len(buffer) >= 10 + int.from_bytes(buffer[:4], "big"):
                length = int.from_bytes(buffer[:4], "big")
                self.answer(connection, bytes(buffer[4:8]), bytes(buffer[8:10]), bytes(buffer[10 : 10 + length]))
                del buffer[: 10 + length]

    def answer(self, connection: socket.socket, stream: bytes, kind: bytes, data: bytes) -> None:
        assert kind == b"\x01\x00"
        request = messages.decode("Request", data)
        envelope = messages.decode("ForwardRequest", request["payload"])["envelope"]
        self.requests.append(request)
        status = self.status.pop(0) if self.status else None
        if not self.answers:
            return
        if status is None:
            self.topics.append(envelope["topic"])
            self.events.append(envelope)
        response = messages.encode("Response", {"status": status, "payload": b""})
        connection.sendall(len(response).to_bytes(4, "big") + stream + b"\x02\x00" + response)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(module, "LONGEST_WAIT", 0.05)


@pytest.fixture
def containerd(loop: ProbeLoop, tmp_path: Path) -> Iterator[Containerd]:
    made = Containerd(tmp_path / "containerd.sock.ttrpc")
    yield made
    made.die()


@pytest.fixture
def publisher(loop: ProbeLoop, containerd: Containerd) -> Iterator[Publisher]:
    made = Publisher(loop, "k8s.io", str(containerd.path))
    yield made
    end(loop, containerd, made)
    assert loop.watched == 0
    assert not loop._timers


def end(loop: ProbeLoop, containerd: Containerd, publisher: Publisher) -> None:
    ended: list[int] = []
    publisher.close(lambda: ended.append(1))
    until(loop, containerd, lambda: ended)


def until(loop: ProbeLoop, containerd: Containerd, condition: Callable[[], object]) -> None:
    def served() -> object:
        containerd.serve()
        return condition()

    loop.until(served)


def publish(publisher: Publisher, *numbers: int) -> None:
    for number in numbers:
        publisher.publish(f"/tasks/{number}", "TaskExit", {"container_id": "box", "exit_status": number})


def topics(*numbers: int) -> list[str]:
    return [f"/tasks/{number}" for number in numbers]


def test_an_event_is_a_whole_envelope(loop: ProbeLoop, containerd: Containerd, publisher: Publisher) -> None:
    containerd.start()
    publish(publisher, 7)
    until(loop, containerd, lambda: containerd.events)
    request, envelope = containerd.requests[0], containerd.events[0]
    assert (request["service"], request["method"]) == ("containerd.services.events.ttrpc.v1.Events", "Forward")
    assert request["metadata"] == [{"key": "containerd-namespace-ttrpc", "value": "k8s.io"}]
    assert (envelope["namespace"], envelope["topic"]) == ("k8s.io", "/tasks/7")
    assert abs(envelope["timestamp"]["seconds"] - messages.now() // 10**9) < 60  # type: ignore[index]
    event = messages.unpack("TaskExit", envelope["event"])  # type: ignore[arg-type]
    assert (event["container_id"], event["exit_status"]) == ("box", 7)


def test_events_keep_their_order_on_one_connection(
    loop: ProbeLoop, containerd: Containerd, publisher: Publisher
) -> None:
    containerd.start()
    publish(publisher, *range(300))
    until(loop, containerd, lambda: len(containerd.topics) == 300)
    assert containerd.topics == topics(*range(300))
    assert len(containerd.connections) == 1


def test_events_wait_for_containerd(
    loop: ProbeLoop, containerd: Containerd, publisher: Publisher, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is absent, killed in between, and back again with another socket of the same name."""
    publish(publisher, 1, 2)
    loop.until(lambda: publisher._failures > 2)
    containerd.start()
    until(loop, containerd, lambda: len(containerd.topics) == 2)
    containerd.die()
    publish(publisher, 3, 4)
    loop.until(lambda: publisher._failures > 2)
    assert publisher._queue
    containerd.restart()
    publish(publisher, 5)
    until(loop, containerd, lambda: len(containerd.topics) == 5)
    assert containerd.topics == topics(1, 2, 3, 4, 5)
    err = capfd.readouterr().err
    assert err.count("no such file or directory; events wait") == 1
    assert err.count("events wait") == 2, "told once each time"
    assert publisher.dropped == 0


def test_a_containerd_that_goes_away_without_an_event_is_no_news(
    loop: ProbeLoop, containerd: Containerd, publisher: Publisher, capfd: pytest.CaptureFixture[str]
) -> None:
    containerd.start()
    publish(publisher, 1)
    until(loop, containerd, lambda: containerd.topics)
    loop.idle()
    containerd.die()
    loop.until(lambda: loop.watched == 0)
    assert loop.idle() == 0
    assert not loop._timers
    assert "events wait" not in capfd.readouterr().err


def test_an_event_that_was_under_way_is_sent_again(
    loop: ProbeLoop, containerd: Containerd, publisher: Publisher
) -> None:
    containerd.start()
    containerd.answers = False
    publish(publisher, 1, 2)
    until(loop, containerd, lambda: containerd.requests)
    containerd.answers = True
    containerd.restart()
    until(loop, containerd, lambda: len(containerd.topics) == 2)
    assert containerd.topics == topics(1, 2)


def test_a_containerd_that_does_not_answer_is_asked_again(
    loop: ProbeLoop, containerd: Containerd, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.1)
    containerd.start()
    containerd.answers = False
    publish(publisher, 1)
    until(loop, containerd, lambda: len(containerd.requests) >= 2)
    monkeypatch.setattr(module, "ANSWER_SECONDS", SECONDS)
    containerd.answers = True
    until(loop, containerd, lambda: containerd.topics)
    assert {*containerd.topics} == {*topics(1)}


def test_a_queue_that_is_full_drops_the_oldest_and_says_so(
    loop: ProbeLoop, containerd: Containerd, publisher: Publisher, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(module, "QUEUE_SIZE", 3)
    publish(publisher, 1, 2, 3, 4, 5)
    assert publisher.dropped == 2
    assert "event /tasks/2 is dropped (2 so far): 3 wait for containerd" in capfd.readouterr().err
    containerd.start()
    until(loop, containerd, lambda: len(containerd.topics) == 3)
    assert containerd.topics == topics(3, 4, 5)


def test_the_event_that_is_under_way_is_not_the_one_to_drop(
    loop: ProbeLoop, containerd: Containerd, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUEUE_SIZE", 2)
    containerd.start()
    publish(publisher, 1, 2, 3, 4)
    until(loop, containerd, lambda: len(containerd.topics) == 2)
    assert containerd.topics == topics(1, 4)


def test_an_event_that_is_refused_again_and_again_does_not_hold_up_the_others(
    loop: ProbeLoop, containerd: Containerd, publisher: Publisher, capfd: pytest.CaptureFixture[str]
) -> None:
    containerd.start()
    containerd.status = [{"code": 3, "message": "bad topic"}] * 5
    publish(publisher, 1, 2)
    until(loop, containerd, lambda: containerd.topics)
    assert containerd.topics == topics(2)
    assert "event /tasks/1 is dropped (1 so far): status 3: bad topic" in capfd.readouterr().err


def test_an_event_that_is_refused_once_is_published(
    loop: ProbeLoop, containerd: Containerd, publisher: Publisher
) -> None:
    containerd.start()
    containerd.status = [{"code": 14, "message": "not yet"}]
    publish(publisher, 1, 2)
    until(loop, containerd, lambda: len(containerd.topics) == 2)
    assert containerd.topics == topics(1, 2)


@pytest.mark.parametrize(
    "answer",
    [
        b"\xff\xff\xff\xff\x00\x00\x00\x01\x02\x00",  # a length of 4 GiB
        b"\x00\x00\x00\x03\x00\x00\x00\x01\x02\x00\xff\xff\xff",  # no message
        b"\x00\x00\x00\x02\x00\x00\x00\x01\x02\x00\x08\x01",  # another wire type
    ],
)
def test_an_answer_that_is_none_is_a_failure_and_not_the_end(
    loop: ProbeLoop, containerd: Containerd, publisher: Publisher, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    containerd.start()
    real = Containerd.answer

    def bad(self: Containerd, connection: socket.socket, *rest: bytes) -> None:
        monkeypatch.setattr(Containerd, "answer", real)
        connection.sendall(answer)

    monkeypatch.setattr(Containerd, "answer", bad)
    publish(publisher, 1, 2)
    until(loop, containerd, lambda: len(containerd.topics) == 2)
    assert containerd.topics == topics(1, 2)


def test_answers_of_other_calls_and_in_pieces(
    loop: ProbeLoop, containerd: Containerd, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    containerd.start()
    real = Containerd.answer

    class Slow:
        def __init__(self, connection: socket.socket) -> None:
            self.connection = connection

        def sendall(self, data: bytes) -> None:
            self.connection.sendall(b"\x00\x00\x00\x00\x00\x00\x00\x63\x02\x00")  # of stream 99
            for byte in data:
                self.connection.sendall(bytes((byte,)))
                loop.idle()

    monkeypatch.setattr(Containerd, "answer", lambda self, connection, *rest: real(self, Slow(connection), *rest))  # type: ignore[arg-type]
    publish(publisher, 1, 2)
    until(loop, containerd, lambda: len(containerd.topics) == 2)
    assert containerd.topics == topics(1, 2)


def test_a_large_event_to_a_slow_containerd_does_not_block(
    loop: ProbeLoop, containerd: Containerd, publisher: Publisher
) -> None:
    containerd.start()
    publisher.publish("/tasks/create", "TaskCreate", {"container_id": "x" * 2_000_000})
    assert publisher._unsent, "more than the socket takes"
    until(loop, containerd, lambda: containerd.topics)
    assert len(messages.unpack("TaskCreate", containerd.events[0]["event"])["container_id"]) == 2_000_000  # type: ignore[arg-type]


def test_the_end_waits_for_the_last_events_and_not_for_ever(
    loop: ProbeLoop, containerd: Containerd, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    containerd.start()
    publisher = Publisher(loop, "default", f"unix://{containerd.path}")
    publish(publisher, 1, 2)
    end(loop, containerd, publisher)
    assert containerd.topics == topics(1, 2)
    publish(publisher, 3)
    assert not publisher._queue
    containerd.die()
    monkeypatch.setattr(module, "CLOSE_SECONDS", 0.1)
    publisher = Publisher(loop, "default", str(containerd.path))
    publish(publisher, 4, 5)
    end(loop, containerd, publisher)
    assert "2 events are not published, from /tasks/4 on" in capfd.readouterr().err
    assert loop.watched == 0
    assert not loop._timers


BINARY = """
import json, os, sys
with open({log!r}, "a") as log:
    json.dump([sys.argv[1:], sys.stdin.buffer.read().hex()], log)
    log.write("\\n")
sys.exit(os.path.exists({away!r}))
"""


class Program:
    """A program in the place of containerd's `publish`."""

    def __init__(self, directory: Path, code: str = BINARY) -> None:
        self.log = directory / "log"
        self.away = directory / "away"
        self.path = directory / "containerd"
        self.path.write_text(f"#!{sys.executable}\n" + code.format(log=str(self.log), away=str(self.away)))
        self.path.chmod(0o755)

    def calls(self) -> list[list[object]]:
        import json

        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []


def published(loop: ProbeLoop, publisher: Publisher) -> None:
    ended: list[int] = []
    publisher.close(lambda: ended.append(1))
    loop.until(lambda: ended)


def test_without_a_service_containerd_s_program_publishes(
    loop: ProbeLoop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Program(tmp_path)
    publisher = Publisher(loop, "default", "", str(program.path), "/run/containerd/containerd.sock")
    publish(publisher, 1, 2)
    published(loop, publisher)
    args, event = program.calls()[0]
    assert args == [
        "--address", "/run/containerd/containerd.sock", "publish", "--topic", "/tasks/1", "--namespace", "default",
    ]  # fmt: skip
    box = messages.decode("Any", bytes.fromhex(str(event)))
    assert messages.unpack("TaskExit", box)["exit_status"] == 1
    assert [call[0][4] for call in program.calls()] == topics(1, 2)  # type: ignore[index]


def test_a_program_that_fails_is_run_again(loop: ProbeLoop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program(tmp_path)
    program.away.touch()
    publisher = Publisher(loop, "default", "", str(program.path))
    publish(publisher, 1, 2)
    loop.until(lambda: len(program.calls()) >= 2)
    program.away.unlink()
    published(loop, publisher)
    assert [call[0][4] for call in program.calls()][-2:] == topics(1, 2)  # type: ignore[index]


def test_a_program_that_hangs_is_killed(loop: ProbeLoop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(module, "FIRST_WAIT", 20.0)
    program = Program(tmp_path, "import time\ntime.sleep(100)")
    publisher = Publisher(loop, "default", "", str(program.path))
    publish(publisher, 1)
    loop.until(lambda: publisher._failures)
    loop.until(lambda: loop.watched == 0)
    assert publisher._queue, "it waits for the next attempt"
    monkeypatch.setattr(module, "CLOSE_SECONDS", 0.0)
    program.path.write_text("#!/bin/sh\n")
    published(loop, publisher)
    loop.until(lambda: loop.watched == 0)


def test_a_service_that_containerd_does_not_have_is_replaced_by_its_program(
    loop: ProbeLoop, containerd: Containerd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Program(tmp_path)
    containerd.start()
    containerd.status = [{"code": 12, "message": "service"}]
    publisher = Publisher(loop, "default", str(containerd.path), str(program.path))
    publish(publisher, 1, 2)
    end(loop, containerd, publisher)
    assert [call[0][4] for call in program.calls()] == topics(1, 2)  # type: ignore[index]


def test_without_any_address_events_are_dropped(loop: ProbeLoop, capfd: pytest.CaptureFixture[str]) -> None:
    publisher = Publisher(loop, "default", "")
    publish(publisher, 1)
    assert publisher.dropped == 1
    assert "containerd has given no address for events" in capfd.readouterr().err
    published(loop, publisher)
