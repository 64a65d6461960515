from __future__ import annotations

import errno
import os
import posix
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.cgroup import claims, files
from pyrunc.libcontainer.kernel import native
from tests.support.host import open_descriptors

PLACE = "/run/pyrunc/c1"


@pytest.fixture(autouse=True)
def _short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "CLAIM_SECONDS", 0.01)


def cgroup(path: Path) -> Path:
    """What `take` finds in a cgroup's directory."""
    path.mkdir(exist_ok=True)
    (path / "cgroup.kill").write_text("")
    (path / "cgroup.procs").write_text("")
    return path


def close(*fds: int) -> None:
    for fd in fds:
        os.close(fd)


def test_a7_a_cgroup_is_claimed_by_one_create_at_a_time(tmp_path: Path) -> None:
    """A7: two creates with one cgroupsPath, of any state roots."""
    one, two = cgroup(tmp_path / "one"), cgroup(tmp_path / "two")
    withdrawn: list[str] = []
    made, fd, claim = claims.take(str(one), PLACE, os.mkdir)
    assert not made
    assert claim >= 0
    with pytest.raises(PyruncError, match="container's cgroup is not empty: another container is being") as caught:
        claims.take(str(one), PLACE, os.mkdir, withdrawn.append)
    assert caught.value.pointer == "/linux/cgroupsPath"
    assert not withdrawn
    close(*claims.take(str(two), PLACE, os.mkdir)[1:])
    close(fd, claim)
    close(*claims.take(str(one), PLACE, os.mkdir)[1:])


def test_a_cgroup_that_another_claims_as_soon_as_it_is_made_is_the_other_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cg"
    held: list[int] = []
    real = posix.mkdir

    def mkdir(directory: str, mode: int) -> None:
        real(directory, mode)
        held.extend(claims.take(str(cgroup(path)), PLACE, os.mkdir)[1:])

    monkeypatch.setattr(posix, "mkdir", mkdir)
    withdrawn: list[str] = []
    with pytest.raises(PyruncError, match="another container is being created in it"):
        claims.take(str(path), PLACE, lambda directory: None, withdrawn.append)
    assert withdrawn == [str(path)]
    close(*held)


@pytest.mark.parametrize("has_attributes", [True, False])
def test_a_cgroup_in_which_another_has_created_before_it_is_claimed_is_the_other_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_attributes: bool
) -> None:
    """A7: between the mkdir and the claim another create has had the claim, and put its init there."""
    path = tmp_path / "cg"
    real = posix.mkdir
    attributes: list[str] = []

    def mkdir(directory: str, mode: int) -> None:
        real(directory, mode)
        close(*claims.take(str(cgroup(path)), "/run/pyrunc/other", os.mkdir)[1:])
        (path / "cgroup.procs").write_text("12\n")

    def setxattr(at: int | str, name: str, value: bytes, flags: int = 0) -> None:
        if not has_attributes:
            raise OSError(errno.EOPNOTSUPP, "")
        if flags == posix.XATTR_CREATE and name in attributes:
            raise OSError(errno.EEXIST, "")
        attributes.append(name)

    monkeypatch.setattr(posix, "mkdir", mkdir)
    monkeypatch.setattr(posix, "setxattr", setxattr)
    withdrawn: list[str] = []
    before = open_descriptors()
    with pytest.raises(PyruncError, match=r"container's cgroup is not empty: 1 process\(es\) found"):
        claims.take(str(path), PLACE, lambda directory: None, withdrawn.append)
    assert withdrawn == [str(path)]
    assert attributes.count(claims.MARK) == has_attributes
    assert attributes.count(files.PARENT_MARK) == has_attributes  # it is given up
    assert len(open_descriptors()) == len(before)


@pytest.mark.parametrize("error", [errno.EEXIST, errno.EOPNOTSUPP, errno.ENOSPC])
def test_a_new_cgroup_whose_attribute_can_t_be_set_is_taken_if_it_is_unused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def setxattr(*args: object) -> None:
        raise OSError(error, "")

    monkeypatch.setattr(posix, "setxattr", setxattr)
    withdrawn: list[str] = []
    made, fd, claim = claims.take(str(tmp_path / "cg"), PLACE, lambda directory: None, withdrawn.append)
    assert made
    assert not withdrawn
    close(fd, *[claim] * (claim >= 0))


def test_a_cgroup_that_is_removed_before_it_is_claimed_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = cgroup(tmp_path / "cg")
    real = native.flock

    def flock(fd: int, exclusive: bool, wait: bool) -> None:
        if not recorded:
            shutil.rmtree(path)
        real(fd, exclusive, wait)

    recorded: list[str] = []
    monkeypatch.setattr(native, "flock", flock)
    made, fd, claim = claims.take(str(path), PLACE, recorded.append)
    assert made
    assert recorded == [str(path)]
    assert os.fstat(fd).st_ino == path.stat().st_ino
    os.close(fd)
    assert claim == -1  # no cgroup file system


def test_what_was_put_into_a_cgroup_before_it_is_claimed_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cgroup(tmp_path / "cg")
    monkeypatch.setattr(native, "flock", lambda *args: (path / "cgroup.procs").write_text("12\n"))
    before = open_descriptors()
    with pytest.raises(PyruncError, match=r"container's cgroup is not empty: 1 process\(es\) found"):
        claims.take(str(path), PLACE, os.mkdir)
    assert len(open_descriptors()) == len(before)


def test_a_cgroup_that_can_t_be_locked_is_taken_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hierarchy's root, and a cgroup whose files belong to another user."""
    path = cgroup(tmp_path / "cg")
    (path / "cgroup.kill").unlink()
    made, fd, claim = claims.take(str(path), PLACE, os.mkdir)
    assert (made, claim) == (False, -1)
    os.close(fd)


def test_a_create_waits_for_a_delete_that_has_the_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The delete removes the cgroup, and the create makes it anew."""
    path = cgroup(tmp_path / "cg")
    held = claims.claim(str(path))

    def sleep(seconds: float) -> None:
        if path.exists():
            shutil.rmtree(path)
            os.close(held)

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(claims, "CLAIM_SECONDS", 60)
    recorded: list[str] = []
    made, fd, claim = claims.take(str(path), PLACE, recorded.append)
    assert made
    assert recorded == [str(path)]
    close(fd, *[claim] * (claim >= 0))


def test_a_create_does_not_wait_for_a_claim_on_a_cgroup_with_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cgroup(tmp_path / "cg")
    held = claims.claim(str(path))
    real = native.flock

    def flock(fd: int, exclusive: bool, wait: bool) -> None:
        (path / "cgroup.procs").write_text("12\n")  # the other create has cloned its init
        real(fd, exclusive, wait)

    monkeypatch.setattr(native, "flock", flock)
    monkeypatch.setattr(claims, "CLAIM_SECONDS", 60)
    before = open_descriptors()
    with pytest.raises(PyruncError, match=r"container's cgroup is not empty: 1 process\(es\) found"):
        claims.take(str(path), PLACE, os.mkdir)
    assert open_descriptors() == before
    os.close(held)


def test_a_claim_is_on_the_cgroup_that_is_at_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = cgroup(tmp_path / "cg")
    real = native.flock
    locked: list[int] = []

    def flock(fd: int, exclusive: bool, wait: bool) -> None:
        if not locked:
            (path / "cgroup.kill").rename(tmp_path / "former")
            cgroup(path)
        locked.append(fd)
        real(fd, exclusive, wait)

    monkeypatch.setattr(native, "flock", flock)
    claim = claims.claim(str(path))
    assert os.fstat(claim).st_ino == (path / "cgroup.kill").stat().st_ino
    assert len(locked) == 2
    with pytest.raises(BlockingIOError):
        claims.claim(str(path))
    os.close(claim)
    with pytest.raises(FileNotFoundError):
        claims.claim(str(tmp_path / "gone"))
    (path / "cgroup.kill").unlink()
    assert claims.claim(str(path)) == -1  # the hierarchy's root


def test_a_claimed_cgroup_is_not_removed_as_unused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "above" / "cg"
    path.mkdir(parents=True)
    monkeypatch.setattr(posix, "getxattr", lambda *args: b"1")
    monkeypatch.setattr(claims, "_ROOTS", (str(tmp_path),))
    held = claims.claim(str(cgroup(path)))
    claims.remove_if_unused(str(path))
    assert claims.remove_parents(str(path), itself=True) == []
    os.close(held)
    for file in path.iterdir():
        file.unlink()  # a cgroup's own files do not hinder rmdir(2)
    assert claims.remove_parents(str(path), itself=True) == [str(path), str(path.parent)]
    claims.remove_if_unused(str(path))


@pytest.mark.parametrize("error", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_cgroup_that_may_not_be_locked_has_no_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    path = cgroup(tmp_path / "cg")

    def refuse(*args: object, **more: object) -> int:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(posix, "open", refuse)
    assert claims.claim(str(path)) == -1


def test_a_cgroup_that_is_made_after_a_look_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not taken for the hierarchy's root, which has no cgroup.kill."""
    path = tmp_path / "cg"
    real = posix.open

    def late(*args: Any, **more: Any) -> int:
        if path.exists():
            return real(*args, **more)
        cgroup(path)
        raise FileNotFoundError(errno.ENOENT, "")

    monkeypatch.setattr(posix, "open", late)
    claim = claims.claim(str(path))
    assert claim >= 0
    os.close(claim)
