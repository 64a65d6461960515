"""How the kernel schedules the process: its CPU time, its I/O, its memory nodes; and its personality.

Imported where a configuration has one of these fields. process.execCPUAffinity is for the processes of `exec`, not for
the container's own (config.md, "Linux Process"), so no step of a launch comes from it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .context import Context

# sched_setattr(2), linux/sched.h
POLICIES: dict[str, int] = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
SCHED_FLAGS: dict[str, int] = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}

# ioprio_set(2), linux/ioprio.h
IO_CLASSES: dict[str, int] = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}

# set_mempolicy(2), linux/mempolicy.h
MEMORY_MODES: dict[str, int] = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}
MEMORY_FLAGS: dict[str, int] = {
    "MPOL_F_NUMA_BALANCING": 1 << 13,
    "MPOL_F_RELATIVE_NODES": 1 << 14,
    "MPOL_F_STATIC_NODES": 1 << 15,
}

# personality(2), linux/personality.h
PERSONALITIES: dict[str, int] = {"LINUX": 0x0000, "LINUX32": 0x0008}


def compile_scheduling(context: Context) -> None:
    """The steps of process.scheduler, process.ioPriority, linux.memoryPolicy and linux.personality, in runc's order.

    Real-time policies and classes and a lower nice value take CAP_SYS_NICE in the initial user namespace, so in a
    container's user namespace the runtime sets them from outside, as it does with limits.
    """
    scheduler = context.process.get("scheduler")
    if scheduler:
        args = _scheduler(scheduler)
        if context.userns:
            context.serve("limits", "set_scheduler", *args, pointer="/process/scheduler")
        else:
            context.add("scheduler", *args, pointer="/process/scheduler")
    priority = context.process.get("ioPriority")
    if priority:
        args = (IO_CLASSES[priority["class"]], priority.get("priority") or 0)
        if context.userns:
            context.serve("limits", "set_io_priority", *args, pointer="/process/ioPriority")
        else:
            context.add("io_priority", *args, pointer="/process/ioPriority")
    personality = context.linux.get("personality")
    if personality:
        context.add("personality", PERSONALITIES[personality["domain"]], pointer="/linux/personality")
    policy = context.linux.get("memoryPolicy")
    if policy:
        context.add(
            "memory_policy",
            MEMORY_MODES[policy["mode"]],
            _bits(MEMORY_FLAGS, policy.get("flags") or ()),
            tuple([str(node) for node in indices(policy.get("nodes") or "")]),
            pointer="/linux/memoryPolicy",
        )


def _scheduler(scheduler: dict[str, Any]) -> tuple[int, ...]:
    """The fields of struct sched_attr; what the configuration leaves out is 0 (config.md, "scheduler")."""
    return (
        POLICIES[scheduler["policy"]],
        _bits(SCHED_FLAGS, scheduler.get("flags") or ()),
        *[scheduler.get(name) or 0 for name in ("nice", "priority", "runtime", "deadline", "period")],
    )


def _bits(values: dict[str, int], names: list[str] | tuple[()]) -> int:
    bits = 0
    for name in names:
        bits |= values[name]
    return bits


def indices(text: str) -> list[int]:
    """The numbers of a list such as `0-3,7` (cpuset(7), "List format"), each once, in order.

    Raises ValueError where a range's end is below its start, or a number above 65535, where none is meant.
    """
    found: set[int] = set()
    for part in text.split(",") if text else ():
        first, dash, last = part.partition("-")
        # Before int() reads thousands of digits, or range() makes as many numbers.
        if len(first) > _DIGITS or len(last) > _DIGITS or int(last or first) > _HIGHEST:
            raise ValueError(f"{part} is out of range")
        low, high = int(first), int(last if dash else first)
        if high < low:
            raise ValueError(f"{part} ends before it begins")
        found.update(range(low, high + 1))
    return sorted(found)


_HIGHEST = 65535
_DIGITS = 5
