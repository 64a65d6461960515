"""kernel/brokering.py: the wrappers' effects, and that each raises OSError with the errno."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import struct

import pytest

from pyrunc.libcontainer.kernel import brokering

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def test_memory_is_read_as_far_as_it_goes() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    size = mmap.PAGESIZE
    with mmap.mmap(-1, 2 * size) as memory:
        memory[size - 3 : size] = b"end"
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        assert libc.mprotect(ctypes.c_void_p(start + size), size, 0) == 0
        assert brokering.read_process(os.getpid(), start + size - 3, 4096) == b"end"
        with pytest.raises(OSError, match="Bad address"):
            brokering.read_process(os.getpid(), start + size, 1)
        assert libc.mprotect(ctypes.c_void_p(start + size), size, 3) == 0


@pytest.mark.parametrize(
    ("address", "size"),
    [
        (0, 0), (0, 8193), ((1 << 64) - 5, 10), ((1 << 64) - 1, 8192),
        # In the highest page, whose end is no address.
        ((1 << 64) - 5, 3), ((1 << 64) - 5, 4), ((1 << 64) - 4096, 4095), ((1 << 64) - 8193, 8192),
        ((1 << 63) - 5, 10), ((1 << 47) - 5, 10),
    ],
)  # fmt: skip
def test_sizes_and_addresses_that_can_not_be(address: int, size: int) -> None:
    with pytest.raises(OSError, match="Bad address"):
        brokering.read_process(os.getpid(), address, size)


def test_sockets() -> None:
    address = struct.pack("=H", socket.AF_INET) + bytes(2) + socket.inet_aton("127.0.0.1") + bytes(8)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        brokering.bind(one.fileno(), address)
        assert one.getsockname()[0] == "127.0.0.1"
        there = struct.pack("=H", socket.AF_INET) + struct.pack(">H", 9) + socket.inet_aton("127.0.0.1") + bytes(8)
        brokering.connect(one.fileno(), there)
        assert one.getpeername() == ("127.0.0.1", 9)
    for call in (brokering.connect, brokering.bind):
        with pytest.raises(OSError, match="Bad file") as caught:
            call(-1, address)
        assert caught.value.errno == errno.EBADF


def test_sysinfo() -> None:
    assert len(brokering.sysinfo()) == brokering.SYSINFO_BYTES


@ROOT_ONLY
def test_a_file_system_by_descriptors() -> None:
    context = brokering.fsopen("tmpfs")
    brokering.fs_set(context, "source", "here")
    brokering.fs_set(context, "size", "4096")
    with pytest.raises(OSError, match="Invalid"):
        brokering.fs_set_flag(context, "nosuchoption")
    brokering.fs_create(context)
    mount = brokering.fsmount(context, 1)
    with pytest.raises(OSError, match="Read-only"):
        os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=mount)
    os.close(mount)
    os.close(context)
    with pytest.raises(OSError, match="No such device"):
        brokering.fsopen("nosuchtype")
    for call in (
        lambda: brokering.fs_create(-1),
        lambda: brokering.fsmount(-1, 0),
        lambda: brokering.fs_set(-1, "a", "b"),
    ):
        with pytest.raises(OSError, match=r"Bad file|Invalid"):
            call()


def in_child(act: object) -> int:
    pid = os.fork()
    if not pid:
        code = 255
        try:
            assert callable(act)
            code = int(act())
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def status(name: str) -> int:
    with open("/proc/self/status", encoding="utf-8") as file:
        return next(int(line.split()[1], 16) for line in file if line.startswith(name))


@ROOT_ONLY
def test_capabilities_through_a_change_of_the_user() -> None:
    def act() -> int:
        brokering.keep_capabilities()
        os.setresuid(7, 7, 7)
        before = status("CapEff:")
        brokering.set_effective(1 << 27)
        brokering.protect_worker()
        return not (before == 0 and status("CapEff:") == 1 << 27 and os.stat("/proc/self/fd").st_uid == 0)

    assert in_child(act) == 0
