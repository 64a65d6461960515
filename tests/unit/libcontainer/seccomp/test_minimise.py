"""The smaller filter decides as libseccomp's. Both are executed by the interpreter of the tests."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.seccomp import compiler
from pyrunc.libcontainer.seccomp.classic import (
    AND,
    FARTHEST,
    JUMP,
    JUMP_EQUAL,
    JUMP_GREATER,
    JUMP_GREATER_OR_EQUAL,
    JUMP_SET,
    LOAD,
    RETURN,
    WORD,
    Instruction,
    packed,
    unpacked,
)
from pyrunc.libcontainer.seccomp.constants import ACTIONS, NUMBERED, OPERATORS
from pyrunc.libcontainer.seccomp.minimise import NotUnderstood, are_equal, minimise, shrunk
from tests.support import seccomp as support
from tests.support.seccomp import (
    ALLOW,
    ALLOWED,
    AUDIT_I386,
    AUDIT_X86_64,
    X32_BIT,
    allowing,
    argument,
    default_profile,
    evaluate,
    rule,
)

AARCH64, UNKNOWN = 0xC00000B7, 0x1234
MACHINES = (AUDIT_X86_64, AUDIT_I386, AARCH64, UNKNOWN)
NUMBER, ARCH, ARGUMENT, UPPER = 0, 4, 16, 20
ALL = (1 << 64) - 1


def near(steps: Sequence[Instruction]) -> set[int]:
    """The words that a filter compares with, and their neighbours."""
    found = {0, 1, 2**32 - 1, 2**31, X32_BIT, X32_BIT - 1, X32_BIT + 1}
    for code, _, _, operand in steps:
        if code not in (LOAD, RETURN, JUMP):
            found |= {(operand + step) % 2**32 for step in (-1, 0, 1)}
    return found


def calls(*filters: Sequence[Instruction], count: int) -> Iterator[tuple[int, int, list[int]]]:
    """Calls that filters could decide differently about, so many at most: machine, number, arguments."""
    words = sorted(set().union(*[near(steps) for steps in filters]))
    chance = random.Random(len(words))
    for number in chance.sample(words, min(len(words), count)):
        for machine in MACHINES:
            yield machine, number, [0] * 6
            yield machine, number, [chance.choice(words) | chance.choice(words) << 32 for _ in range(6)]
            yield machine, number, [chance.choice([0, ALL, chance.choice(words)]) for _ in range(6)]


def assert_same(first: Sequence[Instruction], second: Sequence[Instruction], count: int = 60) -> None:
    for machine, number, arguments in calls(first, second, count=count):
        values = [evaluate(steps, number, *arguments, arch=machine) for steps in (first, second)]
        assert values[0] == values[1], (hex(machine), hex(number), [hex(value) for value in arguments])


def assert_valid(steps: Sequence[Instruction]) -> None:
    """What the kernel wants: jumps forward within the filter, and a return at its end."""
    for at, (code, yes, no, operand) in enumerate(steps):
        if code not in (LOAD, AND, RETURN):
            ways = (operand,) if code == JUMP else (yes, no)
            assert all(0 <= way < len(steps) - at - 1 for way in ways)
            assert max(yes, no) <= FARTHEST
    assert steps[-1][0] == RETURN


def test_the_default_profile_becomes_a_fifth() -> None:
    steps = unpacked(compiler.library_filter(default_profile()))
    smaller = shrunk(steps)
    assert len(smaller) < len(steps) / 5
    assert are_equal(steps, smaller)
    assert minimise(packed(steps)) == packed(smaller)
    assert compiler.compile_filter(default_profile()) == packed(smaller)
    assert_valid(smaller)
    assert_same(steps, smaller, 1000)
    for machine in MACHINES:
        for base in (0, X32_BIT):
            for number in range(base, base + 560):
                for first in (0, 40, 0x20008, 0x7E020000):
                    value = evaluate(smaller, number, first, arch=machine)
                    assert value == evaluate(steps, number, first, arch=machine), (machine, number, first)


def test_the_kernel_finds_what_is_always_allowed() -> None:
    """Before the first test of an argument a filter has only what the kernel's seccomp_is_const_allow understands, so
    that it need not execute the filter for such calls: loads of number and architecture."""
    steps = shrunk(unpacked(compiler.library_filter(default_profile())))
    mkdir, accumulator, at = 83, -1, 0
    while steps[at][0] != RETURN:
        code, yes, no, operand = steps[at]
        if code == LOAD:
            accumulator = {NUMBER: mkdir, ARCH: AUDIT_X86_64}[operand]
            at += 1
        else:
            holds = {JUMP_EQUAL: accumulator == operand, JUMP_GREATER_OR_EQUAL: accumulator >= operand}
            at += 1 + (yes if holds[code] else no)
    assert steps[at][3] == ALLOW


NAMES = sorted({*ALLOWED, "mount", "umount2", "unshare", "setns", "socketcall", "clone3", "no_such_call"})
VALUES = st.one_of(st.sampled_from([0, 1, 0xFF, 2**31, 2**32 - 1, 2**32, 2**63, ALL]), st.integers(0, ALL))


@st.composite
def conditions(draw: st.DrawFn) -> Any:
    op = draw(st.sampled_from(sorted(OPERATORS))).removeprefix("SCMP_CMP_")
    return argument(draw(st.integers(0, 5)), op, draw(VALUES), draw(VALUES))


@st.composite
def rules(draw: st.DrawFn, most_names: int) -> Any:
    action = draw(st.sampled_from(sorted(ACTIONS)))
    first = draw(st.integers(0, len(NAMES) - 1))
    made = rule(action, *NAMES[first : first + draw(st.integers(1, most_names))])
    if action in NUMBERED and draw(st.booleans()):
        made["errnoRet"] = draw(st.integers(0, NUMBERED[action]))
    if draw(st.booleans()):
        # libseccomp takes minutes to join several conditions about hundreds of calls.
        made["args"] = draw(st.lists(conditions(), min_size=1, max_size=3 if most_names < 10 else 1))
    return made


@st.composite
def profiles(draw: st.DrawFn) -> dict[str, Any]:
    """Profiles with few rules, of few names or of many: libseccomp's filter is a chain or a tree."""
    machines = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]
    default = draw(st.sampled_from(sorted(set(ACTIONS) - {"SCMP_ACT_NOTIFY"})))
    return {
        "defaultAction": default,
        "architectures": draw(st.lists(st.sampled_from(machines), unique=True)),
        "syscalls": draw(st.lists(rules(draw(st.sampled_from([2, 200]))), max_size=6)),
    }


@settings(max_examples=100)
@given(profiles())
def test_random_profiles(profile: Any) -> None:
    try:
        steps = unpacked(compiler.library_filter(profile))
    except PyruncError:
        return  # libseccomp refuses contradictions
    smaller = shrunk(steps)
    assert_valid(smaller)
    assert are_equal(steps, smaller)
    assert_same(steps, smaller)
    assert len(minimise(packed(steps))) <= len(packed(steps))


@st.composite
def filters(draw: st.DrawFn) -> list[Instruction]:
    """Any instructions with jumps forward, of few words, numbers and values, so that ways meet."""
    count = draw(st.integers(1, 30))
    steps: list[Instruction] = []
    for at in range(count):
        most = count - at - 1
        kind = draw(st.sampled_from(["load", "load", "test", "test", "test", "and", "jump", "return"]))
        value = draw(st.sampled_from([0, 1, 2, 3, 7, X32_BIT, AUDIT_X86_64, AUDIT_I386, 2**32 - 1]))
        jump = st.integers(0, min(most, 4))
        if kind == "load":
            steps.append((LOAD, 0, 0, draw(st.sampled_from([NUMBER, ARCH, ARGUMENT, UPPER]))))
        elif kind == "and":
            steps.append((AND, 0, 0, value))
        elif kind == "jump":
            steps.append((JUMP, 0, 0, draw(jump)))
        elif kind == "return":
            steps.append((RETURN, 0, 0, value))
        else:
            codes = st.sampled_from([JUMP_EQUAL, JUMP_EQUAL, JUMP_GREATER, JUMP_GREATER_OR_EQUAL, JUMP_SET])
            steps.append((draw(codes), draw(jump), draw(jump), value))
    return [*steps, (RETURN, 0, 0, 5), (RETURN, 0, 0, 6)]


@settings(max_examples=400)
@given(filters())
def test_any_filter_keeps_its_meaning_or_is_left_alone(steps: list[Instruction]) -> None:
    try:
        smaller = shrunk(steps)
    except NotUnderstood:
        assert minimise(packed(steps)) == packed(steps)
        return
    assert_valid(smaller)
    assert are_equal(steps, smaller)
    assert_same(steps, smaller)


@settings(max_examples=30)
@given(st.data())
def test_a_changed_filter_is_found(data: st.DataObject) -> None:
    """A filter with another operand or other jumps is equal only if it decides the same."""
    steps = shrunk(unpacked(compiler.library_filter(data.draw(st.sampled_from([default_profile(), SMALL])))))
    at = data.draw(st.integers(0, len(steps) - 2))
    code, yes, no, operand = steps[at]
    changed = list(steps)
    if code in (LOAD, AND, RETURN) or data.draw(st.booleans()):
        changed[at] = (code, yes, no, operand ^ 4)
    else:
        changed[at] = (code, no, yes, operand)
    if are_equal(steps, changed):
        assert_same(steps, changed)


SMALL = allowing("SCMP_ACT_ERRNO", "mkdir", "ftruncate", args=[argument(0, "GT", 1 << 33)])


def test_a_filter_that_decides_otherwise_is_not_equal() -> None:
    steps = shrunk(unpacked(compiler.library_filter(default_profile())))
    for at, (code, yes, no, operand) in enumerate(steps):
        if code == RETURN:
            other = [*steps[:at], (code, yes, no, operand ^ 1), *steps[at + 1 :]]
            assert not are_equal(steps, other), at


def test_what_is_decided_twice_is_there_once() -> None:
    """Calls with the same conditions share their tests, also those of two machines."""
    profile = allowing("SCMP_ACT_ERRNO", "mkdir", "rmdir", args=[argument(0, "EQ", 7)])
    profile["architectures"] = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    smaller = shrunk(unpacked(compiler.library_filter(profile)))
    assert len([step for step in smaller if step == (LOAD, 0, 0, ARGUMENT)]) == 1


def test_jumps_that_are_too_far_for_a_test() -> None:
    """More decisions than a jump of one byte reaches: returns are repeated, tests get a jump of their own."""
    profile = allowing("SCMP_ACT_ERRNO", "write", args=[argument(0, "EQ", 1), argument(1, "EQ", 2)])
    for index, name in enumerate(ALLOWED):
        if name != "write":
            profile["syscalls"].append(rule("SCMP_ACT_ERRNO", name, errnoRet=index, args=[argument(2, "GT", index)]))
    profile["architectures"] = ["SCMP_ARCH_X86_64"]
    steps = unpacked(compiler.library_filter(profile))
    smaller = shrunk(steps)
    assert len(smaller) > 4 * FARTHEST
    assert [step for step in smaller if step[0] == JUMP]
    assert_valid(smaller)
    assert_same(steps, smaller)
    assert are_equal(steps, smaller)


RETURNS: list[Instruction] = [(RETURN, 0, 0, 1), (RETURN, 0, 0, 2)]


@pytest.mark.parametrize(
    "steps",
    [
        [(0x02, 0, 0, 0), *RETURNS],  # a store
        [(0x30, 0, 0, NUMBER), *RETURNS],  # a load of one byte
        [(LOAD, 0, 0, NUMBER), (AND, 0, 0, 0xFF), (JUMP_EQUAL, 0, 1, 3), *RETURNS],
        [(LOAD, 0, 0, NUMBER), (JUMP_SET, 0, 1, 4), *RETURNS],
        [(LOAD, 0, 0, ARCH), (JUMP_GREATER, 0, 1, 4), *RETURNS],
        [(JUMP_EQUAL, 0, 1, 0), *RETURNS],  # nothing is loaded
        [(LOAD, 0, 0, NUMBER)],  # no return
        [(LOAD, 0, 0, 64), (JUMP_EQUAL, 0, 1, 3), *RETURNS],  # beyond struct seccomp_data
        [(LOAD, 0, 0, 3), (JUMP_EQUAL, 0, 1, 3), *RETURNS],
        [(LOAD, 0, 0, NUMBER), (JUMP_EQUAL, 0, 2, 3), *RETURNS],  # out of the filter
        [(JUMP, 0, 0, WORD), *RETURNS],
        [],
        [(LOAD, 0, 0, NUMBER)] * 4096 + RETURNS[:1],
    ],
)
def test_what_is_not_understood_stays(steps: list[Instruction]) -> None:
    with pytest.raises(NotUnderstood):
        shrunk(steps)
    assert minimise(packed(steps)) == packed(steps)
    assert not are_equal(steps, steps)


def test_a_small_filter_does_not_grow() -> None:
    steps: list[Instruction] = [(LOAD, 0, 0, NUMBER), (JUMP_EQUAL, 0, 1, 3), *RETURNS]
    assert minimise(packed(steps)) == packed(steps)
    assert len(shrunk([(LOAD, 0, 0, NUMBER), (JUMP_EQUAL, 0, 0, 3), *RETURNS])) == 1
    assert shrunk([(LOAD, 0, 0, UPPER), (AND, 0, 0, 0), (JUMP_EQUAL, 0, 1, 0), *RETURNS]) == RETURNS[:1]


def test_the_interpreter_of_the_tests_reads_what_is_written() -> None:
    assert support.instructions(packed(RETURNS)) == RETURNS
