"""Network devices: the decisions that need no kernel. tests/integration/test_net_devices.py moves real devices."""

from __future__ import annotations

import os
from typing import Any

import pytest

from pyrunc.libcontainer import process
from pyrunc.libcontainer.kernel import netlink
from pyrunc.libcontainer.kernel.netlink import Address, Link
from pyrunc.libcontainer.launch import netdevices


def link(index: int, name: str = "x", flags: int = 0) -> Link:
    head = bytes(4) + netlink.pack(index, 4) + netlink.pack(flags, 4) + bytes(4)
    return Link(head + netlink.attribute(netlink.IFLA_IFNAME, netlink.text(name)))


def address(flags: int = 0x80, scope: int = 0, **parts: bytes) -> Address:
    body = b"".join(netlink.attribute(int(kind[1:]), data) for kind, data in parts.items())
    return Address(bytes([2, 24, flags, scope]) + netlink.pack(1, 4) + body)


@pytest.mark.parametrize(("there", "index"), [([1], 7), ([1, 7], 8), ([1, 7, 30], 31)])
def test_the_index_stays_where_it_is_free(there: list[int], index: int) -> None:
    assert netdevices._free_index([link(number) for number in there], 7) == index


@pytest.mark.parametrize(
    ("flags", "scope", "lasts"),
    [(0x80, 0, True), (0, 0, False), (0x80, 253, False), (0x81, 0, True), (0x80, 254, False)],
)
def test_permanent_global_addresses_last(flags: int, scope: int, lasts: bool) -> None:
    assert netdevices._lasts(address(flags, scope)) is lasts


@pytest.mark.parametrize(
    ("label", "new"),
    [
        (b"eth0\0", b"new0\0"),
        (b"eth0:1\0", b"new0:1\0"),
        (b"eth01\0", b"eth01\0"),
        (b"other\0", b"other\0"),
        (b"eth0:0123456789\0", b"new0:0123456789\0"),
    ],
)
def test_labels_follow_the_name(label: bytes, new: bytes) -> None:
    assert netdevices._relabelled(label, b"eth0", b"new0") == new


def test_labels_are_no_longer_than_a_name() -> None:
    assert netdevices._relabelled(b"a:123456789\0", b"a", b"longername") == b"longername:1234\0"


class Fake:
    """Records the addresses that a device is given."""

    def __init__(self) -> None:
        self.added: list[tuple[Any, ...]] = []

    def add_address(self, *args: Any) -> None:
        self.added.append(args)


def test_what_an_address_is_given_again() -> None:
    kept = netdevices._keep(
        address(_1=b"\1\2\3\4", _3=b"eth0\0", _6=bytes(16), _8=netlink.pack(0x80 | 0x200 | 0x40 | 0x01, 4))
    )
    assert set(kept[2]) == {"1", "3", "8"}, "its life time is for ever"
    fake = Fake()
    netdevices._add_addresses(fake, 5, [kept], "eth0", "new0")  # type: ignore[arg-type]
    parts = [(1, b"\1\2\3\4"), (3, b"new0\0"), (8, netlink.pack(0x200, 4))]
    assert fake.added == [(5, 2, 24, parts)]


ENTRY = {"effect": "net_device", "name": "x", "newIndex": 1, "pid": 0, "startTime": 0, "path": ""}


def test_undo_without_a_namespace_is_the_kernel_s(tmp_path: Any) -> None:
    netdevices.undo(ENTRY)
    netdevices.undo({**ENTRY, "path": str(tmp_path / "gone")})


def test_undo_takes_the_init_s_namespace_while_it_is_that_process(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []
    monkeypatch.setattr(netdevices, "move_back", lambda entry, fd: given.append(os.readlink(f"/proc/self/fd/{fd}")))
    own = process.stat(os.getpid())
    assert own is not None
    entry = {**ENTRY, "pid": os.getpid(), "startTime": own.start_time}
    netdevices.undo(entry)
    netdevices.undo({**entry, "startTime": own.start_time + 1})
    netdevices.undo({**ENTRY, "path": "/proc/self/ns/net"})
    assert given == [os.readlink("/proc/self/ns/net")] * 2


def test_all_are_given_back_whatever_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []

    def move_back(entry: dict[str, Any], fd: int) -> None:
        given.append(entry["name"])
        raise OSError(5, "no")

    monkeypatch.setattr(netdevices, "move_back", move_back)
    entries: list[dict[str, Any]] = [{**ENTRY, "name": "a"}, {"effect": "state_dir"}, {**ENTRY, "name": "b"}]
    netdevices.move_all_back(entries, 3)
    assert given == ["a", "b"]
