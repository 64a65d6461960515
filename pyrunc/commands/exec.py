"""The command `exec`. Hot."""

from __future__ import annotations

from ..errors import PyruncError, prefixed
from ..libcontainer.exec import exec as further
from ..libcontainer.kernel.interrupts import Interrupted
from ..libcontainer.plan.options import ExecOptions
from ..paths import absolute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .settings import Settings

# runc's exit code if the process could not be started.
FAILED = 255

# (pointer of the process's member, parameter, the option that changes it)
_ORIGINS = (
    ("/process/args", "args", "COMMAND"),
    ("/process/cwd", "cwd", "--cwd"),
    ("/process/env", "env", "--env"),
    ("/process/user/additionalGids", "additional_gids", "--additional-gids"),
    ("/process/user", "user", "--user"),
    ("/process/capabilities", "cap", "--cap"),
    ("/process/apparmorProfile", "apparmor", "--apparmor"),
    ("/process/selinuxLabel", "process_label", "--process-label"),
    ("/process/terminal", "console_socket", "--console-socket"),
    ("/process/terminal", "tty", "--tty"),
    ("/linux/cgroupsPath", "cgroup", "--cgroup"),
)

_PATHS = ("console_socket", "pid_file", "pidfd_socket", "process", "timeline")


def execute(settings: Settings, **params: Any) -> int:
    """`exec ID COMMAND…`: start a process in a container. Unless detached, the exit code is the process's."""
    try:
        return further.execute(exec_options(settings, params))
    except Interrupted:
        raise
    except (PyruncError, OSError) as error:
        failure = prefixed("exec failed", error)
        _blame(failure, params)
        failure.exit_code = FAILED
        raise failure from error


HANDLERS: dict[str, Callable[..., int]] = {"exec": execute}


def _blame(failure: PyruncError, params: dict[str, Any]) -> None:
    """Replace the origin of a failure: the file of --process or an option, not the container's config.json."""
    if params["process"]:
        if failure.pointer.startswith("/process/"):
            failure.pointer = failure.pointer.removeprefix("/process")
            failure.document = (params["process"], absolute(params["process"]))
        return
    for pointer, param, words in _ORIGINS:
        if failure.pointer.startswith(pointer) and params[param] not in ((), "", False, None):
            failure.origin, failure.pointer = words, ""
            failure.hint = _of_option(failure.hint)
            if words == "COMMAND" and params["args"][0] == "--":
                failure.hint = "the program stands behind the id, without -- between them"
            failure.message = failure.message.replace(" set in config.json", " of --cwd")


def _of_option(hint: str) -> str:
    """A hint with the names of options instead of fields of the configuration."""
    for field in ("set process.terminal to false", "set terminal to false"):
        hint = hint.replace(field, "leave out --tty")
    return hint.replace("process.cwd", "--cwd").replace("one entry of process.args", "one argument")


def exec_options(settings: Settings, params: dict[str, Any]) -> ExecOptions:
    """The options of an `exec`, with absolute paths. Raises PyruncError for an invalid number."""
    if params["preserve_fds"] < 0:
        raise PyruncError(f"--preserve-fds must not be negative, not {params['preserve_fds']}")
    paths = {name: absolute(params[name]) if params[name] else "" for name in _PATHS}
    return ExecOptions(root=settings.root, **{**params, **paths})
