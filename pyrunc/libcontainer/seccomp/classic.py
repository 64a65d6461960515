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
_DATA_SIZE = struct.calcsize(_DATA)

_FORMAT = "=HBBI"
INSTRUCTION_SIZE = struct.calcsize(_FORMAT)
# BPF_MAXINSNS
MOST_INSTRUCTIONS = 4096


# The instructions that the kernel accepts in a seccomp filter (bpf_check_classic in net/core/filter.c,
# seccomp_check_filter in kernel/seccomp.c), besides LOAD and jumps: lengths, immediate values, arithmetic with an
# operand or the index register, copies between registers, memory, returns.
_RETURNS = (RETURN, 0x16)  # of a value, of the accumulator
_ALWAYS_TAKEN = {*_RETURNS, 0x80, 0x81, 0x00, 0x01, 0x84, 0xA4, 0xAC, 0x07, 0x87} | {
    0x04 | operation << 4 | source for operation in range(8) for source in (0, 8)
}
_LOADS_OF_MEMORY, _STORES = (0x60, 0x61), (0x02, 0x03)
_MEMORY = _LOADS_OF_MEMORY + _STORES
_MEMORY_WORDS = 16
_ALL_MEMORY = (1 << _MEMORY_WORDS) - 1
_DIVIDE, _SHIFTS = 0x34, (0x64, 0x74)
_JUMPS = frozenset([code | source for code in TESTS for source in (0, 8)])


def fault(steps: Sequence[Instruction]) -> str:
    """Why the kernel refuses a seccomp filter; "" if it accepts it."""
    if not 0 < len(steps) <= MOST_INSTRUCTIONS:
        return f"it has {len(steps)} instructions, and a filter has 1 to {MOST_INSTRUCTIONS}"
    for at, step in enumerate(steps):
        wrong = _fault_of(step, len(steps) - at - 1)
        if wrong:
            return f"its instruction {at} {wrong}"
    if steps[-1][0] not in _RETURNS:
        return "its last instruction is no return"
    return _unset_memory(steps)


def _unset_memory(steps: Sequence[Instruction]) -> str:
    """Whether an instruction loads a word of the memory that is not stored on every way to it; "" if none does."""
    stored = [_ALL_MEMORY] * len(steps)  # the words that are stored on all ways to an instruction, as bits
    stored[0] = 0
    for at, (code, yes, no, operand) in enumerate(steps):
        now = stored[at]
        if code in _LOADS_OF_MEMORY and not now >> operand & 1:
            return f"its instruction {at} loads the memory word {operand}, which may not be stored"
        if code in _STORES:
            now |= 1 << operand
        if code in _JUMPS:
            ways = [at + 1 + yes, at + 1 + no]
        elif code in _RETURNS:
            # As the kernel, which takes the instruction behind a return for one that can be reached.
            ways = [at + 1]
        else:
            ways = [at + 1 + (operand if code == JUMP else 0)]
        for way in ways:
            if way < len(steps):
                stored[way] &= now
    return ""


def _fault_of(step: Instruction, behind: int) -> str:
    """What is wrong with an instruction, `behind` of which follow; "" if nothing is."""
    code, yes, no, operand = step
    if code == LOAD:
        if operand % 4 or operand >= _DATA_SIZE:
            return f"loads the word at {operand} of struct seccomp_data, which has {_DATA_SIZE} bytes"
    elif code in _JUMPS or code == JUMP:
        farthest = operand if code == JUMP else max(yes, no)
        if farthest >= behind:
            return f"jumps over {farthest} instructions, and behind it are {behind}"
    elif code in _MEMORY:
        if operand >= _MEMORY_WORDS:
            return f"uses the memory word {operand}, and there are {_MEMORY_WORDS}"
    elif code == _DIVIDE and not operand:
        return "divides by 0"
    elif code in _SHIFTS and operand > 31:
        return f"shifts by {operand} bits"
    elif code not in _ALWAYS_TAKEN:
        return f"has the code {code:#x}, which seccomp filters can't have"
    return ""


def unpacked(program: bytes) -> list[Instruction]:
    """The instructions of an array of struct sock_filter. Raises PyruncError if it ends in the middle of one."""
    if len(program) % INSTRUCTION_SIZE:
        raise PyruncError(f"the filter has {len(program)} bytes, no multiple of {INSTRUCTION_SIZE}")
    return list(struct.iter_unpack(_FORMAT, program))


def packed(steps: Iterable[Instruction]) -> bytes:
    """An array of struct sock_filter."""
    return b"".join([struct.pack(_FORMAT, *step) for step in steps])


def execute(steps: Sequence[Instruction], number: int, arguments: Sequence[int], arch: int) -> int:
    """The value that a filter returns for a call.

    number, arch: 32 bits each, arch as in linux/audit.h. arguments: six of 64 bits. Raises PyruncError for an
    instruction that the filters of libseccomp don't have, and for a way without a return.
    """
    words = struct.unpack(_WORDS, struct.pack(_DATA, number & WORD, arch, 0, *arguments))
    accumulator = at = 0
    while at < len(steps):
        code, yes, no, operand = steps[at]
        at += 1
        if code == LOAD:
            if operand % 4 or operand >= _DATA_SIZE:
                raise PyruncError(f"the filter's instruction {at - 1} {_fault_of((code, yes, no, operand), 0)}")
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
