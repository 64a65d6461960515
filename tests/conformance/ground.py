"""The surroundings of one program of the suite: nothing that it or a runtime does reaches the host, and nothing is
left.

The program has a mount namespace with only cgroup2 at /sys/fs/cgroup, and with a /run and a null device of its own; a
pid namespace, so that all processes that it leaves end with it; and a cgroup namespace, whose root is removed
afterwards. Needs root.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tests import purev2
from tests.support import host

REPOSITORY = Path(__file__).resolve().parents[2]

# The tests' bundles and the runtimes' state are here: a file system in memory.
WORK = "/run"


class Ended(NamedTuple):
    """The result of a program: its exit code, None if it took too long and was ended, and its output."""

    code: int | None
    out: str
    err: str


class Ground:
    """The cgroup beneath which the programs run. A context manager."""

    def __init__(self, hierarchy: str) -> None:
        """hierarchy: where cgroup2 is mounted."""
        self.cgroup = Path(hierarchy) / f"pyrunc-conformance-{os.getpid()}"

    def __enter__(self) -> Ground:
        self.cgroup.mkdir()
        return self

    def __exit__(self, *error: object) -> None:
        remove(self.cgroup)

    def run(self, name: str, program: Path, environment: dict[str, str], seconds: float) -> Ended:
        """Run the program in its directory. No other program that runs at the same time may have this `name`."""
        cgroup = self.cgroup / name
        cgroup.mkdir()
        command = [sys.executable, "-m", "tests.conformance.ground", str(cgroup), str(program)]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=REPOSITORY,
            env=environment,
        )
        try:
            out, err = process.communicate(timeout=seconds)
            code: int | None = process.returncode
        except subprocess.TimeoutExpired:
            # The program's pid namespace ends with this process.
            process.kill()
            out, err = process.communicate()
            code = None
        finally:
            process.kill()
            remove(cgroup)
        return Ended(code, out.decode(errors="replace"), err.decode(errors="replace"))


def remove(cgroup: Path, seconds: float = host.SECONDS) -> None:
    """Kill the processes in a cgroup and those below it, and remove them. Raises OSError if that takes too long."""
    (cgroup / "cgroup.kill").write_text("1")
    end = time.monotonic() + seconds
    for path in [*sorted(filter(Path.is_dir, cgroup.rglob("*")), reverse=True), cgroup]:
        while True:
            try:
                path.rmdir()
                break
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)


def _enter(cgroup: Path) -> None:
    (cgroup / "cgroup.procs").write_text("0")
    purev2.enter(purev2.CLONE_NEWCGROUP)
    # A cgroup that enables controllers for those below it has no processes itself.
    below = Path("/sys/fs/cgroup/suite")
    below.mkdir()
    (below / "cgroup.procs").write_text("0")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", WORK], check=True)
    # The suite gives containers /dev/null for stdin, and some runtimes give stdin to the container's user.
    null = WORK + "/null"
    os.mknod(null, stat.S_IFCHR, os.makedev(1, 3))
    os.chmod(null, 0o666)
    subprocess.run(["mount", "--bind", null, "/dev/null"], check=True)


def main(cgroup: str, program: str) -> None:
    """Become the program, in its new surroundings."""
    _enter(Path(cgroup))
    os.chdir(os.path.dirname(program))
    # The shell waits for processes that the runtimes leave to the first process.
    shell = ["sh", "-c", '"$@"; exit "$?"', "sh", program]
    os.execvp("unshare", ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--", *shell])


if __name__ == "__main__":
    main(*sys.argv[1:])
