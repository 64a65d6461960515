"""notify.py: the notifications that a container may send to the service manager. tests/integration/test_notify.py has
the rest.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrunc.libcontainer.launch import notify
from tests.support.host import open_descriptors


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"READY=1", ["READY=1"]),
        (b"STATUS=a b=c\nMAINPID=4\nREADY=1\n", ["STATUS=a b=c", "READY=1"]),
        (b"READY=1 \nREADY\nREADY=\nready=1\n READY=1", []),
        (b"RELOADING=1\nMONOTONIC_USEC=123", ["RELOADING=1", "MONOTONIC_USEC=123"]),
        (b"MONOTONIC_USEC=\nMONOTONIC_USEC=1x\nMONOTONIC_USEC=" + b"1" * 21, []),
        (b"STATUS=\x1b[0m", []),
        (b"STATUS=\xff\nREADY=1", []),
        (b"BARRIER=1\nFDSTORE=1\nEXTEND_TIMEOUT_USEC=9\nWATCHDOG=1", []),
        (b"", []),
    ],
)
def test_what_passes(message: bytes, expected: list[str]) -> None:
    assert notify.permitted(message) == expected


def test_addresses() -> None:
    assert (notify.address("/a"), notify.address("@a")) == ("/a", "\0a")


class Ends:
    """A relay between a container's and a manager's end."""

    def __init__(self, path: Path) -> None:
        (path / "notify").mkdir()
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(str(path / "manager"))
        self.manager.setblocking(False)
        directory = os.open(path, os.O_RDONLY)
        self.relay = notify.Notify(directory, str(path / "manager"))
        os.close(directory)
        self.container = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.container.connect(str(path / "notify/notify.sock"))
        self.container.setblocking(False)

    def received(self) -> list[bytes]:
        found = []
        try:
            while True:
                found.append(self.manager.recv(10000))
        except BlockingIOError:
            return found

    def is_ready(self) -> bool:
        return bool(select.select([self.relay.fd], [], [], 0)[0])


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Ends]:
    made = Ends(tmp_path)
    yield made
    made.relay.close()
    made.container.close()
    made.manager.close()


def test_what_came_before_the_beginning_is_not_lost(ends: Ends) -> None:
    ends.container.send(b"READY=1")
    assert not ends.is_ready()
    ends.relay.begin(7)
    assert ends.is_ready()
    ends.relay.serve()
    assert (ends.received(), ends.relay.ready) == ([b"READY=1\nMAINPID=7"], True)
    assert not ends.is_ready()


def test_a_manager_that_reads_nothing_stops_the_relay_and_not_the_loop(ends: Ends) -> None:
    ends.relay.begin(7)
    sent = 0
    for _ in range(5000):
        try:
            ends.container.send(b"STATUS=%d" % sent)
            sent += 1
        except BlockingIOError:
            ends.relay.serve()
            if not ends.is_ready():
                break
    assert sent < 5000
    assert not ends.is_ready()  # no descriptor is ready without work
    found: list[bytes] = []
    for _ in range(100):
        found += ends.received()
        ends.relay.serve()
    assert found == [b"STATUS=%d" % number for number in range(sent)]


def test_a_manager_that_goes_is_told_once(ends: Ends, capfd: pytest.CaptureFixture[str]) -> None:
    ends.relay.begin(7)
    ends.manager.close()
    for _ in range(3):
        ends.container.send(b"READY=1")
        ends.relay.serve()
    assert capfd.readouterr().err.count("nothing more is relayed") == 1
    assert not ends.is_ready()
    assert ends.relay.ready


def test_descriptors_do_not_pile_up(ends: Ends) -> None:
    ends.relay.begin(7)
    before = len(open_descriptors())
    for _ in range(3 * notify.MAX_WAITING):
        end, other = os.pipe()
        socket.send_fds(ends.container, [b"BARRIER=1"], [other])
        os.close(end)
        os.close(other)
        ends.relay.serve()
    # Two for each that is being received, and one for each that waits to be sent.
    assert len(open_descriptors()) <= before + 3 * notify.MAX_WAITING
    ends.relay.close()
    assert len(open_descriptors()) < before


def test_a_left_socket_is_replaced_and_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "notify").mkdir()
    (tmp_path / "notify/notify.sock").symlink_to(tmp_path / "elsewhere")
    directory = os.open(tmp_path, os.O_RDONLY)
    for _ in range(2):
        notify.Notify(directory, "/m").close()
    assert not (tmp_path / "elsewhere").exists()
    assert (tmp_path / "notify/notify.sock").stat().st_mode & 0o777 == 0o666
    (tmp_path / "notify").rename(tmp_path / "real")
    (tmp_path / "notify").symlink_to("real")
    with pytest.raises(NotADirectoryError):
        notify.Notify(directory, "/m")
    os.close(directory)
