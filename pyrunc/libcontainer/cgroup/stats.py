"""Resource usage of a cgroup: cgroup v2's files in the form of `runc events`.

Names, units (bytes, nanoseconds) and the members that are left out if they are 0 follow runc's JSON, which was made for
cgroup v1: swap is memory and swap together, and no limit of memory is the largest u64. A missing file, for example of a
controller that is not enabled, counts as zeros. Facts: the kernel's Documentation/admin-guide/cgroup-v2.rst,
Documentation/accounting/psi.rst.
"""

from __future__ import annotations

import errno
import posix

from ... import jsonio
from ...errors import PyruncError
from ..kernel.fileio import read_fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Stats = dict[str, Any]

_UNLIMITED = (1 << 64) - 1
# No such controller, no such file in this kernel, or the cgroup is being removed.
_ABSENT = (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP)
_OPERATIONS = (("rbytes", "ioServiceBytesRecursive", "Read"), ("wbytes", "ioServiceBytesRecursive", "Write"),
               ("rios", "ioServicedRecursive", "Read"), ("wios", "ioServicedRecursive", "Write"))  # fmt: skip
# Members of cgroup v1's cpuset that cgroup v2 does not have.
_CPUSET_V1 = (
    "cpu_exclusive", "mem_hardwall", "mem_exclusive", "memory_migrate", "memory_spread_page", "memory_spread_slab",
    "memory_pressure", "sched_load_balance", "sched_relax_domain_level",
)  # fmt: skip


def event(id: str, path: str) -> str:
    """The stats event of the cgroup at `path`, as JSON and a newline. Raises PyruncError."""
    return jsonio.dumps({"type": "stats", "id": id, "data": gather(path)}) + "\n"


def gather(path: str) -> Stats:
    """The statistics of the cgroup at `path`: an event's `data`. Raises PyruncError, also if the cgroup is gone."""
    try:
        fd = posix.open(path, posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
    except OSError as error:
        raise PyruncError(f"opening cgroup {path}", errno=error.errno or 0) from error
    try:
        found: Stats = {
            "cpu": _cpu(fd),
            "cpuset": _cpuset(fd),
            "memory": _memory(fd),
            "pids": _pids(fd),
            "blkio": _block_io(fd),
            "hugetlb": _huge_pages(fd, path),
            "intel_rdt": {},
            "network_interfaces": None,
        }
        rdma = _rdma(fd)
        if rdma:
            found["rdma"] = rdma
        return found
    except OSError as error:
        raise PyruncError(f"reading the statistics of cgroup {path}", errno=error.errno or 0) from error
    finally:
        posix.close(fd)


def read(cgroup_fd: int, file: str) -> str:
    """The content of a control file; "" if it does not exist. Raises OSError."""
    try:
        fd = posix.open(file, posix.O_RDONLY | posix.O_CLOEXEC, dir_fd=cgroup_fd)
    except OSError as error:
        if error.errno in _ABSENT:
            return ""
        raise
    try:
        return read_fd(fd)
    except OSError as error:
        if error.errno in _ABSENT:
            return ""
        raise
    finally:
        posix.close(fd)


def number(cgroup_fd: int, file: str, unlimited: int = 0) -> int:
    """The number in a control file: `unlimited` for "max", 0 if it does not exist. Raises OSError."""
    text = read(cgroup_fd, file).strip()
    return unlimited if text == "max" else int(text or "0")


def flat(text: str) -> dict[str, int]:
    """Parse a file of lines `KEY VALUE`."""
    words = text.split()
    return {key: int(value) for key, value in zip(words[::2], words[1::2], strict=False)}


def _without_zeros(values: Stats) -> Stats:
    return {name: value for name, value in values.items() if value}


def _cpu(cgroup_fd: int) -> Stats:
    stat = flat(read(cgroup_fd, "cpu.stat"))
    usage: Stats = _without_zeros({"total": stat.get("usage_usec", 0) * 1000})
    usage["kernel"] = stat.get("system_usec", 0) * 1000
    usage["user"] = stat.get("user_usec", 0) * 1000
    throttling = {
        "periods": stat.get("nr_periods", 0),
        "throttledPeriods": stat.get("nr_throttled", 0),
        "throttledTime": stat.get("throttled_usec", 0) * 1000,
    }
    return {"usage": usage, "throttling": _without_zeros(throttling), **pressure(cgroup_fd, "cpu")}


def pressure(cgroup_fd: int, resource: str) -> Stats:
    """The member `psi`; none if the kernel does not account pressure."""
    found: Stats = {}
    for line in read(cgroup_fd, resource + ".pressure").splitlines():
        kind, *words = line.split()
        values: Stats = {}
        for word in words:
            name, _, value = word.partition("=")
            values[name] = int(value) if name == "total" else float(value)
        found[kind] = values
    return {"psi": found} if found else {}


def _cpuset(cgroup_fd: int) -> Stats:
    found: Stats = {}
    for field, file in (("cpus", "cpuset.cpus.effective"), ("mems", "cpuset.mems.effective")):
        numbers = _numbers(read(cgroup_fd, file))
        if numbers:
            found[field] = numbers
    found.update(dict.fromkeys(_CPUSET_V1, 0))
    return found


def _numbers(text: str) -> list[int]:
    """The numbers of a list such as `0-2,5`."""
    found: list[int] = []
    for part in text.strip().split(","):
        low, _, high = part.partition("-")
        if low:
            found.extend(range(int(low), int(high or low) + 1))
    return found


def _memory(cgroup_fd: int) -> Stats:
    raw = flat(read(cgroup_fd, "memory.stat"))
    usage = _entry(cgroup_fd, "memory")
    swap = _entry(cgroup_fd, "memory.swap")
    both: Stats = {"limit": swap["limit"], "usage": swap.get("usage", 0) + usage.get("usage", 0), "failcnt": 0}
    if swap["limit"] != _UNLIMITED:
        both["limit"] = min(swap["limit"] + usage["limit"], _UNLIMITED)
    if not both["usage"]:
        del both["usage"]
    found: Stats = _without_zeros({"cache": raw.get("file", 0)})
    found["usage"] = usage
    found["swap"] = both
    found["kernel"] = {"limit": 0, **_without_zeros({"usage": raw.get("kernel", 0)}), "failcnt": 0}
    found["kernelTCP"] = {"limit": 0, **_without_zeros({"usage": raw.get("sock", 0)}), "failcnt": 0}
    if raw:
        found["raw"] = raw
    found.update(pressure(cgroup_fd, "memory"))
    found["event_count"] = flat(read(cgroup_fd, "memory.events"))
    return found


def _entry(cgroup_fd: int, name: str) -> Stats:
    """limit, usage, max and failcnt of `memory` or `memory.swap`."""
    values = {"usage": number(cgroup_fd, name + ".current"), "max": number(cgroup_fd, name + ".peak")}
    failures = flat(read(cgroup_fd, name + ".events")).get("max", 0)
    return {"limit": number(cgroup_fd, name + ".max", _UNLIMITED), **_without_zeros(values), "failcnt": failures}


def _pids(cgroup_fd: int) -> Stats:
    return _without_zeros({"current": number(cgroup_fd, "pids.current"), "limit": number(cgroup_fd, "pids.max")})


def _block_io(cgroup_fd: int) -> Stats:
    found: Stats = {}
    for line in read(cgroup_fd, "io.stat").splitlines():
        device, *words = line.split()
        major, _, minor = device.partition(":")
        values = dict([word.split("=", 1) for word in words if "=" in word])
        for key, field, operation in _OPERATIONS:
            if key in values:
                entry = {"major": int(major), "minor": int(minor), "op": operation, "value": int(values[key])}
                found.setdefault(field, []).append(_without_zeros(entry))
    return {**found, **pressure(cgroup_fd, "io")}


def _huge_pages(cgroup_fd: int, path: str) -> Stats:
    """The usage by page size, such as 2MB; with reserved pages if the kernel accounts them."""
    found: Stats = {}
    for name in sorted(posix.listdir(path)):
        words = name.split(".")
        if words[0] == "hugetlb" and words[2:] == ["current"]:
            size = words[1]
            usage = read(cgroup_fd, f"hugetlb.{size}.rsvd.current") or read(cgroup_fd, name)
            failures = flat(read(cgroup_fd, f"hugetlb.{size}.events")).get("max", 0)
            found[size] = {**_without_zeros({"usage": int(usage or "0")}), "failcnt": failures}
    return found


def _rdma(cgroup_fd: int) -> Stats:
    """current and limit, lists of entries with device, hcaHandles and hcaObjects; the largest u32 means no limit."""
    found: Stats = {}
    for file, field in (("rdma.current", "current"), ("rdma.max", "limit")):
        for line in read(cgroup_fd, file).splitlines():
            device, *words = line.split()
            values = dict([word.split("=", 1) for word in words])
            entry: Stats = {"device": device}
            for key, name in (("hca_handle", "hcaHandles"), ("hca_object", "hcaObjects")):
                if key in values:
                    entry[name] = 0xFFFFFFFF if values[key] == "max" else int(values[key])
            found.setdefault(field, []).append(entry)
    return found
