"""The assembler of eBPF, and maps of the kernel."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.kernel import native
from pyrunc.libcontainer.seccomp import ebpf

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def test_instructions_and_labels() -> None:
    code = ebpf.Assembler()
    code.add(ebpf.JUMP_EQUAL, 1, 0, "end", 7)
    code.load(2, 0x1_0000_0002)
    code.label("end")
    code.add(ebpf.MOVE, 0, value=-1)
    code.add(ebpf.EXIT)
    text = code.assemble().hex(" ", 8)
    assert text == "1501020007000000 1802000002000000 0000000001000000 b7000000ffffffff 9500000000000000"


def test_a_jump_backwards() -> None:
    code = ebpf.Assembler()
    code.label("start")
    code.add(ebpf.JUMP, offset="start")
    assert code.assemble().hex() == "0500ffff00000000"


def test_a_jump_to_no_label() -> None:
    code = ebpf.Assembler()
    code.add(ebpf.JUMP, offset="nowhere")
    with pytest.raises(KeyError):
        code.assemble()


@pytest.fixture
def table() -> Iterator[ebpf.Map]:
    made = ebpf.Map(ebpf.HASH, 8, 16)
    yield made
    made.close()


@needs_root
def test_a_map_has_what_was_set(table: ebpf.Map) -> None:
    assert table.items() == {}
    assert table.get(5) == 0
    for key in range(10):
        table.set(key << 40, key + 1)
    assert table.items() == {key << 40: key + 1 for key in range(10)}
    table.set(0, (1 << 64) - 1)
    assert table.get(0) == (1 << 64) - 1


@needs_root
def test_a_program_that_is_refused_has_the_verifiers_reason() -> None:
    code = ebpf.Assembler()
    code.add(ebpf.EXIT)
    with pytest.raises(PyruncError, match="R0 !read_ok"):
        ebpf.attach(code.assemble(), "sys_enter")


@needs_root
def test_a_tracepoint_that_there_is_not() -> None:
    code = ebpf.Assembler()
    code.add(ebpf.MOVE, 0, value=0)
    code.add(ebpf.EXIT)
    with pytest.raises(PyruncError, match="tracepoint sys_nothing"):
        ebpf.attach(code.assemble(), "sys_nothing")


def test_the_privilege_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> int:
        raise PermissionError(1, "no")

    monkeypatch.setattr(native, "bpf", refused)
    with pytest.raises(PyruncError) as caught:
        ebpf.Map(ebpf.HASH, 8, 1)
    assert "CAP_BPF" in caught.value.hint
