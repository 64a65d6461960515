"""The properties of a container's unit: those of every scope, annotations, and resource limits. Cold, pure.

A property is `NAME=VALUE` with the value as GVariant text (gvariant.py), also in plans. Limits come from the writes of
the cgroupfs manager (cgroup/resources.py), which are also carried out, after systemd's: systemd silently ignores a
property of a controller that is not delegated, but a write to its file fails. Facts: systemd.resource-control(5),
org.freedesktop.systemd1(5), docs/systemd.md of runc.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ...errors import PyruncError, pointer
from ..cgroup.resources import Write
from ..plan.host import SystemdFacts
from . import gvariant
from .unit import Unit

PREFIX = "org.systemd.property."
_INFINITY = (1 << 64) - 1
_MICROSECONDS = 1000000
# systemd stores a quota in whole percents, and reads that when it is reloaded.
_PERCENT = 10000

# Control files with an equivalent property: bytes or a number, `max` for none.
_NUMBERS = {
    "cpu.weight": "CPUWeight",
    "io.weight": "IOWeight",
    "memory.high": "MemoryHigh",
    "memory.low": "MemoryLow",
    "memory.max": "MemoryMax",
    "memory.min": "MemoryMin",
    "memory.swap.max": "MemorySwapMax",
    "memory.zswap.max": "MemoryZSwapMax",
    "pids.max": "TasksMax",
}
_SETS = {"cpuset.cpus": "AllowedCPUs", "cpuset.mems": "AllowedMemoryNodes"}
_THROTTLES = {
    "rbps": "IOReadBandwidthMax", "wbps": "IOWriteBandwidthMax", "riops": "IOReadIOPSMax", "wiops": "IOWriteIOPSMax",
}  # fmt: skip
_OOM_POLICIES = {"0": "continue", "1": "kill"}
# The version of systemd that introduced a property, if it is newer than the kernels that pyrunc supports.
_SINCE = {"MemoryZSwapMax": 253, "OOMPolicy": 253}
_IDLE_SINCE = 252


def scope_properties(unit: Unit) -> list[str]:
    """The properties of every container's scope, except PIDs, which is known when the unit is started."""
    return [
        "Description=" + gvariant.quote(f"pyrunc container {unit.label}"),
        "Slice=" + gvariant.quote(unit.slice),
        "Delegate=true",
        "MemoryAccounting=true",
        "CPUAccounting=true",
        "IOAccounting=true",
        "TasksAccounting=true",
        "DefaultDependencies=false",
    ]


def annotated(annotations: dict[str, str]) -> list[str]:
    """The properties of annotations `org.systemd.property.NAME`.

    A NAME in seconds (`TimeoutStopSec`) becomes the one in microseconds. Raises PyruncError in runc's words.
    """
    found = []
    for key, given in annotations.items():
        name, text = key.removeprefix(PREFIX), given.strip()
        if name == key:
            continue
        at = pointer("annotations", key)
        wrong = "too short" if len(name) < 3 else "contains non-alphabetic character"
        if len(name) < 3 or not (name.isascii() and name.isalpha()):
            raise PyruncError(f"annotation {key} name incorrect: {wrong}", pointer=at)
        try:
            _, value = gvariant.parse(text)
            if _is_seconds(name):
                name = name.removesuffix("Sec") + "USec"
                text = f"uint64 {_microseconds(value)}"
        except ValueError as error:
            raise PyruncError(
                f"annotation {key}={given} value parse error: {error}",
                pointer=at,
                hint="it is GVariant text, such as uint64 5, true or 'a string'",
            ) from error
        found.append(f"{name}={text}")
    return found


def _is_seconds(name: str) -> bool:
    """Whether a documented name is in seconds: it has Sec after a lower-case letter."""
    before = name.removesuffix("Sec")[-1:]
    return name.endswith("Sec") and before.isascii() and before.islower()


def _microseconds(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("not a number")
    if not 0 <= value < _INFINITY / _MICROSECONDS:
        raise ValueError("not a number of seconds that there can be")
    return int(value * _MICROSECONDS)


def rounded(writes: Iterable[Write]) -> list[Write]:
    """The writes with the cpu.max that systemd will set: a quota of whole percents, rounded up."""
    return [_rounded(write) for write in writes]


def _rounded(write: Write) -> Write:
    quota, period = _bandwidth(write.value) if write.file == "cpu.max" else (0, 0)
    if quota <= 0 or period <= 0:
        return write
    value = f"{_per_second(quota, period) * period // _MICROSECONDS} {period}"
    return Write(write.file, value, write.pointer)


def limit_properties(writes: Iterable[Write], facts: SystemdFacts) -> list[str]:
    """The properties of limits that this version of systemd has. The last write of a file counts. The kernel refuses
    invalid values."""
    values: dict[str, str] = {}
    lists: dict[str, list[str]] = {}
    idle = False
    for write in writes:
        idle = write.value == "1" if write.file == "cpu.idle" else idle
        for name, text in _properties(write):
            if _SINCE.get(name, 0) > facts.version:
                continue
            if text.startswith("("):
                lists.setdefault(name, []).append(text)
            else:
                values[name] = text
    if idle:
        values.pop("CPUWeight", None)
        if facts.version >= _IDLE_SINCE:
            values["CPUWeight"] = "uint64 0"
    made = [f"{name}={text}" for name, text in values.items()]
    return made + [f"{name}=@a(st) [{', '.join(entries)}]" for name, entries in lists.items()]


def file_of(name: str) -> tuple[str, ...]:
    """The control files of a limit's property."""
    if name.startswith("CPUQuota"):
        return ("cpu.max",)
    if name in _THROTTLES.values():
        return ("io.max",)
    files = {**{value: key for key, value in (*_NUMBERS.items(), *_SETS.items())}, "OOMPolicy": "memory.oom.group"}
    others = {"CPUWeight": ("cpu.idle",), "IODeviceWeight": ("io.weight",)}
    return (files.get(name, ""), *others.get(name, ()))


def _properties(write: Write) -> Iterator[tuple[str, str]]:
    """The properties of one write: names and values. An entry of a list is in parentheses."""
    value = write.value.strip()
    if write.file == "cpu.max":
        quota, period = _bandwidth(value)
        if period > 0:
            yield "CPUQuotaPeriodUSec", f"uint64 {period}"
            yield "CPUQuotaPerSecUSec", f"uint64 {_per_second(quota, period) if quota > 0 else _INFINITY}"
    elif write.file in _SETS:
        numbers = _bytes_of(value)
        if numbers:
            yield _SETS[write.file], f"@ay [{', '.join([str(byte) for byte in numbers])}]"
    elif write.file == "memory.oom.group" and value in _OOM_POLICIES:
        yield "OOMPolicy", gvariant.quote(_OOM_POLICIES[value])
    elif write.file == "io.max":
        yield from _throttles(value)
    elif write.file == "io.weight" and ":" in value:
        device, _, weight = value.partition(" ")
        if weight.isdigit():
            yield "IODeviceWeight", _entry(device, weight)
    elif write.file in _NUMBERS:
        value = value.removeprefix("default ") if write.file == "io.weight" else value
        if value == "max" or value.isdigit():
            yield _NUMBERS[write.file], f"uint64 {_INFINITY if value == 'max' else max(int(value), _least(write.file))}"


def _least(file: str) -> int:
    """systemd refuses 0 for TasksMax. 1 also allows no more than the first process."""
    return 1 if file == "pids.max" else 0


def _throttles(value: str) -> Iterator[tuple[str, str]]:
    device, *words = value.split()
    for word in words:
        key, _, rate = word.partition("=")
        if key in _THROTTLES and (rate == "max" or rate.isdigit()):
            yield _THROTTLES[key], _entry(device, str(_INFINITY) if rate == "max" else rate)


def _entry(device: str, number: str) -> str:
    return f"({gvariant.quote('/dev/block/' + device)}, {number})"


def _bandwidth(value: str) -> tuple[int, int]:
    """Quota (-1 for none) and period in microseconds of a cpu.max; (0, 0) if it is invalid."""
    words = value.split()
    if len(words) == 1:
        words.append("100000")
    if len(words) != 2 or not words[1].isdigit() or not (words[0] == "max" or words[0].isdigit()):
        return 0, 0
    return -1 if words[0] == "max" else int(words[0]), int(words[1])


def _per_second(quota: int, period: int) -> int:
    """CPUQuotaPerSecUSec: microseconds in each second, in whole percents, rounded up as by runc."""
    return -(-(quota * _MICROSECONDS // period) // _PERCENT) * _PERCENT


def _bytes_of(text: str) -> bytes:
    """A cpuset's list such as `0-2,5` as a bit mask, the lowest byte first; empty if it is invalid."""
    mask = 0
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        if not part.strip():
            continue
        for digits in (low, high or low):
            if not (digits.isascii() and digits.isdigit()) or len(digits) > _DIGITS or int(digits) > _HIGHEST:
                return b""
        if dash and not high:
            return b""
        for number in range(int(low), int(high or low) + 1):
            mask |= 1 << number
    return mask.to_bytes((mask.bit_length() + 7) // 8, "little")


# No kernel has more CPUs or memory nodes (CONFIG_NR_CPUS). A longer list would only use memory.
_HIGHEST = 8191
_DIGITS = 9


def typed(texts: Iterable[str]) -> list[tuple[str, tuple[str, Any]]]:
    """Properties for the manager: (name, (D-Bus signature, value))."""
    result = []
    for text in texts:
        name, _, value = text.partition("=")
        result.append((name, gvariant.parse(value)))
    return result
