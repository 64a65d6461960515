"""A fault at the Nth system call of a command and of everything that it starts, including its init.

The command runs in a fork of this process, or in a new program if a command line is given. A seccomp filter notifies
this process of each call that may fail, and the call waits for the answer: it goes on, fails with the injected error,
or a signal to the command comes first. See seccomp_unotify(2). x86-64 only.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import signal
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from tests.support import host

_libc = ctypes.CDLL(None, use_errno=True)

_SECCOMP, _PIDFD_GETFD = 317, 438
_SET_MODE_FILTER, _NEW_LISTENER = 1, 8
_ALLOW, _NOTIFY = 0x7FFF0000, 0x7FC00000
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_CONTINUE = 1
_NOTIFICATION = struct.Struct("QIIiIQ6Q")
_ANSWER = struct.Struct("Qqii")

# Calls that don't fail for lack of a resource, or whose failure nobody can handle: memory, signals, clocks, waiting,
# ids, closing, and the start and end of threads and programs. The filter lets them pass, which keeps it fast.
_HARMLESS = (
    3, 7, 8, 9, 10, 11, 12, 13, 14, 15, 25, 28, 35, 39, 60, 61, 62, 79, 95, 102, 104, 107, 108, 131, 158, 186, 202,
    218, 219, 228, 230, 231, 234, 247, 271, 273, 318, 334, 424,
)  # fmt: skip
# sched_yield, which the child calls until it is supervised; and the start of a program.
_SYNC, _EXECVE = 24, 59
_LISTENER = 3
# The names of processes whose calls count: the interpreter's (that runs the tests), the launcher's, the init's.
INIT = "pyrunc:[init]"

TraceFunction = Callable[[FrameType, str, Any], Any]

KILL, TERM = "SIGKILL", "SIGTERM"
# The init, not the command, is killed when it makes the call.
KILL_INIT = "SIGKILL of the init"
SECONDS = host.SECONDS


class Outcome:
    """The result of a command. code: its exit code, -n for signal n. err: its stderr.

    fired: where the fault was, "" if the command made fewer calls. calls: how many calls that count it made."""

    def __init__(self, code: int, err: str, fired: str, calls: int) -> None:
        self.code = code
        self.err = err
        self.fired = fired
        self.calls = calls

    def __repr__(self) -> str:
        return f"exit {self.code}, fault at {self.fired or 'none'} of {self.calls}\n{self.err}"


class Supervised:
    """A command under supervision, and the processes that it leaves running, until `close`.

    fault: a number of errno, KILL, TERM or KILL_INIT, or None. at: the number of the call, from 1 on. init: whether the
    init's calls are counted, or else the command's.
    """

    def __init__(
        self,
        arguments: list[str],
        err: Path,
        fault: int | str | None = None,
        at: int = 0,
        program: list[str] | None = None,
    ) -> None:
        self.err = err
        self.fault = fault
        self.at = at
        self.calls = 0
        self.fired = ""
        self._counting = program is None
        self._names: dict[int, str] = {}
        self._lock = threading.Lock()
        self.pid = os.fork()
        if self.pid == 0:
            _become(arguments, err, program, filtered=True)
        self._own_name = Path("/proc/self/comm").read_text().strip()
        self._pidfd = os.pidfd_open(self.pid)
        self._listener = self._take_listener()
        self._stop, self._stopper = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _take_listener(self) -> int:
        until = time.monotonic() + SECONDS
        link = f"/proc/{self.pid}/fd/{_LISTENER}"
        while time.monotonic() < until:
            try:
                if os.readlink(link) == "anon_inode:seccomp notify":
                    fd: int = _libc.syscall(_PIDFD_GETFD, self._pidfd, _LISTENER, 0)
                    assert fd >= 0, os.strerror(ctypes.get_errno())
                    os.set_inheritable(fd, False)
                    return fd
            except FileNotFoundError:
                pass
            time.sleep(0.0005)
        raise AssertionError("no seccomp listener")

    def arm(self, fault: int | str, at: int) -> None:
        """Count from now on, and inject the fault at this call."""
        with self._lock:
            self.fault, self.at, self.calls, self.fired = fault, at, 0, ""

    def wait(self) -> Outcome:
        """Wait for the command's end. Calls that its init makes later have no fault."""
        if not select.select([self._pidfd], [], [], SECONDS)[0]:
            state = Path(f"/proc/{self.pid}/stack").read_text()
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            raise AssertionError(f"hung after a fault at {self.fired}: {state}")
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        with self._lock:
            self.fault = None
            return Outcome(code, self.err.read_text(errors="replace"), self.fired, self.calls)

    def close(self) -> None:
        """End the supervision: calls of processes that still run get ENOSYS."""
        os.close(self._stopper)
        self._thread.join()
        for fd in (self._stop, self._listener, self._pidfd):
            os.close(fd)

    def _serve(self) -> None:
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        poll.register(self._stop, select.POLLIN)
        while True:
            ready = dict(poll.poll())
            if self._stop in ready:
                return
            if ready.get(self._listener, 0) & select.POLLHUP:
                poll.unregister(self._listener)
                continue
            buffer = bytearray(_NOTIFICATION.size)
            try:
                fcntl.ioctl(self._listener, _RECEIVE, buffer)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.EINTR):
                    continue
                raise
            id, pid, _, number, *_ = _NOTIFICATION.unpack(buffer)
            with self._lock:
                answer = self._judge(pid, number)
            try:
                fcntl.ioctl(self._listener, _SEND, _ANSWER.pack(id, 0, -answer, 0 if answer else _CONTINUE))
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.EINPROGRESS):  # killed, or interrupted by a signal
                    raise

    def _judge(self, pid: int, number: int) -> int:
        """The errno to inject, or 0 to go on."""
        if number == _SYNC:
            return 0
        if not self._counting:
            self._counting = number == _EXECVE
            return 0
        name = self._name(pid)
        if number == _EXECVE or name == "":
            self._names.pop(pid, None)
        if pid != self.pid and name not in (INIT, self._own_name):
            return 0
        self.calls += 1
        if self.calls != self.at or self.fault is None:
            return 0
        self.fired = f"call {self.calls}, number {number}, of {'the command' if pid == self.pid else name}"
        if isinstance(self.fault, int):
            return self.fault
        if self.fault == KILL_INIT and name != INIT:
            self.fired = ""
            return 0
        try:
            os.kill(
                pid if self.fault == KILL_INIT else self.pid, signal.SIGTERM if self.fault == TERM else signal.SIGKILL
            )
        except ProcessLookupError:
            pass
        return 0

    def _name(self, pid: int) -> str:
        if pid == self.pid:
            return self._own_name
        if self._names.get(pid) != INIT:
            try:
                self._names[pid] = Path(f"/proc/{pid}/comm").read_text().strip()
            except OSError:
                return ""
        return self._names[pid]


def call(arguments: list[str], err: Path, program: list[str] | None = None) -> Outcome:
    """Run the command without a fault."""
    pid = os.fork()
    if pid == 0:
        _become(arguments, err, program, filtered=False)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return Outcome(code, err.read_text(errors="replace"), "", 0)


def call_with_signal(arguments: list[str], err: Path, number: int, at: int) -> Outcome:
    """Run the command with a signal just before the Nth line of our own code that it reaches, from 1 on.

    The result's `calls` are the lines up to the command's end, or to the signal; `fired` names the signal's place.
    """
    told = err.with_suffix(".lines")
    told.unlink(missing_ok=True)
    pid = os.fork()
    if pid == 0:
        _trace(told, number, at)
        _become(arguments, err, None, filtered=False)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    count, _, fired = told.read_text().partition(" ")
    return Outcome(code, err.read_text(errors="replace"), fired, int(count))


def _trace(told: Path, number: int, at: int) -> None:
    """Count the lines of our own code, and send the signal at one of them."""
    lines = 0

    def trace(frame: FrameType, event: str, argument: object) -> TraceFunction | None:
        nonlocal lines
        code = frame.f_code
        if "/pyrunc/" not in code.co_filename:
            return None
        if event == "line":
            lines += 1
            if lines == at:
                told.write_text(f"{lines} {code.co_filename.rpartition('/')[2]}:{frame.f_lineno} in {code.co_qualname}")
                signal.raise_signal(number)
        return trace

    sys.settrace(trace)
    exit_now = os._exit

    def exit(code: int) -> NoReturn:
        sys.settrace(None)
        if not told.exists():
            told.write_text(f"{lines} ")
        exit_now(code)

    os._exit = exit  # type: ignore[assignment]


def _become(arguments: list[str], err: Path, program: list[str] | None, filtered: bool) -> None:
    """In the child: run the command and exit."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        null = os.open(os.devnull, os.O_RDWR)
        out = os.open(err, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        answer = os.open(err.with_suffix(".out"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        for fd, target in ((null, 0), (answer, 1), (out, 2)):
            os.dup2(fd, target)
        os.closerange(3, 1 << 12)
        if filtered:
            _install()
            os.sched_yield()
            os.close(_LISTENER)
        if program is not None:
            os.execve(program[0], [*program, *arguments], {"PATH": os.environ["PATH"]})
        from pyrunc import main

        code = main.main(["pyrunc", *arguments])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        os.write(2, traceback.format_exc().encode("utf-8", "replace"))
    finally:
        os._exit(code)


def _install() -> None:
    def statement(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("HBBI", code, yes, no, value)

    count = len(_HARMLESS)
    lines = [statement(0x20, 0)]  # the call's number
    lines += [statement(0x15, number, count - index) for index, number in enumerate(_HARMLESS)]
    lines += [statement(0x06, _NOTIFY), statement(0x06, _ALLOW)]
    code = ctypes.create_string_buffer(b"".join(lines))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(lines), ctypes.addressof(code)))
    fd = _libc.syscall(_SECCOMP, _SET_MODE_FILTER, _NEW_LISTENER, program)
    if fd != _LISTENER:
        raise OSError(ctypes.get_errno(), f"seccomp gave {fd}")
