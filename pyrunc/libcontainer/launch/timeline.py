"""The timeline: when each step of a launch began and ended, as Chrome trace-event JSON (`--timeline FILE`).

Perfetto and chrome://tracing open the file, and `pyrunc plan --timeline FILE` draws it. The runtime's times are taken
here, the init's by the init itself, which stores them in the plan's memfd (docs/architecture.md, The wire). All are
CLOCK_MONOTONIC; those in the file are in microseconds, as the format requires.
"""

from __future__ import annotations

import posix
import time

from ... import jsonio
from ...errors import PyruncError, errno_text
from ...paths import closed_hint
from ..kernel import native
from ..plan.wire import decode_times
from ..state import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..plan.model import LaunchPlan, Step

RUNTIME_TRACK = 1
INIT_TRACK = 2
_NANOSECONDS = 1_000_000_000
# The steps that are hooks, whose first fields are the hook's kind, its index and its path.
HOOKS = ("runtime_hook", "container_hook")
_TYPE, _REGULAR = 0o170000, 0o100000
_INTO = posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_NONBLOCK | posix.O_NOCTTY | posix.O_CLOEXEC
_WAIT_MS = 10


class Timeline:
    """The times of one launch, in the order in which they were added."""

    __slots__ = ("_is_told", "events", "failures", "has_init", "path")

    def __init__(self, path: str) -> None:
        """path: the file to write. Raises PyruncError for a standard stream that is closed."""
        try:
            native.refuse_closed(path)
        except OSError as error:
            raise PyruncError(
                f"opening the timeline {path}", errno=error.errno or 0, hint=closed_hint(error)
            ) from error
        self.path = path
        self.events: list[dict[str, Any]] = []
        self.failures: dict[int, str] = {}  # the steps of the init that failed, by number, and how hooks ended
        self.has_init = False
        self._is_told = False  # it was written to a file that is not a regular one

    def run_step(self, step: Step, work: Callable[..., object], *args: object) -> None:
        """Carry out a step of the runtime by `work(*args)`, and record when it began and ended.

        Raises what `work` raises.
        """
        start = now()
        failure = ""
        try:
            work(*args)
        except PyruncError as error:
            failure = getattr(error, "end", error.reason())
            raise
        finally:
            self.add(step, start, now(), failure=failure)

    def add(self, step: Step, start: int, end: int, track: int = RUNTIME_TRACK, failure: str = "") -> None:
        """Add one step, with its times in nanoseconds. failure: the reason if it failed, else ""."""
        args: dict[str, Any] = {"pointer": step.pointer, "level": step.fallback_level}
        if step.kind in HOOKS:
            from .hooks import ENDED_WELL

            kind, index, path = step.args[:3]
            args |= {"hook": kind, "index": index, "path": path, "end": failure or ENDED_WELL}
        self.events.append(
            {
                "name": step.kind,
                "cat": step.phase,
                "ph": "X",
                "ts": start / 1000,
                "dur": (end - start) / 1000,
                "pid": 1,
                "tid": track,
                "args": args,
            }
        )

    def fail(self, plan: LaunchPlan, number: int, error: int, detail: str) -> None:
        """Record that a step of the init has failed. error, detail: those of the init's message."""
        if number < len(plan.init) and plan.init[number].kind in HOOKS:
            from .hooks import NOT_STARTED, ending

            self.failures[number] = NOT_STARTED + errno_text(error) if error else ending(detail)

    def add_init(self, plan: LaunchPlan, memfd: int, offset: int) -> None:
        """Add the init's steps: two u64 each in `memfd` from `offset` on, 0 if a step did not run or did not end.

        Raises OSError.
        """
        count = len(plan.init)
        times = decode_times(posix.pread(memfd, count * 16, offset), count)
        shift = 0
        self.has_init = True
        for number, (step, (start, end)) in enumerate(zip(plan.init, times, strict=True)):
            before = shift
            if step.kind == "enter_time":
                # From here on the init's clock is the one of its time namespace.
                shift = monotonic_offset(plan)
            if end:
                self.add(step, start - before, end - shift, INIT_TRACK, self.failures.get(number, ""))

    def write(self) -> None:
        """Write the file, whole or not at all. Raises OSError.

        A FIFO, a device and a link such as /dev/stdout are kept and written to. A file that is not regular is written
        only once, because a second document would follow the first.
        """
        names = ((RUNTIME_TRACK, "runtime"), (INIT_TRACK, "init"))
        header = [
            {"name": "thread_name", "ph": "M", "pid": 1, "tid": track, "args": {"name": name}} for track, name in names
        ]
        trace = {"displayTimeUnit": "ns", "traceEvents": header + sorted(self.events, key=_start)}
        text = jsonio.dumps(trace) + "\n"
        try:
            is_regular = posix.lstat(self.path).st_mode & _TYPE == _REGULAR
        except FileNotFoundError:
            is_regular = True
        if is_regular:
            replace(self.path, text, 0o644)
        elif not self._is_told:
            self._is_told = _write_to(self.path, text.encode("utf-8", "surrogateescape"))


def _write_to(path: str, data: bytes) -> bool:
    """Write to the file at a path, also behind a link. Returns whether it is not a regular file.

    Raises OSError, EAGAIN if it takes nothing for native.PATIENCE_MS.
    """
    fd = posix.open(path, _INTO, 0o644)
    try:
        rest = memoryview(data)
        tries = 0
        while rest:
            try:
                rest = rest[posix.write(fd, rest) :]
                tries = 0
            except BlockingIOError:
                tries += 1
                if tries > native.PATIENCE_MS // _WAIT_MS:
                    raise
                time.sleep(_WAIT_MS / 1000)
        return posix.fstat(fd).st_mode & _TYPE != _REGULAR
    except OSError as error:
        error.filename = error.filename or path  # a write has none
        raise
    finally:
        posix.close(fd)


def _start(event: dict[str, Any]) -> float:
    start: float = event["ts"]
    return start


def now() -> int:
    """CLOCK_MONOTONIC in nanoseconds."""
    return time.monotonic_ns()


def monotonic_offset(plan: LaunchPlan) -> int:
    """The nanoseconds by which the plan's time namespace sets CLOCK_MONOTONIC forward (time_namespaces(7))."""
    for step in plan.init:
        if step.kind == "time_offset" and step.arg("clock") == "monotonic":
            secs, nanosecs = step.arg("secs"), step.arg("nanosecs")
            assert isinstance(secs, int)
            assert isinstance(nanosecs, int)
            return secs * _NANOSECONDS + nanosecs
    return 0
