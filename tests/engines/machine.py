"""A machine for container engines: a Debian as the root of new namespaces, which shares only the kernel with the host.

The root is an overlay over a tree that is made once (scripts/fresh/debian.py). scripts/fresh/enter.py enters it with
only cgroup2 at /sys/fs/cgroup. The machine has its own mount, pid, IPC, UTS, cgroup and network namespaces; the network
has only the loopback. So everything that a daemon or a runtime makes ends with the machine's process 1. Needs root.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[2]
for _directory in ("fresh", "guest"):
    sys.path.insert(0, str(REPOSITORY / "scripts" / _directory))

import machine as fresh_machine  # noqa: E402

# The machine's PATH: the tested runtime comes first.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

ENVIRONMENT = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8"}

# Where engines keep images and layers: overlayfs refuses an upper directory on an overlay, so these are the host's.
STORES = ("var/lib/containerd", "var/lib/containers", "var/lib/docker")

# What the child of process 1 does first. Its cgroup is a leaf: the root enables controllers for the cgroups below it.
FIRST = """
mkdir /sys/fs/cgroup/init
for pid in 1 $$; do echo $pid > /sys/fs/cgroup/init/cgroup.procs; done
ip link set lo up
hostname engines
touch /run/ready
exec sleep infinity
"""


class Done(NamedTuple):
    """The result of a command: its exit code, negative if a signal ended it, and its output."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """All of the output, for a message."""
        return f"exit code {self.code}\n{self.out}{self.err}".rstrip()


def wait_for(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Wait until `condition` holds. AssertionError with `what` if it does not hold in time."""
    end = time.monotonic() + seconds
    while True:
        is_last = time.monotonic() >= end
        if condition():
            return
        assert not is_last, f"after {seconds:.0f} s: {what}"
        time.sleep(0.05)


class Machine:
    """A running machine. A context manager: at its end, nothing is left of it."""

    def __init__(self, tree: Path) -> None:
        """tree: a Debian's root directory, which is not changed."""
        self.work = Path(tempfile.mkdtemp(prefix="pyrunc-engines-"))
        self.tree = tree
        self.group = fresh_machine.cgroup()
        self.group_name = "" if self.group is None else self.group.name
        self.pid = 0
        self.python = ""  # an interpreter on it
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Machine:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        for name in ("upper", "overlay", "root", "stores"):
            (self.work / name).mkdir()
        root = self.work / "root"
        binds = []
        for store in STORES:
            (self.work / "stores" / store).mkdir(parents=True)
            (self.work / "upper" / store).mkdir(parents=True)
            binds.append((self.work / "stores" / store, root / store))
        options = f"lowerdir={self.tree},upperdir={self.work}/upper,workdir={self.work}/overlay"
        words = fresh_machine.words(
            root, "/", self.group, ("sh", "-euc", FIRST), binds, namespaces=("--net", "--cgroup")
        )
        # The overlay is in the machine's mount namespace too, and ends with it.
        place = words.index("-euc") + 1
        words[place] = f"mount -t overlay -o {options} overlay {root}\n{words[place]}"
        with (self.work / "log").open("wb") as log:
            # The machine ends with the process that made it, however that ends.
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=ENVIRONMENT, start_new_session=True,
            )  # fmt: skip
        wait_for(self._ready, f"the machine is not up: {self.work}/log")
        if self.group is not None:
            # unshare(1) itself, which waits outside of the machine's pid namespace.
            (self.group / "init/cgroup.procs").write_text(str(self.process.pid))

    def _ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.work / "log").read_text()
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        self.pid = int(children[0]) if children else 0
        return self.pid > 0 and self.path("/run/ready").exists()

    def __exit__(self, *error: object) -> None:
        if self.process is not None:
            self.process.kill()  # unshare --kill-child: process 1 ends too, and with it all others
            self.process.wait()
        if self.group is not None:
            fresh_machine.remove(self.group)
        shutil.rmtree(self.work, ignore_errors=True)

    def path(self, name: str) -> Path:
        """A file of the machine by its path on the host."""
        return Path(f"/proc/{self.pid}/root") / name.lstrip("/")

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        """Make a file of the machine."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def which(self, name: str) -> str:
        """The path of a program of the machine."""
        for directory in PATH.split(":"):
            if os.path.lexists(self.path(f"{directory}/{name}")):
                return f"{directory}/{name}"
        raise FileNotFoundError(f"the machine has no {name}")

    def cgroup(self, pid: int) -> Path:
        """The directory of the cgroup of a process of the machine."""
        lines = self.path(f"/proc/{pid}/cgroup").read_text().splitlines()
        # In the form of the reader's cgroup namespace: below the machine's own.
        return self.path("/sys/fs/cgroup") / os.path.relpath(lines[-1].partition("::")[2], f"/{self.group_name}")

    def words(self, *command: str) -> list[str]:
        """The command line by which the host runs a command on the machine, as root, in its cgroup."""
        enter = f"echo 0 > {self.group}/init/cgroup.procs && " if self.group is not None else ""
        return [
            "sh", "-c", enter + 'exec nsenter "$@"', "sh", "--target", str(self.pid), "--mount", "--pid", "--net",
            "--ipc", "--uts", "--cgroup", "--", *command,
        ]  # fmt: skip

    def run(
        self, *command: str, input: str = "", seconds: float = 60, environment: Mapping[str, str] | None = None
    ) -> Done:
        """Run a command to its end. Its output goes to files: processes that it leaves running may keep them open."""
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            given.write(input.encode())
            given.seek(0)
            process = subprocess.Popen(
                self.words(*command), stdin=given, stdout=out, stderr=err, env={**ENVIRONMENT, **(environment or {})}
            )
            try:
                code = process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                code = -signal.SIGALRM
            out.seek(0)
            err.seek(0)
            said = err.read().decode(errors="replace")
            if code == -signal.SIGALRM:
                said += f"\n{' '.join(command[:2])} has not ended after {seconds:.0f} s"
            return Done(code, out.read().decode(errors="replace"), said)

    def start(self, name: str, *command: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a daemon, which logs to /run/NAME.log of the machine."""
        with self.path(f"/run/{name}.log").open("ab") as log:
            return subprocess.Popen(
                self.words(*command), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**ENVIRONMENT, **(environment or {})}, start_new_session=True,
            )  # fmt: skip

    def pids(self, program: str, *words: str) -> list[int]:
        """The machine's processes, by their pids in it, that have this name and these words as arguments."""
        found = []
        for directory in self.path("/proc").glob("[0-9]*"):
            try:
                line = (directory / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            given = [word.decode(errors="replace") for word in line]
            if given[0].rpartition("/")[2] == program and all(word in given for word in words):
                found.append(int(directory.name))
        return found

    def kill(self, pids: Sequence[int], number: int = signal.SIGKILL) -> None:
        """Send a signal to processes of the machine."""
        self.run("kill", f"-{number}", *(str(pid) for pid in pids))
