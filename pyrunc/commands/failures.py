"""Failures of a command: messages and exit codes."""

from __future__ import annotations

import errno

from .. import log, output
from ..errors import PyruncError, from_os_error, history, join

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# runc's message. Engines search for it.
MISSING = "container does not exist"


def name_missing(error: PyruncError, root: str, id: str) -> None:
    """Add the id, the root and the existing containers to the error for a missing container."""
    if id and error.message.endswith(MISSING):
        from ..libcontainer.diagnosis import terminal

        error.message += f": {id} in {root}"
        error.hint = error.hint or terminal.missing_id_hint(root, id)


def guarded(work: Callable[[], int]) -> int:
    """The exit code of `work`, or of its failure, which is logged: in one line, or three at a terminal."""
    try:
        return work()
    except output.ReaderGone:
        # The reader of the output has closed the pipe: that is no failure of the command.
        return 1
    except (PyruncError, OSError) as error:
        return report(error)
    except MemoryError:
        return report(PyruncError("the command has run out of memory", errno=errno.ENOMEM))


def report(error: PyruncError | OSError) -> int:
    """Log a failure, and at level debug its history. Returns the exit code."""
    if log.debugging():
        for line in history(error):
            log.debug(line)
    explained = from_os_error(error) if isinstance(error, OSError) else error
    if explained.pointer or explained.origin or log.is_terminal():
        from ..libcontainer.diagnosis import terminal

        terminal.locate(explained)
        if log.is_terminal():
            log.show(terminal.on_terminal(explained, log.coloured()))
            return explained.exit_code
    log.error(join([explained.line()]))
    return explained.exit_code
