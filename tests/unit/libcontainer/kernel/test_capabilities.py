"""The table of capabilities against the kernel that runs the tests."""

from pathlib import Path

from pyrunc.libcontainer.kernel.capabilities import NAMES


def test_known_numbers() -> None:
    numbers = {"CAP_CHOWN": 0, "CAP_SYS_ADMIN": 21, "CAP_SETFCAP": 31, "CAP_CHECKPOINT_RESTORE": 40}
    assert {name: NAMES.index(name) for name in numbers} == numbers


def test_no_name_twice() -> None:
    assert len(set(NAMES)) == len(NAMES)


def test_the_kernel_knows_no_more() -> None:
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    assert last < len(NAMES), "the kernel has a capability that the table lacks"
