"""rtnetlink messages: how they are encoded and decoded, and a conversation about the test's own namespace."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.kernel import native, netlink
from pyrunc.libcontainer.kernel.netlink import Address, Link, Socket


@given(st.dictionaries(st.integers(0, 0x3FFF), st.binary(max_size=40)))
def test_attributes_come_out_as_they_went_in(parts: dict[int, bytes]) -> None:
    data = b"".join(netlink.attribute(kind, value) for kind, value in parts.items())
    assert len(data) % 4 == 0
    assert netlink.attributes(data) == parts


@given(st.binary(max_size=60))
def test_a8_no_bytes_break_the_reader(data: bytes) -> None:
    """A8: malformed bytes give the usual error, never an IndexError or ValueError."""
    for read in (netlink.attributes, Link, Address, lambda data: netlink._check(data, 0x200)):
        with contextlib.suppress(PyruncError):
            read(data)


@pytest.mark.parametrize("data", [b"", b"\1\0\0", bytes(7)])
def test_a8_a_short_answer(data: bytes) -> None:
    """A8: a payload without its header."""
    for read in (Link, Address):
        with pytest.raises(PyruncError, match="malformed answer"):
            read(data)


@pytest.mark.parametrize("data", [struct.pack("=HHI", 9, 1, 0), struct.pack("=HHI", 3, 1, 0)])
def test_a8_an_attribute_that_does_not_fit(data: bytes) -> None:
    """A8: the attribute's length is larger than the message, or smaller than its own header."""
    with pytest.raises(PyruncError, match="malformed answer"):
        netlink.attributes(data)


def test_the_flags_of_a_kind_are_left_out() -> None:
    assert netlink.attributes(struct.pack("=HHI", 8, 0x8000 | 5, 7)) == {5: struct.pack("=I", 7)}


def test_numbers() -> None:
    assert netlink.pack(-2, 4) == struct.pack("=i", -2)
    assert netlink.unpack(struct.pack("=Q", 1 << 63)) == 1 << 63
    assert netlink.text("eth0") == b"eth0\0"


def test_link() -> None:
    link = Link(struct.pack("=BxHiII", 0, 1, 7, 0x1003, 0) + netlink.attribute(3, b"eth0\0"))
    assert (link.index, link.flags, link.name) == (7, 0x1003, "eth0")


@pytest.mark.parametrize("wide", [True, False])
def test_address(wide: bool) -> None:
    parts = netlink.attribute(1, b"\xc0\0\2\1") + (netlink.attribute(8, struct.pack("=I", 0x280)) if wide else b"")
    address = Address(struct.pack("=BBBBI", 2, 24, 0x80, 253, 7) + parts)
    assert (address.family, address.prefix, address.scope, address.index) == (2, 24, 253, 7)
    assert address.flags == (0x280 if wide else 0x80)
    assert address.attributes[1] == b"\xc0\0\2\1"


@pytest.fixture
def conversation() -> Iterator[Socket]:
    value = Socket()
    yield value
    value.close()


def test_links_of_this_namespace(conversation: Socket) -> None:
    found = {link.name: link.index for link in conversation.links()}
    assert found == {name: index for index, name in socket.if_nameindex()}


def test_addresses_are_those_of_the_device(conversation: Socket) -> None:
    index = socket.if_nametoindex("lo")
    assert {address.index for address in conversation.addresses(index)} <= {index}
    assert conversation.addresses(0x7FFFFFFF) == []


def test_refusal(conversation: Socket) -> None:
    with pytest.raises(PyruncError) as raised:
        conversation.set_up(0x7FFFFFFF)
    assert raised.value.errno in (errno.ENODEV, errno.EPERM)
    assert raised.value.message.startswith("rtnetlink")


def test_the_kernel_s_own_words() -> None:
    head = struct.pack("=i", -errno.EINVAL) + bytes(16)
    reason = netlink.attribute(1, b"the interface netns is immutable\0")
    with pytest.raises(PyruncError, match=r"rtnetlink: the interface netns is immutable: invalid argument"):
        netlink._check(head + reason, 0x200)
    with pytest.raises(PyruncError, match=r"rtnetlink: invalid argument"):
        netlink._check(head, 0)
    netlink._check(bytes(20), 0)


class Talk(Socket):
    """A conversation whose answers are given: each a list of (kind, flags, payload)."""

    def __init__(self, *answers: list[tuple[int, int, bytes]]) -> None:
        self.answers = list(answers)

    def _send(self, kind: int, flags: int, body: bytes) -> None:
        pass

    def _receive(self) -> list[tuple[int, int, bytes]]:
        return self.answers.pop(0)


DONE = (3, 0, b"")


def link_message(name: str) -> bytes:
    return bytes(16) + netlink.attribute(3, name.encode())


def test_a_table_that_changed_meanwhile_is_read_again() -> None:
    torn = [(16, 0x10, link_message("old")), DONE]
    whole = [[(16, 0, link_message("a"))], [(16, 0, link_message("b")), DONE]]
    assert [link.name for link in Talk(torn, *whole).links()] == ["a", "b"]


def test_a_table_that_never_rests() -> None:
    torn = [(16, 0x10, link_message("old")), DONE]
    with pytest.raises(PyruncError, match="change all the time"):
        Talk(*[torn] * 20).links()


def message(kind: int, sequence: int, payload: bytes, length: int = 0) -> bytes:
    return struct.pack("=IHHII", length or 16 + len(payload), kind, 0, sequence, 0) + payload


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> tuple[Socket, list[bytes]]:
    """A conversation whose last request had the number 7, and the kernel's answer."""
    talk = Socket.__new__(Socket)
    talk._fd, talk._sequence = -1, 7
    datagrams: list[bytes] = []
    monkeypatch.setattr(native, "recv_netlink", lambda fd, size: datagrams.pop(0))
    return talk, datagrams


def test_a8_answers_to_other_requests_are_passed_over(answered: tuple[Socket, list[bytes]]) -> None:
    """A8: only an answer with the request's sequence number counts."""
    talk, datagrams = answered
    datagrams.append(message(1, 6, b"data") + message(2, 7, b"data"))
    assert talk._receive() == [(2, 0, b"data")]


@pytest.mark.parametrize("length", [3, 15, 25, 1 << 31])
def test_a8_a_message_that_does_not_fit(answered: tuple[Socket, list[bytes]], length: int) -> None:
    """A8: a wrong length is an error, and not the end of the answer, for which the caller would wait."""
    talk, datagrams = answered
    datagrams.append(message(2, 7, bytes(8), length))
    with pytest.raises(PyruncError, match="malformed answer"):
        talk._receive()


def test_a8_only_rows_of_the_table_are_rows() -> None:
    """A8: a message of another kind within a table."""
    other = (20, 0, link_message("address"))
    assert [link.name for link in Talk([other, (16, 0, link_message("a")), DONE]).links()] == ["a"]


@pytest.fixture
def stranger() -> Iterator[socket.socket]:
    """Another process's socket of rtnetlink."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as value:
        value.bind((0, 0))
        yield value


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a8_another_process_is_not_the_kernel(conversation: Socket, stranger: socket.socket) -> None:
    """A8: messages of other processes to our port are ignored; the kernel's port is 0."""
    conversation.links()  # the first request gives the socket its port
    with socket.socket(fileno=os.dup(conversation._fd)) as ours:
        port = ours.getsockname()[0]
    acknowledged = message(2, conversation._sequence + 1, bytes(20))
    stranger.sendto(acknowledged, (port, 0))
    with pytest.raises(PyruncError, match="rtnetlink"):
        conversation.set_up(0x7FFFFFFF)


def test_a8_a_datagram_that_is_too_long(conversation: Socket) -> None:
    """A8: a truncated datagram is no answer."""
    conversation._send(netlink.GETLINK, 0x300, bytes(16))
    with pytest.raises(OSError, match="Message too long"):
        native.recv_netlink(conversation._fd, 32)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_conversation_about_another_namespace() -> None:
    before = os.readlink("/proc/self/ns/net")
    fd = os.open("/proc/self/ns/net", os.O_RDONLY)
    other = Socket(fd)
    assert [link.index for link in other.links()] == [index for index, _ in socket.if_nameindex()]
    other.close()
    os.close(fd)
    assert os.readlink("/proc/self/ns/net") == before
    with open("/dev/null") as file, pytest.raises(OSError, match="Invalid argument"):
        native.netlink(file.fileno())
