"""Profiles out of counted system calls, and the rules that counted refusals come from. Cold."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import compiler, decide
from .counter import ARGUMENTS, NUMBERS, VALUES, Counts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..._generated.spec_types import Seccomp, SeccompRule
    from .constants import Architecture

# What the init itself calls between the load of the filter and the execution of the program, besides calls that depend
# on the configuration. tests/integration/test_seccomp_command.py compares it with what is counted.
RUNTIME_CALLS = (
    "accept4", "capset", "chdir", "close", "close_range", "execve", "execveat", "exit_group", "fcntl", "fstat",
    "getppid", "newfstatat", "openat", "openat2", "poll", "ppoll", "prctl", "read", "recvfrom", "recvmsg",
    "rt_sigaction", "rt_sigprocmask", "sendmsg", "sendto", "setgid", "setgroups", "setresgid", "setresuid",
    "setsid", "setuid", "umask", "write",
)  # fmt: skip

# They return 0 in the child without having entered there. The child may have the id of a thread that was killed.
_MAKE_PROCESSES = ("clone", "clone3", "fork", "vfork")
# The bits of clone(2)'s flags that a profile cares about: the namespaces. The other arguments are 32 bits wide.
_CLONE_NAMESPACES = 0x7E020000
_INT = 0xFFFFFFFF
# The agent or the tracer decides; without one it is ENOSYS. And what has no errno, but a signal.
_ASKING = ("SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE")
_SIGNALLING = ("SCMP_ACT_TRAP", "SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS")
# With more values than this, an argument is no use as a condition.
_MOST_VALUES = 64


@dataclass(frozen=True)
class Refusal:
    """A call that was refused: its name, how often, the errno (0 for none), and the pointer of the rule in the profile,
    "" if nothing in it gives that errno."""

    call: str
    count: int
    errno: int
    rule: str


def _architecture(number: int) -> Architecture:
    """The architecture of a counted call (counter.Counts)."""
    return compiler.machine_architectures()[number // NUMBERS]


def call_name(number: int) -> str:
    """The name of a counted call (counter.Counts); its number as text if libseccomp has none. Raises PyruncError."""
    return compiler.call_name(number % NUMBERS, compiler.architecture(_architecture(number)))


def argument_numbers() -> dict[int, int]:
    """The argument that is recorded, by the counted number of the call (counter.Counts). Raises PyruncError."""
    found = {}
    for at, name in enumerate(compiler.machine_architectures()[:2]):
        token = compiler.architecture(name)
        for call, index in ARGUMENTS.items():
            found[at * NUMBERS + compiler.call_number(call, token)] = index
    return found


def calls(counts: Counts) -> dict[str, int]:
    """How often each call was made, by its name. Raises PyruncError."""
    found: dict[str, int] = {}
    for number, count in counts.entered.items():
        name = call_name(number)
        found[name] = found.get(name, 0) + count
    return found


def profile(counts: Counts, others: Iterable[str] = (), with_arguments: bool = False) -> Seccomp:
    """The linux.seccomp that allows the calls that were made, and refuses all others with EPERM.

    others: further calls to allow. with_arguments: allow socket, clone, ioctl and prctl only with the values that their
    argument had (counter.ARGUMENTS), if none was missed. A call that libseccomp has no name for is left out. The
    profile has the 32-bit architecture if calls of it were made. Raises PyruncError.
    """
    names = {name for name in calls(counts) if not name.isdigit()}
    rules: list[SeccompRule] = []
    if with_arguments and len(counts.values) < VALUES:
        for call, index in ARGUMENTS.items():
            mask = _CLONE_NAMESPACES if call == "clone" else _INT
            values = sorted({value & mask for of, value in counts.values if call_name(of) == call})
            if values and len(values) <= _MOST_VALUES and call not in others:
                names.discard(call)
                rules += [_conditional(call, index, mask, value) for value in values]
    firsts = [0, NUMBERS] if any(number >= NUMBERS for number in counts.entered) else [0]
    allowed: SeccompRule = {"names": sorted(names | set(others)), "action": "SCMP_ACT_ALLOW"}
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": errno.EPERM,
        "architectures": [_architecture(first) for first in firsts],
        "syscalls": [allowed, *rules],
    }


def _conditional(call: str, index: int, mask: int, value: int) -> SeccompRule:
    return {
        "names": [call],
        "action": "SCMP_ACT_ALLOW",
        "args": [{"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}],
    }


def difference(old: Seccomp, new: Seccomp) -> list[str]:
    """How two profiles differ in the calls that they allow: lines `+ CALL`, `- CALL`, by name."""
    before, after = _allowed(old), _allowed(new)
    return [f"{'+' if name in after else '-'} {name}" for name in sorted(before ^ after)]


def _allowed(profile: Seccomp) -> set[str]:
    rules = profile.get("syscalls") or ()
    return {name for rule in rules if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}


def refusals(counts: Counts, profile: Seccomp | None) -> list[Refusal]:
    """What filters refused, the most frequent first. profile: the container's; None without one. Raises PyruncError."""
    found = []
    for (number, code), count in counts.refused.items():
        name = call_name(number)
        if code or name not in _MAKE_PROCESSES:
            found.append(Refusal(name, count, code, _rule(profile, name, number, code) if profile else ""))
    return sorted(found, key=lambda refusal: (-refusal.count, refusal.call))


def failures(counts: Counts) -> list[Refusal]:
    """What the kernel itself refused with an errno that a filter would give too. Raises PyruncError."""
    found = [Refusal(call_name(number), count, code, "") for (number, code), count in counts.failed.items()]
    return sorted(found, key=lambda refusal: (-refusal.count, refusal.call))


def _rule(profile: Seccomp, call: str, number: int, code: int) -> str:
    """The pointer of the first rule that refuses a call with an errno; of the default action if that does; of the first
    rule that may have it refused so; ""."""
    token = compiler.architecture(_architecture(number))
    if not code and token not in compiler.covered(profile):
        return decide.ARCHITECTURES
    wanted = compiler.action("SCMP_ACT_ERRNO", code)
    rules = [(f"{decide.RULES}/{at}", rule) for at, rule in enumerate(profile.get("syscalls") or ())]
    for pointer, rule in rules:
        if call in rule["names"] and compiler.action(rule["action"], rule.get("errnoRet")) == wanted:
            return pointer
    if compiler.action(profile["defaultAction"], profile.get("defaultErrnoRet")) == wanted:
        return decide.DEFAULT
    possible = _ASKING if code else (*_ASKING, *_SIGNALLING)
    for pointer, rule in rules:
        if call in rule["names"] and rule["action"] in possible:
            return pointer
    if code == errno.ENOSYS and number % NUMBERS > _newest(profile, token):
        return decide.RULES  # the stub before the filter
    return decide.DEFAULT if profile["defaultAction"] in possible else ""


def _newest(profile: Seccomp, token: int) -> int:
    names = {name for rule in profile.get("syscalls") or () for name in rule["names"]}
    return max([compiler.find_number(name, token) for name in names], default=0)
