"""broker/nodes.py: which nodes the kernel makes, and on which directories a capability counts."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pyrunc.libcontainer.broker import nodes
from pyrunc.libcontainer.broker.acting import bits
from pyrunc.libcontainer.broker.caller import Credentials


@pytest.mark.parametrize("mode", [0, 0o644, stat.S_IFREG, stat.S_IFIFO | 0o600, stat.S_IFSOCK])
def test_what_is_for_the_kernel(mode: int) -> None:
    assert nodes.is_for_kernel(mode)


@pytest.mark.parametrize("mode", [stat.S_IFCHR, stat.S_IFBLK | 0o600, stat.S_IFDIR, stat.S_IFLNK])
def test_what_is_not(mode: int) -> None:
    assert not nodes.is_for_kernel(mode)


def credentials(capabilities: int) -> Credentials:
    return Credentials((0,) * 4, (0,) * 4, (), 0, capabilities)


def test_a_directory_of_the_user_namespace(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_PATH)
    st = os.fstat(fd)
    has, has_not = credentials(bits("CAP_DAC_OVERRIDE")), credentials(0)
    own = ([(st.st_uid, 1)], [(5000, 3), (st.st_gid, 1)])
    assert nodes._is_over(has, fd, own)
    assert not nodes._is_over(has_not, fd, own)
    assert not nodes._is_over(has, fd, ([(st.st_uid + 1, 5)], own[1]))
    assert not nodes._is_over(has, fd, (own[0], [(st.st_gid + 1, 5)]))
    os.close(fd)
