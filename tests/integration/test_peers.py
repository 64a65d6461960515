"""A8: the runtime and the init trust their peers, and the processes that they look at, no more than they have to."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Container, Runtime


def connect(container: Container) -> socket.socket:
    """A connection to the waiting init, as `start` makes it."""
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    here = os.open(container.runtime.root / container.id, os.O_PATH)
    peer.connect(f"/proc/self/fd/{here}/start.sock")
    os.close(here)
    return peer


@pytest.fixture
def waiting(runtime: Runtime, bundle: Bundle) -> Container:
    """A created container that prints a word when it is started."""
    return runtime.container(bundle.sh("echo started; sleep 99"))


def starts(container: Container) -> None:
    """Assert that the container has not begun yet, and that `start` begins it."""
    assert (container.status, container.output) == ("created", "")
    container.start()
    host.wait_for("its output", lambda: container.output == "started\n")


@pytest.mark.parametrize("count", [1, 8, 30])
def test_a8_peers_that_say_nothing_hold_no_start_up(waiting: Container, count: int) -> None:
    """A8: the init reads each connection, and waits for none."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(connect(waiting))
        starts(waiting)


@pytest.mark.parametrize("word", [b"", b"X", b"s", b"SS", b"S\0", b"S" + bytes(4000), b"\xff" * 60000])
def test_a8_what_is_not_the_word_starts_nothing(waiting: Container, word: bytes) -> None:
    """A8: only the one byte S starts the container."""
    with connect(waiting) as peer:
        peer.send(word)
        time.sleep(0.1)
        starts(waiting)


def test_a8_descriptors_from_a_peer_are_not_taken(waiting: Container) -> None:
    """A8: the init neither keeps them open nor passes them to the program."""
    given = waiting.runtime.work / "given"
    with connect(waiting) as peer, given.open("w") as file:
        socket.send_fds(peer, [b"X"], [file.fileno()] * 3)
        host.wait_for("the peer to be forgotten", lambda: is_closed(peer))
        assert not holds(waiting.pid, given)
    starts(waiting)
    assert not holds(waiting.pid, given)


def holds(pid: int, file: Path) -> bool:
    """Whether a process has a file open. It may close others meanwhile."""
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if os.path.samefile(link, file):
                return True
    return False


def is_closed(peer: socket.socket) -> bool:
    peer.settimeout(0.01)
    try:
        return peer.recv(10) == b""
    except TimeoutError:
        return False


@pytest.mark.parametrize("name", [") Z 1 (", "a\nb", "1 (x) R", "\x1cTgid:\t1"])
def test_a8_what_a_process_calls_itself(runtime: Runtime, bundle: Bundle, name: str) -> None:
    """A8: names with every character that separates fields and lines in files of /proc."""
    container = runtime.started(bundle.sh(f"printf '{name}' > /proc/self/comm; echo named; while :; do sleep 1; done"))
    host.wait_for("its output", lambda: container.output == "named\n")
    assert container.status == "running"
    assert container.pid in json.loads(runtime("ps", "--format", "json", container.id).out)
    assert str(container.pid) in runtime("ps", container.id).out
    assert runtime("exec", container.id, "echo", "x").out == "x\n"
    container.kill("KILL")
    container.wait()
    assert container.status == "stopped"


@pytest.mark.parametrize("name", ["a\nb", "cgroup.procs ", "..x", "-1", "\x1b[2J"])
def test_a8_cgroups_that_the_container_has_made(runtime: Runtime, bundle: Bundle, name: str) -> None:
    """A8: they may have any name; their files do not influence the terminal, and they are removed with the
    container.
    """
    bundle.namespace("cgroup").mount("/sys/fs/cgroup", "cgroup2", "cgroup", "rw")
    container = runtime.container(bundle.args("/bin/sh", "-c", 'mkdir "/sys/fs/cgroup/$0"; echo made; sleep 99', name))
    container.start()
    host.wait_for("its output", lambda: container.output == "made\n")
    assert json.loads(runtime("ps", "--format", "json", container.id).out)
    assert runtime("pause", container.id).code == 0
    assert runtime("resume", container.id).code == 0
    assert "\x1b" not in container.delete("--force").err


@pytest.mark.parametrize("kind", ["createRuntime", "createContainer"])
def test_a8_a_hook_that_writes_without_end(runtime: Runtime, bundle: Bundle, kind: str) -> None:
    """A8: only the end of its output is kept."""
    script = bundle.script("hook", "head -c 300000000 /dev/zero | tr '\\0' x; echo the end; exit 3")
    if kind == "createContainer":
        bundle.mount("/bin/hook", "bind", str(script), "bind")
    bundle.hook(kind, str(script)).write()
    before = runtime.left_over()
    command = runtime.background("create", "--bundle", bundle.path, runtime.new_id())
    most = 0
    while command.poll() is None:
        with contextlib.suppress(OSError, IndexError):
            most = max(most, int(Path(f"/proc/{command.pid}/statm").read_text().split()[1]))
        time.sleep(0.01)
    said = (runtime.work / "background.err").read_text()
    assert command.returncode == 1
    assert "the end" in said
    assert len(said) < 30000
    assert most * os.sysconf("SC_PAGESIZE") < 200_000_000
    runtime.assert_nothing_left(before)


def test_a8_the_table_of_ps_has_lines_of_processes_only(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """A8: a line of ps ends with a newline, and not with other characters that Python takes for the end of a line."""
    container = runtime.started(bundle.args("sleep", "99"))
    fake = tmp_path / "ps"
    line = f"%7d sleep\\342\\200\\250{container.pid} forged\\n"
    fake.write_text(f"#!/bin/sh\nprintf '  PID CMD\\n{line}' {container.pid}\n")
    fake.chmod(0o755)
    said = runtime("ps", container.id, env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}).out
    assert said == f"  PID CMD\n{container.pid:7} sleep\u2028{container.pid} forged\n"


class Impostor:
    """A process that listens on a container's start socket in place of its init.

    It accepts connections, and neither answers nor closes them; or not even that, and its queue has no room.
    """

    def __init__(self, container: Container, accepts: bool = True) -> None:
        self.path = container.runtime.root / container.id / "start.sock"
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        place = os.open(self.path.parent, os.O_PATH)
        self.listener.bind(f"/proc/self/fd/{place}/start.sock")
        os.close(place)
        self.listener.listen(0)
        self.heard: list[bytes] = []
        self.connections: list[socket.socket] = []
        self.thread = threading.Thread(target=self._serve, daemon=True)
        if accepts:
            self.thread.start()
        else:
            self.connections.append(connect(container))

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self.connections.append(self.listener.accept()[0])
                self.heard.append(self.connections[-1].recv(10))

    def end(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        if self.thread.is_alive():
            self.thread.join()
        for each in (self.listener, *self.connections):
            each.close()


@pytest.fixture
def impostor(waiting: Container) -> Iterator[Callable[..., Impostor]]:
    made: list[Impostor] = []

    def make(accepts: bool = True) -> Impostor:
        made.append(Impostor(waiting, accepts))
        return made[-1]

    yield make
    for each in made:
        each.end()


@pytest.mark.own("runc has a FIFO")
@pytest.mark.parametrize("state", ["stopped", "running"])
def test_who_listens_on_the_start_socket_does_not_make_a_container_created(
    waiting: Container, impostor: Callable[..., Impostor], state: str
) -> None:
    """In `state`, `start`, `kill` and `delete`. `list` asks only if there is a process with the container's pid."""
    if state == "stopped":
        os.kill(waiting.pid, signal.SIGKILL)
        waiting.wait()
    else:
        waiting.start()
        host.wait_for("its output", lambda: waiting.output == "started\n")
    false = impostor()
    assert waiting.status == state
    result = waiting.runtime("start", waiting.id)
    words = "a container that has stopped" if state == "stopped" else "an already running container"
    assert (result.code, f"cannot start {words}" in result.last_line) == (1, True)
    assert false.heard == []
    assert waiting.runtime("kill", waiting.id, "CONT").code == (state == "stopped")
    assert waiting.runtime("delete", waiting.id).code == (state == "running")
    assert waiting.runtime("delete", "--force", waiting.id).code == 0
    host.wait_for("the end", lambda: not host.processes_of(waiting.runtime.token))


@pytest.mark.own("runc has a FIFO")
@pytest.mark.parametrize("accepts", [True, False], ids=["silent", "full queue"])
def test_a_start_that_does_not_reach_the_init_is_an_error(
    waiting: Container, impostor: Callable[..., Impostor], accepts: bool
) -> None:
    """The init lives and waits, and another process listens in its place, which is told nothing and not waited for."""
    false = impostor(accepts)
    result = waiting.runtime("start", waiting.id)
    assert result.code == 1
    assert (
        f"init has not been started ({'another process listens at' if accepts else 'the queue of'}" in result.last_line
    )
    assert b"S" not in false.heard
    assert waiting.output == ""
    assert waiting.runtime("delete", "--force", waiting.id).code == 0
    host.wait_for("the end", lambda: not host.processes_of(waiting.runtime.token))


def start_of_a_stopped_init(waiting: Container) -> subprocess.Popen[bytes]:
    """A `start` that has connected to its init, which is stopped."""
    os.kill(waiting.pid, signal.SIGSTOP)
    command = waiting.runtime.background("start", waiting.id)
    host.wait_for("the start to connect", lambda: has_connected(command.pid))
    return command


@pytest.mark.own("runc has a FIFO")
def test_a_stopped_init_is_waited_for(waiting: Container) -> None:
    """SIGSTOP is no end: the start goes on when the init does, as with runc."""
    command = start_of_a_stopped_init(waiting)
    os.kill(waiting.pid, signal.SIGCONT)
    assert command.wait() == 0
    host.wait_for("its output", lambda: waiting.output == "started\n")


@pytest.mark.own("runc has a FIFO")
def test_a_start_ends_with_the_stopped_init_that_it_waits_for(waiting: Container) -> None:
    command = start_of_a_stopped_init(waiting)
    os.kill(waiting.pid, signal.SIGKILL)
    assert command.wait() == 1
    assert "the init was killed before it executed the" in (waiting.runtime.work / "background.err").read_text()


def has_connected(pid: int) -> bool:
    """Whether a `start` waits for its init. It sleeps nowhere else with a socket."""
    try:
        links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir() if int(link.name) > 2]
    except FileNotFoundError:
        return False
    stat = Path(f"/proc/{pid}/stat").read_text()
    return any(link.startswith("socket:") for link in links) and stat.rpartition(")")[2].split()[0] == "S"
