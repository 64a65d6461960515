"""Numbers of the kernel's scheduling interfaces: policies, classes, memory modes, personalities; and CPU lists."""

from __future__ import annotations

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


def indices(text: str) -> list[int]:
    """The numbers of a list such as `0-3,7` (cpuset(7), "List format"), each once, in order.

    Raises ValueError if a range's end is below its start, or a number is above 65535, which can't be meant.
    """
    found: set[int] = set()
    for part in text.split(",") if text else ():
        first, dash, last = part.partition("-")
        # Checked before int() reads thousands of digits, or range() makes as many numbers.
        if len(first) > _DIGITS or len(last) > _DIGITS or int(last or first) > _HIGHEST:
            raise ValueError(f"{part} is out of range")
        low, high = int(first), int(last if dash else first)
        if high < low:
            raise ValueError(f"{part} ends before it begins")
        found.update(range(low, high + 1))
    return sorted(found)


_HIGHEST = 65535
_DIGITS = 5
