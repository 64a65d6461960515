from __future__ import annotations

import random
import subprocess
import sys

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


LAST: Instruction = (RETURN, 0, 0, 0)
FAULTS: dict[str, list[Instruction]] = {
    "it has 0 instructions": [],
    "it has 4097 instructions": [LAST] * 4097,
    "its instruction 0 loads the word at 64 of": [(LOAD, 0, 0, 64), LAST],
    "its instruction 0 loads the word at 3 of": [(LOAD, 0, 0, 3), LAST],
    "its instruction 0 loads the word at 4294967292 of": [(LOAD, 0, 0, 0xFFFFFFFC), LAST],
    "its instruction 1 jumps over 1 instructions": [LAST, (JUMP_EQUAL, 1, 0, 0), LAST],
    "its instruction 0 jumps over 255 instructions": [(JUMP_SET | 8, 0, 255, 0), LAST],
    "its instruction 0 jumps over 4294967295 instructions": [(JUMP, 0, 0, 0xFFFFFFFF), LAST],
    "its instruction 0 has the code 0x30": [(0x30, 0, 0, 0), LAST],  # a byte
    "its instruction 0 has the code 0x94": [(0x94, 0, 0, 2), LAST],  # a remainder
    "its instruction 0 has the code 0xffff": [(0xFFFF, 0, 0, 0), LAST],
    "its instruction 0 uses the memory word 16": [(0x02, 0, 0, 16), LAST],
    "its instruction 2 loads the memory word 1": [(JUMP_EQUAL, 1, 0, 0), (0x02, 0, 0, 1), (0x60, 0, 0, 1), LAST],
    "its instruction 0 divides by 0": [(0x34, 0, 0, 0), LAST],
    "its instruction 0 shifts by 32": [(0x64, 0, 0, 32), LAST],
    "its last instruction is no return": [LAST, (LOAD, 0, 0, 0)],
}


# For each program of standard input, in hexadecimal digits: whether the kernel takes it, 1 or 0.
_LOADING = """
import ctypes, os, struct, sys
call = ctypes.CDLL(None, use_errno=True).syscall
number = {"x86_64": 317, "aarch64": 277}[os.uname().machine]
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
for line in sys.stdin:
    data = ctypes.create_string_buffer(bytes.fromhex(line))
    program = ctypes.create_string_buffer(struct.pack("=HxxxxxxQ", len(data.raw) // 8, ctypes.addressof(data)))
    child = os.fork()
    if not child:
        call(number, 1, 0, program)
        os._exit(ctypes.get_errno())  # the filter may kill it here
    status = os.waitpid(child, 0)[1]
    print(int(not os.WIFEXITED(status) or os.WEXITSTATUS(status) != 22))
"""
_OPERANDS = (0, 1, 2, 3, 4, 15, 16, 31, 32, 60, 62, 64, 255, 0xFFFFFFFC, 0xFFFFFFFF)


def loads(programs: list[list[Instruction]]) -> list[bool]:
    """Whether the kernel takes each filter."""
    given = "".join([classic.packed(steps).hex() + "\n" for steps in programs])
    done = subprocess.run([sys.executable, "-c", _LOADING], input=given, capture_output=True, text=True, check=True)
    return [line == "1" for line in done.stdout.split()]


def test_the_kernel_refuses_the_same() -> None:
    """Every code that an instruction of classic BPF can have, with many operands; then ways through the memory."""
    generator = random.Random(1)
    programs: list[list[Instruction]] = [
        [(code, generator.choice((0, 1, 2, 3)), generator.choice((0, 1, 2, 3)), operand), LAST, LAST]
        for code in (*range(0x100), 0x106, 0x8006)
        for operand in generator.sample(_OPERANDS, 4)
    ]
    codes = [0x02, 0x03, 0x60, 0x61, 0x02, 0x60, JUMP, JUMP_EQUAL, RETURN, LOAD]
    for _ in range(400):
        steps: list[Instruction] = [
            (generator.choice(codes), generator.randrange(3), generator.randrange(3), generator.choice((0, 0, 1)))
            for _ in codes
        ]
        programs.append([*steps, LAST, LAST, LAST])
    programs += [steps for steps in FAULTS.values() if len(steps) < 5]
    assert [not classic.fault(steps) for steps in programs] == loads(programs)


@pytest.mark.parametrize("begin", FAULTS)
def test_what_the_kernel_refuses_is_told(begin: str) -> None:
    assert classic.fault(FAULTS[begin]).startswith(begin)


def test_execution_meets_no_word_beyond_the_call_s() -> None:
    for offset in (64, 61, 0xFFFFFFFC):
        with pytest.raises(PyruncError, match=f"the filter's instruction 0 loads the word at {offset}"):
            classic.execute([(LOAD, 0, 0, offset), LAST], 1, NONE, 0)


def test_half_an_instruction() -> None:
    with pytest.raises(PyruncError, match="the filter has 9 bytes, no multiple of 8"):
        classic.unpacked(bytes(9))
