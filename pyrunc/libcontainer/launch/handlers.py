"""The runtime's steps: one function for each step kind (plan/kinds.py). Its parameters are the kind's fields that it
uses.

Each writes its effect to the ledger before it makes it. It raises PyruncError or OSError; `launch` adds the step.
"""

from __future__ import annotations

import errno
import posix

from ... import log, paths
from ..._generated.steps import FIELDS
from ...errors import PyruncError
from .. import process, state
from ..cgroup import claims, devices
from ..kernel import interrupts, native
from ..kernel.constants import CLONE_FLAGS
from ..kernel.fileio import read_file, write_whole
from ..plan.model import START_SLOT
from ..statedir import START_SOCKET
from . import clone, ledger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from ..._generated.spec_types import HookEntry
    from ..plan.model import Step
    from .model import Launch

    Handler = TypeVar("Handler", bound=Callable[..., None])

_TYPE, _REGULAR = 0o170000, 0o100000

# The handler of each kind, which is called with the launch and all of the step's arguments.
HANDLERS: dict[str, Callable[..., None]] = {}


def handles(kind: str) -> Callable[[Handler], Handler]:
    """Make a function the handler of a kind. Its parameters are fields of the kind by their names (`class_` for class),
    as far as it uses them, and before them the launch, if it uses that."""
    fields = [name for name, _ in FIELDS[kind]]

    def register(function: Handler) -> Handler:
        code = function.__code__
        names = [name.removesuffix("_") for name in code.co_varnames[: code.co_argcount]]
        places = [fields.index(name) for name in names if name in fields]
        if len(names) - len(places) == 1 and places == list(range(len(fields))):
            HANDLERS[kind] = function
        else:
            HANDLERS[kind] = _selecting(function, len(names) > len(places), places)
        return function

    return register


def _selecting(function: Callable[..., None], with_launch: bool, places: list[int]) -> Callable[..., None]:
    """The handler that passes some of its arguments to a function."""

    def handler(launch: Launch, *args: Any) -> None:
        chosen = [args[place] for place in places]
        if with_launch:
            function(launch, *chosen)
        else:
            function(*chosen)

    return handler


@handles("compile_seccomp")
def _compile_seccomp(launch: Launch, slot: str) -> None:
    from ..seccomp import cache

    profile = launch.plan.profile
    assert profile is not None, "the compiler has the step for a profile"
    root, kernel = launch.options.root, launch.facts.kernel
    program = cache.lookup(root, profile, kernel)
    if program is None:
        from ..seccomp import compiler

        program = compiler.compile_cached(root, profile, kernel)
    launch.slots[slot] = native.memfd("pyrunc-seccomp", program)
    log.debug(f"seccomp filter flags: {launch.plan.filter_flags}")


@handles("raw_seccomp")
def _raw_seccomp(launch: Launch, slot: str, data: str) -> None:
    from ..spec.annotations import decode

    launch.slots[slot] = native.memfd("pyrunc-seccomp", decode(data))


@handles("open_hook_output")
def _open_hook_output(launch: Launch, slot: str, path: str) -> None:
    from .hooks import open_output

    launch.slots[slot] = interrupts.during(open_output, path)


@handles("state_dir")
def _state_dir(launch: Launch, path: str) -> None:
    """Claim the id by making the directory. What a killed create has left there is undone first."""
    log.release()
    state.make_root(launch.options.root)
    launch.ledger = ledger.claim_id(path)
    launch.state_dir_fd = launch.ledger.place.fd
    launch.ledger.record("state_dir", **launch.record.values())


@handles("notify_socket")
def _notify_socket(launch: Launch, path: str, host: str) -> None:
    """The directory is removed with the state directory. With create the socket is made by `start`."""
    posix.mkdir(path, 0o755)
    posix.chmod(path, 0o755)
    if launch.options.command == "run":
        from . import notify

        launch.notify = notify.Notify(launch.state_dir_fd, host)


@handles("open_files")
def _open_files(limit: int) -> None:
    native.raise_open_files(limit)


@handles("require_lsm")
def _require_lsm(name: str) -> None:
    from ..kernel import lsm

    lsm.require(name)


@handles("cgroup_create")
def _cgroup_create(launch: Launch, path: str) -> None:
    made: list[str] = []

    def record(directory: str) -> None:
        made.append(directory)
        launch.ledger.record("cgroup" if directory == path else "cgroup_parent", path=directory)

    def withdraw(directory: str) -> None:
        launch.ledger.withdraw("cgroup" if directory == path else "cgroup_parent", directory)

    place = paths.absolute(launch.ledger.place.path)
    launch.cgroup_made, launch.cgroup_fd, launch.claim = claims.take(path, place, record, withdraw)
    if len(made) > 1 and launch.cgroup_made:
        _hand_down(launch, path)


def _hand_down(launch: Launch, path: str) -> None:
    """Enable all possible controllers in the new cgroups above the container's, as runc does, so that a container
    without limits has its statistics too. Cgroups that existed before are left as they are."""
    from ..cgroup import controllers

    controllers.enable(path, launch.facts.cgroup_mount, {}, launch.facts.controllers)


@handles("systemd_scope")
def _systemd_scope(launch: Launch, unit: str, path: str, manager: str, properties: tuple[str, ...]) -> None:
    from . import systemd_scope

    systemd_scope.start(launch, unit, path, manager == "user", properties)


@handles("systemd_attach")
def _systemd_attach(launch: Launch, unit: str, subcgroup: str) -> None:
    from . import systemd_scope

    systemd_scope.attach(launch.init.pid, unit, subcgroup)


@handles("cgroup_controllers")
def _cgroup_controllers(launch: Launch, path: str, needed: tuple[str, ...], wanted: tuple[str, ...]) -> None:
    from ..cgroup import controllers
    from ..cgroup.resources import controller_of

    pointers = dict.fromkeys(needed, "")
    for file, pointer in launch.plan.limit_pointers.items():
        controller = controller_of(file)
        if controller in pointers:
            pointers[controller] = pointers[controller] or pointer
    controllers.enable(path, launch.facts.cgroup_mount, pointers, wanted)


@handles("cgroup_check_memory")
def _cgroup_check_memory(launch: Launch, limit: int, swap: int) -> None:
    from ..cgroup import limits

    limits.check_memory(launch.cgroup_fd, limit, swap)


@handles("cgroup_limit")
def _cgroup_limit(launch: Launch, file: str, value: str, optional: int) -> None:
    from ..cgroup import limits

    limits.write(launch.cgroup_fd, file, value, bool(optional))


@handles("cgroup_owner")
def _cgroup_owner(launch: Launch, uid: int) -> None:
    from ..cgroup import controllers

    controllers.delegate(launch.cgroup_fd, uid)


@handles("cgroup_devices")
def _cgroup_devices(launch: Launch, rules: tuple[str, ...]) -> None:
    program = devices.program(rules)
    if launch.cgroup_made:
        devices.attach(launch.cgroup_fd, program)
    else:
        devices.replace(launch.cgroup_fd, program)


@handles("resctrl_group")
def _resctrl_group(launch: Launch, clos: str, make: int, schemata: tuple[str, ...]) -> None:
    from ..kernel import resctrl

    resctrl.prepare(clos, make, schemata, _recording(launch), launch.ledger.withdraw)


@handles("resctrl_monitor")
def _resctrl_monitor(launch: Launch, clos: str, group: str) -> None:
    from ..kernel import resctrl

    resctrl.monitor(clos, group, _recording(launch), launch.ledger.withdraw)


def _recording(launch: Launch) -> Callable[[str, str], None]:
    return lambda effect, path: launch.ledger.record(effect, path=path)


@handles("resctrl_assign")
def _resctrl_assign(launch: Launch, clos: str, group: str) -> None:
    from ..kernel import resctrl

    resctrl.assign(clos, group, launch.init.pid)


@handles("net_device")
def _net_device(launch: Launch, name: str, new_name: str, path: str) -> None:
    from . import netdevices

    record = launch.ledger.record
    if launch.network < 0:
        launch.network = posix.open(f"/proc/{launch.init.pid}/ns/net", posix.O_RDONLY | posix.O_CLOEXEC)
        if not path:
            launch.network_pin = netdevices.pin(launch.network, launch.ledger.place, record)
    facts = {
        "path": path, "pin": launch.network_pin, "pid": launch.init.pid, "startTime": launch.record.startTime,
    }  # fmt: skip
    netdevices.move(launch.network, name, new_name, lambda effect, **more: record(effect, **facts, **more))


@handles("start_socket")
def _start_socket(launch: Launch) -> None:
    # By the directory's descriptor: the state root may belong to another user, who can exchange the directories in it.
    listener = native.listen(f"/proc/self/fd/{launch.state_dir_fd}/{START_SOCKET}")
    launch.slots[START_SLOT] = listener
    launch.record.startSteps = [_saved_step(number, step) for number, step in launch.plan.start_steps()]


def _saved_step(number: int, step: Step) -> list[Any]:
    return [number, step.kind, [arg[:1] if isinstance(arg, tuple) else arg for arg in step.args], step.pointer]


@handles("console_socket")
def _console_socket(launch: Launch, path: str) -> None:
    from . import console

    launch.console_socket = console.connect(path)


@handles("open_source")
def _open_source(launch: Launch, slot: str, path: str, recursive: int, nofollow: int) -> None:
    flags = native.OPEN_TREE_CLONE | (native.AT_RECURSIVE if recursive else 0)
    if nofollow:
        flags |= native.AT_SYMLINK_NOFOLLOW
    launch.slots[slot] = native.open_tree(native.AT_FDCWD, path, flags)


@handles("make_idmap")
def _make_idmap(launch: Launch, idmap: str, uids: tuple[str, ...], gids: tuple[str, ...]) -> None:
    from ..kernel import userns

    launch.idmaps[idmap] = userns.make(uids, gids)


@handles("open_mapped_source")
def _open_mapped_source(
    launch: Launch, slot: str, path: str, recursive: int, nofollow: int, idmap: str, below: int
) -> None:
    _open_source(launch, slot, path, recursive, nofollow)
    namespace = launch.idmaps[idmap] if idmap in launch.idmaps else launch.slots[idmap]
    _map_ids(launch.slots[slot], namespace, below, path)


def _map_ids(mount: int, namespace: int, below: int, path: str) -> None:
    try:
        native.idmap_mount(mount, namespace, bool(below))
    except OSError as error:
        raise PyruncError(f"mount_setattr(MOUNT_ATTR_IDMAP) {path}", errno=error.errno or 0) from error


@handles("map_source")
def _map_source(launch: Launch, idmap: str, below: int) -> None:
    """Map the ids of the mount that came with the init's request, by a user namespace made for it or by the
    container's."""
    mount, launch.init.received = launch.init.received, -1
    namespace = launch.idmaps.pop(idmap, -1)
    try:
        if namespace < 0:
            namespace = posix.open(f"/proc/{launch.init.pid}/ns/user", posix.O_RDONLY | posix.O_CLOEXEC)
        _map_ids(mount, namespace, below, "a source in the rootfs")
    finally:
        for fd in (mount, namespace):
            if fd >= 0:
                posix.close(fd)


@handles("warn_locked")
def _warn_locked(path: str, attr_clr: int) -> None:
    """Warn of the flags that were to be cleared and that the source has. They have the numbers of MOUNT_ATTR_*."""
    try:
        has = posix.statvfs(path).f_flag & attr_clr
    except OSError:
        has = 0  # the container can reach it, the runtime can't
    names = ", ".join([name for name, bit in _LOCKED_NAMES if has & bit])
    log.warning(
        f"{path} is mounted {names or 'with the flags that it has'}: "
        "its mount's flags are locked in the user namespace, which may not change them"
    )


_LOCKED_NAMES = (
    ("read-only", posix.ST_RDONLY), ("nosuid", posix.ST_NOSUID), ("nodev", posix.ST_NODEV), ("noexec", posix.ST_NOEXEC),
)  # fmt: skip


@handles("open_namespace")
def _open_namespace(launch: Launch, slot: str, type: str, path: str) -> None:
    fd = interrupts.during(posix.open, path, posix.O_RDONLY | posix.O_CLOEXEC)
    launch.slots[slot] = fd
    # The kernel tells the type, not the file's name: a namespace that is kept by a bind mount has the mount's name.
    if native.fs_magic(fd) != native.NSFS_MAGIC or native.namespace_type(fd) != CLONE_FLAGS[type]:
        raise PyruncError(f"{path} is not a namespace of type {type}")


@handles("open_process")
def _open_process(launch: Launch, slot: str, pid: int, start_time: int) -> None:
    log.release()
    pidfd = process.open_process(pid, start_time)
    if pidfd < 0:
        raise stopped()
    launch.slots[slot] = pidfd


def stopped() -> PyruncError:
    """The error for a process that has ended, in runc's words."""
    return PyruncError("cannot exec in a stopped container", hint="container not running")


@handles("initial_cpu_affinity")
def _initial_cpu_affinity(cpus: tuple[str, ...]) -> None:
    posix.sched_setaffinity(0, [int(cpu) for cpu in cpus])


@handles("inherit_oom_score_adj")
def _inherit_oom_score_adj(launch: Launch, value: int) -> None:
    from ..kernel import procfs

    own = int(read_file("/proc/self/oom_score_adj"))
    if own != value:
        procfs.write(posix.getpid(), "oom_score_adj", str(value))
        launch.own_oom_score_adj = own


def _restore_oom_score_adj(launch: Launch) -> None:
    if launch.own_oom_score_adj is not None:
        from ..kernel import procfs

        procfs.write(posix.getpid(), "oom_score_adj", str(launch.own_oom_score_adj))


@handles("check_maps")
def _check_maps(launch: Launch, slot: str, uids: tuple[str, ...], gids: tuple[str, ...]) -> None:
    from ..kernel import userns

    userns.check(launch.slots[slot], uids, gids)


@handles("clone")
def _clone(launch: Launch, flags: int, cgroup: str, join: tuple[str, ...]) -> None:
    clone.clone(launch, flags, cgroup, join)
    _restore_oom_score_adj(launch)
    born = process.stat(launch.init.pid)
    if born is None:
        raise PyruncError("the init is gone", errno=errno.ESRCH)
    launch.record.pid = launch.init.pid
    launch.record.startTime = born.start_time
    if not cgroup:
        # With a cgroup, the undoing kills the processes in it.
        launch.ledger.record("process", pid=launch.init.pid, startTime=born.start_time)


@handles("write_map")
def _write_map(launch: Launch, file: str, lines: tuple[str, ...]) -> None:
    from ..kernel import userns

    userns.write_map(launch.init.pid, file, lines)


@handles("map_by_tool")
def _map_by_tool(launch: Launch, path: str, file: str, lines: tuple[str, ...]) -> None:
    from . import newidmap

    newidmap.write_map(path, launch.init.pid, file, lines)


@handles("write_setgroups")
def _write_setgroups(launch: Launch, value: str) -> None:
    from ..kernel import userns

    userns.write_setgroups(launch.init.pid, value)


@handles("prlimit")
def _prlimit(launch: Launch, resource: int, soft: int, hard: int) -> None:
    native.prlimit(launch.init.pid, resource, soft, hard)


@handles("set_scheduler")
def _set_scheduler(
    launch: Launch,
    policy: int,
    flags: int,
    nice: int,
    priority: int,
    runtime: int,
    deadline: int,
    period: int,
) -> None:
    native.sched_setattr(launch.init.pid, policy, flags, nice, priority, runtime, deadline, period)


@handles("set_io_priority")
def _set_io_priority(launch: Launch, class_: int, priority: int) -> None:
    native.ioprio_set(launch.init.pid, class_, priority)


@handles("write_oom_score_adj")
def _write_oom_score_adj(launch: Launch, value: int) -> None:
    from ..kernel import procfs

    procfs.write(launch.init.pid, "oom_score_adj", str(value))


@handles("runtime_hook")
def _runtime_hook(
    launch: Launch,
    hook: str,
    index: int,
    path: str,
    args: tuple[str, ...],
    env: tuple[str, ...] | None,
    timeout: int,
) -> None:
    from . import hooks

    entry: HookEntry = {"path": path, "args": list(args), "timeout": timeout}
    if env is not None:
        entry["env"] = list(env)
    record = launch.record
    hooks.run_hook(entry, hook, index, record.hook_state("creating"), hooks.outputs(record.annotations))


@handles("send_listener")
def _send_listener(launch: Launch, path: str, metadata: str) -> None:
    from ..seccomp import agent

    listener = agent.take(launch.init.sync, launch.init.pidfd, launch.init.listener)
    if listener < 0:
        return
    try:
        agent.send(path, listener, launch.init.pid, launch.agent_state, metadata)
    finally:
        posix.close(listener)


@handles("receive_console")
def _receive_console(launch: Launch, relay: int) -> None:
    if launch.init.master < 0:
        raise PyruncError("the init sent no pty")
    if relay:
        return
    from . import console

    console.hand_over(launch.console_socket, launch.init.master)
    for fd in (launch.init.master, launch.console_socket):
        posix.close(fd)
    launch.init.master = launch.console_socket = -1


@handles("send_pidfd")
def _send_pidfd(launch: Launch, path: str) -> None:
    """The text of the message names the sort of process, as with runc."""
    socket = interrupts.connect(path, f"connecting to the pidfd socket {path}")
    try:
        native.send(socket, b"setns" if launch.options.command == "exec" else b"standard", [launch.init.pidfd])
    finally:
        posix.close(socket)


@handles("save_state")
def _save_state(launch: Launch) -> None:
    state.save(launch.state_dir_fd, launch.record, launch.state_tmp_name)


@handles("host_mounts")
def _host_mounts(launch: Launch, rootfs: str) -> None:
    from ..kernel import hostmounts

    path = hostmounts.resolved(rootfs)
    launch.ledger.record("host_mounts", path=path, before=hostmounts.count(path))


def _is_device(path: str) -> bool:
    """Whether a path names a descriptor or a device, such as /dev/stdout and /dev/null: a file must not replace it, as
    it would with runc."""
    if not path.startswith(("/dev/", "/proc/")):
        return False
    try:
        return posix.lstat(path).st_mode & _TYPE != _REGULAR
    except FileNotFoundError:
        return False


def _write_into(path: str, content: str) -> None:
    """Write to a device or a descriptor. Raises OSError, also for a closed standard stream."""
    native.refuse_closed(path)
    fd = posix.open(path, posix.O_WRONLY | posix.O_NONBLOCK | posix.O_NOCTTY | posix.O_CLOEXEC)
    try:
        write_whole(fd, content, path)
    finally:
        posix.close(fd)


@handles("write_pid_file")
def _write_pid_file(launch: Launch, path: str) -> None:
    content = str(launch.init.pid)
    if _is_device(path):
        _write_into(path, content)
        return
    launch.ledger.record("pid_file", path=path, content=content, draft=state.tmp_name(path))
    state.replace(path, content, 0o666)
