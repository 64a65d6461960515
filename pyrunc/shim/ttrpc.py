"""A server of ttrpc, containerd's remote procedure calls over Unix sockets, in the shim's loop. Hot.

A frame is a header of 10 bytes (length and stream, both 32 bits and big-endian; type; flags) and a message. A call is a
request and a response with the request's stream. Streams of several messages are not supported, because no service of
the shim has them. Source: PROTOCOL.md of github.com/containerd/ttrpc.

A bad request never ends the loop or another connection: it is answered with a status. An exception of a handler is
logged and answered with INTERNAL.
"""

from __future__ import annotations

import errno
import posix
import sys
from _socket import MSG_DONTWAIT, SHUT_RDWR, SO_PEERCRED, SOL_SOCKET, socket

from .. import log
from ..errors import PyruncError, errno_text
from ..protobuf import MalformedError
from . import messages
from .loop import IN, OUT, describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from ..protobuf import Message
    from .loop import Loop, Timer

    # A method: the names of its request and its response, and its handler. The handler gets the request and the call,
    # and answers at once or later.
    Handler = Callable[[Message, "Call"], None]
    Service = dict[str, tuple[str, str, Handler]]

    class Answerable(Protocol):
        """The part of a call that a step of its work needs."""

        on_timeout: Callable[[], None] | None

        @property
        def is_answered(self) -> bool:
            """Whether there is an answer already."""

        def reply(self, **values: object) -> None:
            """The work has succeeded."""

        def fail(self, error: BaseException) -> None:
            """The work has failed."""


HEADER_SIZE = 10
LARGEST_MESSAGE = 4 << 20
REQUEST, RESPONSE, DATA = 1, 2, 3

# google.rpc.Code
OK, CANCELLED, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, ALREADY_EXISTS = range(7)
RESOURCE_EXHAUSTED, FAILED_PRECONDITION = 8, 9
UNIMPLEMENTED, INTERNAL = 12, 13

# How many bytes are received from one client before others have their turn.
_CHUNK = 1 << 14
_UCRED_SIZE = 12
# Beyond so many unsent bytes, no more is read from a client until it has read its answers.
_MOST_UNSENT = 8 << 20
_LARGEST_TIMEOUT_NS = 1 << 62
# The seconds until the next accept after one that had no free descriptor.
_ACCEPT_SECONDS = 0.1
_NANOSECONDS = 1e9


class StatusError(Exception):
    """A call failed. code: of google.rpc.Code; the text is for the user."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Call:
    """One call of a client. The first answer counts, and answers to a client that is gone are dropped.

    namespace: containerd's, from the metadata; "" for none.
    on_timeout: called when the client's timeout is over, before the client gets DEADLINE_EXCEEDED.
    """

    __slots__ = ("_connection", "_response", "_stream", "_timer", "namespace", "on_timeout")

    def __init__(self, connection: Connection, stream: int, response: str, namespace: str) -> None:
        self._connection: Connection | None = connection
        self._stream = stream
        self._response = response
        self._timer: Timer | None = None
        self.namespace = namespace
        self.on_timeout: Callable[[], None] | None = None

    @property
    def is_answered(self) -> bool:
        """Whether the call has its answer."""
        return self._connection is None

    @property
    def is_over(self) -> bool:
        """Whether an answer would be dropped: the call has one, or its client is gone."""
        return self._connection is None or self._connection.is_closed

    def limit(self, loop: Loop, nanoseconds: int) -> None:
        """Answer with DEADLINE_EXCEEDED after a time."""

        def expire() -> None:
            self._timer = None
            if self.on_timeout is not None:
                self.on_timeout()
            self.fail(StatusError(DEADLINE_EXCEEDED, "context deadline exceeded"))

        self._timer = loop.after(nanoseconds / _NANOSECONDS, expire)

    def reply(self, **values: object) -> None:
        """Answer with the response's fields."""
        self._answer({"payload": messages.encode(self._response, values)})

    def fail(self, error: BaseException) -> None:
        """Answer with the status of an error.

        A failure that libcontainer explains is UNKNOWN, as with containerd's shim. An unexpected exception is INTERNAL,
        and logged.
        """
        if isinstance(error, StatusError):
            code = error.code
        elif isinstance(error, MalformedError):
            code = INVALID_ARGUMENT
            log.warning(f"a request is malformed: {error}")
        elif isinstance(error, PyruncError):
            code = UNKNOWN
        else:
            code = INTERNAL
            log.error("internal error: " + describe(error))
        self._answer({"status": {"code": code, "message": str(error)}})

    def _answer(self, response: Message) -> None:
        connection, self._connection = self._connection, None
        self.on_timeout = None  # its command refers to this call, and the shim runs without a garbage collector
        if connection is None:
            return
        if self._timer is not None:
            connection.server.loop.cancel(self._timer)
            self._timer = None
        connection.send(self._stream, response)


class Server:
    """A listening socket, its connections and its services.

    listener: a listening Unix socket. services: by their full names.
    """

    def __init__(self, loop: Loop, listener: socket, services: dict[str, Service]) -> None:
        self.loop = loop
        self.services = services
        self._listener = listener
        self._connections: set[Connection] = set()
        self._is_short = False  # the last accept had no free descriptor
        self._pause: Timer | None = None
        listener.setblocking(False)
        loop.watch(listener.fileno(), IN, self._accept)

    def _accept(self, events: int) -> None:
        del events
        try:
            fd, _ = self._listener._accept()  # type: ignore[attr-defined]
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.ECONNABORTED):
                return  # the client has gone
            # No descriptor or memory is left. The client stays in the queue, which epoll would report again at once.
            if not self._is_short:
                log.warning(f"accept: {errno_text(error.errno or 0)}; clients wait")
            self._is_short = True
            self.loop.change(self._listener.fileno(), 0)
            self._pause = self.loop.after(_ACCEPT_SECONDS, self._accept_again)
            return
        self._is_short = False
        connected = socket(fileno=fd)
        if _peer(connected) != posix.geteuid():
            connected.close()
            return
        self._connections.add(Connection(self, connected))

    def _accept_again(self) -> None:
        self._pause = None
        self.loop.change(self._listener.fileno(), IN)

    def forget(self, connection: Connection) -> None:
        """Remove a connection that has ended."""
        self._connections.discard(connection)

    @property
    def is_idle(self) -> bool:
        """Whether every client has all answers."""
        return not any([connection.has_unsent for connection in self._connections])

    def close(self) -> None:
        """Close the listener and the connections."""
        if self._pause is not None:
            self.loop.cancel(self._pause)
        self.loop.unwatch(self._listener.fileno())
        self._listener.close()
        for connection in list(self._connections):
            connection.close()


def _peer(connected: socket) -> int:
    """The user id of the process at the other end. unix(7), SO_PEERCRED."""
    credentials = connected.getsockopt(SOL_SOCKET, SO_PEERCRED, _UCRED_SIZE)
    return int.from_bytes(credentials[4:8], sys.byteorder)


class Connection:
    """A client's connection, with the bytes of an incomplete frame, and those that could not be sent yet.

    is_closed: it has ended, from either side.
    """

    __slots__ = ("_last_stream", "_received", "_skip", "_socket", "_unsent", "_watched", "is_closed", "server")

    def __init__(self, server: Server, connected: socket) -> None:
        self.server = server
        self._socket = connected
        self._received = bytearray()
        self._unsent = bytearray()
        self._skip = 0  # bytes of a message that was too large
        self._last_stream = -1
        self.is_closed = False
        self._watched = IN
        connected.setblocking(False)
        server.loop.watch(connected.fileno(), IN, self._on_event)

    @property
    def has_unsent(self) -> bool:
        """Whether an answer could not be sent as a whole yet."""
        return bool(self._unsent)

    def close(self) -> None:
        """End the connection."""
        if self.is_closed:
            return
        self.is_closed = True
        self.server.loop.unwatch(self._socket.fileno())
        self.server.forget(self)
        try:
            self._socket.shutdown(SHUT_RDWR)
        except OSError:
            pass  # the client has closed it
        self._socket.close()

    def send(self, stream: int, response: Message) -> None:
        """Send a response. The part for which the socket has no room now is sent by the loop."""
        if self.is_closed:
            return
        data = messages.encode("Response", response)
        if len(data) > LARGEST_MESSAGE:
            status = {"code": RESOURCE_EXHAUSTED, "message": f"the answer has {len(data)} bytes"}
            data = messages.encode("Response", {"status": status})
        self._unsent += len(data).to_bytes(4, "big") + stream.to_bytes(4, "big") + bytes((RESPONSE, 0)) + data
        self._flush()

    def _flush(self) -> None:
        try:
            while self._unsent:
                sent = self._socket.send(self._unsent, MSG_DONTWAIT)
                del self._unsent[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self.close()  # the client is gone
            return
        wanted = (0 if len(self._unsent) > _MOST_UNSENT else IN) | (OUT if self._unsent else 0)
        if wanted != self._watched:
            self.server.loop.change(self._socket.fileno(), wanted)
            self._watched = wanted

    def _on_event(self, events: int) -> None:
        if events & OUT:
            self._flush()
        if self.is_closed or not events & ~OUT:
            return
        try:
            data = self._socket.recv(_CHUNK, MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._received += data
        self._take_frames()

    def _take_frames(self) -> None:
        """Carry out all complete frames that were received."""
        at = 0
        received = self._received
        while not self.is_closed:
            if self._skip:
                part = min(self._skip, len(received) - at)
                self._skip -= part
                at += part
            if len(received) - at < HEADER_SIZE:
                break
            length = int.from_bytes(received[at : at + 4], "big")
            stream = int.from_bytes(received[at + 4 : at + 8], "big")
            kind = received[at + 8]
            if length > LARGEST_MESSAGE:
                at += HEADER_SIZE
                self._skip = length
                text = f"message length {length} exceed maximum message size of {LARGEST_MESSAGE}"
                self._refuse(stream, RESOURCE_EXHAUSTED, text)
                continue
            end = at + HEADER_SIZE + length
            if len(received) < end:
                break
            data = bytes(received[at + HEADER_SIZE : end])
            at = end
            self._take_frame(stream, kind, data)
        del received[:at]

    def _take_frame(self, stream: int, kind: int, data: bytes) -> None:
        if stream % 2 != 1:
            self._refuse(stream, INVALID_ARGUMENT, "StreamID must be odd for client initiated streams")
        elif kind == DATA:
            self._refuse(stream, INVALID_ARGUMENT, "StreamID is no longer active")
        elif kind == REQUEST:
            if stream <= self._last_stream:
                self._refuse(stream, INVALID_ARGUMENT, "StreamID must increment")
                return
            self._last_stream = stream
            self._take_request(stream, data)
        # Frames of other types belong to later versions of the protocol.

    def _take_request(self, stream: int, data: bytes) -> None:
        try:
            request = messages.decode("Request", data)
        except MalformedError as error:
            self._refuse(stream, INVALID_ARGUMENT, f"unmarshal request error: {error}")
            return
        service, name = request["service"], request["method"]
        methods = self.server.services.get(service)
        if methods is None or name not in methods:
            text = f"method {name}" if methods is not None else f"service {service}"
            self._refuse(stream, UNIMPLEMENTED, text)
            return
        wanted, response, handler = methods[name]
        metadata = {entry["key"]: entry["value"] for entry in request["metadata"]}
        call = Call(self, stream, response, metadata.get("containerd-namespace-ttrpc", ""))
        if 0 < request["timeout_nano"] < _LARGEST_TIMEOUT_NS:
            call.limit(self.server.loop, request["timeout_nano"])
        try:
            handler(messages.decode(wanted, request["payload"]), call)
        except Exception as error:
            call.fail(error)

    def _refuse(self, stream: int, code: int, text: str) -> None:
        self.send(stream, {"status": {"code": code, "message": text}})
