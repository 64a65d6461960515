"""The process that `exec` starts: the container's with changes by options, or one from a file."""

from __future__ import annotations

from ... import log
from ...errors import PyruncError
from ..kernel.constants import LAST_ID
from ..spec import load
from ..spec.checks import check_platforms, check_process
from ..spec.problems import ERROR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    from ..._generated.spec_types import Capabilities, Process, Spec, User
    from ..plan.options import ExecOptions

    Fallback = Literal[
        "apparmorProfile", "capabilities", "execCPUAffinity", "ioPriority", "oomScoreAdj", "rlimits", "scheduler",
        "selinuxLabel",
    ]  # fmt: skip

_ID_DIGITS = 10  # of LAST_ID; the id above it would leave the process as the runtime's root (setresuid(2))

# The members that a process from a file takes from the container if it does not have them, as with runc. `rlimits` is
# none of them: without it the process has the caller's limits, as with runc and crun.
_FALLBACKS: tuple[Fallback, ...] = (
    "apparmorProfile", "capabilities", "execCPUAffinity", "ioPriority", "oomScoreAdj", "scheduler", "selinuxLabel",
)  # fmt: skip

# The options that have no effect with a process from a file.
_COMMAND_LINE_OPTIONS = (
    "additional_gids", "apparmor", "cap", "cwd", "env", "no_new_privs", "process_label", "user",
)  # fmt: skip


def process_of(spec: Spec, options: ExecOptions) -> Process:
    """The valid process for the options. spec: the container's, the result of saved_config.spec_of.

    Raises PyruncError with a pointer into the process, as if it stood in a config.json.
    """
    own = spec["process"]
    if options.process:
        process = _from_file(options.process, own)
        for problem in check_platforms({**spec, "process": process}):
            log.warning(f"{problem.pointer}: {problem.message}")
        for name in _COMMAND_LINE_OPTIONS:
            if getattr(options, name) not in ((), "", None):
                log.warning(f"--{name.replace('_', '-')} has no effect: --process tells the whole process")
    else:
        process = _from_command_line(own, options)
    for problem in check_process({**spec, "process": process}):
        if problem.severity == ERROR:
            raise PyruncError(problem.message, pointer=problem.pointer, hint=problem.hint_text())
    return process


def _from_file(path: str, own: Process) -> Process:
    process = load.load_process(path)
    members: Any = process
    for name in _FALLBACKS:
        if name in own and members.get(name) in (None, ""):
            members[name] = own[name]
    umask = own.get("user", {}).get("umask")
    if umask is not None:
        user: User = {"uid": 0, "gid": 0, **process.get("user", {})}
        process["user"] = {"umask": umask, **user}
    return process


def _from_command_line(own: Process, options: ExecOptions) -> Process:
    if not options.args:
        raise PyruncError("exec args cannot be empty", hint="name a program, or a file with --process")
    process: Process = {**own, "args": list(options.args), "terminal": options.tty}
    if options.cwd:
        if not options.cwd.startswith("/"):
            raise PyruncError("Cwd must be an absolute path", hint=f"--cwd is {options.cwd}")
        process["cwd"] = options.cwd
    if options.env:
        process["env"] = [*own.get("env", ()), *options.env]
    if options.apparmor:
        process["apparmorProfile"] = options.apparmor
    if options.process_label:
        process["selinuxLabel"] = options.process_label
    if options.no_new_privs is not None:
        process["noNewPrivileges"] = options.no_new_privs
    if options.cap:
        process["capabilities"] = _with_capabilities(own.get("capabilities", {}), options.cap)
    if options.user or options.additional_gids:
        process["user"] = _user(own.get("user", {}), options)
    return process


def _with_capabilities(own: Capabilities, more: tuple[str, ...]) -> Capabilities:
    """Add capabilities to the container's sets. The inheritable set is not extended (CVE-2022-29162). Ambient
    capabilities must be inheritable, so they are added only if the container has an inheritable set."""
    sets: Capabilities = {**own}
    names: list[Literal["bounding", "effective", "permitted", "ambient"]] = ["bounding", "effective", "permitted"]
    if "inheritable" in own:
        names.append("ambient")
    for name in names:
        sets[name] = [*own.get(name, ()), *more]
    return sets


def _user(own: User, options: ExecOptions) -> User:
    user: User = {"uid": 0, "gid": 0, **own}
    if options.user:
        uid, gid = parse_user(options.user)
        user["uid"] = uid
        if gid is not None:
            user["gid"] = gid
    for gid in options.additional_gids:
        if not 0 <= gid <= LAST_ID:
            # Wording of runc.
            raise PyruncError(f"additional-gids must be a positive number {gid}", hint=f"at most {LAST_ID}")
    user["additionalGids"] = [*own.get("additionalGids", ()), *options.additional_gids]
    return user


def parse_user(text: str) -> tuple[int, int | None]:
    """The ids of `UID` or `UID:GID`; None without a gid. Decimal digits and nothing else (CVE-2026-30892).

    Raises PyruncError for other texts, also names: only the container's files could tell whom a name means.
    """
    uid, colon, gid = text.partition(":")
    return _id("uid", uid, text), _id("gid", gid, text) if colon else None


def _id(name: str, digits: str, text: str) -> int:
    number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= _ID_DIGITS else -1
    if not 0 <= number <= LAST_ID:
        # Begins as runc's.
        raise PyruncError(f'bad {name}: "{digits}" in "{text}"', hint=f"UID or UID:GID, at most {LAST_ID}")
    return number
