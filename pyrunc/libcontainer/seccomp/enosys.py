"""ENOSYS for system calls that are newer than the profile, as instructions in front of its filter. Cold.

A profile that lists what is allowed knows the system calls of its day. A C library that tries a newer one and gets
EPERM takes that for a refusal, where ENOSYS would have it use the older call. So with an action by default that
refuses, numbers above the greatest that the profile names get ENOSYS, for each of its architectures, as with runc.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping

from .constants import ACTIONS

# One instruction: code, jump if true, jump if false, operand (linux/filter.h: struct sock_filter).
Instruction = tuple[int, int, int, int]

# linux/bpf_common.h, and what stands in struct seccomp_data (seccomp(2))
LOAD = 0x20
JUMP = 0x05
JUMP_EQUAL = 0x15
JUMP_GREATER = 0x25
JUMP_SET = 0x45
RETURN = 0x06
NUMBER_OFFSET = 0
ARCH_OFFSET = 4

# Numbers of linux/audit.h; libseccomp's tokens are the same but for x32, which the kernel tells by a bit of the number.
AUDIT_X86_64 = 0xC000003E
SCMP_X32 = 0x4000003E
X32_BIT = 1 << 30
AUDIT_S390 = 0x00000016
AUDIT_S390X = 0x80000016
# On s390 a number that the kernel doesn't know arrives as 0, which once was setup(2).
S390_UNKNOWN = 0

_ENOSYS: Instruction = (RETURN, 0, 0, ACTIONS["SCMP_ACT_ERRNO"] | errno.ENOSYS)


def stub(last: Mapping[int, int]) -> list[Instruction]:
    """The instructions to put in front of a filter: ENOSYS for each number above the last of its architecture.

    last: the greatest number that the profile names, by libseccomp's token of the architecture; the one that comes
    first costs least. All other calls go on to the filter.
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


# A body decides with the number loaded. Behind it stands the jump to the filter, and behind that the return.


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
