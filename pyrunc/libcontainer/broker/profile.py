"""The linux.seccomp that sends a container's calls to the broker. Pure except for libseccomp.

A filter sees registers only, so it also closes the other ways to the same effect: the new mount calls get ENOSYS
(programs then use mount(2)), and for `connect` the sockets that send without connecting, TCP Fast Open and io_uring are
refused.
"""

from __future__ import annotations

import errno
import socket
import stat
from typing import TYPE_CHECKING, Any

from ...errors import PyruncError
from ..seccomp import compiler, decide, recorded
from .calls import NAMES
from .config import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..._generated.spec_types import Seccomp, SeccompArg, SeccompRule
    from .config import Policy

_ALLOW, _ERRNO, _NOTIFY = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_NOTIFY"
# The default of `flags`, as with other runtimes. A filter with an agent needs one more: a signal must not interrupt a
# call that the broker has carried out.
_FLAGS = ["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]
_OPEN = (_ALLOW, "SCMP_ACT_LOG")
_TRACE = "SCMP_ACT_TRACE"
# What is not a refusal, whoever decides.
_LETTING = (*_OPEN, _TRACE, _NOTIFY)
_NEW_MOUNT_CALLS = ("fsopen", "fspick", "fsmount", "move_mount", "open_tree", "open_tree_attr", "mount_setattr")
_IO_URING = ("io_uring_setup", "io_uring_enter", "io_uring_register")
_TYPES = (0, stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFBLK)
_TYPE_MASK = 0o170000
# sendto(2) and similar calls: the argument with the flags.
_SENDING = {"sendto": 3, "sendmsg": 2, "sendmmsg": 3}
# All calls of sockets in one, on x86 with 32 bits: its arguments are in memory. A 64-bit program can make it too
# (int 0x80). C libraries have made the calls themselves since 2015.
_SOCKETCALL = "socketcall"
_MSG_FASTOPEN = 0x20000000
# socket(2): the type without its flags.
_SOCKET_TYPE = 0xF
_INTERNET = (socket.AF_INET, socket.AF_INET6)
_SCTP = 132
# The protocols of streams and datagrams beside it: the default, TCP and Multipath TCP; UDP, ICMP's ping and UDP-Lite.
_PROTOCOLS = {1: (0, 6, 262), 2: (0, 17, 1, 58, 136)}
# The kernel takes an int of a register; a condition without this mask compares all of it.
_INT = 0xFFFFFFFF
# Families below AF_NETLINK that are neither AF_UNIX nor the internet's; those above it are refused as well.
_OTHER_FAMILIES = (*range(3, 10), *range(11, 16))
# Of AF_UNIX: what sends to a path or a name without connect(2), also one of a pair. The kernel takes SOCK_RAW for it.
_UNIX_DATAGRAMS = (2, 3)
_UNIX_STREAMS = (1, 5)
# The types beside streams, datagrams and raw sockets: the default protocol of SOCK_SEQPACKET is SCTP.
_NEITHER = (4, 5, 6, 10)


def make(policy: Policy, listener: str, base: Seccomp | None = None, flags: bool = True) -> Seccomp:
    """A linux.seccomp for a policy. listener: the broker's socket. base: the profile that it is added to; without one,
    everything else is allowed. flags: whether to add one. Raises PyruncError for a base that asks another agent or a
    tracer."""
    base = base or compiler.open_profile()
    if base.get("listenerPath"):
        raise PyruncError("the profile has a listenerPath already", pointer="/linux/seccomp/listenerPath")
    if base["defaultAction"] == _TRACE:
        # Any process of the container that traces another one is such a tracer (PTRACE_O_TRACESECCOMP, ptrace(2)).
        hint = "a process of the container may be the tracer, and allow everything"
        raise PyruncError(f"the profile has the default {_TRACE}", pointer="/linux/seccomp/defaultAction", hint=hint)
    names = [name for call in policy.calls() for name in NAMES[call]]
    closed: set[str] = set()
    if base["defaultAction"] in _OPEN:
        rules, replaced = _refusing(policy), {*names}
        # A rule that lets such a call go, as it is or to the log, would come first.
        closed = {name for rule in rules for name in rule["names"]}
    else:
        base = _with_the_init_s(base)
        rules, replaced = _allowing(policy, base), {*names, *_IO_URING, *_NEW_MOUNT_CALLS}
        replaced |= {*_SENDING, "socket", "socketpair"} if policy.connect else set()
        if not policy.mount:
            replaced -= {*_NEW_MOUNT_CALLS}
        if not (policy.connect or policy.bind):
            replaced -= {*_IO_URING}
    if policy.connect or policy.bind:
        replaced.add(_SOCKETCALL)
        default = base.get("defaultErrnoRet", errno.EPERM)
        rules.append(_rule(_ERRNO, _SOCKETCALL, code=errno.ENOSYS if default != errno.ENOSYS else errno.EPERM))
    plain = [name for name in names if name not in ("mknod", "mknodat")]
    asked = [_rule(_NOTIFY, *plain)] if plain else []
    if policy.mknod:
        asked += [_rule(_NOTIFY, name, _type_is(name, stat.S_IFCHR)) for name in NAMES["mknod"]]
    kept = [
        _without(rule, replaced | closed if rule["action"] in _LETTING else replaced)
        for rule in base.get("syscalls") or ()
    ]
    made: Seccomp = {
        **base,
        "listenerPath": listener,
        "syscalls": [*[rule for rule in kept if rule["names"]], *asked, *rules],
    }
    if flags:
        made["flags"] = [*(base.get("flags") or _FLAGS), "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]
    if policy.name != DEFAULT:
        made["listenerMetadata"] = policy.name
    return made


def _with_the_init_s(base: Seccomp) -> Seccomp:
    """A profile that refuses what it does not name, with the calls that the init makes under it. A filter with a
    listener is loaded before the init is ready, so it needs more of them than a filter without one."""
    rules = base.get("syscalls") or []
    named = {name for rule in rules for name in rule["names"]}
    missing = [name for name in recorded.RUNTIME_CALLS if name not in named]
    return {**base, "syscalls": [*rules, _rule(_ALLOW, *missing)]} if missing else base


def _rule(action: Any, *names: str | SeccompArg, code: int = 0) -> SeccompRule:
    """A rule: names of calls, and the conditions behind them."""
    rule: SeccompRule = {"names": [name for name in names if isinstance(name, str)], "action": action}
    conditions = [each for each in names if not isinstance(each, str)]
    if conditions:
        rule["args"] = conditions
    if code:
        rule["errnoRet"] = code
    return rule


def _is(index: int, value: int) -> SeccompArg:
    return {"index": index, "value": value, "op": "SCMP_CMP_EQ"}


def _masked(index: int, mask: int, value: int) -> SeccompArg:
    return {"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}


def _type_is(name: str, kind: int) -> SeccompArg:
    return _masked(2 if name == "mknodat" else 1, _TYPE_MASK, kind)


def _without(rule: SeccompRule, names: set[str]) -> SeccompRule:
    return {**rule, "names": [name for name in rule["names"] if name not in names]}


def _refusing(policy: Policy) -> list[SeccompRule]:
    """The rules that are added to a profile with a default action that allows."""
    rules = []
    if policy.mount:
        rules.append(_rule(_ERRNO, *_NEW_MOUNT_CALLS, code=errno.ENOSYS))
    if policy.connect or policy.bind:
        rules.append(_rule(_ERRNO, *_IO_URING, code=errno.EPERM))
    if not policy.connect:
        return rules
    for name, index in _SENDING.items():
        condition = _masked(index, _MSG_FASTOPEN, _MSG_FASTOPEN)
        rules.append(_rule(_ERRNO, name, condition, code=errno.EOPNOTSUPP))
    above: SeccompArg = {"index": 0, "value": socket.AF_NETLINK, "op": "SCMP_CMP_GT"}
    for condition in (above, *[_is(0, family) for family in _OTHER_FAMILIES]):
        rules.append(_rule(_ERRNO, "socket", condition, code=errno.EAFNOSUPPORT))
    rules.append(_rule(_ERRNO, "socket", _masked(2, _INT, _SCTP), code=errno.EPROTONOSUPPORT))
    no_unix: SeccompArg = {"index": 0, "value": socket.AF_UNIX, "op": "SCMP_CMP_NE"}  # TIPC has pairs too
    rules.append(_rule(_ERRNO, "socketpair", no_unix, code=errno.EAFNOSUPPORT))
    for name in ("socket", "socketpair") if not policy.connect.unix_datagrams else ():
        for kind in _UNIX_DATAGRAMS:
            rules.append(_rule(_ERRNO, name, _is(0, socket.AF_UNIX), _masked(1, _SOCKET_TYPE, kind), code=errno.EACCES))
    refused = _NEITHER if policy.connect.datagrams else (2, 3, *_NEITHER)
    for family in _INTERNET:
        for kind in refused:
            rules.append(_rule(_ERRNO, "socket", _is(0, family), _masked(1, _SOCKET_TYPE, kind), code=errno.EACCES))
    return rules


def _allowing(policy: Policy, base: Seccomp) -> list[SeccompRule]:
    """The rules that are added to a profile with a default action that refuses: those of its rules that were removed,
    without the other ways."""
    program = compiler.compile_filter(base)
    token = compiler.architecture("")

    def allows(name: str, *arguments: int) -> bool:
        number = compiler.find_number(name, token)
        padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
        return decide.describe(decide.evaluate(program, number, padded, token)) in _OPEN

    rules = []
    if policy.mknod:
        for name in NAMES["mknod"]:
            first: Sequence[int] = (0,) if name == "mknodat" else ()
            kinds = [kind for kind in _TYPES if allows(name, *first, 0, kind)]
            rules += [_rule(_ALLOW, name, _type_is(name, kind)) for kind in kinds]
    if policy.mount:
        rules.append(_rule(_ERRNO, *_NEW_MOUNT_CALLS, code=errno.ENOSYS))
    if not policy.connect:
        return rules
    for name, index in _SENDING.items():
        if allows(name):
            rules.append(_rule(_ALLOW, name, _masked(index, _MSG_FASTOPEN, 0)))
    streams = [_masked(1, _SOCKET_TYPE, kind) for kind in _UNIX_STREAMS]
    for name in ("socketpair", "socket"):
        if not allows(name, socket.AF_UNIX, socket.SOCK_STREAM):
            continue
        if policy.connect.unix_datagrams:
            rules.append(_rule(_ALLOW, name, _is(0, socket.AF_UNIX)))
        else:
            rules += [_rule(_ALLOW, name, _is(0, socket.AF_UNIX), stream) for stream in streams]
    if allows("socket", socket.AF_NETLINK, socket.SOCK_STREAM):
        rules.append(_rule(_ALLOW, "socket", _is(0, socket.AF_NETLINK)))
    for family in _INTERNET:
        for kind in (1, 2) if policy.connect.datagrams else (1,):
            if allows("socket", family, kind):
                for protocol in _PROTOCOLS[kind]:
                    conditions = (_is(0, family), _masked(1, _SOCKET_TYPE, kind), _masked(2, _INT, protocol))
                    rules.append(_rule(_ALLOW, "socket", *conditions))
    return rules
