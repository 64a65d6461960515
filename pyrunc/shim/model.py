"""What the shim knows of its containers and their processes. Hot.

A status is one of the words of runc's shim: created, running, pausing, paused, stopped.
"""

from __future__ import annotations

from ..errors import cut
from ..protobuf import MalformedError
from . import ttrpc
from .ttrpc import StatusError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..protobuf import Message
    from .brokers import Broker
    from .oom import Watcher
    from .runtime import Runtime
    from .stdio import Stdio

# The numbers of containerd's task status.
STATUSES = {"created": 1, "running": 2, "stopped": 3, "paused": 4, "pausing": 5}


class Process:
    """A process of a container: its first one, whose exec_id is "", or one of an Exec.

    given: the request that made it. exited_at: nanoseconds since 1970, 0 until the end is known. starting: a Start is
    running, so the end of the process is reported after it. ended: the exit code that is reported then; -1 for none.
    waiting: the functions to call when the end is reported. deleting: a Delete is running.
    """

    __slots__ = (
        "deleting", "ended", "exec_id", "exit_status", "exited_at", "given", "pid", "starting", "status", "stdio",
        "waiting",
    )  # fmt: skip

    def __init__(self, given: Message, exec_id: str, stdio: Stdio) -> None:
        self.given = given
        self.exec_id = exec_id
        self.stdio = stdio
        self.pid = 0
        self.status = "created"
        self.exit_status = 0
        self.exited_at = 0
        self.starting = False
        self.ended = -1
        self.deleting = False
        self.waiting: list[Callable[[], None]] = []


class Container:
    """A container: its first process, those of Exec by their ids, and the queue of its commands.

    is_created: its Create has ended. cgroup: the directory of its cgroup; "" for none. own_pids: whether it has a pid
    namespace of its own. starts: how many processes of Exec are being started.
    memory: watches for OOM kills. checkpoint: the directory of the images that it is restored from, "" for none.
    broker: the one that carries out calls for it (brokers.py), or None.
    is_sandbox: it holds the namespaces of a pod (sandbox.py), and is no task for containerd.
    is_killed: a client has sent it SIGKILL.
    """

    __slots__ = (
        "_busy", "_turns", "broker", "bundle", "cgroup", "checkpoint", "execs", "id", "init", "is_created",
        "is_killed", "is_sandbox", "memory", "namespace", "options", "own_pids", "runtime", "starts",
    )  # fmt: skip

    def __init__(self, request: Message, namespace: str, options: Message, runtime: Runtime, init: Process) -> None:
        self.id: str = request["id"]
        self.bundle: str = request["bundle"]
        self.checkpoint: str = request["checkpoint"]
        self.namespace = namespace
        self.options = options
        self.runtime = runtime
        self.init = init
        self.execs: dict[str, Process] = {}
        self.cgroup = ""
        self.own_pids = True
        self.memory: Watcher | None = None
        self.broker: Broker | None = None
        self.starts = 0
        self.is_created = False
        self.is_sandbox = False
        self.is_killed = False
        self._busy = False
        self._turns: list[Callable[[], None]] = []

    def turn(self, action: Callable[[], None]) -> None:
        """Call `action` when the earlier actions have ended (`end_turn`).

        The runtime's commands for one container run one after the other.
        """
        self._turns.append(action)
        if not self._busy:
            self._next()

    def end_turn(self) -> None:
        """End the current action, and call the next one."""
        self._busy = False
        if self._turns:
            self._next()

    def _next(self) -> None:
        self._busy = True
        action = self._turns.pop(0)
        try:
            action()
        except BaseException:
            self.end_turn()
            raise

    def process(self, exec_id: str) -> Process:
        """A process by the id of its Exec; "" is the first. Raises StatusError NOT_FOUND."""
        if not exec_id:
            return self.init
        process = self.execs.get(exec_id)
        if process is None:
            raise StatusError(ttrpc.NOT_FOUND, f"process does not exist {exec_id}: not found")
        return process

    @property
    def has_running_execs(self) -> bool:
        """Whether a process of an Exec runs, or is being started."""
        return bool(self.starts) or any([process.status == "running" for process in self.execs.values()])


def check_id(id: str) -> str:
    """An id that can be the name of a file and a word of a command line, as containerd's are. Raises MalformedError."""
    if not id or id in (".", "..") or id[0] == "-" or "/" in id or "\0" in id or len(id) > 200:
        raise MalformedError(f"identifier {cut(repr(id))} is not valid")
    return id
