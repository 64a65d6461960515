"""Classic BPF as a seccomp filter has it (linux/filter.h, linux/bpf_common.h): its instructions, and what they decide.
Cold."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence

from ...errors import PyruncError

# One instruction, struct sock_filter: code, jump if true, jump if false, operand.
Instruction = tuple[int, int, int, int]

# The codes that filters of libseccomp have.
LOAD = 0x20
AND = 0x54
JUMP = 0x05
JUMP_EQUAL = 0x15
JUMP_GREATER = 0x25
JUMP_GREATER_OR_EQUAL = 0x35
JUMP_SET = 0x45
RETURN = 0x06
TESTS: dict[int, Callable[[int, int], bool]] = {
    JUMP_EQUAL: lambda left, right: left == right,
    JUMP_GREATER: lambda left, right: left > right,
    JUMP_GREATER_OR_EQUAL: lambda left, right: left >= right,
    JUMP_SET: lambda left, right: left & right != 0,
}
# The jumps of a test are numbers of one byte.
FARTHEST = 255

# Offsets in struct seccomp_data (seccomp(2)), which is 16 words of 32 bits: after these two the call's address, and the
# six arguments in two words each.
NUMBER_OFFSET = 0
ARCH_OFFSET = 4
WORD = (1 << 32) - 1
_DATA = "=IIQ6Q"
_WORDS = "=16I"

_FORMAT = "=HBBI"
INSTRUCTION_SIZE = struct.calcsize(_FORMAT)
# BPF_MAXINSNS
MOST_INSTRUCTIONS = 4096


def unpacked(program: bytes) -> list[Instruction]:
    """The instructions of an array of struct sock_filter."""
    return list(struct.iter_unpack(_FORMAT, program))


def packed(steps: Iterable[Instruction]) -> bytes:
    """An array of struct sock_filter."""
    return b"".join([struct.pack(_FORMAT, *step) for step in steps])


def execute(steps: Sequence[Instruction], number: int, arguments: Sequence[int], arch: int) -> int:
    """The value that a filter returns for a call.

    number, arch: 32 bits each, arch as in linux/audit.h. arguments: six of 64 bits. Raises PyruncError for an
    instruction that the filters of libseccomp don't have, and for a filter without a return.
    """
    words = struct.unpack(_WORDS, struct.pack(_DATA, number & WORD, arch, 0, *arguments))
    accumulator = at = 0
    while at < len(steps):
        code, yes, no, operand = steps[at]
        at += 1
        if code == LOAD:
            accumulator = words[operand >> 2]
        elif code == RETURN:
            return operand
        elif code == AND:
            accumulator &= operand
        elif code == JUMP:
            at += operand
        elif code in TESTS:
            at += yes if TESTS[code](accumulator, operand) else no
        else:
            raise PyruncError(f"the filter's instruction {at - 1} has the unknown code {code:#x}")
    raise PyruncError("the filter ends without a decision")
