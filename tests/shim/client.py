"""A ttrpc client and an event service for the tests, written from ttrpc's protocol and without pyrunc's code."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from tests.shim import wire
from tests.shim.wire import Message
from tests.support.host import SECONDS

REQUEST, RESPONSE, DATA = 1, 2, 3
HEADER = struct.Struct(">IIBB")
LARGEST = 4 << 20

# The status codes of gRPC that a shim gives.
OK, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, ALREADY_EXISTS = 0, 2, 3, 4, 5, 6
RESOURCE_EXHAUSTED, FAILED_PRECONDITION, UNIMPLEMENTED, INTERNAL = 8, 9, 12, 13

TASK2, TASK3 = "containerd.task.v2.Task", "containerd.task.v3.Task"
SANDBOX = "containerd.runtime.sandbox.v1.Sandbox"

# The calls of the task service, with the tables of their request and response.
METHODS = {
    "State": ("StateRequest", "StateResponse"), "Create": ("CreateTaskRequest", "CreateTaskResponse"),
    "Start": ("StartRequest", "StartResponse"), "Delete": ("DeleteRequest", "DeleteResponse"),
    "Pids": ("PidsRequest", "PidsResponse"), "Pause": ("PauseRequest", "Empty"), "Resume": ("ResumeRequest", "Empty"),
    "Checkpoint": ("CheckpointTaskRequest", "Empty"), "Kill": ("KillRequest", "Empty"),
    "Exec": ("ExecProcessRequest", "Empty"), "ResizePty": ("ResizePtyRequest", "Empty"),
    "CloseIO": ("CloseIORequest", "Empty"), "Update": ("UpdateTaskRequest", "Empty"),
    "Wait": ("WaitRequest", "WaitResponse"), "Stats": ("StatsRequest", "StatsResponse"),
    "Connect": ("ConnectRequest", "ConnectResponse"), "Shutdown": ("ShutdownRequest", "Empty"),
}  # fmt: skip

# Those of the sandbox service.
SANDBOX_METHODS = {
    name: (f"{name}Request", f"{name}Response")
    for name in ("CreateSandbox", "StartSandbox", "Platform", "StopSandbox", "WaitSandbox", "SandboxStatus",
                 "ShutdownSandbox", "SandboxMetrics")
} | {"PingSandbox": ("PingRequest", "PingResponse"), "UpdateSandbox": ("UpdateSandboxRequest", "Empty")}  # fmt: skip


class RpcError(Exception):
    """The status of a call that failed."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"code {code}: {message}")
        self.code = code
        self.message = message


def frame(stream: int, kind: int, data: bytes, flags: int = 0) -> bytes:
    """A frame: header and data."""
    return HEADER.pack(len(data), stream, kind, flags) + data


def request(service: str, method: str, payload: bytes, timeout_nano: int = 0) -> bytes:
    """The data of a request's frame."""
    fields = {"service": service, "method": method, "payload": payload, "timeout_nano": timeout_nano}
    return wire.encode("Request", fields)


def read_exactly(connection: socket.socket, size: int) -> bytes:
    """So many bytes. EOFError if the connection ends before."""
    data = b""
    while len(data) < size:
        part = connection.recv(min(size - len(data), 1 << 20))
        if not part:
            raise EOFError(f"the connection ended after {len(data)} of {size} bytes")
        data += part
    return data


def read_frame(connection: socket.socket) -> tuple[int, int, int, bytes]:
    """A frame's stream, kind, flags and data. EOFError at the connection's end."""
    size, stream, kind, flags = HEADER.unpack(read_exactly(connection, HEADER.size))
    return stream, kind, flags, read_exactly(connection, size)


def connect(address: str, seconds: float = SECONDS) -> socket.socket:
    """A connection to the address of a shim; both forms with unix:// in front, and the abstract one."""
    path = address.partition("unix://")[2] if "unix://" in address else "\0" + address
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(seconds)
    connection.connect(path)
    return connection


class Client:
    """A connection with any number of calls at a time. A context manager."""

    def __init__(self, address: str, service: str = TASK3) -> None:
        self.service = service
        self.connection = connect(address)
        self.connection.settimeout(None)
        self._lock = threading.Lock()
        self._stream = -1
        self._waiting: dict[int, Future[bytes]] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; calls that are under way fail with EOFError."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self.connection.close()

    def _read(self) -> None:
        error: Exception = EOFError("the connection ended")
        try:
            while True:
                stream, kind, _, data = read_frame(self.connection)
                with self._lock:
                    found = self._waiting.pop(stream, None)
                if found is None or kind != RESPONSE:
                    raise AssertionError(f"a frame of kind {kind} for stream {stream}, which nobody waits for")
                found.set_result(data)
        except (OSError, EOFError, AssertionError) as caught:
            error = caught
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            future.set_exception(error)

    def send(self, service: str, method: str, payload: bytes, seconds: float = 0) -> Future[bytes]:
        """Send a request. The result is the data of the response's frame. seconds: the timeout in the request."""
        future: Future[bytes] = Future()
        with self._lock:
            self._stream += 2
            self._waiting[self._stream] = future
            self.connection.sendall(frame(self._stream, REQUEST, request(service, method, payload, int(seconds * 1e9))))
        return future

    def begin(self, method: str, **fields: Any) -> Callable[..., Message]:
        """Begin a call. The result is a function that waits for its answer, as `call` does."""
        methods = SANDBOX_METHODS if method in SANDBOX_METHODS else METHODS
        service = SANDBOX if method in SANDBOX_METHODS else self.service
        given, answer = methods[method]
        future = self.send(service, method, wire.encode(given, fields))

        def wait(seconds: float = SECONDS) -> Message:
            return wire.decode(answer, result(future.result(seconds)))

        wait.done = future.done  # type: ignore[attr-defined]
        return wait

    def call(self, method: str, seconds: float = SECONDS, **fields: Any) -> Message:
        """A call of the service. Raises RpcError if it fails, TimeoutError without an answer in time."""
        return self.begin(method, **fields)(seconds)


def result(data: bytes) -> bytes:
    """The payload of a response. Raises RpcError."""
    response = wire.decode("Response", data)
    status = response["status"] or {"code": 0, "message": ""}
    if status["code"]:
        raise RpcError(status["code"], status["message"])
    payload: bytes = response["payload"]
    return payload


class Events:
    """containerd's event service at a socket: it keeps every event that comes, in order.

    `away` and `back` take the socket away and bring it back, as a containerd that is restarted does.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: list[tuple[str, Message]] = []  # topic, event
        self.namespaces: set[str] = set()
        self.changed = threading.Condition()
        self._connections: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self.back()

    def back(self) -> None:
        """Listen."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(self.path))
        listener.listen(16)
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def away(self) -> None:
        """End every connection and remove the socket."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
            os.unlink(self.path)
        with self.changed:  # an event that was kept has its answer: without it the shim would send it again
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            while True:
                try:
                    stream, _, _, data = read_frame(connection)
                except (OSError, EOFError):
                    return
                with self.changed:
                    self._take(data)
                    with contextlib.suppress(OSError):
                        connection.sendall(frame(stream, RESPONSE, wire.encode("Response", {})))

    def _take(self, data: bytes) -> None:
        given = wire.decode("Request", data)
        assert (given["service"], given["method"]) == ("containerd.services.events.ttrpc.v1.Events", "Forward"), given
        envelope = wire.decode("ForwardRequest", given["payload"])["envelope"]
        kind = envelope["event"]["type_url"].rpartition(".")[2]
        assert envelope["timestamp"]["seconds"] > 0, "an event has its time"
        self.namespaces.add(envelope["namespace"])
        self.seen.append((envelope["topic"], wire.decode(kind, envelope["event"]["value"])))
        self.changed.notify_all()

    def topics(self, id: str = "") -> list[str]:
        """The topics so far, of all containers or of one."""
        with self.changed:
            return [topic for topic, event in self.seen if not id or event["container_id"] == id]

    def wait(self, topic: str, seconds: float = SECONDS, **fields: Any) -> Message:
        """Wait for the event of a topic with such fields. AssertionError if it does not come in time."""

        def found() -> Message | None:
            for name, event in self.seen:
                if name == topic and fields.items() <= event.items():
                    return event
            return None

        with self.changed:
            self.changed.wait_for(found, seconds)
            event = found()
            assert event is not None, f"no {topic} with {fields} in {self.seen}"
            return event
