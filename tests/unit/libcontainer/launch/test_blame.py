"""launch/blame.py: the kernel's records of what a filter has ended a process for."""

from __future__ import annotations

import os
from typing import Any

import pytest

from pyrunc import log
from pyrunc.libcontainer.kernel import kmsg
from pyrunc.libcontainer.launch import blame, scene
from pyrunc.libcontainer.launch.scene import Scene
from pyrunc.libcontainer.plan.model import LaunchPlan, Step
from tests.support.host import open_descriptors

RECORD = (
    "5,819,15031739850,-;audit: type=1326 audit(1795814386.746:819): auid=4294967295 uid=0 gid=0 ses=4294967295 "
    'pid=10090 comm="mkdir" exe="/bin/busybox" sig=31 arch=c000003e syscall=83 compat=0 ip=0x47b567 code=0x80000000\n'
)
KILL: Any = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [
        {"names": ["chroot"], "action": "SCMP_ACT_ERRNO"},
        {"names": ["mkdir", "execve"], "action": "SCMP_ACT_KILL"},
        {"names": ["clone"], "action": "SCMP_ACT_KILL", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]},
    ],
}


def test_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyrunc._generated.syscalls.NAMES", {83: "mkdir"})
    assert blame.call_of(RECORD, 10090, "x86_64", 15031.0) == "mkdir"
    assert blame.call_of(RECORD.replace("syscall=83", "syscall=9999"), 10090, "x86_64", 15031.0) == "system call 9999"
    other = blame.call_of(RECORD, 10090, "aarch64", 15031.0)
    assert other == "system call 83 of architecture c000003e"
    assert blame.call_of(RECORD, 10090, "x86_64", 15032.0) == "", "an earlier process with the pid"


@pytest.mark.parametrize(
    ("words", "call", "pointer", "hint"),
    [
        (
            "arch=40000003 syscall=20",
            "system call 20 of SCMP_ARCH_X86",
            "/linux/seccomp",
            "pyrunc seccomp explain --profile config.json --arch SCMP_ARCH_X86 20 shows the rules about it",
        ),
        (
            "arch=c000003e syscall=1073741863",
            "system call 39 of SCMP_ARCH_X32",
            "/linux/seccomp/architectures",
            "the profile does not have SCMP_ARCH_X32: with it in architectures, the rules hold for such calls too",
        ),
        (
            "arch=c000003e syscall=1022",
            "system call 1022",
            "/linux/seccomp",
            "pyrunc seccomp explain --profile config.json 1022 shows the rules about it",
        ),
    ],
)
def test_calls_that_have_no_name_here(words: str, call: str, pointer: str, hint: str) -> None:
    record = RECORD.replace("arch=c000003e syscall=83", words)
    assert blame.call_of(record, 10090, "x86_64", 15031.0) == call
    profile: Any = {**KILL, "architectures": ["SCMP_ARCH_X86"]}
    error = blame.by_filter("", call, profile)
    assert (error.message, error.pointer, error.hint) == (
        f"the seccomp filter does not allow {call}", pointer, hint,
    )  # fmt: skip


@pytest.mark.parametrize(
    "record",
    [
        "",
        "5,819,1,-;something else\n",
        RECORD.replace("type=1326", "type=1300"),
        RECORD.replace("pid=10090", "pid=1009"),
        RECORD.replace("sig=31", "sig=0"),
        RECORD.replace("pid=10090", "pid=1").replace('comm="mkdir"', 'comm="pid=10090"'),
        RECORD.replace("audit: type=1326", "init: audit: type=1326"),
    ],
)
def test_other_records(record: str) -> None:
    assert blame.call_of(record, 10090, "x86_64", 15031.0) == ""


REFUSED = RECORD.replace("sig=31", "sig=0").replace("code=0x80000000", "code=0x50000")


def test_a_record_of_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyrunc._generated.syscalls.NAMES", {83: "mkdir"})
    assert blame.refused_of(REFUSED, 10090, "x86_64", 1795814386.7) == "mkdir"
    assert blame.call_of(REFUSED, 10090, "x86_64", 15031.0) == ""


@pytest.mark.parametrize(
    ("record", "since"),
    [
        ("", 0),
        (RECORD, 0),
        (REFUSED, 1795814386.8),
        (REFUSED.replace("0x50000", "0x7ffc0000"), 0),
        (REFUSED.replace("0x50000", "0x7fc00000"), 0),
        (REFUSED.replace("0x50000", "word"), 0),
        (REFUSED.replace("pid=10090", "pid=1009"), 0),
        (REFUSED.replace("audit(1795814386.746:819)", "audit"), 0),
        (REFUSED.replace("pid=10090", "pid=1").replace('comm="mkdir"', 'comm="pid=10090"'), 0),
    ],
)
def test_no_record_of_a_refusal(record: str, since: float) -> None:
    assert blame.refused_of(record, 10090, "x86_64", since) == ""


def test_refusals_are_told_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    records = [[REFUSED, REFUSED, REFUSED.replace("syscall=83", "syscall=56")], []]
    monkeypatch.setattr("pyrunc._generated.syscalls.NAMES", {83: "chroot", 56: "clone"})
    monkeypatch.setattr(log, "warning", told.append)
    monkeypatch.setattr(kmsg, "open_log", lambda: os.open("/dev/null", os.O_RDONLY))
    monkeypatch.setattr(kmsg, "records", lambda fd: records.pop(0) if records else [])
    monkeypatch.setattr("pyrunc.libcontainer.kernel.native.poll", lambda fds, patience: [])
    monkeypatch.setattr("time.time", lambda: 1795814387.0)
    monkeypatch.setattr("posix.uname", lambda: os.uname_result(("", "", "", "", "x86_64")))
    blame.log_refused(10090, KILL, 3, 0.1)
    assert [line.partition(" (at ")[::2] for line in told] == [
        (
            "before the program ended with exit code 3, the seccomp filter refused chroot",
            "/linux/seccomp/syscalls/0; SCMP_ACT_ERRNO: if the program needs chroot, the profile must allow it)",
        ),
        (
            "before the program ended with exit code 3, the seccomp filter refused clone",
            "/linux/seccomp; pyrunc seccomp explain --profile config.json clone shows the rules about it)",
        ),
    ]


def test_a_log_that_can_t_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kmsg, "_LOG", "/nowhere")
    assert blame.killed_for(1, 0) == ""
    assert blame.refused_to(1, 0) == []


def test_the_last_record_of_a_pid_counts_and_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """An earlier one is that of another process that had the pid."""
    waves = [[""], [RECORD, RECORD.replace("syscall=83", "syscall=56")], [RECORD]]
    monkeypatch.setattr("pyrunc._generated.syscalls.NAMES", {83: "mkdir", 56: "clone"})
    monkeypatch.setattr(kmsg, "open_log", lambda: os.open("/dev/null", os.O_RDONLY))
    monkeypatch.setattr(kmsg, "records", lambda fd: waves.pop(0))
    monkeypatch.setattr("pyrunc.libcontainer.kernel.native.poll", lambda fds, patience: fds)
    monkeypatch.setattr("posix.uname", lambda: os.uname_result(("", "", "", "", "x86_64")))
    assert blame.killed_for(10090, 0) == "clone"
    assert len(waves) == 1


def test_a_log_without_a_record() -> None:
    assert blame.killed_for(0, 0) == ""
    assert blame.refused_to(0, 0) == []


@pytest.mark.parametrize(
    ("call", "pointer", "hint"),
    [
        ("mkdir", "/linux/seccomp/syscalls/1", "SCMP_ACT_KILL: the profile must allow mkdir"),
        ("clone", "/linux/seccomp", "pyrunc seccomp explain --profile config.json clone shows the rules about it"),
        ("read", "/linux/seccomp", "pyrunc seccomp explain --profile config.json read shows the rules about it"),
    ],
)
def test_the_error(call: str, pointer: str, hint: str) -> None:
    error = blame.by_filter("before: ", call, KILL)
    assert (error.message, error.pointer, error.hint) == (
        f"before: the seccomp filter does not allow {call}", pointer, hint,
    )  # fmt: skip
    assert blame.by_filter("", call, None).pointer == "/linux/seccomp"


def test_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(log, "warning", told.append)
    monkeypatch.setattr(blame, "killed_for", lambda pid, start_time: "mkdir" if (pid, start_time) == (5, 6) else "")
    blame.log_killed(5, 6, KILL)
    assert told[0].startswith("the program was killed by signal 31: the seccomp filter does not allow mkdir (at /linux")


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        (
            KILL,
            "(at /linux/seccomp/syscalls/1; SCMP_ACT_KILL: the kernel's log has nothing about this process; one that",
        ),
        ({"defaultAction": "SCMP_ACT_TRAP"}, "(at /linux/seccomp/defaultAction; SCMP_ACT_TRAP: the kernel's log has"),
        (
            {"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X32"], "syscalls": KILL["syscalls"][:1]},
            "(at /linux/seccomp/architectures; calls of SCMP_ARCH_X86, which the profile does not have, end a process: "
            "the kernel's log has nothing",
        ),
        ({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}, ""),
        (None, ""),
    ],
)
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the architectures are those of x86-64")
@pytest.mark.parametrize("readable", [True, False])
def test_a_sigsys_without_a_record_is_told_without_the_call(
    monkeypatch: pytest.MonkeyPatch, profile: Any, expected: str, readable: bool
) -> None:
    told: list[str] = []
    monkeypatch.setattr(log, "warning", told.append)
    monkeypatch.setattr(kmsg, "open_log", lambda: os.open("/dev/null", os.O_RDONLY) if readable else -1)
    monkeypatch.setattr(kmsg, "records", lambda fd: iter(()))
    before = open_descriptors()
    blame.log_killed(5, 6, profile)
    assert open_descriptors() == before
    assert len(told) == bool(expected)
    if expected:
        start = "the program's exit code is 159, that of signal 31 (SIGSYS), by which a seccomp filter ends a process; "
        assert told[0].startswith(start + "the system call is not known (at /linux/seccomp/")
        assert (expected in told[0]) is readable
        assert ("has the pids of another namespace" in told[0]) is not readable


@pytest.mark.parametrize(
    ("rule", "error", "pointer"),
    [
        ({"names": ["capset"], "action": "SCMP_ACT_ERRNO"}, 1, "/linux/seccomp/syscalls/0"),
        ({"names": ["capset"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}, 38, "/linux/seccomp/syscalls/0"),
        ({"names": ["capset"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}, 1, ""),
        ({"names": ["capset"], "action": "SCMP_ACT_KILL"}, 1, ""),
        ({"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}, 1, ""),
    ],
)
@pytest.mark.parametrize("is_before", [False, True])
def test_a_step_after_the_load_that_the_filter_refuses(rule: Any, error: int, pointer: str, is_before: bool) -> None:
    load, drop = Step("start", "seccomp", (0, 0), "/linux/seccomp"), Step("start", "capabilities", (0, 0, 0), "/c")
    plan = LaunchPlan.__new__(LaunchPlan)
    plan.init = (drop, load) if is_before else (load, drop)
    profile: Any = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    found = scene.of_filter(drop, error, Scene(None, "", "", "/", profile, plan))
    assert (found.pointer if found else "") == ("" if is_before else pointer)
    assert os.strerror(error)
