"""The values of a plan's steps as text: flags, modes, capabilities, limits."""

from __future__ import annotations

import errno
import stat

from ..kernel import landlock, resctrl, scheduling
from ..kernel.constants import CAPABILITIES, CLONE_FLAGS, PROPAGATION, RLIMITS
from ..plan.kinds import KINDS
from ..seccomp.constants import FLAGS, NEW_LISTENER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..plan.model import Step

_NAMESPACE_WORDS = {"mount": "NS", "network": "NET"}
_CLONE_NAMES = {bit: "CLONE_NEW" + _NAMESPACE_WORDS.get(name, name.upper()) for name, bit in CLONE_FLAGS.items()}
_ATTRIBUTE_NAMES = {
    0x01: "MOUNT_ATTR_RDONLY",
    0x02: "MOUNT_ATTR_NOSUID",
    0x04: "MOUNT_ATTR_NODEV",
    0x08: "MOUNT_ATTR_NOEXEC",
    0x70: "MOUNT_ATTR__ATIME",
    0x10: "MOUNT_ATTR_NOATIME",
    0x20: "MOUNT_ATTR_STRICTATIME",
    0x80: "MOUNT_ATTR_NODIRATIME",
    0x200000: "MOUNT_ATTR_NOSYMFOLLOW",
}
_SECCOMP_NAMES = {bit: name for name, bit in FLAGS.items() if bit}
_SECCOMP_NAMES[NEW_LISTENER] = "SECCOMP_FILTER_FLAG_NEW_LISTENER"
_MS_REC = 1 << 14
_PROPAGATION_NAMES = {bit: "MS_" + name.upper() for name, bit in PROPAGATION.items() if not bit & _MS_REC}
_PROPAGATION_NAMES[_MS_REC] = "MS_REC"
_RLIMIT_NAMES = {number: name for name, number in RLIMITS.items()}
_MAKING = {resctrl.FIND: "find", resctrl.OWN: "own", resctrl.SHARED: "shared"}
_UNLIMITED = (1 << 64) - 1
_ALL_CAPABILITIES = (1 << len(CAPABILITIES)) - 1


def flags(value: int, names: dict[int, str]) -> str:
    """A bit set as names joined by `|`; bits without a name as one hexadecimal number."""
    words = []
    for bits, name in names.items():
        if value & bits == bits:
            words.append(name)
            value &= ~bits
    if value or not words:
        words.append(hex(value) if value else "0")
    return "|".join(words)


def capabilities(value: int) -> str:
    """A capability set as names joined by `,`, `none` and `all` for these."""
    if not value:
        return "none"
    if value == _ALL_CAPABILITIES:
        return "all"
    known = [name for number, name in enumerate(CAPABILITIES) if value >> number & 1]
    rest = value & ~_ALL_CAPABILITIES
    return ",".join([*known, hex(rest)] if rest else known)


def errnos(numbers: tuple[int, ...]) -> str:
    """Error numbers by name: `EPERM or EBUSY`."""
    return " or ".join([errno.errorcode.get(number, str(number)) for number in numbers])


def _mode(value: int) -> str:
    """A device's mode: its type as in `ls -l`, and the permissions in octal."""
    return f"{stat.filemode(value)[0]} {stat.S_IMODE(value):04o}"


def _octal(value: int) -> str:
    return f"{value:04o}"


def _limit(value: int) -> str:
    return "unlimited" if value == _UNLIMITED else str(value)


def _resource(value: int) -> str:
    return _RLIMIT_NAMES.get(value, str(value))


def _clone(value: int) -> str:
    return flags(value, _CLONE_NAMES)


def _attributes(value: int) -> str:
    return flags(value, _ATTRIBUTE_NAMES)


def _seccomp(value: int) -> str:
    return flags(value, _SECCOMP_NAMES)


def _propagation(value: int) -> str:
    return flags(value, _PROPAGATION_NAMES)


def _names(values: dict[str, int]) -> dict[int, str]:
    return {number: name for name, number in values.items()}


def _policy(value: int) -> str:
    return _names(scheduling.POLICIES).get(value, str(value))


def _scheduler_flags(value: int) -> str:
    return flags(value, _names(scheduling.SCHED_FLAGS))


def _io_class(value: int) -> str:
    return _names(scheduling.IO_CLASSES).get(value, str(value))


def _personality(value: int) -> str:
    return _names(scheduling.PERSONALITIES).get(value, hex(value))


def _memory_mode(value: int) -> str:
    return _names(scheduling.MEMORY_MODES).get(value, str(value))


def _memory_flags(value: int) -> str:
    return flags(value, _names(scheduling.MEMORY_FLAGS))


def _making(value: int) -> str:
    return _MAKING.get(value, str(value))


def _landlock(table: landlock.Table) -> Callable[[int], str]:
    return lambda value: flags(value, {1 << bit: name for bit, (name, _) in enumerate(table)})


# How numbers are shown, by the names that plan/kinds.py has.
FORMS: dict[str, Callable[[int], str]] = {
    "attr": _attributes,
    "capabilities": capabilities,
    "device_mode": _mode,
    "io_class": _io_class,
    "landlock_flags": _landlock(landlock.FLAGS),
    "landlock_fs": _landlock(landlock.FS),
    "landlock_net": _landlock(landlock.NET),
    "landlock_scopes": _landlock(landlock.SCOPES),
    "limit": _limit,
    "memory_flags": _memory_flags,
    "memory_mode": _memory_mode,
    "namespaces": _clone,
    "octal": _octal,
    "personality": _personality,
    "propagation": _propagation,
    "resctrl_make": _making,
    "rlimit": _resource,
    "sched_flags": _scheduler_flags,
    "sched_policy": _policy,
    "seccomp_flags": _seccomp,
}


def arguments(step: Step) -> list[tuple[str, str]]:
    """The step's fields without those that have their default, as (name, value as text), in the kind's order."""
    kind = KINDS[step.kind]
    shown = []
    for (field, _), value in zip(kind.fields, step.args, strict=True):
        if value is None or value in ((), "") or (value == 0 and field in kind.optional):
            continue
        form = FORMS.get(kind.forms.get(field, ""))
        if isinstance(value, tuple):
            text = " ".join([_quoted(word) for word in value])
        elif isinstance(value, int):
            text = form(value) if form else str(value)
        else:
            text = _quoted(str(value))
        shown.append((field, text))
    return shown


def _quoted(word: str) -> str:
    """A word, in quotes if it has spaces or is empty."""
    if word and word.isprintable() and not any(sign in word for sign in " \"'"):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'
