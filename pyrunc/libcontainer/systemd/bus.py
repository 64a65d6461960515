"""A connection to a D-Bus message bus, or to systemd itself: calls and signals, each with a deadline. Cold.

jeepney encodes the messages. The connection is pyrunc's, because jeepney's has no deadline for the first call, can't
talk to systemd without a bus, and can't authenticate from a user namespace, where the bus sees another uid than the
caller. Facts: the D-Bus Specification; sd_bus_default(3), systemd's docs/.

Any local user can send any message to any connection of the system's bus. Only the bus sets the sender of a message. So
the sender of an answer or a signal must be the connection that owns the called name. The bus reports the owner, and
its changes, for example when systemd executes itself again.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from jeepney import DBusAddress, HeaderFields, MatchRule, MessageType, new_method_call
from jeepney.bus import get_connectable_addresses
from jeepney.low_level import Header

from ...errors import PyruncError
from ..kernel import interrupts
from .incoming import Incoming, Malformed
from .incoming import body as body_of

# How long the bus or systemd may take for one answer; runc waits as long for a job.
DEADLINE_SECONDS = 30.0

SYSTEM_BUS = "/run/dbus/system_bus_socket"
# systemd's own socket, for root only. It exists before the bus, and without one.
SYSTEMD_SOCKET = "/run/systemd/private"

# The bus itself, as the sender of messages.
_DRIVER = "org.freedesktop.DBus"
BUS = DBusAddress("/org/freedesktop/DBus", _DRIVER, _DRIVER)
_NO_OWNER = "org.freedesktop.DBus.Error.NameHasNoOwner"
_OWNER_CHANGED = "NameOwnerChanged"
_ANSWERS = (MessageType.method_return, MessageType.error)
_CHUNK = 4096
# How many bytes a peer may send during authentication, and how many signals are kept during a call: far more than
# needed, but bounded.
_LONGEST_GREETING = 1 << 16
_MOST_SIGNALS = 1 << 16


class BusError(Exception):
    """An error answer: its D-Bus name and its text."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message or name)
        self.name = name
        self.message = message or name


def sockets(address: str) -> list[str]:
    """The paths of the UNIX sockets in a D-Bus address, an abstract one with a leading NUL.

    Raises PyruncError if it has none.
    """
    try:
        return list(get_connectable_addresses(address))
    except (RuntimeError, ValueError) as error:
        raise PyruncError(f'no UNIX socket in the D-Bus address "{address}"') from error


def system_sockets() -> list[str]:
    """The sockets of the system's systemd, in the order in which they are tried."""
    address = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS", "")
    if address:
        return sockets(address)
    return [SYSTEM_BUS, SYSTEMD_SOCKET] if os.geteuid() == 0 else [SYSTEM_BUS]


def user_sockets() -> list[str]:
    """The bus of the user's session: $DBUS_SESSION_BUS_ADDRESS, else $XDG_RUNTIME_DIR/bus if that exists.

    Empty if there is neither.
    """
    address = os.environ.get("DBUS_SESSION_BUS_ADDRESS", "")
    if address:
        return sockets(address)
    path = os.environ.get("XDG_RUNTIME_DIR", "") + "/bus"
    return [path] if path.startswith("/") and path != "/bus" and os.path.exists(path) else []


class Connection:
    """An open connection. A context manager, which closes it.

    path: the socket's path. Raises OSError if there is no such socket or nobody listens, PyruncError if the other side
    refuses the user, or does not answer.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._serial = 0
        self._incoming = Incoming()
        # The connections that own the called names; "" for none.
        self._owners: dict[str, str] = {}
        # The expected signals: their sender, name and signature.
        self._wanted: list[tuple[DBusAddress, str, str]] = []
        self._signals: deque[tuple[str, tuple[Any, ...]]] = deque(maxlen=_MOST_SIGNALS)
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._connect()
            self._authenticate()
            self.is_bus = path != SYSTEMD_SOCKET
            if self.is_bus:
                self.call(BUS, "Hello")
        except (TimeoutError, BlockingIOError) as error:
            self.close()
            raise self._late("a connection", DEADLINE_SECONDS) from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def call(
        self,
        address: DBusAddress,
        method: str,
        signature: str = "",
        body: tuple[Any, ...] = (),
        seconds: float = 0,
        returns: str | None = None,
    ) -> tuple[Any, ...]:
        """Call a method. Returns the values of the answer.

        seconds: how long the answer may take, 0 for DEADLINE_SECONDS. returns: the required signature of the answer;
        None for any. Raises BusError for an error answer, PyruncError if no answer comes in time, if it is malformed,
        or if the connection is lost.
        """
        if self.is_bus and address.bus_name != _DRIVER:
            self._learn_owner(address.bus_name)
        seconds = seconds or DEADLINE_SECONDS
        message = new_method_call(address, method, signature or None, body)
        self._serial += 1
        deadline = time.monotonic() + seconds
        try:
            self._socket.settimeout(seconds)
            self._socket.sendall(message.serialise(serial=self._serial))
            header, raw = self._receive(deadline)
            while not self._answers(header, address.bus_name):
                self._take_signal(header, raw)
                header, raw = self._receive(deadline)
            is_error = header.message_type is MessageType.error
            values = body_of(header, raw, None if is_error else returns)
        except TimeoutError as error:
            raise self._late(method, seconds) from error
        except OSError as error:
            raise PyruncError(f"the D-Bus connection broke at {method}", errno=error.errno or 0) from error
        except Malformed as error:
            raise PyruncError(f"a malformed answer came from {self._path} to {method}") from error
        if is_error:
            raise BusError(
                str(header.fields.get(HeaderFields.error_name, "")),
                values[0] if values and isinstance(values[0], str) else "",
            )
        return values

    def listen(self, address: DBusAddress, member: str, signature: str) -> None:
        """Subscribe to the signals `member` of an object. signature: that of their values."""
        self._wanted.append((address, member, signature))
        if self.is_bus:
            self._learn_owner(address.bus_name)
            self._match(
                MatchRule(
                    type="signal",
                    sender=address.bus_name,
                    interface=address.interface,
                    member=member,
                    path=address.object_path,
                )
            )

    def wait(self, member: str, wanted: Callable[[tuple[Any, ...]], bool]) -> tuple[Any, ...]:
        """The values of the first matching signal `member`, also of one that has arrived before. `listen` has
        subscribed to it. Signals of other senders are ignored.

        Raises PyruncError if none comes in time.
        """
        deadline = time.monotonic() + DEADLINE_SECONDS
        try:
            while True:
                while self._signals:
                    name, values = self._signals.popleft()
                    if name == member and wanted(values):
                        return values
                self._take_signal(*self._receive(deadline))
        except TimeoutError as error:
            raise self._late(f"the signal {member}", DEADLINE_SECONDS) from error
        except OSError as error:
            raise PyruncError(f"the D-Bus connection broke before {member}", errno=error.errno or 0) from error

    def _learn_owner(self, name: str) -> None:
        """Ask the bus once for the owner of a name, and subscribe to changes."""
        if name in self._owners:
            return
        self._owners[name] = ""
        rule = MatchRule(type="signal", sender=_DRIVER, interface=_DRIVER, member=_OWNER_CHANGED, path=BUS.object_path)
        rule.add_arg_condition(0, name)
        self._match(rule)
        try:
            (self._owners[name],) = self.call(BUS, "GetNameOwner", "s", (name,), returns="s")
        except BusError as error:
            if error.name != _NO_OWNER:
                raise
            # The call may make the bus start the owner. Then the bus reports it.

    def _match(self, rule: MatchRule) -> None:
        self.call(BUS, "AddMatch", "s", (rule.serialise(),))

    def _is_from(self, header: Header, name: str) -> bool:
        """Whether the owner of a name sent a message. On systemd's own socket the sender is always systemd."""
        sender = header.fields.get(HeaderFields.sender)
        return not self.is_bus or sender == _DRIVER == name or (bool(sender) and sender == self._owners.get(name))

    def _answers(self, header: Header, name: str) -> bool:
        """Whether a message is the answer to the last call, which was to `name`. If the peer is missing, or may not be
        called, the bus answers instead."""
        return (
            header.message_type in _ANSWERS
            and header.fields.get(HeaderFields.reply_serial) == self._serial
            and (self._is_from(header, name) or self._is_from(header, _DRIVER))
        )

    def _take_signal(self, header: Header, raw: bytes) -> None:
        """Keep a subscribed signal, and record a new owner of a name. Other messages are ignored."""
        if header.message_type is not MessageType.signal:
            return
        try:
            if self._is_signal(header, BUS, _OWNER_CHANGED, "sss"):
                name, _, owner = body_of(header, raw, "sss")
                if name in self._owners:
                    self._owners[name] = owner
            for address, member, signature in self._wanted:
                if self._is_signal(header, address, member, signature):
                    self._signals.append((member, body_of(header, raw, signature)))
        except Malformed:
            return

    def _is_signal(self, header: Header, address: DBusAddress, member: str, signature: str) -> bool:
        fields = header.fields
        return (
            fields.get(HeaderFields.member) == member
            and fields.get(HeaderFields.interface) == address.interface
            and fields.get(HeaderFields.path) == address.object_path
            and fields.get(HeaderFields.signature) == signature
            and self._is_from(header, address.bus_name)
        )

    def _late(self, what: str, seconds: float) -> PyruncError:
        return PyruncError(
            f"no answer from {self._path} to {what} within {seconds:g} s",
            hint="is systemd stuck (systemctl status, systemctl list-jobs)?",
        )

    def _receive(self, deadline: float) -> tuple[Header, bytes]:
        """The next message of any sender. Raises TimeoutError after the deadline."""
        while True:
            message = self._incoming.next()
            if message is not None:
                return message
            self._incoming.add(self._read(_CHUNK, deadline))

    def _read(self, size: int, deadline: float) -> bytes:
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if interrupts.poll([self._socket.fileno()], int(left * 1000) + 1):
                break
        data = self._socket.recv(size)
        if not data:
            raise ConnectionResetError(errno.ECONNRESET, "the other side has closed the connection")
        return data

    def _connect(self) -> None:
        """Connect, and wait while the bus's queue is full, for example when many containers start.

        The kernel waits for that only on a blocking socket, so the kernel's timeout is set (socket(7), SO_SNDTIMEO).
        """
        seconds, fraction = divmod(DEADLINE_SECONDS, 1)
        timeout = struct.pack("ll", int(seconds), int(fraction * 1000000))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
        interrupts.during(self._socket.connect, self._path)

    def _authenticate(self) -> None:
        """Authenticate: EXTERNAL without a uid, so the peer takes the socket's credentials.

        BEGIN is sent before the OK arrives. systemd does not handle a message that it reads together with BEGIN, so it
        must have read BEGIN when the OK arrives.
        """
        deadline = time.monotonic() + DEADLINE_SECONDS
        self._socket.sendall(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")
        lines: list[bytes] = []
        data = b""
        while not any(line.startswith((b"OK ", b"REJECTED", b"ERROR")) for line in lines):
            data += self._read(_CHUNK, deadline)
            if len(data) > _LONGEST_GREETING:
                raise PyruncError(f"what listens at {self._path} does not speak D-Bus")
            *lines, _ = data.split(b"\r\n")
        if not lines[-1].startswith(b"OK "):
            said = lines[-1].decode("ascii", "replace")
            raise PyruncError(
                f"{self._path} does not take uid {os.geteuid()} for one of its users: {said}",
                hint="a bus belongs to one user, and in a user namespace to the one outside",
            )
