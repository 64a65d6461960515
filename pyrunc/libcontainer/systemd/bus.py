"""A connection to a D-Bus message bus, or to systemd itself: calls and signals, each with a deadline. Cold.

The messages are jeepney's; the socket is ours, since its own connections have no deadline for the first call, know
no way to speak to systemd without a bus, and can't authenticate from a user namespace, where the caller's uid is
another than the one that the bus sees. Facts: the D-Bus Specification; sd_bus_default(3), systemd's docs/.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

from jeepney import DBusAddress, HeaderFields, MatchRule, Message, MessageType, Parser, new_method_call
from jeepney.bus import get_connectable_addresses

from ...report import PyruncError

# How long the bus or systemd may take for one answer, as runc waits for a job.
DEADLINE_SECONDS = 30.0

SYSTEM_BUS = "/run/dbus/system_bus_socket"
# systemd's own socket, for root alone: it is there before the bus is, and where there is none.
SYSTEMD_SOCKET = "/run/systemd/private"

_BUS = DBusAddress("/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus")
_ANSWERS = (MessageType.method_return, MessageType.error)
_LONGEST_LINE = 4096


class BusError(Exception):
    """An error that the other side answered: its D-Bus name and its text."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message or name)
        self.name = name
        self.message = message or name


def sockets(address: str) -> list[str]:
    """The paths of the UNIX sockets in a D-Bus address, an abstract one with a leading NUL.

    Raises PyruncError where it has none.
    """
    try:
        return list(get_connectable_addresses(address))
    except (RuntimeError, ValueError) as error:
        raise PyruncError(f'no UNIX socket in the D-Bus address "{address}"') from error


def system_sockets() -> list[str]:
    """Where the system's systemd is to be reached, in the order in which it is tried."""
    address = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS", "")
    if address:
        return sockets(address)
    return [SYSTEM_BUS, SYSTEMD_SOCKET] if os.geteuid() == 0 else [SYSTEM_BUS]


def user_sockets() -> list[str]:
    """Where the bus of the user's session is: $DBUS_SESSION_BUS_ADDRESS, else $XDG_RUNTIME_DIR/bus where that exists.

    Empty where there is neither.
    """
    address = os.environ.get("DBUS_SESSION_BUS_ADDRESS", "")
    if address:
        return sockets(address)
    path = os.environ.get("XDG_RUNTIME_DIR", "") + "/bus"
    return [path] if path.startswith("/") and path != "/bus" and os.path.exists(path) else []


class Connection:
    """An open connection. A context manager, which closes it.

    path: the socket's path. Raises OSError where there is no such socket or nobody listens, PyruncError where the
    other side does not take the caller for one of its users, or does not answer.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._serial = 0
        self._parser = Parser()
        self._signals: list[Message] = []
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._connect()
            self._authenticate()
            self.is_bus = path != SYSTEMD_SOCKET
            if self.is_bus:
                self.call(_BUS, "Hello")
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
    ) -> tuple[Any, ...]:
        """Call a method; gives the answer's values.

        seconds: how long the answer may take, 0 for DEADLINE_SECONDS. Raises BusError for an error that is answered,
        PyruncError where no answer comes in time or the connection is lost.
        """
        seconds = seconds or DEADLINE_SECONDS
        message = new_method_call(address, method, signature or None, body)
        self._serial += 1
        deadline = time.monotonic() + seconds
        try:
            self._socket.settimeout(seconds)
            self._socket.sendall(message.serialise(serial=self._serial))
            while True:
                answer = self._receive(deadline)
                if answer.header.fields.get(HeaderFields.reply_serial) == self._serial:
                    break
                if answer.header.message_type is MessageType.signal:
                    self._signals.append(answer)
        except TimeoutError as error:
            raise self._late(method, seconds) from error
        except OSError as error:
            raise PyruncError(f"the D-Bus connection broke at {method}", errno=error.errno or 0) from error
        values: tuple[Any, ...] = answer.body
        if answer.header.message_type is MessageType.error:
            raise BusError(
                answer.header.fields.get(HeaderFields.error_name, ""),
                str(values[0]) if values and isinstance(values[0], str) else "",
            )
        return values

    def listen(self, address: DBusAddress, member: str) -> None:
        """Have the signals `member` of an object sent to this connection."""
        if self.is_bus:
            rule = MatchRule(type="signal", interface=address.interface, member=member, path=address.object_path)
            self.call(_BUS, "AddMatch", "s", (rule.serialise(),))

    def wait(self, member: str, wanted: Callable[[tuple[Any, ...]], bool]) -> tuple[Any, ...]:
        """The values of the first signal `member` that is wanted, also of one that came already.

        Raises PyruncError where none comes in time.
        """
        deadline = time.monotonic() + DEADLINE_SECONDS
        try:
            while True:
                message = self._signals.pop(0) if self._signals else self._receive(deadline)
                if message.header.fields.get(HeaderFields.member) == member and wanted(message.body):
                    values: tuple[Any, ...] = message.body
                    return values
        except TimeoutError as error:
            raise self._late(f"the signal {member}", DEADLINE_SECONDS) from error
        except OSError as error:
            raise PyruncError(f"the D-Bus connection broke before {member}", errno=error.errno or 0) from error

    def _late(self, what: str, seconds: float) -> PyruncError:
        return PyruncError(
            f"no answer from {self._path} to {what} within {seconds:g} s",
            hint="is systemd stuck (systemctl status, systemctl list-jobs)?",
        )

    def _receive(self, deadline: float) -> Message:
        """The next message. Raises TimeoutError when the deadline has passed."""
        while True:
            message = self._parser.get_next_message()
            if message is not None:
                return message
            self._parser.add_data(self._read(4096, deadline))

    def _read(self, size: int, deadline: float) -> bytes:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)
        data = self._socket.recv(size)
        if not data:
            raise ConnectionResetError(errno.ECONNRESET, "the other side has closed the connection")
        return data

    def _connect(self) -> None:
        """Connect, and wait where the bus has more to accept than its queue holds, as when many containers start.

        The kernel waits for that on a blocking socket only, so its own timeout is set (socket(7), SO_SNDTIMEO).
        """
        seconds, fraction = divmod(DEADLINE_SECONDS, 1)
        timeout = struct.pack("ll", int(seconds), int(fraction * 1000000))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
        self._socket.connect(self._path)

    def _authenticate(self) -> None:
        """Say who we are: EXTERNAL without a uid, which is whom the kernel takes the socket's other end for.

        BEGIN does not wait for the OK: a message that systemd reads together with a BEGIN is left lying, so it must
        have read the BEGIN by the time when we have the OK.
        """
        deadline = time.monotonic() + DEADLINE_SECONDS
        self._socket.sendall(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")
        lines: list[bytes] = []
        data = b""
        while not any(line.startswith((b"OK ", b"REJECTED", b"ERROR")) for line in lines):
            data += self._read(_LONGEST_LINE, deadline)
            *lines, _ = data.split(b"\r\n")
        if not lines[-1].startswith(b"OK "):
            said = lines[-1].decode("ascii", "replace")
            raise PyruncError(
                f"{self._path} does not take uid {os.geteuid()} for one of its users: {said}",
                hint="a bus belongs to one user, and in a user namespace to the one outside",
            )
