"""The command `events`. Hot with `--stats`; the stream of events is cold."""

from __future__ import annotations

from .. import output
from ..errors import PyruncError
from ..libcontainer import processes
from ..libcontainer.cgroup import files
from ..libcontainer.cgroup import stats as cgroup_stats

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .settings import Settings

STDOUT = 1

# Go's units of a duration, in nanoseconds.
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_LONGEST = 2**63 - 1


def execute(settings: Settings, id: str, interval: str, stats: bool) -> int:
    """`events ID`: print the container's statistics once, or events until the container ends."""
    nanoseconds = duration(interval)
    if nanoseconds <= 0:
        raise PyruncError("duration interval must be greater than 0")  # wording of runc
    if stats:
        cgroup = processes.living_cgroup(settings.root, id, "read the statistics of")
        try:
            event = cgroup_stats.event(id, cgroup)
        except PyruncError as error:
            if error.errno not in files.GONE:
                raise
            raise processes.not_running(id) from error  # it has been deleted meanwhile
        output.write(STDOUT, event)
        return 0
    from . import eventstream

    return eventstream.follow(settings.root, id, nanoseconds)


HANDLERS: dict[str, Callable[..., int]] = {"events": execute}


def duration(text: str) -> int:
    """Nanoseconds of a duration as Go writes it: 300ms, 1.5h, 1m30s, 0, with a sign. Raises PyruncError."""
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0
    total = 0
    complete = bool(rest)
    while rest and complete:
        number, rest = _leading(rest, "0123456789.")
        unit, rest = _leading(rest, "nuµμmsh")
        whole, _, fraction = number.partition(".")
        digits = whole + fraction
        complete = digits.isascii() and digits.isdigit() and unit in _UNITS and len(digits) <= 30
        if complete:
            total += int(digits) * _UNITS[unit] // 10 ** len(fraction)
    if not complete or total > _LONGEST:
        raise PyruncError(f'invalid value "{text}" for flag -interval', hint="a duration is such as 5s, 500ms or 1m30s")
    return -total if text[0] == "-" else total


def _leading(text: str, signs: str) -> tuple[str, str]:
    """The longest beginning of `text` with only characters of `signs`, and the rest."""
    end = 0
    while end < len(text) and text[end] in signs:
        end += 1
    return text[:end], text[end:]
