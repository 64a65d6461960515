"""A file is replaced as a whole, keeps mode, owner and attributes, and is not reached through a symlink."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyrunc.engines import files
from pyrunc.errors import PyruncError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "config.toml"
    file.write_text("old")
    file.chmod(0o640)
    return file


def test_replaced_and_restored(path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(path, 12, 34)
    inode = path.stat()
    found = files.read(path)
    assert found is not None
    assert found.text == "old"
    assert files.write(path, "new", found) is True
    after = path.stat()
    assert (path.read_text(), after.st_mode, after.st_uid, after.st_gid) == (
        "new", inode.st_mode, inode.st_uid, inode.st_gid
    )  # fmt: skip
    kept = files.backup_of(path)
    assert (kept.read_text(), kept.stat().st_mode, kept.stat().st_uid) == ("old", inode.st_mode, inode.st_uid)
    assert sorted(os.listdir(path.parent)) == [path.name, kept.name]
    files.restore(path)
    assert path.read_text() == "old"
    assert os.listdir(path.parent) == [path.name]


def test_the_first_file_is_the_one_that_is_kept(path: Path) -> None:
    assert files.write(path, "new", files.read(path)) is True
    assert files.write(path, "newer", files.read(path)) is False
    assert files.backup_of(path).read_text() == "old"


def test_attributes_stay(path: Path) -> None:
    try:
        os.setxattr(path, "user.label", b"x")
    except OSError as error:
        pytest.skip(f"the file system of {path.parent} has no user attributes: {error.strerror}")
    files.write(path, "new", files.read(path))
    assert os.getxattr(path, "user.label") == b"x"


def test_a_new_file_and_its_directories(tmp_path: Path) -> None:
    path = tmp_path / "a/b/c.conf"
    assert files.read(path) is None
    old = os.umask(0o077)
    try:
        assert files.write(path, "x", None) is False
    finally:
        os.umask(old)
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("x", 0o644)
    assert os.listdir(path.parent) == ["c.conf"]


@pytest.mark.parametrize("target", ["real", "nowhere"])
def test_no_symlink_is_followed(tmp_path: Path, target: str) -> None:
    (tmp_path / "real").write_text("x")
    link = tmp_path / "link"
    link.symlink_to(target)
    with pytest.raises(PyruncError, match=f"{link} is a symlink") as caught:
        files.read(link)
    assert target in caught.value.hint
    with pytest.raises(PyruncError, match="file exists"):
        files.write(link, "y", None)
    assert (tmp_path / "real").read_text() == "x"
    assert sorted(os.listdir(tmp_path)) == ["link", "real"]


def test_a_file_that_changes_meanwhile_is_not_written_over(path: Path) -> None:
    found = files.read(path)
    other = path.with_name("other")
    other.write_text("other")
    other.rename(path)
    with pytest.raises(PyruncError, match="was changed meanwhile"):
        files.write(path, "new", found)
    assert path.read_text() == "other"
    assert not [name for name in os.listdir(path.parent) if name.startswith(".")]


def test_what_is_no_text_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(PyruncError, match="is no regular file"):
        files.read(tmp_path / "fifo")
    (tmp_path / "bytes").write_bytes(b"ab\xff")
    with pytest.raises(PyruncError, match="is no UTF-8: byte 2"):
        files.read(tmp_path / "bytes")


def test_what_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PyruncError, match=f"write {tmp_path}/file/x: (not a directory|file exists)"):
        files.write(tmp_path / "file/x", "y", None)
    with pytest.raises(PyruncError, match="restore"):
        files.restore(tmp_path / "file")


def test_removing_what_is_not_there(tmp_path: Path) -> None:
    files.remove(tmp_path / "nothing")
