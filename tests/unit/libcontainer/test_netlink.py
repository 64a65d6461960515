"""rtnetlink messages: how they are put together and taken apart, and a conversation about the namespace we are in."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrunc import native
from pyrunc.libcontainer import netlink
from pyrunc.libcontainer.netlink import Address, Link, Socket
from pyrunc.report import PyruncError


@given(st.dictionaries(st.integers(0, 0x3FFF), st.binary(max_size=40)))
def test_attributes_come_out_as_they_went_in(parts: dict[int, bytes]) -> None:
    data = b"".join(netlink.attribute(kind, value) for kind, value in parts.items())
    assert len(data) % 4 == 0
    assert netlink.attributes(data) == parts


@given(st.binary(max_size=60))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    assert isinstance(netlink.attributes(data), dict)


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


def test_answers_to_other_requests_are_passed_over() -> None:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with left, right:
        talk = Socket.__new__(Socket)
        talk._fd, talk._sequence = right.fileno(), 7
        messages = b"".join(struct.pack("=IHHII", 20, kind, 0, seq, 0) + b"data" for kind, seq in ((1, 6), (2, 7)))
        left.send(messages)
        assert talk._receive() == [(2, 0, b"data")]
        left.send(struct.pack("=IHHII", 3, 0, 0, 7, 0))
        assert talk._receive() == []


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
