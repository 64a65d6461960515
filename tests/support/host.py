"""What the tests look at on the host: mounts, processes and cgroups with a test's name, and waiting for conditions."""

from __future__ import annotations

import contextlib
import gc
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


# When a wait gives up. Only a test that fails anyway waits so long, so it is far longer than anything takes on a busy
# machine.
SECONDS = 60.0


def wait_for(what: str, probe: Callable[[], T], seconds: float = SECONDS) -> T:
    """Call `probe` until its result is true, and return that; AssertionError if it is not after so many seconds."""
    end = time.monotonic() + seconds
    while True:
        is_last = time.monotonic() >= end  # before the look: this process may stand still between the two
        value = probe()
        if value:
            return value
        assert not is_last, f"waited {seconds} s in vain for {what}"
        time.sleep(0.005)


class Mount:
    """One line of mountinfo (proc_pid_mountinfo(5)). `options` are the mount's, `super_options` the file system's,
    `propagation` the words of the optional fields without their numbers."""

    def __init__(self, line: str) -> None:
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        self.device = fields[2]
        self.root = _unescape(fields[3])
        self.point = _unescape(fields[4])
        self.options = set(fields[5].split(","))
        self.propagation = {word.partition(":")[0] for word in fields[6:]}
        self.fstype, self.source, super_options = right.split(" ", 2)
        self.super_options = set(super_options.split(","))

    def __repr__(self) -> str:
        return (
            f"<{self.point} {self.fstype} {sorted(self.options)} {sorted(self.propagation)} "
            f"{sorted(self.super_options)} from {self.root}>"
        )


def _unescape(text: str) -> str:
    return text.encode().decode("unicode_escape") if "\\" in text else text


def mountinfo(text: str) -> list[Mount]:
    """The mounts in the text of a /proc/PID/mountinfo, in its order."""
    return [Mount(line) for line in text.splitlines() if " - " in line]


def mount_at(text: str, point: str) -> Mount:
    """The topmost mount at a mount point. AssertionError if there is none."""
    found = [mount for mount in mountinfo(text) if mount.point == point]
    assert found, f"no mount at {point} in:\n{text}"
    return found[-1]


def mounts_of(token: str) -> list[str]:
    """The mounts in this mount namespace whose line names `token`."""
    with open("/proc/self/mountinfo", errors="replace") as table:
        return [line for line in table if token in line]


def processes_of(token: str) -> list[str]:
    """The live processes that belong to a test: `token` is in their command line, or in their mounts (of another mount
    namespace). Each as `PID (name)`."""
    found = []
    own = _namespace("self", "mnt")
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if int(pid) == os.getpid():
            continue
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
            if stat.rpartition(")")[2].split()[0] in "ZX":
                continue
            text = Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
            if _namespace(pid, "mnt") != own:
                text += Path(f"/proc/{pid}/mountinfo").read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError, PermissionError, OSError):
            continue
        if token in text:
            found.append(f"{pid} ({stat.partition('(')[2].rpartition(')')[0]})")
    return found


def _namespace(pid: str, type: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/{type}")


def namespace(pid: int | str, type: str) -> str:
    """The name of a process's namespace, as in `uts:[4026531838]`."""
    return _namespace(str(pid), type)


def cgroup2_mount() -> str:
    """Where the cgroup2 hierarchy is mounted; "" if it is not."""
    with open("/proc/self/mountinfo") as table:
        points = [mount.point for mount in mountinfo(table.read()) if mount.fstype == "cgroup2"]
    if "/sys/fs/cgroup" in points:
        return "/sys/fs/cgroup"
    return points[0] if points else ""


def cgroups_of(token: str) -> list[str]:
    """The cgroups of the cgroup2 hierarchy whose name holds `token`."""
    root = cgroup2_mount()
    if not root:
        return []
    return [os.path.join(folder, name) for folder, names, _ in os.walk(root) for name in names if token in name]


def cgroup_of(pid: int | str) -> str:
    """A process's place in the cgroup2 hierarchy."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return line[3:]
    raise AssertionError(f"process {pid} is in no cgroup2 hierarchy")


def open_descriptors() -> list[str]:
    """The numbers of this process's descriptors. What earlier tests have left to the collector, such as sockets in a
    cycle, is closed before, and not between two looks."""
    gc.collect()
    return sorted(os.listdir("/proc/self/fd"))


def files_of(pid: int) -> dict[int, str]:
    """A process's descriptors and what they lead to. It may close some meanwhile, as an init does just after `create`
    has ended."""
    found = {}
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found[int(link.name)] = os.readlink(link)
    return found


def status_field(text: str, name: str) -> str:
    """A field of /proc/PID/status (proc_pid_status(5))."""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return value.strip()
    raise AssertionError(f"no {name} in:\n{text}")


def process_status(pid: int, name: str) -> str:
    """A field of a process's status on the host."""
    return status_field(Path(f"/proc/{pid}/status").read_text(), name)


def is_alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def children(pid: int) -> dict[int, tuple[str, str]]:
    """A process's children, each with its name and its state's letter. Leaves out children that end meanwhile."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            stat = Path(f"/proc/{child}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        name, _, rest = stat.partition("(")[2].rpartition(")")
        found[int(child)] = name, rest.split()[0]
    return found
