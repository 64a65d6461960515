from __future__ import annotations

import errno
import itertools

import pytest

from pyrunc.libcontainer.seccomp.enosys import AUDIT_S390X, AUDIT_X86_64, SCMP_X32, stub
from tests.support.seccomp import AUDIT_I386, ENOSYS, X32_BIT, evaluate

AARCH64 = 0xC00000B7
GONE_ON = 0xDEADBEEF
LAST = {AUDIT_X86_64: 100, SCMP_X32: X32_BIT | 50, AUDIT_I386: 200, AARCH64: 300, AUDIT_S390X: 400}


def verdict(last: dict[int, int], arch: int, number: int) -> int:
    """The stub's verdict, or GONE_ON if it leaves the call to the filter behind it."""
    return evaluate([*stub(last), (0x06, 0, 0, GONE_ON)], number, arch=arch)


@pytest.mark.parametrize("count", range(len(LAST) + 1))
def test_numbers_above_the_last_of_their_architecture(count: int) -> None:
    for tokens in itertools.permutations(LAST, count):
        last = {token: LAST[token] for token in tokens}
        for token, number in LAST.items():
            arch = AUDIT_X86_64 if token == SCMP_X32 else token
            above = ENOSYS if token in last else GONE_ON
            assert verdict(last, arch, number) == GONE_ON
            assert verdict(last, arch, number + 1) == above
            assert verdict(last, arch, number + 100000) == above
            first = number & X32_BIT or 1
            assert verdict(last, arch, first) == GONE_ON


def test_an_architecture_that_is_not_named_is_left_to_the_filter() -> None:
    assert verdict(LAST, 7, 100000) == GONE_ON
    assert stub({}) == []


def test_a_call_that_s390_does_not_know_arrives_as_0() -> None:
    assert verdict(LAST, AUDIT_S390X, 0) == ENOSYS
    assert verdict(LAST, AARCH64, 0) == GONE_ON


def test_no_number_is_above_all() -> None:
    assert verdict(LAST, AUDIT_I386, 0xFFFFFFFF) == ENOSYS
    assert ENOSYS & 0xFFFF == errno.ENOSYS
