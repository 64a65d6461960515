"""ENOSYS for system calls that are newer than the profile: instructions before its filter. Cold.

A profile that lists allowed system calls has only those of its time. If a C library tries a newer one, EPERM means
failure, but with ENOSYS it would use the older call. So if the default action refuses, system calls with a number above
the largest in the profile get ENOSYS, for each of its architectures, as with runc.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping

from .classic import ARCH_OFFSET, JUMP, JUMP_EQUAL, JUMP_GREATER, JUMP_SET, LOAD, NUMBER_OFFSET, RETURN, Instruction
from .constants import ACTIONS

# Numbers of linux/audit.h. libseccomp's tokens are the same except for x32, which is a bit of the call's number.
AUDIT_X86_64 = 0xC000003E
SCMP_X32 = 0x4000003E
X32_BIT = 1 << 30
AUDIT_S390 = 0x00000016
AUDIT_S390X = 0x80000016
# On s390 an unknown number arrives as 0, which once was setup(2).
S390_UNKNOWN = 0

_ENOSYS: Instruction = (RETURN, 0, 0, ACTIONS["SCMP_ACT_ERRNO"] | errno.ENOSYS)


def stub(last: Mapping[int, int]) -> list[Instruction]:
    """The instructions before a filter: ENOSYS for each number above the last of its architecture.

    last: the largest number in the profile, by libseccomp's token of the architecture; the first one costs least. All
    other calls go on to the filter.
    """
    architectures: dict[int, dict[int, int]] = {}
    for token, number in last.items():
        kernels = AUDIT_X86_64 if token == SCMP_X32 else token
        architectures.setdefault(kernels, {})[token] = number
    if not architectures:
        return []
    program: list[Instruction] = []
    for token, modes in reversed(architectures.items()):
        body = _x86_body(modes) if token == AUDIT_X86_64 else _body(token, modes[token])
        body = [(LOAD, 0, 0, NUMBER_OFFSET), *body, (JUMP, 0, 0, len(program) + 1), _ENOSYS]
        program[:0] = [(JUMP_EQUAL, 0, len(body), token), *body]
    return [(LOAD, 0, 0, ARCH_OFFSET), *program]


# A body decides by the loaded number. The jump to the filter follows it, and then the return.


def _body(token: int, last: int) -> list[Instruction]:
    body: list[Instruction] = []
    if token in (AUDIT_S390, AUDIT_S390X):
        body.append((JUMP_EQUAL, 2, 0, S390_UNKNOWN))
    return [*body, (JUMP_GREATER, 1, 0, last)]


def _x86_body(modes: Mapping[int, int]) -> list[Instruction]:
    native: Instruction = (JUMP, 0, 0, 1)
    if AUDIT_X86_64 in modes:
        native = (JUMP_GREATER, 2, 1, modes[AUDIT_X86_64])
    x32: Instruction = (JUMP, 0, 0, 0)
    if SCMP_X32 in modes:
        x32 = (JUMP_GREATER, 1, 0, modes[SCMP_X32])
    return [(JUMP_SET, 1, 0, X32_BIT), native, x32]
