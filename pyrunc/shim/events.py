"""Events for containerd, in their order: to its ttrpc event service, or by its program (-publish-binary). Hot.

While containerd is not running they wait, in a bounded queue. One is sent at a time, and the next one after its answer.
Sources: containerd's api/services/ttrpc/events/v1, core/runtime/v2/README.md; ttrpc's PROTOCOL.md.
"""

from __future__ import annotations

import posix
from _socket import AF_UNIX, MSG_DONTWAIT, SOCK_CLOEXEC, SOCK_STREAM, socket

from .. import log
from ..errors import errno_text
from ..libcontainer.kernel import native
from ..protobuf import MalformedError, encode_varint
from . import messages
from .loop import IN, OUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..protobuf import Message
    from .loop import Loop, Timer

_SERVICE, _METHOD = "containerd.services.events.ttrpc.v1.Events", "Forward"
_NAMESPACE = "containerd-namespace-ttrpc"

# A frame: length and stream, 32 bits each, type, flags. google.rpc.Code: OK, UNIMPLEMENTED.
HEADER_SIZE, LARGEST_MESSAGE = 10, 4 << 20
REQUEST, RESPONSE = 1, 2
OK, UNIMPLEMENTED = 0, 12

# How many events wait at most. If there are more, the oldest is dropped: a containerd that starts asks for the state of
# tasks.
QUEUE_SIZE = 2048
# How long, in seconds, containerd may take to answer.
ANSWER_SECONDS = 5.0
# The wait before the first attempt after a failure, in seconds; it doubles up to the longest.
FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0
# How many attempts an event has with a containerd that answers.
MOST_REFUSALS = 5
# How long, in seconds, the shim waits at its end for the last events.
CLOSE_SECONDS = 3.0

_LAST_STREAM = 1 << 30


class Publisher:
    """The events of one shim.

    dropped: how many events were lost since the start.
    """

    __slots__ = (
        "_address", "_binary", "_buffer", "_close_timer", "_closed", "_connection", "_failures", "_grpc_address",
        "_loop", "_namespace", "_on_closed", "_program", "_queue", "_refusals", "_stream", "_timer", "_under_way",
        "_unsent", "_warned", "dropped",
    )  # fmt: skip

    def __init__(self, loop: Loop, namespace: str, address: str, binary: str = "", grpc_address: str = "") -> None:
        """address: of the ttrpc service, $TTRPC_ADDRESS; "" for none. binary: the program of -publish-binary, which is
        used without such a service; grpc_address: the address that it connects to, from -address."""
        self._loop = loop
        self._namespace = namespace
        self._address = address.removeprefix("unix://")
        self._binary = binary
        self._grpc_address = grpc_address
        self._queue: list[tuple[str, bytes, bytes]] = []  # topic, Envelope, Any
        self._connection: socket | None = None
        self._buffer = bytearray()  # what was received of an answer
        self._unsent = b""
        self._stream = -1
        self._under_way = False  # the first of the queue
        self._program = 0
        self._failures = self._refusals = 0
        self._timer: Timer | None = None  # of the answer, or of the next attempt
        self._close_timer: Timer | None = None
        self._on_closed: Callable[[], None] | None = None
        self._closed = self._warned = False
        self.dropped = 0

    def publish(self, topic: str, name: str, values: Message) -> None:
        """Publish an event, such as "/tasks/exit" with the fields of a TaskExit. It is sent by the loop.

        Raises KeyError and ValueError for fields that the message does not have.
        """
        if self._closed:
            return
        event = messages.pack(name, values)
        envelope = {
            "timestamp": messages.timestamp(messages.now()),
            "namespace": self._namespace,
            "topic": topic,
            "event": event,
        }
        self._queue.append((topic, messages.encode("Envelope", envelope), messages.encode("Any", event)))
        if len(self._queue) > QUEUE_SIZE:
            self._drop(1 if self._under_way else 0, f"{QUEUE_SIZE} wait for containerd")
        self._next()

    def _drop(self, at: int, why: str) -> None:
        topic, _, _ = self._queue.pop(at)
        self.dropped += 1
        log.warning(f"event {topic} is dropped ({self.dropped} so far): {why}")

    def _next(self) -> None:
        """Send the first event of the queue, unless it is being sent or waits for its next attempt."""
        if self._under_way or self._timer is not None or self._closed:
            return
        if not self._queue:
            self._end()
            return
        self._under_way = True
        try:
            if self._address:
                self._send()
            elif self._binary:
                self._run()
            else:
                self._under_way = False
                self._drop(0, "containerd has given no address for events")
                self._next()
        except OSError as error:
            self._failed(errno_text(error.errno or 0))

    def _send(self) -> None:
        """Raises OSError."""
        if self._connection is None or self._stream > _LAST_STREAM:
            self._connect()
        self._stream += 2
        _, envelope, _ = self._queue[0]
        # An Envelope is the only field of a ForwardRequest, so that it need not be decoded again.
        payload = b"\x0a" + encode_varint(len(envelope)) + envelope
        request = messages.encode(
            "Request",
            {
                "service": _SERVICE,
                "method": _METHOD,
                "payload": payload,
                "timeout_nano": int(ANSWER_SECONDS * 1e9),
                "metadata": [{"key": _NAMESPACE, "value": self._namespace}],
            },
        )
        header = len(request).to_bytes(4, "big") + self._stream.to_bytes(4, "big") + bytes((REQUEST, 0))
        self._unsent = header + request
        self._timer = self._loop.after(ANSWER_SECONDS, self._no_answer)
        self._flush()

    def _connect(self) -> None:
        """Raises OSError."""
        self._disconnect()
        connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
        try:
            connection.setblocking(False)
            connection.connect(self._address)
            self._loop.watch(connection.fileno(), IN, self._on_event)
        except OSError:
            connection.close()
            raise
        self._connection = connection
        self._stream = -1

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._loop.unwatch(self._connection.fileno())
            self._connection.close()
            self._connection = None
        self._buffer.clear()
        self._unsent = b""

    def _flush(self) -> None:
        """Raises OSError."""
        assert self._connection is not None
        while self._unsent:
            try:
                count = self._connection.send(self._unsent, MSG_DONTWAIT)
            except BlockingIOError:
                break
            self._unsent = self._unsent[count:]
        self._loop.change(self._connection.fileno(), IN | OUT if self._unsent else IN)

    def _on_event(self, events: int) -> None:
        assert self._connection is not None
        try:
            if events & OUT:
                self._flush()
            data = self._connection.recv(1 << 14, MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError as error:
            self._failed(errno_text(error.errno or 0))
            return
        if not data:
            self._failed("containerd has closed the connection")
            return
        self._buffer += data
        self._take_frames()

    def _take_frames(self) -> None:
        while len(self._buffer) >= HEADER_SIZE:
            length = int.from_bytes(self._buffer[:4], "big")
            stream = int.from_bytes(self._buffer[4:8], "big")
            kind = self._buffer[8]
            if length > LARGEST_MESSAGE:
                self._failed(f"an answer of {length} bytes")
                return
            if len(self._buffer) < HEADER_SIZE + length:
                return
            data = bytes(self._buffer[HEADER_SIZE : HEADER_SIZE + length])
            del self._buffer[: HEADER_SIZE + length]
            if kind == RESPONSE and stream == self._stream and self._under_way:
                self._on_answer(data)

    def _on_answer(self, data: bytes) -> None:
        try:
            status = messages.decode("Response", data)["status"]
        except MalformedError as error:
            self._failed(f"an answer that is malformed: {error}")
            return
        if status is None or status["code"] == OK:
            self._published()
        elif status["code"] == UNIMPLEMENTED and self._binary:
            log.info(f"{self._address} has no event service: {self._binary} publishes")
            self._address = ""
            self._disconnect()
            self._end_attempt()
            self._next()
        else:
            self._refused(f"status {status['code']}: {status['message']}")

    def _no_answer(self) -> None:
        self._timer = None
        if self._program:
            self._loop.forget(self._program)
            try:
                posix.kill(self._program, 9)  # it is a child of the shim, and not reaped
            except ProcessLookupError:
                pass
        self._failed(f"containerd has not answered for {ANSWER_SECONDS:.0f} s")

    def _run(self) -> None:
        """Have containerd's program publish the first event of the queue, which it reads as an Any. Raises OSError."""
        topic, _, event = self._queue[0]
        args = ["--address", self._grpc_address, "publish", "--topic", topic, "--namespace", self._namespace]
        fd = native.memfd("event", event)
        try:
            actions = [
                (posix.POSIX_SPAWN_DUP2, fd, 0),
                (posix.POSIX_SPAWN_OPEN, 1, "/dev/null", posix.O_WRONLY, 0),
                (posix.POSIX_SPAWN_OPEN, 2, "/dev/null", posix.O_WRONLY, 0),
            ]
            pid = native.spawn(self._binary, [self._binary, *args], posix.environ, actions)
        finally:
            posix.close(fd)
        self._program = pid
        self._timer = self._loop.after(ANSWER_SECONDS, self._no_answer)
        self._loop.process(pid, self._on_program)

    def _on_program(self, code: int) -> None:
        if code:
            # Its exit code is the same if containerd is not running and if it refuses the event.
            self._failed(f"{self._binary} has ended with {code}")
        else:
            self._published()

    def _end_attempt(self) -> None:
        self._under_way = False
        self._program = 0
        if self._timer is not None:
            self._loop.cancel(self._timer)
            self._timer = None

    def _published(self) -> None:
        self._end_attempt()
        self._queue.pop(0)
        if self._warned:
            log.info(f"events are published again; {len(self._queue)} wait")
        self._failures = self._refusals = 0
        self._warned = False
        self._next()

    def _refused(self, why: str) -> None:
        """containerd has answered with a failure. After several attempts the event is dropped, because containerd may
        accept others."""
        self._end_attempt()
        self._refusals += 1
        if self._refusals >= MOST_REFUSALS:
            self._refusals = 0
            self._drop(0, why)
            self._next()
        else:
            self._retry()

    def _failed(self, why: str) -> None:
        """containerd is not running. Logs that once, and only if an event waits."""
        self._end_attempt()
        self._disconnect()
        if not self._queue or self._closed:
            return
        if not self._warned:
            self._warned = True
            log.warning(f"event {self._queue[0][0]}: {why}; events wait")
        self._retry()

    def _retry(self) -> None:
        wait = min(FIRST_WAIT * 2 ** min(self._failures, 10), LONGEST_WAIT)
        self._failures += 1
        self._timer = self._loop.after(wait, self._again)

    def _again(self) -> None:
        self._timer = None
        self._next()

    def close(self, done: Callable[[], None]) -> None:
        """Call `done` when all events are published, or after CLOSE_SECONDS. For the end of the shim."""
        self._on_closed = done
        self._close_timer = self._loop.after(CLOSE_SECONDS, self._end)
        if not self._under_way and self._timer is not None:
            self._loop.cancel(self._timer)  # the next attempt is made now
            self._timer = None
        self._next()

    def _end(self) -> None:
        """Call `done` of `close`, if it was called."""
        done, self._on_closed = self._on_closed, None
        if done is None:
            return
        self._closed = True
        if self._queue:
            log.warning(f"{len(self._queue)} events are not published, from {self._queue[0][0]} on")
        if self._close_timer is not None:
            self._loop.cancel(self._close_timer)
        if self._program:
            self._loop.forget(self._program)
        self._end_attempt()
        self._disconnect()
        done()
