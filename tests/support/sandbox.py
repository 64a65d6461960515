"""A place in which any configuration may be tried: `python -m tests.support.sandbox WORK COMMAND…`.

Its process is the first of a new PID namespace, with mount, network, IPC, UTS and cgroup namespaces of its own. In it
the host's file systems are read-only, except WORK and /run, which are tmpfs; /sys/fs/cgroup is a cgroup2 hierarchy of
its own. So the sandbox sees everything that a configuration makes, and that ends with the sandbox. The process reads
one `Try` a line from stdin, as JSON, and answers each with one line. Without COMMAND the runtime's code runs in a fork,
which saves its start.

`Sandbox` is the other side.
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from tests.support import host
from tests.support.bundle import copy_rootfs, make_rootfs

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWPID = 0x00020000, 0x04000000, 0x08000000, 0x20000000
CLONE_NEWNET, CLONE_NEWCGROUP = 0x40000000, 0x02000000
MS_REC, MS_PRIVATE, MNT_DETACH = 0x4000, 1 << 18, 2
AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY = -100, 0x8000, 1
SYS_MOUNT_SETATTR = 442
PR_SET_PDEATHSIG = 1

CGROUPS = "/sys/fs/cgroup"
ID = "mutated"
SECONDS = 60

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(source: str, target: str, type: str, flags: int = 0, data: str = "") -> None:
    done = _libc.mount(source.encode(), target.encode(), type.encode(), ctypes.c_ulong(flags), data.encode())
    _check(done, f"mounting {type} on {target}")


class Outcome:
    """The result of one try.

    code: the exit code of `create`, -n if signal n ended it. err: its stderr. left: what it left on the host after its
    failure, or after `delete --force`. later: the code and stderr of each command after a create that worked.
    """

    def __init__(self, code: int, err: str, left: list[str], later: dict[str, tuple[int, str]]) -> None:
        self.code = code
        self.err = err
        self.left = left
        self.later = later

    @property
    def last_line(self) -> str:
        """The last line of stderr, which engines show."""
        lines = self.err.strip().split("\n")
        return lines[-1]


class Sandbox:
    """A sandbox at work. work: an existing directory, which a tmpfs covers in the sandbox. command: the runtime's, or
    empty for a fork. Needs root and a cgroup2 hierarchy."""

    def __init__(self, work: Path, command: list[str]) -> None:
        self.work = work
        self.bundle = work / "bundle"
        self.cgroup = Path(host.cgroup2_mount(), work.name)
        self.cgroup.mkdir()
        repository = Path(__file__).resolve().parents[2]
        self.errors = (work / "sandbox.err").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.sandbox", str(self.cgroup), str(work), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            cwd=repository,
        )

    def attempt(self, config: bytes, console: bool = False) -> Outcome:
        """Run `create` of the bundle with this content of its config.json; if that works `state`, `start` and `delete
        --force`. console: pass a console socket."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        line = json.dumps({"config": base64.b64encode(config).decode(), "console": console})
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, "the sandbox is gone:\n" + (self.work / "sandbox.err").read_text(errors="replace")
        return Outcome(**json.loads(answer))

    def close(self) -> None:
        """End the sandbox and everything that runs in it."""
        self.process.kill()
        self.process.communicate()
        self.errors.close()

        def gone() -> bool:
            for folder, names, _ in os.walk(self.cgroup, topdown=False):
                for name in [*names, "."]:
                    try:
                        os.rmdir(os.path.normpath(os.path.join(folder, name)))
                    except FileNotFoundError:
                        continue
                    except OSError:
                        return False
            return not self.cgroup.exists()

        host.wait_for("the sandbox to end", gone)


def _enter(cgroup: str, work: str) -> None:
    """Become the sandbox's first process. The calling process waits for it and exits with its exit code."""
    _check(_libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL), "prctl")
    Path(cgroup, "cgroup.procs").write_text("0")
    kinds = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWCGROUP
    _check(_libc.unshare(kinds), "unshare")
    pid = os.fork()
    if pid:
        for fd in (0, 1):
            os.close(fd)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 0xFF)
    _check(_libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL), "prctl")
    _mount("none", "/", "none", MS_REC | MS_PRIVATE)
    with open("/proc/self/mountinfo") as table:
        points = [mount.point for mount in host.mountinfo(table.read())]
    for point in sorted([point for point in points if (point + "/").startswith(CGROUPS + "/")], reverse=True):
        _check(_libc.umount2(point.encode(), MNT_DETACH), f"unmounting {point}")
    _mount("cgroup2", CGROUPS, "cgroup2")
    attributes = (ctypes.c_uint64 * 4)(MOUNT_ATTR_RDONLY, 0, 0, 0)
    done = _libc.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, b"/", AT_RECURSIVE, ctypes.byref(attributes), 32)
    _check(done, "making the host read-only")
    for point, type in (("/proc", "proc"), ("/run", "tmpfs"), (work, "tmpfs")):
        _mount(type, point, type, data="mode=755" if type == "tmpfs" else "")
    # This sandbox's own hierarchy, below its cgroup.
    _libc.umount2(CGROUPS.encode(), MNT_DETACH)
    _mount("cgroup2", CGROUPS, "cgroup2")


class _Ground:
    """The sandbox from the inside."""

    def __init__(self, work: Path, command: list[str]) -> None:
        self.work = work
        self.command = command
        self.bundle = work / "bundle"
        self.root = work / "root"
        self.template = work / "template"
        make_rootfs(self.template)
        self.bundle.mkdir()
        (self.bundle / "data").mkdir()
        self.count = 0
        self.before = self.look()

    def attempt(self, config: bytes, console: bool) -> Outcome:
        """Make one try and return what `Sandbox.attempt` returns."""
        shutil.rmtree(self.bundle / "rootfs", ignore_errors=True)
        copy_rootfs(self.template, self.bundle / "rootfs")
        (self.bundle / "config.json").write_bytes(config)
        path = self.work / "console.sock"
        flags = ["--console-socket", str(path)] if console else []
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            code, err = self.run("create", "--bundle", str(self.bundle), *flags, ID)
            later = {}
            if code == 0:
                for words in (("state", ID), ("start", ID), ("delete", "--force", ID)):
                    later[words[0]] = self.run(*words)
        path.unlink()
        return Outcome(code, err, self.left(), later)

    def run(self, *words: str) -> tuple[int, str]:
        """Run one command; returns its exit code, -n for signal n, and its stderr."""
        out = self.work / "err"
        argv = ["--root", str(self.root), *words]
        with out.open("wb") as err, open(os.devnull, "r+b") as null:
            if self.command:
                # Not Popen: it reaps the process itself if the process has ended before the Popen object is freed.
                streams = ((null.fileno(), 0), (null.fileno(), 1), (err.fileno(), 2))
                pid = os.posix_spawnp(
                    self.command[0],
                    [*self.command, *argv],
                    os.environ,
                    file_actions=[(os.POSIX_SPAWN_DUP2, fd, target) for fd, target in streams],
                    setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
                )
            else:
                pid = os.fork()
            if pid == 0:
                _become(argv, null.fileno(), err.fileno())
            code = self.wait(pid)
        return code, out.read_text(errors="replace")

    def wait(self, pid: int) -> int:
        """Reap the command, and all orphans that end before it."""
        until = time.monotonic() + SECONDS
        while True:
            found, status = os.waitpid(-1, os.WNOHANG)
            if found == pid:
                return os.waitstatus_to_exitcode(status)
            if found == 0:
                time.sleep(0.001)
            if time.monotonic() > until:
                os.kill(pid, signal.SIGABRT)

    def left(self) -> list[str]:
        """What exists now and did not before. Waits for what is being removed."""
        until = time.monotonic() + host.SECONDS
        while True:
            is_last = time.monotonic() >= until
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    continue
            except ChildProcessError:
                pass
            found = [line for line in self.look() if line not in self.before]
            if not found or is_last:
                return found
            time.sleep(0.005)

    def look(self) -> list[str]:
        """List the state directories, processes, mounts, cgroups, network devices, and files beside the bundle's
        own.
        """
        found = []
        if self.root.exists():
            found += ["state directory " + name for name in os.listdir(self.root) if name[0] != ":"]
        for pid in filter(str.isdigit, os.listdir("/proc")):
            if pid != str(os.getpid()):
                found.append("process " + pid + " " + _name_of(pid))
        found += ["mount " + line for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        found += ["cgroup " + os.path.join(folder, name) for folder, names, _ in os.walk(CGROUPS) for name in names]
        found += ["device " + line.split(":")[0] for line in Path("/proc/net/dev").read_text().splitlines()[2:]]
        for place in ("/run", self.bundle / "data"):
            found += [f"file {folder}/{name}" for folder, names, files in os.walk(place) for name in names + files]
        return found


def _name_of(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _become(argv: list[str], null: int, err: int) -> None:
    """Run a command in this process, as `python -m pyrunc` does, and exit."""
    code = 1
    try:
        for fd, target in ((null, 0), (null, 1), (err, 2)):
            os.dup2(fd, target)
        os.closerange(3, 1 << 10)
        from pyrunc import main

        code = main.main(["pyrunc", *argv])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        os.write(2, traceback.format_exc().encode("utf-8", "replace"))
    finally:
        os._exit(code)


def main(arguments: list[str]) -> None:
    """Run the sandbox's process."""
    cgroup, work, *command = arguments
    _enter(cgroup, work)
    # All commands first import the same modules: import them once, here.

    ground = _Ground(Path(work), command)
    for line in sys.stdin:
        wanted: dict[str, Any] = json.loads(line)
        outcome = ground.attempt(base64.b64decode(wanted["config"]), wanted["console"])
        sys.stdout.write(json.dumps(vars(outcome)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
