"""The phases process, ready and start: from the container's root to the user's program."""

from __future__ import annotations

import errno

from ..._generated import steps
from ...errors import PyruncError, pointer
from ..kernel.constants import RLIMITS
from ..plan.host import LANDLOCK
from ..plan.model import START_SLOT
from . import hooks
from .capabilities import capability_sets
from .namespaces import DENIED, setgroups_allowed
from .openfiles import raise_open_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .context import Context
    from .landlock import Landlock
    from .seccomp import Filter

# Where the configuration names none.
_UMASK = 0o022
_FIRST_FD = 3

# The fields of process and linux that compile/scheduling.py compiles.
_SCHEDULING = frozenset(("scheduler", "ioPriority", "memoryPolicy", "personality"))


def compile_process(context: Context) -> None:
    """Add the steps that set up the process. A step that needs a privilege comes before the step that drops it."""
    context.phase = "process"
    process = context.process
    if not context.is_exec:
        # The container must not inherit the caller's CPU affinity. `exec` has fields for it.
        context.init_step(steps.cpu_affinity())
    user = process.get("user") or {}
    uid = user.get("uid", 0)
    if process.get("terminal"):
        context.init_step(steps.terminal_stdio(), pointer="/process/terminal")
    else:
        context.init_step(steps.new_session())
    context.init_step(steps.stdio_owner(uid=uid), pointer="/process/user/uid")
    raise_open_files(context)
    sets = capability_sets(context)
    rules = None
    ruleset = context.annotated(LANDLOCK)
    if ruleset:
        from .landlock import Landlock

        rules = Landlock(context, sets, ruleset)
        rules.build()
    _limits(context)
    if process.get("apparmorProfile") or process.get("selinuxLabel"):
        from .labels import label_process

        label_process(context)
    if process.get("noNewPrivileges"):
        context.init_step(steps.no_new_privileges(), pointer="/process/noNewPrivileges")
    filter = None
    held = rules.held if rules is not None else 0
    if context.linux.get("seccomp") or context.annotated("run.oci.seccomp_bpf_data"):
        from .seccomp import Filter

        filter = Filter(context, sets)
        held |= filter.held
    if sets is not None:
        context.init_step(steps.bounding(keep=sets.bounding), pointer="/process/capabilities/bounding")
    _user(context)
    if sets is not None:
        effective, permitted = sets.effective | held, sets.permitted | held
        context.init_step(
            steps.capabilities(effective=effective, permitted=permitted, inheritable=sets.inheritable),
            pointer="/process/capabilities",
        )
        context.init_step(steps.ambient(caps=sets.ambient), pointer="/process/capabilities/ambient")
    elif held:
        at = "/linux/seccomp" if filter is not None else pointer("annotations", LANDLOCK)
        context.init_step(steps.capabilities(effective=held, permitted=held, inheritable=0), pointer=at)
    umask = user.get("umask")
    context.init_step(
        steps.umask(mask=_UMASK if umask is None else umask), pointer="" if umask is None else "/process/user/umask"
    )
    env, has_home = environment([*(process.get("env") or ()), *context.options.extra_env, *_notify(context)])
    if not has_home:
        context.init_step(steps.home(uid=uid), pointer="/process/env")
    args = tuple(process["args"])
    context.init_step(steps.find_executable(name=args[0], path=_path_of(env)), pointer="/process/args/0")
    context.init_step(steps.keep_fds(first=_FIRST_FD + context.options.preserve_fds))
    if filter is not None:
        filter.map()
    if filter is not None and filter.notifies:
        _restrict(rules, filter)
        rules = filter = None
    _start(context, args, env, has_home, rules, filter)


def _restrict(rules: Landlock | None, filter: Filter | None) -> None:
    """Enforce the ruleset, then load the filter: it need not allow Landlock's calls."""
    if rules is not None:
        rules.enforce(drop=filter is None)
    if filter is not None:
        filter.load()


def _limits(context: Context) -> None:
    """Resource limits, scheduling and oom_score_adj. The init sets them itself, or the runtime does if a user namespace
    takes away the right to raise them. They come late, because a limit could keep the init from its own work."""
    process = context.process
    for index, limit in enumerate(process.get("rlimits") or ()):
        pointer = f"/process/rlimits/{index}"
        number = RLIMITS[limit["type"]]
        if limit["type"] == "RLIMIT_NOFILE" and context.options.command == "create":
            _leave_room(context, limit["soft"], pointer)
        if context.userns:
            context.on_request(
                "limits", steps.prlimit(resource=number, soft=limit["soft"], hard=limit["hard"]), pointer=pointer
            )
        else:
            context.init_step(steps.rlimit(resource=number, soft=limit["soft"], hard=limit["hard"]), pointer=pointer)
    if not _SCHEDULING.isdisjoint(process) or not _SCHEDULING.isdisjoint(context.linux):
        from . import scheduling

        scheduling.compile_scheduling(context)
    if "intelRdt" in context.linux:
        from . import rdt

        rdt.assign(context)
    context.request("limits", pointer="/process/rlimits" if process.get("rlimits") else "")
    if process.get("oomScoreAdj") is not None and not context.userns and not context.is_exec:
        context.init_step(steps.oom_score_adj(value=process["oomScoreAdj"]), pointer="/process/oomScoreAdj")


def _leave_room(context: Context, soft: int, pointer: str) -> None:
    """Refuse a limit of open files that is too low for a created container: it waits with this limit, and needs one
    more descriptor for the start. A Landlock ruleset is a descriptor too."""
    least = _FIRST_FD + context.options.preserve_fds + 1 + (1 if context.annotated(LANDLOCK) else 0)
    if soft < least:
        raise PyruncError(
            f"a soft limit of {soft} open files leaves the init none to be started by",
            pointer=pointer + "/soft",
            hint=f"at least {least} with create",
        )


def _user(context: Context) -> None:
    """Change the working directory and the user; if only the user may enter the directory, change it afterwards."""
    process = context.process
    user = process.get("user") or {}
    uid, gid = user.get("uid", 0), user.get("gid", 0)
    groups = tuple([str(group) for group in user.get("additionalGids") or ()])
    allowed = setgroups_allowed(context)
    if context.annotated("run.oci.keep_original_groups") not in ("", "0"):
        if groups:
            at = pointer("annotations", "run.oci.keep_original_groups")
            context.warnings.append(f"{at}: process.user.additionalGids are not set, the runtime's own groups stay")
        groups, allowed = (), DENIED
    _check_ids(context, uid, gid)
    if groups and allowed == DENIED:
        if context.facts.euid != 0:
            # Wording of runc.
            raise PyruncError(
                "cannot set any additional groups in a rootless container",
                pointer="/process/user/additionalGids",
                hint="with one gid mapped, setgroups is denied; map gids of /etc/subgid too, or leave the groups out",
            )
        context.warnings.append("/process/user/additionalGids: not set, the user namespace denies setgroups")
        groups = ()
    retry = bool(uid or gid or groups)
    context.init_step(
        steps.chdir(path=process["cwd"]), pointer="/process/cwd", on_errno=(errno.EACCES, errno.EPERM) if retry else ()
    )
    context.init_step(steps.user(uid=uid, gid=gid, groups=groups, set_groups=allowed), pointer="/process/user")
    if retry:
        context.init_step(steps.chdir(path=process["cwd"]), pointer="/process/cwd", fallback_level=1)


def _check_ids(context: Context, uid: int, gid: int) -> None:
    """Refuse ids that are not mapped in the runtime's own user namespace. checks.py checks those of a new one. Raises
    PyruncError in runc's words."""
    if context.userns or not context.facts.in_userns:
        return
    for kind, number, outer in (("uid", uid, context.facts.uid_map), ("gid", gid, context.facts.gid_map)):
        if not any(first <= number < first + size for first, _, size in outer):
            raise PyruncError(
                f"cannot set{kind} to unmapped {kind} {number} in user namespace", pointer=f"/process/user/{kind}"
            )


def environment(env: list[str]) -> tuple[tuple[str, ...], bool]:
    """The program's environment, made from process.env, and whether it has a HOME.

    Of several entries with one name the last one stays, in its place. An empty HOME is left out: the init sets it
    from the container's /etc/passwd. Raises PyruncError for an entry without a name or without `=`.
    """
    last: dict[str, int] = {}
    for index, entry in enumerate(env):
        name, equals, value = entry.partition("=")
        if not name or not equals:
            reason = "name cannot be empty" if equals else "missing '='"
            raise PyruncError(
                f"invalid environment variable: {reason}", pointer=f"/process/env/{index}", hint="it is NAME=VALUE"
            )
        if name == "HOME" and not value:
            last.pop(name, None)
        else:
            last[name] = index
    return tuple([env[index] for index in sorted(last.values())]), "HOME" in last


def _notify(context: Context) -> tuple[str, ...]:
    """The variable that names the container's socket for notifications, if it has one."""
    if not context.options.notify_socket:
        return ()
    from . import notify

    return (notify.VARIABLE,) if notify.relays(context) else ()


def _path_of(env: tuple[str, ...]) -> str:
    """The value of PATH in the environment; "" without one."""
    for entry in env:
        if entry.startswith("PATH="):
            return entry[5:]
    return ""


def _start(
    context: Context,
    args: tuple[str, ...],
    env: tuple[str, ...],
    has_home: bool,
    rules: Landlock | None,
    filter: Filter | None,
) -> None:
    """Report ready, wait for the start, enforce the Landlock ruleset and load the seccomp filter if that is not done,
    run the startContainer hooks, and execute the program. A process of `exec` has no state, no hooks and no wait."""
    options = context.options
    context.phase = "ready"
    context.init_step(steps.ready())
    if not context.is_exec:
        context.on_request("ready", steps.save_state(path=options.state_dir + "/state.json"))
    if options.pidfd_socket:
        context.on_request("ready", steps.send_pidfd(path=options.pidfd_socket))
    receiver = "" if context.is_exec else context.annotated("run.oci.pidfd_receiver")
    if receiver:
        context.on_request(
            "ready", steps.send_pidfd(path=receiver), pointer=pointer("annotations", "run.oci.pidfd_receiver")
        )
    if options.pid_file:
        context.on_request("ready", steps.write_pid_file(path=options.pid_file))
    context.phase = "start"
    if not context.is_exec:
        context.init_step(steps.await_start(listener=START_SLOT if options.command == "create" else None))
    _restrict(rules, filter)
    if not context.is_exec:
        # The specification has no rule: as with runc, hooks without an environment get that of the process.
        hooks.container_hooks(context, "startContainer", "created", env, not has_home)
    context.init_step(steps.execute(args=args, env=env), pointer="/process/args")
