"""The task service: containerd's calls about containers and their processes. Hot.

Calls that only read or signal are answered at once. Calls that the runtime carries out are answered when its command
has ended (starts.py has create, start and exec). Errors have the status codes of containerd's own shim.
"""

from __future__ import annotations

import posix

from ..errors import PyruncError
from ..libcontainer import lifecycle, processes
from . import messages, metrics, mounts, options, pods, runtime, starts, ttrpc
from .containers import Containers
from .model import STATUSES, check_id
from .ttrpc import StatusError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..protobuf import Message
    from .containers import Publish
    from .loop import Loop
    from .model import Container, Process
    from .ttrpc import Call, Service


_SIGKILL, _LAST_SIGNAL = 9, 64
SERVICES = ("containerd.task.v2.Task", "containerd.task.v3.Task")


class Waiter:
    """A call of Wait, which is answered at the end of its process."""

    __slots__ = ("_process", "call")

    def __init__(self, process: Process, call: Call) -> None:
        self._process = process
        self.call = call

    def __call__(self) -> None:
        """Answer."""
        process = self._process
        self.call.reply(exit_status=process.exit_status, exited_at=messages.timestamp(process.exited_at))


class Tasks(Containers):
    """The service for the containers of one shim."""

    def __init__(self, loop: Loop, namespace: str, publish: Publish, end: Callable[[], None]) -> None:
        """end: called after the answer to a Shutdown, if no container is left."""
        super().__init__(loop, namespace, publish)
        self.end = end

    def services(self) -> dict[str, Service]:
        """The methods of both versions, which have the same messages."""
        empty = "Empty"
        methods: Service = {
            "Checkpoint": ("CheckpointTaskRequest", empty, self._checkpoint),
            "CloseIO": ("CloseIORequest", empty, self._close_io),
            "Connect": ("ConnectRequest", "ConnectResponse", self._connect),
            "Create": ("CreateTaskRequest", "CreateTaskResponse", self._create),
            "Delete": ("DeleteRequest", "DeleteResponse", self._delete),
            "Exec": ("ExecProcessRequest", empty, self._exec),
            "Kill": ("KillRequest", empty, self._kill),
            "Pause": ("PauseRequest", empty, self._pause),
            "Pids": ("PidsRequest", "PidsResponse", self._pids),
            "ResizePty": ("ResizePtyRequest", empty, self._resize_pty),
            "Resume": ("ResumeRequest", empty, self._resume),
            "Shutdown": ("ShutdownRequest", empty, self._shutdown),
            "Start": ("StartRequest", "StartResponse", self._start),
            "State": ("StateRequest", "StateResponse", self._state),
            "Stats": ("StatsRequest", "StatsResponse", self._stats),
            "Update": ("UpdateTaskRequest", empty, self._update),
            "Wait": ("WaitRequest", "WaitResponse", self._wait),
        }
        return dict.fromkeys(SERVICES, methods)

    def _container(self, request: Message) -> Container:
        """The container of a request. Raises StatusError."""
        container = self.containers.get(request["id"])
        if container is None:
            raise StatusError(ttrpc.NOT_FOUND, f"container {request['id']}: not found")
        if not container.is_created:
            raise StatusError(ttrpc.FAILED_PRECONDITION, f"container {container.id} is being created")
        return container

    def _process(self, request: Message) -> tuple[Container, Process]:
        container = self._container(request)
        return container, container.process(request["exec_id"])

    # ---- what is answered at once

    def _state(self, request: Message, call: Call) -> None:
        container, process = self._process(request)
        given = process.given
        status = process.status
        if process.exec_id and status == "running" and container.init.status in ("pausing", "paused"):
            status = container.init.status
        call.reply(
            id=process.exec_id or container.id,
            bundle=container.bundle,
            pid=process.pid,
            status=STATUSES[status],
            stdin=given["stdin"],
            stdout=given["stdout"],
            stderr=given["stderr"],
            terminal=given["terminal"],
            exit_status=process.exit_status,
            exited_at=messages.timestamp(process.exited_at),
        )

    def _connect(self, request: Message, call: Call) -> None:
        container = self.containers.get(request["id"])
        call.reply(shim_pid=posix.getpid(), task_pid=container.init.pid if container is not None else 0)

    def _pids(self, request: Message, call: Call) -> None:
        container = self._container(request)
        execs = {process.pid: process.exec_id for process in container.execs.values()}
        pids = processes.pids(container.runtime.root, container.id)
        if not pids and container.init.status == "stopped":
            # A containerd that starts takes a shim without processes for one whose Create has failed, and ends it: the
            # exit status would be lost.
            raise StatusError(ttrpc.FAILED_PRECONDITION, f"container {container.id} is stopped: failed precondition")
        found = []
        for pid in pids:
            details = messages.pack("ProcessDetails", {"exec_id": execs[pid]}) if pid in execs else None
            found.append({"pid": pid, "info": details})
        call.reply(processes=found)

    def _stats(self, request: Message, call: Call) -> None:
        container = self._container(request)
        if not container.cgroup:
            raise StatusError(ttrpc.NOT_FOUND, "cgroup does not exist: not found")
        call.reply(stats=messages.pack("Metrics", metrics.gather(container.cgroup)))

    def _kill(self, request: Message, call: Call) -> None:
        container, process = self._process(request)
        if request["signal"] > _LAST_SIGNAL:
            raise StatusError(ttrpc.INVALID_ARGUMENT, f"signal {request['signal']}: signals have the numbers 1 to 64")
        try:
            if process.exec_id:
                _kill_exec(process, request["signal"])
            else:
                lifecycle.kill(container.runtime.root, container.id, request["signal"], request["all"])
                container.is_killed = container.is_killed or request["signal"] == _SIGKILL
        except (PyruncError, OSError) as error:
            raise _kill_error(error) from error
        call.reply()

    def _resize_pty(self, request: Message, call: Call) -> None:
        _, process = self._process(request)
        if process.exec_id and process.status == "stopped":
            raise StatusError(ttrpc.UNKNOWN, "cannot resize a stopped container")
        process.stdio.resize(request["width"], request["height"])
        call.reply()

    def _close_io(self, request: Message, call: Call) -> None:
        _, process = self._process(request)
        process.stdio.close_stdin()
        call.reply()

    def _wait(self, request: Message, call: Call) -> None:
        _, process = self._process(request)
        waiter = Waiter(process, call)
        if process.status == "stopped":
            waiter()
            return
        # A client may call Wait any number of times while a container runs.
        waiting = process.waiting
        process.waiting = [one for one in waiting if not (isinstance(one, Waiter) and one.call.is_over)]
        process.waiting.append(waiter)

    def _shutdown(self, request: Message, call: Call) -> None:
        del request  # `now` is ignored, as by runc's shim
        call.reply()
        if not self.containers and self.sandbox is None:
            self.end()

    # ---- what the runtime carries out

    def _create(self, request: Message, call: Call) -> None:
        check_id(request["id"])
        if request["id"] in self.containers:
            raise StatusError(ttrpc.ALREADY_EXISTS, f"container {request['id']}: already exists")
        if self.sandbox is not None:
            pods.join(request["bundle"], self.sandbox.id, self.sandbox.directory)
        starts.create(self, request, call)

    def _exec(self, request: Message, call: Call) -> None:
        container = self._container(request)
        check_id(request["exec_id"])
        if request["exec_id"] in container.execs:
            raise StatusError(ttrpc.ALREADY_EXISTS, f"id {request['exec_id']}: already exists")
        if container.init.status in ("paused", "stopped"):
            raise StatusError(ttrpc.UNKNOWN, f"cannot exec in a {container.init.status} state")
        container.execs[request["exec_id"]] = starts.new_process(self.loop, container, request, request["exec_id"])
        self.tell(container, "/tasks/exec-added", "TaskExecAdded", _names(container, request["exec_id"]))
        call.reply()

    def _start(self, request: Message, call: Call) -> None:
        container, process = self._process(request)
        if process.status != "created" or process.starting:
            raise StatusError(ttrpc.UNKNOWN, f"cannot start a {_status(process)} process")
        if not process.exec_id:
            starts.start(self, container, call)
            return
        if container.init.status == "stopped" or container.init.ended >= 0:
            text = f"container {container.id} init process is not running: failed precondition"
            raise StatusError(ttrpc.FAILED_PRECONDITION, text)
        starts.start_exec(self, container, process, call)

    def _run(self, container: Container, call: Call, command: str, words: list[str], then: Callable[[], None]) -> None:
        """Run a command of the runtime after the container's earlier ones; then call `then`, and answer. A failure has
        the words of runc's shim."""

        def done(failure: PyruncError | None) -> None:
            if failure is not None:
                call.fail(StatusError(ttrpc.UNKNOWN, f"OCI runtime {command} failed: {failure}"))
                return
            then()
            call.reply()

        self.launch(container, call, command, words, done)

    def _pause(self, request: Message, call: Call) -> None:
        container = self._container(request)
        init = container.init
        if init.status != "running":
            raise StatusError(ttrpc.UNKNOWN, f"cannot pause a {init.status} container")
        init.status = "pausing"

        def done(failure: PyruncError | None) -> None:
            if init.status == "pausing":
                init.status = "running" if failure is not None else "paused"
            if failure is not None:
                call.fail(StatusError(ttrpc.UNKNOWN, f"OCI runtime pause failed: {failure}"))
                return
            self.tell(container, "/tasks/paused", "TaskPaused", {"container_id": container.id})
            call.reply()

        self.launch(container, call, "pause", [container.id], done)

    def _resume(self, request: Message, call: Call) -> None:
        container = self._container(request)
        if container.init.status != "paused":
            raise StatusError(ttrpc.UNKNOWN, f"cannot resume a {container.init.status} container")

        def then() -> None:
            if container.init.status == "paused":
                container.init.status = "running"
            self.tell(container, "/tasks/resumed", "TaskResumed", {"container_id": container.id})

        self._run(container, call, "resume", [container.id], then)

    def _update(self, request: Message, call: Call) -> None:
        container = self._container(request)
        if container.init.status == "stopped":
            raise StatusError(ttrpc.UNKNOWN, "cannot update a stopped container")
        file = starts.write_file(container.bundle, "resources", (request["resources"] or {}).get("value", b""))

        def done(failure: PyruncError | None) -> None:
            posix.unlink(file)
            if failure is not None:
                call.fail(StatusError(ttrpc.UNKNOWN, f"OCI runtime update failed: {failure}"))
            else:
                call.reply()

        self.launch(container, call, "update", ["--resources", file, container.id], done)

    def _checkpoint(self, request: Message, call: Call) -> None:
        container = self._container(request)
        if container.init.status not in ("running", "paused"):
            raise StatusError(ttrpc.UNKNOWN, f"cannot checkpoint a {container.init.status} container")
        given = messages.unpack("CheckpointOptions", request["options"])
        work = given["work_path"] or f"{container.bundle}/criu-work"
        words = ["--image-path", request["path"], "--work-path", work]
        flags = {
            "open_tcp": "--tcp-established", "external_unix_sockets": "--ext-unix-sk", "terminal": "--shell-job",
            "file_locks": "--file-locks",
        }  # fmt: skip
        words += [flag for name, flag in flags.items() if given[name]]
        if not given["exit"]:
            words.append("--leave-running")
        for namespace in given["empty_namespaces"]:
            words += ["--empty-ns", namespace]
        if given["cgroups_mode"]:
            words += ["--manage-cgroups-mode", given["cgroups_mode"]]
        if given["parent_path"]:
            words += ["--parent-path", given["parent_path"]]

        def done(failure: PyruncError | None) -> None:
            kept = ""
            if failure is not None:
                kept = starts.keep_dump_log(container.bundle, work)
            if not given["work_path"]:
                starts.remove_files(work)
            if failure is not None:
                call.fail(StatusError(ttrpc.UNKNOWN, f"{failure} path= {kept}"))
                return
            names = {"container_id": container.id, "checkpoint": request["path"]}
            self.tell(container, "/tasks/checkpointed", "TaskCheckpointed", names)
            call.reply()

        self.launch(container, call, "checkpoint", [*words, container.id], done)

    def _delete(self, request: Message, call: Call) -> None:
        container, process = self._process(request)
        if container.is_sandbox:
            raise StatusError(ttrpc.FAILED_PRECONDITION, f"{container.id} is a sandbox, which ShutdownSandbox removes")
        if process.starting or process.deleting or process.status in ("running", "pausing", "paused"):
            what = "deleted" if process.deleting else _status(process)
            raise StatusError(ttrpc.UNKNOWN, f"cannot delete a {what} process")
        process.deleting = True
        if process.exec_id:
            process.stdio.close(lambda: self._deleted_exec(container, process, call))
            return

        def done(failure: PyruncError | None) -> None:
            # A checkpoint that stops a container deletes it.
            if failure is not None and "does not exist" not in failure.message:
                process.deleting = False
                call.fail(StatusError(ttrpc.UNKNOWN, f"failed to delete task: {failure}"))
            elif process.pid and process.status != "stopped":
                process.waiting.append(lambda: process.stdio.close(lambda: self._deleted(container, call)))
            else:
                process.stdio.close(lambda: self._deleted(container, call))

        self.launch(container, call, "delete", [container.id], done)

    def _deleted_exec(self, container: Container, process: Process, call: Call) -> None:
        del container.execs[process.exec_id]
        call.reply(**_exit(process))

    def _deleted(self, container: Container, call: Call) -> None:
        mounts.unmount(container.bundle + "/rootfs")
        options.forget(container.bundle)
        self.forget(container)
        self.tell(container, "/tasks/delete", "TaskDelete", {"container_id": container.id, **_exit(container.init)})
        call.reply(**_exit(container.init))


def _exit(process: Process) -> Message:
    """The pid, exit status and time of the end of a process."""
    return {
        "pid": process.pid,
        "exit_status": process.exit_status,
        "exited_at": messages.timestamp(process.exited_at),
    }


def _names(container: Container, exec_id: str) -> Message:
    return {"container_id": container.id, "exec_id": exec_id}


def _status(process: Process) -> str:
    return "running" if process.starting else process.status


def _kill_exec(process: Process, signal: int) -> None:
    """Signal the process of an Exec, which is a child of the shim until it is reaped. Raises StatusError and
    OSError."""
    if not process.pid:
        raise StatusError(ttrpc.FAILED_PRECONDITION, "process not created: failed precondition")
    # It may have been reaped before the shim knew its pid, and `ended` is set at the loop's next turn.
    if process.ended >= 0 or not runtime.kill_child(process.pid, signal):
        raise StatusError(ttrpc.NOT_FOUND, "process already finished: not found")


def _kill_error(error: PyruncError | OSError) -> StatusError:
    """The error of a failed kill, with the status code that containerd checks."""
    text = str(error)
    if isinstance(error, ProcessLookupError) or "container not running" in text:
        return StatusError(ttrpc.NOT_FOUND, "process already finished: not found")
    if "does not exist" in text:
        return StatusError(ttrpc.NOT_FOUND, "no such container: not found")
    return StatusError(ttrpc.UNKNOWN, f"unknown error after kill: {text}")
