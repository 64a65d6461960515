"""Shims as containerd drives them: bundles, `start` in each of its forms, FIFOs, tasks, `delete`."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.shim import wire
from tests.shim.client import TASK2, TASK3, Client, Events
from tests.shim.wire import Message
from tests.support.bundle import Bundle
from tests.support.host import SECONDS, wait_for

NAMESPACE = "shimtest" + os.environ.get("PYTEST_XDIST_WORKER", "")
ROOT = "/run/containerd/runc"  # the state root of tasks without an option
CREATED, RUNNING, STOPPED, PAUSED = 1, 2, 3, 4

# How containerd gives its parameters to `start`: containerd 1.6, 1.7 to 2.2, 2.3 and later.
FORMS = ("1.6", "1.7", "2.3")
DEFAULT_FORM = os.environ.get("PYRUNC_TEST_SHIM_FORM", "2.3")

# The type of the options message by containerd 2 and by 1.x.
OPTIONS = "containerd.runc.v1.Options"


def command() -> list[str]:
    """The tested shim: PYRUNC_TEST_SHIM, or the module with this interpreter."""
    given = os.environ.get("PYRUNC_TEST_SHIM", "")
    return shlex.split(given) if given else [sys.executable, "-m", "pyrunc.shim"]


def is_ours() -> bool:
    """Whether the tested shim is pyrunc's."""
    return "shim-runc" not in command()[0]


class Started(NamedTuple):
    """What `start` printed, and the shim's address in it."""

    raw: bytes
    address: str
    version: int


class Output:
    """A FIFO for output, and all that came through it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self.data = b""
        self.ended = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with open(self.path, "rb", buffering=0) as fifo:
            while part := fifo.read(1 << 16):
                self.data += part
        self.ended.set()

    def says(self, text: bytes, seconds: float = SECONDS) -> bytes:
        """Wait until a text has come; all so far."""
        end = time.monotonic() + seconds
        while text not in self.data:
            assert time.monotonic() < end, f"{self.path} has no {text!r}: {self.data[-500:]!r}"
            time.sleep(0.005)
        return self.data

    def all(self, seconds: float = SECONDS) -> bytes:
        """Wait until the shim has closed the FIFO; all that came."""
        assert self.ended.wait(seconds), f"the FIFO is still open; so far: {self.data[-500:]!r}"
        return self.data


class Place:
    """A directory of the test with its shims; `close` ends them and removes what is left of their containers."""

    def __init__(self, work: Path, template: Path, program: Sequence[str] = ()) -> None:
        self.work = work
        self.template = template
        self.program = list(program or command())
        self.events = Events(work / "containerd.sock.ttrpc")
        self.clients: list[Client] = []
        self.shims: dict[str, int] = {}  # address, pid
        self._number = 0
        self.log = -1

    def bundle(self, id: str, *args: str, annotations: Mapping[str, str] | None = None) -> Bundle:
        """A bundle as containerd makes it: config.json, rootfs, and the FIFO of the shim's log."""
        bundle = Bundle(self.work / id, self.template)
        bundle.process["args"] = list(args) or ["sleep", "1000"]
        bundle.config["linux"]["cgroupsPath"] = f"/{NAMESPACE}/{id}"
        bundle.config["annotations"] = dict(annotations or {})
        bundle.write()
        os.mkfifo(bundle.path / "log")
        # containerd holds it, so that the shim can open it.
        self.log = os.open(bundle.path / "log", os.O_RDWR | os.O_NONBLOCK)
        return bundle

    def words(self, id: str, action: str, *more: str) -> list[str]:
        """The command line of an action."""
        given = ["-namespace", NAMESPACE, "-address", str(self.work / "containerd.sock")]
        return [*self.program, *given, "-publish-binary", "/bin/false", "-id", id, *more, action]

    def run(
        self, id: str, action: str, *more: str, input: bytes = b"", **environment: str
    ) -> subprocess.CompletedProcess[bytes]:
        """Run an action in the bundle's directory; `start`'s output is read to its end, as containerd does."""
        given = {**os.environ, "TTRPC_ADDRESS": str(self.events.path), **environment}
        return subprocess.run(
            self.words(id, action, *more), cwd=self.work / id, input=input, capture_output=True, env=given,
            timeout=60, check=False,
        )  # fmt: skip

    def start(self, id: str, form: str = DEFAULT_FORM, options: Message | None = None, **params: Any) -> Started:
        """Start a shim for a bundle. AssertionError if that fails."""
        given = wire.any_of("Options", options or {}, "containerd.runc.v1.")
        environment = {} if form == "1.6" else {"MAX_SHIM_VERSION": "2" if form == "2.3" else "3"}
        data = b"" if options is None else wire.encode("Any", given)
        if form == "2.3":
            fields: Message = {"instance_id": id, "namespace": NAMESPACE, "containerd_version": "2.4.2"}
            fields |= {"containerd_ttrpc_address": str(self.events.path), "containerd_binary": "/bin/false"}
            fields |= {"containerd_grpc_address": str(self.work / "containerd.sock"), **params}
            if options is not None:
                fields["extensions"] = [{"value": given}]
            data = wire.encode("BootstrapParams", fields)
        done = self.run(id, "start", input=data, **environment)
        assert done.returncode == 0, done
        started = self.parse(done.stdout, form)
        self.connect(started).call("Connect", id=id)
        return started

    def parse(self, raw: bytes, form: str) -> Started:
        """What `start` printed, read as containerd of that form does."""
        if form == "2.3":
            found = wire.decode("BootstrapResult", raw)
            assert found["protocol"] == "ttrpc", found
            return Started(raw, found["address"], found["version"])
        if form == "1.7":
            params = json.loads(raw)
            assert params["protocol"] == "ttrpc", params
            return Started(raw, params["address"], params["version"])
        return Started(raw, raw.decode(), 2)

    def connect(self, started: Started) -> Client:
        """A client of a shim."""
        client = Client(started.address, TASK2 if started.version < 3 else TASK3)
        self.clients.append(client)
        self.shims[started.address] = client.call("Connect", id="any")["shim_pid"]
        return client

    def task(self, *args: str, id: str = "", form: str = DEFAULT_FORM, **fields: Any) -> Task:
        """A task that runs a command: its shim is started, and it is created but not started."""
        self._number += 1
        id = id or f"box{self._number}"
        bundle = self.bundle(id, *args)
        bundle.process["terminal"] = fields.get("terminal", False)
        bundle.write()
        task = Task(self, id, self.connect(self.start(id, form)))
        task.create(**fields)
        return task

    def fifo(self, name: str) -> int:
        """A new FIFO, open for reading without waiting."""
        os.mkfifo(self.work / name)
        return os.open(self.work / name, os.O_RDONLY | os.O_NONBLOCK)

    def running(self, *args: str, **fields: Any) -> Task:
        """A task that runs."""
        task = self.task(*args, **fields)
        task.call("Start")
        return task

    def close(self) -> None:
        """End the shims and all containers."""
        for client in self.clients:
            client.close()
        for pid in set(self.shims.values()):
            kill(pid)
        group = Path("/sys/fs/cgroup", NAMESPACE)
        if group.exists():
            (group / "cgroup.kill").write_text("1")
            wait_for("the end of all containers", lambda: "populated 0" in (group / "cgroup.events").read_text())
            for directory, _, _ in os.walk(group, topdown=False):
                os.rmdir(directory)
        shutil.rmtree(Path(ROOT, NAMESPACE), ignore_errors=True)
        self.events.away()


class Task:
    """A task by its client. `out` and `err` are its output."""

    def __init__(self, place: Place, id: str, client: Client) -> None:
        self.place = place
        self.id = id
        self.client = client
        self.path = place.work / id
        self.out: Output | None = None
        self.err: Output | None = None
        self.pid = 0

    def streams(self, name: str, terminal: bool = False, stdin: bool = False) -> dict[str, str]:
        """New FIFOs for a process of this task, as the fields of Create and Exec."""
        fields = {}
        name = name if not (self.path / f"{name}.out").exists() else f"{name}.{len(list(self.path.glob('*.out')))}"
        if stdin:
            os.mkfifo(self.path / f"{name}.in")
            fields["stdin"] = str(self.path / f"{name}.in")
        self.out = Output(self.path / f"{name}.out")
        fields["stdout"] = str(self.out.path)
        if not terminal:
            self.err = Output(self.path / f"{name}.err")
            fields["stderr"] = str(self.err.path)
        return fields

    def stdin(self, name: str = "init") -> int:
        """The writing end of a process's stdin."""
        return os.open(self.path / f"{name}.in", os.O_WRONLY)

    def create(
        self, terminal: bool = False, stdin: bool = False, streams: Mapping[str, str] | None = None, **fields: Any
    ) -> None:
        """Create the container."""
        if streams is None:
            streams = self.streams("init", terminal, stdin)
        given = {"bundle": str(self.path), "terminal": terminal, **streams, **fields}
        self.pid = self.call("Create", **given)["pid"]

    def call(self, method: str, **fields: Any) -> Message:
        """A call about this task."""
        return self.client.call(method, id=self.id, **fields)

    def begin(self, method: str, **fields: Any) -> Any:
        """Begin a call about this task."""
        return self.client.begin(method, id=self.id, **fields)

    def exec(
        self, exec_id: str, *args: str, terminal: bool = False, stdin: bool = False, start: bool = True, **process: Any
    ) -> int:
        """Add a process, and start it. Its pid."""
        config = json.loads((self.path / "config.json").read_text())["process"]
        config |= {"args": list(args), "terminal": terminal, **process}
        spec = wire.any_of("types.containerd.io/opencontainers/runtime-spec/1/Process", json.dumps(config).encode())
        self.call("Exec", exec_id=exec_id, terminal=terminal, spec=spec, **self.streams(exec_id, terminal, stdin))
        return int(self.call("Start", exec_id=exec_id)["pid"]) if start else 0

    def state(self, exec_id: str = "") -> Message:
        """The state of the task, or of one of its processes."""
        return self.call("State", exec_id=exec_id)

    def end(self) -> Message:
        """Kill the task, wait for its end, and delete it."""
        waited = self.begin("Wait")
        self.call("Kill", signal=9)
        waited()
        return self.call("Delete")

    def shutdown(self) -> None:
        """Delete the task, shut the shim down, and have `delete` clean up, as containerd does at a task's end."""
        self.end()
        pid = self.call("Connect")["shim_pid"]
        with contextlib.suppress(*(() if is_ours() else (EOFError, ConnectionError))):
            self.call("Shutdown")
        wait_for(f"the end of the shim {pid}", lambda: not alive(pid))
        assert self.place.run(self.id, "delete", "-bundle", str(self.path)).returncode == 0


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(pid: int) -> list[int]:
    """The children of a process, with zombies."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def brokers(shim: int) -> list[int]:
    """The brokers of a shim that live."""
    found = []
    for pid in children(shim):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ends meanwhile
            if alive(pid) and b"\0broker\0" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def kill(pid: int) -> None:
    """Kill a process and wait for its end."""
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        return
    wait_for(f"the end of {pid}", lambda: not alive(pid))


def cgroup(id: str) -> Path:
    """The cgroup of a task of `Place.bundle`."""
    return Path(f"/sys/fs/cgroup/{NAMESPACE}/{id}")


def processes(id: str) -> list[int]:
    """The live processes in the cgroup of a task and in those below it."""
    found = []
    for file in cgroup(id).glob("**/cgroup.procs"):
        with contextlib.suppress(OSError):  # it has been removed meanwhile: ENOENT, ENODEV
            found += [int(word) for word in file.read_text().split()]
    return [pid for pid in found if alive(pid)]


def settled(probe: Any, seconds: float = 1.0) -> bool:
    """Whether `probe` stays false for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if probe():
            return False
        time.sleep(0.01)
    return True
