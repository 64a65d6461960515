"""The containers of one shim: the order of their commands, and the reports of their processes' ends. Hot."""

from __future__ import annotations

import posix

from .. import jsonio, log
from ..errors import PyruncError, from_os_error
from ..libcontainer import lifecycle
from ..libcontainer.kernel import fileio
from . import messages, oom, options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..protobuf import Message
    from .brokers import Brokers
    from .loop import Loop
    from .model import Container, Process
    from .pods import Sandbox
    from .ttrpc import Answerable

    # Publish an event: its topic, the name of its message, its fields.
    Publish = Callable[[str, str, Message], None]

_SIGKILL = 9
# The exit code of a process that SIGKILL has ended.
_KILLED = 128 + _SIGKILL


# The file in a bundle with the exit code and time of the first process, for `delete`.
EXIT = "exit.json"


def _note_exit(container: Container) -> None:
    """Save the exit code and time of a container's first process for a `delete` after the end of the shim. A failure is
    logged."""
    init = container.init
    path = f"{container.bundle}/{EXIT}"
    try:
        options.write(path + ".new", jsonio.dumps({"status": init.exit_status, "at": init.exited_at}))
        posix.rename(path + ".new", path)
    except (PyruncError, OSError) as error:
        log.warning(f"the exit status of {container.id} is not kept: {error}")


def forget_exit(bundle: str) -> None:
    """Remove what `_note_exit` has saved for an earlier container of the bundle. Raises OSError."""
    try:
        posix.unlink(f"{bundle}/{EXIT}")
    except FileNotFoundError:
        return


def noted_exit(bundle: str) -> tuple[int, int] | None:
    """The saved exit status, and its time in nanoseconds since 1970; None if the process had not ended, or if the file
    is damaged. Raises OSError."""
    try:
        found = jsonio.loads(fileio.read_file(f"{bundle}/{EXIT}"))
        status, at = found["status"], found["at"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        log.warning(f"{bundle}/{EXIT} is damaged")
        return None
    return (status, at) if type(status) is int and type(at) is int and 0 <= status < 1 << 32 and at > 0 else None


class Containers:
    """The containers by their ids. publish: for the events of their processes. sandbox: the pod that they belong to, if
    the shim keeps it. address: the path of the shim's socket. brokers: None until a container asks for one."""

    def __init__(self, loop: Loop, namespace: str, publish: Publish) -> None:
        self.loop = loop
        self.namespace = namespace
        self.publish = publish
        self.containers: dict[str, Container] = {}
        self.sandbox: Sandbox | None = None
        self.address = ""
        self.brokers: Brokers | None = None

    def tell(self, container: Container, topic: str, name: str, values: Message) -> None:
        """Publish an event of a container. For the process of a sandbox nothing is published: it is no task for
        containerd."""
        if not container.is_sandbox:
            self.publish(topic, name, values)

    def forget(self, container: Container) -> None:
        """Remove a container that is deleted, or was not created."""
        self.containers.pop(container.id, None)
        if self.brokers is not None and container.broker is not None:
            self.brokers.release(container.broker, container.id)

    def launch(
        self,
        container: Container,
        call: Answerable,
        command: str,
        words: list[str],
        done: Callable[[PyruncError | None], None],
        stdio: tuple[int, int, int] = (-1, -1, -1),
    ) -> None:
        """Run a command of the runtime after the container's earlier commands. It is killed when the call's time is
        over, and not started after that.

        An exception of `done` is the answer.
        """

        def finish(failure: PyruncError | None) -> None:
            try:
                done(failure)
            except Exception as error:
                call.fail(error)
            finally:
                container.end_turn()

        def begin() -> None:
            if call.is_answered:
                finish(PyruncError(f"the client's time for {command} was up before its turn"))
                return
            try:
                running = container.runtime.run(command, words, container.bundle, finish, stdio)
            except OSError as error:
                finish(from_os_error(error))
                return
            except ValueError as error:  # a NUL in a word, which protobuf allows
                finish(PyruncError(f"the command line of {command}: {error}"))
                return
            call.on_timeout = running.kill

        container.turn(begin)

    def exited(self, container: Container, process: Process, code: int) -> None:
        """Report the end of a process.

        It is reported after its start, after its output and, for the first process, after the ends of all others.
        """
        if process.ended < 0:
            process.ended = code
            process.exited_at = messages.now()
            if not process.exec_id and not container.own_pids:
                self._kill_rest(container)
        if process.starting or (not process.exec_id and container.has_running_execs):
            return
        process.stdio.exited(lambda: self._report_exit(container, process))

    def _kill_rest(self, container: Container) -> None:
        """Without a pid namespace of its own the container's other processes do not end with the first one."""
        try:
            lifecycle.kill(container.runtime.root, container.id, _SIGKILL, True)
        except (PyruncError, OSError) as error:
            log.error(f"failed to kill init's children of {container.id}: {error}")

    def _report_exit(self, container: Container, process: Process) -> None:
        if process.status == "stopped":
            return
        process.status = "stopped"
        process.exit_status = process.ended
        if not process.exec_id:
            self.forget_memory(container)
            _note_exit(container)
        elif container.memory is not None:
            container.memory.look()  # a kill is reported before the end of the process that it has caused
        self.tell(
            container,
            "/tasks/exit",
            "TaskExit",
            {
                "container_id": container.id,
                "id": process.exec_id or container.id,
                "pid": process.pid,
                "exit_status": process.exit_status,
                "exited_at": messages.timestamp(process.exited_at),
            },
        )
        waiting, process.waiting = process.waiting, []
        for answer in waiting:
            answer()
        init = container.init
        if process.exec_id and init.ended >= 0 and init.status != "stopped":
            self.exited(container, init, init.ended)

    def watch_memory(self, container: Container) -> None:
        """Publish the OOM kills of a container's cgroup."""
        if not container.cgroup:
            return

        def on_kill() -> None:
            self.tell(container, "/tasks/oom", "TaskOOM", {"container_id": container.id})

        try:
            container.memory = oom.Watcher(self.loop, container.cgroup, on_kill)
        except OSError as error:
            log.error(f"watching for OOM kills of {container.id}: {error}")

    def forget_memory(self, container: Container) -> None:
        """Stop watching the OOM kills, after a last check: the kill may have ended the container."""
        memory, container.memory = container.memory, None
        if memory is not None:
            init = container.init
            memory.ended(init.pid, init.ended == _KILLED and not container.is_killed)
