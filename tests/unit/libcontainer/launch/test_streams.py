"""The user's standard streams: nothing waits for them or raises because of them, and their flags stay (F1, F2)."""

from __future__ import annotations

import errno
import os
import posix
import socket
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyrunc.libcontainer.launch import streams
from pyrunc.libcontainer.launch.streams import Stream
from tests.support import host

MUCH = b"x" * 1_000_000


class Fds(list[int]):
    """Descriptors that are closed at the end."""

    def pair(self, made: tuple[int, int]) -> tuple[int, int]:
        self.extend(made)
        return made


@pytest.fixture
def fds() -> Iterator[Fds]:
    made = Fds()
    yield made
    for fd in made:
        os.close(fd)


def sockets() -> tuple[int, int]:
    one, other = socket.socketpair()
    return one.detach(), other.detach()


def raw_pty() -> tuple[int, int]:
    master, slave = os.openpty()
    tty.setraw(slave)
    return master, slave


KINDS: dict[str, Callable[[], tuple[int, int]]] = {"pipe": os.pipe, "socket": sockets, "terminal": raw_pty}


def read_all(fd: int, count: int) -> bytes:
    """Read so many bytes, which a pty may give one by one."""
    data = b""
    while len(data) < count:
        data += os.read(fd, count - len(data))
    return data


def deny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no stream be opened again, as if another user owned it."""

    def denied(path: str, flags: int) -> int:
        raise PermissionError(errno.EACCES, path)

    monkeypatch.setattr(posix, "open", denied)


@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_f2_a_full_output_is_not_waited_for(fds: Fds, monkeypatch: Any, kind: str, again: bool) -> None:
    read, write = fds.pair(KINDS[kind]())
    if not again:
        deny(monkeypatch)
    stream = Stream(write, output=True)
    rest = stream.write(MUCH)
    assert 0 < len(rest) < len(MUCH)
    # A pty accepts a little more whenever the kernel has moved what it accepted before.
    while (more := stream.write(rest)) != rest:
        rest = more
    assert rest
    assert os.get_blocking(write), "the flag is not only ours"
    got = os.read(read, 4096)
    assert set(got) == {ord("x")}
    while len(stream.write(rest)) == len(rest):
        got = os.read(read, 4096)
    stream.close()


@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_f2_an_empty_input_is_not_waited_for(fds: Fds, monkeypatch: Any, kind: str, again: bool) -> None:
    one, other = fds.pair(KINDS[kind]())
    read, write = (other, one) if kind == "terminal" else (one, other)
    if not again:
        deny(monkeypatch)
    stream = Stream(read, output=False)
    assert stream.read(100) == b""
    assert not stream.ended
    os.write(write, b"w")
    host.wait_for("the byte to arrive", lambda: stream.read(100) == b"w")
    assert os.get_blocking(read)
    stream.close()


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_the_end_of_an_input(fds: Fds, kind: str) -> None:
    read, write = KINDS[kind]()
    fds.append(read)
    stream = Stream(read, output=False)
    os.close(write)
    assert stream.read(100) == b""
    assert stream.ended
    assert not stream.failure
    stream.close()


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_f1_a_reader_that_goes_away(fds: Fds, kind: str, before: bool) -> None:
    read, write = KINDS[kind]()
    fds.append(write)
    if before:
        os.close(read)
    stream = Stream(write, output=True)
    if not before:
        os.close(read)
    assert stream.write(b"words") == b""
    assert stream.ended
    assert stream.failure in (errno.EPIPE, errno.ENXIO, errno.EIO)
    assert stream.write(b"more") == b""
    stream.close()


def test_f1_a_full_disk_and_a_closed_descriptor() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    stream = Stream(full, output=True)
    assert stream.write(b"words") == b""
    assert stream.failure == errno.ENOSPC
    os.close(full)
    for output in (True, False):
        assert Stream(full, output=output).failure == errno.EBADF


def test_a_file_keeps_its_position(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        os.write(file.fileno(), b"before ")
        stream = Stream(file.fileno(), output=True)
        assert stream.write(b"words") == b""
        stream.close()
        os.write(file.fileno(), b" after")
    assert path.read_bytes() == b"before words after"


def test_a_master_is_not_opened_again(fds: Fds) -> None:
    """That would make another pty."""
    master, slave = fds.pair(raw_pty())
    stream = Stream(master, output=True)
    assert stream.fd == master
    assert stream.write(b"words") == b""
    assert read_all(slave, 5) == b"words"


def test_whose_terminal_it_is(fds: Fds) -> None:
    _, slave = fds.pair(os.openpty())
    assert not streams.is_controlling(slave)
    assert not streams.in_background(slave)
    child = posix.fork()
    if child == 0:
        os.setsid()
        os.close(os.open(os.ttyname(slave), os.O_RDWR))
        fine = streams.is_controlling(slave) and not streams.in_background(slave)
        other = posix.fork()
        if other == 0:
            os.setpgid(0, 0)
            os._exit(0 if streams.in_background(slave) else 1)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]) if fine else 2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
