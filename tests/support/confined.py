"""The confinements that systemd has for services, and a runtime each of whose commands runs in one of them.

`python -m tests.support.confined CONFINEMENT…` confines itself, then runs the commands that it reads from stdin, one a
line as JSON, and answers each with a line. The first line of stdin is the directory that stays writable. The docstring
of a confinement is its name in systemd.exec(5).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import platform
import resource
import stat
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.runtime import REPOSITORY, Result, Runtime

_MS_RDONLY, _MS_BIND, _MS_REC, _MS_PRIVATE = 1, 0x1000, 0x4000, 1 << 18
_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE, _ATTR_RDONLY = 442, -100, 0x8000, 1
_PR_SET_SECCOMP, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 22, 24, 38
_CAP_SYS_PTRACE, _CAP_MKNOD = 19, 27
_SECONDS = 60

_CALLS = {
    "x86_64": {
        "socket": 41, "kcmp": 312, "personality": 135, "sched_setaffinity": 203, "sched_setscheduler": 144,
        "sched_setattr": 314, "ioprio_set": 251, "keyctl": 250, "set_mempolicy": 238, "mmap": 9, "mprotect": 10,
        "prlimit64": 302, "ptrace": 101, "pidfd_getfd": 438,
    },
    "aarch64": {
        "socket": 198, "kcmp": 272, "personality": 92, "sched_setaffinity": 122, "sched_setscheduler": 119,
        "sched_setattr": 274, "ioprio_set": 30, "keyctl": 219, "set_mempolicy": 237, "mmap": 222, "mprotect": 226,
        "prlimit64": 261, "ptrace": 117, "pidfd_getfd": 438,
    },
}[platform.machine()]  # fmt: skip

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    type_ = kind.encode() if kind else None
    _check(_libc.mount(source.encode(), target.encode(), type_, ctypes.c_ulong(flags), data.encode()), target)


def _set_read_only(path: str, on: bool) -> None:
    """Make a tree of mounts read-only, or writable."""
    attributes = struct.pack("=4Q", *((_ATTR_RDONLY, 0) if on else (0, _ATTR_RDONLY)), 0, 0)
    _check(_libc.syscall(_MOUNT_SETATTR, _AT_FDCWD, path.encode(), _AT_RECURSIVE, attributes, 32), path)


def _own_mounts() -> None:
    _check(_libc.unshare(_CLONE_NEWNS), "unshare")
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)


def _bind(path: str) -> None:
    _mount(path, path, None, _MS_BIND | _MS_REC)


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


# A system call, the errno that it gets, and the arguments for which it gets it: (index, mask, value).
Rule = tuple[str, int, tuple[tuple[int, int, int], ...]]


def _refuse(rules: list[Rule]) -> None:
    """Install a seccomp filter. Needs CAP_SYS_ADMIN or no_new_privs."""
    load, jump, mask, end = 0x20, 0x15, 0x54, 0x06
    code = []
    for name, number, arguments in rules:
        length = 3 * len(arguments) + 1  # the length of what follows the comparison with the call's number
        code += [(load, 0, 0, 0), (jump, 0, length, _CALLS[name])]
        for index, bits, value in arguments:
            length -= 3
            code += [(load, 0, 0, 16 + 8 * index), (mask, 0, 0, bits), (jump, 0, length, value)]
        code.append((end, 0, 0, 0x00050000 | number))
    code.append((end, 0, 0, 0x7FFF0000))
    data = b"".join([struct.pack("=HBBI", *line) for line in code])
    program = _Program(len(code), data)
    _check(_libc.prctl(_PR_SET_SECCOMP, 2, ctypes.byref(program), 0, 0), "prctl(PR_SET_SECCOMP)")


def _families(*refused: int) -> None:
    _refuse([("socket", errno.EAFNOSUPPORT, ((0, 0xFFFFFFFF, family),)) for family in refused])


def _proc(options: str) -> None:
    _own_mounts()
    _mount("proc", "/proc", "proc", 14, options)


def _users(lines: str) -> None:
    """Enter a new user namespace with these maps. As with systemd, it does not own the mount namespace."""
    _own_mounts()
    waiting, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.read(waiting[0], 1)
        Path(f"/proc/{os.getppid()}/uid_map").write_text(lines)
        Path(f"/proc/{os.getppid()}/gid_map").write_text(lines)
        os.write(go[1], b"x")
        os._exit(0)
    _check(_libc.unshare(_CLONE_NEWUSER), "unshare")
    os.write(waiting[1], b"x")
    os.read(go[0], 1)
    os.waitpid(child, 0)
    for fd in (*waiting, *go):
        os.close(fd)


def unix_netlink(work: str) -> None:
    """RestrictAddressFamilies=AF_UNIX AF_NETLINK"""
    _families(2, 10, 17)


def unix(work: str) -> None:
    """RestrictAddressFamilies=AF_UNIX"""
    _families(2, 10, 16, 17)


def hidepid1(work: str) -> None:
    """ProtectProc=noaccess"""
    _proc("hidepid=1")


def hidepid2(work: str) -> None:
    """ProtectProc=invisible"""
    _proc("hidepid=2")


def hidepid4(work: str) -> None:
    """ProtectProc=ptraceable"""
    _proc("hidepid=4")


def subset(work: str) -> None:
    """ProcSubset=pid"""
    _proc("subset=pid")


def users_full(work: str) -> None:
    """PrivateUsers=full, in one line, as that of the first user namespace is"""
    _users("0 0 4294967295\n")


def users_identity(work: str) -> None:
    """PrivateUsers=identity"""
    _users("0 0 65536\n")


def users_root(work: str) -> None:
    """PrivateUsers=self of root"""
    _users("0 0 1\n")


def affinity(work: str) -> None:
    """CPUAffinity=0"""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def no_new_privs(work: str) -> None:
    """NoNewPrivileges="""
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")


def read_only(work: str) -> None:
    """ProtectSystem=strict, PrivateTmp= and ReadWritePaths="""
    _own_mounts()
    _bind(work)
    _set_read_only("/", True)
    for path in ("/proc", "/sys", "/dev", work):
        _set_read_only(path, False)


def few_files(work: str) -> None:
    """LimitNOFILE=64"""
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


def devices(work: str) -> None:
    """PrivateDevices="""
    _own_mounts()
    aside = Path(work) / "dev"
    aside.mkdir()
    _mount("tmpfs", str(aside), "tmpfs", 2, "mode=755")
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        number = os.stat("/dev/" + name).st_rdev
        os.mknod(aside / name, stat.S_IFCHR, number)
        os.chmod(aside / name, 0o666)
    (aside / "pts").mkdir()
    _mount("/dev/pts", str(aside / "pts"), None, _MS_BIND)
    (aside / "ptmx").symlink_to("pts/ptmx")
    (aside / "shm").mkdir()
    _mount(str(aside), "/dev", None, _MS_BIND | _MS_REC)
    _check(_libc.prctl(_PR_CAPBSET_DROP, _CAP_MKNOD, 0, 0, 0), "prctl(PR_CAPBSET_DROP)")


def tunables(work: str) -> None:
    """ProtectKernelTunables="""
    _own_mounts()
    for path in ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs"):
        if os.path.exists(path):
            _bind(path)
            _set_read_only(path, True)
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        path = line.split()[4]
        if (path + "/").startswith("/sys/") and not path.startswith("/sys/fs/cgroup"):
            with contextlib.suppress(OSError):
                _mount("none", path, None, 0x20 | _MS_BIND | _MS_RDONLY | 14)


def cgroups(work: str) -> None:
    """ProtectControlGroups="""
    _own_mounts()
    _set_read_only("/sys/fs/cgroup", True)


def syscalls(work: str) -> None:
    """SystemCallFilter= without what a service has no need of"""
    names = ("kcmp", "personality", "sched_setaffinity", "sched_setscheduler", "sched_setattr", "ioprio_set",
             "set_mempolicy", "ptrace")  # fmt: skip
    _refuse([(name, errno.EPERM, ()) for name in names])


def keyring(work: str) -> None:
    """SystemCallFilter=~@keyring"""
    _refuse([("keyctl", errno.EPERM, ())])


def write_or_execute(work: str) -> None:
    """MemoryDenyWriteExecute="""
    _refuse([("mmap", errno.EPERM, ((2, 6, 6),)), ("mprotect", errno.EPERM, ((2, 4, 4),))])


def no_ptrace(work: str) -> None:
    """CapabilityBoundingSet=~CAP_SYS_PTRACE"""
    _check(_libc.prctl(_PR_CAPBSET_DROP, _CAP_SYS_PTRACE, 0, 0, 0), "prctl(PR_CAPBSET_DROP)")


# In the order in which several of them are applied: a filter is the last.
CONFINEMENTS: dict[str, Callable[[str], None]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        hidepid1, hidepid2, hidepid4, subset, devices, tunables, cgroups, read_only, users_full, users_identity,
        users_root, affinity, few_files, no_ptrace, unix_netlink, unix, syscalls, keyring, write_or_execute,
        no_new_privs,
    )
}  # fmt: skip


class ConfinedRuntime(Runtime):
    """The runtime's command; a confined service runs each call of it."""

    def __init__(self, work: Path, template: Path, names: list[str]) -> None:
        super().__init__(work, template)
        self._service = subprocess.Popen(
            [sys.executable, "-m", "tests.support.confined", *names],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )
        assert self._ask(str(work)) == "", "the confinement failed"

    def _ask(self, question: dict[str, Any] | str) -> Any:
        assert self._service.stdin is not None
        assert self._service.stdout is not None
        self._service.stdin.write(json.dumps(question) + "\n")
        self._service.stdin.flush()
        line = self._service.stdout.readline()
        assert line, f"the service ended with {self._service.wait(60)}"
        return json.loads(line)

    def __call__(self, *args: str | Path, with_root: bool = True, terminal: bool = False, **more: Any) -> Result:
        """Run one command to its end. terminal: it gets a terminal, and the result's `out` is what the terminal
        shows.
        """
        assert not more, "not known of a confined runtime"
        command = self.argv(*args) if with_root else [*self.command, *map(str, args)]
        self._count += 1
        base = str(self.work / str(self._count))
        asked = {"argv": command, "env": self.environment(), "base": base, "terminal": terminal}
        code = self._ask(asked)["code"]
        return Result(command, code, _read(base + ".out"), _read(base + ".err"))

    def end(self) -> None:
        """End the service."""
        assert self._service.stdin is not None
        self._service.stdin.close()
        self._service.wait(60)


def _read(path: str) -> str:
    return Path(path).read_text(errors="surrogateescape")


def _run(asked: dict[str, Any]) -> int:
    argv, env, base = asked["argv"], asked["env"], asked["base"]
    cwd = os.path.dirname(base)
    with open(base + ".out", "wb") as out, open(base + ".err", "wb") as err:
        if not asked["terminal"]:
            return subprocess.run(
                argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=_SECONDS, check=False
            ).returncode
        master, slave = os.openpty()
        process = subprocess.Popen(
            argv,
            env=env,
            cwd=cwd,
            stdin=slave,
            stdout=slave,
            stderr=err,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - there are no threads
        )
        os.close(slave)
        with contextlib.suppress(OSError):  # EIO: the other side is closed
            while data := os.read(master, 4096):
                out.write(data)
        os.close(master)
        return process.wait(_SECONDS)


def main(arguments: list[str]) -> None:
    """Run the service."""
    work = json.loads(sys.stdin.readline())
    for name, function in CONFINEMENTS.items():
        if name in arguments:
            function(work)
    print('""', flush=True)
    for line in sys.stdin:
        print(json.dumps({"code": _run(json.loads(line))}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
