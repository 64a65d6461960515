"""Failures of a command: messages and exit codes."""

from __future__ import annotations

import errno

from .. import log, output
from ..errors import PyruncError, from_os_error, history, join

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# runc's words, which engines look for.
MISSING = "container does not exist"


def name_missing(error: PyruncError, root: str, id: str) -> None:
    """Have an error that says that there is no such container say which one, where, and which there are."""
    if id and error.message.endswith(MISSING):
        from ..libcontainer.diagnosis import terminal

        error.message += f": {id} in {root}"
        error.hint = error.hint or terminal.others(root, id)


def guarded(work: Callable[[], int]) -> int:
    """The exit code of `work`, or the failure's: its whole cause is one line of the log, on a terminal three."""
    try:
        return work()
    except output.ReaderGone:
        # The reader of our output has gone: that is its choice, and no failure of ours to explain.
        return 1
    except (PyruncError, OSError) as error:
        return report(error)
    except MemoryError:
        return report(PyruncError("the command has run out of memory", errno=errno.ENOMEM))


def report(error: PyruncError | OSError) -> int:
    """Log a failure, and at level debug how it came about; returns the exit code."""
    if log.debugging():
        for line in history(error):
            log.debug(line)
    explained = from_os_error(error) if isinstance(error, OSError) else error
    from ..libcontainer.diagnosis import terminal

    terminal.locate(explained)
    if log.is_terminal():
        log.show(terminal.on_terminal(explained, log.coloured()))
    else:
        log.error(join([explained.line()]))
    return explained.exit_code
