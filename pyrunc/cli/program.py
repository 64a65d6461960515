"""The command line for click: the only definition of all commands, options and arguments.

generate/argv.py makes the table of the fast reader from it. It only reads the command line.
"""

from __future__ import annotations

import os

import click

from .. import output
from ..commands import dispatch, failures
from ..commands.settings import CGROUP_MANAGERS, LOG_FORMATS
from ..errors import PyruncError
from . import (
    broker,
    bundle,
    checkpoint,
    completion,
    doctor,
    events,
    exec,
    garbage,
    help,
    hooks,
    integrate,
    lifecycle,
    mounts,
    processes,
    seccomp,
    update,
    verify,
)
from .goflags import ColdOption, GoGroup, Read, choices


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> bool:
    if wanted:
        ctx.exit(dispatch.print_version(str(ctx.info_name)))
    return wanted


OPTIONS: list[click.Parameter] = [
    click.Option(["--debug"], is_flag=True, help="log at level debug"),
    click.Option(["--log"], default="", metavar="FILE", help="append the log to a file (default: stderr)"),
    click.Option(
        ["--log-format"],
        default="text",
        metavar="FORMAT",
        help="text or json (default: text)",
        shell_complete=choices(*LOG_FORMATS),
    ),
    click.Option(
        ["--log-level"],
        default="info",
        metavar="LEVEL",
        help="error, warning, info (the default) or debug",
        shell_complete=choices("error", "warning", "info", "debug"),
    ),
    click.Option(
        ["--root"],
        default=None,
        metavar="DIR",
        help="directory of the containers' states (default: /run/pyrunc; $XDG_RUNTIME_DIR/pyrunc when not root)",
    ),
    click.Option(["--systemd-cgroup"], is_flag=True, help="the same as --cgroup-manager systemd"),
    click.Option(
        ["--cgroup-manager"],
        default="",
        metavar="MANAGER",
        help=", ".join(CGROUP_MANAGERS) + " (default: cgroupfs)",
        shell_complete=choices(*CGROUP_MANAGERS),
    ),
    ColdOption(["--criu"], default=None, metavar="PATH", help="without effect: criu is looked for in $PATH"),
    click.Option(
        ["--rootless"],
        default="auto",
        metavar="VALUE",
        help="ignore cgroup permission errors: true, false or auto (the default)",
        shell_complete=choices("true", "false", "auto"),
    ),
    click.Option(
        ["--version", "-v"],
        is_flag=True,
        is_eager=True,
        callback=_print_version,
        help="print the version, the commit and the version of the specification",
    ),
]

# What declares the commands. The module of the same name in pyrunc.commands carries them out.
GROUPS = (
    lifecycle, exec, processes, update, mounts, events, checkpoint, garbage, verify, bundle, hooks, seccomp, broker,
    doctor, integrate,
)  # fmt: skip

program = GoGroup(
    "pyrunc",
    params=OPTIONS,
    commands=[*(command for group in GROUPS for command in group.COMMANDS), *help.COMMANDS],
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 120},
    help="""An OCI container runtime: it runs containers from bundles, and says what it does.

    A bundle is a directory with a config.json and a root filesystem. `pyrunc spec` writes a config.json to start
    from, `pyrunc plan` shows what a start of the bundle in the working directory would do.
    """,
)

# Click's own completion is off: no environment variable has such a name.
_NO_VARIABLE = "="


def read(name: str, words: list[str]) -> Read | int:
    """Read the arguments after the program's name.

    Returns the result in the form of pyrunc.cli.fast_argv.parse, or the exit code after it has printed help or the
    version. Raises click.UsageError for an invalid command line.
    """
    result: Read | int = program.main(words, prog_name=name, standalone_mode=False, complete_var=_NO_VARIABLE)
    return result


def main(name: str, words: list[str]) -> int:
    """Run one command line by click. Returns the exit code."""
    try:
        if not words and completion.VARIABLE in os.environ:
            output.write(1, completion.answer(program, os.environ[completion.VARIABLE]))
            return 0
        result = read(name, words)
    except click.UsageError as error:
        return _explain(name, words, error)
    except click.Abort as error:  # what click makes of SIGINT
        raise KeyboardInterrupt from error
    except (output.ReaderGone, SystemExit):
        # The reader of the help has closed the pipe: click raises SystemExit.
        return 1
    except OSError as error:
        return failures.report(PyruncError("write /dev/stdout", errno=error.errno or 0))
    except PyruncError as error:
        return failures.report(error)
    if isinstance(result, int):
        return result
    options, command, params = result
    return dispatch.run_command(name, options, command, params)


def _explain(name: str, words: list[str], error: click.UsageError) -> int:
    """Log a mistake on the command line in one line. Returns the exit code."""
    from .mistakes import configure_log, mistake

    try:
        configure_log(program, words, error)
    except OSError as failure:
        return failures.report(failure)
    return failures.report(mistake(name, program, words, error))
