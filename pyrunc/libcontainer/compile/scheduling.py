"""How the kernel schedules the process: its CPU time, its I/O, its memory nodes; and its personality.

Imported where a configuration has one of these fields. process.execCPUAffinity is for the processes of `exec`, not for
the container's own (config.md, "Linux Process"), so no step of a launch comes from it.
"""

from __future__ import annotations

from ..kernel.scheduling import IO_CLASSES, MEMORY_FLAGS, MEMORY_MODES, PERSONALITIES, POLICIES, SCHED_FLAGS, indices

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .context import Context


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
