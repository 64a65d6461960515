"""The kernel's numbers, compared with those of Python's standard library."""

from __future__ import annotations

import resource
import stat
from pathlib import Path

import pytest

from pyrunc.libcontainer.kernel import constants, native


@pytest.mark.parametrize("name", [name for name in constants.RLIMITS if hasattr(resource, name)])
def test_rlimits(name: str) -> None:
    assert constants.RLIMITS[name] == getattr(resource, name)


def test_every_number_has_one_rlimit() -> None:
    assert sorted(constants.RLIMITS.values()) == list(range(16))


@pytest.mark.parametrize(
    ("type", "name"),
    [
        ("time", "TIME"),
        ("mount", "NS"),
        ("cgroup", "CGROUP"),
        ("uts", "UTS"),
        ("ipc", "IPC"),
        ("user", "USER"),
        ("pid", "PID"),
        ("network", "NET"),
    ],
)
def test_clone_flags(type: str, name: str) -> None:
    assert constants.CLONE_FLAGS[type] == getattr(native, "CLONE_NEW" + name)


def test_every_namespace_has_its_own_flag() -> None:
    assert sum(constants.CLONE_FLAGS.values()).bit_count() == len(constants.CLONE_FLAGS) == 8


def test_recursive_propagation_is_the_plain_one_for_the_whole_tree() -> None:
    plain = {word: flag for word, flag in constants.PROPAGATION.items() if not word.startswith("r")}
    assert set(constants.PROPAGATION) == set(plain) | {"r" + word for word in plain}
    for word, flag in plain.items():
        assert constants.PROPAGATION["r" + word] == flag | constants.MS_REC


def test_file_types() -> None:
    assert stat.S_ISFIFO(constants.S_IFIFO)
    assert stat.S_ISCHR(constants.S_IFCHR)
    assert stat.S_ISBLK(constants.S_IFBLK)


def test_known_numbers_of_capabilities() -> None:
    numbers = {"CAP_CHOWN": 0, "CAP_SYS_ADMIN": 21, "CAP_SETFCAP": 31, "CAP_CHECKPOINT_RESTORE": 40}
    assert {name: constants.CAPABILITIES.index(name) for name in numbers} == numbers


def test_no_capability_twice() -> None:
    assert len(set(constants.CAPABILITIES)) == len(constants.CAPABILITIES)


def test_the_kernel_knows_no_more_capabilities() -> None:
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    assert last < len(constants.CAPABILITIES), "the kernel has a capability that the table lacks"
