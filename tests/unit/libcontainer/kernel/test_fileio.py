"""fileio: whole small files."""

from __future__ import annotations

import errno
import os
import posix
from pathlib import Path

import pytest

from pyrunc.libcontainer.kernel import fileio


def test_reads_files_longer_than_one_chunk(tmp_path: Path) -> None:
    text = "line é\n" * 20000
    (tmp_path / "f").write_text(text)
    assert fileio.read_file(str(tmp_path / "f")) == text


def test_keeps_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"/a\xff\n")
    text = fileio.read_file(str(tmp_path / "f"))
    fileio.write_file(str(tmp_path / "f"), text.strip() + "!\n")
    assert (tmp_path / "f").read_bytes() == b"/a\xff!\n"


def test_write_does_not_create(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fileio.write_file(str(tmp_path / "new"), "1")
    assert not (tmp_path / "new").exists()


def test_a_regular_file_is_written_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    try:
        monkeypatch.setattr(posix, "write", lambda fd, data, write=posix.write: write(fd, data[:3]))
        fileio.write_whole(writer, "12345678", "exec.json")
        assert os.read(reader, 100) == b"12345678"
        os.set_blocking(writer, False)
        with pytest.raises(OSError, match=r"'exec\.json'") as caught:
            fileio.write_whole(writer, "x" * (1 << 22), "exec.json")
        assert caught.value.errno == errno.EAGAIN
    finally:
        os.close(reader)
        os.close(writer)


def test_a_short_write_is_an_error() -> None:
    reader, writer = os.pipe()
    try:
        os.set_blocking(writer, False)
        with pytest.raises(OSError, match="short write"):
            fileio.write_fd(writer, "x" * (1 << 22))
    finally:
        os.close(reader)
        os.close(writer)


def test_an_error_gets_the_whole_path(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_PATH)
    error = OSError(errno.EROFS, "x", "exec.json", None, "other")
    fileio.name_whole(error, directory, "exec.json")
    assert (error.filename, error.filename2) == (f"{tmp_path}/exec.json", None)
    os.close(directory)
    fileio.name_whole(error, directory, "state.json")
    assert error.filename == "state.json"
    fileio.name_whole(error, None, "/a/b")
    assert error.filename == "/a/b"
