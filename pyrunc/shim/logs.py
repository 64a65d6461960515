"""The targets of a container's output, as containerd names them: a FIFO, a file (file://) or a logger (binary://). Hot.

A logger is a program of the host that reads the container's standard output from descriptor 3 and standard error from
descriptor 4, and writes to descriptor 5 when it is ready (containerd's core/runtime/v2/README.md, Logging).
"""

from __future__ import annotations

import _signal
import errno
import fcntl
import posix

from .. import log
from ..errors import PyruncError, cut, errno_text
from ..libcontainer.kernel import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .loop import Loop, Timer

# The sorts of targets.
NULL, FIFO, FILE, LOGGER, STRICT_LOGGER = "null", "fifo", "file", "binary", "binary-v2"

_STDOUT, _STDERR, _READY = 3, 4, 5
# Descriptors that a logger gets are first moved above the numbers that it expects.
_ABOVE = 10
_DIRECTORY_MODE, _FILE_MODE = 0o755, 0o644
_IN = 0x001

# How long, in seconds, a logger may take to report that it is ready.
READY_SECONDS = 60.0
# How long, in seconds, a logger may read on after the end of the output, before SIGTERM and then before SIGKILL.
END_SECONDS = 2.0
TERM_SECONDS = 10.0


def parse(uri: str) -> tuple[str, str, list[str]]:
    """The sort of a target, its path, and for a logger its arguments: each key of the query and its value.

    A text without a scheme is the path of a FIFO, "" stands for no target. Raises PyruncError for another scheme. RFC
    3986.
    """
    if not uri:
        return NULL, "", []
    scheme, colon, rest = uri.partition("://")
    if not colon:
        return FIFO, uri, []
    rest, _, query = rest.partition("#")[0].partition("?")
    _, _, path = rest.partition("/")  # the text before the path is a host, which a file of this machine does not have
    path = "/" + _unquoted(path)
    if scheme in (FIFO, FILE):
        return scheme, path, []
    if scheme not in (LOGGER, STRICT_LOGGER):
        raise PyruncError(
            f"standard output {cut(repr(uri))}: the scheme must be fifo, file, binary or binary-v2, not {cut(scheme)}"
        )
    args = []
    known: set[str] = set()
    for part in query.split("&"):
        key, _, value = part.partition("=")
        if part and key not in known:  # if a key occurs twice, the first value counts
            known.add(key)
            args += [_unquoted(key.replace("+", " ")), _unquoted(value.replace("+", " "))]
    return scheme, path, args


def _unquoted(text: str) -> str:
    """Percent-encoded text, decoded. A `%` without two hexadecimal digits stays as it is."""
    first, *parts = text.split("%")
    if not parts:
        return text
    found = first.encode("utf-8", "surrogateescape")
    for part in parts:
        try:
            byte = bytes.fromhex(part[:2])
        except ValueError:
            byte = b""
        if len(byte) == 1 and " " not in part[:2]:
            found += byte + part[2:].encode("utf-8", "surrogateescape")
        else:
            found += b"%" + part.encode("utf-8", "surrogateescape")
    return found.decode("utf-8", "surrogateescape")


def open_file(path: str) -> int:
    """Open a file to append to. A missing one is made, with its directories. Raises PyruncError."""
    flags = posix.O_WRONLY | posix.O_APPEND | posix.O_CREAT | posix.O_CLOEXEC | posix.O_NOCTTY
    try:
        _make_directories(path.rpartition("/")[0])
        return posix.open(path, flags, _FILE_MODE)
    except OSError as error:
        raise PyruncError(f"opening the log file {path}", errno=error.errno or 0) from error


def _make_directories(path: str) -> None:
    if not path:
        return
    try:
        posix.mkdir(path, _DIRECTORY_MODE)
    except FileExistsError:
        pass
    except FileNotFoundError:
        _make_directories(path.rpartition("/")[0])
        posix.mkdir(path, _DIRECTORY_MODE)


def open_pipe(own: str = "", owner: tuple[int, int] = (0, 0)) -> tuple[int, int]:
    """A pipe, as (read end, write end). The end `own`, "read" or "write", is the shim's and does not block.

    owner: the uid and gid of the pipe, so that a program which opens /dev/stdout again may do so. Raises OSError.
    """
    reader, writer = posix.pipe2(posix.O_CLOEXEC)
    try:
        if own:
            posix.set_blocking(reader if own == "read" else writer, False)
        if owner != (0, 0):
            posix.fchown(reader, *owner)
    except OSError:
        posix.close(reader)
        posix.close(writer)
        raise
    return reader, writer


class Logger:
    """A logger, from its start to its end.

    stdout, stderr: the write ends of its pipes, for the container; -1 after `close`. They block, as a container's
        streams do: code that writes to them in the loop makes its copy non-blocking.
    """

    __slots__ = ("_closed", "_done", "_ended", "_loop", "_name", "_pid", "_ready", "_ready_fd", "_timer", "stderr",
                 "stdout")  # fmt: skip

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._name = ""
        self._pid = 0
        self._ready_fd = self.stdout = self.stderr = -1
        self._ready: Callable[[PyruncError | None], None] | None = None
        self._done: Callable[[], None] | None = None
        self._timer: Timer | None = None
        self._ended = self._closed = False

    def start(
        self,
        path: str,
        args: list[str],
        names: tuple[str, str],
        owner: tuple[int, int],
        strict: bool,
        ready: Callable[[PyruncError | None], None],
    ) -> None:
        """Start the program, and call `ready` once: with None when it is ready, or with the reason why not.

        names: the container's id and namespace. owner: uid and gid of the pipes. strict: only a byte on descriptor 5
        means that it is ready; else the end of the file means it too. Raises PyruncError if it does not start.
        """
        self._name = path
        fds: list[int] = []
        try:
            for own in ("", "", "read"):
                fds += open_pipe(own, owner)
            self._spawn(path, args, names, (fds[0], fds[2], fds[5]))
        except (OSError, ValueError) as error:
            for fd in fds:
                posix.close(fd)
            number = error.errno or 0 if isinstance(error, OSError) else errno.EINVAL
            raise PyruncError(f"starting the logger {path}", errno=number) from error
        for fd in (fds[0], fds[2], fds[5]):
            posix.close(fd)
        self.stdout, self.stderr, self._ready_fd = fds[1], fds[3], fds[4]
        self._ready = ready
        self._loop.process(self._pid, self._on_exit)
        self._loop.watch(self._ready_fd, _IN, lambda events: self._on_ready(strict))
        self._timer = self._loop.after(READY_SECONDS, self._too_late)

    def _spawn(self, path: str, args: list[str], names: tuple[str, str], given: tuple[int, int, int]) -> None:
        """Raises OSError, and ValueError for a NUL in an argument."""
        id, namespace = names
        high: list[int] = []
        try:
            for fd in given:
                high.append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _ABOVE))
            actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
                (posix.POSIX_SPAWN_OPEN, fd, "/dev/null", posix.O_RDWR, 0) for fd in (0, 1, 2)
            ]
            actions += [
                (posix.POSIX_SPAWN_DUP2, fd, number)
                for fd, number in zip(high, (_STDOUT, _STDERR, _READY), strict=True)
            ]
            env = {b"CONTAINER_ID": native.fs_bytes(id), b"CONTAINER_NAMESPACE": native.fs_bytes(namespace)}
            argv = [native.fs_bytes(word) for word in (path, *args)]
            self._pid = native.spawn(path, argv, env, actions)
        finally:
            for fd in high:
                posix.close(fd)

    def _on_ready(self, strict: bool) -> None:
        try:
            data = posix.read(self._ready_fd, 1)
        except BlockingIOError:
            return
        except OSError as error:
            self._answer(PyruncError(f"waiting for the logger {self._name}", errno=error.errno or 0))
            return
        if strict and not data:
            self._answer(PyruncError(f"the logger {self._name} has not said that it is ready"))
        else:
            self._answer(None)

    def _too_late(self) -> None:
        self._answer(PyruncError(f"the logger {self._name} was not ready after {READY_SECONDS:.0f} s"))

    def _answer(self, failure: PyruncError | None) -> None:
        ready, self._ready = self._ready, None
        if ready is None:
            return
        self._end_timer()
        self._loop.unwatch(self._ready_fd)
        posix.close(self._ready_fd)
        self._ready_fd = -1
        ready(failure)

    def _end_timer(self) -> None:
        if self._timer is not None:
            self._loop.cancel(self._timer)
            self._timer = None

    def _on_exit(self, code: int) -> None:
        self._ended = True
        self._end_timer()
        if not self._closed:
            log.warning(f"the logger {self._name} has ended with {code} before the container")
        done, self._done = self._done, None
        if done is not None:
            done()

    def close(self, done: Callable[[], None]) -> None:
        """Close the pipes at the end of the output, and call `done` when the logger has ended.

        The logger reads what is left, up to the end of the file. If it does not end then, it gets SIGTERM, and later
        SIGKILL.
        """
        self._closed = True
        self._ready = None
        if self._ready_fd >= 0:
            self._loop.unwatch(self._ready_fd)
        for fd in (self.stdout, self.stderr, self._ready_fd):
            if fd >= 0:
                posix.close(fd)
        self.stdout = self.stderr = self._ready_fd = -1
        self._end_timer()
        if self._ended or not self._pid:
            done()
            return
        self._done = done
        self._timer = self._loop.after(END_SECONDS, self._terminate)

    def _terminate(self) -> None:
        self._kill(_signal.SIGTERM)
        self._timer = self._loop.after(TERM_SECONDS, self._kill_at_last)

    def _kill_at_last(self) -> None:
        self._timer = None
        log.warning(f"the logger {self._name} has not ended {TERM_SECONDS:.0f} s after SIGTERM: it is killed")
        self._kill(_signal.SIGKILL)

    def _kill(self, number: int) -> None:
        try:
            posix.kill(self._pid, number)  # it is a child of the shim and not reaped, so the pid is still its own
        except OSError as error:
            log.warning(f"signal {number} for the logger {self._name}: {errno_text(error.errno or 0)}")
