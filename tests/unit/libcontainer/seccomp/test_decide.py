"""What a profile decides about a call, and by which rule."""

from __future__ import annotations

import platform
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.seccomp import compiler, decide
from pyrunc.libcontainer.seccomp.constants import ACTIONS, OPERATORS
from tests.support import seccomp as support

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the numbers of system calls are those of x86-64"
)

PROFILE = support.default_profile()
DEFAULT = "/linux/seccomp/defaultAction"


@pytest.mark.parametrize(
    ("call", "arguments", "action", "rule"),
    [
        ("mkdir", (), "SCMP_ACT_ALLOW", "/linux/seccomp/syscalls/0"),
        ("83", (), "SCMP_ACT_ALLOW", "/linux/seccomp/syscalls/0"),
        ("mount", (), "SCMP_ACT_ERRNO (EPERM)", DEFAULT),
        ("clone", (0x11,), "SCMP_ACT_ALLOW", "/linux/seccomp/syscalls/7"),
        ("clone", (0x10000011,), "SCMP_ACT_ERRNO (EPERM)", DEFAULT),
        ("clone3", (), "SCMP_ACT_ERRNO (ENOSYS)", "/linux/seccomp/syscalls/8"),
        ("socket", (40,), "SCMP_ACT_ERRNO (EPERM)", DEFAULT),
        ("socket", (1,), "SCMP_ACT_ALLOW", "/linux/seccomp/syscalls/6"),
        ("personality", (8,), "SCMP_ACT_ALLOW", "/linux/seccomp/syscalls/2"),
        ("personality", (0xFFFFFFFF,), "SCMP_ACT_ALLOW", "/linux/seccomp/syscalls/5"),
        ("personality", (-1,), "SCMP_ACT_ERRNO (EPERM)", DEFAULT),
    ],
)
def test_the_rule_that_decides(call: str, arguments: tuple[int, ...], action: str, rule: str) -> None:
    decision = decide.decide(PROFILE, call, arguments)
    assert (decision.action, decision.rule) == (action, rule)


def test_the_reasons_beside_rules() -> None:
    newer = decide.decide(PROFILE, "1000", ())
    assert (newer.action, newer.reason) == (
        "SCMP_ACT_ERRNO (ENOSYS)",
        "the call is newer than all that the profile names",
    )
    foreign: Any = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"]}
    other = decide.decide(foreign, "write", (), "SCMP_ARCH_AARCH64")
    assert other.rule == "/linux/seccomp/architectures"
    assert other.action.startswith("SCMP_ACT_KILL")


def test_a_rule_of_another_architecture() -> None:
    assert decide.decide(PROFILE, "mkdir", (), "SCMP_ARCH_X86").rule == "/linux/seccomp/syscalls/0"
    assert decide.decide(PROFILE, "mkdir", (), "SCMP_ARCH_X32").rule == "/linux/seccomp/syscalls/0"


def test_two_conditions_about_one_argument_are_alternatives() -> None:
    profile = support.allowing(
        "SCMP_ACT_KILL_PROCESS", "socket", args=[support.argument(0, "EQ", 1), support.argument(0, "EQ", 3)]
    )
    decision = decide.decide(profile, "socket", (3,))
    assert decision.rule == "/linux/seccomp/syscalls/0"
    assert decision.conditions == ("argument 0 == 0x1 or argument 0 == 0x3",)
    [(_, _, conditions)] = decide.open_rules(profile, "socket")
    assert conditions == decision.conditions
    assert decide.decide(profile, "socket", (2,)).rule == DEFAULT


def test_conditions_about_several_arguments_all_have_to_hold() -> None:
    profile = support.allowing(
        "SCMP_ACT_ERRNO", "socket", args=[support.argument(0, "EQ", 1), support.argument(1, "GT", 3)]
    )
    decision = decide.decide(profile, "socket", (1, 4))
    assert decision.conditions == ("argument 0 == 0x1", "argument 1 > 0x3")
    assert decide.decide(profile, "socket", (1, 3)).rule == DEFAULT


@pytest.mark.parametrize("op", OPERATORS)
@pytest.mark.parametrize("value", [0, 1, 5, 6, 7, (1 << 32) + 6, (1 << 64) - 1])
def test_each_operator_is_judged_as_by_the_filter(op: str, value: int) -> None:
    profile = support.allowing(
        "SCMP_ACT_ERRNO", "socket", args=[support.argument(2, op.removeprefix("SCMP_CMP_"), 6, 4)]
    )
    decision = decide.decide(profile, "socket", (9, 9, value))
    assert decision.reason == ""
    assert (decision.rule == DEFAULT) == (decision.action == "SCMP_ACT_ALLOW")


@pytest.mark.parametrize("action", ACTIONS)
def test_the_name_of_each_action(action: str) -> None:
    number = compiler.action(action, 5)
    known = {"SCMP_ACT_ERRNO": "SCMP_ACT_ERRNO (EIO)", "SCMP_ACT_TRACE": "SCMP_ACT_TRACE (5)"}
    same = {"SCMP_ACT_KILL": "SCMP_ACT_KILL_THREAD"}
    assert decide.describe(number) == known.get(action, same.get(action, action))


def test_an_errno_without_a_name() -> None:
    assert decide.describe(ACTIONS["SCMP_ACT_ERRNO"] | 4000) == "SCMP_ACT_ERRNO (4000)"


def test_the_rules_whose_arguments_decide() -> None:
    rules = decide.open_rules(PROFILE, "clone")
    assert rules == [("/linux/seccomp/syscalls/7", "SCMP_ACT_ALLOW", ("argument 0 & 0x7e020000 == 0x0",))]
    assert decide.open_rules(PROFILE, "mkdir") == []


@pytest.mark.parametrize(
    ("call", "arch", "message"),
    [
        ("mountt", "", "libseccomp does not know the system call mountt"),
        ("", "", "libseccomp does not know the system call"),
        ("mkdir", "SCMP_ARCH_AARCH64", "this architecture has no system call mkdir"),
        ("mkdir", "SCMP_ARCH_PDP11", "libseccomp does not know the architecture SCMP_ARCH_PDP11"),
    ],
)
def test_what_there_is_not(call: str, arch: str, message: str) -> None:
    with pytest.raises(PyruncError, match=message):
        decide.decide(PROFILE, call, (), arch)


def test_a_misspelt_call_is_guessed() -> None:
    with pytest.raises(PyruncError) as caught:
        decide.decide(PROFILE, "mountt", ())
    assert caught.value.hint == "did you mean mount?"


def test_the_interpreter_is_that_of_the_tests() -> None:
    program = compiler.compile_filter(PROFILE)
    for number in range(500):
        for first in (0, 1, 8, 40, 0x10000000):
            mine = decide.evaluate(program, number, [first, 0, 0, 0, 0, 0], support.AUDIT_X86_64)
            assert mine == support.evaluate(program, number, first), number


@pytest.mark.parametrize("program", [b"", bytes((0xFF, 0, 0, 0, 0, 0, 0, 0))])
def test_what_is_no_filter(program: bytes) -> None:
    with pytest.raises(PyruncError, match="the filter"):
        decide.evaluate(program, 1, [0] * 6, support.AUDIT_X86_64)
