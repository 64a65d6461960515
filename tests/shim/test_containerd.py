"""The real containerd with the shim: Debian's, and containerd 2 where it was built.

That is `make build/engines/bin/containerd/.built`.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import json
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.shim import policies, shims
from tests.shim.inside import REPOSITORY
from tests.support.host import SECONDS, wait_for
from tests.support.terminals import Session, read_until

NEW = REPOSITORY / "build/engines/bin/containerd"
RUNTIME = "io.containerd.pyrunc.v2" if shims.is_ours() else "io.containerd.runc.v2"


class Done(NamedTuple):
    """What a command of ctr has done."""

    code: int
    out: str
    err: str


class Containerd:
    """A containerd of its own, with the tested shim in its PATH."""

    def __init__(self, programs: Path, work: Path, template: Path) -> None:
        self.programs, self.work, self.rootfs = programs, work, template
        self.socket = work / "c.sock"
        # That of the state root and of the cgroups, which all workers share.
        self.namespace = f"shim-{work.name}".rstrip("_").replace("__", "x")  # an identifier of containerd
        self.process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        (work / "bin").mkdir()
        (work / "config.toml").write_text(self.configuration())
        program = work / "bin" / RUNTIME.replace("io.containerd.", "containerd-shim-").replace(".", "-")
        words = shims.command()
        if len(words) == 1:
            program.symlink_to(words[0])
        else:
            program.write_text(f'#!/bin/sh\nexport PYTHONPATH={REPOSITORY}\nexec {" ".join(words)} "$@"\n')
            program.chmod(0o755)
        self.up()

    def configuration(self) -> str:
        """The text of config.toml."""
        return (
            f'version = 2\nroot = "{self.work}/root"\nstate = "{self.work}/state"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime"]\n'
            f'[grpc]\naddress = "{self.socket}"\n'
        )

    def up(self) -> None:
        """Start it and wait until it answers."""
        with (self.work / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.programs / "containerd", "--config", self.work / "config.toml", "--log-level", "info"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "PATH": f"{self.work}/bin:{os.environ['PATH']}"}, start_new_session=True,
            )  # fmt: skip
        wait_for("containerd", lambda: self.ctr("version").code == 0)

    def down(self) -> None:
        """Kill it by SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def words(self, *words: str) -> list[str]:
        """A command line of ctr."""
        return [str(self.programs / "ctr"), "--address", str(self.socket), "--namespace", self.namespace, *words]

    def ctr(self, *words: str, input: str = "", seconds: float = 2 * SECONDS) -> Done:
        """Run ctr to its end. Its output goes to files, as the shim may hold what it was given."""
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            given.write(input.encode())
            given.seek(0)
            done = subprocess.run(self.words(*words), stdin=given, stdout=out, stderr=err, timeout=seconds, check=False)
            out.seek(0)
            err.seek(0)
            return Done(done.returncode, out.read().decode(errors="replace"), err.read().decode(errors="replace"))

    def must(self, *words: str, input: str = "") -> str:
        """The output of ctr. AssertionError if it fails."""
        done = self.ctr(*words, input=input)
        assert done.code == 0, (words, done, self.log())
        return done.out

    def log(self) -> str:
        """The end of containerd's log."""
        return (self.work / "log").read_text()[-3000:]

    def name(self) -> str:
        """A new name."""
        return f"c{next(self._numbers)}"

    def run_words(self, name: str, *command: str, options: tuple[str, ...] = ()) -> list[str]:
        """The words that run a container."""
        # The default of 1024 shares needs a controller.
        return [
            "run", "--runtime", RUNTIME, "--cpu-shares=0", "--cwd=/", "--env=PATH=/bin", *options, "--rootfs",
            str(self.rootfs), name, *command,
        ]  # fmt: skip

    def once(self, *command: str, input: str = "", options: tuple[str, ...] = ()) -> Done:
        """Run a container to its end and remove it."""
        return self.ctr(*self.run_words(self.name(), *command, options=("--rm", *options)), input=input)

    def box(self, *command: str, options: tuple[str, ...] = ()) -> str:
        """A container in the background. Its name."""
        name = self.name()
        log = f"--log-uri=file://{self.work}/{name}.log"
        self.must(*self.run_words(name, *(command or ("sleep", "1000")), options=("--detach", log, *options)))
        return name

    def row(self, name: str) -> list[str]:
        """A task's pid and status in `ctr task ls`."""
        for line in self.must("task", "ls").splitlines():
            if line.split()[0] == name:
                return line.split()[1:]
        return []

    def pid(self, name: str) -> int:
        """The pid of a task."""
        return int(self.row(name)[0])

    def becomes(self, name: str, status: str) -> None:
        """Wait for a status: RUNNING, STOPPED, PAUSED, or none."""
        wait_for(f"{name} to be {status}", lambda: (self.row(name) or ["", ""])[1] == status)

    def shims(self) -> list[int]:
        """The pids of the shims that serve."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:
                continue
            if any(str(self.socket).encode() == word for word in words) and any(b"shim" in word for word in words[:4]):
                found.append(int(path.parent.name))
        return [pid for pid in found if shims.alive(pid)]

    def shim_of(self, pid: int) -> int:
        """The parent of a task's process."""
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

    def remove(self, name: str) -> None:
        """Remove a container and its task."""
        self.ctr("task", "rm", "--force", name)
        # A ctr that ran it may be removing it too.
        wait_for(f"{name} to be removed", lambda: self.ctr("container", "rm", name).code == 0 or not self.row(name))
        self.ctr("container", "rm", name)

    def clean(self) -> None:
        """Remove what a test has left; no shim may stay."""
        for name in self.must("container", "ls", "--quiet").split():
            self.remove(name)
        wait_for("the end of all shims", lambda: not self.shims())


@pytest.fixture(scope="module", params=["debian", "new"])
def daemon(request: pytest.FixtureRequest, template: Path) -> Iterator[Containerd]:
    """A containerd for all tests of one version."""
    programs = Path("/usr/bin") if request.param == "debian" else NEW
    if not (programs / "containerd").exists():
        pytest.skip(f"needs {programs}/containerd")
    work = Path(tempfile.mkdtemp(prefix="d", dir="/run"))
    value = Containerd(programs, work, template)
    yield value
    value.down()


@pytest.fixture
def containerd(daemon: Containerd) -> Iterator[Containerd]:
    """The same; what a test leaves is removed."""
    yield daemon
    daemon.clean()


def test_run(containerd: Containerd) -> None:
    done = containerd.once("sh", "-c", "echo out; echo err >&2; exit 5")
    assert done.code == 5, (done, containerd.log())
    assert done.out == "out\n"
    assert done.err.startswith("err\n")


def test_run_with_much_output(containerd: Containerd) -> None:
    done = containerd.once("sh", "-c", "yes | head -c 8000000")
    assert len(done.out) == 8000000


def test_run_with_a_terminal(containerd: Containerd) -> None:
    words = containerd.words(*containerd.run_words(containerd.name(), "sh", options=("--rm", "--tty")))
    session = Session(words, {**os.environ, "TERM": "xterm"}, (33, 101))
    read_until(session.master, lambda text: b"# " in text)
    # ctr gives the size after the start.
    os.write(session.master, b"until stty size; do sleep 0.1; done; tty\n")
    read_until(session.master, lambda text: b"33 101" in text and b"/dev/pts/0" in text)
    os.write(session.master, b"exit 9\n")
    assert session.finish() == 9


def test_run_of_a_program_that_is_missing(containerd: Containerd) -> None:
    done = containerd.once("/no/such/program")
    assert done.code != 0
    assert "/no/such/program" in done.err


@pytest.mark.ours("it has no broker")
def test_a_broker_that_an_annotation_asks_for(containerd: Containerd) -> None:
    words = ("sh", "-c", "cd /dev; mknod a c 1 3 && echo made; mknod b c 1 5")
    with policies.given():
        done = containerd.once(*words, options=("--annotation", f"{policies.BROKER}=nodes"))
        assert (done.out, "b: Operation not permitted" in done.err) == ("made\n", True), (done, containerd.log())
        refused = containerd.once(*words, options=("--annotation", f"{policies.BROKER}=none"))
    assert f"the annotation {policies.BROKER} asks for policy none: there is no policy none" in refused.err
    assert "mknodat is refused with EPERM: the device c 1:5" in containerd.log()


def test_states(containerd: Containerd) -> None:
    name = containerd.box()
    containerd.becomes(name, "RUNNING")
    containerd.must("task", "pause", name)
    containerd.becomes(name, "PAUSED")
    containerd.must("task", "resume", name)
    containerd.becomes(name, "RUNNING")
    containerd.must("task", "kill", "--signal=SIGKILL", name)
    containerd.becomes(name, "STOPPED")
    done = containerd.ctr("task", "rm", name)
    assert "137" in done.err + done.out
    assert not containerd.row(name)


def test_exec(containerd: Containerd) -> None:
    name = containerd.box()
    done = containerd.ctr("task", "exec", "--exec-id=one", name, "sh", "-c", "cat; exit 6", input="given\n" * 20000)
    assert (done.code, done.out) == (6, "given\n" * 20000)
    containerd.must("task", "exec", "--exec-id=two", "--detach", name, "sleep", "1234")
    pids = containerd.must("task", "ps", name)
    assert len(pids.splitlines()) == 3
    assert "two" in pids


def test_exec_with_a_terminal(containerd: Containerd) -> None:
    name = containerd.box()
    words = containerd.words("task", "exec", "--tty", "--exec-id=tty", name, "sh")
    session = Session(words, {**os.environ, "TERM": "xterm"}, (30, 90))
    read_until(session.master, lambda text: b"# " in text)
    os.write(session.master, b"until stty size; do sleep 0.1; done\n")
    read_until(session.master, lambda text: b"30 90" in text)
    os.write(session.master, b"exit 4\n")
    assert session.finish() == 4


@pytest.mark.ours("it reads the use of CPU only with the controller")
def test_metrics(containerd: Containerd) -> None:
    name = containerd.box("sh", "-c", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; sleep 1000")

    def used() -> int:
        text = containerd.must("task", "metrics", "--format=json", name)
        return int(json.loads(text)["cpu"].get("usage_usec", 0))

    wait_for("some use", lambda: used() > 1000)


def test_log_file(containerd: Containerd) -> None:
    name = containerd.box("sh", "-c", "echo logged; echo also >&2")
    containerd.becomes(name, "STOPPED")
    assert sorted((containerd.work / f"{name}.log").read_text().split()) == ["also", "logged"]


def test_events(containerd: Containerd) -> None:
    """In the order in which things happened."""
    file = containerd.work / "events"
    with file.open("wb") as out:
        watcher = subprocess.Popen(containerd.words("events"), stdout=out, stderr=subprocess.STDOUT)
    numbers = itertools.count()
    wait_for("the watcher", lambda: containerd.ctr("namespaces", "create", f"n{next(numbers)}") and file.read_text())
    done = containerd.once("sh", "-c", "exit 2")
    assert done.code == 2
    name = containerd.box()
    containerd.must("task", "exec", "--exec-id=e", name, "true")
    containerd.remove(name)
    wait_for("the last event", lambda: file.read_text().count("/tasks/delete") >= 2)
    watcher.kill()
    watcher.wait()
    topics = re.findall(r"(/tasks/[a-z-]+)", file.read_text())
    first = topics[: topics.index("/tasks/delete") + 1]
    assert first == ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]
    rest = topics[len(first) :]
    assert rest[:5] == ["/tasks/create", "/tasks/start", "/tasks/exec-added", "/tasks/exec-started", "/tasks/exit"]


def test_containerd_is_killed(containerd: Containerd) -> None:
    """Tasks go on; the next containerd finds them, and what happened meanwhile."""
    runs, ends = containerd.box(), containerd.box("sh", "-c", "while [ ! -e /tmp/end ]; do sleep 0.05; done; exit 7")
    pid, ending = containerd.pid(runs), containerd.pid(ends)
    containerd.down()
    Path(f"/proc/{ending}/root/tmp/end").touch()
    wait_for("the end", lambda: not shims.alive(ending))
    assert shims.alive(pid)
    containerd.up()
    (containerd.rootfs / "tmp/end").unlink()
    assert containerd.pid(runs) == pid
    assert containerd.must("task", "exec", "--exec-id=again", runs, "echo", "hello") == "hello\n"
    if containerd.programs == NEW and not shims.is_ours():
        # containerd 2 removes a task when it begins, if its Pids are none and no error.
        wait_for("no task", lambda: not containerd.row(ends))
        assert not Path("/run/containerd/runc", containerd.namespace, ends).exists()
    else:
        containerd.becomes(ends, "STOPPED")
        done = containerd.ctr("task", "rm", ends)
        assert "7" in done.err, done
    containerd.must("task", "kill", "--signal=SIGKILL", runs)
    containerd.becomes(runs, "STOPPED")


def test_shim_is_killed(containerd: Containerd) -> None:
    """containerd has `delete` clean up: no process, no cgroup, no mount is left."""
    name = containerd.box("sh", "-c", "sleep 1000 & sleep 1000; true")
    pid = containerd.pid(name)
    os.kill(containerd.shim_of(pid), signal.SIGKILL)
    wait_for("the end of the container", lambda: not shims.alive(pid))
    wait_for("no task", lambda: not containerd.row(name) or containerd.row(name)[1] == "STOPPED")
    containerd.ctr("task", "rm", "--force", name)
    wait_for(
        "no cgroup", lambda: not Path("/sys/fs/cgroup", containerd.namespace, name).exists() or not shims.is_ours()
    )
    # The other containerd, in another worker, has the same names.
    assert f"{containerd.namespace}/{name}/rootfs" not in Path("/proc/self/mountinfo").read_text()
    assert containerd.once("echo", "well").out == "well\n"


@pytest.mark.ours("with it ctr loses the output of some: the exit comes before ctr has read it")
def test_many_at_once(containerd: Containerd) -> None:
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        found = list(pool.map(lambda n: containerd.once("sh", "-c", f"echo {n}; exit {n}"), range(20)))
    assert [done.code for done in found] == list(range(20)), [done for done in found if done.code > 20]
    silent = [number for number, done in enumerate(found) if not done.out]
    assert len(silent) <= 2, silent
    for number in silent:  # ctr had not begun to read 0.13 s after the exit
        found[number] = containerd.once("sh", "-c", f"echo {number}; exit {number}")
    assert [done.out for done in found] == [f"{n}\n" for n in range(20)]


def test_many_execs_at_once(containerd: Containerd) -> None:
    name = containerd.box()

    def one(number: int) -> Done:
        return containerd.ctr("task", "exec", f"--exec-id=e{number}", name, "sh", "-c", f"exit {number}")

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        assert [done.code for done in pool.map(one, range(20))] == list(range(20))


def test_nothing_is_left(containerd: Containerd) -> None:
    """After a life there is no shim, no socket and no bundle."""
    name = containerd.box()
    bootstrap = containerd.work / "state/io.containerd.runtime.v2.task" / containerd.namespace / name
    address = shim_address(bootstrap)
    assert os.path.exists(address)
    containerd.remove(name)
    wait_for("the end of the shim", lambda: not containerd.shims())
    assert not list((containerd.work / "state/io.containerd.runtime.v2.task").glob("*/*"))
    assert not os.path.exists(address), "the socket is gone with its shim"


def shim_address(bundle: Path) -> str:
    """The path of the socket that containerd has noted in a bundle: 2.x in bootstrap.json, 1.6 in address."""
    noted = bundle / "bootstrap.json"
    address = json.loads(noted.read_text())["address"] if noted.exists() else (bundle / "address").read_text()
    return str(address).removeprefix("unix://")
