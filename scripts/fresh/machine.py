"""The namespaces and the cgroup of a fresh machine, in which enter.py enters its root."""

from __future__ import annotations

import errno
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path


def cgroup() -> Path | None:
    """A new cgroup for a machine's processes, at the top of the host's cgroup2 hierarchy; None if the host has none.

    The machine sees the whole hierarchy, as a real machine does: only the true root has controllers and processes at
    once.
    """
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if " - cgroup2 " in line:
            path = Path(tempfile.mkdtemp(prefix="pyrunc-fresh-", dir=line.split(" ")[4]))
            path.chmod(0o755)
            return path
    return None


def remove(group: Path) -> None:
    """Remove a machine's cgroup once the processes in it have died. Raises OSError if they do not in a minute."""
    end = time.monotonic() + 60
    while True:
        try:
            for folder, _, _ in os.walk(group, topdown=False):
                os.rmdir(folder)
            return
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.ENOENT) or time.monotonic() > end:
                raise
        time.sleep(0.05)


def words(
    root: Path,
    directory: str,
    group: Path | None,
    command: Iterable[str],
    binds: Iterable[tuple[Path, Path]] = (),
    namespaces: Iterable[str] = (),
) -> list[str]:
    """The command line that runs `command` on the machine, in its directory `directory`.

    binds: directories of the host, and where in `root` they are mounted. namespaces: options of unshare(1) for more
    than the mount, pid, IPC and UTS namespaces; a cgroup namespace has `group` as its root. Killing the process of this
    command line kills the whole machine.
    """
    first = "".join(f"mount --bind {shlex.quote(str(a))} {shlex.quote(str(b))}\n" for a, b in binds)
    if group is not None:
        first += f"echo $$ > {shlex.quote(str(group))}/cgroup.procs\n"
    first += 'exec unshare --pid --fork --kill-child --ipc --uts "$@"'
    return [
        "unshare", "--mount", "--propagation", "private", "sh", "-euc", first, "sh", *namespaces,
        sys.executable, str(Path(__file__).with_name("enter.py")), str(root), directory, *command,
    ]  # fmt: skip
