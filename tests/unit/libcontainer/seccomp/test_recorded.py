"""Profiles out of counts, and the rules that refusals come from."""

from __future__ import annotations

import errno
import platform
from typing import Any

import pytest

from pyrunc.libcontainer.seccomp import compiler, decide, recorded
from pyrunc.libcontainer.seccomp.counter import NUMBERS, VALUES, Counts
from tests.support import seccomp as support

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the numbers of system calls are those of x86-64"
)

READ, WRITE, IOCTL, SOCKET, CLONE, MKDIR, CHROOT = 0, 1, 16, 41, 56, 83, 161


def test_a_profile_allows_what_was_made_and_nothing_else() -> None:
    profile = recorded.profile(Counts({WRITE: 5, MKDIR: 1, 1000: 3}), ("execve",))
    assert profile["syscalls"] == [{"names": ["execve", "mkdir", "write"], "action": "SCMP_ACT_ALLOW"}]
    for call in ("execve", "mkdir", "write"):
        assert decide.decide(profile, call, ()).action == "SCMP_ACT_ALLOW"
    assert decide.decide(profile, "socket", ()).action == "SCMP_ACT_ERRNO (EPERM)"
    # The largest number in the profile is that of mkdir: what is above it counts as newer than the profile.
    assert decide.decide(profile, "chroot", ()).action == "SCMP_ACT_ERRNO (ENOSYS)"


GETPID_X86, IOCTL_X86, SOCKET_X86 = NUMBERS + 20, NUMBERS + 54, NUMBERS + 359


def test_32_bit_calls_bring_their_architecture() -> None:
    counts = Counts({WRITE: 1, GETPID_X86: 2, SOCKET_X86: 1}, values={(SOCKET_X86, 1): 1, (SOCKET, 2): 1})
    assert recorded.calls(counts) == {"write": 1, "getpid": 2, "socket": 1}
    profile = recorded.profile(counts, with_arguments=True)
    assert profile.get("architectures") == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    for architecture in ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86"):
        found = [decide.decide(profile, "socket", (family,), architecture).action for family in (1, 2, 3)]
        assert found == ["SCMP_ACT_ALLOW", "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO (EPERM)"]
    assert recorded.profile(Counts({WRITE: 1})).get("architectures") == ["SCMP_ARCH_X86_64"]


def test_the_arguments_that_are_recorded() -> None:
    found = recorded.argument_numbers()
    assert (found[IOCTL], found[IOCTL_X86], found[SOCKET_X86]) == (1, 1, 0)
    assert len(found) == 8


def test_refusals_of_32_bit_calls() -> None:
    profile: Any = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86"],
        "syscalls": [support.rule("SCMP_ACT_ALLOW", "getpid")],
    }
    counts = Counts(refused={(SOCKET_X86, errno.ENOSYS): 1, (NUMBERS + 11, 1): 2})
    assert recorded.refusals(counts, profile) == [
        recorded.Refusal("execve", 2, 1, "/linux/seccomp/defaultAction"),
        recorded.Refusal("socket", 1, errno.ENOSYS, "/linux/seccomp/syscalls"),
    ]


def test_arguments_become_conditions() -> None:
    values = {(IOCTL, 0x5401): 2, (CLONE, 0x11): 1, (CLONE, 0x1200011): 1, (SOCKET, 1): 1}
    counts = Counts({IOCTL: 2, CLONE: 2, SOCKET: 1, READ: 1}, values=values)
    profile = recorded.profile(counts, with_arguments=True)
    assert decide.decide(profile, "ioctl", (0, 0x5401)).action == "SCMP_ACT_ALLOW"
    assert decide.decide(profile, "ioctl", (0, 0x5402)).action != "SCMP_ACT_ALLOW"
    assert decide.decide(profile, "clone", (0x3D0F00,)).action == "SCMP_ACT_ALLOW"  # no new namespace
    assert decide.decide(profile, "clone", (0x10000000,)).action != "SCMP_ACT_ALLOW"
    assert decide.decide(profile, "socket", (2,)).action != "SCMP_ACT_ALLOW"
    assert sum(rule["names"] == ["clone"] for rule in profile.get("syscalls", ())) == 1
    assert recorded.profile(counts)["syscalls"] == [
        {"names": ["clone", "ioctl", "read", "socket"], "action": "SCMP_ACT_ALLOW"}
    ]


def test_too_many_values_are_no_condition() -> None:
    counts = Counts({IOCTL: 99}, values={(IOCTL, value): 1 for value in range(99)})
    assert recorded.profile(counts, with_arguments=True)["syscalls"] == [
        {"names": ["ioctl"], "action": "SCMP_ACT_ALLOW"}
    ]


def test_there_are_no_conditions_if_values_may_have_been_missed() -> None:
    values = {(SOCKET, 1): 1, **{(IOCTL, value): 1 for value in range(VALUES - 1)}}
    counts = Counts({IOCTL: VALUES, SOCKET: 2}, values=values)
    assert recorded.profile(counts, with_arguments=True)["syscalls"] == [
        {"names": ["ioctl", "socket"], "action": "SCMP_ACT_ALLOW"}
    ]


def test_a_call_that_the_runtime_needs_too_has_no_condition() -> None:
    counts = Counts({IOCTL: 1}, values={(IOCTL, 5): 1})
    assert len(recorded.profile(counts, ("ioctl",), with_arguments=True).get("syscalls", ())) == 1


def test_the_difference_of_two_profiles() -> None:
    old = recorded.profile(Counts({READ: 1, MKDIR: 1}))
    new = recorded.profile(Counts({READ: 1, WRITE: 1}))
    assert recorded.difference(old, new) == ["- mkdir", "+ write"]
    assert recorded.difference(new, new) == []


def test_refusals_name_the_rule() -> None:
    profile: Any = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [support.rule("SCMP_ACT_ALLOW", "read"), support.rule("SCMP_ACT_ERRNO", "chroot", errnoRet=13)],
    }
    counts = Counts(refused={(CHROOT, 13): 2, (MKDIR, 1): 7, (1000, errno.ENOSYS): 1, (READ, 5): 1, (CLONE, 0): 4})
    assert recorded.refusals(counts, profile) == [
        recorded.Refusal("mkdir", 7, 1, "/linux/seccomp/defaultAction"),
        recorded.Refusal("chroot", 2, 13, "/linux/seccomp/syscalls/1"),
        recorded.Refusal("1000", 1, errno.ENOSYS, "/linux/seccomp/syscalls"),
        recorded.Refusal("read", 1, 5, ""),
    ]
    assert [refusal.rule for refusal in recorded.refusals(counts, None)] == ["", "", "", ""]


@pytest.mark.parametrize(
    ("action", "code", "found"),
    [
        ("SCMP_ACT_NOTIFY", errno.ENOMEDIUM, True),
        ("SCMP_ACT_NOTIFY", 0, True),
        ("SCMP_ACT_TRACE", errno.ENOSYS, True),
        ("SCMP_ACT_TRAP", 0, True),
        ("SCMP_ACT_KILL_PROCESS", 0, True),
        ("SCMP_ACT_KILL_PROCESS", errno.EPERM, False),
        ("SCMP_ACT_LOG", 0, False),
    ],
)
@pytest.mark.parametrize("is_default", [False, True])
def test_refusals_by_other_actions(action: str, code: int, found: bool, is_default: bool) -> None:
    """An agent and a tracer may give any errno, and a signal has none."""
    profile: Any = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [support.rule(action, "mkdir")]}
    if is_default:
        profile = {"defaultAction": action, "syscalls": [support.rule("SCMP_ACT_ALLOW", "read")]}
        if code == errno.ENOSYS:
            profile["syscalls"].append(support.rule("SCMP_ACT_ALLOW", "openat2"))  # newer: else it is the stub's
    pointer = "/linux/seccomp/defaultAction" if is_default else "/linux/seccomp/syscalls/0"
    [refusal] = recorded.refusals(Counts(refused={(MKDIR, code): 1}), profile)
    assert refusal.rule == (pointer if found else "")


def test_the_kernels_own_refusals() -> None:
    counts = Counts(failed={(CHROOT, 1): 2})
    assert recorded.failures(counts) == [recorded.Refusal("chroot", 2, 1, "")]
    assert recorded.refusals(counts, None) == []


def test_the_calls_of_the_runtime_exist() -> None:
    token = compiler.architecture("")
    assert [call for call in recorded.RUNTIME_CALLS if compiler.find_number(call, token) < 0] == []
    assert list(recorded.RUNTIME_CALLS) == sorted(set(recorded.RUNTIME_CALLS))
