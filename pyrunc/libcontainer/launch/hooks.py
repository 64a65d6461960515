"""Hooks that run in the runtime's namespaces: prestart, createRuntime, poststart and poststop.

Source: the runtime specification, config.md, "POSIX-platform Hooks". The wording of failures is runc's, which engines
show and scripts match. createContainer and startContainer hooks are the init's (the step `container_hook`).
"""

from __future__ import annotations

import _signal
import posix
import time

from ...errors import PyruncError, errno_text, join, pointer
from ...paths import closed_hint
from ..kernel import interrupts, native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..._generated.spec_types import HookEntry

# The output of a failed hook goes into the error: the last bytes of each stream. Engines show the line, and Kubernetes
# cuts its events at 1024 bytes. csrc/init/steps_hook.c keeps as much of stderr.
_OUTPUT_KEPT = 2048
_READ_BYTES = 1 << 16
# Reads that empty a pipe of any usual size, after the hook has ended; its children may go on writing for ever.
_LAST_READS = 16
# How long one poll(2) takes at most, in milliseconds. In a command that blocks no signals (interrupts.py), Python's
# handler of a SIGINT that comes just before poll(2) runs only after it.
_LONGEST_POLL_MS = 1000
# The bytes that continue a character of UTF-8.
_CONTINUATION = bytes(range(0x80, 0xC0))
# The end of a hook that has succeeded.
ENDED_WELL = "exit status 0"
NOT_STARTED = "not started: "


class HookError(PyruncError):
    """A hook that has failed. end: how it ended, as a timeline has it: `exit status 3`, `signal: killed`."""

    __slots__ = ("end",)

    def __init__(self, message: str, pointer: str, end: str) -> None:
        super().__init__(message, pointer=pointer)
        self.end = end


class Output:
    """One output stream of a hook, or of another program: the read end of its pipe, and the last part of what was
    read."""

    __slots__ = ("fd", "is_cut", "kept")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.kept = b""
        self.is_cut = False

    def read(self) -> bool:
        """Read once. False at the end of the stream, and if there is nothing to read now."""
        try:
            chunk = posix.read(self.fd, _READ_BYTES)
        except BlockingIOError:
            return False
        self.is_cut = self.is_cut or len(self.kept) + len(chunk) > _OUTPUT_KEPT
        self.kept = (self.kept + chunk)[-_OUTPUT_KEPT:]
        return bool(chunk)

    def text(self) -> str:
        """The text that was kept, on one line, with control characters escaped. If more was written, it begins with `…`
        and a whole line, or with a whole character if the last line is longer than the kept text."""
        kept = self.kept
        if self.is_cut:
            _, newline, lines = kept.partition(b"\n")
            kept = lines if newline and lines.strip() else kept.lstrip(_CONTINUATION)
        text = join((kept.replace(b"\0", b" ").decode("utf-8", "replace"),))
        return "…" + text if self.is_cut else text


_ANNOTATIONS = ("run.oci.hooks.stdout", "run.oci.hooks.stderr")


def outputs(annotations: Mapping[str, str]) -> tuple[str, str]:
    """The files to which crun's annotations send the standard output and error of hooks; "" for none."""
    stdout, stderr = [annotations.get(name, "") for name in _ANNOTATIONS]
    return stdout, stderr


def open_output(path: str) -> int:
    """Open a file to which hooks append; a missing one is made. Raises PyruncError."""
    flags = posix.O_WRONLY | posix.O_APPEND | posix.O_CREAT | posix.O_NOCTTY | posix.O_CLOEXEC
    try:
        native.refuse_closed(path)
        return posix.open(path, flags, 0o600)
    except OSError as error:
        raise PyruncError(
            f"opening {path} for the output of hooks", errno=error.errno or 0, hint=closed_hint(error)
        ) from error


def _open_named(path: str, number: int) -> int:
    """`open_output` of the standard output (0) or error (1). The error has the annotation."""
    try:
        return open_output(path)
    except PyruncError as error:
        error.pointer = pointer("annotations", _ANNOTATIONS[number])
        raise


def run_hook(hook: HookEntry, name: str, index: int, state_json: str, files: tuple[str, str] = ("", "")) -> None:
    """Run one hook to its end. It gets the state on its stdin and no other descriptor of the runtime; its output is
    captured.

    hook: `path`, `args` (args[0] is argv[0]; without args argv[0] is the path), `env` (exactly these; without it the
    hook gets the runtime's environment, as with runc) and `timeout` (seconds; 0 or absent: none).
    name: the kind of hook, as in the config; index: its place in the list of that kind.
    files: the paths of the files that get its standard output and error; "" to keep the end of the stream for the
    error. Raises HookError `error running NAME hook #INDEX: …` if it can't be run, exits with another status than 0, is
    killed by a signal, or runs longer than its timeout, in which case it has been killed.
    """
    try:
        end, reason = _run(hook, state_json.encode("utf-8", "surrogateescape"), files)
    except OSError as error:
        reason = errno_text(error.errno or 0)
        raise _failure(name, index, f"fork/exec {hook['path']}: {reason}", NOT_STARTED + reason) from error
    except ValueError as error:  # a NUL, or an entry of env without `=`
        raise _failure(name, index, str(error), NOT_STARTED + str(error)) from error
    if end != ENDED_WELL:
        raise _failure(name, index, reason, end)


def ending(detail: str) -> str:
    """How a hook that the init has run ended: `exit status 3` if the init's detail is `exit status 3 after 0.012 s,
    stdout: …`."""
    return detail.partition(", stdout: ")[0].partition(" after ")[0]


def _failure(name: str, index: int, reason: str, end: str) -> HookError:
    return HookError(f"error running {name} hook #{index}: {reason}", pointer("hooks", name, index), end)


def _run(hook: HookEntry, state: bytes, files: tuple[str, str]) -> tuple[str, str]:
    """Run the hook. Returns how it ended, and the text about that for the error.

    Raises OSError if it could not be started, ValueError for bad strings.
    """
    fds: list[int] = []
    try:
        stdin = _stdin(state)
        fds.append(stdin)
        kept = [Output(-1), Output(-1)]
        ends = []
        for number, file in enumerate(files):
            if file:
                ends.append(interrupts.during(_open_named, file, number))
                fds.append(ends[-1])
                continue
            reader, writer = posix.pipe2(posix.O_CLOEXEC)
            fds += (reader, writer)
            posix.set_blocking(reader, False)
            kept[number].fd = reader
            ends.append(writer)
        begin = time.monotonic()
        pid = _spawn(hook, stdin, *ends)
        for fd in (stdin, *ends):
            fds.remove(fd)
            posix.close(fd)
        status = wait(pid, [output for output in kept if output.fd >= 0], float(hook.get("timeout") or 0))
    finally:
        for fd in fds:
            posix.close(fd)
    took = time.monotonic() - begin
    written = f", stdout: {kept[0].text()}, stderr: {kept[1].text()}"
    if status is None:
        end = f"hook ran past specified timeout of {hook['timeout']:.1f}s"  # runc's words
        return end, end + written
    end = status_text(status)
    return end, f"{end} after {took:.3f} s{written}"


def _stdin(state: bytes) -> int:
    """A descriptor to read the state from: a pipe that holds all of it already, so that the runtime need not go on
    writing.

    A state that is larger than a pipe (by its annotations) is in a memfd.
    """
    reader, writer = posix.pipe2(posix.O_CLOEXEC)
    posix.set_blocking(writer, False)
    try:
        if posix.write(writer, state) == len(state):
            return reader
    finally:
        posix.close(writer)
    posix.close(reader)
    return native.memfd("pyrunc-state", state)


def _spawn(hook: HookEntry, stdin: int, stdout: int, stderr: int) -> int:
    """Start the hook with these standard streams. Returns its pid. Raises OSError, and ValueError for bad strings."""
    path = _bytes(hook["path"])
    env = hook.get("env")
    return native.spawn(
        path,
        [_bytes(arg) for arg in hook.get("args") or ()] or [path],
        posix.environ if env is None else _environment(env),
        [
            (posix.POSIX_SPAWN_DUP2, stdin, 0),
            (posix.POSIX_SPAWN_DUP2, stdout, 1),
            (posix.POSIX_SPAWN_DUP2, stderr, 2),
        ],
    )


def _environment(env: Sequence[str]) -> dict[bytes, bytes]:
    """`NAME=value` texts as a mapping; of two with one name the last one counts. Raises ValueError."""
    variables = {}
    for text in env:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise ValueError(f'"{text}" in env is not NAME=value')
        variables[_bytes(key)] = _bytes(value)
    return variables


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def wait(pid: int, outputs: Sequence[Output], timeout: float) -> int | None:
    """Read a program's output until the program ends, also if other processes keep its pipes open. Returns its wait
    status, or None if it was killed because it ran longer than `timeout` (seconds; 0: none). It has been reaped in any
    case."""
    deadline = time.monotonic() + timeout
    running = True
    pidfd = posix.pidfd_open(pid)
    try:
        open_outputs = list(outputs)
        while True:
            left = int((deadline - time.monotonic()) * 1000) + 1 if timeout else _LONGEST_POLL_MS
            if left <= 0:
                return None
            ready = interrupts.poll([pidfd, *(output.fd for output in open_outputs)], min(left, _LONGEST_POLL_MS))
            if pidfd in ready:
                running = False
                status = posix.waitpid(pid, 0)[1]
                for output in outputs:
                    for _ in range(_LAST_READS):
                        if not output.read():
                            break
                return status
            open_outputs = [output for output in open_outputs if output.fd not in ready or output.read()]
            interrupts.deliver_pending()  # the hook may write without end
    finally:
        posix.close(pidfd)
        if running:  # its time is up, or a signal came: no process of it stays
            posix.kill(pid, _signal.SIGKILL)
            posix.waitpid(pid, 0)


def status_text(status: int) -> str:
    """A wait status as Go prints it: `exit status 1`, `signal: killed`, `signal: aborted (core dumped)`."""
    if posix.WIFEXITED(status):
        return f"exit status {posix.WEXITSTATUS(status)}"
    number = posix.WTERMSIG(status)
    text = "signal: " + (_signal.strsignal(number) or f"signal {number}").lower()
    return text + " (core dumped)" if posix.WCOREDUMP(status) else text
