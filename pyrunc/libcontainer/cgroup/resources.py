"""linux.resources as writes to control files of cgroup v2. Pure.

`limits` returns the writes in order; `violations` the limits that cgroup v2 can't express. Most fields are those of
cgroup v1: config-linux.md says that a runtime may convert them and must refuse those that it can't convert. The numbers
are runc's, so a container gets the same limits from both. Facts: config-linux.md, "Control groups" to
"Unified"; the kernel's Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import errno

from ...errors import PyruncError, pointer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Literal

    from ..._generated.spec_types import CPU, BlockIO, HugepageLimit, Memory, Pids, Rdma, Resources, WeightDevice
    from ..plan.host import HostFacts

    Throttle = Literal[
        "throttleReadBpsDevice", "throttleWriteBpsDevice", "throttleReadIOPSDevice", "throttleWriteIOPSDevice"
    ]

    # pointer, what is wrong, the hint
    Violation = tuple[str, str, str]

_AT = "/linux/resources"
_DEFAULT_PERIOD = 100000  # microseconds: cgroup-v2.rst, cpu.max

# The ranges of cpu.shares, cpu.weight, and weights of block I/O.
_SHARES_MIN, _SHARES_MAX = 2, 262144
_CPU_WEIGHT_MAX = 10000
_IO_WEIGHT_MIN, _IO_WEIGHT_MAX = 10, 1000
_LN2 = 0.6931471805599453

_THROTTLES: tuple[tuple[Throttle, str], ...] = (
    ("throttleReadBpsDevice", "rbps"),
    ("throttleWriteBpsDevice", "wbps"),
    ("throttleReadIOPSDevice", "riops"),
    ("throttleWriteIOPSDevice", "wiops"),
)

# Control files that the runtime itself uses: a container in a frozen cgroup would never start, and a process can't be
# cloned into a cgroup that hands out controllers.
_OF_RUNTIME = frozenset((
    "cgroup.freeze", "cgroup.kill", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads", "cgroup.type",
))  # fmt: skip


class Write:
    """One write to a control file of the container's cgroup.

    file, value: the file's name and the text to write. pointer: JSON pointer of the field.
    controller: the controller of the file; "" for the cgroup's own files (cgroup.*).
    optional: a missing file is no error: a kernel without it has nothing to limit.
    fallback_level, on_errno: as in Step. A write of level 1 is made only if the write of level 0 before it failed with
        one of its errnos.
    """

    __slots__ = ("controller", "fallback_level", "file", "on_errno", "optional", "pointer", "value")

    def __init__(
        self,
        file: str,
        value: str,
        pointer: str,
        *,
        fallback_level: int = 0,
        on_errno: tuple[int, ...] = (),
        optional: bool = False,
    ) -> None:
        self.file = file
        self.value = value
        self.pointer = pointer
        self.controller = controller_of(file)
        self.fallback_level = fallback_level
        self.on_errno = on_errno
        self.optional = optional


class Limits:
    """The limits of a `resources` object.

    writes: the writes in order. controllers: the controllers that they need, in order of first use.
    memory_check: (limit, swap) in bytes with checkBeforeUpdate: the memory in use is compared with them first; swap is
        memory+swap as in config-linux.md. None otherwise. warnings: fields without effect.
    """

    __slots__ = ("controllers", "memory_check", "warnings", "writes")

    def __init__(
        self, writes: tuple[Write, ...], memory_check: tuple[int, int] | None, warnings: tuple[str, ...]
    ) -> None:
        self.writes = writes
        self.controllers = tuple(dict.fromkeys([write.controller for write in writes if write.controller]))
        self.memory_check = memory_check
        self.warnings = warnings


def limits(resources: Resources, facts: HostFacts, at: str = _AT) -> Limits:
    """The limits of a valid `resources` object on a host, without `devices`.

    at: the pointer of the object. A member that is 0 is ignored if runc takes 0 as unset.
    Raises PyruncError for the first of `violations`, and for a field whose controller is not on cgroup v2.
    """
    for place, message, hint in violations(resources, at):
        raise PyruncError(message, pointer=place, hint=hint)
    memory: Memory = resources.get("memory") or {}
    writes = [
        *_pids(resources.get("pids") or {}, at),
        *_memory(memory, at),
        *_block_io(resources.get("blockIO") or {}, at),
        *_cpu(resources.get("cpu") or {}, at),
        *_huge_pages(resources.get("hugepageLimits") or (), at),
        *_rdma(resources.get("rdma") or {}, at),
        *_unified(resources.get("unified") or {}, at),
    ]
    for write in writes:
        if write.controller and write.controller not in facts.controllers:
            raise _no_controller(write, facts, at)
    check = None
    limit, swap = memory.get("limit", 0), memory.get("swap", 0)
    if memory.get("checkBeforeUpdate") and (limit > 0 or swap > 0):
        check = (limit, swap)
    warnings: tuple[str, ...] = ()
    if "kernel" in memory or "kernelTCP" in memory:
        warnings = ("Kernel memory settings are ignored and will be removed",)  # wording of runc
    return Limits(tuple(writes), check, warnings)


def controller_of(file: str) -> str:
    """The controller that a control file belongs to, by its name; "" for the cgroup's own files."""
    name = file.partition(".")[0]
    return "" if name == "cgroup" else name


def violations(resources: Resources, at: str = _AT) -> Iterator[Violation]:
    """Limits of a valid `resources` object that cgroup v2 can't express, and contradictions.

    Each has a pointer, a message and a hint. They depend on the object alone.
    """
    yield from _refused_memory(resources.get("memory") or {}, at + "/memory")
    yield from _refused_cpu(resources.get("cpu") or {}, at + "/cpu")
    yield from _refused_block_io(resources.get("blockIO") or {}, at + "/blockIO")
    network = resources.get("network") or {}
    for field in ("classID", "priorities"):
        if network.get(field):
            hint = "mark or limit the traffic by an eBPF program or nftables' socket cgroupv2"
            yield f"{at}/network/{field}", f"network.{field} can't be set with cgroup v2", hint
    for name in resources.get("unified") or {}:
        if name in _OF_RUNTIME:
            message = f'unified resource "{name}" is no limit: it is the runtime\'s'
            yield at + pointer("unified", name), message, "leave it out"


def _refused_memory(memory: Memory, at: str) -> Iterator[Violation]:
    if memory.get("disableOOMKiller"):
        hint = "leave it out; memory.oom.group and memory.high of unified say what happens instead"
        yield at + "/disableOOMKiller", "the OOM killer can't be disabled with cgroup v2", hint
    if "swappiness" in memory:
        hint = "leave it out; memory.swap limits the use of swap"
        yield at + "/swappiness", "memory.swappiness can't be set with cgroup v2", hint
    if memory.get("useHierarchy") is False:
        yield at + "/useHierarchy", "memory is always accounted hierarchically with cgroup v2", "leave it out"
    limit, swap = memory.get("limit", 0), memory.get("swap", 0)
    if swap > 0 and limit != -1:
        # Wording of runc.
        if not limit:
            yield at + "/swap", "unable to set swap limit without memory limit", "set memory.limit too"
        elif swap < limit:
            hint = "memory.swap is the sum of memory and swap"
            yield at + "/swap", "memory+swap limit should be >= memory limit", hint


def _refused_cpu(cpu: CPU, at: str) -> Iterator[Violation]:
    for field in ("realtimeRuntime", "realtimePeriod"):
        if cpu.get(field):
            hint = "leave it out; all cgroups share the host's kernel.sched_rt_runtime_us"
            yield f"{at}/{field}", f"cpu.{field} can't be set with cgroup v2", hint
    if cpu.get("idle") == 1 and cpu.get("shares"):
        message = "cpu.idle and cpu.shares exclude each other: what is SCHED_IDLE has no weight"
        yield at + "/idle", message, "leave one of them out"
    burst, quota = cpu.get("burst", 0), cpu.get("quota", 0)
    if 0 < quota < burst:
        yield at + "/burst", f"cpu.burst {burst} is above cpu.quota {quota}", "a burst is at most the quota"


def _refused_block_io(block: BlockIO, at: str) -> Iterator[Violation]:
    places: list[tuple[str, str, BlockIO | WeightDevice]] = [(at, "blockIO", block)]
    for index, entry in enumerate(block.get("weightDevice") or ()):
        places.append((f"{at}/weightDevice/{index}", "blockIO.weightDevice", entry))
    for place, name, holder in places:
        if holder.get("leafWeight"):
            hint = "give the processes a cgroup of their own below the container's, with a weight"
            yield place + "/leafWeight", f"{name}.leafWeight can't be set with cgroup v2", hint
        weight = holder.get("weight", 0)
        if weight and not _IO_WEIGHT_MIN <= weight <= _IO_WEIGHT_MAX:
            message = f"{name}.weight must be from {_IO_WEIGHT_MIN} to {_IO_WEIGHT_MAX}, or 0 for none, not {weight}"
            yield place + "/weight", message, "leave it out for the default"


def _no_controller(write: Write, facts: HostFacts, at: str) -> PyruncError:
    """The error for a field whose controller the hierarchy does not have."""
    controller = write.controller
    field = write.pointer.removeprefix(at + "/")
    if field.startswith("unified/"):
        # Wording of runc.
        message = f'unified resource "{write.file}" can\'t be set: controller "{controller}" not available'
    else:
        message = f'{field.replace("/", ".")} can\'t be set: controller "{controller}" not available'
    if facts.cgroup_pure:
        hint = f"the kernel has no {controller} controller, or it is disabled"
    else:
        hint = (
            f"it is not in the cgroup v2 hierarchy at {facts.cgroup_mount}: cgroup v1 has it, or the kernel lacks it; "
            "boot with systemd.unified_cgroup_hierarchy=1"
        )
    return PyruncError(message, pointer=write.pointer, hint=hint)


def _pids(pids: Pids, at: str) -> Iterator[Write]:
    """A negative limit means none. As with runc, 0 is written as 1, which allows the first process and no other: with 0
    it could not be cloned into the cgroup."""
    limit = pids.get("limit")
    if limit is not None:
        yield Write("pids.max", "max" if limit < 0 else str(limit or 1), at + "/pids/limit")


def _memory(memory: Memory, at: str) -> Iterator[Write]:
    limit = memory.get("limit", 0)
    swap = swap_max(limit, memory.get("swap", 0))
    if swap:
        place = at + ("/memory/swap" if memory.get("swap") else "/memory/limit")
        # A kernel without swap accounting has no such file, and nothing to limit.
        yield Write("memory.swap.max", swap, place, optional=swap in ("0", "max"))
    if limit:
        yield Write("memory.max", _bytes(limit), at + "/memory/limit")
    reservation = memory.get("reservation", 0)
    if reservation:
        yield Write("memory.low", _bytes(reservation), at + "/memory/reservation")


def _bytes(value: int) -> str:
    return "max" if value == -1 else str(value)


def swap_max(limit: int, swap: int) -> str:
    """memory.swap.max for memory.limit and memory.swap (memory and swap together); "" to leave it unchanged.

    0 is unset, -1 unlimited. Without a limit of memory, swap is unlimited unless it is set. `violations` has refused
    contradictions.
    """
    if not swap:
        return "max" if limit == -1 else ""
    if swap == -1:
        return "max"
    return str(swap if limit == -1 else swap - limit)


def _cpu(cpu: CPU, at: str) -> Iterator[Write]:
    idle = cpu.get("idle")
    if idle is not None:
        # Linux 5.14 has no such file.
        yield Write("cpu.idle", str(idle), at + "/cpu/idle", optional=idle == 0)
    if cpu.get("shares"):
        yield Write("cpu.weight", str(cpu_weight(cpu["shares"])), at + "/cpu/shares")
    yield from _bandwidth(cpu, at + "/cpu")
    for field in ("cpus", "mems"):
        if cpu.get(field):
            yield Write("cpuset." + field, cpu[field], f"{at}/cpu/{field}")


def _bandwidth(cpu: CPU, at: str) -> Iterator[Write]:
    """quota, period and burst. Neither the new burst may be above the old quota, nor the old burst above the new quota.
    So neither order of the writes is always right, and there is an alternative."""
    quota, period, burst = cpu.get("quota", 0), cpu.get("period", 0), cpu.get("burst")
    again = (errno.EINVAL,) if quota else ()
    if burst is not None:
        yield Write("cpu.max.burst", str(burst), at + "/burst", on_errno=again)
    if quota or period:
        value = f"{quota if quota > 0 else 'max'} {period or _DEFAULT_PERIOD}"
        yield Write("cpu.max", value, at + ("/quota" if quota else "/period"))
    if burst is not None and again:
        yield Write("cpu.max.burst", str(burst), at + "/burst", fallback_level=1)


def cpu_weight(shares: int) -> int:
    """cpu.weight for cpu.shares other than 0, as in runc 1.5: 2 becomes 1, 1024 100, 262144 10000.

    The exponent of 10 is quadratic in log2(shares), which fits both ends and both defaults.
    """
    if shares <= _SHARES_MIN:
        return 1
    if shares >= _SHARES_MAX:
        return _CPU_WEIGHT_MAX
    log = _log2(shares)
    exact: float = 10 ** ((log * log + 125 * log) / 612 - 7 / 34)
    return int(exact) + (exact > int(exact))


def _log2(number: int) -> float:
    """The binary logarithm of a positive number, exact for powers of two. The launcher has no module math."""
    whole = number.bit_length() - 1
    fraction = number / (1 << whole)
    # ln x is 2 artanh((x - 1) / (x + 1)), and x is below 2, so each term is less than 1/9 of the one before.
    term = (fraction - 1) / (fraction + 1)
    factor = term * term
    total = 0.0
    divisor = 1
    while term > 1e-18:
        total += term / divisor
        term *= factor
        divisor += 2
    return whole + 2 * total / _LN2


def _block_io(block: BlockIO, at: str) -> Iterator[Write]:
    at += "/blockIO"
    yield from _io_weight(block.get("weight", 0), "", at + "/weight")
    for index, entry in enumerate(block.get("weightDevice") or ()):
        device = f"{entry['major']}:{entry['minor']} "
        yield from _io_weight(entry.get("weight", 0), device, f"{at}/weightDevice/{index}/weight")
    for field, word in _THROTTLES:
        for index, throttle in enumerate(block.get(field) or ()):
            # 0 means no limit in cgroup v1; v2 refuses it
            value = f"{throttle['major']}:{throttle['minor']} {word}={throttle['rate'] or 'max'}"
            yield Write("io.max", value, f"{at}/{field}/{index}")


def _io_weight(weight: int, device: str, at: str) -> Iterator[Write]:
    """BFQ's weight. The alternative is io.cost's, if the kernel has no BFQ, or not for this device."""
    if not weight:
        return
    errors = (errno.ENOENT, errno.EOPNOTSUPP) if device else (errno.ENOENT,)
    yield Write("io.bfq.weight", f"{device}{weight}", at, on_errno=errors)
    yield Write("io.weight", f"{device}{io_weight(weight)}", at, fallback_level=1)


def io_weight(weight: int) -> int:
    """io.weight (1 to 10000) for blockIO.weight (10 to 1000): linear, as with runc."""
    return 1 + (weight - 10) * 9999 // 990


def _huge_pages(entries: Iterable[HugepageLimit], at: str) -> Iterator[Write]:
    """Limit both the pages in use and the reservations. Every kernel that pyrunc supports accounts both."""
    for index, entry in enumerate(entries):
        for kind in (".max", ".rsvd.max"):
            file = f"hugetlb.{entry['pageSize']}{kind}"
            yield Write(file, str(entry["limit"]), f"{at}/hugepageLimits/{index}/limit")


def _rdma(devices: dict[str, Rdma], at: str) -> Iterator[Write]:
    for name, entry in devices.items():
        words = [name]
        if "hcaHandles" in entry:
            words.append(f"hca_handle={entry['hcaHandles']}")
        if "hcaObjects" in entry:
            words.append(f"hca_object={entry['hcaObjects']}")
        yield Write("rdma.max", " ".join(words), at + pointer("rdma", name))


def _unified(values: dict[str, str], at: str) -> Iterator[Write]:
    """Write every key, known or not, after all other limits, so `unified` takes precedence. A write has one line."""
    for file, text in values.items():
        for line in [line for line in text.split("\n") if line] or [""]:
            yield Write(file, line, at + pointer("unified", file))
