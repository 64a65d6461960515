"""CRIU as a child process that serves one request on a socket (`criu swrk FD`), and notifies of each stage.

CRIU's answers are not trusted: messages are bounded and decoded by tables, descriptors are accepted only at their
place, and the caller checks pids. CRIU's own cause of a failure is in its log (cause.py).
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from ... import log, protobuf
from ...errors import PyruncError, errno_text
from ..kernel import interrupts, native
from . import cause, rpc

# The oldest supported version: major, minor, sublevel.
OLDEST = (3, 17, 0)

# The first descriptor that CRIU gets besides its socket, which is 3.
FIRST_FD = 4
_SOCKET = 3
_LARGEST_FD = 2**31 - 1
_LARGEST_MESSAGE = 1 << 16
# How long CRIU may take to restore the state of processes after it is told to give up. Then it is killed.
CURE_MS = 20_000
# Directories that PATH may lack under a service manager or conmon: CRIU and its programs (tar, ip, nft) are here.
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_STDERR_KEPT = 1 << 16
_LOOK_MS = 500
_DIED_UNHEARD = 127

# Called with the name of the stage, its pid (0 for none) and its descriptors.
Notified = Callable[[str, int, list[int]], None]


def find() -> str:
    """The path of CRIU. Raises PyruncError if it is not in $PATH."""
    found = which("criu")
    if found is None:
        elsewhere = shutil.which("criu", path=_PATH)
        hint = f"it is {elsewhere}, which $PATH does not reach" if elsewhere else "install criu, 3.17 or later"
        raise PyruncError('exec: "criu": executable file not found in $PATH', hint=hint)
    return found


def which(name: str) -> str | None:
    """The path of a program, in the directories for CRIU and its programs; None if there is none."""
    return shutil.which(name, path=os.environ.get("PATH") or _PATH)


class Criu:
    """A CRIU that waits for a request, and that ends with `end`.

    pid: its process. log: the path of the request's log, for errors; "" for none.
    patience_s: the timeout of its next message, if it has no work left; 0 for none.
    """

    def __init__(
        self,
        program: str,
        *,
        stdio: bool = False,
        fds: Sequence[int] = (),
        prepare: Callable[[], Sequence[int]] | None = None,
        keys: bool = True,
    ) -> None:
        """Start CRIU.

        stdio: it gets this process's standard streams, which restored processes inherit; else null devices, and its
            output before it has a log is kept for an error.
        fds: descriptors that it gets from FIRST_FD on.
        prepare: called in the child before it executes CRIU; it may raise PyruncError and OSError. It returns further
            descriptors, which follow `fds`. Then descriptors in requests, such as images_dir_fd, are those of CRIU
            itself; otherwise they are this process's. In another mount namespace CRIU could mount nothing below a
            directory that this process has opened.
        keys: whether signals of the terminal (INT, QUIT, HUP) end it. Otherwise `end` does.
        Raises PyruncError if it can't be started, and the errors of `prepare`.
        """
        self.log = ""
        self.patience_s = 0
        self._errors = -1 if stdio else os.memfd_create("pyrunc-criu", os.MFD_CLOEXEC)
        self._socket, other = native.socketpair()
        self.status = 0
        self.pid = 0
        self._pidfd = -1
        reader, writer = os.pipe2(os.O_CLOEXEC)
        try:
            self.pid = os.fork()
            if self.pid == 0:
                _become(program, (other, *fds), self._errors, writer, prepare, keys)
        finally:
            os.close(other)
            os.close(writer)
        try:
            self._pidfd = os.pidfd_open(self.pid)
            with open(reader, "rb") as stream:
                while not interrupts.poll([reader]):
                    continue
                told = stream.read()
            if told:
                raise _reported(told)
            if prepare is not None:
                self._socket, handed = _handed_over(self._socket)
                os.close(handed)
        except BaseException:
            self.close()
            raise

    def perform(self, kind: int, notified: Notified | None = None, **parts: Any) -> protobuf.Message:
        """Have CRIU carry out a request. Returns its last answer.

        kind: one of rpc's. notified: called at each stage. If it raises, CRIU fails, and the exception is raised here
        after CRIU has given up. parts: the request's other fields.
        Raises PyruncError with CRIU's own cause.
        """
        native.send(self._socket, protobuf.encode(rpc.REQUEST, {"type": kind, **parts}))
        while True:
            answer, fds = self._receive(kind)
            if answer["type"] != rpc.NOTIFY or not answer["success"]:
                _close(fds)
                break
            notice = answer.get("notify", {})
            try:
                if notified is not None:
                    notified(notice.get("script", ""), max(notice.get("pid", 0), 0), fds)
            except BaseException:
                self._refuse(kind)
                raise
            finally:
                _close(fds)
            native.send(self._socket, protobuf.encode(rpc.REQUEST, {"type": rpc.NOTIFY, "notify_success": True}))
        if not answer["success"]:
            raise self._failed(answer)
        if answer["type"] != kind:
            name = rpc.TYPES.get(answer["type"], answer["type"])
            raise PyruncError(f"CRIU has answered {name} to {rpc.TYPES[kind]}")
        return answer

    def _refuse(self, kind: int) -> None:
        """Tell CRIU that a stage has failed, and wait until it has given up and undone its effects."""
        try:
            native.send(self._socket, protobuf.encode(rpc.REQUEST, {"type": rpc.NOTIFY, "notify_success": False}))
            while native.poll([self._socket, self._pidfd], CURE_MS):
                answer, fds = self._receive(kind)
                _close(fds)
                if answer["type"] != rpc.NOTIFY:
                    return
                native.send(self._socket, protobuf.encode(rpc.REQUEST, {"type": rpc.NOTIFY, "notify_success": False}))
        except (OSError, PyruncError):
            return  # it has ended, as it should

    def _receive(self, kind: int) -> tuple[protobuf.Message, list[int]]:
        """CRIU's next message, and its descriptors."""
        # Restored processes have its socket too, so the socket stays open after the end of CRIU.
        ready: list[int] = []
        begin = time.monotonic()
        while not ready:
            if self.patience_s and time.monotonic() > begin + self.patience_s:
                raise PyruncError(
                    f"criu failed: it has not ended {rpc.TYPES[kind]} within {self.patience_s} s", hint=self._hint()
                )
            ready = interrupts.poll([self._socket, self._pidfd], _LOOK_MS if self.patience_s else -1)
        if self._socket not in ready:
            raise self._died(kind)
        try:
            data, fds = native.recv(self._socket, _LARGEST_MESSAGE, 1)
        except ConnectionResetError:
            data, fds = b"", []
        except OSError as error:
            raise PyruncError(f"reading CRIU's answer to {rpc.TYPES[kind]}", errno=error.errno or 0) from error
        if not data:
            raise self._died(kind)
        try:
            return protobuf.decode(rpc.RESPONSE, data), fds
        except protobuf.MalformedError as error:
            _close(fds)
            raise PyruncError(f"CRIU's answer to {rpc.TYPES[kind]} can't be understood: {error}") from error

    def _failed(self, answer: protobuf.Message) -> PyruncError:
        """The error for CRIU's answer that it has failed."""
        reason = self._cause() or answer.get("cr_errmsg", "").strip()
        number = answer.get("cr_errno", 0)
        if not reason:
            reason = errno_text(number) if number > 0 else f"{rpc.TYPES.get(answer['type'], '')} without a reason"
        return PyruncError(f"criu failed: {reason}", hint=self._hint())

    def _died(self, kind: int) -> PyruncError:
        self.end()
        reason = self._cause()
        code = os.waitstatus_to_exitcode(self.status)
        how = f"it was killed by signal {-code}" if code < 0 else f"it exited with {code}"
        message = f"criu failed: {how} before it had answered {rpc.TYPES[kind]}"
        return PyruncError(f"{message}: {reason}" if reason else message, hint=self._hint())

    def _cause(self) -> str:
        found = cause.last_error(self.log) if self.log else ""
        if not found and self._errors >= 0:
            found = cause.last_error_in(os.pread(self._errors, _STDERR_KEPT, 0))
        return found

    def _hint(self) -> str:
        return f"its log is {self.log}" if self.log and os.path.exists(self.log) else ""

    def end(self, patience_ms: int = CURE_MS) -> int:
        """Close the socket, and kill CRIU if it does not end by that. Returns its wait status."""
        if self._socket >= 0:
            os.close(self._socket)
            self._socket = -1
        if self.pid > 0:
            pid, self.pid = self.pid, 0
            if self._pidfd >= 0 and not _ends(self._pidfd, patience_ms):
                log.warning(f"CRIU does not end within {patience_ms / 1000:g} s, and is killed")
                os.kill(pid, signal.SIGKILL)
            self.status = os.waitpid(pid, 0)[1]
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        return self.status

    def close(self, patience_ms: int = CURE_MS) -> None:
        """End it, and close its output."""
        self.end(patience_ms)
        if self._errors >= 0:
            os.close(self._errors)
            self._errors = -1


def _ends(pidfd: int, patience_ms: int) -> bool:
    """Whether a process ends within so many milliseconds."""
    deadline = time.monotonic() + patience_ms / 1000
    while not native.poll([pidfd], max(int((deadline - time.monotonic()) * 1000), 0)):
        if time.monotonic() >= deadline:
            return False
    return True


def _close(fds: list[int]) -> None:
    while fds:
        os.close(fds.pop())


def _become(
    program: str,
    fds: Sequence[int],
    errors: int,
    writer: int,
    prepare: Callable[[], Sequence[int]] | None,
    keys: bool,
) -> NoReturn:
    """In the child: become CRIU, with fds[0] as its socket. What fails is written to `writer`."""
    try:
        # Restored processes may inherit ignored signals: Python ignores these two.
        for number in (signal.SIGPIPE, signal.SIGXFSZ, *interrupts.SIGNALS):
            signal.signal(number, signal.SIG_DFL)
        if not keys:
            for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if prepare is not None:
            fds = (_own_socket(fds[0]), *fds[1:], *prepare())
        if errors >= 0:
            null = os.open("/dev/null", os.O_RDWR)
            for fd, target in ((null, 0), (null, 1), (errors, 2)):
                os.dup2(fd, target)
        end = _SOCKET + len(fds)
        moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, end + 1) for fd in (writer, *fds)]
        for place, fd in enumerate(moved[1:], _SOCKET):
            os.dup2(fd, place)
        os.dup2(moved[0], end, inheritable=False)
        os.closerange(end + 1, _LARGEST_FD)
        writer = end
        environment = dict(os.environ)
        environment.setdefault("PATH", _PATH)
        os.execve(program, [program, "swrk", str(_SOCKET)], environment)
    except BaseException as error:  # after any exception the child must not go on as a second runtime
        _report(writer, program, error)
    os._exit(_DIED_UNHEARD)


def _own_socket(socket: int) -> int:
    """In the child: make a socket pair, send one end to the parent, and return the other. CRIU looks up the descriptors
    of a request in the process that made the socket (SO_PEERCRED of unix(7))."""
    own, other = native.socketpair()
    native.send(socket, b"socket", [other])
    return own


def _handed_over(socket: int) -> tuple[int, int]:
    """The socket that the child has sent, and the socket that transferred it."""
    fds = native.recv(socket, 16, 1)[1]
    if not fds:
        raise PyruncError("CRIU is gone before it was asked anything")
    return fds[0], socket


def _report(writer: int, program: str, error: BaseException) -> None:
    values: dict[str, Any] = {"message": str(error), "errno": 0, "pointer": "", "hint": ""}
    if isinstance(error, PyruncError):
        values = {
            "message": error.message, "errno": error.errno, "pointer": error.pointer, "hint": error.hint,
        }  # fmt: skip
    elif isinstance(error, OSError):
        values.update(message=f"fork/exec {error.filename or program}", errno=error.errno or 0)
    os.write(writer, json.dumps(values).encode())


def _reported(data: bytes) -> PyruncError:
    """The error that the child has written."""
    values = json.loads(data)
    return PyruncError(values["message"], errno=values["errno"], pointer=values["pointer"], hint=values["hint"])


def ask(program: str, kind: int, **parts: Any) -> protobuf.Message:
    """Start a CRIU for one request. Raises PyruncError."""
    criu = Criu(program)
    try:
        return criu.perform(kind, **parts)
    finally:
        criu.close()


def require_version(program: str) -> tuple[int, int, int]:
    """CRIU's version. Raises PyruncError if it is older than OLDEST, or unknown."""
    answer = ask(program, rpc.VERSION)
    told = answer.get("version")
    if told is None:
        raise PyruncError("CRIU version check failed: it tells no version")
    version = (told["major_number"], told["minor_number"], told.get("sublevel", 0))
    if version < OLDEST:
        raise PyruncError(
            f"CRIU version {'.'.join(map(str, version))} must be {'.'.join(map(str, OLDEST))} or higher",
            hint=f"it is {program}",
        )
    log.debug(f"CRIU {'.'.join(map(str, version))} ({program})")
    return version


def require_feature(program: str, name: str) -> None:
    """Raise PyruncError if CRIU lacks a feature on this kernel: `mem_track` or `lazy_pages`."""
    answer = ask(program, rpc.FEATURE_CHECK, features={name: True})
    if not answer.get("features", {}).get(name):
        word = {"mem_track": "MemTrack", "lazy_pages": "LazyPages"}[name]  # runc's words
        raise PyruncError(f"criu is missing features: [{word}]", hint="the kernel must have it too")
