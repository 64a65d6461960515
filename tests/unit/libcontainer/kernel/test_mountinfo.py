"""mountinfo: paths as the mount table writes them."""

from __future__ import annotations

import pytest

from pyrunc.libcontainer.kernel import mountinfo

TABLE = """\
21 1 0:20 / /proc rw - proc proc rw
35 21 0:30 / /mnt/with\\040space rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate
36 21 0:30 / /mnt/again rw - cgroup2 cgroup2 rw
37 21 0:31 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
"""


def test_the_mount_points_of_a_type() -> None:
    assert mountinfo.mount_points(TABLE, "cgroup2") == ["/mnt/with space", "/mnt/again"]
    assert mountinfo.mount_points(TABLE, "cgroup") == ["/sys/fs/cgroup/cpu,cpuacct"]
    assert mountinfo.mount_points(TABLE, "tmpfs") == []


@pytest.mark.parametrize(
    ("path", "written"),
    [("/a", "/a"), ("/a b", "/a\\040b"), ("/t\tn\nx", "/t\\011n\\012x"), ("/b\\040", "/b\\134040")],
)
def test_a_path_is_escaped_and_back(path: str, written: str) -> None:
    assert mountinfo.escape(path) == written
    assert mountinfo.unescape(written) == path


@pytest.mark.parametrize(
    ("text", "path"),
    [("/a", "/a"), (r"/a\040b\134c\012", "/a b\\c\n"), (r"\043\054x", "#,x"), (r"\9\0\777", r"\9\0\777")],
)
def test_a_word_of_the_table(text: str, path: str) -> None:
    assert mountinfo.unescape(text) == path


def test_the_hierarchies_of_v1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mountinfo, "read_file", lambda path: TABLE)
    assert mountinfo.v1_mounts("cpuacct") == ["/sys/fs/cgroup/cpu,cpuacct"]
    assert mountinfo.v1_mounts("blkio") == []
