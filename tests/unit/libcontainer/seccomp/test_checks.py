from __future__ import annotations

import platform
from typing import Any

import pytest

from pyrunc.libcontainer.seccomp import decide
from pyrunc.libcontainer.seccomp.checks import check_seccomp, refusal
from pyrunc.libcontainer.spec import checks
from tests.support.full_config import full_config
from tests.support.seccomp import allowing, default_profile, rule

NOTIFYING = {**allowing("SCMP_ACT_NOTIFY", "mkdir"), "listenerPath": "/agent.sock"}


def found(profile: Any) -> list[tuple[str, str]]:
    errors: list[tuple[str, str]] = []
    check_seccomp(profile, lambda pointer, message, hint: errors.append((pointer, message)))
    return errors


@pytest.mark.parametrize(
    "profile",
    [
        default_profile(), NOTIFYING, allowing("SCMP_ACT_ERRNO", "write", errnoRet=4094),
        allowing("SCMP_ACT_TRACE", "write", errnoRet=65535), {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 0},
        {**NOTIFYING, "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}, {"defaultAction": "SCMP_ACT_KILL"},
        full_config()["linux"]["seccomp"],
    ],
)  # fmt: skip
def test_good_profiles(profile: Any) -> None:
    assert found(profile) == []


@pytest.mark.parametrize(
    ("profile", "pointer", "message"),
    [
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, "defaultAction", "SCMP_ACT_NOTIFY cannot be used as default action"),
        (
            {**NOTIFYING, "syscalls": [rule("SCMP_ACT_LOG", "write"), rule("SCMP_ACT_NOTIFY", "mkdir", "write")]},
            "syscalls/1/names/1",
            "SCMP_ACT_NOTIFY cannot be used for the write syscall",
        ),
        (allowing("SCMP_ACT_NOTIFY", "mkdir"), "listenerPath", "seccomp listenerPath is not set"),
        ({**NOTIFYING, "listenerPath": ""}, "listenerPath", "seccomp listenerPath is not set"),
        (
            {"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"},
            "listenerMetadata",
            "listenerMetadata is set, but there is no listenerPath to send it to",
        ),
        (
            {"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1},
            "defaultErrnoRet",
            "defaultErrnoRet is set, but SCMP_ACT_ALLOW takes none: SCMP_ACT_ERRNO and SCMP_ACT_TRACE do",
        ),
        (
            allowing("SCMP_ACT_KILL_PROCESS", "mkdir", errnoRet=0),
            "syscalls/0/errnoRet",
            "errnoRet is set, but SCMP_ACT_KILL_PROCESS takes none: SCMP_ACT_ERRNO and SCMP_ACT_TRACE do",
        ),
        (
            allowing("SCMP_ACT_ERRNO", "mkdir", errnoRet=4095),
            "syscalls/0/errnoRet",
            "errnoRet must be at most 4094 with SCMP_ACT_ERRNO, not 4095",
        ),
        (
            {"defaultAction": "SCMP_ACT_TRACE", "defaultErrnoRet": 65536},
            "defaultErrnoRet",
            "defaultErrnoRet must be at most 65535 with SCMP_ACT_TRACE, not 65536",
        ),
        (
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
            },
            "flags/1",
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV says nothing without SCMP_ACT_NOTIFY, and the kernel refuses it",
        ),
    ],
)
def test_contradictions(profile: Any, pointer: str, message: str) -> None:
    assert found(profile) == [("/linux/seccomp/" + pointer, message)]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers of system calls are those of x86-64")
@pytest.mark.parametrize("default", ["ALLOW", "ERRNO", "KILL", "LOG"])
@pytest.mark.parametrize("first", ["ALLOW", "ERRNO", "KILL", "KILL_THREAD", "LOG"])
@pytest.mark.parametrize("second", ["ALLOW", "ERRNO", "KILL_PROCESS", "TRACE"])
def test_of_two_rules_about_a_call_the_one_counts_that_is_the_filters(default: str, first: str, second: str) -> None:
    profile: Any = {
        "defaultAction": f"SCMP_ACT_{default}",
        "syscalls": [
            rule(f"SCMP_ACT_{first}", "mkdir"), rule(f"SCMP_ACT_{second}", "mkdir"), rule("SCMP_ACT_ALLOW", "openat2"),
        ],
    }  # fmt: skip
    decision, found = decide.decide(profile, "mkdir", ()), refusal(profile, "mkdir")
    if found is None:
        assert decision.action.partition(" ")[0] in ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE")
    else:
        assert (found.pointer, found.action in ("SCMP_ACT_KILL", decision.action.partition(" ")[0])) == (
            decision.rule, True,
        )  # fmt: skip


def test_the_spec_s_checks_ask_them() -> None:
    spec = full_config()
    spec["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_NOTIFY"}
    at = [problem.pointer for problem in checks.check(spec)]
    assert "/linux/seccomp/defaultAction" in at
    # A profile that the schema refuses is not checked.
    spec["linux"]["seccomp"] = {"syscalls": [{}]}
    checks.check(spec, ["/linux/seccomp/defaultAction"])
