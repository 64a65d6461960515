"""The life-cycle: create, run, start, state, kill, delete, list (the specification's runtime.md, in runc's words)."""

from __future__ import annotations

import errno
import posix

from .. import log, native
from ..report import PyruncError
from . import ledger, lifecyclehooks, process
from . import state as store
from .state import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .launch import Launched
    from .options import LaunchOptions

_SIGKILL = 9
# How long a killed process may take to end before `delete` gives up.
_DEATH_MS = 10_000
# How often, a millisecond apart, it is looked whether an init has become its program.
_LOOKS = 50


def create(options: LaunchOptions, fault: tuple[int, int] = (-1, 0)) -> None:
    """Create the container and leave its init waiting for `start`. Raises PyruncError, everything undone."""
    from .launch import abandon

    launched = _launch(_prepare(options), options, fault)
    try:
        launched.answer()
        launched.write_timeline()
    except BaseException:
        abandon(launched)
        raise


def run(options: LaunchOptions, fault: tuple[int, int] = (-1, 0)) -> int:
    """Create and start the container, and unless detached wait for its end and delete it.

    Gives the exit code: the process's, 128 + n where signal n ended it, 0 where detached. Raises PyruncError,
    everything undone, for what fails up to the poststart hooks.
    """
    from .foreground import take_signals, wait
    from .launch import abandon, death

    spec = _prepare(options)
    relay = None
    if spec["process"].get("terminal") and not options.detach:
        from .console import Relay

        relay = Relay()
    launched = _launch(spec, options, fault)
    try:
        if relay is not None:
            relay.attach(launched.master)
        signals = -1 if options.detach else take_signals(launched)
        launched.answer()
        while launched.receive() is not None:
            continue
        if (launched.seccomp or _limits_memory(spec)) and not _executed(launched.record, launched.pidfd):
            raise death(launched)
        launched.close_sync()
        launched.write_timeline()
        lifecyclehooks.poststart(launched.record)
        if options.detach:
            return 0
    except BaseException:
        if relay is not None:
            relay.restore()
        abandon(launched)
        raise
    # From here on others may delete it, and make another of its name: what is opened now is this one's.
    directory = store.open_directory(launched.written.path)
    posix.close(launched.lock)
    code = wait(launched, relay, signals)
    if not options.keep:
        _delete_ended(launched, directory)
    return code


def _limits_memory(spec: dict[str, Any]) -> bool:
    return bool(spec.get("linux", {}).get("resources", {}).get("memory"))


def _delete_ended(launched: Launched, directory: int) -> None:
    """`delete` of a container whose process this command has reaped, so that all of it is known.

    directory: its state directory, not locked. Raises PyruncError.
    """
    record, written = launched.record, launched.written
    try:
        store.relock(directory, written.path)
    except FileNotFoundError:
        return  # deleted by another
    try:
        if record.cgroup:
            from .cgroup import files

            files.kill(record.cgroup)
        destroy(written.path, record, written.entries)
    finally:
        posix.close(directory)


def _prepare(options: LaunchOptions) -> dict[str, Any]:
    """Judge what the command was started with, and load the configuration. Before any descriptor is made."""
    from . import spec

    store.check_id(options.id)
    listening = listen_fds()
    options.preserve_fds += listening
    prepare_fds(options.preserve_fds)
    log.hold()
    loaded: dict[str, Any] = spec.load(options.bundle, options.config)
    if listening:
        options.extra_env = (f"LISTEN_FDS={listening}", "LISTEN_PID=1")
    return loaded


def prepare_fds(preserve_fds: int) -> None:
    """Have the standard streams open, before any descriptor is made. Raises PyruncError where one that is to be
    preserved is not there."""
    missing = native.prepare_fds(preserve_fds)
    if missing:
        raise PyruncError(
            f"unable to stat preserved-fd {missing - 3} (of {preserve_fds})",
            errno=errno.ENOENT,
            hint="--preserve-fds counts the open descriptors from 3 on",
        )


def listen_fds() -> int:
    """How many descriptors from 3 on were passed to this process for its service to listen on (sd_listen_fds(3))."""
    pid, count = posix.environ.get(b"LISTEN_PID", b""), posix.environ.get(b"LISTEN_FDS", b"")
    if not count.isdigit() or pid != str(posix.getpid()).encode():
        return 0
    return int(count)


def _launch(spec: dict[str, Any], options: LaunchOptions, fault: tuple[int, int]) -> Launched:
    from .compile.launch import compile_launch
    from .host import gather
    from .launch import launch

    facts = gather()
    if options.cgroup_manager == "systemd":
        from .systemd import manager

        facts.systemd = manager.gather(options.rootless, facts)
    return launch(compile_launch(spec, options, facts), spec, options, facts, fault)


def start(root: str, id: str) -> None:
    """Let the waiting init execute the process, and run the poststart hooks.

    Raises PyruncError: the container is in no state to be started, its program could not be executed (it is stopped
    then), or a startContainer or poststart hook failed: it is deleted then, as by `delete` (runtime.md, Lifecycle).
    """
    path = store.directory(root, id)
    lock, record = locked(path)
    try:
        status = store.status(path, record)
        if status == "stopped":
            raise PyruncError("cannot start a container that has stopped")
        if status == "running":
            raise PyruncError("cannot start an already running container")
        if status != "created":
            raise PyruncError(f"cannot start a container in the {status} state")
        try:
            _say_start(path, record)
            lifecyclehooks.poststart(record)
        except PyruncError as error:
            if error.pointer.startswith("/hooks/"):
                _end(path, record)
            raise
    finally:
        posix.close(lock)


def _end(path: str, record: Record) -> None:
    """Delete a container whose start a hook has failed. What fails in that is logged: the hook is the first cause."""
    try:
        _kill_and_wait(record)
        destroy(path, record, ledger.read(path))
    except (PyruncError, OSError) as failure:
        log.warning(f"deleting {record.id} after its failed start: {failure}")


def _say_start(path: str, record: Record) -> None:
    """Tell the waiting init to go on, and wait until it has executed the program. Raises PyruncError if it fails."""
    from . import wire

    pidfd = process.open_process(record.pid, record.startTime)
    try:
        sync = native.connect(path + "/" + store.START_SOCKET)
    except ConnectionRefusedError as error:
        raise PyruncError("cannot start a container that has stopped") from error
    try:
        native.send(sync, wire.START)
        try:
            data = native.recv(sync, wire.MESSAGE_SIZE)[0]
        except ConnectionResetError:
            data = b""
        posix.unlink(path + "/" + store.START_SOCKET)
        if data:
            if pidfd >= 0:
                native.poll([pidfd], _DEATH_MS)  # so that the next command finds it stopped
            raise _start_failure(path, record, data)
        if pidfd >= 0 and not _executed(record, pidfd):
            from . import failures

            filtered = any([step[1] == "seccomp" for step in record.startSteps])
            raise failures.of_lost(record.cgroup, filtered)
    finally:
        posix.close(sync)
        if pidfd >= 0:
            posix.close(pidfd)


def _start_failure(path: str, record: Record, data: bytes) -> PyruncError:
    """The error in the init's message, which numbers a step of the plan that `create` made."""
    from . import failures, scene, wire
    from .plan import Step

    message = wire.decode_message(data)
    failed = None
    for number, kind, args, pointer in record.startSteps:
        if number == message.step:
            failed = Step("start", kind, tuple(args), pointer)
    return failures.of_init(
        failed, message.error, message.detail, record.cgroup, scene=scene.of_created(path, record)
    )


def _executed(record: Record, pidfd: int) -> bool:
    """Whether the init, which has left the conversation, has become its program; False where it was killed before.

    Both close its descriptors a moment before they can be told apart. One that its parent has reaped passes for one
    that ran: who waits for it knows more.
    """
    for _ in range(_LOOKS):
        found = process.stat(record.pid)
        if found is None or found.start_time != record.startTime or found.name != store.INIT_NAME:
            return True
        if native.poll([pidfd], 1):
            return False
    return True


def state(root: str, id: str) -> dict[str, Any]:
    """The container's state with runc's fields, in runc's order. Raises PyruncError where there is none."""
    path = store.directory(root, id)
    return _describe(path, "")


def _describe(path: str, owner: str) -> dict[str, Any]:
    record = store.load(path)
    if record is not None:
        return record.describe(store.status(path, record), owner)
    if not ledger.sweep(path):
        # A create is at work, and its ledger begins with what it knows.
        entries = ledger.read(path)
        if entries:
            return Record(entries[0]).describe("creating", owner)
    raise _missing()


def list_states(root: str) -> list[dict[str, Any]]:
    """The states of all containers under the root, by id; a damaged one is warned of and left out."""
    try:
        names = sorted([name for name in posix.listdir(root) if not name.startswith(store.PRIVATE)])
    except FileNotFoundError:
        return []
    states = []
    owners: dict[int, str] = {}
    for name in names:
        try:
            path = store.directory(root, name)
            uid = posix.stat(path).st_uid
            if uid not in owners:
                owners[uid] = store.owner_name(uid)
            states.append(_describe(path, owners[uid]))
        except FileNotFoundError:
            continue
        except PyruncError as error:
            if error.message != _missing().message:
                log.warning(f"load container {name}: {error.line()}")
    return states


def kill(root: str, id: str, signal: int, all: bool) -> None:
    """Send a signal to the container's process, or with `all` to every process of its cgroup.

    SIGKILL goes to all of them also where the container has no pid namespace of its own, whose end would end them.
    Raises PyruncError, `container not running` where the process has ended; with `all` that is no error.
    """
    record = existing(store.directory(root, id))
    if record.cgroup and (all or (signal == _SIGKILL and not record.ownPids)):
        running = process.find(record.pid, record.startTime) is not None
        if signal == _SIGKILL:
            from .cgroup import files

            files.kill(record.cgroup)
        else:
            _signal_all(record.cgroup, signal)
        if running or all:
            return
        raise PyruncError("container not running")
    try:
        sent = process.send_signal(record.pid, record.startTime, signal)
    except OSError as error:
        raise PyruncError("unable to signal init", errno=error.errno or 0) from error
    if not sent and not all:
        raise PyruncError("container not running")


def _signal_all(cgroup: str, signal: int) -> None:
    import _signal

    from .cgroup import files

    pidfds = {}
    for pid in files.procs(cgroup):
        try:
            pidfds[pid] = posix.pidfd_open(pid)
        except ProcessLookupError:
            continue
    # A pid that is in the cgroup still, now that its descriptor is open, is one of the container's.
    there = set(files.procs(cgroup))
    for pid, pidfd in pidfds.items():
        try:
            if pid in there:
                _signal.pidfd_send_signal(pidfd, signal)
        except ProcessLookupError:
            continue
        except OSError as error:
            raise PyruncError(f"unable to signal process {pid}", errno=error.errno or 0) from error
        finally:
            posix.close(pidfd)


def delete(root: str, id: str, force: bool) -> None:
    """Remove what is left of a container that has stopped or was never started, and run the poststop hooks.

    force: kill it where it runs; an id that there is not is no error. Raises PyruncError.
    """
    path = store.directory(root, id)
    try:
        if force:
            # Before the lock: a `start` that waits for the container holds it.
            found = store.load(path)
            if found is not None:
                _need_systemd(found)
                _kill_all(found)
        lock, record = locked(path)
    except PyruncError as error:
        if force and error.message == _missing().message:
            return
        raise
    try:
        _need_systemd(record)
        status = store.status(path, record)
        if status != "stopped":
            if not force and status != "created":
                raise PyruncError(f"cannot delete container {id} that is not stopped: {status}")
            _kill_and_wait(record)
        destroy(path, record, ledger.read(path))
    finally:
        posix.close(lock)


def destroy(path: str, record: Record, entries: list[ledger.Entry]) -> None:
    """Undo what the stopped container's creation made, and run the poststop hooks, whose failures are warnings.

    entries: its ledger. The caller has the lock. Raises PyruncError.
    """
    if record.cgroup:
        from .cgroup import files

        if not record.ownPids:
            files.kill(record.cgroup)
        if not record.systemd:  # which removes it with the unit
            files.remove(record.cgroup)
    ledger.undo(entries, deleting=True)
    store.remove(path)
    lifecyclehooks.poststop(record)


def _need_systemd(record: Record) -> None:
    """Make sure of what it takes to delete a unit. Before the first effect: the launcher, which has it not, hands the
    command over to the ordinary build here."""
    if record.systemd:
        from . import systemd  # noqa: F401


def _missing() -> PyruncError:
    return PyruncError("container does not exist")


def existing(path: str) -> Record:
    """The record of a created container. What a dead create left is swept. Raises PyruncError where there is none."""
    record = store.load(path)
    if record is None:
        ledger.sweep(path)
        raise _missing()
    return record


def locked(path: str) -> tuple[int, Record]:
    """The lock of a container and its record. Waits for a create at work. Raises PyruncError where there is none."""
    try:
        lock = store.lock(path)
    except (FileNotFoundError, NotADirectoryError):
        raise _missing() from None
    record = store.load(path)
    if record is None:
        posix.close(lock)
        ledger.sweep(path)
        raise _missing()
    return lock, record


def _kill_all(record: Record) -> None:
    """SIGKILL the container's process and what shares its cgroup."""
    if record.cgroup:
        from .cgroup import files

        files.kill(record.cgroup)
    try:
        process.send_signal(record.pid, record.startTime)
    except OSError as error:
        raise PyruncError("unable to signal init", errno=error.errno or 0) from error


def _kill_and_wait(record: Record) -> None:
    """Kill the container and wait until its process has ended. Raises PyruncError where it does not."""
    pidfd = process.open_process(record.pid, record.startTime)
    if pidfd < 0:
        return
    try:
        _kill_all(record)
        if not native.poll([pidfd], _DEATH_MS):
            raise PyruncError("container init still running", hint="its process is stuck in the kernel")
    finally:
        posix.close(pidfd)
