"""Peers that break the protocol: their connection may end, the shim and its tasks go on."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.shim import shims, wire
from tests.shim.client import (
    DATA,
    HEADER,
    INVALID_ARGUMENT,
    LARGEST,
    METHODS,
    NOT_FOUND,
    REQUEST,
    RESPONSE,
    UNIMPLEMENTED,
    RpcError,
    connect,
    frame,
    read_frame,
    request,
    result,
)  # fmt: skip
from tests.shim.shims import RUNNING, Task
from tests.support.host import wait_for

# A million: the number. Each is a whole frame, for a stream of its own.
FRAMES = int(os.environ.get("PYRUNC_TEST_SHIM_FRAMES", "100000"))


@pytest.fixture(scope="module")
def task(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Task]:
    """One task, which has to survive all that follows."""
    work = Path("/run/hostile")
    work.mkdir()
    place = shims.Place(work, template)
    yield place.running()
    place.close()


@pytest.fixture(autouse=True)
def unharmed(task: Task) -> Iterator[None]:
    """After each test the task runs, under the same shim, and new calls are answered."""
    shim = task.call("Connect")["shim_pid"]
    yield
    assert task.state()["status"] == RUNNING
    assert task.call("Connect")["shim_pid"] == shim


def peer(task: Task) -> socket.socket:
    """A connection of a stranger."""
    return connect(next(iter(task.place.shims)))


def service(task: Task) -> str:
    """The name of the task service."""
    return task.client.service


def ends(connection: socket.socket) -> bool:
    """Whether the shim ends the connection, or says nothing for a second."""
    connection.settimeout(1)
    try:
        return not connection.recv(1 << 16)
    except (TimeoutError, ConnectionError):
        return True


def state(task: Task, stream: int = 1) -> bytes:
    """A good request's frame."""
    return frame(stream, REQUEST, request(service(task), "State", wire.encode("StateRequest", {"id": task.id})))


def answers(task: Task, connection: socket.socket, stream: int) -> None:
    """A good request on the connection is answered."""
    connection.sendall(state(task, stream))
    found, kind, _, data = read_frame(connection)
    assert (found, kind) == (stream, RESPONSE)
    assert wire.decode("StateResponse", result(data))["status"] == RUNNING


@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 20])
def test_truncated_frame(task: Task, size: int) -> None:
    with peer(task) as connection:
        connection.sendall(state(task)[:size])


def test_byte_by_byte(task: Task) -> None:
    """A slow peer gets its answer, and others theirs meanwhile."""
    with peer(task) as connection:
        for byte in state(task):
            connection.sendall(bytes([byte]))
            assert task.state()["status"] == RUNNING
        assert read_frame(connection)[1] == RESPONSE


def test_two_frames_in_one(task: Task) -> None:
    with peer(task) as connection:
        connection.sendall(state(task, 1) + state(task, 3))
        assert {read_frame(connection)[0], read_frame(connection)[0]} == {1, 3}


@pytest.mark.parametrize("size", [LARGEST + 1, 1 << 30, 0xFFFFFFFF])
def test_huge_length(task: Task, size: int) -> None:
    """The announced bytes are never held in memory."""
    shim = task.call("Connect")["shim_pid"]
    with peer(task) as connection:
        connection.sendall(HEADER.pack(size, 1, REQUEST, 0))
        with contextlib.suppress(OSError):
            for _ in range(min(size, 8 << 20) >> 20):
                connection.sendall(bytes(1 << 20))
    assert memory(shim) < 64 << 10


def memory(pid: int) -> int:
    """The resident memory of a process in KiB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0])


def test_largest_frame(task: Task) -> None:
    """4 MiB are allowed."""
    with pytest.raises(RpcError) as caught:
        task.call("State", exec_id="x" * (LARGEST - 200))
    assert caught.value.code == NOT_FOUND
    assert len(caught.value.message) < LARGEST


def test_unfinished_requests_of_many(task: Task) -> None:
    """A hundred peers that begin a large frame and stop."""
    peers = [peer(task) for _ in range(100)]
    for connection in peers:
        connection.sendall(HEADER.pack(LARGEST, 1, REQUEST, 0) + bytes(1000))
    assert task.state()["status"] == RUNNING
    for connection in peers:
        connection.close()


@pytest.mark.parametrize(
    ("name", "method"), [("no.such.Service", "State"), ("", ""), ("SERVICE", "Fly"), ("SERVICE", "state")]
)
def test_unknown_method(task: Task, name: str, method: str) -> None:
    given = name.replace("SERVICE", service(task))
    with pytest.raises(RpcError) as caught:
        result(task.client.send(given, method, b"").result(60))
    assert caught.value.code == UNIMPLEMENTED


BROKEN = {
    "varint that does not end": b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    "longer than the message": b"\x0a\x7fabc",
    "huge length": b"\x0a\xff\xff\xff\xff\x0f",
    "group": b"\x0b\x08\x01\x0c",
    "wire type 7": b"\x0f\x01",
    "field number 0": b"\x02\x01a",
    "number where text is": b"\x08\x05",
    "double where text is": b"\x09" + struct.pack("<d", 1.5),
    "no UTF-8": b"\x0a\x02\xff\xfe",
    "end after the tag": b"\x0a",
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("what", BROKEN)
def test_message_that_is_broken(task: Task, method: str, what: str) -> None:
    """InvalidArgument; the connection goes on."""
    if method == "Shutdown":
        pytest.skip("it may end the shim")
    future = task.client.send(service(task), method, BROKEN[what])
    if method == "Connect" and not shims.is_ours():
        pytest.skip("the Go shim takes text that is no UTF-8")
    with pytest.raises(RpcError) as caught:
        result(future.result(60))
    if shims.is_ours():
        assert caught.value.code == INVALID_ARGUMENT, caught.value


@pytest.mark.parametrize("what", BROKEN)
def test_request_that_is_broken(task: Task, what: str) -> None:
    """The envelope itself: an answer with an error, or the connection's end."""
    with peer(task) as connection:
        connection.sendall(frame(1, REQUEST, BROKEN[what]))
        with contextlib.suppress(EOFError, ConnectionError):
            stream, kind, _, data = read_frame(connection)
            assert (stream, kind) == (1, RESPONSE)
            assert wire.decode("Response", data)["status"]["code"] != 0


def test_shutdown_with_the_fields_of_another_message(task: Task) -> None:
    """Text in the place of a bool."""
    with pytest.raises(RpcError):
        result(task.client.send(service(task), "Shutdown", wire.encode("StateRequest", {"exec_id": "x"})).result(60))


@pytest.mark.parametrize("stream", [0, 2, 4294967294])
def test_even_stream(task: Task, stream: int) -> None:
    """Streams of clients are odd."""
    with peer(task) as connection:
        connection.sendall(state(task, stream))
        with contextlib.suppress(EOFError, ConnectionError, TimeoutError):
            connection.settimeout(1)
            assert wire.decode("Response", read_frame(connection)[3])["status"]["code"] != 0


def test_stream_twice(task: Task) -> None:
    with peer(task) as connection:
        connection.sendall(state(task, 5) + state(task, 5))
        with contextlib.suppress(EOFError, ConnectionError):
            read_frame(connection)


@pytest.mark.parametrize("kind", [0, RESPONSE, DATA, 4, 255])
def test_frame_of_another_kind(task: Task, kind: int) -> None:
    with peer(task) as connection:
        connection.sendall(frame(1, kind, b"x" * 20))
        ends(connection)


@pytest.mark.parametrize("flags", [1, 2, 4, 255])
def test_flags(task: Task, flags: int) -> None:
    """A stream that is not unary: an answer or an end, no waiting for ever that keeps others."""
    with peer(task) as connection:
        connection.sendall(frame(1, REQUEST, request(service(task), "State", b""), flags))
        ends(connection)


def test_unknown_fields(task: Task) -> None:
    """Those of a later containerd are skipped."""
    extra = wire.tag(99, wire.BYTES) + wire.varint(3) + b"new" + wire.tag(98, wire.VARINT) + b"\x05"
    extra += wire.tag(97, wire.FIXED64) + bytes(8) + wire.tag(96, wire.FIXED32) + bytes(4)
    data = extra + wire.encode("StateRequest", {"id": task.id}) + extra
    answer = result(task.client.send(service(task), "State", data).result(60))
    assert wire.decode("StateResponse", answer)["status"] == RUNNING


def test_last_of_a_field_counts(task: Task) -> None:
    data = wire.encode("StateRequest", {"id": "another"}) + wire.encode("StateRequest", {"id": task.id})
    answer = result(task.client.send(service(task), "State", data).result(60))
    assert wire.decode("StateResponse", answer)["id"] == task.id


def test_many_small_frames(task: Task) -> None:
    """Answered or refused, and others are answered meanwhile; memory does not grow with them."""
    shim = task.call("Connect")["shim_pid"]
    count = FRAMES if shims.is_ours() else 10000
    payload = request("x", "y", b"")
    before = memory(shim)
    with peer(task) as connection:
        connection.setblocking(False)
        sent = read = b""
        received = number = 0
        end = time.monotonic() + 600
        looked = 0.0
        while received < count and time.monotonic() < end:
            while number < count and len(sent) < 1 << 16:
                sent += frame(2 * number + 1, REQUEST, payload)
                number += 1
            with contextlib.suppress(BlockingIOError):
                sent = sent[connection.send(sent) :] if sent else sent
            with contextlib.suppress(BlockingIOError):
                read += connection.recv(1 << 18)
            at = 0
            while len(read) - at >= HEADER.size:
                size = HEADER.unpack_from(read, at)[0]
                if len(read) - at < HEADER.size + size:
                    break
                at += HEADER.size + size
                received += 1
            read = read[at:]
            if time.monotonic() - looked > 0.5:
                looked = time.monotonic()
                assert task.begin("State")()["status"] == RUNNING
    assert received == count
    assert memory(shim) < before + (8 << 10)


def test_peer_that_does_not_read(task: Task) -> None:
    """Its answers are not kept without bound, and others are answered."""
    shim = task.call("Connect")["shim_pid"]
    before = memory(shim)
    with peer(task) as connection:
        connection.settimeout(0.5)
        data = b"".join(state(task, 2 * number + 1) for number in range(1000))
        with contextlib.suppress(TimeoutError, ConnectionError):
            for _ in range(200):
                connection.sendall(data)
                assert task.state()["status"] == RUNNING
        if shims.is_ours():
            assert memory(shim) < before + (24 << 10)


@pytest.mark.ours("it keeps the connections until the task ends")
def test_waits_of_peers_that_leave(task: Task) -> None:
    """A thousand calls of Wait whose peers go away leave nothing in the shim."""
    shim = task.call("Connect")["shim_pid"]
    payload = wire.encode("WaitRequest", {"id": task.id})
    for _ in range(20):
        with peer(task) as connection:
            for number in range(50):
                connection.sendall(frame(2 * number + 1, REQUEST, request(service(task), "Wait", payload)))
            assert task.state()["status"] == RUNNING
    wait_for("descriptors closed", lambda: len(os.listdir(f"/proc/{shim}/fd")) < 40)


def test_many_connections(task: Task) -> None:
    peers = [peer(task) for _ in range(200)]
    answers(task, peers[-1], 1)
    for connection in peers:
        connection.close()


def test_noise(task: Task) -> None:
    """Bytes without sense, from many seeds."""
    for seed in range(50):
        noise = random.Random(seed).randbytes(3000)
        with peer(task) as connection, contextlib.suppress(OSError):
            connection.sendall(noise)
        with peer(task) as connection, contextlib.suppress(OSError):
            connection.sendall(frame(1, REQUEST, noise) + frame(3, REQUEST, request(service(task), "Wait", noise)))


METHOD_NAMES = [name for name in METHODS if name not in ("Shutdown", "Wait")]


def test_payloads_without_sense(task: Task) -> None:
    """Every method answers each payload with an error, but for Connect, which knows no error."""

    @settings(max_examples=150)
    @given(method=st.sampled_from(METHOD_NAMES), payload=st.binary(max_size=60))
    def check(method: str, payload: bytes) -> None:
        future = task.client.send(service(task), method, payload)
        try:
            result(future.result(60))
        except RpcError:
            return
        assert method == "Connect"

    check()
