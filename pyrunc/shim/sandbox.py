"""The sandbox service: a pod whose namespaces the shim keeps, without a pause image. Hot.

The sandbox's process is csrc/pause in a container of the runtime, so that its namespaces and cgroup are made and
removed as those of any container. containerd gets its pid, and has the pod's containers join its namespaces. One shim
has one sandbox. Source: api/runtime/sandbox/v1 of containerd.
"""

from __future__ import annotations

import posix

from .. import jsonio, log
from ..errors import PyruncError
from ..libcontainer import lifecycle
from ..libcontainer.kernel import fileio
from ..libcontainer.plan.host import gather_limits
from ..protobuf import MalformedError
from . import messages, metrics, options, pods, starts, ttrpc
from .model import check_id
from .pods import Sandbox
from .ttrpc import StatusError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..protobuf import Message
    from .model import Container
    from .tasks import Tasks
    from .ttrpc import Call, Service

SERVICE = "containerd.runtime.sandbox.v1.Sandbox"
_SPEC = "types.containerd.io/opencontainers/runtime-spec/1/Spec"
_CONFIG = "runtime.v1.PodSandboxConfig"
# The CRI's words for a pod's state.
_READY, _NOT_READY = "SANDBOX_READY", "SANDBOX_NOTREADY"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_SIGKILL = 9
# The exit status of a sandbox that has none, as with containerd.
_NO_STATUS = 255


class Step:
    """One part of the work for a call. starts.py uses it like a call; its reply begins the next part."""

    __slots__ = ("_call", "_failed", "_then")

    def __init__(self, call: Call, then: Callable[[], None], failed: Callable[[], None]) -> None:
        self._call = call
        self._then = then
        self._failed = failed

    @property
    def is_answered(self) -> bool:
        """Whether the call has an answer already, because its time is over."""
        return self._call.is_answered

    @property
    def on_timeout(self) -> Callable[[], None] | None:
        """The action at the end of the call's time."""
        return self._call.on_timeout

    @on_timeout.setter
    def on_timeout(self, action: Callable[[], None] | None) -> None:
        self._call.on_timeout = action

    def reply(self, **values: object) -> None:
        """This part has succeeded."""
        del values
        self._then()

    def fail(self, error: BaseException) -> None:
        """This part has failed, and so has the call."""
        self._failed()
        self._call.fail(error)


class Sandboxes:
    """The service of one shim. tasks: its containers."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks

    def services(self) -> dict[str, Service]:
        """The methods. There is no UpdateSandbox, which the interface permits: the kubelet itself writes the limits of
        a pod to its cgroup."""
        methods: Service = {
            "CreateSandbox": ("CreateSandboxRequest", "CreateSandboxResponse", self._create),
            "StartSandbox": ("StartSandboxRequest", "StartSandboxResponse", self._start),
            "Platform": ("PlatformRequest", "PlatformResponse", self._platform),
            "StopSandbox": ("StopSandboxRequest", "StopSandboxResponse", self._stop),
            "WaitSandbox": ("WaitSandboxRequest", "WaitSandboxResponse", self._wait),
            "SandboxStatus": ("SandboxStatusRequest", "SandboxStatusResponse", self._status),
            "PingSandbox": ("PingRequest", "PingResponse", self._ping),
            "ShutdownSandbox": ("ShutdownSandboxRequest", "ShutdownSandboxResponse", self._shutdown),
            "SandboxMetrics": ("SandboxMetricsRequest", "SandboxMetricsResponse", self._metrics),
        }
        return {SERVICE: methods}

    def _of(self, request: Message) -> Sandbox:
        """The sandbox of a request. Raises StatusError."""
        if self._tasks.sandbox is None or self._tasks.sandbox.id != request["sandbox_id"]:
            raise StatusError(ttrpc.NOT_FOUND, f"sandbox {request['sandbox_id']}: not found")
        return self._tasks.sandbox

    # ---- the life of a sandbox

    def _create(self, request: Message, call: Call) -> None:
        id = check_id(request["sandbox_id"])
        if self._tasks.sandbox is not None:
            text = f"this shim has the sandbox {self._tasks.sandbox.id}: already exists"
            raise StatusError(ttrpc.ALREADY_EXISTS, text)
        if request["rootfs"]:
            raise MalformedError("a sandbox with a root file system of its own is not supported")
        box = request["options"]
        if box is not None and box["type_url"] and messages.type_of(box) != _CONFIG:
            raise MalformedError(f"{box['type_url']} where {_CONFIG} is expected: the sandbox of a pod is supported")
        if pods.is_there(request["bundle_path"] + "/config.json"):
            raise MalformedError("a sandbox with a specification of its own is not supported: that of a pod has none")
        pod = pods.Pod(messages.unpack("PodSandboxConfig", box))
        path = pods.directory(self._tasks.namespace, id)
        self._tasks.sandbox = Sandbox(id, request["bundle_path"], pod, request["netns_path"], path)
        call.reply()

    def _start(self, request: Message, call: Call) -> None:
        sandbox = self._of(request)
        if sandbox.status != "created":
            raise StatusError(ttrpc.FAILED_PRECONDITION, f"sandbox {sandbox.id} is {sandbox.status}")
        sandbox.status = "starting"
        descriptor = -1

        def close() -> None:
            nonlocal descriptor
            if descriptor >= 0:
                posix.close(descriptor)
                descriptor = -1

        def failed() -> None:
            close()
            _end(sandbox, "failed", _NO_STATUS, messages.now())

        def created() -> None:
            close()
            assert sandbox.container is not None
            starts.start(self._tasks, sandbox.container, Step(call, started, failed))

        def started() -> None:
            assert sandbox.container is not None
            init = sandbox.container.init
            sandbox.status, sandbox.pid, sandbox.created_at = "ready", init.pid, messages.now()
            init.waiting.append(lambda: _ended(sandbox))
            created_at = messages.timestamp(sandbox.created_at)
            call.reply(
                pid=init.pid, created_at=created_at, spec={"type_url": _SPEC, "value": _read(sandbox.bundle).encode()}
            )

        try:
            pods.remove(sandbox.directory)  # of a killed shim
            pods.write_files(sandbox.pod, sandbox.directory)
            if sandbox.pod.uids and sandbox.netns:
                descriptor = pods.user_namespace(sandbox.netns)
            userns = f"/proc/{posix.getpid()}/fd/{descriptor}" if descriptor >= 0 else ""
            self._write(sandbox, userns)
            starts.create(self._tasks, self._request(sandbox), Step(call, created, failed))
        except BaseException:
            failed()
            raise
        sandbox.container = self._tasks.containers[sandbox.id]
        sandbox.container.is_sandbox = True

    def _write(self, sandbox: Sandbox, userns: str) -> None:
        """Write config.json of the sandbox's container into its bundle. Raises PyruncError."""
        score = pods.oom_score()
        config = pods.spec(sandbox.pod, sandbox.id, self._tasks.namespace, sandbox.netns, userns, score)
        options.write(f"{sandbox.bundle}/config.json", jsonio.dumps(config))

    def _request(self, sandbox: Sandbox) -> Message:
        """The Create of the sandbox's container, with the options that `start` has received."""
        given = messages.pack("Options", options.saved(sandbox.bundle))
        fields = {"id": sandbox.id, "bundle": sandbox.bundle, "options": given}
        return messages.decode("CreateTaskRequest", messages.encode("CreateTaskRequest", fields))

    def _stop(self, request: Message, call: Call) -> None:
        """Kill the sandbox's process, and those of the pod's containers that still run. The sandbox's process only
        waits, so it gets no time to end by itself."""
        sandbox = self._of(request)
        if sandbox.status == "starting":
            raise StatusError(ttrpc.FAILED_PRECONDITION, f"sandbox {sandbox.id} is being started")
        if sandbox.status != "ready" or sandbox.container is None:
            call.reply()
            return
        sandbox.container.init.waiting.append(call.reply)
        for container in list(self._tasks.containers.values()):
            if container.is_created and container.init.status != "stopped":
                _kill(container)

    def _shutdown(self, request: Message, call: Call) -> None:
        """Remove the sandbox, and end the shim. containerd then runs `delete`, which removes what is left of the pod's
        containers."""
        sandbox = self._of(request) if self._tasks.sandbox is not None else None
        container = sandbox.container if sandbox is not None else None
        if sandbox is not None and sandbox.status == "starting":
            raise StatusError(ttrpc.FAILED_PRECONDITION, f"sandbox {sandbox.id} is being started")
        if sandbox is None or container is None or self._tasks.containers.get(container.id) is not container:
            self._removed(sandbox, call)
            return
        init = container.init

        def done(failure: PyruncError | None) -> None:
            if failure is not None and "does not exist" not in failure.message:
                call.fail(StatusError(ttrpc.UNKNOWN, f"failed to delete the sandbox: {failure}"))
            elif init.status != "stopped" and init.pid:
                init.waiting.append(lambda: init.stdio.close(lambda: self._removed(sandbox, call)))
            else:
                init.stdio.close(lambda: self._removed(sandbox, call))

        self._tasks.launch(container, call, "delete", ["--force", container.id], done)

    def _removed(self, sandbox: Sandbox | None, call: Call) -> None:
        if sandbox is not None:
            self._tasks.containers.pop(sandbox.id, None)
            pods.remove(sandbox.directory)
            options.forget(sandbox.bundle)
            self._tasks.sandbox = None
            if sandbox.waiting:  # it was never started
                _end(sandbox, "stopped", _NO_STATUS, messages.now())
        call.reply()
        self._tasks.end()

    # ---- what is answered at once

    def _wait(self, request: Message, call: Call) -> None:
        sandbox = self._of(request)
        sandbox.waiting = [one for one in sandbox.waiting if not one.is_over]
        sandbox.waiting.append(call)
        if sandbox.status in ("stopped", "failed"):
            _answer(sandbox)

    def _status(self, request: Message, call: Call) -> None:
        sandbox = self._of(request)
        info: dict[str, str] = {}
        if request["verbose"]:
            status = {"ready": "running"}.get(sandbox.status, sandbox.status)
            found = {"pid": sandbox.pid, "processStatus": status, "runtimeType": "io.containerd.pyrunc.v2"}
            if sandbox.container is not None:
                found["runtimeSpec"] = jsonio.loads(_read(sandbox.bundle) or "null")
            info["info"] = jsonio.dumps(found)
        call.reply(
            sandbox_id=sandbox.id,
            pid=sandbox.pid if sandbox.status == "ready" else 0,
            state=_READY if sandbox.status == "ready" else _NOT_READY,
            info=info,
            created_at=messages.timestamp(sandbox.created_at),
            exited_at=messages.timestamp(sandbox.exited_at),
        )

    def _ping(self, request: Message, call: Call) -> None:
        self._of(request)
        call.reply()

    def _platform(self, request: Message, call: Call) -> None:
        self._of(request)
        machine = posix.uname().machine
        call.reply(platform={"os": "linux", "architecture": _ARCHITECTURES.get(machine, machine)})

    def _metrics(self, request: Message, call: Call) -> None:
        """The statistics of the pod's cgroup, which include its containers'; without a pod's cgroup, those of the
        process's cgroup."""
        sandbox = self._of(request)
        cgroup = sandbox.container.cgroup if sandbox.container is not None else ""
        if sandbox.pod.cgroup_parent:
            cgroup = f"{gather_limits().cgroup_mount}/{sandbox.pod.cgroup_parent.strip('/')}"
        if not cgroup:
            raise StatusError(ttrpc.NOT_FOUND, f"sandbox {sandbox.id} has no cgroup: not found")
        data = messages.pack("Metrics", metrics.gather(cgroup))
        call.reply(metrics={"timestamp": messages.timestamp(messages.now()), "id": sandbox.id, "data": data})


def _ended(sandbox: Sandbox) -> None:
    """The sandbox's process has ended."""
    assert sandbox.container is not None
    init = sandbox.container.init
    _end(sandbox, "stopped", init.exit_status, init.exited_at)


def _end(sandbox: Sandbox, status: str, exit_status: int, at: int) -> None:
    """The sandbox has ended, or was not started. at: nanoseconds since 1970."""
    sandbox.status, sandbox.exit_status, sandbox.exited_at = status, exit_status, at
    _answer(sandbox)


def _answer(sandbox: Sandbox) -> None:
    """Answer the calls that wait for the end."""
    waiting, sandbox.waiting = sandbox.waiting, []
    for call in waiting:
        call.reply(exit_status=sandbox.exit_status, exited_at=messages.timestamp(sandbox.exited_at))


def _kill(container: Container) -> None:
    """Kill all processes of a container. A process that has ended meanwhile is no failure; failures are logged."""
    try:
        lifecycle.kill(container.runtime.root, container.id, _SIGKILL, True)
    except (PyruncError, OSError) as error:
        if "container not running" not in str(error):
            log.error(f"stopping the sandbox: killing {container.id}: {error}")


def _read(bundle: str) -> str:
    """config.json of the sandbox's container; an empty object if it is gone."""
    try:
        return fileio.read_file(bundle + "/config.json")
    except FileNotFoundError:
        return ""
