"""Create, Start and Exec: from a request to a process that the loop watches. Hot.

Each is a chain: the standard streams are prepared, the runtime's command runs, its pid file is read. If one part fails,
the earlier ones are undone, and the call gets the failure.
"""

from __future__ import annotations

import posix

from .. import jsonio, log
from ..errors import PyruncError, from_os_error, prefixed
from ..libcontainer import lookup
from ..libcontainer import state as store
from ..libcontainer.kernel import fileio
from ..libcontainer.plan.host import BROKER
from ..protobuf import MalformedError
from . import messages, mounts, options, runtime, ttrpc
from .containers import forget_exit
from .model import Container, Process
from .stdio import Stdio
from .ttrpc import StatusError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..protobuf import Message
    from .containers import Containers
    from .loop import Loop
    from .runtime import Done
    from .ttrpc import Answerable

PID_FILE = "init.pid"
_LARGEST_LOG = 1 << 20
_SIGKILL = 9

_count = 0


def new_process(loop: Loop, container: Container, request: Message, exec_id: str) -> Process:
    """The process of an Exec, before its start. Raises MalformedError for a specification that is no JSON object."""
    try:
        process = jsonio.loads((request["spec"] or {}).get("value", b"").decode())
        process["terminal"] = request["terminal"]  # as with containerd's shim, the request takes precedence
    except (ValueError, TypeError) as error:
        raise MalformedError(f"the specification of the process: {error}") from error
    request["spec"] = jsonio.dumps(process).encode()
    return Process(request, exec_id, _stdio(loop, request, container.id, container.namespace, container.options))


def _stdio(loop: Loop, request: Message, id: str, namespace: str, given: Message) -> Stdio:
    paths = request["stdin"], request["stdout"], request["stderr"]
    return Stdio(loop, paths, request["terminal"], (id, namespace), (given["io_uid"], given["io_gid"]))


def create(tasks: Containers, request: Message, call: Answerable) -> None:
    """Create: mount the root file system and have the runtime create the container. Raises StatusError, PyruncError,
    MalformedError and OSError before it has made anything."""
    given = options.read(request["options"])
    root = (given["root"] or runtime.DEFAULT_ROOT) + "/" + tasks.namespace
    stdio = _stdio(tasks.loop, request, request["id"], tasks.namespace, given)
    commands = runtime.Runtime(tasks.loop, root, given["systemd_cgroup"])
    container = Container(request, tasks.namespace, given, commands, Process(request, "", stdio))
    forget_exit(container.bundle)
    options.save(container.bundle, given)
    if given["binary_name"]:
        log.warning(f"the option BinaryName, {given['binary_name']}, is not used: the runtime is this shim's own")
    if request["rootfs"]:
        rootfs = container.bundle + "/rootfs"
        try:
            posix.mkdir(rootfs, 0o711)
        except FileExistsError:
            pass
        mounts.mount_all(request["rootfs"], rootfs)
    tasks.containers[container.id] = container

    def ready(failure: PyruncError | None) -> None:
        if failure is not None:
            _discard(tasks, container)
            call.fail(prefixed("failed to create init process I/O", failure))
        elif _may_ask_broker(container.bundle):
            from . import brokered

            brokered.prepare(tasks, container, call, go_on, failed)
        else:
            go_on("")

    def failed(failure: PyruncError) -> None:
        stdio.abort()
        _discard(tasks, container)
        call.fail(failure)

    def go_on(config: str) -> None:
        if container.checkpoint:
            _created(tasks, container, call)  # Start restores it
        else:
            _run_create(tasks, container, call, config)

    stdio.open(container.bundle, ready, input_later=True)


def _may_ask_broker(bundle: str) -> bool:
    """Whether config.json may have the broker's annotation. The text is only searched, because few containers have it.
    If it is written with escapes, this does not find it, and `create` refuses it."""
    try:
        return BROKER in fileio.read_file(f"{bundle}/config.json")
    except OSError:
        return False  # `create` reports the error


def _run_create(tasks: Containers, container: Container, call: Answerable, config: str) -> None:
    """Run `pyrunc create`. config: the path of the configuration, "" for config.json."""
    stdio = container.init.stdio
    pid_file = f"{container.bundle}/{PID_FILE}"
    words = ["--bundle", container.bundle, "--pid-file", pid_file]
    if config:
        words += ["--config", config]
    if container.options["no_pivot_root"]:
        words.append("--no-pivot")
    if container.options["no_new_keyring"]:
        words.append("--no-new-keyring")
    if stdio.console_socket:
        words += ["--console-socket", stdio.console_socket]

    def done(failure: PyruncError | None) -> None:
        if failure is not None:
            stdio.abort()
            _discard(tasks, container)
            if call.is_answered:  # its time was over, and the command was killed
                _force_delete(container)
            call.fail(StatusError(ttrpc.UNKNOWN, f"OCI runtime create failed: {failure}"))
            return
        try:
            _watch_init(tasks, container, pid_file)
        except (PyruncError, OSError, ValueError) as error:
            stdio.abort()
            _discard(tasks, container)
            _force_delete(container)
            raise PyruncError(f"the container was created, and can't be watched: {error}") from error
        _created(tasks, container, call)

    tasks.launch(container, call, "create", [*words, container.id], done, stdio.given)


def _watch_init(tasks: Containers, container: Container, pid_file: str) -> None:
    """Watch the process of the container that the runtime has made. Raises PyruncError, OSError and ValueError."""
    init = container.init
    init.pid = runtime.read_pid(pid_file)
    init.stdio.launched()
    record = lookup.existing(store.directory(container.runtime.root, container.id))
    container.cgroup = record.cgroup
    container.own_pids = record.private_pid_namespace
    tasks.loop.process(init.pid, lambda code: tasks.exited(container, init, code))
    tasks.watch_memory(container)


def _created(tasks: Containers, container: Container, call: Answerable) -> None:
    container.is_created = True
    init = container.init
    given = init.given
    streams = {name: given[name] for name in ("stdin", "stdout", "stderr", "terminal")}
    tasks.tell(
        container,
        "/tasks/create",
        "TaskCreate",
        {
            "container_id": container.id,
            "bundle": container.bundle,
            "rootfs": given["rootfs"],
            "io": streams,
            "checkpoint": container.checkpoint,
            "pid": init.pid,
        },
    )
    call.reply(pid=init.pid)


def _discard(tasks: Containers, container: Container) -> None:
    """Forget a container that was not created."""
    mounts.unmount(container.bundle + "/rootfs")
    tasks.forget(container)


def _force_delete(container: Container) -> None:
    """Remove what is left of a create. No call waits for this; a failure is logged."""

    def done(failure: PyruncError | None) -> None:
        container.end_turn()
        if failure is not None:
            log.error(f"deleting {container.id} after its failed create: {failure}")

    container.turn(lambda: _begin_delete(container, done))


def _begin_delete(container: Container, done: Done) -> None:
    try:
        container.runtime.run("delete", ["--force", container.id], container.bundle, done)
    except OSError as error:
        done(from_os_error(error))


def start(tasks: Containers, container: Container, call: Answerable) -> None:
    """Start the container's first process, or restore it from its checkpoint. Raises PyruncError."""
    init = container.init
    init.stdio.open_input()
    init.starting = True
    words = [container.id]
    stdio = (-1, -1, -1)
    pid_file = f"{container.bundle}/{PID_FILE}"
    command = "start"
    if container.checkpoint:
        command = "restore"
        work = container.options["criu_work_path"] or f"{container.bundle}/work"
        words = ["--image-path", container.checkpoint, "--work-path", work, "--detach", "--pid-file", pid_file]
        words += ["--no-subreaper", "--bundle", container.bundle]
        stdio = init.stdio.given
        if init.stdio.console_socket:
            words += ["--console-socket", init.stdio.console_socket]
        words.append(container.id)

    def done(failure: PyruncError | None) -> None:
        if failure is None and container.checkpoint:
            try:
                _watch_init(tasks, container, pid_file)
            except (PyruncError, OSError, ValueError) as error:
                failure = PyruncError(f"the container was restored, and can't be watched: {error}")
                _force_delete(container)
        init.starting = False
        if failure is None:
            init.status = "running"
            tasks.tell(container, "/tasks/start", "TaskStart", {"container_id": container.id, "pid": init.pid})
            call.reply(pid=init.pid)
        else:
            call.fail(StatusError(ttrpc.UNKNOWN, f"OCI runtime {command} failed: {failure}"))
        if init.ended >= 0:
            tasks.exited(container, init, init.ended)

    tasks.launch(container, call, command, words, done, stdio)


def start_exec(tasks: Containers, container: Container, process: Process, call: Answerable) -> None:
    """Start a process of an Exec."""
    process.starting = True
    container.starts += 1

    def ready(failure: PyruncError | None) -> None:
        if failure is not None:
            _failed_exec(tasks, container, process)
            call.fail(prefixed("failed to create init process I/O", failure))
            return
        if container.broker is None:
            run()
        else:
            container.broker.ensure(has_broker)  # the process's filter has a listener of its own

    def has_broker(failure: PyruncError | None) -> None:
        if failure is not None:
            process.stdio.abort()
            _failed_exec(tasks, container, process)
            call.fail(failure)
        else:
            run()

    def run() -> None:
        try:
            if call.is_answered:  # a logger has used up the client's time
                raise StatusError(ttrpc.DEADLINE_EXCEEDED, "context deadline exceeded")
            _run_exec(tasks, container, process, call)
        except (OSError, PyruncError, StatusError) as error:
            process.stdio.abort()
            _failed_exec(tasks, container, process)
            call.fail(error)

    process.stdio.open(container.bundle, ready)


def _run_exec(tasks: Containers, container: Container, process: Process, call: Answerable) -> None:
    """Run `pyrunc exec`. Execs of one container do not wait for each other."""
    file = write_file(container.bundle, "process", process.given["spec"])
    pid_file = file.removesuffix(".json") + ".pid"
    words = ["--process", file, "--detach", "--pid-file", pid_file]
    if process.stdio.console_socket:
        words += ["--console-socket", process.stdio.console_socket]

    def done(failure: PyruncError | None) -> None:
        try:
            if failure is None:
                process.pid = runtime.read_pid(pid_file)
                process.stdio.launched()
        except (OSError, ValueError, PyruncError) as error:
            failure = PyruncError(f"the process was started, and can't be watched: {error}")
            if process.pid:
                runtime.kill_child(process.pid, _SIGKILL)
            process.pid = 0
        for path in (file, pid_file):
            _unlink(path)
        if failure is not None:
            process.stdio.abort()
            _failed_exec(tasks, container, process)
            call.fail(StatusError(ttrpc.UNKNOWN, f"OCI runtime exec failed: {failure}"))
            return
        process.starting = False
        process.status = "running"
        container.starts -= 1
        names = {"container_id": container.id, "exec_id": process.exec_id, "pid": process.pid}
        tasks.tell(container, "/tasks/exec-started", "TaskExecStarted", names)
        call.reply(pid=process.pid)
        tasks.loop.process(process.pid, lambda code: tasks.exited(container, process, code))

    try:
        running = container.runtime.run("exec", [*words, container.id], container.bundle, done, process.stdio.given)
    except OSError:
        _unlink(file)
        raise
    call.on_timeout = running.kill


def _failed_exec(tasks: Containers, container: Container, process: Process) -> None:
    """End a process of an Exec that could not be started: calls that wait for it get 255."""
    process.starting = False
    process.status = "stopped"
    process.ended = process.exit_status = 255
    process.exited_at = messages.now()
    container.starts -= 1
    waiting, process.waiting = process.waiting, []
    for answer in waiting:
        answer()
    if container.init.ended >= 0:
        tasks.exited(container, container.init, container.init.ended)


def write_file(bundle: str, name: str, data: bytes) -> str:
    """Write a new file in a bundle for a command of the runtime. Returns its path. Raises PyruncError."""
    global _count  # noqa: PLW0603
    _count += 1
    path = f"{bundle}/{name}-{_count}.json"
    try:
        fd = posix.open(path, posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_CLOEXEC, 0o600)
        try:
            fileio.write_bytes(fd, data, path)
        except OSError:
            posix.unlink(path)  # on a full disk a part of it may exist
            raise
        finally:
            posix.close(fd)
    except OSError as error:
        raise PyruncError(f"writing {path}", errno=error.errno or 0) from error
    return path


def keep_dump_log(bundle: str, work: str) -> str:
    """Copy CRIU's log of a failed dump into the bundle. Returns the copy's path; no file is there if there is no
    log."""
    path = f"{bundle}/criu-dump.log"
    try:
        text = fileio.read_file(f"{work}/dump.log")[-_LARGEST_LOG:]
        fd = posix.open(path, posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_CLOEXEC, 0o600)
    except OSError:
        return path
    try:
        posix.write(fd, text.encode("utf-8", "surrogateescape"))
    finally:
        posix.close(fd)
    return path


def remove_files(directory: str) -> None:
    """Remove a directory with the files in it. A missing one is no error. One that can't be removed stays: containerd
    removes the whole bundle."""
    try:
        for name in posix.listdir(directory):
            posix.unlink(f"{directory}/{name}")
        posix.rmdir(directory)
    except OSError:
        return


def _unlink(path: str) -> None:
    try:
        posix.unlink(path)
    except FileNotFoundError:
        pass
