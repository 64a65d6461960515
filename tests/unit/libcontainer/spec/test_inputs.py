"""Files that are read once."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from pyrunc.libcontainer.spec import inputs


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "_kept", {})
    monkeypatch.setattr(inputs, "_given", {})


def test_b1_what_was_read_is_kept_for_a_look_at_it() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"once")
    os.close(writer)
    path = f"/dev/fd/{reader}"
    assert inputs.kept(path) is None
    assert [inputs.read(path), inputs.kept(path)] == [b"once"] * 2
    os.close(reader)


def test_a_file_that_has_changed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for text in ("one", "two"):
        path.write_text(text)
        assert inputs.read(str(path)) == text.encode()
        assert inputs.kept(str(path)) == text.encode()


def test_b1_it_is_handed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = os.fsdecode(bytes(tmp_path / "file") + b"\xff")
    Path(odd).write_bytes(b"a\0b\xff")
    Path(tmp_path / "empty").write_bytes(b"")
    inputs.read(odd)
    inputs.read(str(tmp_path / "empty"))
    numbers = inputs.hand_over()
    assert all(os.get_inheritable(int(number)) for number in numbers.split(","))
    monkeypatch.setattr(inputs, "_kept", {})
    os.unlink(odd)
    inputs.take(numbers)
    assert inputs.read(odd) == b"a\0b\xff"
    assert inputs.kept(odd) == b"a\0b\xff"
    assert inputs.read(str(tmp_path / "empty")) == b""
    for number in numbers.split(","):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(int(number))


def test_nothing_read_is_nothing_to_hand_over() -> None:
    assert inputs.hand_over() == ""
    inputs.take("")


@pytest.mark.parametrize("name", ["/dev/fd/{}", "/proc/self/fd/{}"])
def test_b1_a_socket_is_read_by_its_descriptor(name: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"text")
        ours.shutdown(socket.SHUT_WR)
        assert inputs.read(name.format(theirs.fileno())) == b"text"
        os.fstat(theirs.fileno())  # it is still open


def test_a_socket_elsewhere_can_t_be_opened(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        with pytest.raises(OSError) as caught:
            inputs.read(str(tmp_path / "s"))
    assert (caught.value.errno, caught.value.filename) == (errno.ENXIO, str(tmp_path / "s"))


def test_failures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(IsADirectoryError) as caught:
        inputs.read(str(tmp_path))
    assert caught.value.filename is None
    with pytest.raises(FileNotFoundError) as missing:
        inputs.read(str(tmp_path / "none"))
    assert missing.value.filename is not None
    monkeypatch.setattr(inputs, "_LARGEST", 1 << 20)
    with pytest.raises(OSError) as endless:
        inputs.read("/dev/zero")
    assert endless.value.errno == errno.EFBIG


def test_a_regular_file_need_not_be_handed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, data: bytes) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("pyrunc.libcontainer.kernel.native.memfd", refuse)
    path = tmp_path / "file"
    path.write_text("text")
    inputs.read(str(path))
    assert inputs.hand_over() == ""
    inputs._kept[inputs.STDIN] = b"once"
    with pytest.raises(OSError, match="Too many"):
        inputs.hand_over()
