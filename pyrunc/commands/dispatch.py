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

_EBADF = 9

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .settings import Settings


def run_command(name: str, options: dict[str, Any], command: str, params: dict[str, Any]) -> int:
    """Check the program's options and carry out the command. Returns the exit code, also for a failure.

    name: the name of the program. options, command, params: the result of pyrunc.cli.fast_argv.parse.
    """
    return guarded(lambda: _run(name, options, command, params))


def _run(name: str, options: dict[str, Any], command: str, params: dict[str, Any]) -> int:
    from ..libcontainer.kernel import native  # the build imports this module before it has made the extension

    # A log, a result or a hook's output that is meant for a closed stream must not reach a file of the state, a cgroup
    # or a socket that got its number.
    native.hold_fds()
    return _named(command, settle(name, options), params)


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
    from .._generated import argv  # made from the click commands, which import this module

    # launcher/freeze.py takes the modules from the same table.
    module = __import__("pyrunc.commands." + argv.MODULES[command], None, None, ("HANDLERS",), 0)
    code: int = module.HANDLERS[command](settings, **params)
    return code


def print_version(name: str) -> int:
    """`--version`. Engines read the first line and that of the specification. A closed standard output is no error, as
    with `--help` and with runc: the caller may only test whether the program exists."""
    from .._generated.build import COMMIT, VERSION

    try:
        output.write(1, f"{name} version {VERSION}\ncommit: {COMMIT}\nspec: {SPEC_VERSION}\n")
    except PyruncError as error:
        if error.errno != _EBADF:
            raise
    return 0
