"""Scheduling of the process: CPU, I/O and memory nodes; and its personality.

Only configurations with one of these fields import this module. process.execCPUAffinity is for processes of `exec`, not
for the container's own (config.md, "Linux Process"), so a launch has no step for it.
"""

from __future__ import annotations

from ..._generated import steps
from ..kernel.scheduling import IO_CLASSES, MEMORY_FLAGS, MEMORY_MODES, PERSONALITIES, POLICIES, SCHED_FLAGS, indices

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Literal

    from ..._generated.spec_types import Scheduler
    from .context import Context


def compile_scheduling(context: Context) -> None:
    """The steps of process.scheduler, process.ioPriority, linux.memoryPolicy and linux.personality, in runc's order.

    Real-time policies and classes, and a lower nice value, need CAP_SYS_NICE in the initial user namespace. So if the
    container has a user namespace, the runtime sets them from outside, like limits.
    """
    scheduler = context.process.get("scheduler")
    if scheduler:
        fields = _scheduler(scheduler)
        if context.userns:
            context.on_request("limits", steps.set_scheduler(**fields), pointer="/process/scheduler")
        else:
            context.init_step(steps.scheduler(**fields), pointer="/process/scheduler")
    priority = context.process.get("ioPriority")
    if priority:
        io_class, level = IO_CLASSES[priority["class"]], priority.get("priority") or 0
        if context.userns:
            context.on_request(
                "limits", steps.set_io_priority(class_=io_class, priority=level), pointer="/process/ioPriority"
            )
        else:
            context.init_step(steps.io_priority(class_=io_class, priority=level), pointer="/process/ioPriority")
    personality = context.linux.get("personality")
    if personality:
        context.init_step(steps.personality(domain=PERSONALITIES[personality["domain"]]), pointer="/linux/personality")
    policy = context.linux.get("memoryPolicy")
    if policy:
        context.init_step(
            steps.memory_policy(
                mode=MEMORY_MODES[policy["mode"]],
                flags=_bits(MEMORY_FLAGS, policy.get("flags") or ()),
                nodes=tuple([str(node) for node in indices(policy.get("nodes") or "")]),
            ),
            pointer="/linux/memoryPolicy",
        )


# The members of process.scheduler that struct sched_attr has as numbers.
_NUMBERS: tuple[Literal["nice", "priority", "runtime", "deadline", "period"], ...] = (
    "nice", "priority", "runtime", "deadline", "period",
)  # fmt: skip


def _scheduler(scheduler: Scheduler) -> dict[str, int]:
    """The fields of struct sched_attr. Absent fields of the configuration are 0 (config.md, "scheduler")."""
    fields: dict[str, int] = {name: scheduler.get(name) or 0 for name in _NUMBERS}
    fields["policy"] = POLICIES[scheduler["policy"]]
    fields["flags"] = _bits(SCHED_FLAGS, scheduler.get("flags") or ())
    return fields


def _bits(values: dict[str, int], names: Iterable[str]) -> int:
    bits = 0
    for name in names:
        bits |= values[name]
    return bits
