from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.seccomp import cache, compiler
from pyrunc.libcontainer.seccomp.constants import ACTIONS, FLAGS
from tests.support.plans import compiled, with_linux
from tests.support.seccomp import (
    ALLOW,
    ALLOWED,
    AUDIT_I386,
    AUDIT_X86_64,
    ENOSYS,
    EPERM,
    ERRNO,
    X32_BIT,
    allowing,
    argument,
    default_profile,
    evaluate,
    instructions,
    rule,
)

AARCH64 = 0xC00000B7
# Numbers of x86-64, i386 and arm64.
FTRUNCATE, MKDIR, MKDIR_I386, MKDIRAT_ARM64 = 77, 83, 39, 34
LAST_ALLOWED = 449  # futex_waitv
ARCHITECTURES = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64"]


def verdict(profile: Any, number: int, *args: int, arch: int = AUDIT_X86_64) -> int:
    """What the compiled filter returns. The profile names every architecture, so the machine's does not matter."""
    whole: Any = {"architectures": ARCHITECTURES, **profile}
    return evaluate(compiler.compile_filter(whole), number, *args, arch=arch)


@pytest.mark.parametrize(("action", "number"), ACTIONS.items())
def test_actions(action: str, number: int) -> None:
    with_errno = number | errno.EPERM if action in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE") else number
    assert verdict(allowing(action, "mkdir"), MKDIR) == with_errno
    assert verdict(allowing(action, "mkdir"), MKDIR + 1) == ALLOW
    if action not in ("SCMP_ACT_ALLOW", "SCMP_ACT_NOTIFY"):
        profile = {"defaultAction": action, "syscalls": [rule("SCMP_ACT_ALLOW", "mkdir", "execve")]}
        assert verdict(profile, MKDIR) == ALLOW
        assert verdict(profile, MKDIR - 1) == with_errno


@pytest.mark.parametrize(("name", "number"), [("socket", 359), ("shutdown", 373), ("shmget", 395)])
def test_calls_that_x86_also_multiplexes_are_not_newer_than_the_profile(name: str, number: int) -> None:
    profile = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule("SCMP_ACT_ALLOW", "read", name)]}
    assert verdict(profile, number, arch=AUDIT_I386) == ALLOW
    assert verdict(profile, number - 1, arch=AUDIT_I386) == ERRNO | errno.EPERM
    assert verdict(profile, number + 1, arch=AUDIT_I386) == ERRNO | errno.ENOSYS
    token = compiler.architecture("SCMP_ARCH_X86")
    assert compiler.find_number(name, token) == number
    assert compiler.call_number(name, token) == number


def test_the_architectures_of_this_machine() -> None:
    names = compiler.machine_architectures()
    assert compiler.architecture(names[0]) == compiler.architecture("")


def test_errnos() -> None:
    profile = allowing("SCMP_ACT_ERRNO", "mkdir", errnoRet=55)
    profile["syscalls"].append(rule("SCMP_ACT_TRACE", "ftruncate", errnoRet=0xABCD))
    assert verdict(profile, MKDIR) == ERRNO | 55
    assert verdict(profile, FTRUNCATE) == ACTIONS["SCMP_ACT_TRACE"] | 0xABCD
    other = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 6, "syscalls": [rule("SCMP_ACT_ALLOW", "mkdir")]}
    assert verdict(other, MKDIR - 1) == ERRNO | 6


BIG = 0x1_0000_0064


@pytest.mark.parametrize(
    ("condition", "hits", "misses"),
    [
        (argument(1, "NE", 100), [99, 101, BIG], [100]),
        (argument(1, "LT", BIG), [0, BIG - 1], [BIG, 1 << 63]),
        (argument(1, "LE", BIG), [BIG], [BIG + 1]),
        (argument(1, "EQ", BIG), [BIG], [100, BIG + 1]),
        (argument(1, "GE", BIG), [BIG, 1 << 63], [BIG - 1, 0xFFFFFFFF]),
        (argument(1, "GT", BIG), [BIG + 1], [BIG]),
        (argument(1, "MASKED_EQ", 0xF0, 0x60), [0x60, 0xF6F], [0x70, 0]),
        (argument(1, "MASKED_EQ", 0xF0), [0x0F], [0x10]),
    ],
)
def test_conditions(condition: Any, hits: list[int], misses: list[int]) -> None:
    profile = allowing("SCMP_ACT_ERRNO", "ftruncate", args=[condition])
    assert [verdict(profile, FTRUNCATE, 7, value) for value in hits] == [EPERM] * len(hits)
    assert [verdict(profile, FTRUNCATE, 7, value) for value in misses] == [ALLOW] * len(misses)


def test_conditions_about_one_argument_are_rules_of_their_own() -> None:
    profile = allowing("SCMP_ACT_ERRNO", "ftruncate", args=[argument(0, "EQ", 1), argument(0, "EQ", 2)])
    assert [verdict(profile, FTRUNCATE, value) for value in (1, 2, 3)] == [EPERM, EPERM, ALLOW]
    profile = allowing("SCMP_ACT_ERRNO", "ftruncate", args=[argument(0, "EQ", 1), argument(1, "EQ", 2)])
    assert [verdict(profile, FTRUNCATE, *pair) for pair in ((1, 2), (1, 1), (2, 2))] == [EPERM, ALLOW, ALLOW]


def test_every_architecture_has_its_own_numbers() -> None:
    profile = allowing("SCMP_ACT_ERRNO", "mkdir", "mkdirat")
    assert verdict(profile, MKDIR_I386, arch=AUDIT_I386) == EPERM
    assert verdict(profile, MKDIR, arch=AUDIT_I386) == ALLOW
    assert verdict(profile, MKDIR | X32_BIT) == EPERM
    assert verdict(profile, MKDIRAT_ARM64, arch=AARCH64) == EPERM
    assert verdict(profile, MKDIR, arch=7) == ACTIONS["SCMP_ACT_KILL"]


def test_a_default_profile() -> None:
    profile: Any = {**default_profile(), "architectures": ARCHITECTURES}
    program = compiler.compile_filter(profile)
    assert len(ALLOWED) > 300
    assert evaluate(program, MKDIR) == ALLOW
    assert evaluate(program, LAST_ALLOWED) == ALLOW
    for arch, number in ((AUDIT_X86_64, 1000), (AUDIT_X86_64, X32_BIT | 1000), (AUDIT_I386, 1000), (AARCH64, 1000)):
        assert evaluate(program, number, arch=arch) == ENOSYS
    unshare = 272
    assert evaluate(program, unshare) == EPERM
    clone, new_user = 56, 0x10000000
    assert [evaluate(program, clone, flags) for flags in (0x11, new_user)] == [ALLOW, EPERM]


@pytest.mark.parametrize("action", ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"])
def test_no_enosys_where_the_default_lets_calls_through(action: str) -> None:
    profile = {"defaultAction": action, "syscalls": [rule("SCMP_ACT_KILL", "mkdir")]}
    assert verdict(profile, 1000) & 0xFFFF0000 == ACTIONS[action]


def test_rules_that_say_the_default_count_for_the_last_number_only() -> None:
    profile = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule("SCMP_ACT_ERRNO", "mkdir", "futex_waitv")]}
    assert verdict(profile, MKDIR) == EPERM
    assert verdict(profile, LAST_ALLOWED + 1) == ENOSYS


def test_names_that_nobody_knows_are_passed_over() -> None:
    assert verdict(allowing("SCMP_ACT_ERRNO", "no_such_call", "mkdir"), MKDIR) == EPERM


def refusal(profile: Any) -> PyruncError:
    with pytest.raises(PyruncError) as raised:
        compiler.compile_filter(profile)
    return raised.value


def test_what_libseccomp_refuses() -> None:
    profile = allowing("SCMP_ACT_ERRNO", "ftruncate", args=[argument(0, "EQ", 1)])
    profile["syscalls"].append(rule("SCMP_ACT_TRAP", "mkdir", "ftruncate", args=[argument(0, "EQ", 1)]))
    error = refusal(profile)
    assert error.message == "error adding seccomp rule for syscall ftruncate"
    assert (error.pointer, error.errno) == ("/linux/seccomp/syscalls/1/names/1", errno.EEXIST)
    error = refusal({**allowing("SCMP_ACT_ERRNO", "mkdir"), "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_MIPS"]})
    assert (error.pointer, error.errno) == ("/linux/seccomp/architectures/1", errno.EDOM)


def test_an_architecture_that_libseccomp_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "_token", lambda library, name: 0)
    error = refusal({**allowing("SCMP_ACT_ERRNO", "mkdir"), "architectures": ["SCMP_ARCH_SH"]})
    assert error.message == "string SCMP_ARCH_SH is not a valid arch for seccomp"
    assert compiler.version() in error.hint


def test_a_filter_that_the_kernel_would_not_take() -> None:
    many = [
        rule("SCMP_ACT_ERRNO", "ftruncate", args=[argument(0, "EQ", number), argument(1, "EQ", number)])
        for number in range(1200)
    ]
    error = refusal({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": many})
    assert "the kernel takes at most 4096" in error.message
    assert error.pointer == "/linux/seccomp/syscalls"


def test_without_libseccomp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyrunc._seccomp", None)
    monkeypatch.delattr("pyrunc._seccomp", raising=False)
    error = refusal(allowing("SCMP_ACT_ERRNO", "mkdir"))
    assert error.message.startswith("seccomp: config provided but seccomp not supported")
    assert "libseccomp2" in error.hint
    assert compiler.version() == ""


def test_compile_cached_fills_the_cache(tmp_path: Path) -> None:
    profile = default_profile()
    program = compiler.compile_cached(str(tmp_path), profile, (6, 1))
    assert cache.lookup(str(tmp_path), profile, (6, 1)) == program == compiler.compile_filter(profile)


def test_measure_tells_the_plan_the_filters_size() -> None:
    profile = default_profile()
    spec = with_linux(seccomp=profile)
    plan = compiled(spec)
    compiler.measure(plan, profile)
    assert plan.prepare[0].arg("instructions") == len(instructions(compiler.compile_filter(profile)))
    plain = compiled(with_linux())
    compiler.measure(plain, None)
    assert "compile_seccomp" not in [step.kind for step in plain.prepare]


def test_what_libseccomp_and_the_kernel_know() -> None:
    assert {"SCMP_ARCH_X86_64", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64"} <= set(compiler.known_architectures())
    flags = set(compiler.supported_flags())
    assert {"SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"} <= flags <= set(FLAGS)
    assert "libseccomp" in compiler.library_file()
    assert compiler.version().startswith("2.")


def test_a_flag_that_the_kernel_does_not_know_is_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FLAGS, "SECCOMP_FILTER_FLAG_TO_COME", 1 << 30)
    assert "SECCOMP_FILTER_FLAG_TO_COME" not in compiler.supported_flags()
