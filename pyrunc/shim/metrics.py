"""The statistics of a container as containerd's io.containerd.cgroups.v2.Metrics. Hot.

Names are the kernel's except for the few below; units are the kernel's too (bytes, microseconds). Values of a
controller that is not enabled are 0, as with containerd's own shim. Source: github.com/containerd/cgroups,
cgroup2/stats.
"""

from __future__ import annotations

import posix

from ..errors import PyruncError
from ..libcontainer.cgroup import stats

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..protobuf import Message

_UNLIMITED = (1 << 64) - 1
_LARGEST_U32 = (1 << 32) - 1

_CPU = ("usage_usec", "user_usec", "system_usec", "nr_periods", "nr_throttled", "throttled_usec", "nr_bursts",
        "burst_usec")  # fmt: skip
# The names in memory.stat.
_MEMORY = (
    "anon", "file", "kernel_stack", "slab", "sock", "shmem", "file_mapped", "file_dirty", "file_writeback", "anon_thp",
    "inactive_anon", "active_anon", "inactive_file", "active_file", "unevictable", "slab_reclaimable",
    "slab_unreclaimable", "pgfault", "pgmajfault", "workingset_nodereclaim", "pgrefill", "pgscan", "pgsteal",
    "pgactivate", "pgdeactivate", "pglazyfree", "pglazyfreed", "thp_fault_alloc", "thp_collapse_alloc",
)  # fmt: skip
# The kernel counts these for anonymous and for file pages; the message has their sum.
_MEMORY_SUMS = ("workingset_refault", "workingset_activate")
_MEMORY_FILES = (
    ("usage", "memory.current"), ("usage_limit", "memory.max"), ("max_usage", "memory.peak"),
    ("swap_usage", "memory.swap.current"), ("swap_limit", "memory.swap.max"), ("swap_max_usage", "memory.swap.peak"),
)  # fmt: skip
_MEMORY_EVENTS = ("low", "high", "max", "oom", "oom_kill", "oom_group_kill")
_IO = ("rbytes", "wbytes", "rios", "wios")
_RDMA = (("hca_handle", "hca_handles"), ("hca_object", "hca_objects"))


def gather(path: str) -> Message:
    """The fields of Metrics, of the cgroup at `path`. Raises PyruncError, also if the cgroup is gone."""
    try:
        fd = posix.open(path, posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
    except OSError as error:
        raise PyruncError(f"opening cgroup {path}", errno=error.errno or 0) from error
    try:
        return _metrics(fd, path)
    except OSError as error:
        raise PyruncError(f"reading the statistics of cgroup {path}", errno=error.errno or 0) from error
    finally:
        posix.close(fd)


def _metrics(fd: int, path: str) -> Message:
    """Raises OSError."""
    found: Message = {
        "pids": {"current": stats.number(fd, "pids.current"), "limit": stats.number(fd, "pids.max", _UNLIMITED)},
        "cpu": _cpu(fd),
        "memory": _memory(fd),
        "rdma": {"current": _rdma(fd, "rdma.current"), "limit": _rdma(fd, "rdma.max")},
        "io": {"usage": _io(fd), "psi": _pressure(fd, "io")},
        "hugetlb": _huge_pages(fd, path),
    }
    events = stats.flat(stats.read(fd, "memory.events"))
    if events:
        found["memory_events"] = {name: events.get(name, 0) for name in _MEMORY_EVENTS}
    return found


def _pressure(fd: int, resource: str) -> Message | None:
    return stats.pressure(fd, resource).get("psi")


def _cpu(fd: int) -> Message:
    stat = stats.flat(stats.read(fd, "cpu.stat"))
    return {**{name: stat.get(name, 0) for name in _CPU}, "psi": _pressure(fd, "cpu")}


def _memory(fd: int) -> Message:
    """memory.stat exists only with the controller, as do the other files."""
    stat = stats.flat(stats.read(fd, "memory.stat"))
    if not stat:
        return {}
    found: Message = {name: stat.get(name, 0) for name in _MEMORY}
    for name in _MEMORY_SUMS:
        # Before Linux 5.9 one number.
        found[name] = stat.get(name, 0) + stat.get(name + "_anon", 0) + stat.get(name + "_file", 0)
    for name, file in _MEMORY_FILES:
        found[name] = stats.number(fd, file, _UNLIMITED)
    found["psi"] = _pressure(fd, "memory")
    return found


def _io(fd: int) -> list[Message]:
    found = []
    for line in stats.read(fd, "io.stat").splitlines():
        device, *words = line.split()
        major, _, minor = device.partition(":")
        values = dict([word.split("=", 1) for word in words if "=" in word])
        entry = {name: int(values.get(name, 0)) for name in _IO}
        found.append({"major": int(major), "minor": int(minor), **entry})
    return found


def _rdma(fd: int, file: str) -> list[Message]:
    found: list[Message] = []
    for line in stats.read(fd, file).splitlines():
        device, *words = line.split()
        values = dict([word.split("=", 1) for word in words])
        entry: Message = {"device": device}
        for key, name in _RDMA:
            value = values.get(key, "0")
            entry[name] = _LARGEST_U32 if value == "max" else int(value)
        found.append(entry)
    return found


def _huge_pages(fd: int, path: str) -> list[Message]:
    """One entry for each size of page, such as 2MB."""
    found: list[Message] = []
    for name in sorted(posix.listdir(path)):
        words = name.split(".")
        if words[0] == "hugetlb" and words[2:] == ["current"]:
            size = words[1]
            found.append(
                {
                    "current": stats.number(fd, name),
                    "max": stats.number(fd, f"hugetlb.{size}.max", _UNLIMITED),
                    "pagesize": size,
                    "failcnt": stats.flat(stats.read(fd, f"hugetlb.{size}.events")).get("max", 0),
                }
            )
    return found
