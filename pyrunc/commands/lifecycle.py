"""The commands of a container's life: create, run, start, state, kill, delete, list. Hot."""

from __future__ import annotations

import errno
import posix

from .. import jsonio, launcher, log, output
from ..errors import PyruncError, from_os_error, join, prefixed
from ..libcontainer import deletion, lifecycle
from ..libcontainer.plan.options import LaunchOptions
from ..paths import absolute
from .failures import name_missing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .._generated.spec_types import State
    from .settings import Settings

STDOUT = 1
RTMIN, RTMAX = 34, 64
_SIGNAL_DIGITS = 9
_SECCOMP = "/linux/seccomp"
# The parameters that are paths, besides the bundle and paths in it.
_PATHS = ("console_socket", "pid_file", "pidfd_socket", "seccomp_profile", "timeline")


def create(settings: Settings, **params: Any) -> int:
    """`create ID`: make the container. Its init waits for `start`."""
    try:
        lifecycle.create(launch_options(settings, "create", params))
    except (PyruncError, OSError) as error:
        raise _failed(settings, "create", params, error) from error
    return 0


def run(settings: Settings, **params: Any) -> int:
    """`run ID`: create, start and, unless detached, wait. The exit code is the process's."""
    try:
        return lifecycle.run(launch_options(settings, "run", params))
    except (PyruncError, OSError) as error:
        raise _failed(settings, "run", params, error) from error


def _failed(settings: Settings, command: str, params: dict[str, Any], error: PyruncError | OSError) -> PyruncError:
    """The failure of a launch, in runc's words, with the file of its pointer. The working directory is the bundle."""
    failure = prefixed(f"{settings.name} {command} failed", error)
    if failure.document is None and failure.pointer:
        config = params["config"]
        path = config if config.startswith("/") else posix.getcwd() + "/" + config
        locate(failure, (config, path), params.get("seccomp_profile") or "")
    return failure


def locate(error: PyruncError, config: tuple[str, str], profile: str) -> None:
    """Give an error the file of its pointer: the profile, if one replaces linux.seccomp, or the configuration.

    config: (name to show, absolute path). profile: the absolute path of --seccomp-profile; "" without one.
    """
    if profile and error.pointer.startswith(_SECCOMP + "/"):
        error.document, error.pointer = (profile, profile), error.pointer[len(_SECCOMP) :]
    else:
        error.document = config


def start(settings: Settings, id: str, timeline: str) -> int:
    """`start ID`: let the waiting init execute the process."""
    lifecycle.start(settings.root, id, notify_socket(relayed=True), absolute(timeline) if timeline else "")
    return 0


def state(settings: Settings, id: str) -> int:
    """`state ID`: print the container's state as indented JSON, without a newline, as runc does."""
    output.write(STDOUT, output.indented(lifecycle.state(settings.root, id)))
    return 0


def kill(settings: Settings, id: str, signal: str, all: bool, regex: bool) -> int:
    """`kill ID [SIGNAL]`: send a signal to the container's process, or with `--all` to all of them.

    regex: id is a regular expression, and a failure for one container is a warning.
    """
    number = parse_signal(signal)
    if regex:
        from . import matching

        return matching.each(settings.root, (id,), lambda name: lifecycle.kill(settings.root, name, number, all))
    lifecycle.kill(settings.root, id, number, all)
    return 0


def delete(settings: Settings, ids: tuple[str, ...], force: bool, regex: bool) -> int:
    """`delete ID…`: try all of them. All failures but the last are logged, and the last one is raised.

    regex: the ids are regular expressions, and a failure for one container is a warning.
    """
    if regex:
        from . import matching

        return matching.each(settings.root, ids, lambda name: deletion.delete(settings.root, name, force))
    failures: list[PyruncError] = []
    for id in ids:
        try:
            deletion.delete(settings.root, id, force)
        except PyruncError as error:
            name_missing(error, settings.root, id)
            failures.append(error)
        except OSError as error:
            failures.append(from_os_error(error))
    for failure in failures[:-1]:
        log.error(failure.line())
    if failures:
        raise failures[-1]
    return 0


def list_containers(settings: Settings, quiet: bool, format: str) -> int:
    """`list`: the containers under the root as a table, as JSON, or their ids alone."""
    if format not in ("table", "json"):
        raise PyruncError("invalid format option", hint="table and json are known")
    if settings.root_given:
        # A missing root of `--root` is a mistake; the default one may not have been made yet.
        try:
            posix.stat(settings.root)
        except OSError as error:
            hint = "--root names the directory of the containers' states" if error.errno == errno.ENOENT else ""
            raise PyruncError("open " + settings.root, errno=error.errno or 0, hint=hint) from error
    try:
        states = lifecycle.list_states(settings.root)
    except PermissionError as error:
        hint = "it belongs to another user: be that user, or name another directory by --root"
        raise PyruncError(f"can't list the containers in {settings.root}", errno=error.errno or 0, hint=hint) from error
    if quiet:
        text = "".join([item["id"] + "\n" for item in states])
    elif format == "json":
        # Go prints a nil list as null, and scripts know only that.
        text = (jsonio.dumps(states) if states else "null") + "\n"
    else:
        rows: list[tuple[str, ...]] = [("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")]
        rows += _rows(states)
        text = output.table(rows)
    output.write(STDOUT, text)
    return 0


def _rows(states: list[State]) -> list[tuple[str, ...]]:
    """The rows of the table. Another user's container may have any text: it must not control the terminal."""
    rows: list[tuple[str, ...]] = [
        (item["id"], str(item["pid"]), item["status"], item["bundle"], item["created"], item["owner"])
        for item in states
    ]
    text = "".join(map("".join, rows))
    if text.isprintable() and " " not in text:
        return rows  # `join` would not change a cell
    return [tuple([join([cell]) for cell in row]) for row in rows]


def launch_options(settings: Settings, command: str, params: dict[str, Any]) -> LaunchOptions:
    """The options of a launch, with absolute paths, also in `params`. As with runc, the bundle becomes the working
    directory.

    Raises PyruncError for an invalid number and for a bundle that can't be entered.
    """
    if settings.cgroup_manager == "systemd":
        launcher.require("systemd")
    paths = {name: absolute(params[name]) if params.get(name) else "" for name in _PATHS}
    params.update(paths)
    notify = notify_socket(relayed=command == "run")
    if params["preserve_fds"] < 0:
        raise PyruncError(f"--preserve-fds must not be negative, not {params['preserve_fds']}")
    given = {
        **params,
        "bundle": enter_bundle(params["bundle"]),
        "cgroup_manager": settings.cgroup_manager,
        "command": command,
        "notify_socket": notify,
        "root": settings.root,
        "rootless": settings.rootless,
    }
    return LaunchOptions(**given)


def enter_bundle(path: str) -> str:
    """Make a bundle the working directory, if one is given. Returns the working directory's path.

    Raises PyruncError if the bundle can't be entered.
    """
    if path:
        try:
            posix.chdir(path)
        except OSError as error:
            hint = "--bundle names the directory with config.json"
            raise PyruncError("chdir " + path, errno=error.errno or 0, hint=hint) from error
    return posix.getcwd()


def notify_socket(relayed: bool = False) -> str:
    """The service manager's socket that NOTIFY_SOCKET names, a path or @NAME; "" for none (sd_notify(3)).

    relayed: the caller will relay notifications to it, which needs a part that the launcher lacks.
    """
    name = posix.environ.get(b"NOTIFY_SOCKET", b"").decode("utf-8", "surrogateescape")
    if not name:
        return ""
    if name[0] not in "/@" or len(name) < 2:
        log.warning(f"NOTIFY_SOCKET {name} is neither a path nor an abstract name: nothing is relayed")
        return ""
    if relayed:
        launcher.require("notify")
    return name


def parse_signal(text: str) -> int:
    """The number of a signal such as 15, TERM, SIGTERM, rtmin+3 or SIGRTMAX-2; an empty name is SIGTERM.

    Any number is accepted: the kernel checks it. Raises PyruncError in runc's words for an unknown name.
    """
    digits = text.lstrip("+-")
    if digits.isascii() and digits.isdigit() and len(text) - len(digits) <= 1:
        digits = digits.lstrip("0") or "0"
        if len(digits) > _SIGNAL_DIGITS:  # pidfd_send_signal takes a C int
            raise PyruncError(f'unknown signal "{text}"', hint="a name such as TERM or KILL, or a number")
        return -int(digits) if text[0] == "-" else int(digits)
    name = (text or "TERM").upper().removeprefix("SIG")
    number = _realtime(name)
    if number == 0 and name.isalnum():
        import _signal

        number = int(getattr(_signal, "SIG" + name, 0))
    if number == 0:
        raise PyruncError(f'unknown signal "{text}"', hint="a name such as TERM or KILL, or a number")
    return number


def _realtime(name: str) -> int:
    """The number of RTMIN, RTMIN+n, RTMAX or RTMAX-n; 0 for other names."""
    for base, first, sign in (("RTMIN", RTMIN, "+"), ("RTMAX", RTMAX, "-")):
        if name == base:
            return first
        steps = name.removeprefix(base + sign)
        if steps != name and steps.isascii() and steps.isdigit() and len(steps) <= 2 and int(steps) <= RTMAX - RTMIN:
            return first + int(sign + steps)
    return 0


HANDLERS: dict[str, Callable[..., int]] = {
    "create": create,
    "run": run,
    "start": start,
    "state": state,
    "kill": kill,
    "delete": delete,
    "list": list_containers,
}
