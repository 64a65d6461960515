"""The connection: where it goes, what it says, and that nothing waits for ever."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from jeepney import DBusAddress

from pyrunc.libcontainer.systemd import bus
from pyrunc.libcontainer.systemd.bus import BusError, Connection
from pyrunc.report import PyruncError
from tests.support.systemd import MANAGER, NAME, FakeSystemd

PROPERTIES = DBusAddress("/org/freedesktop/systemd1", NAME, "org.freedesktop.DBus.Properties")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deadline that passes within the test."""
    monkeypatch.setattr(bus, "DEADLINE_SECONDS", 0.1)


def test_a_call(fake: FakeSystemd) -> None:
    with Connection(str(fake.path)) as connection:
        assert connection.is_bus
        assert connection.call(PROPERTIES, "Get", "ss", ("x", "ControlGroup")) == (("s", ""),)
    assert [name for name, _ in fake.calls] == ["Hello", "Get"]


def test_systemd_s_own_socket_has_no_hello(fake: FakeSystemd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus, "SYSTEMD_SOCKET", str(fake.path))
    with Connection(str(fake.path)) as connection:
        assert not connection.is_bus
        connection.listen(MANAGER, "JobRemoved")
        connection.call(MANAGER, "Subscribe")
    assert [name for name, _ in fake.calls] == ["Subscribe"]


def test_an_error_that_is_answered(fake: FakeSystemd) -> None:
    fake.refused["Subscribe"] = ("org.example.No", "it says no")
    with Connection(str(fake.path)) as connection, pytest.raises(BusError) as caught:
        connection.call(MANAGER, "Subscribe")
    assert (caught.value.name, caught.value.message) == ("org.example.No", "it says no")


def test_signals_that_come_before_the_answer_are_kept(fake: FakeSystemd) -> None:
    with Connection(str(fake.path)) as connection:
        connection.listen(MANAGER, "JobRemoved")
        body = ("a.scope", "replace", [("Slice", ("s", "x.slice"))], [])
        assert connection.call(MANAGER, "StartTransientUnit", "ssa(sv)a(sa(sv))", body) == ("/job/7",)
        assert connection.wait("JobRemoved", lambda values: values[1] == "/job/7") == (7, "/job/7", "a.scope", "done")
    rule = dict(fake.calls)["AddMatch"][0]
    assert "member='JobRemoved'" in rule
    assert "path='/org/freedesktop/systemd1'" in rule


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("method", ["Hello", "Subscribe"])
def test_no_answer_in_time(fake: FakeSystemd, method: str) -> None:
    fake.silent.add(method)
    with pytest.raises(PyruncError, match=r"no answer from .* to .* within 0.1 s") as caught:
        Connection(str(fake.path)).call(MANAGER, "Subscribe")
    assert method in caught.value.message
    assert "list-jobs" in caught.value.hint


@pytest.mark.usefixtures("short")
def test_no_signal_in_time(fake: FakeSystemd) -> None:
    with Connection(str(fake.path)) as connection, pytest.raises(PyruncError, match=r"signal JobRemoved within 0.1 s"):
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
        said = b""
        while not said:
            accepted, _ = busy.accept()
            with accepted, contextlib.suppress(TimeoutError):
                accepted.settimeout(0.2)
                said = accepted.recv(100)  # those that fill the queue say nothing
                accepted.sendall(b"REJECTED EXTERNAL\r\n")

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
