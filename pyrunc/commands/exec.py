"""The command `exec`. Hot."""

from __future__ import annotations

from .. import output
from ..libcontainer import exec as further
from ..libcontainer.launch import Interrupted
from ..libcontainer.options import ExecOptions
from ..report import PyruncError, prefixed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..settings import Settings

# What runc exits with where the process could not be started.
FAILED = 255

_PATHS = ("console_socket", "pid_file", "pidfd_socket", "process", "timeline")


def execute(settings: Settings, **params: Any) -> int:
    """`exec ID COMMAND…`: start a process in a container; unless detached, the exit code is the process's."""
    try:
        return further.execute(exec_options(settings, params))
    except Interrupted:
        raise
    except (PyruncError, OSError) as error:
        failure = prefixed("exec failed", error)
        failure.exit_code = FAILED
        raise failure from error


def exec_options(settings: Settings, params: dict[str, Any]) -> ExecOptions:
    """The options of an `exec`, paths made absolute. Raises PyruncError for a number that is not allowed."""
    if params["preserve_fds"] < 0:
        raise PyruncError(f"--preserve-fds must not be negative, not {params['preserve_fds']}")
    paths = {name: output.absolute(params[name]) if params[name] else "" for name in _PATHS}
    return ExecOptions(root=settings.root, **{**params, **paths})
