"""Properties of a scope: changed, and read back as the text that restores them."""

from __future__ import annotations

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.cgroup.resources import Write
from pyrunc.libcontainer.systemd import manager, update


class Unit:
    """Replaces the manager: one unit's properties, and the changes of them."""

    properties = {
        "TasksMax": ("t", 50),
        "AllowedCPUs": ("ay", b"\x03"),
        "OOMPolicy": ("s", "stop"),
        "IOReadBandwidthMax": ("a(st)", [("/dev/block/8:0", 7)]),
        "Strange": ("a{sv}", {}),
    }

    def __init__(self, user: bool) -> None:
        self.calls = CALLS

    def __enter__(self) -> Unit:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def get(self, name: str) -> str:
        return {"Version": "252.1"}[name]

    def unit_property(self, unit: str, name: str) -> tuple[str, object]:
        return self.properties[name]

    def set_unit_properties(self, unit: str, properties: object) -> None:
        self.calls.append((unit, properties))


CALLS: list[object] = []


@pytest.fixture(autouse=True)
def unit(monkeypatch: pytest.MonkeyPatch) -> None:
    CALLS.clear()
    monkeypatch.setattr(update, "Manager", Unit)


def test_old_values_are_text_that_can_be_set_again() -> None:
    wanted = ["TasksMax=uint64 5", "AllowedCPUs=@ay [1]", "OOMPolicy='kill'", "IOReadBandwidthMax=@a(st) []"]
    texts = update.previous("u.scope", False, wanted)
    assert texts == (
        "TasksMax=uint64 50", "AllowedCPUs=@ay [3]", "OOMPolicy='stop'",
        "IOReadBandwidthMax=@a(st) [('/dev/block/8:0', 7)]",
    )  # fmt: skip
    update.set_properties("u.scope", False, texts)
    assert CALLS == [
        ("u.scope", [
            ("TasksMax", ("t", 50)),
            ("AllowedCPUs", ("ay", [3])),
            ("OOMPolicy", ("s", "stop")),
            ("IOReadBandwidthMax", ("a(st)", [])),  # emptied first: systemd adds to a list
            ("IOReadBandwidthMax", ("a(st)", [("/dev/block/8:0", 7)])),
        ]),
    ]  # fmt: skip


def test_a_type_that_no_limit_has_is_an_error() -> None:
    with pytest.raises(PyruncError, match=r"type a\{sv\}"):
        update.previous("u.scope", False, ["Strange=1"])


def test_the_writes_are_rounded_as_systemd_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    writes, properties = update.limit_properties(
        [Write("cpu.max", "12345 100000", "/cpu/quota"), Write("pids.max", "9", "/pids/limit")], {"user": False}
    )
    assert [write.value for write in writes] == ["13000 100000", "9"]
    assert properties == [
        "CPUQuotaPeriodUSec=uint64 100000", "CPUQuotaPerSecUSec=uint64 130000", "TasksMax=uint64 9",
    ]  # fmt: skip
    assert manager.version("252.1") == 252
