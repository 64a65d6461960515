from __future__ import annotations

from typing import Any

import pytest

from pyrunc.libcontainer.seccomp.checks import check_seccomp
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
        default_profile(), NOTIFYING, allowing("SCMP_ACT_ERRNO", "write", errnoRet=4095),
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
            allowing("SCMP_ACT_ERRNO", "mkdir", errnoRet=4096),
            "syscalls/0/errnoRet",
            "errnoRet must be at most 4095 with SCMP_ACT_ERRNO, not 4096",
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


def test_the_spec_s_checks_ask_them() -> None:
    spec = full_config()
    spec["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_NOTIFY"}
    at = [problem.pointer for problem in checks.check(spec)]
    assert "/linux/seccomp/defaultAction" in at
    # A profile that the schema refuses is not checked.
    spec["linux"]["seccomp"] = {"syscalls": [{}]}
    checks.check(spec, ["/linux/seccomp/defaultAction"])
