"""The life-cycle: create, run, start, state, kill, list (runtime.md of the specification; messages as in runc)."""

from __future__ import annotations

import errno
import posix

from .. import log
from ..errors import PyruncError, from_os_error, prefixed
from . import ownership, process
from . import state as store
from .deletion import destroy, kill_and_wait, whole
from .kernel import interrupts, native
from .launch import ledger, lifecycle_hooks
from .lookup import existing_in, locked, missing, opened, take_lock
from .state import Record
from .statedir import START_SOCKET, StateDir, open_directory, owner_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .._generated.spec_types import Spec, State
    from .launch.model import Launch
    from .launch.notify import Notify
    from .launch.timeline import Timeline
    from .plan.host import HostFacts
    from .plan.options import LaunchOptions

_SIGKILL = 9
# Only more mounts than these are compared with fs.mount-max, which is 100,000 if nobody changes it.
_MANY_MOUNTS = 1000
# Nobody listens on the start socket, or it was replaced by a socket of another type.
_NO_INIT = (errno.ENOENT, errno.ECONNREFUSED, errno.EPROTOTYPE)
# More descriptors than a process can have (/proc/sys/fs/nr_open is lower), and a C int.
_MAX_FDS = 2**31 - 64
_DIGITS = 10
# How long an init may take to end after it has reported a failure.
KILL_TIMEOUT_MS = 10_000
# How often to check, a millisecond apart, whether an init has executed its program.
EXEC_POLL_ATTEMPTS = 50
# The name of the init's program, a memfd or a file on a tmpfs (csrc/native/image.c).
_INIT_IMAGE = "pyrunc-init"


def create(options: LaunchOptions, fault: tuple[int, int] = (-1, 0)) -> None:
    """Create the container and leave its init waiting for `start`. Raises PyruncError after it has undone
    everything."""
    launch = _launch(prepare(options), options, fault)
    try:
        launch.answer()
        launch.write_timeline()
    except BaseException as error:
        launch.fail(error)
        raise


def run(
    options: LaunchOptions,
    fault: tuple[int, int] = (-1, 0),
    before_start: Callable[[Record], None] | None = None,
    change: Callable[[Spec], None] | None = None,
) -> int:
    """Create and start the container. Unless detached, wait for its end and delete it.

    change: called with the configuration, which it may change; what it makes of it must be valid.
    before_start: called once the init waits for its start, in its namespaces and cgroup.
    Returns the exit code: that of the process, 128 + n after signal n, 0 if detached. If something fails up to the
    poststart hooks, it undoes everything and raises PyruncError.
    """
    from .launch.launch import finish

    spec = prepare(options)
    if change is not None:
        change(spec)
    relay = None
    if spec["process"].get("terminal") and not options.detach:
        from .launch.relay import Relay

        relay = Relay()
    launch = _launch(spec, options, fault)
    if before_start is not None:
        try:
            before_start(launch.record)
        except BaseException as error:
            if relay is not None:
                relay.close()
            launch.fail(error)
            raise

    def on_running() -> None:
        looks = launch.is_filtered or _limits_memory(spec)
        if looks and _executed(launch.record, launch.init.pidfd) is False:
            raise launch.death()
        lifecycle_hooks.poststart(launch.record, launch.timeline)

    return finish(launch, relay, on_running, lambda: on_end(launch))


def on_end(launch: Launch) -> None:
    """End `run` or `restore` after the process has ended: delete the container unless `--keep` is given. Raises
    PyruncError."""
    if not launch.options.keep:
        _delete_ended(launch)


def _limits_memory(spec: Spec) -> bool:
    return bool(spec.get("linux", {}).get("resources", {}).get("memory"))


def _delete_ended(launch: Launch) -> None:
    """Delete a container whose process this command has reaped. Raises PyruncError."""
    record, place = launch.record, launch.ledger.place
    try:
        try:
            take_lock(place)
        except FileNotFoundError:
            return  # another command has deleted it
        destroy(place, record, launch.ledger.entries, launch.poststop, killing=True)
    finally:
        place.close()


def prepare(options: LaunchOptions) -> Spec:
    """Check the environment of the command, and load the configuration. Call it before any descriptor is opened."""
    store.check_id(options.id)
    listening = listen_fds()
    options.preserve_fds += listening
    prepare_fds(options.preserve_fds)
    log.hold()
    spec = load_spec(options)
    if listening:
        options.extra_env += (f"LISTEN_FDS={listening}", "LISTEN_PID=1")
    return spec


def load_spec(options: LaunchOptions) -> Spec:
    """The configuration of a launch, valid, as the options of its isolation have changed it. Raises PyruncError."""
    from .spec import load

    if not (options.isolation or options.network or options.seccomp_profile):
        return load.load(options.bundle, options.config)
    from .isolation.apply import added, apply

    spec = load.load(options.bundle, options.config, added(options))
    apply(spec, options, posix.geteuid())
    return spec


def prepare_fds(preserve_fds: int) -> None:
    """Open closed standard streams, before any other descriptor is opened. Raises PyruncError if a descriptor to
    preserve is not open."""
    missing = native.prepare_fds(min(preserve_fds, _MAX_FDS))
    if missing:
        raise PyruncError(
            f"unable to stat preserved-fd {missing - 3} (of {preserve_fds})",
            errno=errno.ENOENT,
            hint="--preserve-fds counts the open descriptors from 3 on",
        )


def listen_fds() -> int:
    """How many descriptors from 3 on were passed to this process for socket activation (sd_listen_fds(3))."""
    pid, count = posix.environ.get(b"LISTEN_PID", b""), posix.environ.get(b"LISTEN_FDS", b"")
    if not count.isdigit() or pid != str(posix.getpid()).encode():
        return 0
    # This number, more than any process can have descriptors, stands for itself and all larger ones.
    return min(int(count.lstrip(b"0")[:_DIGITS] or b"0"), _MAX_FDS)


def _launch(spec: Spec, options: LaunchOptions, fault: tuple[int, int]) -> Launch:
    from .compile.launch import compile_launch
    from .launch.launch import create as create_container

    _begin_network(spec)
    facts = host_facts(spec, options)
    return create_container(compile_launch(spec, options, facts), spec, options, facts, fault)


def _begin_network(spec: Spec) -> None:
    """Begin to make the network namespace, which takes the kernel as long as the compiler takes for the plan. Only if
    the clone can use it: the container joins no namespace and has no user namespace, as an ordinary user's has."""
    entries = (spec.get("linux") or {}).get("namespaces") or ()
    types = [entry["type"] for entry in entries]
    joins = any([entry.get("path") for entry in entries])
    if "network" in types and "user" not in types and not joins and posix.geteuid() == 0:
        native.begin_network()


def host_facts(spec: Spec, options: LaunchOptions, facts: HostFacts | None = None) -> HostFacts:
    """The facts of the host for a plan. Adds missing id mappings to the spec. Raises PyruncError.

    facts: those that the caller has gathered, with Landlock's; they are completed.
    """
    if facts is None:
        from .plan.host import LANDLOCK, gather

        facts = gather(LANDLOCK in (spec.get("annotations") or ()))
    if len(spec.get("mounts") or ()) > _MANY_MOUNTS:
        _check_count(spec)
    linux = spec.get("linux") or {}
    if any([entry["type"] == "user" for entry in linux.get("namespaces") or ()]) and not (
        linux.get("uidMappings") and linux.get("gidMappings")
    ):
        from .launch.newidmap import fill_mappings

        fill_mappings(spec, facts.euid, facts.egid)
    if options.cgroup_manager == "systemd":
        from .systemd import manager

        facts.systemd = manager.gather(options.rootless, facts)
    return facts


def _check_count(spec: Spec) -> None:
    """Refuse more mounts than a mount namespace can have: the kernel would take a minute to find that out."""
    from .kernel.hostmounts import most

    count, limit = len(spec["mounts"]), most()
    if 0 < limit < count:
        raise PyruncError(
            f"{count} mounts are too many: a mount namespace has at most {limit}",
            pointer="/mounts",
            hint="/proc/sys/fs/mount-max",
        )


def start(root: str, id: str, notify_socket: str = "", timeline: str = "") -> None:
    """Let the waiting init execute the process, and run the poststart hooks.

    notify_socket: the service manager's (NOTIFY_SOCKET), "" for none. If the container was created with one too, its
        notifications are relayed until READY=1 or its end.
    timeline: the file for the times of the start and of its hooks; "" for none. If it can't be written, that is a
        warning, because the process runs by then.
    Raises PyruncError if the container's status is wrong, if its program can't be executed (it is stopped then), and if
    a startContainer or poststart hook fails (it is deleted then, as by `delete`: runtime.md, Lifecycle).
    """
    path = store.directory(root, id)
    place, record = locked(path)
    sync = -1
    try:
        sync = _reach_init(path, record)
        notify = None
        if notify_socket:
            interrupts.hold()
            notify = _notify(place, notify_socket)
        if timeline:
            _timed_start(place, record, sync, timeline)
        else:
            _start(place, record, sync)
        if notify is not None:
            _relay_ready(place, record, notify)
    finally:
        if sync >= 0:
            posix.close(sync)
        place.close()


def _reach_init(path: str, record: Record) -> int:
    """A connection to the init that waits for the start. Raises PyruncError if none does, and OSError.

    A frozen one is not connected to: it accepts nothing until it is thawed. A stopped one is waited for, as by runc.
    Nothing else than the init is told to start, or waited for: whoever may write to the state directory can listen
    there.
    """
    found = process.find(record.pid, record.startTime)
    waits = found is not None and found.name == store.INIT_NAME
    if waits and not (record.cgroup and store.is_frozen(record.cgroup)):
        try:
            sync = native.connect(path + "/" + START_SOCKET, timeout_ms=native.PATIENCE_MS)
        except BlockingIOError as error:
            raise _not_started(f"the queue of {path}/{START_SOCKET} is full: nobody accepts connections") from error
        except OSError as error:
            if error.errno not in _NO_INIT:
                raise
        else:
            if native.peer(sync) == record.pid:
                return sync
            posix.close(sync)
            raise _not_started(f"another process listens at {path}/{START_SOCKET}")
    status = store.status(path, record)
    if status == "running":
        raise PyruncError("cannot start an already running container")
    if status == "paused":
        raise PyruncError("cannot start a container in the paused state")
    # "created": its init has ended since it was connected to.
    raise PyruncError("cannot start a container that has stopped")


def _not_started(why: str) -> PyruncError:
    """The error for an init that waits and was not reached."""
    return PyruncError("the container's init has not been started", hint=f"{why}; delete --force removes the container")


def _start(place: StateDir, record: Record, sync: int, times: Timeline | None = None) -> None:
    """Have the program executed, and run the poststart hooks. If a hook fails, delete the container.

    sync: the connection to the init. times: records the beginning and the end. Raises PyruncError.
    """
    try:
        if times is None:
            _send_start(place, record, sync)
        else:
            from .plan.model import Step

            times.run_step(Step("start", "start", (), "/process"), _send_start, place, record, sync)
        lifecycle_hooks.poststart(record, times)
    except PyruncError as error:
        if error.pointer.startswith("/hooks/"):
            _end(place, record, times)
        raise


def _timed_start(place: StateDir, record: Record, sync: int, path: str) -> None:
    """As `_start`, and write the timeline, however it ends. Raises PyruncError."""
    from .launch.timeline import Timeline

    times = Timeline(path)
    try:
        _start(place, record, sync, times)
    finally:
        try:
            times.write()
        except OSError as failure:
            log.warning(prefixed("writing the timeline", failure).line())


def _notify(place: StateDir, host: str) -> Notify | None:
    """The container's socket for notifications; None if it was created without one. Raises PyruncError."""
    from .launch import notify

    try:
        return notify.Notify(place.fd, host)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PyruncError(f"making the notify socket in {place.path}", errno=error.errno or 0) from error


def _relay_ready(place: StateDir, record: Record, notify: Notify) -> None:
    """Relay until the container is ready or has ended. Others may delete it meanwhile."""
    pidfd = process.open_process(record.pid, record.startTime)
    place.unlock()
    try:
        notify.begin(record.pid)
        if pidfd >= 0:
            notify.wait_ready(pidfd)
    finally:
        notify.close()
        if pidfd >= 0:
            posix.close(pidfd)


def _end(place: StateDir, record: Record, times: Timeline | None) -> None:
    """Delete a container after a hook of its start has failed. Failures here are logged: the hook is the first
    cause."""
    try:
        kill_and_wait(place, record)
        destroy(place, record, whole(place).entries, lambda: lifecycle_hooks.poststop(record, times))
    except (PyruncError, OSError) as failure:
        log.warning(f"deleting {record.id} after its failed start: {failure}")


def _send_start(place: StateDir, record: Record, sync: int) -> None:
    """Tell the waiting init to go on, and wait until it has executed the program. Raises PyruncError if that fails."""
    from .plan import wire

    path = place.path
    # Opened while the init surely lives. Whether it is the init's is looked at only where it is used.
    pidfd = process.open_pidfd(record.pid)
    try:
        try:
            native.send(sync, wire.START)
            # All that need not come before the start is done while the init goes on. If a signal ends this command, the
            # hooks are killed.
            interrupts.hold()
            try:
                posix.unlink(START_SOCKET, dir_fd=place.fd)
            except OSError as error:  # on a read-only file system; nobody listens on it any more
                log.debug(prefixed("removing the start socket", error).line())
            if interrupts.await_execve(sync, record.pid, store.INIT_NAME):
                return
            # Something is unusual: a message, a signal, or an init that was killed.
            while not interrupts.poll([sync]):
                continue
            data = native.recv(sync, wire.MESSAGE_SIZE)[0]
        except (BrokenPipeError, ConnectionResetError) as error:
            # The init has ended before it accepted the connection or read the message.
            _await_end(pidfd, record)
            from .launch import errors as launch_errors

            raise launch_errors.init_vanished(record.cgroup, False, record.pid, record.startTime) from error
        if data:
            _await_end(pidfd, record)  # until the next command finds it stopped
            raise _start_failure(path, record, data)
        executed = pidfd < 0 or _executed(record, pidfd)
        if executed is None:
            raise _not_started(f"too many processes were connected to {path}/{START_SOCKET}")
        if executed is False:
            from .launch import errors as launch_errors

            filtered = any([step[1] == "seccomp" for step in record.startSteps])
            profile = None
            if filtered:
                from .launch import scene

                found = scene.of_created(path, record)
                profile = found.profile if found is not None else None
            raise launch_errors.init_vanished(record.cgroup, filtered, record.pid, record.startTime, profile)
    finally:
        if pidfd >= 0:
            posix.close(pidfd)


def _await_end(pidfd: int, record: Record) -> None:
    """Wait for the end of an init that ends by itself, by the pidfd of the process that has its pid."""
    found = process.stat(record.pid) if pidfd >= 0 else None
    if found is not None and found.start_time == record.startTime:
        native.poll([pidfd], KILL_TIMEOUT_MS)


def _start_failure(path: str, record: Record, data: bytes) -> PyruncError:
    """The error of the init's message, which has the number of a step of create's plan."""
    from .launch import errors as launch_errors
    from .launch import scene
    from .plan import wire
    from .plan.model import Step

    message = wire.decode_message(data)
    failed = None
    for number, kind, args, pointer in record.startSteps:
        if number == message.step:
            failed = Step("start", kind, tuple(args), pointer)
    return launch_errors.init_step_failed(
        failed, message.error, message.detail, record.cgroup, scene=scene.of_created(path, record)
    )


def _executed(record: Record, pidfd: int) -> bool | None:
    """Whether the init has executed its program after it closed its socket; False if it was killed before, None if it
    still executes the init's program.

    execve(2) changes the program of a process before it closes descriptors, and a process that ends has none by then.
    Where the caller may not see it, the name decides: an init that has kept it for 50 ms counts as executed, since its
    program may have taken it. So does an init that its parent has reaped: its parent knows more.
    """
    if not _is_named_init(record):
        return True
    try:
        path = posix.readlink(f"/proc/{record.pid}/exe")
    except (FileNotFoundError, ProcessLookupError):
        native.poll([pidfd], KILL_TIMEOUT_MS)
        return not _is_named_init(record)
    except PermissionError:
        for _ in range(EXEC_POLL_ATTEMPTS):
            if native.poll([pidfd], 1):
                return not _is_named_init(record)
            if not _is_named_init(record):
                break
        return True
    name = path.removesuffix(" (deleted)").rpartition("/")[2].removeprefix("memfd:")
    return None if name == _INIT_IMAGE else True


def _is_named_init(record: Record) -> bool:
    """Whether the init exists, as a zombie too, and has the init's name."""
    found = process.stat(record.pid)
    return found is not None and found.start_time == record.startTime and found.name == store.INIT_NAME


def state(root: str, id: str) -> State:
    """The container's state with runc's fields, in runc's order. Changes nothing. Raises PyruncError if there is no
    such container."""
    place = opened(store.directory(root, id))
    try:
        described = _describe(place, "", None)
        if described is None:
            raise missing()
        return described
    finally:
        place.close()


def _describe(place: StateDir, owner: str, shared: store.Shared | None) -> State | None:
    """The container's state; None if there is no container. Raises DamagedError and OSError."""
    record = store.load(place)
    if record is None:
        if place.is_locked():
            # A create is running. The first entry of its ledger has the record so far.
            record = ledger.claim(ledger.read(place), place.id)
            return record.describe("creating", owner) if record is not None else None
        record = store.load(place)  # its creation may have ended just now
        if record is None:
            return None
    if place.distrust and (not record.cgroup.startswith(store.CGROUPS) or "/../" in record.cgroup):
        record.cgroup = ""  # only root can have a cgroup anywhere else
    return record.describe(store.status(place.path, record, shared), owner)


def list_states(root: str) -> list[State]:
    """The states of all containers under the root, by id, also other users'. Changes nothing.

    Damaged containers, and those that killed commands left, are left out with a warning.
    """
    try:
        names = store.ids(root)
        place = posix.open(root, posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
    except FileNotFoundError:
        return []
    shared = store.Shared()
    try:
        return _list_states(root.rstrip("/"), place, names, shared)
    finally:
        shared.close()
        posix.close(place)


def _list_states(root: str, root_fd: int, names: list[str], shared: store.Shared) -> list[State]:
    states: list[State] = []
    user = posix.geteuid()
    owners = {user: owner_name(user)}  # user names by uid
    for name in names:
        path = root + "/" + name
        try:
            record = store.load_own(root_fd, name, shared)
            if record is not None:
                described: State | None = record.describe(store.status(path, record, shared), owners[user])
            else:
                described = _listed(path, owners, shared)
        except PyruncError as error:
            log.warning(f"load container {name}: {error.line()}")
        except OSError as error:
            log.warning(f"load container {name}: {from_os_error(error).line()}")
        else:
            if described is not None:
                states.append(described)
    return states


def _listed(path: str, owners: dict[int, str], shared: store.Shared) -> State | None:
    """The state of the container at a path; None if there is none. owners: known user names by uid."""
    place = open_directory(path)
    if place is None:
        return None
    try:
        if place.owner not in owners:
            owners[place.owner] = owner_name(place.owner)
        described = _describe(place, owners[place.owner], shared)
        if described is None and not place.distrust and _is_left_behind(place):
            log.warning(f"container {place.id} was left behind by a command that was killed: gc or delete removes it")
        return described
    finally:
        place.close()


def _is_left_behind(place: StateDir) -> bool:
    """Whether a killed create or delete left a directory without a state.json. An empty one may belong to a create that
    begins just now."""
    return bool(place.names()) and ledger.is_ours(place, ledger.read(place)) and not place.is_locked()


def kill(root: str, id: str, signal: int, all: bool) -> None:
    """Send a signal to the container's process, or with `all` to every process of its cgroup.

    Without a pid namespace of the container's own, SIGKILL goes to all of them too: the end of the first process would
    not end them. Raises PyruncError: `container not running` without a process; with `all` that is no error.
    """
    place = opened(store.directory(root, id))
    try:
        record = existing_in(place)
        of_cgroup = record.cgroup and (all or (signal == _SIGKILL and not record.private_pid_namespace))
        if of_cgroup and _signal_cgroup(place, record, signal, all):
            return
    finally:
        place.close()
    try:
        sent = process.send_signal(record.pid, record.startTime, signal)
    except OSError as error:
        hint = "signals have the numbers 1 to 64" if signal > 64 else ""
        raise PyruncError("unable to signal init", errno=error.errno or 0, hint=hint) from error
    if not sent and not all:
        raise PyruncError("container not running")


def _signal_cgroup(place: StateDir, record: Record, signal: int, all: bool) -> bool:
    """Send a signal to every process of the container's cgroup, unless that is another one's by now. Returns False if
    there is no cgroup. Raises PyruncError, `container not running` unless `all`."""
    from .cgroup import files

    with ownership.hold(record.cgroup, place, record) as held:
        if not all and process.find(record.pid, record.startTime) is None:
            left = held.found == ownership.OWN and not files.is_empty(record.cgroup)
            if not left:
                raise PyruncError("container not running")
        if held.found == ownership.OWN:
            if signal == _SIGKILL:
                files.kill(record.cgroup)
            else:
                files.signal_all(record.cgroup, signal)
    return held.found != ownership.GONE
