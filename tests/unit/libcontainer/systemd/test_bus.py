"""The connection to the bus: its address, its messages, and that nothing waits for ever."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jeepney import DBusAddress, HeaderFields, Message, new_error, new_method_return, new_signal

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.systemd import bus
from pyrunc.libcontainer.systemd.bus import BusError, Connection
from tests.support.systemd import BUS, DRIVER, MANAGER, NAME, STRANGER, SYSTEMD, Bogus, FakeSystemd, sent_by, signal

PROPERTIES = DBusAddress("/org/freedesktop/systemd1", NAME, "org.freedesktop.DBus.Properties")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deadline that passes within the test."""
    monkeypatch.setattr(bus, "DEADLINE_SECONDS", 0.1)


def test_a_call(fake: FakeSystemd) -> None:
    with Connection(str(fake.path)) as connection:
        assert connection.is_bus
        assert connection.call(PROPERTIES, "Get", "ss", ("x", "ControlGroup")) == (("s", ""),)
    assert [name for name, _ in fake.calls] == ["Hello", "AddMatch", "GetNameOwner", "Get"]


def test_systemd_s_own_socket_has_no_hello(fake: FakeSystemd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus, "SYSTEMD_SOCKET", str(fake.path))
    with Connection(str(fake.path)) as connection:
        assert not connection.is_bus
        connection.listen(MANAGER, "JobRemoved", "uoss")
        connection.call(MANAGER, "Subscribe")
    assert [name for name, _ in fake.calls] == ["Subscribe"]


def test_an_error_that_is_answered(fake: FakeSystemd) -> None:
    fake.refused["Subscribe"] = ("org.example.No", "it says no")
    with Connection(str(fake.path)) as connection, pytest.raises(BusError) as caught:
        connection.call(MANAGER, "Subscribe")
    assert (caught.value.name, caught.value.message) == ("org.example.No", "it says no")


def test_signals_that_come_before_the_answer_are_kept(fake: FakeSystemd) -> None:
    with Connection(str(fake.path)) as connection:
        connection.listen(MANAGER, "JobRemoved", "uoss")
        body: tuple[Any, ...] = ("a.scope", "replace", [("Slice", ("s", "x.slice"))], [])
        assert connection.call(MANAGER, "StartTransientUnit", "ssa(sv)a(sa(sv))", body) == ("/job/7",)
        assert connection.wait("JobRemoved", lambda values: values[1] == "/job/7") == (7, "/job/7", "a.scope", "done")
    rule = [values for name, values in fake.calls if name == "AddMatch"][-1][0]
    assert f"sender='{NAME}'" in rule
    assert "member='JobRemoved'" in rule
    assert "path='/org/freedesktop/systemd1'" in rule


@pytest.mark.parametrize("method", ["Hello", "Subscribe"])
def test_no_answer_in_time(fake: FakeSystemd, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.silent.add(method)
    call = Connection.call

    def impatient(self: Connection, address: DBusAddress, member: str, *args: Any, **more: Any) -> Any:
        if member == method:
            monkeypatch.setattr(bus, "DEADLINE_SECONDS", 0.1)
        return call(self, address, member, *args, **more)

    monkeypatch.setattr(Connection, "call", impatient)
    with pytest.raises(PyruncError, match=r"no answer from .* to .* within 0.1 s") as caught:
        Connection(str(fake.path)).call(MANAGER, "Subscribe")
    assert method in caught.value.message
    assert "list-jobs" in caught.value.hint


def test_no_signal_in_time(fake: FakeSystemd, monkeypatch: pytest.MonkeyPatch) -> None:
    with Connection(str(fake.path)) as connection:
        monkeypatch.setattr(bus, "DEADLINE_SECONDS", 0.1)
        with pytest.raises(PyruncError, match=r"signal JobRemoved within 0.1 s"):
            connection.wait("JobRemoved", lambda values: True)


@pytest.mark.usefixtures("short")
def test_nobody_authenticates(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "bus"))
    listener.listen()
    with listener, pytest.raises(PyruncError, match="no answer"):
        Connection(str(tmp_path / "bus"))


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[socket.socket]:
    """A listener whose queue is full."""
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as waiting:
        listener.bind(str(tmp_path / "bus"))
        listener.listen(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                client = waiting.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect(str(tmp_path / "bus"))
        yield listener


@pytest.mark.usefixtures("short")
def test_a_full_queue_is_waited_for_until_the_deadline(busy: socket.socket) -> None:
    with pytest.raises(PyruncError, match="to a connection within"):
        Connection(busy.getsockname())


def test_a_full_queue_that_is_worked_off(busy: socket.socket) -> None:
    def work() -> None:
        # Connections that fill the queue send nothing.
        with contextlib.ExitStack() as taken:
            connections = [busy]
            while [busy] == (ready := select.select(connections, [], [])[0]):
                connections.append(taken.enter_context(busy.accept()[0]))
            (first, *_) = [one for one in ready if one is not busy]
            first.recv(100)
            first.sendall(b"REJECTED EXTERNAL\r\n")

    threading.Timer(0.2, work).start()
    with pytest.raises(PyruncError, match="for one of its users"):
        Connection(busy.getsockname())


def test_another_s_bus(fake: FakeSystemd) -> None:
    fake.rejects = True
    with pytest.raises(PyruncError, match=r"does not take uid .* for one of its users: REJECTED EXTERNAL"):
        Connection(str(fake.path))


def test_a_connection_that_is_cut(fake: FakeSystemd) -> None:
    fake.dropped.add("Subscribe")
    with Connection(str(fake.path)) as connection, pytest.raises(PyruncError, match="connection broke") as caught:
        connection.call(MANAGER, "Subscribe")
    assert caught.value.errno == errno.ECONNRESET


def test_where_the_buses_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DBUS_SYSTEM_BUS_ADDRESS", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert bus.system_sockets() == ["/run/dbus/system_bus_socket", "/run/systemd/private"]
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert bus.system_sockets() == ["/run/dbus/system_bus_socket"]
    assert bus.user_sockets() == []
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert bus.user_sockets() == []
    (tmp_path / "bus").touch()
    assert bus.user_sockets() == [f"{tmp_path}/bus"]
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "tcp:host=a;unix:path=/a%20b,guid=1;unix:abstract=c")
    assert bus.user_sockets() == ["/a b", "\0c"]
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/x")
    assert bus.system_sockets() == ["/x"]


@pytest.mark.parametrize("address", ["tcp:host=a", "what", "unix:tmpdir=/tmp"])
def test_an_address_without_a_socket(address: str) -> None:
    with pytest.raises(PyruncError, match="no UNIX socket in the D-Bus address"):
        bus.sockets(address)


BODY: tuple[Any, ...] = ("a.scope", "replace", [("Slice", ("s", "x.slice"))], [])
DONE = (7, "/job/7", "a.scope", "done")
FORGED = (7, "/job/7", "a.scope", "failed")
OTHER_PATH = DBusAddress("/org/other", NAME, MANAGER.interface)
OTHER_INTERFACE = DBusAddress(MANAGER.object_path, NAME, "org.other")


def is_ours(values: tuple[object, ...]) -> bool:
    return values[1] == "/job/7"


def start(connection: Connection) -> tuple[object, ...]:
    """Start a scope and wait for its job; returns the job's result."""
    connection.listen(MANAGER, "JobRemoved", "uoss")
    connection.call(MANAGER, "StartTransientUnit", "ssa(sv)a(sa(sv))", BODY, returns="o")
    return connection.wait("JobRemoved", is_ours)


def unix_fds(call: Message) -> Message:
    """A message with descriptors, which were not agreed upon."""
    message = sent_by(STRANGER, new_signal(MANAGER, "JobRemoved", "uoss", FORGED))
    message.header.fields[HeaderFields.unix_fds] = 1
    return message


def unknown_field(call: Message) -> bytes:
    """A header with a field of an unknown number, which is legal."""
    data = bytearray(unix_fds(call).serialise(serial=1))
    at = data.index(bytes([HeaderFields.unix_fds.value, 1]) + b"u\0")
    data[at] = 77
    return bytes(data)


BOGUS: dict[str, list[Bogus]] = {
    "a stranger's end of the job": [signal(STRANGER, MANAGER, "JobRemoved", "uoss", FORGED)],
    "a stranger's, without values": [signal(STRANGER, MANAGER, "JobRemoved", None, ())],
    "systemd's, without values": [signal(SYSTEMD, MANAGER, "JobRemoved", None, ())],
    "systemd's, with other values": [signal(SYSTEMD, MANAGER, "JobRemoved", "s", ("/job/7",))],
    "another object": [signal(SYSTEMD, OTHER_PATH, "JobRemoved", "uoss", FORGED)],
    "another interface": [signal(SYSTEMD, OTHER_INTERFACE, "JobRemoved", "uoss", FORGED)],
    "another signal": [signal(SYSTEMD, MANAGER, "JobNew", "uoss", FORGED)],
    "the bus's name": [signal(NAME, MANAGER, "JobRemoved", "uoss", FORGED)],
    "a stranger's answer": [lambda call: sent_by(STRANGER, new_method_return(call, "o", ("/job/666",)))],
    "a stranger's error": [lambda call: sent_by(STRANGER, new_error(call, "org.No", "s", ("no",)))],
    "a stranger's, who says who systemd is": [
        signal(STRANGER, BUS, "NameOwnerChanged", "sss", (NAME, SYSTEMD, STRANGER)),
        signal(STRANGER, MANAGER, "JobRemoved", "uoss", FORGED),
    ],
    "descriptors": [unix_fds],
    "an unknown field": [unknown_field(new_signal(MANAGER, "X"))],
    "another byte order, too long for anything": [b"B\4\0\1" + (1 << 21).to_bytes(4, "big") + bytes(8 + (1 << 21))],
    "many": [signal(STRANGER, MANAGER, "JobRemoved", "uoss", FORGED)] * 500,
}


@pytest.mark.parametrize("method", ["StartTransientUnit", "GetNameOwner", "AddMatch"])
@pytest.mark.parametrize("name", BOGUS)
def test_a8_what_others_send_is_passed_over(fake: FakeSystemd, name: str, method: str) -> None:
    """A8: sender, path, interface, member and signature identify a signal; serial and sender an answer."""
    fake.bogus[method] = BOGUS[name]
    with Connection(str(fake.path)) as connection:
        assert start(connection) == DONE


def test_a8_a_stranger_s_word_is_no_end(fake: FakeSystemd, monkeypatch: pytest.MonkeyPatch) -> None:
    """A8: a forged `done` would have create go on before the scope exists."""
    fake.silent.add("JobRemoved")
    fake.bogus["StartTransientUnit"] = [signal(STRANGER, MANAGER, "JobRemoved", "uoss", DONE)]
    wait = Connection.wait

    def impatient(self: Connection, *args: Any) -> Any:
        monkeypatch.setattr(bus, "DEADLINE_SECONDS", 0.1)
        return wait(self, *args)

    monkeypatch.setattr(Connection, "wait", impatient)
    with Connection(str(fake.path)) as connection, pytest.raises(PyruncError, match="JobRemoved within"):
        start(connection)


def test_a8_systemd_that_executes_itself_again(fake: FakeSystemd) -> None:
    """A8: it comes back with another connection, and the bus announces that."""
    fake.bogus["StartTransientUnit"] = [signal(DRIVER, BUS, "NameOwnerChanged", "sss", (NAME, SYSTEMD, ":1.2"))]

    def come_back(call: Message) -> Message:
        fake.sender = ":1.2"
        return signal(DRIVER, BUS, "NameAcquired", "s", ("x",))(call)

    fake.bogus["StartTransientUnit"].append(come_back)
    with Connection(str(fake.path)) as connection:
        connection.listen(MANAGER, "JobRemoved", "uoss")
        assert fake.sender == SYSTEMD
        assert connection.call(MANAGER, "StartTransientUnit", "ssa(sv)a(sa(sv))", BODY) == ("/job/7",)
        assert connection.wait("JobRemoved", is_ours) == DONE


def test_a8_a_name_without_an_owner(fake: FakeSystemd) -> None:
    """A8: the bus answers in place of the missing systemd."""
    fake.refused["GetNameOwner"] = (DRIVER + ".Error.NameHasNoOwner", "nobody")
    fake.sender = DRIVER
    fake.refused["Get"] = (DRIVER + ".Error.ServiceUnknown", "not here")
    with Connection(str(fake.path)) as connection, pytest.raises(BusError, match="not here"):
        connection.call(PROPERTIES, "Get", "ss", ("x", "ControlGroup"))


def test_a8_an_answer_of_another_form(fake: FakeSystemd) -> None:
    """A8: it gives the usual error, and no IndexError or TypeError in the code that decodes it."""
    with Connection(str(fake.path)) as connection, pytest.raises(PyruncError, match=r"malformed answer .* to Get"):
        connection.call(PROPERTIES, "Get", "ss", ("x", "ControlGroup"), returns="ss")


@pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad Request\r\n", b"l\1\0\1" + b"\xff" * 12])
def test_a8_bytes_that_are_no_dbus(fake: FakeSystemd, data: bytes) -> None:
    """A8: the conversation ends with an error, and does not fill the memory."""
    fake.bogus["Subscribe"] = [data]
    with Connection(str(fake.path)) as connection, pytest.raises(PyruncError, match="broke at Subscribe") as caught:
        connection.call(MANAGER, "Subscribe")
    assert caught.value.errno == errno.EBADMSG


def test_a8_a_greeting_without_an_end(tmp_path: Path) -> None:
    """A8: the length of what a peer sends before it has authenticated us is bounded."""

    def talk(listener: socket.socket) -> None:
        accepted, _ = listener.accept()
        with accepted, contextlib.suppress(OSError):
            while True:
                accepted.sendall(bytes(4096))

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "bus"))
        listener.listen()
        threading.Thread(target=talk, args=(listener,), daemon=True).start()
        with pytest.raises(PyruncError, match="does not speak D-Bus"):
            Connection(str(tmp_path / "bus"))
