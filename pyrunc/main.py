"""The entry point: the fast reader of the command line, and click for what it does not know."""

from __future__ import annotations

import posix
import sys

from .cli import fast_argv
from .commands import dispatch, failures

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main(argv: list[str]) -> int:
    """Run one command line; argv[0] is the name for messages. Returns the exit code."""
    name = program_name(argv)
    parsed = fast_argv.parse(argv[1:])
    if parsed is None:
        from .cli.program import main as click_main

        return click_main(name, argv[1:])
    options, command, params = parsed
    if command == "version":
        return failures.guarded(lambda: dispatch.print_version(name))
    return dispatch.run_command(name, options, command, params)


def entry(given: str = "") -> NoReturn:
    """Run the process's own command line, and exit without the interpreter's tear-down, which costs as much as a
    `state`.

    given: the result of `inputs.hand_over` in the launcher that hands this command over.
    """
    if given:
        from .libcontainer.spec import inputs

        inputs.take(given)
    code = main(sys.argv)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name, None)
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            code = code or 1
    posix._exit(code)


def program_name(argv: list[str]) -> str:
    """The name of the program in argv[0], without its directory; pyrunc for `python -m pyrunc`."""
    name = argv[0].rpartition("/")[2] if argv else ""
    return "pyrunc" if name in ("", "__main__.py", "-c", "-m") else name
