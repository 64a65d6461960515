"""Addresses of sockets: the kernel's structures, read and compared with an allowlist. Pure.

Facts: ip(7), ipv6(7), unix(7), netlink(7). The structures are the process's own bytes, so every length is checked.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from dataclasses import dataclass

from ...errors import cut
from .model import Refusal

# struct sockaddr_storage: no address is longer.
MAX_ADDRESS = 128
_FAMILY_BYTES = 2
_INET_BYTES = 16
_INET6_BYTES = 24  # RFC 2133: without the scope
_NETLINK_BYTES = 12
# What precedes an IPv4 address in an address of IPv6 (RFC 4291, 2.5.5.2).
_MAPPED = bytes(10) + b"\xff\xff"
_PORTS = 65535


@dataclass(frozen=True)
class Network:
    """A part of an allowlist: addresses, and the ports of them. ports: ranges, both ends included; none is all."""

    network: ipaddress.IPv4Network | ipaddress.IPv6Network
    ports: tuple[tuple[int, int], ...] = ()

    def has(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> bool:
        """Whether an address and a port are in it."""
        if self.network.version != address.version or address not in self.network:
            return False
        return not self.ports or any([first <= port <= last for first, last in self.ports])


@dataclass(frozen=True)
class Allowed:
    """The addresses of `connect` or `bind`.

    unix: paths in the container's root, or a directory's with /* at the end; @NAME for abstract ones, @PREFIX* too.
    datagrams: the container may have datagram sockets of the internet, which send anywhere without connect(2).
    unix_datagrams: the same of AF_UNIX.
    """

    networks: tuple[Network, ...] = ()
    unix: tuple[str, ...] = ()
    netlink: bool = False
    datagrams: bool = False
    unix_datagrams: bool = False

    def has_internet(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> bool:
        """Whether an address is allowed."""
        return any([network.has(address, port) for network in self.networks])

    def has_path(self, path: str) -> bool:
        """Whether a path is allowed, as resolved in the container's root."""
        return any([_matches(path, allowed) for allowed in self.unix if not allowed.startswith("@")])

    def has_abstract(self, name: str) -> bool:
        """Whether an abstract name is allowed. name: with @ for its leading NUL."""
        for allowed in self.unix:
            if allowed.startswith("@") and (
                name.startswith(allowed[:-1]) if allowed.endswith("*") else name == allowed
            ):
                return True
        return False


def _matches(path: str, allowed: str) -> bool:
    if allowed.endswith("/*"):
        return path.rpartition("/")[0] == allowed[:-2]
    return path == allowed


@dataclass(frozen=True)
class Internet:
    """An address of AF_INET or AF_INET6. address: what the kernel will connect to or bind, as IPv4 if it is mapped."""

    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"


@dataclass(frozen=True)
class Unix:
    """An address of AF_UNIX. path: a path; @NAME if it is abstract; "" without a name."""

    path: str
    abstract: bool

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True)
class Netlink:
    """An address of AF_NETLINK. groups: the multicast groups to join, as bits. port: nl_pid, 0 for the kernel."""

    groups: int
    port: int = 0

    def __str__(self) -> str:
        return f"netlink port {self.port} and groups {self.groups:#x}"


@dataclass(frozen=True)
class Unspecified:
    """AF_UNSPEC: connect(2) dissolves an association with it."""

    def __str__(self) -> str:
        return "AF_UNSPEC"


Address = Internet | Unix | Netlink | Unspecified


def read(data: bytes) -> Address:
    """The address in a struct sockaddr. Raises Refusal: EINVAL if it is too short, EAFNOSUPPORT for other families."""
    if len(data) < _FAMILY_BYTES:
        raise Refusal(errno.EINVAL, "an address without a family")
    (family,) = struct.unpack_from("=H", data)
    if family == socket.AF_INET:
        _require(data, _INET_BYTES)
        (port,) = struct.unpack_from(">H", data, 2)
        return Internet(ipaddress.IPv4Address(data[4:8]), port)
    if family == socket.AF_INET6:
        _require(data, _INET6_BYTES)
        (port,) = struct.unpack_from(">H", data, 2)
        address = ipaddress.IPv6Address(data[8:24])
        return Internet(address.ipv4_mapped or address, port)
    if family == socket.AF_UNIX:
        return _unix(data[_FAMILY_BYTES:])
    if family == socket.AF_NETLINK:
        _require(data, _NETLINK_BYTES)
        port, groups = struct.unpack_from("=2I", data, 4)
        return Netlink(groups, port)
    if family == socket.AF_UNSPEC:
        return Unspecified()
    raise Refusal(errno.EAFNOSUPPORT, f"the address family {family}")


def destined(data: bytes) -> bytes:
    """A valid struct sockaddr of the internet, with the loopback's address in the place of the unspecified one.

    connect(2) takes the unspecified address for the loopback's (ip(7), ipv6(7)), but for the address that the socket is
    bound to if it is bound to one (ip_route_connect() of the kernel), and that may be any of the machine's.
    """
    (family,) = struct.unpack_from("=H", data)
    if family == socket.AF_INET6 and data[8:24] == bytes(16):
        return data[:8] + ipaddress.IPv6Address("::1").packed + data[24:]
    at = 4 if family == socket.AF_INET else 20 if data[8:20] == _MAPPED else None
    if at is None or data[at : at + 4] != bytes(4):
        return data
    return data[:at] + ipaddress.IPv4Address("127.0.0.1").packed + data[at + 4 :]


def _require(data: bytes, size: int) -> None:
    if len(data) < size:
        raise Refusal(errno.EINVAL, f"an address of {len(data)} bytes")


def _unix(name: bytes) -> Unix:
    if not name:
        return Unix("", abstract=False)
    if name[0] == 0:
        return Unix("@" + name[1:].decode("utf-8", "surrogateescape"), abstract=True)
    return Unix(name.partition(b"\0")[0].decode("utf-8", "surrogateescape"), abstract=False)


def unix_bytes(name: str) -> bytes:
    """A struct sockaddr_un of a path. Raises Refusal (ENAMETOOLONG)."""
    data = name.encode("utf-8", "surrogateescape") + b"\0"
    if len(data) > 108:
        raise Refusal(errno.ENAMETOOLONG, "the path of a socket")
    return struct.pack("=H", socket.AF_UNIX) + data


def ports(text: str) -> tuple[int, int]:
    """A port or a range: `443`, `8000-8100`. Raises ValueError."""
    first, is_range, last = text.partition("-")
    found = (_port(first), _port(last if is_range else first))
    if found[0] > found[1]:
        raise ValueError(f"{text} ends before it begins")
    return found


def _port(word: str) -> int:
    if not word.isascii() or not word.isdigit() or int(word) > _PORTS:
        raise ValueError(f"{cut(repr(word))} is no port")
    return int(word)
