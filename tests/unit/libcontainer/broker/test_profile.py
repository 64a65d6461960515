"""broker/profile.py: what the printed filter asks, allows and refuses, by the filter itself."""

from __future__ import annotations

import errno
import platform
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.broker import config, profile
from pyrunc.libcontainer.seccomp import compiler, decide
from tests.support.seccomp import default_profile

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the test profile is that of x86-64")

CHR, FIFO, BLK = 0o020000, 0o010000, 0o060000
FASTOPEN = 0x20000000
ASK, ALLOW = "SCMP_ACT_NOTIFY", "SCMP_ACT_ALLOW"
MEMBERS: dict[str, Any] = {
    "mknod": {}, "mount": {"types": ["tmpfs"], "targets": ["/mnt"]}, "sysinfo": {}, "connect": {}, "bind": {},
}  # fmt: skip


def made(base: Any = None, **members: Any) -> Any:
    policy = config.policies({"policies": {"default": members}})["default"]
    return profile.make(policy, "/run/broker.sock", base)


def action(found: Any, call: str, *arguments: int) -> str:
    return decide.decide(found, call, arguments).action


@pytest.mark.parametrize("base", [None, default_profile()], ids=["open", "engine"])
def test_what_is_asked_and_what_not(base: Any) -> None:
    found = made(base, **MEMBERS)
    assert found["listenerPath"] == "/run/broker.sock"
    for call in ("mount", "sysinfo", "connect", "bind"):
        assert action(found, call) == ASK
    assert action(found, "mknod", 0, CHR | 0o666) == action(found, "mknodat", 0, 0, CHR) == ASK
    assert action(found, "mknod", 0, FIFO) == action(found, "mknodat", 0, 0, FIFO | 0o600) == ALLOW
    assert action(found, "mknod", 0, BLK) == ALLOW  # the kernel asks for the capability
    for call in ("read", "openat", "futex"):
        assert action(found, call) == ALLOW


@pytest.mark.parametrize("default", [ALLOW, "SCMP_ACT_LOG"])
@pytest.mark.parametrize("rule", [ALLOW, "SCMP_ACT_LOG", "SCMP_ACT_TRACE"])
@pytest.mark.parametrize("has_condition", [False, True])
def test_rules_of_an_open_base_open_no_other_way(default: str, rule: str, has_condition: bool) -> None:
    """A base that logs what it does not name, or what it names."""
    calls = ["socket", "socketpair", "sendto", "sendmsg", "io_uring_setup", "fsopen", "mount", "connect", "read"]
    rules: Any = [{"names": calls, "action": rule}]
    if has_condition:
        rules[0]["args"] = [{"index": 0, "value": 3, "op": "SCMP_CMP_NE"}]
    found = made({"defaultAction": default, "syscalls": rules}, **MEMBERS)
    refused = (
        ("socket", 17, 3), ("socket", 2, 2), ("socket", 2, 1, 132), ("socket", 1, 2), ("socketpair", 30),
        ("sendto", 0, 0, 0, 0x20000000), ("sendmsg", 0, 0, 0x20000000), ("io_uring_setup",), ("fsopen",),
    )  # fmt: skip
    for call, *arguments in refused:
        assert action(found, call, *arguments).startswith("SCMP_ACT_ERRNO"), (call, arguments)
    assert action(found, "socket", 2, 1).partition(" ")[0] == default
    assert action(found, "read").partition(" ")[0] == rule
    assert action(found, "connect") == action(found, "mount") == ASK


def test_a_base_whose_tracer_decides() -> None:
    with pytest.raises(PyruncError, match="default SCMP_ACT_TRACE") as caught:
        made({"defaultAction": "SCMP_ACT_TRACE"}, **MEMBERS)
    assert caught.value.pointer == "/linux/seccomp/defaultAction"


I386, SOCKETCALL = 0x40000003, 102


@pytest.mark.parametrize("base", [None, default_profile()], ids=["open", "engine"])
@pytest.mark.parametrize("call", ["connect", "bind"])
def test_sockets_by_the_32_bit_entry(base: Any, call: str) -> None:
    """socketcall(2), whose arguments no filter sees, of any program (int 0x80)."""
    program = compiler.compile_filter(made(base, **{call: {"datagrams": False} if call == "connect" else {}}))
    for number in range(1, 21):  # SYS_SOCKET to SYS_SENDMMSG
        word = decide.evaluate(program, SOCKETCALL, [number, 0x1000, 0, 0, 0, 0], I386)
        assert decide.describe(word) == "SCMP_ACT_ERRNO (ENOSYS)"
    refusing = {**default_profile(), "defaultErrnoRet": errno.ENOSYS}
    program = compiler.compile_filter(made(refusing, **{call: {}}))
    word = decide.evaluate(program, SOCKETCALL, [3, 0x1000, 0, 0, 0, 0], I386)
    assert decide.describe(word).startswith("SCMP_ACT_ERRNO")


@pytest.mark.parametrize("base", [None, default_profile()], ids=["open", "engine"])
def test_pairs_of_sockets(base: Any) -> None:
    found = made(base, connect={})
    assert action(found, "socketpair", 1, 1, 0) == ALLOW
    assert action(found, "socketpair", 30, 5, 0).startswith("SCMP_ACT_ERRNO")


@pytest.mark.parametrize("base", [None, default_profile()], ids=["open", "engine"])
@pytest.mark.parametrize("datagrams", [False, True])
def test_the_other_ways(base: Any, datagrams: bool) -> None:
    found = made(base, **{**MEMBERS, "connect": {"datagrams": datagrams}})
    for call in ("fsopen", "move_mount", "open_tree", "mount_setattr"):
        assert action(found, call) == "SCMP_ACT_ERRNO (ENOSYS)"
    assert action(found, "io_uring_setup").startswith("SCMP_ACT_ERRNO")
    for call, index in (("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3)):
        assert action(found, call) == ALLOW
        assert action(found, call, *[0] * index, FASTOPEN).startswith("SCMP_ACT_ERRNO")
    assert action(found, "socket", 16, 2) == ALLOW
    for family in (2, 10):
        assert action(found, "socket", family, 1 | 0x80800) == ALLOW
        assert (action(found, "socket", family, 2 | 0x80000) == ALLOW) is datagrams
        assert action(found, "socket", family, 3).startswith("SCMP_ACT_ERRNO") or (datagrams and base is None)
        for protocol in (132, 1 << 32 | 132):  # the kernel takes an int
            assert action(found, "socket", family, 1, protocol).startswith("SCMP_ACT_ERRNO")
        assert action(found, "socket", family, 5).startswith("SCMP_ACT_ERRNO")  # SCTP by its type
        assert action(found, "socket", family, 1, 6) == action(found, "socket", family, 1, 262) == ALLOW
    for family in (3, 9, 11, 17, 21, 30, 33, 40, 44):
        assert action(found, "socket", family, 1).startswith("SCMP_ACT_ERRNO")


@pytest.mark.parametrize("base", [None, default_profile()], ids=["open", "engine"])
@pytest.mark.parametrize("datagrams", [False, True])
def test_datagrams_of_unix(base: Any, datagrams: bool) -> None:
    """They send to a path or a name without connect(2). SOCK_RAW is one too, and so is each of a pair."""
    found = made(base, connect={"unixDatagrams": datagrams, "datagrams": not datagrams})
    for call in ("socket", "socketpair"):
        for kind in (1, 5):
            assert action(found, call, 1, kind) == action(found, call, 1, kind | 0x80800) == ALLOW
        for kind in (2, 3, 2 | 0x80800, 1 << 32 | 2):
            assert (action(found, call, 1, kind) == ALLOW) is datagrams
        assert action(found, call, 1 << 32 | 1, 2).startswith("SCMP_ACT_ERRNO")  # the kernel takes an int


def test_only_what_the_policy_has() -> None:
    found = made(default_profile(), sysinfo={})
    assert action(found, "sysinfo") == ASK
    assert action(found, "connect") == action(found, "io_uring_setup") == ALLOW
    assert action(found, "mount") == action(found, "fsopen") == "SCMP_ACT_ERRNO (EPERM)"
    assert action(found, "mknod", 0, CHR) == ALLOW


def test_what_the_base_refuses_stays_refused() -> None:
    base = default_profile()
    base["syscalls"][0]["names"].remove("mknod")
    base["syscalls"][0]["names"].remove("sendmmsg")
    found = made(base, **MEMBERS)
    assert action(found, "mknod", 0, FIFO) == action(found, "sendmmsg") == "SCMP_ACT_ERRNO (EPERM)"
    assert action(found, "mknodat", 0, 0, FIFO) == ALLOW


def test_a_base_that_lacks_what_the_init_calls() -> None:
    """As those of `seccomp record` do: without a listener the filter is loaded later."""
    base: Any = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            {"names": ["read"], "action": ALLOW},
            {"names": ["umask"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EPERM},
        ],
    }
    found = made(base, sysinfo={})
    assert [action(found, name) for name in ("read", "sendmsg", "recvmsg", "accept4")] == [ALLOW] * 4
    assert action(found, "umask") == action(found, "chroot") == "SCMP_ACT_ERRNO (EPERM)"
    assert len(base["syscalls"]) == 2


def test_a_rule_of_an_open_base_for_a_brokered_call_is_replaced() -> None:
    base: Any = {
        "defaultAction": ALLOW,
        "syscalls": [{"names": ["mount", "chroot"], "action": "SCMP_ACT_ERRNO"}],
    }
    found = made(base, mount=MEMBERS["mount"])
    assert action(found, "mount") == ASK
    assert action(found, "chroot") == "SCMP_ACT_ERRNO (EPERM)"
    assert base["syscalls"][0]["names"] == ["mount", "chroot"]


def test_flags_and_metadata() -> None:
    found = made(None, sysinfo={})
    assert found["flags"] == ["SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]
    assert "listenerMetadata" not in found
    policy = config.policies({"policies": {"web": {"sysinfo": {}}}})["web"]
    assert "flags" not in profile.make(policy, "/s", flags=False)
    assert profile.make(policy, "/s")["listenerMetadata"] == "web"


def test_a_profile_with_another_agent() -> None:
    with pytest.raises(PyruncError) as caught:
        made({"defaultAction": ALLOW, "listenerPath": "/x"}, sysinfo={})
    assert caught.value.pointer == "/linux/seccomp/listenerPath"


def test_an_errno_of_the_base_is_no_errno_of_ours() -> None:
    found = made(None, **MEMBERS)
    codes = {rule.get("errnoRet") for rule in found["syscalls"] if rule["action"] == "SCMP_ACT_ERRNO"}
    assert errno.ENOSYS in codes
    assert None not in codes
