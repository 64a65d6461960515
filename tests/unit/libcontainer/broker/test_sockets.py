"""broker/sockets.py: the decisions about addresses. tests/integration/test_broker.py connects."""

from __future__ import annotations

import ctypes
import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pyrunc.libcontainer.broker import addresses, listener, sockets
from pyrunc.libcontainer.broker.addresses import Allowed
from pyrunc.libcontainer.broker.caller import Caller, Processes
from pyrunc.libcontainer.broker.model import Notification, Refusal

Call = Callable[..., Any]


@pytest.fixture
def self(monkeypatch: pytest.MonkeyPatch) -> Iterator[Caller]:
    monkeypatch.setattr(listener, "is_waiting", lambda fd, id: True)
    with Caller(-1, Notification(1, os.getpid(), 0, 0, (0,) * 6), Processes()) as found:
        yield found


def at(data: bytes) -> tuple[int, int, Any]:
    buffer = ctypes.create_string_buffer(data, len(data))
    return ctypes.addressof(buffer), len(data), buffer


@pytest.mark.parametrize("size", [-1, 0, 1, 129, 1 << 20])
@pytest.mark.parametrize("call", [sockets.connect, sockets.bind])
def test_sizes_that_no_address_has(self: Caller, call: Call, size: int) -> None:
    with pytest.raises(Refusal) as caught:
        call(self, None, Allowed(), 0, 0, size)
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("=H", socket.AF_INET) + struct.pack(">H", 5) + socket.inet_aton("8.8.8.8") + bytes(8),
        struct.pack("=H", 1) + b"\0abstract",
        struct.pack("=HHII", 16, 0, 0, 0),
    ],
)
@pytest.mark.parametrize("call", [sockets.connect, sockets.bind])
def test_what_no_allowlist_has(self: Caller, call: Call, data: bytes) -> None:
    place, size, _keep = at(data)
    with pytest.raises(Refusal) as caught:
        call(self, None, Allowed(), 0, place, size)
    assert caught.value.errno == errno.EACCES


def test_all_addresses_of_ipv6_are_those_of_ipv4_too(self: Caller) -> None:
    networks = [addresses.Network(ipaddress.ip_network(cidr)) for cidr in ("::/0", "0.0.0.0/0")]
    place, size, _keep = at(struct.pack("=H", socket.AF_INET6) + bytes(26))
    with socket.socket(socket.AF_INET6) as found:
        with pytest.raises(Refusal, match="IPv4") as caught:
            sockets.bind(self, None, Allowed((networks[0],)), found.fileno(), place, size)  # type: ignore[arg-type]
        assert caught.value.errno == errno.EACCES
        assert sockets.bind(self, None, Allowed((*networks,)), found.fileno(), place, size) is None  # type: ignore[arg-type]


def test_multicast_groups_of_netlink(self: Caller) -> None:
    place, size, _keep = at(struct.pack("=HHII", 16, 0, 0, 1))
    with pytest.raises(Refusal, match="groups 0x1"):
        sockets.bind(self, None, Allowed(netlink=True), 0, place, size)  # type: ignore[arg-type]


def test_netlink_of_another_process(self: Caller) -> None:
    place, size, _keep = at(struct.pack("=HHII", 16, 0, 7, 0))
    with pytest.raises(Refusal, match="netlink port 7") as caught:
        sockets.connect(self, None, Allowed(netlink=True), 0, place, size)  # type: ignore[arg-type]
    assert caught.value.errno == errno.EPERM


def test_netlink(self: Caller) -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as found:
        place, size, _keep = at(struct.pack("=HHII", 16, 0, 0, 0))
        allowed = Allowed(netlink=True)
        assert sockets.bind(self, None, allowed, found.fileno(), place, size) is None  # type: ignore[arg-type]
        assert found.getsockname()[0]


@pytest.mark.parametrize(
    ("kind", "waits"),
    [
        (socket.SOCK_STREAM, True),
        (socket.SOCK_STREAM | socket.SOCK_NONBLOCK, False),
        (socket.SOCK_DGRAM, False),
    ],
)
def test_which_connects_may_take_long(kind: int, waits: bool) -> None:
    with socket.socket(socket.AF_INET, kind) as found:
        assert sockets._may_wait(found.fileno()) is waits
        assert os.fstat(found.fileno())
