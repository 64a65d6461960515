"""What a seccomp profile decides about a system call, and which of its rules does. Cold.

The compiled filter is interpreted as the kernel does (seccomp(2), linux/filter.h), so the answer is that of a container
with this profile. libseccomp's filter does not know the rules that it was made from. So the rule is the first one of
the profile that names the call, has this action and whose conditions hold.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import pointer
from . import classic, compiler
from .constants import ACTIONS, NUMBERED, OPERATORS
from .enosys import AUDIT_X86_64, SCMP_X32

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..._generated.spec_types import Seccomp, SeccompArg, SeccompRule

ARGUMENTS = 6
_WORD = (1 << 64) - 1
_DATA_BITS = 0xFFFF
_ENOSYS = ACTIONS["SCMP_ACT_ERRNO"] | errno.ENOSYS
# The pointers of what decides where no rule does.
DEFAULT = pointer("linux", "seccomp", "defaultAction")
RULES = pointer("linux", "seccomp", "syscalls")
ARCHITECTURES = pointer("linux", "seccomp", "architectures")


@dataclass(frozen=True)
class Decision:
    """What a filter decides about one call.

    action: the action's name, with its errno or number in parentheses. rule: the pointer of what decides. reason: why,
    if that is no rule and not the default. conditions: the conditions of the rule, as text.
    """

    action: str
    rule: str
    reason: str = ""
    conditions: tuple[str, ...] = ()


def decide(profile: Seccomp, call: str, arguments: Sequence[int], architecture: str = "") -> Decision:
    """What a valid linux.seccomp decides about a call, given by its name or number.

    arguments: those that are known; the others count as 0. architecture: as in `architectures`; "" for the machine's.
    Raises PyruncError for a name or an architecture that libseccomp does not know.
    """
    token = compiler.architecture(architecture)
    number = compiler.call_number(call, token)
    padded = [value & _WORD for value in (*arguments, *[0] * ARGUMENTS)][:ARGUMENTS]
    value = evaluate(compiler.compile_filter(profile), number, padded, token)
    index = _deciding(profile, compiler.call_name(number, token), padded, value)
    if index is not None:
        rule = (profile.get("syscalls") or [])[index]
        return Decision(describe(value), f"{RULES}/{index}", conditions=_conditions(rule))
    if value == compiler.action(profile["defaultAction"], profile.get("defaultErrnoRet")):
        return Decision(describe(value), DEFAULT)
    if token not in compiler.covered(profile):
        return Decision(describe(value), ARCHITECTURES, "the profile does not have this architecture")
    if value == _ENOSYS:
        return Decision(describe(value), RULES, "the call is newer than all that the profile names")
    return Decision(describe(value), RULES, "libseccomp has joined rules for this call")


def open_rules(profile: Seccomp, call: str) -> list[tuple[str, str, tuple[str, ...]]]:
    """The rules about a call whose conditions decide: the pointer, the action and the conditions of each."""
    found = []
    for index, rule in enumerate(profile.get("syscalls") or ()):
        if call in rule["names"] and rule.get("args"):
            action = describe(compiler.action(rule["action"], rule.get("errnoRet")))
            found.append((f"{RULES}/{index}", action, _conditions(rule)))
    return found


def _deciding(profile: Seccomp, call: str, arguments: Sequence[int], value: int) -> int | None:
    """The index of the rule that a filter's value comes from; None if there is none."""
    default = compiler.action(profile["defaultAction"], profile.get("defaultErrnoRet"))
    for index, rule in enumerate(profile.get("syscalls") or ()):
        action = compiler.action(rule["action"], rule.get("errnoRet"))
        if action == value != default and call in rule["names"] and _holds(rule, arguments):
            return index
    return None


def _holds(rule: SeccompRule, arguments: Sequence[int]) -> bool:
    """Whether a rule's conditions hold."""
    met = [_is_met(argument, arguments[argument["index"]]) for argument in rule.get("args") or ()]
    return any(met) if _are_alternatives(rule) else all(met)


def _are_alternatives(rule: SeccompRule) -> bool:
    """Whether one of a rule's conditions is enough: two are about one argument (compiler._add_rule)."""
    conditions = rule.get("args") or ()
    return len({argument["index"] for argument in conditions}) < len(conditions)


def _conditions(rule: SeccompRule) -> tuple[str, ...]:
    """The conditions of a rule, all of which must hold, as text. Alternatives are one of them."""
    texts = [condition(argument) for argument in rule.get("args") or ()]
    return (" or ".join(texts),) if _are_alternatives(rule) else tuple(texts)


def _is_met(argument: SeccompArg, value: int) -> bool:
    first, second = argument["value"], argument.get("valueTwo", 0)
    results = {
        "SCMP_CMP_NE": value != first,
        "SCMP_CMP_LT": value < first,
        "SCMP_CMP_LE": value <= first,
        "SCMP_CMP_EQ": value == first,
        "SCMP_CMP_GE": value >= first,
        "SCMP_CMP_GT": value > first,
        "SCMP_CMP_MASKED_EQ": value & first == second & first,
    }
    return results[argument["op"]]


_SIGNS = {
    "SCMP_CMP_NE": "!=", "SCMP_CMP_LT": "<", "SCMP_CMP_LE": "<=", "SCMP_CMP_EQ": "==", "SCMP_CMP_GE": ">=",
    "SCMP_CMP_GT": ">",
}  # fmt: skip
assert set(_SIGNS) | {"SCMP_CMP_MASKED_EQ"} == set(OPERATORS)


def condition(argument: SeccompArg) -> str:
    """A condition as text: `argument 0 & 0x7e020000 == 0x0`. Arguments are counted from 0."""
    name, value = f"argument {argument['index']}", argument["value"]
    if argument["op"] == "SCMP_CMP_MASKED_EQ":
        return f"{name} & {value:#x} == {argument.get('valueTwo', 0):#x}"
    return f"{name} {_SIGNS[argument['op']]} {value:#x}"


def describe(value: int) -> str:
    """A filter's value as an action: `SCMP_ACT_ERRNO (EPERM)`."""
    action, data = value & ~_DATA_BITS, value & _DATA_BITS
    names = [name for name, number in ACTIONS.items() if number == action]
    name = names[-1] if names else f"{action:#x}"
    if name not in NUMBERED:
        return name
    word = errno.errorcode.get(data, str(data)) if name == "SCMP_ACT_ERRNO" else str(data)
    return f"{name} ({word})"


def evaluate(program: bytes, number: int, arguments: Sequence[int], arch: int) -> int:
    """The value that a filter returns for a call. arch: libseccomp's token.

    Raises PyruncError for an instruction that the filters of libseccomp don't have.
    """
    return classic.execute(classic.unpacked(program), number, arguments, AUDIT_X86_64 if arch == SCMP_X32 else arch)
