"""The checked global options, which every command gets besides its own options."""

from __future__ import annotations

import posix

from .. import log, paths
from ..errors import PyruncError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CGROUP_MANAGERS = ("cgroupfs", "systemd", "disabled")
_STICKY = 0o1000
LOG_FORMATS = ("text", "json")

# Options that take no empty value: a script whose variable is not set would start a container without the protection.
NEVER_EMPTY = ("isolation", "network", "seccomp_profile")


class Settings:
    """The checked global options.

    name: the name of the program, for messages.
    root: absolute path of the directory with the state directories; root_given: whether `--root` was given.
    cgroup_manager: one of CGROUP_MANAGERS.
    rootless: the value of `--rootless`, None for auto.
    """

    __slots__ = ("cgroup_manager", "name", "root", "root_given", "rootless")

    def __init__(self, name: str, root: str, root_given: bool, cgroup_manager: str, rootless: bool | None) -> None:
        self.name = name
        self.root = root
        self.root_given = root_given
        self.cgroup_manager = cgroup_manager
        self.rootless = rootless


def settle(name: str, options: dict[str, Any]) -> Settings:
    """Check the global options, and set up the log.

    Raises PyruncError for an invalid value and for a log file that can't be opened.
    """
    if options["log_format"] not in LOG_FORMATS and options["log_format"] != "":
        raise PyruncError("invalid log-format: " + options["log_format"], hint="text and json are known")
    level = "debug" if options["debug"] else options["log_level"]
    if level not in log.LEVELS:
        raise PyruncError(f'not a valid log level: "{level}"', hint="error, warning, info and debug are known")
    root = _given_root(options["root"])
    try:
        if options["log"]:
            from ..libcontainer.kernel import native  # the build imports this module before it has made the extension

            native.refuse_closed(options["log"])
        log.configure(options["log"], options["log_format"], level)
    except OSError as error:
        message = f"open {options['log']}"
        raise PyruncError(
            message, errno=error.errno or 0, hint=paths.closed_hint(error) or "--log names the log's file"
        ) from error
    if options["criu"] is not None:
        log.warning("--criu is without effect: criu is looked for in $PATH")
    manager = options["cgroup_manager"] or ("systemd" if options["systemd_cgroup"] else "cgroupfs")
    if manager not in CGROUP_MANAGERS:
        raise PyruncError(f'invalid cgroup manager "{manager}"', hint="cgroupfs, systemd and disabled are known")
    return Settings(
        name=name,
        root=root or _default_root(),
        root_given=bool(root),
        cgroup_manager=manager,
        rootless=_bool_or_auto(options["rootless"]),
    )


def _given_root(root: str | None) -> str:
    """`--root` as an absolute path; "" without it. "/" is refused, in any spelling."""
    if root is None:
        return ""
    path = paths.absolute(root)
    if path == "/":
        raise PyruncError("Option --root argument should not be set to /")
    return path


def usual_root() -> str:
    """The default root: /run/pyrunc for the host's root, $XDG_RUNTIME_DIR/pyrunc for others."""
    runtime_dir = posix.environ.get(b"XDG_RUNTIME_DIR", b"").decode("utf-8", "surrogateescape")
    return "/run/pyrunc" if not runtime_dir or _is_host_root() else runtime_dir + "/pyrunc"


def _default_root() -> str:
    """The default root; in $XDG_RUNTIME_DIR it is made with the sticky bit.

    The sticky bit protects it from clean-up (XDG Base Directory Specification, $XDG_RUNTIME_DIR).
    """
    root = usual_root()
    if root == "/run/pyrunc":
        return root
    try:
        sticky = posix.stat(root).st_mode & _STICKY
    except OSError:
        try:
            posix.mkdir(root, 0o1700)
        except OSError:
            return root  # a command that only reads works without it, and others report the error
        sticky = 0
    if not sticky:
        posix.chmod(root, 0o1700)
    return root


def _is_host_root() -> bool:
    """Whether this is uid 0 outside every user namespace, or one that calls itself root (`USER=root`)."""
    if posix.geteuid() != 0:
        return False
    from ..libcontainer.plan.host import in_userns

    return posix.environ.get(b"USER") == b"root" or not in_userns()


def _bool_or_auto(text: str) -> bool | None:
    if text == "" or text.lower() == "auto":
        return None
    value = parse_bool(text)
    if value is None:
        raise PyruncError(f'invalid --rootless value "{text}"', hint="true, false and auto are known")
    return value


def parse_bool(text: str) -> bool | None:
    """Parse a bool like Go's strconv.ParseBool; None for other values."""
    if text in ("1", "t", "T", "TRUE", "true", "True"):
        return True
    if text in ("0", "f", "F", "FALSE", "false", "False"):
        return False
    return None
