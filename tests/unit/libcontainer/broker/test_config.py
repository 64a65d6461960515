"""broker/config.py: policies, and what is wrong with them by its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.broker import config
from pyrunc.libcontainer.kernel.constants import CAPABILITIES

FULL = {
    "mknod": {"devices": ["null", "tty"], "capability": "CAP_SYS_CHROOT"},
    "mount": {"types": ["tmpfs"], "targets": ["/mnt"], "maxSize": "2g"},
    "sysinfo": {},
    "connect": {
        "networks": [{"cidr": "10.0.0.0/8", "ports": [443, "8000-8100"]}, {"cidr": "fd00::/8"}],
        "unix": ["/run/app.sock", "@name"],
        "netlink": True,
        "datagrams": True,
        "unixDatagrams": True,
    },
    "bind": {"networks": [{"cidr": "0.0.0.0/0"}]},
    "callsPerSecond": 100,
}


PAGE = (Path(__file__).resolve().parents[4] / "docs/broker.md").read_text()


def test_the_page_s_example_is_read() -> None:
    section = PAGE.partition("## The configuration\n")[2].partition("\n\nA container gets")[0]
    found = config.policies(json.loads(section))
    assert set(found) == {"default", "web"}
    assert len(found["default"].calls()) == 5


def policy(**members: Any) -> config.Policy:
    return config.policies({"policies": {"default": members}})["default"]


def test_everything() -> None:
    found = policy(**FULL)
    assert found.mknod == config.Mknod(((1, 3), (5, 0)), 1 << CAPABILITIES.index("CAP_SYS_CHROOT"))
    assert found.mount == config.Mount(("tmpfs",), ("/mnt",), 2 << 30, 1 << CAPABILITIES.index("CAP_SYS_ADMIN"))
    assert found.connect is not None
    assert [str(each.network) for each in found.connect.networks] == ["10.0.0.0/8", "fd00::/8"]
    assert found.connect.networks[0].ports == ((443, 443), (8000, 8100))
    assert (found.connect.netlink, found.connect.datagrams, found.connect.unix_datagrams) == (True, True, True)
    assert found.sysinfo
    assert found.calls() == config.CALLS
    assert found.calls_per_second == 100


def test_what_is_not_named_is_not_carried_out() -> None:
    found = policy(sysinfo={})
    assert (found.mknod, found.mount, found.connect, found.bind) == (None, None, None, None)
    assert found.calls() == ("sysinfo",)


def test_the_default_of_mknod_is_all_harmless_devices() -> None:
    found = policy(mknod={}).mknod
    assert found is not None
    assert len(found.devices) == 6


@pytest.mark.parametrize(
    ("members", "pointer", "text"),
    [
        ({}, "", "carries out no call"),
        ({"read": {}}, "/read", "read can't be brokered"),
        ({"openat": {}}, "/openat", "can't be brokered"),
        ({"futex": {}}, "/futex", "can't be brokered"),
        ({"mknodd": {}}, "/mknodd", "unknown member mknodd"),
        ({"sysinfo": {"x": 1}}, "/sysinfo/x", "unknown member x"),
        ({"sysinfo": True}, "/sysinfo", "not an object"),
        ({"mknod": {"devices": ["null", "kmsg"]}}, "/mknod/devices/1", "kmsg is no device"),
        ({"mknod": {"devices": []}}, "/mknod/devices", "missing or empty"),
        ({"mknod": {"devices": "null"}}, "/mknod/devices", "not an array"),
        ({"mknod": {"capability": "CAP_NONE"}}, "/mknod/capability", "not a capability"),
        ({"mknod": {"capability": []}}, "/mknod/capability", "not a capability"),
        ({"mount": {"targets": ["/mnt"]}}, "/mount/types", "missing or empty"),
        ({"mount": {"types": ["ext4"], "targets": ["/mnt"]}}, "/mount/types/0", "does not mount ext4"),
        ({"mount": {"types": ["tmpfs"]}}, "/mount/targets", "missing or empty"),
        ({"mount": {"types": ["tmpfs"], "targets": ["mnt"]}}, "/mount/targets/0", "no absolute, clean path"),
        ({"mount": {"types": ["tmpfs"], "targets": ["/a/../b"]}}, "/mount/targets/0", "no absolute, clean path"),
        ({"mount": {"types": ["tmpfs"], "targets": ["/a"], "maxSize": "0"}}, "/mount/maxSize", "not a size"),
        ({"mount": {"types": ["tmpfs"], "targets": ["/a"], "maxSize": 5}}, "/mount/maxSize", "not a size"),
        ({"connect": {"networks": [{"cidr": "10.0.0.1/8"}]}}, "/connect/networks/0/cidr", "no network"),
        ({"connect": {"networks": [{"cidr": 5}]}}, "/connect/networks/0/cidr", "not a network"),
        ({"connect": {"networks": [{"cidr": "::ffff:0:0/96"}]}}, "/connect/networks/0/cidr", "IPv4"),
        ({"connect": {"networks": [{"ports": [1]}]}}, "/connect/networks/0/cidr", "not a network"),
        ({"connect": {"networks": [{"cidr": "::/0", "ports": []}]}}, "/connect/networks/0/ports", "no port"),
        ({"connect": {"networks": [{"cidr": "::/0", "ports": ["x"]}]}}, "/connect/networks/0/ports/0", "no port"),
        ({"connect": {"networks": [{"cidr": "::/0", "ports": [True]}]}}, "/connect/networks/0/ports/0", "no port"),
        ({"connect": {"unix": ["run"]}}, "/connect/unix/0", "neither"),
        ({"connect": {"netlink": 1}}, "/connect/netlink", "true or false"),
        ({"connect": {"netlink": []}}, "/connect/netlink", "an array is not true or false"),
        ({"connect": {"networks": [{}]}}, "/connect/networks/0/cidr", "null is not a network"),
        ({"connect": {"unixDatagrams": 1}}, "/connect/unixDatagrams", "true or false"),
        ({"bind": {"unixDatagrams": True}}, "/bind/unixDatagrams", "unknown member"),
        ({"bind": {"datagrams": True}}, "/bind/datagrams", "unknown member"),
        ({"sysinfo": {}, "callsPerSecond": 0}, "/callsPerSecond", "whole number"),
    ],
)
def test_mistakes(members: dict[str, Any], pointer: str, text: str) -> None:
    with pytest.raises(PyruncError) as caught:
        policy(**members)
    assert caught.value.pointer == "/policies/default" + pointer
    assert text in str(caught.value)


@pytest.mark.parametrize("value", [None, [], {}, {"policies": {}}, {"policies": []}, {"policy": {}}, 5])
def test_what_is_no_configuration(value: Any) -> None:
    with pytest.raises(PyruncError):
        config.policies(value)


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "broker.json"
    path.write_text(json.dumps({"policies": {"default": FULL, "other": {"sysinfo": {}}}}))
    assert set(config.read(str(path))) == {"default", "other"}
    path.write_text('{"policies": {"default": {"read": {}}}}')
    with pytest.raises(PyruncError) as caught:
        config.read(str(path))
    assert caught.value.document == (str(path), str(path))
    with pytest.raises(PyruncError):
        config.read(str(tmp_path / "nosuch"))
    for text, shown in (("null", "null"), ("[]", "an array"), ("true", "true"), ('"x"', "x")):
        path.write_text(text)
        with pytest.raises(PyruncError, match=f"{path}: {shown} is not an object"):
            config.read(str(path))


@pytest.mark.parametrize(
    ("text", "size"), [("5", 5), ("1k", 1024), ("2M", 2 << 20), ("", None), ("k", None), ("-1", None), ("5%", None)]
)
def test_sizes(text: str, size: int | None) -> None:
    assert config.size(text) == size
