"""Programs are loaded with their kind, name and license; a refusal has the verifier's text."""

from __future__ import annotations

import os

import pytest

from pyrunc.libcontainer.kernel import bpf, native

CGROUP_DEVICE = 15
OBJ_GET_INFO_BY_FD = 15
RETURN_ONE = bytes.fromhex("b7000000010000009500000000000000")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def test_numbers_are_32_bits() -> None:
    assert len(bpf.words(1, 2, 3)) == 12
    assert memoryview(bpf.words(7, 1 << 31)).cast("I").tolist() == [7, 1 << 31]


@needs_root
def test_a_program_has_its_kind_and_name() -> None:
    fd = bpf.load(CGROUP_DEVICE, b"pyrunc_test", b"Apache\0", RETURN_ONE)
    try:
        info = bytearray(80)
        native.bpf(OBJ_GET_INFO_BY_FD, bpf.words(fd, len(info)) + bytes(8), [(8, info)])
    finally:
        os.close(fd)
    assert memoryview(info).cast("I")[0] == CGROUP_DEVICE
    assert info[64:].rstrip(b"\0") == b"pyrunc_test"


@needs_root
def test_a_refusal_has_the_verifiers_reason() -> None:
    program = RETURN_ONE[8:]  # it returns what it has not set
    with pytest.raises(OSError, match="Permission denied"):
        bpf.load(CGROUP_DEVICE, b"pyrunc_test", b"Apache\0", program)
    assert "R0 !read_ok" in bpf.verifier_log(CGROUP_DEVICE, b"pyrunc_test", b"Apache\0", program)


@needs_root
def test_a_program_that_is_accepted_has_no_reason() -> None:
    assert "R0 !read_ok" not in bpf.verifier_log(CGROUP_DEVICE, b"pyrunc_test", b"Apache\0", RETURN_ONE)


@pytest.mark.parametrize(("number", "failures", "calls"), [(11, 4, 5), (11, 9, 5), (1, 9, 1)])
def test_an_interrupted_load_is_repeated(
    monkeypatch: pytest.MonkeyPatch, number: int, failures: int, calls: int
) -> None:
    done: list[int] = []

    def call(*_: object) -> int:
        done.append(1)
        if len(done) <= failures:
            raise OSError(number, "x")
        return 7

    monkeypatch.setattr(native, "bpf", call)
    if calls > failures:
        assert bpf.load(15, b"n", b"x\0", bytes(16)) == 7
    else:
        with pytest.raises(OSError, match="x"):
            bpf.load(15, b"n", b"x\0", bytes(16))
    assert len(done) == calls
