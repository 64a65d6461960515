"""`make bench-shim`: pyrunc's shim beside the Go shims with runc, crun and pyrunc, by ttrpc as containerd speaks it.

Run by tests.shim.inside. The shims take turns within every round. CPU is that of a cgroup in which a life's shim and
its container are, so it has every process of that life and none of the client. Nothing is asserted about a time.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.bench import bench, bundles, table
from tests.bench.table import Goal, Measure, Samples
from tests.shim import wire
from tests.shim.client import REQUEST, TASK2, TASK3, connect, frame, read_frame, request, result
from tests.shim.wire import Message

BEGIN, END = "<!-- shim -->", "<!-- /shim -->"
GROUP = Path("/sys/fs/cgroup/bench")
NAMESPACE = "bench"

RUNC, CRUN, OWN = "Go + runc", "Go + crun", "Go + pyrunc"
# The shim of containerd 2, built from its module (tests/engines/go).
NEWER = "Go 2 + runc"

SHARE = (Goal(0.35, RUNC), Goal(0.6, CRUN))
LIFE = Measure("a life: start … delete", "ms", SHARE)
LIFE_CPU = Measure("CPU of a life", "ms", SHARE)
CTR = Measure("ctr run --rm", "ms")
EXEC = Measure("exec", "ms")
EXEC_CPU = Measure("CPU of an exec", "ms")
RSS = Measure("idle: RSS", "KiB", (), 0)
PSS = Measure("idle: PSS", "KiB", (Goal(0.35, RUNC), Goal(0.35, NEWER)), 0)
DIRTY = Measure("idle: private dirty", "KiB", (), 0)
THREADS = Measure("idle: threads", "threads", (), 0)
PODS = Measure("start of many pods at once", "ms", (Goal(0.5, RUNC),), 0)
MEASURES = (LIFE, LIFE_CPU, CTR, EXEC, EXEC_CPU, RSS, PSS, DIRTY, THREADS, PODS)


class Flavour(NamedTuple):
    """A shim and, for the Go shim, its runtime. form: how it is bootstrapped, as in tests.shim.shims."""

    name: str
    shim: str
    form: str
    binary: str = ""

    def shim_version(self) -> str:
        """The version of containerd that the shim tells."""
        done = subprocess.run([self.shim, "-v"], capture_output=True, text=True, check=True)
        return done.stdout.split("Version:")[1].split()[0]

    def options(self) -> Message:
        """runc's options message for Create."""
        return wire.any_of("Options", {"binary_name": self.binary}, "containerd.runc.v1.")


class Connection:
    """A connection with one call at a time, but for Wait."""

    def __init__(self, address: str, version: int) -> None:
        self.socket = connect(address)
        self.service = TASK3 if version >= 3 else TASK2
        self.stream = -1
        self.answers: dict[int, bytes] = {}

    def send(self, method: str, name: str, **fields: object) -> int:
        """Send a request and return its stream."""
        self.stream += 2
        self.socket.sendall(
            frame(self.stream, REQUEST, request(self.service, method, wire.encode(f"{name}Request", fields)))
        )
        return self.stream

    def answer(self, stream: int) -> bytes:
        """Wait for the answer of a stream. Raises RpcError."""
        while stream not in self.answers:
            number, _, _, data = read_frame(self.socket)
            self.answers[number] = data
        return result(self.answers.pop(stream))

    def call(self, method: str, name: str = "", **fields: object) -> bytes:
        """A call and its answer."""
        return self.answer(self.send(method, name or method, **fields))


class Pod:
    """A bundle with a shim of a flavour. group: a cgroup for the shim, or none."""

    def __init__(self, flavour: Flavour, source: Path, path: Path, id: str, events: Path) -> None:
        self.flavour, self.path, self.id, self.events = flavour, path, id, events
        path.mkdir(parents=True)
        (path / "rootfs").symlink_to(source / "rootfs")
        config = json.loads((source / "config.json").read_text())
        config["root"]["path"] = str(source / "rootfs")
        config["linux"]["cgroupsPath"] = f"/{GROUP.name}/{id}/box"
        (path / "config.json").write_text(json.dumps(config))
        os.mkfifo(path / "log")
        self.log = os.open(path / "log", os.O_RDWR | os.O_NONBLOCK)
        self.group = GROUP / id
        self.connection: Connection | None = None

    def run(self, action: str, *more: str, counted: bool, input: bytes = b"") -> bytes:
        """Run an action of the shim's program, in the cgroup if it is counted."""
        words = [self.flavour.shim, "-namespace", NAMESPACE, "-address", "/run/bench.sock", "-publish-binary"]
        words += ["/bin/false", "-id", self.id, *more, action]
        if counted:
            words = ["sh", "-c", f'echo 0 > {self.group}/shim/cgroup.procs; exec "$@"', "sh", *words]
        environment = {**os.environ, "TTRPC_ADDRESS": str(self.events)}
        if self.flavour.form != "1.6":
            environment["MAX_SHIM_VERSION"] = "2"
        done = subprocess.run(words, cwd=self.path, input=input, capture_output=True, env=environment, check=False)
        if done.returncode:
            raise SystemExit(f"bench: {' '.join(words)}: {done.stderr.decode()}{done.stdout.decode()}")
        return done.stdout

    def start(self, counted: bool = False) -> Connection:
        """Start the shim and connect."""
        if counted:
            (self.group / "shim").mkdir(parents=True, exist_ok=True)
        params = wire.encode("BootstrapParams", {"instance_id": self.id, "namespace": NAMESPACE})
        answer = self.run("start", counted=counted, input=params if self.flavour.form == "2.3" else b"")
        if self.flavour.form == "2.3":
            found = wire.decode("BootstrapResult", answer)
            self.connection = Connection(found["address"], found["version"])
        else:
            self.connection = Connection(answer.decode(), 2)
        return self.connection

    def create(self) -> None:
        """Create the container, without streams."""
        assert self.connection is not None
        self.connection.call("Create", "CreateTask", id=self.id, bundle=str(self.path), options=self.flavour.options())

    def begin(self, counted: bool = False) -> Connection:
        """Start the shim and the container."""
        connection = self.start(counted)
        self.create()
        connection.call("Start", id=self.id)
        return connection

    def shim_pid(self) -> int:
        """The pid of the shim."""
        assert self.connection is not None
        pid: int = wire.decode("ConnectResponse", self.connection.call("Connect", id=self.id))["shim_pid"]
        return pid

    def end(self, counted: bool = False, kill: bool = True) -> None:
        """End the container, the shim, and clean up."""
        connection = self.connection
        assert connection is not None
        if kill:
            waited = connection.send("Wait", "Wait", id=self.id)
            connection.call("Kill", id=self.id, signal=9)
            connection.answer(waited)
        connection.call("Delete", id=self.id)
        with contextlib.suppress(EOFError, ConnectionError):  # the Go shim may end before it answers
            connection.call("Shutdown", id=self.id)
        connection.socket.close()
        self.run("delete", "-bundle", str(self.path), counted=counted)

    def remove(self) -> None:
        """Remove the bundle and the cgroup."""
        os.close(self.log)
        for name in ("shim", "box", ""):
            remove_cgroup(self.group / name)
        shutil.rmtree(self.path)


def remove_cgroup(path: Path) -> None:
    """Remove a cgroup when its processes have died."""
    end = time.monotonic() + 10
    while path.exists():
        try:
            path.rmdir()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.002)


def cpu(path: Path) -> float:
    """The CPU time of a cgroup and of all that were below it, in milliseconds."""
    return int((path / "cpu.stat").read_text().split()[1]) / 1000


def serve_events(path: Path) -> int:
    """Answer every event, in a process of its own. Its pid."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(512)
    if pid := os.fork():
        listener.close()
        return pid
    import selectors

    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is listener:
                selector.register(listener.accept()[0], selectors.EVENT_READ)
                continue
            assert isinstance(key.fileobj, socket.socket)
            try:
                stream, _, _, _ = read_frame(key.fileobj)
                key.fileobj.sendall(frame(stream, 2, b""))
            except (OSError, EOFError):
                selector.unregister(key.fileobj)
                key.fileobj.close()


class Bench:
    """One run. flavours: the first is the one that is judged."""

    def __init__(self, flavours: list[Flavour], work: Path, options: argparse.Namespace) -> None:
        self.flavours, self.work, self.options = flavours, work, options
        self.samples = Samples()
        self.events = work / "events"
        self.bundles = bundles.small(work)
        self.numbers = itertools.count()
        self.notes: set[str] = set()

    def pod(self, flavour: Flavour, source: Path) -> Pod:
        """A new pod."""
        number = next(self.numbers)
        return Pod(flavour, source, self.work / f"p{number}", f"p{number}", self.events)

    def rounds(self, count: int, *one: Callable[[Flavour, Samples], None], flavours: list[Flavour]) -> None:
        """Rounds in which the flavours take turns; the first one warms up."""
        orders = itertools.cycle(itertools.permutations(flavours))
        for number, order in enumerate(itertools.islice(orders, count + 1)):
            for flavour in order:
                for measure in one:
                    measure(flavour, self.samples if number else Samples())

    def life(self, flavour: Flavour, samples: Samples) -> None:
        """A container of /bin/true, from `start` to `delete`."""
        pod = self.pod(flavour, self.bundles.short)
        begin = time.monotonic()
        self._live(pod, counted=False)
        samples.add(LIFE, flavour.name, (time.monotonic() - begin) * 1000)
        pod.remove()

    def life_cpu(self, flavour: Flavour, samples: Samples) -> None:
        """The same, for the CPU."""
        pod = self.pod(flavour, self.bundles.short)
        self._live(pod, counted=True)
        remove_cgroup(pod.group / "box")
        samples.add(LIFE_CPU, flavour.name, settled(pod.group))
        pod.remove()

    def _live(self, pod: Pod, counted: bool) -> None:
        connection = pod.start(counted)
        pod.create()
        waited = connection.send("Wait", "Wait", id=pod.id)
        connection.call("Start", id=pod.id)
        connection.answer(waited)
        pod.end(counted, kill=False)

    def exec(self, flavour: Flavour, samples: Samples) -> None:
        """Twenty times another process in a container."""
        pod = self.pod(flavour, self.bundles.long)
        connection = pod.begin(counted=True)
        process = json.loads((pod.path / "config.json").read_text())["process"] | {"args": ["/bin/true"]}
        spec = wire.any_of("Process", json.dumps(process).encode())
        before = 0.0
        for number in range(21):
            if number == 1:
                before = settled(pod.group)
            begin = time.monotonic()
            name = f"e{number}"
            connection.call("Exec", "ExecProcess", id=pod.id, exec_id=name, spec=spec)
            waited = connection.send("Wait", "Wait", id=pod.id, exec_id=name)
            connection.call("Start", id=pod.id, exec_id=name)
            connection.answer(waited)
            connection.call("Delete", id=pod.id, exec_id=name)
            if number:
                samples.add(EXEC, flavour.name, (time.monotonic() - begin) * 1000)
        samples.add(EXEC_CPU, flavour.name, (settled(pod.group) - before) / 20)
        pod.end()
        pod.remove()

    def many(self, flavour: Flavour, samples: Samples) -> None:
        """Many pods at once, by as many clients: from the first `start` to the last answer of Start."""
        pods = [self.pod(flavour, self.bundles.long) for _ in range(self.options.at_once)]
        with concurrent.futures.ThreadPoolExecutor(len(pods)) as pool:
            begin = time.monotonic()
            list(pool.map(Pod.begin, pods))
            samples.add(PODS, flavour.name, (time.monotonic() - begin) * 1000)
            list(pool.map(Pod.end, pods))
        for pod in pods:
            pod.remove()

    def idle(self, flavour: Flavour, samples: Samples) -> None:
        """What the shims of many pods hold while nothing happens."""
        pods = [self.pod(flavour, self.bundles.long) for _ in range(self.options.pods)]
        for pod in pods:
            pod.begin()
        time.sleep(self.options.settle)
        for pod in pods:
            for measure, value in memory(pod.shim_pid()).items():
                samples.add(measure, flavour.name, value)
        for pod in pods:
            pod.end()
            pod.remove()

    def ctr(self, flavour: Flavour, samples: Samples) -> None:
        """`ctr run --rm`, with a containerd of its own."""
        words = ["ctr", "--address", str(self.work / "containerd.sock"), "run", "--rm", "--rootfs", "--cpu-shares=0"]
        words += ["--runtime", flavour.shim if flavour.form == "2.3" else "io.containerd.runc.v2"]
        words += ["--runc-binary", flavour.binary] if flavour.binary else []
        id = f"c{next(self.numbers)}"
        begin = time.monotonic()
        done = subprocess.run(
            [*words, str(self.bundles.short / "rootfs"), id, "/bin/true"], capture_output=True, check=False
        )
        if done.returncode:
            # crun can't load ctr's device rules where root's limits are lowered.
            if flavour.name == table.SUBJECT:
                raise SystemExit(f"bench: ctr run: {done.stderr.decode()}")
            self.notes.add(f"`ctr run` fails with {flavour.name}: {done.stderr.decode().strip().rpartition(': ')[0]}.")
            remove = ["ctr", "--address", str(self.work / "containerd.sock"), "container", "rm", id]
            subprocess.run(remove, capture_output=True, check=False)
            return
        samples.add(CTR, flavour.name, (time.monotonic() - begin) * 1000)

    def containerd(self) -> subprocess.Popen[bytes]:
        """Start containerd, without plugins that a bench does not need."""
        config = self.work / "config.toml"
        config.write_text(
            f'version = 2\nroot = "{self.work}/root"\nstate = "{self.work}/state"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
            f'[grpc]\naddress = "{self.work}/containerd.sock"\n'
        )
        log = (self.work / "containerd.log").open("wb")
        process = subprocess.Popen(["containerd", "--config", str(config)], stdout=log, stderr=log)
        end = time.monotonic() + 30
        while subprocess.run(
            ["ctr", "--address", str(self.work / "containerd.sock"), "version"], capture_output=True, check=False
        ).returncode:
            if time.monotonic() > end:
                raise SystemExit(f"bench: containerd does not answer: {(self.work / 'containerd.log').read_text()}")
            time.sleep(0.1)
        return process

    def measure(self) -> None:
        """Everything."""
        pid = serve_events(self.events)
        containerd = self.containerd()
        try:
            options = self.options
            # Debian's containerd can't start the shim of containerd 2.
            early = [flavour for flavour in self.flavours if flavour.name != NEWER]
            self.rounds(options.rounds, self.life, self.life_cpu, flavours=self.flavours)
            self.rounds(options.rounds, self.ctr, flavours=early)
            self.rounds(options.batches, self.exec, flavours=self.flavours)
            # The Go shim's memory and threads do not depend on the runtime.
            with_runc = [flavour for flavour in self.flavours if flavour.name in (table.SUBJECT, RUNC, NEWER)]
            self.rounds(options.batches, self.many, flavours=with_runc)
            for flavour in with_runc:
                self.idle(flavour, self.samples)
        finally:
            os.kill(pid, signal.SIGKILL)
            containerd.kill()
            containerd.wait()

    def text(self) -> str:
        """The table in Markdown."""
        names = [flavour.name for flavour in self.flavours]
        others = names[1:]
        compared = [name for name in (RUNC, NEWER, CRUN) if name in others]
        head = ["min / **median** / max", *names, *(f"{table.SUBJECT} : {name}" for name in compared), "goal"]
        lines = [
            f"{bench.machine()}; {versions(self.flavours)}. Rounds: {self.options.rounds} of lives and of ctr, "
            f"{self.options.batches} of 20 execs and of {self.options.at_once} pods at once. Idle: {self.options.pods} "
            f"pods of each, {self.options.settle:.0f} s after their start.\n",
            "| " + " | ".join(head) + " |",
            "|---" + "|---:" * (len(head) - 2) + "|---|",
        ]
        for measure in MEASURES:
            cells = [f"{measure.name} ({measure.unit})"]
            cells += [table.cell(self.samples.get(measure, name), measure.digits) for name in names]
            for name in compared:
                value = table.ratio(self.samples, measure, name)
                cells.append("–" if value is None else f"{value:.2f}")
            lines.append("| " + " | ".join([*cells, table.verdict(self.samples, measure)]).rstrip() + " |")
        sums = ", ".join(
            f"{name} {sum(self.samples.get(PSS, name)) / 1024:.0f}" for name in names if self.samples.get(PSS, name)
        )
        missed = table.missed(self.samples, MEASURES)
        verdict = "\n".join(["Missed goals:\n", *(f"- {line}" for line in missed)]) if missed else "All goals are met."
        together = f"\nPSS of the shims of {self.options.pods} pods together, MiB: {sums}.\n"
        return "\n".join([*lines, together, *sorted(self.notes), verdict, ""])


def settled(group: Path) -> float:
    """The CPU time of a cgroup when its processes rest: a shim goes on for a moment after its answer."""
    value = cpu(group)
    while True:
        time.sleep(0.05)
        again = cpu(group)
        if again - value < 0.05:
            return again
        value = again


def memory(pid: int) -> dict[Measure, float]:
    """The memory in KiB and the threads of a process."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    values = {line.split()[0]: int(line.split()[1]) for line in rollup.splitlines()[1:]}
    threads = len(os.listdir(f"/proc/{pid}/task"))
    return {RSS: values["Rss:"], PSS: values["Pss:"], DIRTY: values["Private_Dirty:"], THREADS: threads}


def versions(flavours: list[Flavour]) -> str:
    """The first lines of the programs' versions."""
    found = []
    for words in (["containerd", "--version"], ["runc", "--version"], ["crun", "--version"]):
        if shutil.which(words[0]):
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            found.append(" ".join(done.stdout.splitlines()[0].split()[:3]))
    found += [f"containerd {flavour.shim_version()}" for flavour in flavours if flavour.name == NEWER]
    return "; ".join([f"pyrunc {flavours[0].shim_version()}", *found])


def flavours(options: argparse.Namespace) -> Iterator[Flavour]:
    """What is compared, as far as the machine has it."""
    shim = options.pyrunc.with_name("containerd-shim-pyrunc-v2")
    if not shim.exists():
        raise SystemExit(f"bench: no {shim} (make bench-shim installs it)")
    yield Flavour(table.SUBJECT, str(shim.absolute()), "2.3")  # the name decides what the launcher is
    go = shutil.which(options.go)
    if go is None:
        raise SystemExit(f"bench: no {options.go} (package containerd)")
    for name, program in (
        (RUNC, shutil.which("runc")),
        (CRUN, shutil.which("crun")),
        (OWN, str(options.pyrunc.absolute())),
    ):
        if program:
            yield Flavour(name, go, options.go_form, program)
        if program and name == RUNC and options.newer:
            yield Flavour(NEWER, str(options.newer.absolute()), "2.3", program)


def main() -> None:
    """Measure, print the table, and write it to the file that the options name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pyrunc", type=Path, default=bench.REPOSITORY / "build/bench/usr/bin/pyrunc")
    parser.add_argument("--go", default="containerd-shim-runc-v2", help="the Go shim")
    parser.add_argument("--go-form", default="1.6", help="how it is bootstrapped: 1.6 or 2.3")
    parser.add_argument("--newer", type=Path, help="the shim of containerd 2")
    parser.add_argument("--rounds", type=int, default=24, help="of lives")
    parser.add_argument("--batches", type=int, default=4, help="of execs and of pods at once")
    parser.add_argument("--at-once", type=int, default=50, help="pods that are started at once")
    parser.add_argument("--pods", type=int, default=100, help="pods that are idle")
    parser.add_argument("--settle", type=float, default=35, help="seconds from their start to the look at their memory")
    parser.add_argument("--write", type=Path, metavar="FILE", help="the document whose table is replaced")
    options = parser.parse_args()
    GROUP.mkdir()
    with tempfile.TemporaryDirectory(prefix="b", dir="/run") as name:
        run = Bench(list(flavours(options)), Path(name), options)
        run.measure()
    text = run.text()
    print(text)
    medians = {name: statistics.median(values) for name, values in run.samples.values.get(LIFE.name, {}).items()}
    print(medians, file=sys.stderr)
    if options.write:
        options.write.write_text(table.between_marks(options.write.read_text(), text, BEGIN, END))


if __name__ == "__main__":
    main()
