"""Run a command with a directory as the machine's root: `enter.py ROOT WORKING_DIRECTORY COMMAND…`, as root.

machine.py starts this script in new mount, pid, IPC and UTS namespaces, as process 1. The script enters the root by
pivot_root: in a chroot the kernel refuses user namespaces (user_namespaces(7), EPERM). /proc, /sys, /dev, /run and
/sys/fs/cgroup are the machine's own mounts; the last is the host's cgroup2 hierarchy and no other. The command gets the
caller's environment.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

# The nodes of /dev that every machine has, and those that a container may ask for: name, major, minor.
NODES = (
    ("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0),
    ("kmsg", 1, 11), ("fuse", 10, 229),
)  # fmt: skip

LINKS = {"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}

# File systems in the order in which they are mounted: type, place below the root, options.
MOUNTS = (
    ("proc", "proc", "nosuid,nodev,noexec"),
    ("sysfs", "sys", "nosuid,nodev,noexec"),
    ("cgroup2", "sys/fs/cgroup", "nosuid,nodev,noexec"),
    ("tmpfs", "run", "nosuid,nodev,mode=755"),
    ("tmpfs", "dev", "nosuid,mode=755"),
    ("devpts", "dev/pts", "nosuid,noexec,newinstance,ptmxmode=666,mode=620,gid=5"),
    ("tmpfs", "dev/shm", "nosuid,nodev"),
    ("mqueue", "dev/mqueue", "nosuid,nodev,noexec"),
)


def fill_dev(dev: Path) -> None:
    """Make the nodes and links of an empty /dev."""
    for name, major, minor in NODES:
        os.mknod(dev / name, stat.S_IFCHR, os.makedev(major, minor))
        (dev / name).chmod(0o666)  # mknod's mode is subject to the umask
    for name, target in LINKS.items():
        (dev / name).symlink_to(target)


def mount_all(root: Path) -> None:
    """Make `root` a mount, and mount in it what a machine has."""
    # With the mounts that are below it already.
    subprocess.run(["mount", "--rbind", root, root], check=True)
    for kind, place, options in MOUNTS:
        (root / place).mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", kind, "-o", options, kind, root / place], check=True)
        if place == "dev":
            fill_dev(root / place)


def pivot(root: Path) -> None:
    """Make `root` the root directory and unmount the old one."""
    (root / ".old").mkdir()
    os.chdir(root)
    subprocess.run(["pivot_root", ".", ".old"], check=True)
    os.chdir("/")
    subprocess.run(["umount", "-l", "/.old"], check=True)
    os.rmdir("/.old")


def main() -> int:
    """Run the command in sys.argv and return its exit code; 128 plus the signal's number if a signal ended it."""
    root, directory, *command = sys.argv[1:]
    mount_all(Path(root))
    pivot(Path(root))
    child = subprocess.Popen(command, cwd=directory)
    while True:
        # Process 1 reaps all orphans, as an init does.
        pid, status = os.wait()
        if pid == child.pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
