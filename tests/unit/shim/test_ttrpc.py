"""The ttrpc server: frames in any pieces, bad ones, handlers that fail, slow clients, times that are up."""

from __future__ import annotations

import _socket
import errno
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.shim import messages, ttrpc
from pyrunc.shim.ttrpc import Call, Server, StatusError
from tests.support.shimloop import ProbeLoop

if TYPE_CHECKING:
    from pyrunc.protobuf import Message

SERVICE = "a.Service"


class Peer:
    """A server with a few methods, and one client."""

    def __init__(self, path: Path) -> None:
        self.loop = ProbeLoop()
        self.waiting: list[Call] = []
        listener = _socket.socket(_socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(5)
        methods: ttrpc.Service = {
            "Echo": ("StartRequest", "ConnectResponse", self.echo),
            "Wait": ("StartRequest", "ConnectResponse", lambda request, call: self.waiting.append(call)),
            "Fail": ("StartRequest", "ConnectResponse", self.fail),
            "Large": ("StartRequest", "ConnectResponse", lambda request, call: call.reply(version="x" * (5 << 20))),
        }
        self.server = Server(self.loop, listener, {SERVICE: methods})
        self.path = path
        self.client = self.connect()

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(self.path))
        client.setblocking(False)
        return client

    def echo(self, request: Message, call: Call) -> None:
        call.reply(version=request["id"], shim_pid=len(call.namespace))

    def fail(self, request: Message, call: Call) -> None:
        raise {
            "status": StatusError(ttrpc.NOT_FOUND, "gone"),
            "explained": PyruncError("explained"),
            "bug": ZeroDivisionError("a bug"),
        }[request["id"]]

    def turn(self) -> None:
        self.loop.idle()

    def answers(self, client: socket.socket | None = None) -> list[tuple[int, Message]]:
        """What the client has received: streams and responses."""
        data = b""
        for _ in range(200):
            self.turn()
            try:
                data += (client or self.client).recv(1 << 20)
            except BlockingIOError:
                break
        found = []
        while data:
            length = int.from_bytes(data[:4], "big")
            assert data[8:10] == b"\x02\x00"
            found.append((int.from_bytes(data[4:8], "big"), messages.decode("Response", data[10 : 10 + length])))
            data = data[10 + length :]
        return found

    def codes(self) -> list[tuple[int, int]]:
        return [(stream, answer["status"]["code"] if answer["status"] else 0) for stream, answer in self.answers()]


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    made = Peer(tmp_path / "s")
    yield made
    made.client.close()
    made.server.close()


def frame(stream: int, data: bytes, kind: int = 1, length: int | None = None) -> bytes:
    size = len(data) if length is None else length
    return size.to_bytes(4, "big") + stream.to_bytes(4, "big") + bytes((kind, 0)) + data


def request(method: str, id: str = "x", stream: int = 1, **more: Any) -> bytes:
    values = {"service": SERVICE, "method": method, "payload": messages.encode("StartRequest", {"id": id}), **more}
    return frame(stream, messages.encode("Request", values))


class NoDescriptors:
    """A listener whose accept fails."""

    def __init__(self, listener: Any) -> None:
        self.listener = listener
        self.asked = 0

    def _accept(self) -> None:
        self.asked += 1
        raise OSError(errno.EMFILE, "Too many open files")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.listener, name)


def test_without_descriptors_clients_wait(
    peer: Peer, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listener is not asked again at once, and one line tells of all failures."""
    monkeypatch.setattr(ttrpc, "_ACCEPT_SECONDS", 0.05)
    peer.client.send(request("Echo"))
    listener = peer.server._listener
    none: Any = NoDescriptors(listener)
    peer.server._listener = none
    begin = time.monotonic()
    while none.asked < 4:
        peer.turn()
    assert time.monotonic() - begin > 0.1, "it is asked again and again"
    assert capfd.readouterr().err.count("accept: too many open files; clients wait") == 1
    peer.server._listener = listener
    peer.loop.until(lambda: bool(peer.server._connections))
    assert peer.codes() == [(1, 0)]
    assert not peer.server._is_short


def test_a_call(peer: Peer) -> None:
    metadata = [{"key": "containerd-namespace-ttrpc", "value": "four"}]
    peer.client.send(request("Echo", "text", metadata=metadata))
    ((stream, answer),) = peer.answers()
    assert stream == 1
    assert answer["status"] is None
    assert messages.decode("ConnectResponse", answer["payload"]) == {"shim_pid": 4, "task_pid": 0, "version": "text"}


def test_a_frame_in_pieces_and_several_in_one(peer: Peer) -> None:
    data = request("Echo", stream=1) + request("Echo", stream=3) + request("Echo", stream=5)
    for at in range(0, len(data) - 7, 7):
        peer.client.send(data[at : at + 7])
        peer.turn()
    peer.client.send(data[at + 7 :])
    assert [stream for stream, _ in peer.answers()] == [1, 3, 5]


@pytest.mark.parametrize(
    ("data", "codes"),
    [
        (request("Other"), [(1, ttrpc.UNIMPLEMENTED)]),
        (frame(1, messages.encode("Request", {"service": "b", "method": "Echo"})), [(1, ttrpc.UNIMPLEMENTED)]),
        (frame(1, b"\xff\xff"), [(1, ttrpc.INVALID_ARGUMENT)]),
        (request("Echo", payload=b"\x08\x01"), [(1, ttrpc.INVALID_ARGUMENT)]),
        (request("Echo", stream=2), [(2, ttrpc.INVALID_ARGUMENT)]),
        (request("Echo", stream=3) + request("Echo", stream=3), [(3, 0), (3, ttrpc.INVALID_ARGUMENT)]),
        (frame(1, b"", kind=3), [(1, ttrpc.INVALID_ARGUMENT)]),
        (frame(1, b"", kind=9), []),
        (frame(1, b"x" * 3, length=(4 << 20) + 1), [(1, ttrpc.RESOURCE_EXHAUSTED)]),
        (request("Fail", "status"), [(1, ttrpc.NOT_FOUND)]),
        (request("Fail", "explained"), [(1, ttrpc.UNKNOWN)]),
        (request("Fail", "bug"), [(1, ttrpc.INTERNAL)]),
        (request("Large"), [(1, ttrpc.RESOURCE_EXHAUSTED)]),
    ],
)
def test_what_fails_has_its_status_and_the_next_client_is_served(
    peer: Peer, data: bytes, codes: list[tuple[int, int]]
) -> None:
    peer.client.send(data)
    assert peer.codes() == codes
    other = peer.connect()
    peer.turn()
    other.send(request("Echo"))
    assert [stream for stream, _ in peer.answers(other)] == [1]
    other.close()


def test_a_message_that_is_too_large_is_skipped(peer: Peer) -> None:
    size = (4 << 20) + 1
    data = frame(1, b"x" * size) + request("Echo", stream=3)
    for at in range(0, len(data), 1 << 14):
        peer.client.send(data[at : at + (1 << 14)])
        peer.turn()
    assert peer.codes() == [(1, ttrpc.RESOURCE_EXHAUSTED), (3, 0)]


def test_a_bug_is_logged_with_its_place(peer: Peer, capfd: pytest.CaptureFixture[str]) -> None:
    peer.client.send(request("Fail", "bug"))
    peer.turn()
    peer.turn()
    assert "internal error: ZeroDivisionError: a bug (" in capfd.readouterr().err


def test_only_the_first_answer_counts_and_one_may_come_later(peer: Peer) -> None:
    peer.client.send(request("Wait"))
    assert peer.answers() == []
    (call,) = peer.waiting
    call.reply(version="late")
    call.fail(StatusError(ttrpc.NOT_FOUND, "no"))
    assert call.is_answered
    assert peer.codes() == [(1, 0)]


def test_an_answer_to_a_client_that_has_gone_is_dropped(peer: Peer) -> None:
    other = peer.connect()
    peer.turn()
    other.send(request("Wait"))
    peer.turn()
    other.close()
    peer.turn()
    peer.waiting[0].reply(version="late")
    peer.client.send(request("Echo"))
    assert peer.codes() == [(1, 0)]


def test_the_time_of_a_call(peer: Peer) -> None:
    peer.client.send(request("Wait", timeout_nano=10**11) + request("Echo", stream=3, timeout_nano=10**11))
    peer.turn()
    killed: list[str] = []
    peer.waiting[0].on_timeout = lambda: killed.append("killed")
    assert peer.codes() == [(3, 0)]
    [timer] = peer.loop._timers
    timer.due = 0
    peer.loop.until(lambda: killed)
    assert peer.codes() == [(1, ttrpc.DEADLINE_EXCEEDED)]


def test_a_client_that_does_not_read_is_not_read(peer: Peer) -> None:
    text = "x" * 60_000
    sent = 0
    for stream in range(1, 2000, 2):
        try:
            peer.client.sendall(request("Echo", text, stream=stream))
        except BlockingIOError:
            break
        sent += 1
        peer.loop.idle()
    assert sent < 990
    assert not peer.server.is_idle
    assert peer.answers()
