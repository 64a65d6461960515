"""A fake systemd: its side of D-Bus on a socket of the test, as far as pyrunc uses it.

It answers as a bus does, makes a real cgroup for a unit and moves the processes into it. A test can make it answer
nothing or an error, and deliver what another user of the bus sends. It runs in a thread; `calls` has the calls that it
received.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jeepney import (
    DBusAddress,
    HeaderFields,
    Message,
    MessageType,
    Parser,
    new_error,
    new_method_return,
    new_signal,
)

from tests.support import host

NAME = "org.freedesktop.systemd1"
MANAGER = DBusAddress("/org/freedesktop/systemd1", NAME, NAME + ".Manager")
DRIVER = "org.freedesktop.DBus"
BUS = DBusAddress("/org/freedesktop/DBus", DRIVER, DRIVER)
# The connections of the bus: systemd's, and that of any local user.
SYSTEMD, STRANGER = ":1.1", ":1.666"
EXISTS = NAME + ".UnitExists"
DENIED = "org.freedesktop.DBus.Error.AccessDenied"


_FIRST = ("Hello", "AddMatch", "GetNameOwner", "Subscribe", "Get")

# A message to deliver, or a function that makes it of the call that it precedes.
Bogus = bytes | Callable[[Message], Message]


def signal(
    sender: str, address: DBusAddress, member: str, signature: str | None, values: tuple[Any, ...]
) -> Callable[[Message], Message]:
    """A signal for `bogus`."""
    return lambda call: sent_by(sender, new_signal(address, member, signature, values))


def sent_by(sender: str, message: Message) -> Message:
    """The message with the sender that the bus writes into it."""
    message.header.fields[HeaderFields.sender] = sender
    return message


class FakeSystemd:
    """Listens at `path`; `address` is the bus address for it.

    cgroup: its ControlGroup. root: the directory of the hierarchy in which it makes cgroups, None for none. units: the
    properties of the existing units, by name. failed: the failed units. silent: methods that get no answer, signals
    that are not sent. dropped: methods at which the connection is cut. refused: methods that get an error, (name,
    text). result: the result of jobs. owner: the uid that the bus reports for systemd. sender: systemd's connection; ""
    if it has none at first. bogus: what is delivered before the answer to a method, by the method's name.
    """

    def __init__(self, path: Path, cgroup: str = "", root: Path | None = None) -> None:
        self.path = path
        self.cgroup = cgroup
        self.root = root
        self.version = "252.30-1~deb12u2"
        self.owner = 0
        self.units: dict[str, dict[str, Any]] = {}
        self.failed: set[str] = set()
        self.silent: set[str] = set()
        self.dropped: set[str] = set()
        self.refused: dict[str, tuple[str, str]] = {}
        self.result = "done"
        self.rejects = False
        self.sender = SYSTEMD
        self.bogus: dict[str, list[Bogus]] = {}
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._serial = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        """The D-Bus address."""
        return f"unix:path={self.path}"

    @property
    def methods(self) -> list[str]:
        """The called methods, without those that every command calls first."""
        return [name for name, _ in self.calls if name not in _FIRST]

    def close(self) -> None:
        """Stop all units and stop listening."""
        # Closing the socket alone would leave the accepting thread waiting for ever.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for unit in list(self.units):
            self._end(unit)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        # A killed command reads no answer.
        with connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            data = b""
            while b"BEGIN\r\n" not in data:
                data += connection.recv(4096)
            if self.rejects:
                connection.sendall(b"REJECTED EXTERNAL\r\n")
                return
            connection.sendall(b"DATA\r\nOK 0123456789abcdef\r\n")
            parser = Parser()
            while True:
                received = connection.recv(4096)
                if not received:
                    return
                for message in parser.feed(received):
                    if message.header.fields[HeaderFields.member] in self.dropped:
                        return
                    self._answer(connection, message)

    def _send(self, connection: socket.socket, message: Message) -> None:
        self._serial += 1
        connection.sendall(message.serialise(serial=self._serial))

    def _answer(self, connection: socket.socket, message: Message) -> None:
        method = message.header.fields[HeaderFields.member]
        assert message.header.message_type is MessageType.method_call
        self.calls.append((method, message.body))
        for bogus in self.bogus.get(method, ()):
            if isinstance(bogus, bytes):
                connection.sendall(bogus)
            else:
                self._send(connection, bogus(message))
        if method in self.silent:
            return
        sender = DRIVER if message.header.fields.get(HeaderFields.destination) == DRIVER else self.sender
        error = self.refused.get(method)
        if error is None and method == "StartTransientUnit" and message.body[0] in self.units:
            error = EXISTS, f"Unit {message.body[0]} already exists."
        if error is None and method == "StopUnit" and message.body[0] not in self.units:
            error = NAME + ".NoSuchUnit", f"Unit {message.body[0]} not loaded."
        if error is not None:
            self._send(connection, sent_by(sender, new_error(message, error[0], "s", (error[1],))))
            return
        signature, body = self._values(method, message.body)
        if signature == "o" and "JobRemoved" not in self.silent:
            # As with the real systemd, the job may be over before the answer comes.
            values = (7, body[0], message.body[0], self.result)
            other = (6, "/job/6", "other.scope", "failed")
            for removed in (other, values):
                self._send(connection, sent_by(self.sender, new_signal(MANAGER, "JobRemoved", "uoss", removed)))
        self._send(connection, sent_by(sender, new_method_return(message, signature, body)))

    def _values(self, method: str, body: tuple[Any, ...]) -> tuple[str | None, tuple[Any, ...]]:
        if method == "Hello":
            return "s", (":1.7",)
        if method == "GetNameOwner":
            return "s", (self.sender,)
        if method == "GetConnectionUnixUser":
            return "u", (self.owner,)
        if method == "Get":
            return "v", (("s", {"Version": self.version, "ControlGroup": self.cgroup}[body[1]]),)
        if method == "StartTransientUnit":
            self._begin(body[0], dict(body[2]))
            return "o", ("/job/7",)
        if method == "StopUnit":
            self._end(body[0])
            return "o", ("/job/7",)
        if method == "ResetFailedUnit" and body[0] in self.failed:
            self.failed.remove(body[0])
            self._end(body[0])
        return None, ()

    def _begin(self, unit: str, properties: dict[str, Any]) -> None:
        self.units[unit] = properties
        directory = self.directory(unit)
        if directory is not None and self.result == "done":
            directory.mkdir(parents=True)
            for pid in properties["PIDs"][1]:
                with contextlib.suppress(ProcessLookupError):  # the process has ended meanwhile: the scope ends at once
                    (directory / "cgroup.procs").write_text(str(pid))
            threading.Thread(target=self._watch, args=(unit, directory), daemon=True).start()

    def _watch(self, unit: str, directory: Path) -> None:
        """End a scope when it has no process any more."""
        try:
            while "populated 1" in (directory / "cgroup.events").read_text():
                time.sleep(0.05)
        except OSError:
            return
        self._end(unit)

    def directory(self, unit: str) -> Path | None:
        """The directory of a unit's cgroup; does not resolve slices inside slices."""
        if self.root is None:
            return None
        return Path(self.root, self.cgroup[1:], self.units[unit]["Slice"][1], unit)

    def _end(self, unit: str) -> None:
        with self._lock:
            if unit not in self.units:
                return
            directory = self.directory(unit)
            del self.units[unit]
            if directory is None or not directory.exists():
                return
            (directory / "cgroup.kill").write_text("1")
            events = directory / "cgroup.events"
            host.wait_for("the unit's processes to end", lambda: "populated 0" in events.read_text())
            while directory not in (self.root, Path("/")):
                os.rmdir(directory)
                directory = directory.parent
