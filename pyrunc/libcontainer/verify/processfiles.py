"""The container's process in /proc/PID, read on the host."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..kernel.constants import NS_FILES

# The names in /proc/PID/limits by RLIMIT_* number (proc_pid_limits(5)).
_LIMITS = (
    "Max cpu time", "Max file size", "Max data size", "Max stack size", "Max core file size", "Max resident set",
    "Max processes", "Max open files", "Max locked memory", "Max address space", "Max file locks",
    "Max pending signals", "Max msgqueue size", "Max nice priority", "Max realtime priority", "Max realtime timeout",
)  # fmt: skip
_WIDTH = 26  # of the first column there
UNLIMITED = (1 << 64) - 1


def status(pid: int | str) -> dict[str, str]:
    """The fields of /proc/PID/status by name. Raises OSError."""
    fields = {}
    for line in Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines():
        name, _, value = line.partition(":")
        fields[name] = value.strip()
    return fields


def limits(pid: int) -> dict[int, tuple[int, int]]:
    """The soft and hard resource limits by RLIMIT_* number. Raises OSError."""
    found = {}
    for line in Path(f"/proc/{pid}/limits").read_text().splitlines():
        name = line[:_WIDTH].strip()
        if name in _LIMITS:
            soft, hard = line[_WIDTH:].split()[:2]
            found[_LIMITS.index(name)] = (_limit(soft), _limit(hard))
    return found


def _limit(word: str) -> int:
    return UNLIMITED if word == "unlimited" else int(word)


def namespace(pid: int | str, type: str) -> tuple[int, int]:
    """A namespace's identity, its device and inode. Raises OSError."""
    found = os.stat(f"/proc/{pid}/ns/{NS_FILES[type]}")
    return found.st_dev, found.st_ino


def id_map(pid: int, kind: str) -> list[tuple[int, int, int]]:
    """The uid_map or gid_map (`kind`) as (id inside, id here, size). Raises OSError."""
    lines = Path(f"/proc/{pid}/{kind}_map").read_text().splitlines()
    return [(int(inside), int(outside), int(size)) for inside, outside, size in map(str.split, lines)]


def translated(number: int, lines: Sequence[tuple[int, int, int]]) -> int:
    """An id of the container as an id of this process's user namespace; -1 if it is not mapped."""
    for inside, outside, size in lines:
        if inside <= number < inside + size:
            return outside + number - inside
    return -1


def memory_policy(pid: int) -> str:
    """The memory policy of the process from numa_maps, such as `bind=static:0-1`; "" if it is unknown.

    numa_maps has the policy of each mapping. That of the first thread's stack is the thread's own, unless the process
    has changed that of the stack (mbind(2)).
    """
    for line in (text(pid, "numa_maps") or "").splitlines():
        words = line.split(" ")
        if "stack" in words[2:]:
            # A policy of two words, `weighted interleave:0` and `prefer (many):0`, ends where NAME=VALUE begins.
            end = 3 if words[1] == "weighted" or words[2].startswith("(many)") else 2
            return " ".join(words[1:end])
    return ""


def text(pid: int, name: str) -> str | None:
    """A file of /proc/PID without trailing blanks and NULs; None if it is missing or unreadable."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace").rstrip("\0 \n")
    except OSError:
        return None


def cgroup(pid: int) -> str:
    """The process's cgroup in the cgroup2 hierarchy, `/…`; "" for none. Raises OSError."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        number, _, path = line.split(":", 2)
        if number == "0":
            return path
    return ""
