"""owner: the cgroup and its delegated files change hands, and no other."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyrunc.libcontainer.cgroup import owner

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only it may give files away")


def owners(directory: Path) -> dict[str, int]:
    found = {path.name: path.lstat().st_uid for path in directory.iterdir()}
    return {**found, ".": directory.stat().st_uid}


def give(directory: Path, uid: int) -> None:
    fd = os.open(directory, os.O_RDONLY)
    try:
        owner.give(fd, uid)
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("listed", "given"),
    [
        ("cgroup.procs\nmemory.oom.group\nnot.here\n", {"cgroup.procs", "memory.oom.group"}),
        (None, {"cgroup.procs", "cgroup.subtree_control", "cgroup.threads"}),
    ],
)
def test_what_the_kernel_lists_changes_hands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: str | None, given: set[str]
) -> None:
    delegate = tmp_path / "delegate"
    if listed is not None:
        delegate.write_text(listed)
    monkeypatch.setattr(owner, "_DELEGATE", str(delegate))
    cgroup = tmp_path / "cgroup"
    cgroup.mkdir()
    names = {"cgroup.procs", "cgroup.subtree_control", "cgroup.threads", "memory.max", "memory.oom.group"}
    for name in names:
        (cgroup / name).touch()
    give(cgroup, 12345)
    assert {name for name, uid in owners(cgroup).items() if uid == 12345} == given | {"."}
    assert cgroup.stat().st_gid == os.getegid()
