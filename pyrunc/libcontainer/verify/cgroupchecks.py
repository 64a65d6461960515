"""Check the container's cgroup: its processes, limits and device rules."""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING

from ...errors import PyruncError
from ..cgroup import devices, files
from ..cgroup.limits import undoing
from ..cgroup.resources import Write, limits
from ..kernel.scheduling import indices
from . import processfiles

if TYPE_CHECKING:
    from .differences import Findings
    from .expected import Expected

_AT = "/linux/cgroupsPath"
_RULES = "/linux/resources/devices"
_PAGE = os.sysconf("SC_PAGE_SIZE")
# Files whose values the kernel rounds to whole pages.
_OF_PAGES = re.compile(r"memory\.(min|low|high|max|swap\.(high|max)|zswap\.max)|hugetlb\..*")
_LISTS = ("cpuset.cpus", "cpuset.mems", "cpuset.cpus.exclusive")


def check(expected: Expected, pid: int, findings: Findings) -> None:
    """Compare the cgroup's files. Raises OSError if the process ends meanwhile, PyruncError."""
    directory = expected.record.cgroup
    if not directory:
        return
    own = _in_hierarchy(directory, expected)
    found = processfiles.cgroup(pid)
    # A process may be in a cgroup below its container's, as with systemd in a container: the limits apply there too.
    if own and not (found + "/").startswith(own.rstrip("/") + "/"):
        findings.differ(_AT, "cgroup", own, found or "none")
    try:
        fd = files.open_directory(directory)
    except OSError as error:
        findings.differ(_AT, "cgroup", directory, (error.strerror or "").lower())
        return
    try:
        _limits(expected, fd, findings)
        _devices(expected, fd, findings)
    finally:
        os.close(fd)


def _in_hierarchy(directory: str, expected: Expected) -> str:
    """A cgroup's directory as /proc/PID/cgroup has it; "" where this process's cgroup namespace shows it otherwise."""
    mount = expected.facts.cgroup_mount
    if not mount or not directory.startswith(mount + "/"):
        return ""
    return directory[len(mount) :]


def _limits(expected: Expected, fd: int, findings: Findings) -> None:
    resources = expected.linux.get("resources") or {}
    groups: list[list[Write]] = []
    for write in limits(resources, expected.facts).writes:
        if write.fallback_level:
            groups[-1].append(write)
        else:
            groups.append([write])
    # The last of several writes to one file, or to one line of it, counts.
    last = {(group[0].file, _key(group[0])): group for group in groups}
    for group in last.values():
        _limit(group, fd, findings)


def _key(write: Write) -> str:
    """The part of a file that a write changes: a device with its key, or nothing for the whole file."""
    words = write.value.split()
    return " ".join([words[0], *(word.partition("=")[0] for word in words[1:])]) if ":" in write.value else ""


def _limit(group: list[Write], fd: int, findings: Findings) -> None:
    """Compare one limit. One of its alternatives must hold."""
    shown = ""
    for write in group:
        try:
            found = _read(fd, write.file)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EACCES):
                raise
            if write.optional:
                return
            if not shown:
                shown = "no such file" if error.errno == errno.ENOENT else "not readable"
            continue
        text = undoing(write.file, found, write.value).strip()
        if holds(write, text):
            return
        shown = " ".join(text.split())
    write = group[0]
    findings.differ(write.pointer, write.file, write.value, shown)


def holds(write: Write, found: str) -> bool:
    """Whether a control file still has the written value. found: its text, or the line of the same device.

    The kernel rounds down to pages, sorts lists, and adds what a write left out.
    """
    wanted = write.value.split()
    words = found.split()
    if wanted == words:
        return True
    if write.file in _LISTS:
        return _numbers(write.value) == _numbers(found)
    if _OF_PAGES.fullmatch(write.file) and len(wanted) == len(words) == 1 and (wanted + words)[0].isdigit():
        size = _PAGE
        if write.file.startswith("hugetlb."):
            size = _page_size(write.file)
        return words[0].isdigit() and int(wanted[0]) // size == int(words[0]) // size
    pairs = dict(word.split("=", 1) for word in words if "=" in word)
    if any("=" in word for word in wanted):
        return all(pairs.get(*_pair(word)) == _pair(word)[1] for word in wanted if "=" in word)
    if write.file.endswith("weight") and len(wanted) == 1:
        return words[-1:] == wanted  # `default 100`
    return len(wanted) < len(words) and words[: len(wanted)] == wanted


def _pair(word: str) -> tuple[str, str]:
    name, _, value = word.partition("=")
    return name, value


def _numbers(text: str) -> list[int] | None:
    try:
        return indices(text.strip())
    except ValueError:
        return None


def _page_size(file: str) -> int:
    """The size of the huge pages of `hugetlb.2MB.max`."""
    found = re.match(r"hugetlb\.(\d+)([KMG])B\.", file)
    return int(found[1]) << {"K": 10, "M": 20, "G": 30}[found[2]] if found else 1


def _read(directory: int, name: str) -> str:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        return os.read(fd, 1 << 20).decode("utf-8", "replace")
    finally:
        os.close(fd)


def _devices(expected: Expected, fd: int, findings: Findings) -> None:
    """Compare the device program by the kernel's digest of it."""
    rules = (expected.linux.get("resources") or {}).get("devices") or ()
    if expected.facts.euid != 0 or expected.facts.in_userns:
        return  # such a runtime does not attach one
    paths = [device["path"] for device in expected.linux.get("devices") or ()]
    wanted = devices.rules_for(rules, paths)
    try:
        found = devices.has(fd, devices.assemble(wanted))
    except (OSError, PyruncError) as error:
        findings.miss(_RULES, "device rules", str(error))
        return
    if not found:
        text = "no program of pyrunc's is attached" if found is None else "another program is attached"
        findings.differ(_RULES, "device rules", f"an eBPF program of {len(wanted)} rules", text)
