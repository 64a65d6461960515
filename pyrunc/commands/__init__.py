"""What the commands do, apart from how their words are parsed.

`pyrunc.cli.fast_argv` and the click commands of `pyrunc.cli` are two readers of one command line; both end here,
and here failures become messages and exit codes.
"""

from __future__ import annotations

import errno

from .. import log, output
from ..errors import PyruncError, from_os_error, history, join
from ..libcontainer import SPEC_VERSION
from .settings import settle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .settings import Settings

# runc's words, which engines look for.
MISSING = "container does not exist"

COLD = ("spec", "validate", "plan", "features")


def perform(name: str, options: dict[str, Any], command: str, params: dict[str, Any]) -> int:
    """Judge the program's options, carry the command out; returns the exit code, also for a failure.

    name: what the program was called by. options, command, params: as pyrunc.cli.fast_argv.parse returns them.
    """
    return guarded(lambda: _named(command, settle(name, options), params))


def _named(command: str, settings: Settings, params: dict[str, Any]) -> int:
    """`execute`, whose error about a container that there is not names the id and the root."""
    try:
        return execute(command, settings, params)
    except PyruncError as error:
        name_missing(error, settings.root, params.get("id", ""))
        raise


def name_missing(error: PyruncError, root: str, id: str) -> None:
    """Have an error that says that there is no such container say which one, where, and which there are."""
    if id and error.message.endswith(MISSING):
        from ..libcontainer.diagnosis import terminal

        error.message += f": {id} in {root}"
        error.hint = error.hint or terminal.others(root, id)


def execute(command: str, settings: Settings, params: dict[str, Any]) -> int:
    """Carry a command out with its own options; returns the exit code.

    Only the module that holds the command is imported. Raises PyruncError and OSError for what fails.
    """
    if command in COLD:
        from . import bundle

        return bundle.HANDLERS[command](settings, **params)
    if command == "exec":
        from . import exec

        return exec.execute(settings, **params)
    if command in ("ps", "pause", "resume"):
        from . import processes

        return processes.HANDLERS[command](settings, **params)
    if command == "mounts":
        from . import mounts

        return mounts.HANDLERS[command](settings, **params)
    if command == "update":
        from . import update

        return update.HANDLERS[command](settings, **params)
    if command == "events":
        from . import events

        return events.HANDLERS[command](settings, **params)
    if command == "doctor":
        from . import doctor

        return doctor.HANDLERS[command](settings, **params)
    if command == "hooks":
        from . import hooks

        return hooks.HANDLERS[command](settings, **params)
    if command == "gc":
        from . import garbage

        return garbage.HANDLERS[command](settings, **params)
    from . import lifecycle

    return lifecycle.HANDLERS[command](settings, **params)


def print_version(name: str) -> int:
    """`--version`: engines read the first line and the specification's."""
    from .._generated.build import COMMIT, VERSION

    output.write(1, f"{name} version {VERSION}\ncommit: {COMMIT}\nspec: {SPEC_VERSION}\n")
    return 0


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
