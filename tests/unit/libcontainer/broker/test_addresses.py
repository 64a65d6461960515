"""broker/addresses.py: the kernel's structures, and allowlists."""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct

import pytest

from pyrunc.libcontainer.broker import addresses
from pyrunc.libcontainer.broker.addresses import Allowed, Internet, Netlink, Network, Unix, Unspecified
from pyrunc.libcontainer.broker.model import Refusal


def inet(address: str, port: int) -> bytes:
    return struct.pack("=H", socket.AF_INET) + struct.pack(">H", port) + socket.inet_aton(address) + bytes(8)


def inet6(address: str, port: int) -> bytes:
    return (
        struct.pack("=H", socket.AF_INET6)
        + struct.pack(">HI", port, 0)
        + socket.inet_pton(socket.AF_INET6, address)
        + bytes(4)
    )


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (inet("10.1.2.3", 443), "10.1.2.3:443"),
        (inet6("fe80::1", 8080), "[fe80::1]:8080"),
        (inet6("::ffff:10.1.2.3", 1), "10.1.2.3:1"),
        (inet6("::1", 1)[:24], "[::1]:1"),
        (struct.pack("=H", 1) + b"/run/x\0more", "/run/x"),
        (struct.pack("=H", 1) + b"/" + b"x" * 107, "/" + "x" * 107),
        (struct.pack("=H", 1) + b"\0name\0with", "@name\0with"),
        (struct.pack("=H", 1), ""),
        (struct.pack("=HHII", 16, 0, 7, 5), "netlink port 7 and groups 0x5"),
        (struct.pack("=H", 0), "AF_UNSPEC"),
    ],
)
def test_an_address(data: bytes, found: str) -> None:
    assert str(addresses.read(data)) == found


def test_the_kinds_of_addresses() -> None:
    kinds = [type(addresses.read(data)) for data in (inet("1.1.1.1", 1), b"\1\0/x", b"\x10\0" + bytes(10), b"\0\0")]
    assert kinds == [Internet, Unix, Netlink, Unspecified]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", errno.EINVAL),
        (b"\2", errno.EINVAL),
        (inet("1.2.3.4", 1)[:15], errno.EINVAL),
        (inet6("::1", 1)[:23], errno.EINVAL),
        (struct.pack("=HH", 16, 0), errno.EINVAL),
        (struct.pack("=H", 40) + bytes(14), errno.EAFNOSUPPORT),
        (struct.pack("=H", 17) + bytes(18), errno.EAFNOSUPPORT),
    ],
)
def test_what_is_no_address(data: bytes, code: int) -> None:
    with pytest.raises(Refusal) as caught:
        addresses.read(data)
    assert caught.value.errno == code


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("0.0.0.0", "127.0.0.1"),
        ("::", "::1"),
        ("::ffff:0.0.0.0", "::ffff:127.0.0.1"),
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.1"),
        ("fd00::", "fd00::"),
        ("::5", "::5"),
    ],
)
def test_the_unspecified_address_becomes_the_loopbacks(given: str, meant: str) -> None:
    def packed(text: str) -> bytes:
        address = ipaddress.ip_address(text)
        if address.version == 4:
            return struct.pack("=H", socket.AF_INET) + b"\0\5" + address.packed + bytes(8)
        return struct.pack("=H", socket.AF_INET6) + b"\0\5" + b"flow" + address.packed + b"area"

    assert addresses.destined(packed(given)) == packed(meant)


@pytest.mark.parametrize(
    ("address", "port", "is_allowed"),
    [
        ("10.0.0.1", 443, True),
        ("10.0.0.1", 444, False),
        ("10.0.0.1", 8050, True),
        ("11.0.0.1", 443, False),
        ("fd00::1", 1, True),
        ("fe00::1", 1, False),
    ],
)
def test_networks(address: str, port: int, is_allowed: bool) -> None:
    allowed = Allowed(
        (
            Network(ipaddress.ip_network("10.0.0.0/8"), ((443, 443), (8000, 8100))),
            Network(ipaddress.ip_network("fd00::/16")),
        )
    )
    assert allowed.has_internet(ipaddress.ip_address(address), port) is is_allowed


def test_paths_and_abstract_names() -> None:
    allowed = Allowed(unix=("/run/app.sock", "/run/dir/*", "@name", "@prefix-*"))
    paths = ("/run/app.sock", "/run/dir/x", "/run/dir/x/y", "/run/dir", "/run/app", "@name", "")
    assert [path for path in paths if allowed.has_path(path)] == ["/run/app.sock", "/run/dir/x"]
    found = [name for name in ("@name", "@names", "@prefix-", "@prefix-1", "@pre") if allowed.has_abstract(name)]
    assert found == ["@name", "@prefix-", "@prefix-1"]


def test_ports() -> None:
    assert addresses.ports("443") == (443, 443)
    assert addresses.ports("8000-8100") == (8000, 8100)
    for text in ("", "-1", "1-", "-", "x", "70000", "5-4", "1-2-3", "٣"):
        with pytest.raises(ValueError, match=r"port|before"):
            addresses.ports(text)


def test_the_address_of_a_path() -> None:
    assert addresses.unix_bytes("/x") == struct.pack("=H", 1) + b"/x\0"
    with pytest.raises(Refusal):
        addresses.unix_bytes("x" * 108)
