"""The command gc. Cold."""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING

from .. import log, output
from ..errors import PyruncError, join
from ..libcontainer import garbage

if TYPE_CHECKING:
    from .settings import Settings

STDOUT = 1


def gc(settings: Settings, dry_run: bool) -> int:
    """`gc`: undo the effects of killed commands, with a line for each; the exit code is 1 if something stays.

    If `--root` names a missing directory, it says so, because it may be misspelt. Raises PyruncError for one that can't
    be read.
    """
    if settings.root_given:
        try:
            posix.stat(settings.root)
        except FileNotFoundError:
            output.write(STDOUT, join([f"nothing to do: there is no {settings.root}"]) + "\n")
            return 0
        except OSError as error:
            raise PyruncError("open " + settings.root, errno=error.errno or 0) from error
    lost: list[Exception] = []

    def tell(line: str) -> None:
        """Print a line. If that fails, the undoing goes on, and the error is raised at the end."""
        try:
            if not lost:
                output.write(STDOUT, join([line]) + "\n")
        except (PyruncError, output.ReaderGone) as error:
            lost.append(error)

    failures = garbage.collect(settings.root, dry_run, tell)
    for failure in failures:
        log.error(failure.line())
    if lost:
        raise lost[0]
    return 1 if failures else 0


HANDLERS = {"gc": gc}
