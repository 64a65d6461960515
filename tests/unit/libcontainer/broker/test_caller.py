"""broker/caller.py: what is read of a thread whose call waits, here this process itself."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections.abc import Iterator

import pytest

from pyrunc.libcontainer.broker import caller, listener
from pyrunc.libcontainer.broker.caller import Caller, Processes
from pyrunc.libcontainer.broker.model import Notification, Refusal
from pyrunc.libcontainer.kernel import native
from tests.support.host import open_descriptors

PAGE = mmap.PAGESIZE


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the call still waits, by the last element."""
    answers = [True]
    monkeypatch.setattr(listener, "is_waiting", lambda fd, id: answers[-1])
    return answers


@pytest.fixture
def self(waiting: list[bool]) -> Iterator[Caller]:
    with Caller(-1, Notification(1, os.getpid(), 0, 0, (0, 0, 0, 0, 0, 0)), Processes()) as found:
        yield found


def address(buffer: ctypes.Array[ctypes.c_char]) -> int:
    return ctypes.addressof(buffer)


def test_memory_is_copied(self: Caller) -> None:
    buffer = ctypes.create_string_buffer(b"some bytes")
    assert self.memory(address(buffer), 4) == b"some"
    assert self.text(address(buffer), 100) == "some bytes"
    self.write(address(buffer), b"SOME")
    assert buffer.value == b"SOME bytes"


@pytest.mark.parametrize("place", [0, 8, (1 << 64) - 4, 1 << 47, 1 << 63])
def test_memory_that_is_not_there(self: Caller, place: int) -> None:
    for act in (lambda: self.memory(place, 8), lambda: self.text(place, 8), lambda: self.write(place, b"x" * 8)):
        with pytest.raises(Refusal) as caught:
            act()
        assert caught.value.errno == errno.EFAULT


def test_a_string_at_the_end_of_memory(self: Caller) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with mmap.mmap(-1, 3 * PAGE) as memory:
        memory[2 * PAGE - 6 : 2 * PAGE] = b"a/path"
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        assert libc.mprotect(ctypes.c_void_p(start + 2 * PAGE), PAGE, 0) == 0
        with pytest.raises(Refusal) as caught:
            self.text(start + 2 * PAGE - 6, caller.PATH_MAX)
        assert caught.value.errno == errno.EFAULT
        memory[2 * PAGE - 1 : 2 * PAGE] = b"\0"
        assert self.text(start + 2 * PAGE - 6, caller.PATH_MAX) == "a/pat"
        assert libc.mprotect(ctypes.c_void_p(start + 2 * PAGE), PAGE, 3) == 0


def test_a_string_without_an_end(self: Caller) -> None:
    buffer = ctypes.create_string_buffer(b"x" * 5000)
    with pytest.raises(Refusal) as caught:
        self.text(address(buffer), caller.PATH_MAX)
    assert caught.value.errno == errno.ENAMETOOLONG


def test_a_call_that_has_ended(self: Caller, waiting: list[bool]) -> None:
    buffer = ctypes.create_string_buffer(b"text")
    waiting.append(False)
    for act in (
        lambda: self.text(address(buffer), 10),
        lambda: self.write(address(buffer), b"TEXT"),
        self.proc,
        self.pidfd,
    ):
        with pytest.raises(Refusal) as caught:
            act()
        assert caught.value.errno == errno.EINTR
    assert buffer.value == b"text"


def test_descriptors_and_directories(self: Caller) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"x")
    assert os.read(self.descriptor(reading), 1) == b"x"
    with pytest.raises(Refusal) as caught:
        self.descriptor(99_999)
    assert caught.value.errno == errno.EBADF
    for fd, path in ((self.root(), "/"), (self.working_directory(), ".")):
        assert os.path.samestat(os.fstat(fd), os.stat(path))
    os.close(reading)
    os.close(writing)


def test_where_a_path_starts(self: Caller) -> None:
    directory = os.open("/usr", os.O_RDONLY)
    assert os.path.samestat(os.fstat(self.starting_point(directory, "bin")), os.stat("/usr"))
    for number, path in ((directory, "/bin"), (native.AT_FDCWD, "bin")):
        assert os.path.samestat(os.fstat(self.starting_point(number, path)), os.stat("."))
    os.close(directory)


def test_credentials(self: Caller) -> None:
    found = self.credentials()
    mask = os.umask(0o027)
    assert self.credentials().umask == 0o027
    os.umask(mask)
    assert (found.uids[0], found.gids[1], found.umask) == (os.getuid(), os.getegid(), mask)
    assert set(found.groups) == set(os.getgroups())
    st = os.stat("/proc/self/ns/user")
    assert self.user_namespace() == (st.st_dev, st.st_ino)
    uids, gids = self.maps()
    assert sum(count for _, count in uids) >= 1
    assert gids


def test_the_end_closes_everything(waiting: list[bool]) -> None:
    before = len(open_descriptors())
    processes = Processes()
    with Caller(-1, Notification(1, os.getpid(), 0, 0, (0,) * 6), processes) as found:
        found.root()
        found.pidfd()
        found.credentials()
        assert len(open_descriptors()) > before
    processes.clear()
    assert len(open_descriptors()) == before


def test_pidfds_are_kept_until_their_thread_ends(waiting: list[bool]) -> None:
    processes = Processes()
    ended = os.fork()
    if not ended:
        os._exit(0)
    pidfd = os.pidfd_open(ended)
    os.waitpid(ended, 0)
    # The number is another's now.
    processes.keep(os.getpid(), pidfd)
    with Caller(-1, Notification(1, os.getpid(), 0, 0, (0,) * 6), processes) as found:
        assert os.path.samestat(os.fstat(found.descriptor(0)), os.fstat(0))
        kept = processes.get(os.getpid())
        assert kept is not None
        found.descriptor(0)
        assert processes.get(os.getpid()) == kept
    for tid in range(1000, 1100):
        processes.keep(tid, os.dup(0))
    assert processes.get(1099) is not None
    assert processes.get(1000) is None
    processes.clear()


def test_the_pidfd_of_a_process_is_not_kept(waiting: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Linux 6.9 there is none of a thread, whose number may become one of another process."""
    pidfd_open = os.pidfd_open

    def of_processes_only(pid: int, flags: int = 0) -> int:
        if flags:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return pidfd_open(pid)

    monkeypatch.setattr(os, "pidfd_open", of_processes_only)
    before = os.listdir("/proc/self/fd")
    processes = Processes()
    with Caller(-1, Notification(1, os.getpid(), 0, 0, (0,) * 6), processes) as found:
        assert os.path.samestat(os.fstat(found.descriptor(0)), os.fstat(0))
        assert processes.get(os.getpid()) is None
        waiting.append(False)
        with pytest.raises(Refusal):
            found.pidfd()
    assert os.listdir("/proc/self/fd") == before
