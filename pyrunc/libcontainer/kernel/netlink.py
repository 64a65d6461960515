"""rtnetlink messages that read and change network devices and their addresses (rtnetlink(7), netlink(7)).

This is only the part that netDevices needs. Numbers have the machine's byte order. An answer must be the kernel's
(its port is 0) and have the request's sequence number. It is refused if a length in it does not fit.
"""

from __future__ import annotations

import posix
import sys

from ...errors import PyruncError
from . import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Attributes = dict[int, bytes]

# linux/rtnetlink.h
NEWLINK = 16
GETLINK = 18
NEWADDR = 20
GETADDR = 22

# linux/netlink.h
_REQUEST = 0x01
_ACK = 0x04
_DUMP = 0x300
_DUMP_INTERRUPTED = 0x10
_ACK_TLVS = 0x200
_EXCLUSIVE = 0x200
_ERRNO_SIZE = 4
_CREATE = 0x400
_ERROR = 2
_DONE = 3
# The kind of a table's messages is that of the request minus this number (RTM_GETLINK, RTM_NEWLINK).
_GET_FROM_NEW = 2
_ACK_MESSAGE = 1

# linux/if_link.h
IFLA_IFNAME = 3
IFLA_NET_NS_FD = 28
IFLA_NEW_IFINDEX = 49
# linux/if_addr.h
IFA_LABEL = 3
IFA_CACHEINFO = 6
IFA_FLAGS = 8
IFA_F_PERMANENT = 0x80
# net/if.h
IFF_UP = 1
RT_SCOPE_UNIVERSE = 0

_HEADER = 16
_LINK_HEADER = 16
_ADDRESS_HEADER = 8
_CHUNK = 1 << 16
_ATTEMPTS = 20


def pack(value: int, size: int) -> bytes:
    """Encode a number in the machine's byte order."""
    return value.to_bytes(size, sys.byteorder, signed=value < 0)


def unpack(data: bytes) -> int:
    """Decode an unsigned number."""
    return int.from_bytes(data, sys.byteorder)


def attribute(kind: int, data: bytes) -> bytes:
    """One attribute: length, kind, data, padded to four bytes."""
    return (pack(4 + len(data), 2) + pack(kind, 2) + data).ljust((7 + len(data)) & ~3, b"\0")


def attributes(data: bytes) -> Attributes:
    """Decode a sequence of attributes. The flags in the upper bits of a kind are removed.

    Raises PyruncError if an attribute is longer than the data.
    """
    found = {}
    at = 0
    while at + 4 <= len(data):
        length = unpack(data[at : at + 2])
        if not 4 <= length <= len(data) - at:
            raise _malformed()
        found[unpack(data[at + 2 : at + 4]) & 0x3FFF] = data[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


def _malformed() -> PyruncError:
    return PyruncError("rtnetlink: a malformed answer")


def text(value: str) -> bytes:
    """A text as the data of an attribute."""
    return value.encode("utf-8", "surrogateescape") + b"\0"


class Link:
    """A network device. flags: IFF_*."""

    __slots__ = ("flags", "index", "name")

    def __init__(self, data: bytes) -> None:
        """Decode the payload of an RTM_NEWLINK message. Raises PyruncError."""
        if len(data) < _LINK_HEADER:
            raise _malformed()
        self.index = unpack(data[4:8])
        self.flags = unpack(data[8:12])
        name = attributes(data[_LINK_HEADER:]).get(IFLA_IFNAME, b"")
        self.name = name.rstrip(b"\0").decode("utf-8", "surrogateescape")


class Address:
    """An address of a device. index: the device's. flags: IFA_F_*."""

    __slots__ = ("attributes", "family", "flags", "index", "prefix", "scope")

    def __init__(self, data: bytes) -> None:
        """Decode the payload of an RTM_NEWADDR message. Raises PyruncError."""
        if len(data) < _ADDRESS_HEADER:
            raise _malformed()
        self.family, self.prefix, flags, self.scope = data[:4]
        self.index = unpack(data[4:8])
        self.attributes = attributes(data[_ADDRESS_HEADER:])
        self.flags = unpack(self.attributes.get(IFA_FLAGS, b"")) or flags


class Socket:
    """A conversation with the kernel about one network namespace. All methods raise PyruncError or OSError."""

    __slots__ = ("_fd", "_sequence")

    def __init__(self, namespace: int = -1) -> None:
        """namespace: its descriptor, or -1 for the caller's own."""
        self._fd = native.netlink(namespace)
        self._sequence = 0

    def close(self) -> None:
        """End the conversation."""
        posix.close(self._fd)

    def links(self) -> list[Link]:
        """Every device of the namespace."""
        return [Link(data) for data in self._dump(GETLINK, bytes(_LINK_HEADER))]

    def addresses(self, index: int) -> list[Address]:
        """The addresses of a device, of all families, in the order in which they were added."""
        found = [Address(data) for data in self._dump(GETADDR, bytes(_ADDRESS_HEADER))]
        return [address for address in found if address.index == index]

    def change_link(self, index: int, parts: Iterable[tuple[int, bytes]]) -> None:
        """Change a device by (attribute, data) pairs."""
        self._change(NEWLINK, 0, bytes(4) + pack(index, 4) + bytes(8), parts)

    def set_up(self, index: int) -> None:
        """Bring a device up."""
        self._change(NEWLINK, 0, bytes(4) + pack(index, 4) + pack(IFF_UP, 4) + pack(IFF_UP, 4), ())

    def add_address(self, index: int, family: int, prefix: int, parts: Iterable[tuple[int, bytes]]) -> None:
        """Give a device an address of global scope."""
        self._change(NEWADDR, _CREATE | _EXCLUSIVE, bytes([family, prefix, 0, 0]) + pack(index, 4), parts)

    def _change(self, kind: int, flags: int, head: bytes, parts: Iterable[tuple[int, bytes]]) -> None:
        self._send(kind, _ACK | flags, head + b"".join([attribute(*part) for part in parts]))
        while True:
            for answer, ack_flags, data in self._receive():
                if answer == _ERROR:
                    return _check(data, ack_flags)

    def _dump(self, kind: int, body: bytes) -> list[bytes]:
        """The payloads of a whole table. It is read again if it changed meanwhile."""
        for _ in range(_ATTEMPTS):
            found = self._dump_once(kind, body)
            if found is not None:
                return found
        raise PyruncError("the network devices change all the time")

    def _dump_once(self, kind: int, body: bytes) -> list[bytes] | None:
        self._send(kind, _DUMP, body)
        found: list[bytes] = []
        interrupted = False
        while True:
            for answer, flags, data in self._receive():
                interrupted |= bool(flags & _DUMP_INTERRUPTED)
                if answer == _ERROR:
                    _check(data, flags)
                elif answer == _DONE:
                    return None if interrupted else found
                elif answer == kind - _GET_FROM_NEW:
                    found.append(data)

    def _send(self, kind: int, flags: int, body: bytes) -> None:
        self._sequence += 1
        head = pack(_HEADER + len(body), 4) + pack(kind, 2) + pack(_REQUEST | flags, 2) + pack(self._sequence, 4)
        posix.write(self._fd, head + bytes(4) + body)

    def _receive(self) -> list[tuple[int, int, bytes]]:
        """The kernel's next messages to the last request, as (kind, flags, payload)."""
        data = native.recv_netlink(self._fd, _CHUNK)
        found = []
        at = 0
        while at + _HEADER <= len(data):
            length = unpack(data[at : at + 4])
            if not _HEADER <= length <= len(data) - at:
                raise _malformed()
            if unpack(data[at + 8 : at + 12]) == self._sequence:
                kind, flags = unpack(data[at + 4 : at + 6]), unpack(data[at + 6 : at + 8])
                found.append((kind, flags, data[at + _HEADER : at + length]))
            at += (length + 3) & ~3
        return found


def _check(data: bytes, flags: int) -> None:
    """Raise PyruncError if an answer is an error, with the kernel's message if there is one."""
    if len(data) < _ERRNO_SIZE:
        raise _malformed()
    number = -int.from_bytes(data[:_ERRNO_SIZE], sys.byteorder, signed=True)
    if not number:
        return
    # The header of the request follows the errno (NETLINK_CAP_ACK: the header alone).
    reasons = attributes(data[_ERRNO_SIZE + _HEADER :]) if flags & _ACK_TLVS else {}
    reason = reasons.get(_ACK_MESSAGE, b"").rstrip(b"\0").decode("utf-8", "replace")
    raise PyruncError(f"rtnetlink: {reason}" if reason else "rtnetlink", errno=number)
