"""From a parsed command line to its handler.

The fast reader (`pyrunc.cli.fast_argv`) and the click commands (`pyrunc.cli`) both call it. It turns failures into
messages and exit codes.
"""

from __future__ import annotations

from .. import output
from ..errors import PyruncError
from ..libcontainer import SPEC_VERSION
from .failures import guarded, name_missing
from .settings import settle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .settings import Settings

_BUNDLE_COMMANDS = ("spec", "validate", "plan", "features")


def run_command(name: str, options: dict[str, Any], command: str, params: dict[str, Any]) -> int:
    """Check the program's options and carry out the command. Returns the exit code, also for a failure.

    name: the name of the program. options, command, params: the result of pyrunc.cli.fast_argv.parse.
    """
    return guarded(lambda: _named(command, settle(name, options), params))


def _named(command: str, settings: Settings, params: dict[str, Any]) -> int:
    """`execute`, with the id and the root in the error for a missing container."""
    try:
        return execute(command, settings, params)
    except PyruncError as error:
        name_missing(error, settings.root, params.get("id", ""))
        raise


def execute(command: str, settings: Settings, params: dict[str, Any]) -> int:
    """Carry out a command with its own options. Returns the exit code.

    Only the module of the command is imported. Raises PyruncError and OSError.
    """
    if command in _BUNDLE_COMMANDS:
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
    if command in ("checkpoint", "restore"):
        from . import checkpoint

        return checkpoint.HANDLERS[command](settings, **params)
    if command == "doctor":
        from . import doctor

        return doctor.HANDLERS[command](settings, **params)
    if command == "integrate":
        from . import integrate

        return integrate.HANDLERS[command](settings, **params)
    if command == "hooks":
        from . import hooks

        return hooks.HANDLERS[command](settings, **params)
    if command == "verify":
        from . import verify

        return verify.HANDLERS[command](settings, **params)
    if command == "gc":
        from . import garbage

        return garbage.HANDLERS[command](settings, **params)
    from . import lifecycle

    return lifecycle.HANDLERS[command](settings, **params)


def print_version(name: str) -> int:
    """`--version`. Engines read the first line and that of the specification."""
    from .._generated.build import COMMIT, VERSION

    output.write(1, f"{name} version {VERSION}\ncommit: {COMMIT}\nspec: {SPEC_VERSION}\n")
    return 0
