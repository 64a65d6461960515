"""broker/mounts.py: flags and mount tables. tests/integration/test_broker.py mounts."""

from __future__ import annotations

import pytest

from pyrunc.libcontainer.broker import mounts
from pyrunc.libcontainer.broker.model import Refusal
from pyrunc.libcontainer.kernel import constants, mounttable

ALWAYS = constants.MOUNT_ATTR_NOSUID | constants.MOUNT_ATTR_NODEV


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        (0, 0),
        (0xC0ED0000, 0),
        (1 | 8, constants.MOUNT_ATTR_RDONLY | constants.MOUNT_ATTR_NOEXEC),
        (0xC0ED8000 | 2 | 4, 0),
        (1024, constants.MOUNT_ATTR_NOATIME),
        (1024 | 1 << 24, constants.MOUNT_ATTR_NOATIME),
        (1 << 24, constants.MOUNT_ATTR_STRICTATIME),
        (1 << 21 | 2048, constants.MOUNT_ATTR_NODIRATIME),
    ],
)
def test_flags(flags: int, found: int) -> None:
    assert mounts.attributes(flags) == found | ALWAYS


@pytest.mark.parametrize("flags", [16, 32, 64, 128, 4096, 8192, 16384, 1 << 17, 1 << 18, 1 << 19, 1 << 20, 1 << 25])
def test_flags_that_change_other_mounts(flags: int) -> None:
    with pytest.raises(Refusal):
        mounts.attributes(flags)
    with pytest.raises(Refusal):
        mounts.attributes(flags | 1)


TABLE = """\
20 1 0:18 / / rw,relatime - ext4 /dev/vda rw
21 20 0:20 / /proc ro,nosuid - proc proc rw
22 20 0:21 / /mnt rw shared:5 master:1 - tmpfs none rw
23 20 0:22 /a /x\\040y rw unbindable - tmpfs none rw
"""


def test_a_mount_table() -> None:
    found = mounttable.parse(TABLE)
    assert [(entry.id, entry.parent, entry.fstype) for entry in found] == [
        (20, 1, "ext4"), (21, 20, "proc"), (22, 20, "tmpfs"), (23, 20, "tmpfs"),
    ]  # fmt: skip
    assert ["shared" in entry.propagation for entry in found] == [False, False, True, False]
    assert [entry.root == "/" for entry in found] == [True, True, True, False]


def test_a_proc_is_as_the_one_that_is_there() -> None:
    table = mounttable.parse(TABLE)
    assert mounts._proc_attributes(table) == constants.MOUNT_ATTR_RDONLY
    writable = mounttable.parse(TABLE + "24 20 0:20 / /p rw - proc proc rw\n")
    assert mounts._proc_attributes(writable) == 0


@pytest.mark.parametrize(
    "masked",
    [
        TABLE + "24 21 0:5 /null /proc/kcore rw - devtmpfs dev rw\n",
        TABLE.replace(" - proc ", " - tmpfs "),
        TABLE.replace("0:20 / /proc", "0:20 /sys /proc"),
    ],
)
def test_a_masked_proc(masked: str) -> None:
    with pytest.raises(Refusal):
        mounts._proc_attributes(mounttable.parse(masked))
