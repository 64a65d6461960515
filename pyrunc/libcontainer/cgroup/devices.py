"""linux.resources.devices: device rules, compiled into an eBPF program that the kernel runs at each access.

In a plan a rule is a text `TYPE MAJOR MINOR ACCESS allow|deny`. TYPE is `a` (any), `b` or `c`, a number may be `*`,
and ACCESS has the letters `r`, `w` and `m` (`c 1 3 rwm allow`).

Rules apply in order (config-linux.md, "Allowed Device list"): for each kind of requested access, the last rule for the
device and this access decides; without one it is denied. Access is granted if every requested kind is allowed. So a
rule for any device and `rwm` cancels all rules before it. For `b` and `c` rules that runc accepts, the result is
runc's. Exceptions to a wildcard rule, which runc refuses, work.

Facts: linux/bpf.h (struct bpf_cgroup_dev_ctx), the kernel's Documentation/bpf/standardization/instruction-set.rst,
bpf(2).
"""

from __future__ import annotations

import errno
import posix
import sys

from ...errors import PyruncError, join, pointer
from ..kernel import bpf, native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from ..._generated.spec_types import DeviceRule

    # (type, major or -1, minor or -1, access mask, allowed)
    Rule = tuple[str, int, int, int, bool]

ANY = -1
_MAX_NUMBER = 0xFFFFFFFF

# BPF_DEVCG_DEV_* and BPF_DEVCG_ACC_*
_TYPES = {"b": 1, "c": 2}
_ACCESS = {"m": 1, "r": 2, "w": 4}
_ALL_ACCESS = 7

# The kernel's dev_t: 12 bits of major number, 20 of minor. Larger numbers are legal in rules and match no device.
_MINOR_BITS = 20
_LAST_MAJOR = 0xFFF
_LAST_MINOR = 0xFFFFF

# The rules (path, rule) that runc adds for every container: making any node (which gives no access to it), the default
# devices, ptys and /dev/net/tun. A default device that linux.devices replaces has no rule.
_DEFAULTS = (
    ("", "c * * m allow"),
    ("", "b * * m allow"),
    ("/dev/null", "c 1 3 rwm allow"),
    ("/dev/random", "c 1 8 rwm allow"),
    ("/dev/full", "c 1 7 rwm allow"),
    ("/dev/tty", "c 5 0 rwm allow"),
    ("/dev/zero", "c 1 5 rwm allow"),
    ("/dev/urandom", "c 1 9 rwm allow"),
    ("", "c 136 * rwm allow"),
    ("", "c 5 2 rwm allow"),
    ("", "c 10 200 rwm allow"),
)

# Instructions: operation codes, and the registers with the requested device and access.
_LOAD_U32 = 0x61
_MOVE = 0xB4
_MOVE_REGISTER = 0xBC
_AND = 0x54
_OR_REGISTER = 0x4C
_SHIFT_LEFT = 0x64
_SHIFT_RIGHT = 0x74
_JUMP = 0x05
_JUMP_EQUAL = 0x16
_JUMP_ANY_BIT = 0x46
_EXIT = 0x95
_RESULT, _CONTEXT, _TYPE, _WANTED, _MAJOR, _MINOR, _DEVICE = 0, 1, 2, 3, 4, 5, 6
_LONGEST_JUMP = 0x7FFF

_PROG_ATTACH = 8
_PROG_GET_FD_BY_ID = 13
_OBJ_GET_INFO_BY_FD = 15
_PROG_QUERY = 16
_PROG_TYPE_CGROUP_DEVICE = 15
_ATTACH_CGROUP_DEVICE = 6
_ALLOW_MULTI = 2
_REPLACE = 4
_MOST_PROGRAMS = 64  # BPF_CGROUP_MAX_PROGS of the kernel: the limit for one cgroup
_NAME_AT = 64  # of `name` in struct bpf_prog_info
_NAME_BYTES = 16
# the same of `tag`, and its end
_TAG_AT, _TAG_END = 8, 16
# The program calls no helper, so the kernel accepts any license.
_LICENSE = b"Apache\0"
_NAME = b"pyrunc_devices"


def format_rule(kind: str, major: int, minor: int, access: str, allow: bool) -> str:
    """A rule as text. kind: `a`, `b` or `c`; major, minor: ANY (-1) for all."""
    numbers = " ".join(["*" if number == ANY else str(number) for number in (major, minor)])
    return f"{kind} {numbers} {access} {'allow' if allow else 'deny'}"


def parse_rule(text: str) -> Rule:
    """Parse a rule's text into (type, major, minor, access mask, allowed). Raises PyruncError."""
    words = text.split(" ")
    if len(words) == 5:
        kind, major, minor, access, verdict = words
        mask = 0
        for letter in access:
            mask |= _ACCESS.get(letter, 0)
        known = kind == "a" or kind in _TYPES
        if known and access and not access.strip("rwm") and verdict in ("allow", "deny"):
            return kind, _number(major, text), _number(minor, text), mask, verdict == "allow"
    raise PyruncError(f'"{text}" is not a device rule', step="cgroup_devices", pointer="/linux/resources/devices")


def _number(word: str, rule: str) -> int:
    if word == "*":
        return ANY
    if word.isascii() and word.isdigit() and int(word) <= _MAX_NUMBER:
        return int(word)
    raise PyruncError(
        f'"{word}" is not a device number in the rule "{rule}"',
        step="cgroup_devices",
        pointer="/linux/resources/devices",
    )


def rules_for(devices: Sequence[DeviceRule], device_paths: Collection[str] = ()) -> tuple[str, ...]:
    """The rules of a container: those of linux.resources.devices, then the defaults.

    devices: the entries of linux.resources.devices. device_paths: the paths of linux.devices.
    Raises PyruncError with the pointer of an invalid entry.
    """
    rules = [_rule_of(entry, index) for index, entry in enumerate(devices)]
    rules.extend([rule for path, rule in _DEFAULTS if not path or path not in device_paths])
    return tuple(rules)


def _rule_of(entry: DeviceRule, index: int) -> str:
    access = entry.get("access", "")
    if not access:
        raise PyruncError(
            f"device access at {index} field cannot be empty",
            pointer=pointer("linux", "resources", "devices", index, "access"),
            hint='a composition of "r", "w" and "m"',
        )
    rule = format_rule(
        entry.get("type", "a"), entry.get("major", ANY), entry.get("minor", ANY), access, bool(entry.get("allow"))
    )
    try:
        parse_rule(rule)
    except PyruncError as error:
        raise PyruncError(error.message, pointer=pointer("linux", "resources", "devices", index)) from error
    return rule


def assemble(rules: Iterable[str]) -> bytes:
    """Compile the rules into a program: instructions of 8 bytes. Pure. Raises PyruncError.

    First the rules become a table for each type, with the allowed access of each named device. The program compares the
    device with each entry, and jumps to an end that answers for the entry's access. No state is carried from entry to
    entry, so the verifier's work is linear in the number of rules.
    """
    tables = {kind: {(ANY, ANY): 0} for kind in _TYPES}
    for text in rules:
        rule_kind, major, minor, access, allow = parse_rule(text)
        for kind, table in tables.items():
            if rule_kind in ("a", kind):
                _apply(table, major, minor, access, allow)
    lookups = {kind: _lookup(table) for kind, table in tables.items()}
    code = [
        _instruction(_LOAD_U32, _TYPE, _CONTEXT, offset=0),
        _instruction(_MOVE_REGISTER, _WANTED, _TYPE),
        _instruction(_AND, _TYPE, value=0xFFFF),
        _instruction(_SHIFT_RIGHT, _WANTED, value=16),
        _instruction(_LOAD_U32, _MAJOR, _CONTEXT, offset=4),
        _instruction(_LOAD_U32, _MINOR, _CONTEXT, offset=8),
        _instruction(_MOVE_REGISTER, _DEVICE, _MAJOR),
        _instruction(_SHIFT_LEFT, _DEVICE, value=_MINOR_BITS),
        _instruction(_OR_REGISTER, _DEVICE, _MINOR),
        _instruction(_JUMP_EQUAL, _TYPE, offset=len(lookups["c"]), value=_TYPES["b"]),
    ]
    lookup = lookups["c"] + lookups["b"]
    ends: dict[int, int] = {}  # allowed access: the index of its end, counted from the lookup's first instruction
    answers: list[bytes] = []
    for _, _, _, allowed in lookup:
        if allowed not in ends:
            ends[allowed] = len(lookup) + len(answers)
            answers += _answer(allowed)
    if len(lookup) + len(answers) > _LONGEST_JUMP:
        raise PyruncError("too many device rules", step="cgroup_devices", pointer="/linux/resources/devices")
    for index, (operation, register, value, allowed) in enumerate(lookup):
        code.append(_instruction(operation, register, offset=ends[allowed] - index - 1, value=value))
    return b"".join(code + answers)


def program(rules: tuple[str, ...]) -> bytes:
    """As `assemble`; the programs of most containers are made already."""
    return _KNOWN.get(rules) or assemble(rules)


def _apply(table: dict[tuple[int, int], int], major: int, minor: int, access: int, allow: bool) -> None:
    """Apply a rule to a type's table, which maps (major or ANY, minor or ANY) to the allowed access.

    If (major, ANY) and (ANY, minor) are in the table, (major, minor) is too: the most specific entry alone decides
    about a device.
    """
    if (major, minor) not in table:
        table[major, minor] = _inherited(table, major, minor)
        for other_major, other_minor in list(table) if ANY in (major, minor) else ():
            if major == other_minor == ANY != other_major:
                table.setdefault((other_major, minor), table[other_major, ANY])
            elif minor == other_major == ANY != other_minor:
                table.setdefault((major, other_minor), table[ANY, other_minor])
    covered = [(major, minor)]
    if ANY in (major, minor):
        covered = [entry for entry in table if major in (ANY, entry[0]) and minor in (ANY, entry[1])]
    for entry in covered:
        table[entry] = table[entry] | access if allow else table[entry] & ~access


def _inherited(table: dict[tuple[int, int], int], major: int, minor: int) -> int:
    """The access that the table allows so far for a new entry."""
    if (major, ANY) in table and minor != ANY:
        return table[major, ANY]
    if (ANY, minor) in table and major != ANY:
        return table[ANY, minor]
    return table[ANY, ANY]


def _lookup(table: dict[tuple[int, int], int]) -> list[tuple[int, int, int, int]]:
    """A table's jumps, the most specific first: (operation, register, value, allowed access)."""
    devices, majors, minors = [], [], []
    for (major, minor), allowed in table.items():
        if (major, minor) == (ANY, ANY) or major > _LAST_MAJOR or minor > _LAST_MINOR:
            continue
        if minor == ANY:
            majors.append((_JUMP_EQUAL, _MAJOR, major, allowed))
        elif major == ANY:
            minors.append((_JUMP_EQUAL, _MINOR, minor, allowed))
        else:
            devices.append((_JUMP_EQUAL, _DEVICE, major << _MINOR_BITS | minor, allowed))
    return [*devices, *majors, *minors, (_JUMP, 0, 0, table[ANY, ANY])]


def _answer(allowed: int) -> list[bytes]:
    """The program's end for an entry: it returns 1 if `allowed` covers the requested access, else 0."""
    if allowed in (0, _ALL_ACCESS):
        return [_instruction(_MOVE, _RESULT, value=int(allowed != 0)), _instruction(_EXIT)]
    return [
        _instruction(_MOVE, _RESULT, value=0),
        _instruction(_JUMP_ANY_BIT, _WANTED, offset=1, value=_ALL_ACCESS & ~allowed),
        _instruction(_MOVE, _RESULT, value=1),
        _instruction(_EXIT),
    ]


def _instruction(operation: int, target: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    """One instruction: operation, registers (target in the low half), signed 16-bit offset, 32-bit value."""
    return bytes((operation, source << 4 | target)) + offset.to_bytes(2, "little") + value.to_bytes(4, "little")


def attach(cgroup_fd: int, program: bytes) -> None:
    """Load a program and attach it to a cgroup without a program of pyrunc. The programs of the cgroups above apply
    too.

    cgroup_fd: the cgroup's directory, open for reading. Raises PyruncError, with the verifier's text if the kernel
    refuses the program.
    """
    _attach(cgroup_fd, program, -1)


def replace(cgroup_fd: int, program: bytes) -> None:
    """Replace the program that an earlier start has attached to the cgroup, if there is one.

    The kernel replaces it in one call, so one of the two always applies. Programs of others stay.
    Parameters and errors as for `attach`.
    """
    old_fd = -1
    try:
        old_fd = _attached(cgroup_fd)
        _attach(cgroup_fd, program, old_fd)
    except OSError as error:
        raise _failure("looking for the cgroup's device rules", error) from error
    finally:
        if old_fd >= 0:
            posix.close(old_fd)


def _attach(cgroup_fd: int, program: bytes, old_fd: int) -> None:
    """Attach a program; it replaces that of old_fd unless that is -1."""
    program_fd = _load(program)
    what = (cgroup_fd, program_fd, _ATTACH_CGROUP_DEVICE)
    how = (_ALLOW_MULTI | _REPLACE, old_fd) if old_fd >= 0 else (_ALLOW_MULTI,)
    try:
        native.bpf(_PROG_ATTACH, bpf.words(*what, *how))
    except OSError as error:
        raise _failure("attaching the device rules to the cgroup", error) from error
    finally:
        posix.close(program_fd)


def _attached(cgroup_fd: int) -> int:
    """The descriptor of pyrunc's program that is attached to the cgroup itself, or -1. Raises OSError."""
    ids = bytearray(4 * _MOST_PROGRAMS)
    query = bpf.words(cgroup_fd, _ATTACH_CGROUP_DEVICE, 0, 0) + bytes(8) + bpf.words(_MOST_PROGRAMS, 0)
    native.bpf(_PROG_QUERY, query, [(16, ids)])
    for index in range(int.from_bytes(query[24:28], sys.byteorder)):
        fd = native.bpf(
            _PROG_GET_FD_BY_ID, bpf.words(int.from_bytes(ids[4 * index : 4 * index + 4], sys.byteorder), 0, 0)
        )
        info = bytearray(_NAME_AT + _NAME_BYTES)
        native.bpf(_OBJ_GET_INFO_BY_FD, bpf.words(fd, len(info)) + bytes(8), [(8, info)])
        if info[_NAME_AT:].rstrip(b"\0") == _NAME:
            return fd
        posix.close(fd)
    return -1


def has(cgroup_fd: int, program: bytes) -> bool | None:
    """Whether a program equals pyrunc's program that is attached to a cgroup; None if none is attached.

    cgroup_fd: as for `attach`. Raises OSError, PyruncError if the program can't be loaded for comparison.
    """
    attached_fd = _attached(cgroup_fd)
    if attached_fd < 0:
        return None
    program_fd = -1
    try:
        program_fd = _load(program)
        return _tag(attached_fd) == _tag(program_fd)
    finally:
        for fd in (attached_fd, program_fd):
            if fd >= 0:
                posix.close(fd)


def _tag(program_fd: int) -> bytes:
    """The kernel's digest of a program's instructions."""
    info = bytearray(_TAG_END)
    native.bpf(_OBJ_GET_INFO_BY_FD, bpf.words(program_fd, len(info)) + bytes(8), [(8, info)])
    return bytes(info[_TAG_AT:])


def _load(program: bytes) -> int:
    """Load a program and return its descriptor. The verifier's log is requested only after a refusal."""
    try:
        return bpf.load(_PROG_TYPE_CGROUP_DEVICE, _NAME, _LICENSE, program)
    except OSError as error:
        reasons = (
            "" if error.errno == errno.EPERM else bpf.verifier_log(_PROG_TYPE_CGROUP_DEVICE, _NAME, _LICENSE, program)
        )
        raise _failure(join(("loading the device rules", reasons and f"({reasons})")), error) from error


def _failure(what: str, error: OSError) -> PyruncError:
    return PyruncError(
        what,
        step="cgroup_devices",
        pointer="/linux/resources/devices",
        errno=error.errno or 0,
        hint="it takes CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN, outside of user namespaces"
        if error.errno == errno.EPERM
        else "",
    )


# The programs of containers without rules, and of those whose engine denies all other devices.
_KNOWN = {rules: assemble(rules) for rules in (rules_for(()), rules_for(({"allow": False, "access": "rwm"},)))}
