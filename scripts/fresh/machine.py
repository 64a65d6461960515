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

# The cgroup of the machine's processes. While one is in the cgroup at the top, no controller can be enabled for those
# below it (cgroups(7)).
SESSION = "session"


def cgroup() -> Path | None:
    """A new cgroup for a machine, in the host's cgroup2 hierarchy; None where the host has none mounted."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if " - cgroup2 " in line:
            path = Path(tempfile.mkdtemp(prefix="pyrunc-fresh-", dir=line.split(" ")[4]))
            path.chmod(0o755)  # the machine's users see it as /sys/fs/cgroup
            (path / SESSION).mkdir()
            return path
    return None


def remove(group: Path) -> None:
    """Remove a machine's cgroup, once what was in it has died. OSError where that does not happen in 10 s."""
    end = time.monotonic() + 10
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
    root: Path, directory: str, group: Path | None, command: Iterable[str], binds: Iterable[tuple[Path, Path]] = ()
) -> list[str]:
    """The command line that runs `command` on the machine, from `directory` of it.

    binds: directories of the host, and where in `root` they are mounted. Whoever is started by this and is killed takes
    the whole machine with him.
    """
    first = "".join(f"mount --bind {shlex.quote(str(a))} {shlex.quote(str(b))}\n" for a, b in binds)
    second = 'exec unshare --pid --fork --kill-child --ipc --uts "$@"'
    if group is not None:
        # The root of the cgroup namespace is the cgroup of whoever makes it, who then leaves that.
        first += f"echo $$ > {shlex.quote(str(group))}/cgroup.procs\n"
        second = f"echo $$ > {shlex.quote(str(group))}/{SESSION}/cgroup.procs\n" + second
    return [
        "unshare", "--mount", "--propagation", "private", "sh", "-euc", first + 'exec unshare --cgroup "$@"', "sh",
        "sh", "-euc", second, "sh",
        sys.executable, str(Path(__file__).with_name("enter.py")), str(root), directory, *command,
    ]  # fmt: skip
