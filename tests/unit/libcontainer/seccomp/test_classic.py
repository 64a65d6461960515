from __future__ import annotations

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.seccomp import classic
from pyrunc.libcontainer.seccomp.classic import (
    AND,
    JUMP,
    JUMP_EQUAL,
    JUMP_GREATER,
    JUMP_GREATER_OR_EQUAL,
    JUMP_SET,
    LOAD,
    RETURN,
    Instruction,
)

NONE = (0,) * 6


def test_a_filter_is_packed_as_the_kernel_reads_it() -> None:
    steps: list[Instruction] = [(JUMP_EQUAL, 1, 2, 0xC000003E), (RETURN, 0, 0, 0x7FFF0000)]
    data = classic.packed(steps)
    assert data == bytes.fromhex("150001023e0000c0060000000000ff7f")
    assert len(data) == len(steps) * classic.INSTRUCTION_SIZE
    assert classic.unpacked(data) == steps


@pytest.mark.parametrize(("offset", "word"), [(0, 0xFFFFFFFF), (4, 7), (16, 0x22222222), (20, 0x11111111), (60, 5)])
def test_words_of_the_call(offset: int, word: int) -> None:
    steps: list[Instruction] = [(LOAD, 0, 0, offset), (JUMP_EQUAL, 0, 1, word), (RETURN, 0, 0, 1), (RETURN, 0, 0, 2)]
    assert classic.execute(steps, -1, (0x1111111122222222, 0, 0, 0, 0, 5 << 32), 7) == 1


@pytest.mark.parametrize(
    ("code", "yes", "no"),
    [
        (JUMP_EQUAL, [6], [5, 7]), (JUMP_GREATER, [7], [5, 6]), (JUMP_GREATER_OR_EQUAL, [6, 7], [5]),
        (JUMP_SET, [2, 6], [1]),
    ],
)  # fmt: skip
def test_tests(code: int, yes: list[int], no: list[int]) -> None:
    steps: list[Instruction] = [(LOAD, 0, 0, 0), (code, 1, 0, 6), (RETURN, 0, 0, 0), (RETURN, 0, 0, 1)]
    for numbers, result in ((yes, 1), (no, 0)):
        assert {classic.execute(steps, number, NONE, 0) for number in numbers} == {result}


def test_and_and_jump() -> None:
    steps: list[Instruction] = [
        (LOAD, 0, 0, 0), (AND, 0, 0, 0xF0), (JUMP, 0, 0, 1), (RETURN, 0, 0, 3), (JUMP_EQUAL, 0, 1, 0x20),
        (RETURN, 0, 0, 1), (RETURN, 0, 0, 2),
    ]  # fmt: skip
    assert [classic.execute(steps, number, NONE, 0) for number in (0x12F, 0x130)] == [1, 2]


@pytest.mark.parametrize("steps", [[], [(LOAD, 0, 0, 0)], [(0xFF, 0, 0, 0), (RETURN, 0, 0, 0)]])
def test_what_is_no_filter(steps: list[Instruction]) -> None:
    with pytest.raises(PyruncError, match="the filter"):
        classic.execute(steps, 1, NONE, 0)
