"""mount: one entry of `mounts` with its options parsed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pyrunc.libcontainer.compile.mount import OWN_DATA, WITHOUT_DEVICE, Mount


def mount(**members: Any) -> Mount:
    entry: Any = {"destination": "/m", **members}
    return Mount(2, entry)


@pytest.mark.parametrize(("destination", "target"), [("/a", "/a"), ("a/b", "/a/b")])
def test_a_destination_counts_from_the_root(destination: str, target: str) -> None:
    assert mount(destination=destination).target == target


def test_what_is_a_bind_mount() -> None:
    assert mount(type="bind").is_bind
    assert mount(options=["rbind"]).is_bind
    assert not mount(type="tmpfs").is_bind


def test_the_type_cgroup_is_the_second_version() -> None:
    assert mount(type="cgroup").type == "cgroup2"


@pytest.mark.parametrize(
    ("members", "reach"),
    [({}, 0), ({"options": ["idmap"]}, 1), ({"options": ["ridmap"]}, 2), ({"uidMappings": []}, 1)],
)
def test_how_far_ids_are_mapped(members: Any, reach: int) -> None:
    assert mount(**members).id_map == reach
    assert mount(**members).pointer == "/mounts/2"


def test_file_systems_without_a_device_are_those_of_the_kernel() -> None:
    """/proc/filesystems has `nodev` before those whose file_system_type lacks FS_REQUIRES_DEV."""
    rows = [line.partition("\t") for line in Path("/proc/filesystems").read_text().splitlines()]
    with_device = {name for flag, _, name in rows if flag != "nodev"}
    assert len(rows) > 10
    assert not WITHOUT_DEVICE & with_device
    assert OWN_DATA < WITHOUT_DEVICE
