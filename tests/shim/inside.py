"""Run a command where shims and containerd can be tried: `python -m tests.shim.inside COMMAND…`. Needs root.

The command is in new mount, pid, cgroup, network, IPC and UTS namespaces, with only cgroup2 at /sys/fs/cgroup and with
empty file systems of its own at /run, /var/lib/containerd and /etc/pyrunc. So what a shim that was killed leaves behind
ends with the command, and no test meets the machine's containerd.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests import purev2

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "scripts/fresh"))

import machine  # noqa: E402

# Tells that a process is inside.
MARK = "PYRUNC_TEST_INSIDE"

NAMESPACES = ("--pid", "--fork", "--kill-child", "--net", "--ipc", "--uts")

# The cgroup namespace's root is the group; a cgroup with processes can't have controllers for those below it.
SCRIPT = """
echo $$ > $0/cgroup.procs
mkdir $0/tests
exec unshare --cgroup sh -euc 'echo $$ > $0/tests/cgroup.procs; exec unshare "$@"' "$0" "$@"
"""


def outside(command: list[str]) -> int:
    """Make the cgroup and the namespaces, and wait for the command in them."""
    group = machine.cgroup()
    if group is None:
        raise SystemExit("inside: this machine has no cgroup2 hierarchy")
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-euc", SCRIPT, str(group)]
    words += [*NAMESPACES, sys.executable, "-m", __spec__.name, *command]
    configuration = Path("/etc/pyrunc")
    is_missing = not configuration.exists()
    configuration.mkdir(exist_ok=True)
    try:
        return subprocess.run(words, env={**os.environ, MARK: str(os.getpid())}, check=False).returncode
    finally:
        machine.remove(group)
        if is_missing:
            configuration.rmdir()


def inside(command: list[str]) -> int:
    """Process 1: mount, run the command, and reap everything until it ends."""
    purev2.enter()
    # Debian's /run has neither programs nor devices; here it has the tests' root file systems.
    bare = "nosuid,nodev,noexec"
    mounts = (
        ("proc", "/proc", "rw"), ("tmpfs", "/run", "rw"), ("tmpfs", "/var/lib/containerd", "rw"),
        ("tmpfs", "/run/containerd-shim-pyrunc-v2", bare), ("tmpfs", "/etc/pyrunc", "rw"),
    )  # fmt: skip
    for kind, path, options in mounts:
        os.makedirs(path, exist_ok=True)
        subprocess.run(["mount", "-t", kind, "-o", options, kind, path], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    Path("/sys/fs/cgroup/cgroup.subtree_control").write_text(
        " ".join(f"+{name}" for name in Path("/sys/fs/cgroup/cgroup.controllers").read_text().split())
    )
    process = subprocess.Popen(command)
    while True:
        pid, status = os.wait()
        if pid == process.pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode if process.returncode >= 0 else 128 - process.returncode


if __name__ == "__main__":
    sys.exit(inside(sys.argv[1:]) if os.getpid() == 1 and MARK in os.environ else outside(sys.argv[1:]))
