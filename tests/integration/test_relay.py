"""The relay of `run` and `exec` with a terminal (F1, F2, A3): whatever happens on the user's side, the container goes
on, the command waits for its end, and the terminal gets its settings back."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import shlex
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Runtime
from tests.support.terminals import Session, read_until

LINES = "i=0; while [ $i -lt 40 ]; do echo line$i; i=$((i+1)); sleep 0.02; done; echo done > /said; exit 6"
# More bytes than the pty and a pipe hold.
MUCH = "dd if=/dev/zero bs=1000 count=300 2>/dev/null | tr '\\0' x"


class Relayed:
    """A command with a terminal: `run`, or `exec` in a container without a terminal."""

    def __init__(self, runtime: Runtime, bundle: Bundle, command: str) -> None:
        self.runtime, self.bundle, self.command = runtime, bundle, command
        self.before: list[str] = []
        if command == "exec":
            self.box = runtime.started(bundle.args("sleep", "1000"))
            self.before = runtime.left_over()

    def argv(self, script: str) -> list[str]:
        if self.command == "exec":
            return self.runtime.argv("exec", "--tty", self.box.id, "sh", "-c", script)
        self.bundle.process["terminal"] = True
        self.bundle.sh(script).write()
        return self.runtime.argv("run", "--bundle", self.bundle.path, self.runtime.new_id())

    def __call__(self, script: str, **more: Any) -> Session:
        return Session(self.argv(script), self.runtime.environment(), **more)

    def said(self) -> str:
        """What the script has written to /said."""
        path = self.bundle.path / "rootfs/said"
        return path.read_text() if path.exists() else ""

    def until_said(self, text: str) -> None:
        host.wait_for(f"the container to say {text}", lambda: text in self.said())

    def ends(self, session: Session, code: int) -> None:
        """Assert that the command ends with this code, that the terminal has its settings back, and that nothing is
        left.
        """
        assert session.finish() == code
        assert session.after == session.before
        self.runtime.assert_nothing_left(self.before)


@pytest.fixture(params=["run", "exec"])
def relayed(request: pytest.FixtureRequest, runtime: Runtime, bundle: Bundle) -> Relayed:
    return Relayed(runtime, bundle, request.param)


@pytest.fixture
def run(runtime: Runtime, bundle: Bundle) -> Relayed:
    return Relayed(runtime, bundle, "run")


@pytest.fixture
def descriptors() -> Iterator[list[int]]:
    """Descriptors that are closed at the end."""
    fds: list[int] = []
    yield fds
    for fd in fds:
        os.close(fd)


# ---- F1: output that can't be relayed is dropped ----------------------------------------------------------------


def test_f1_the_reader_of_the_output_goes_away(relayed: Relayed) -> None:
    """`pyrunc run … | head -n1`."""
    read, write = os.pipe()
    session = relayed(LINES, streams={1: write})
    os.close(write)
    assert os.read(read, 5) == b"line0"
    os.close(read)
    relayed.ends(session, 6)
    assert relayed.said() == "done\n", "the container was not killed by a SIGPIPE of ours"


def no_reader(_: Path) -> int:
    read, write = os.pipe()
    os.close(read)
    return write


def no_peer(_: Path) -> int:
    ours, theirs = socket.socketpair()
    theirs.close()
    return ours.detach()


OUTPUTS: dict[str, Callable[[Path], int]] = {
    "a full disk": lambda _: os.open("/dev/full", os.O_WRONLY),
    "closed": lambda _: -1,
    "open as a path only": lambda _: os.open("/dev/null", os.O_PATH),
    "not writable": lambda _: os.open("/dev/null", os.O_RDONLY),
    "a pipe without a reader": no_reader,
    "a socket without a peer": no_peer,
}


@pytest.mark.parametrize("kind", OUTPUTS)
def test_f1_output_that_nobody_can_take(run: Relayed, runtime: Runtime, kind: str) -> None:
    output = OUTPUTS[kind](runtime.work)
    session = run(LINES, streams={1: output})
    if output >= 0:
        os.close(output)
    if kind == "a full disk":
        read_until(session.master, lambda text: b"no space left on device" in text)
    run.ends(session, 6)
    assert run.said() == "done\n"


def test_f1_output_beyond_the_limit_of_a_file_s_size(run: Relayed, runtime: Runtime) -> None:
    """SIGXFSZ, which the relay's write raises, does not reach the container. The limit lets pyrunc write its init."""
    out = runtime.work / "limited"
    with out.open("wb") as file:
        argv = run.argv(f"{MUCH}; echo done > /said; exit 6")
        shell = ["sh", "-c", 'ulimit -f 400; exec "$@"', "sh", *argv]
        session = Session(shell, runtime.environment(), streams={1: file.fileno()})
        text = read_until(session.master, lambda text: b"\n" in text)
    assert b"file too large" in text
    run.ends(session, 6)
    assert run.said() == "done\n"


def test_f1_sigpipe_from_outside_is_passed_on(run: Relayed) -> None:
    session = run("trap 'exit 9' PIPE; echo ready; while :; do sleep 0.02; done")
    read_until(session.master, lambda text: b"ready" in text)
    os.kill(session.pid, signal.SIGPIPE)
    run.ends(session, 9)


def test_f1_the_terminal_is_hung_up(relayed: Relayed, runtime: Runtime) -> None:
    """A closed window: the container ignores SIGHUP, and goes on to its end."""
    session = relayed("trap '' HUP; echo ready; i=0; while [ $i -lt 30 ]; do echo $i; i=$((i+1)); sleep 0.02; done; "
                      "echo done > /said")  # fmt: skip
    read_until(session.master, lambda text: b"ready" in text)
    os.close(session.slave)
    os.close(session.master)
    assert os.waitstatus_to_exitcode(os.waitpid(session.pid, 0)[1]) == 0
    assert relayed.said() == "done\n"
    runtime.assert_nothing_left(relayed.before)


@pytest.mark.parametrize("kind", ["closed", "empty", "not readable", "a path only", "no writer"])
def test_f1_input_that_can_t_be_read(run: Relayed, kind: str) -> None:
    """A container that does not read its input does not notice."""
    fd, writer = os.pipe()
    os.close(writer)
    if kind != "no writer":
        os.close(fd)
        flags = {"not readable": os.O_WRONLY, "a path only": os.O_PATH}
        fd = os.open("/dev/null", flags.get(kind, os.O_RDONLY))
    session = run("sleep 0.2; tty; exit 4", streams={0: -1 if kind == "closed" else fd})
    assert b"/dev/pts/0" in read_until(session.master, lambda text: b"pts/0\r\n" in text)
    run.ends(session, 4)
    os.close(fd)


# ---- F2: the user's side never delays the command ---------------------------------------------------------------


def test_f2_signals_get_through_while_nobody_reads(relayed: Relayed, descriptors: list[int]) -> None:
    read, write = os.pipe()
    descriptors += [read, write]
    session = relayed(
        f"trap 'echo got > /said; exit 4' TERM; {MUCH} & echo > /ready; while :; do sleep 0.02; done",
        streams={1: write},
    )
    ready = relayed.bundle.path / "rootfs/ready"
    host.wait_for("the container to run", ready.exists)
    host.wait_for("the pipe to be full", lambda: is_full(write))
    os.kill(session.pid, signal.SIGTERM)
    relayed.until_said("got")
    # The container has ended and nobody reads its last output: the second signal stops waiting for a reader.
    host.wait_for("the terminal to be restored", lambda: not session.is_raw())
    assert os.waitpid(session.pid, os.WNOHANG)[0] == 0
    os.kill(session.pid, signal.SIGTERM)
    relayed.ends(session, 4)


def pipe_holds(fd: int) -> int:
    """How many bytes a pipe holds (ioctl FIONREAD)."""
    return int.from_bytes(fcntl.ioctl(fd, 0x541B, bytes(4)), "little")


def is_full(fd: int) -> bool:
    """Whether a pipe takes no more. fd: its end for writing."""
    return not select.select([], [fd], [], 0)[1]


def test_f2_the_container_is_deleted_while_its_last_words_wait(run: Relayed, runtime: Runtime) -> None:
    """A stalled reader keeps the command, not the container; when it reads on, it gets all output."""
    read, write = os.pipe()
    session = run(f"{MUCH} & until test -e /go; do sleep 0.02; done; exit 3", streams={1: write})
    host.wait_for("the pipe to be full", lambda: is_full(write))
    os.close(write)
    held = pipe_holds(read)
    (run.bundle.path / "rootfs/go").touch()
    host.wait_for("the cgroup to be removed", lambda: not host.cgroups_of(runtime.token))
    host.wait_for("the state to be removed", lambda: not list(runtime.root.glob("[!:]*")))
    assert os.waitpid(session.pid, os.WNOHANG)[0] == 0
    text = b""
    while data := os.read(read, 65536):
        text += data
    assert text.count(b"x") >= held > 16_000, "what the pipe, the relay and the pty held"
    os.close(read)
    run.ends(session, 3)


@pytest.mark.parametrize("kind", ["pipe", "socket", "terminal"])
def test_f2_a_reader_that_stalls_gets_everything(run: Relayed, kind: str, descriptors: list[int]) -> None:
    if kind == "pipe":
        read, write = os.pipe()
    elif kind == "socket":
        one, other = socket.socketpair()
        read, write = one.detach(), other.detach()
    else:
        read = write = -1
    streams = {1: write} if write >= 0 else {}
    session = run("seq 1 60000; echo end", streams=streams)
    if write >= 0:
        os.close(write)
        descriptors.append(read)
    else:
        read = session.master
    time.sleep(1)
    text = read_until(read, lambda text: text.rstrip().endswith(b"end"))
    assert text.replace(b"\r", b"").split() == [b"%d" % number for number in range(1, 60001)] + [b"end"]
    run.ends(session, 0)


def test_f2_no_flag_of_the_user_s_streams_is_changed(run: Relayed, descriptors: list[int]) -> None:
    """O_NONBLOCK belongs to the open file description, which the shell and its other programs share."""
    read, write = os.pipe()
    given = os.pipe()
    descriptors += [read, write, *given]
    session = run("echo ready; read line; echo got $line", streams={0: given[0], 1: write})
    assert os.read(read, 5) == b"ready"
    for fd in (read, write, given[0], session.slave):
        assert os.get_blocking(fd)
    os.write(given[1], b"it\n")
    run.ends(session, 0)
    assert b"got it" in os.read(read, 100)


def test_f2_much_input_that_nobody_reads(relayed: Relayed, descriptors: list[int]) -> None:
    """100 kB stay in the pipe and are not read into memory; signals and output go on."""
    read, write = os.pipe()
    descriptors += [read, write]
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 1 << 20)
    session = relayed(
        "trap 'echo now; head -c 500000 | wc -c; exit 5' TERM; stty raw -echo; echo ready; "
        "while :; do sleep 0.02; done",
        streams={0: read},
    )
    read_until(session.master, lambda text: b"ready" in text)
    os.write(write, b"0123456789" * 50_000)  # not before: in canonical mode a terminal drops input that is not a line
    host.wait_for("the relay to stop reading", lambda: pipe_holds(read) < 450_000)
    os.kill(session.pid, signal.SIGTERM)
    assert b"500000" in read_until(session.master, lambda text: b"500000" in text)
    relayed.ends(session, 5)


def test_f2_output_held_by_the_interrupt_of_flow(run: Relayed) -> None:
    """^S holds the container's own terminal; ^Q lets it go on, and a signal gets through meanwhile."""
    # A shell runs its trap at once in `wait`; while a program runs, it waits for the program's end.
    writer = "seq 1 3000 & wait $!; wait $!"
    session = run(f"trap 'echo got > /said' USR1; echo ready; read line; {writer}; echo end; read line; exit 2")
    read_until(session.master, lambda text: b"ready" in text)
    host.wait_for("the terminal to be raw", session.is_raw)
    os.write(session.master, b"\x13go\r")
    os.kill(session.pid, signal.SIGUSR1)
    run.until_said("got")
    os.write(session.master, b"\x11")
    assert b"3000" in read_until(session.master, lambda text: b"end" in text)
    os.write(session.master, b"\r")
    run.ends(session, 2)


# ---- A3: the end of a terminal is not the end of the process ----------------------------------------------------


def test_a3_a_program_that_closes_its_terminal_is_waited_for(relayed: Relayed) -> None:
    session = relayed("exec >/dev/null 2>&1 </dev/null; sleep 1; echo done > /said; exit 5")
    relayed.ends(session, 5)
    assert relayed.said() == "done\n"


def test_a3_a_terminal_that_is_opened_again_is_read_again(relayed: Relayed) -> None:
    session = relayed(
        "echo one; exec >/dev/null 2>&1 </dev/null; sleep 0.3; echo two >/dev/pts/0; sleep 0.3; "
        "echo three >/dev/pts/0; exec 3</dev/pts/0; echo open > /said; read it <&3; echo got $it >/dev/pts/0"
    )
    text = read_until(session.master, lambda text: b"three" in text)
    assert text.replace(b"\r", b"").split() == [b"one", b"two", b"three"]
    relayed.until_said("open")
    os.write(session.master, b"input\r")
    assert b"got input" in read_until(session.master, lambda text: b"got input" in text)
    relayed.ends(session, 0)


def test_a3_a_window_that_changes_after_the_terminal_s_end(relayed: Relayed) -> None:
    session = relayed(
        "trap 'exit 7' TERM; exec >/dev/null 2>&1 </dev/null; echo closed > /said; while :; do sleep 0.02; done"
    )
    relayed.until_said("closed")
    for _ in range(5):
        session.set_size(50, 132)
        os.kill(session.pid, signal.SIGWINCH)
        time.sleep(0.02)
    os.kill(session.pid, signal.SIGTERM)
    relayed.ends(session, 7)


def test_a3_no_work_while_nobody_has_the_terminal_open(run: Relayed) -> None:
    session = run("exec >/dev/null 2>&1 </dev/null; echo closed > /said; until test -e /go; do sleep 0.05; done")
    run.until_said("closed")
    before = jiffies(session.pid)
    time.sleep(1)
    assert jiffies(session.pid) - before < os.sysconf("SC_CLK_TCK") // 5
    (run.bundle.path / "rootfs/go").touch()
    run.ends(session, 0)


def test_a3_no_work_while_input_waits_and_nobody_has_the_terminal_open(run: Relayed, descriptors: list[int]) -> None:
    """Input that does not fit into the pty is kept for a process that opens the terminal again."""
    read, write = os.pipe()
    descriptors += [read, write]
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 1 << 20)
    session = run(
        "stty raw -echo; echo ready; until test -e /go; do sleep 0.02; done; exec >/dev/null 2>&1 </dev/null; "
        "echo closed > /said; until test -e /on; do sleep 0.05; done; head -c 300000 </dev/pts/0 | wc -c > /said; "
        "exit 4",
        streams={0: read},
    )
    read_until(session.master, lambda text: b"ready" in text)
    os.write(write, b"0123456789" * 50_000)
    host.wait_for("the relay to stop reading", lambda: pipe_holds(read) < 450_000)
    (run.bundle.path / "rootfs/go").touch()
    run.until_said("closed")
    before = jiffies(session.pid)
    time.sleep(1)
    assert jiffies(session.pid) - before < os.sysconf("SC_CLK_TCK") // 5
    (run.bundle.path / "rootfs/on").touch()
    run.until_said("300000")
    run.ends(session, 4)


def jiffies(pid: int) -> int:
    """The processor time that a process has used (proc(5), utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@pytest.mark.parametrize("rest", ["", "sleep 100 & "])
def test_a3_the_last_words_are_seen(relayed: Relayed, rest: str) -> None:
    """All output from before the end is seen; a process that keeps the terminal open afterwards delays nothing."""
    session = relayed(f"{rest}seq 1 8000; exit 3")
    text = read_until(session.master, lambda text: text.endswith(b"8000\r\n"))
    assert [int(word) for word in text.split()] == list(range(1, 8001))
    assert session.finish() == 3
    assert session.after == session.before


# ---- the terminal is restored on every way out ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "QUIT"])
def test_the_terminal_is_restored_after_a_signal_in_the_foreground(relayed: Relayed, name: str) -> None:
    """The container gets the signal; the command's exit code is the container's."""
    session = relayed(f"trap 'exit 12' {name}; echo ready; while :; do sleep 0.02; done")
    read_until(session.master, lambda text: b"ready" in text)
    os.kill(session.pid, getattr(signal, "SIG" + name))
    relayed.ends(session, 12)


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "QUIT"])
def test_a_signal_during_the_start_undoes_it(run: Relayed, runtime: Runtime, name: str) -> None:
    """A startContainer hook hangs: the program does not run yet, and the command reacts to signals."""
    run.bundle.config["hooks"] = {"startContainer": [{"path": "/bin/sleep", "args": ["sleep", "100"]}]}
    session = run("true")
    host.wait_for("the hook to run", lambda: b"sleep\x00100\x00" in commands(runtime))
    number = getattr(signal, "SIG" + name)
    os.kill(session.pid, number)
    run.ends(session, 128 + number)


def commands(runtime: Runtime) -> bytes:
    """The command lines of the test's containers."""
    lines = []
    for path in host.cgroups_of(runtime.token):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a process or a cgroup that ends meanwhile
            for pid in (Path(path) / "cgroup.procs").read_text().split():
                lines.append(Path(f"/proc/{pid}/cmdline").read_bytes())
    return b"\n".join(lines)


@pytest.mark.parametrize("name", ["TERM", "QUIT"])
def test_a_signal_during_a_poststart_hook_undoes_it(run: Relayed, runtime: Runtime, name: str) -> None:
    mark = runtime.work / "hook"
    script = f"echo > {mark}; exec sleep 100"
    run.bundle.config["hooks"] = {"poststart": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}
    session = run("sleep 100")
    host.wait_for("the hook to run", mark.exists)
    number = getattr(signal, "SIG" + name)
    os.kill(session.pid, number)
    run.ends(session, 128 + number)


def test_stop_and_continue(relayed: Relayed) -> None:
    """SIGTSTP: the terminal has its settings while the command is stopped. SIGCONT: raw again, with the new size."""
    session = relayed("trap 'stty size > /said' WINCH; trap 'exit 0' TERM; echo ready; while :; do sleep 0.02; done")
    read_until(session.master, lambda text: b"ready" in text)
    host.wait_for("the terminal to be raw", session.is_raw)
    # If the command is the first process of its session, nobody could continue it: SIGTSTP has no effect on such a
    # group.
    os.kill(session.pid, signal.SIGTSTP)
    session.set_size(11, 22)
    time.sleep(0.2)
    host.wait_for("the terminal to be raw again", session.is_raw)
    os.kill(session.pid, signal.SIGCONT)
    relayed.until_said("11 22\n")
    os.kill(session.pid, signal.SIGTERM)
    relayed.ends(session, 0)


class Shell:
    """An interactive shell with job control on a terminal."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.session = Session(["bash", "--norc", "--noediting", "-i"], {**environment, "PS1": "", "HISTFILE": ""})

    def say(self, line: str) -> None:
        os.write(self.session.master, line.encode() + b"\n")

    def hear(self, text: str) -> bytes:
        return read_until(self.session.master, lambda heard: text.encode() in heard)

    def settings(self, name: str) -> bytes:
        """The output of stty, between marks that the command line itself does not have."""
        self.say(f"echo {name}-be''gin; stty -a; echo {name}-e''nd")
        return self.hear(f"{name}-end").partition(f"{name}-begin".encode())[2]


@pytest.fixture
def shell(runtime: Runtime) -> Iterator[Shell]:
    made = Shell(runtime.environment())
    yield made
    os.kill(made.session.pid, signal.SIGKILL)
    os.waitpid(made.session.pid, 0)
    os.close(made.session.master)
    os.close(made.session.slave)


def pid_of(runtime: Runtime, command: str) -> int:
    """The pid of the command under the shell."""
    found = []

    def look() -> bool:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                except (FileNotFoundError, ProcessLookupError):
                    continue
                if str(runtime.root).encode() in words and command.encode() in words:
                    found.append(int(entry.name))
        return bool(found)

    host.wait_for("the command to run", look)
    return found[0]


def test_job_control(relayed: Relayed, runtime: Runtime, shell: Shell) -> None:
    """kill -TSTP, bg, fg: the shell's terminal has usable settings, the container goes on, and gets keys again."""
    argv = relayed.argv("echo ready > /said; read line; echo got $line; exit 3")
    shell.say(shlex.join(argv) + "; echo code $?")
    relayed.until_said("ready")
    host.wait_for("the terminal to be raw", shell.session.is_raw)
    pid = pid_of(runtime, relayed.command)
    os.kill(pid, signal.SIGTSTP)
    shell.hear("Stopped")
    assert b" icanon" in shell.settings("stopped")
    shell.say("bg")
    time.sleep(0.5)
    assert b" icanon" in shell.settings("background")
    assert Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "Tt", "it is stopped again"
    shell.say("fg; echo code $?")
    host.wait_for("the terminal to be raw again", shell.session.is_raw)
    os.write(shell.session.master, b"words\r")
    text = shell.hear("code 3")
    assert b"got words" in text
    assert b" icanon" in shell.settings("afterwards")


def test_a_background_job_leaves_the_terminal_alone(relayed: Relayed, shell: Shell) -> None:
    """`pyrunc run … &`: it runs, shows its output, reads nothing, and leaves the shell's settings unchanged."""
    argv = relayed.argv("echo from the job; sleep 0.5; exit 3")
    shell.say(shlex.join(argv) + " &")
    shell.hear("from the job")
    assert b" icanon" in shell.settings("meanwhile")
    shell.say("wait $!; echo code $?")
    shell.hear("code 3")
    assert b" icanon" in shell.settings("afterwards")


def test_a_background_job_that_writes_is_stopped_with_tostop(relayed: Relayed, shell: Shell) -> None:
    shell.say("stty tostop")
    argv = relayed.argv("echo from the job; exit 3")
    shell.say(shlex.join(argv) + " &")
    time.sleep(0.3)
    shell.say("until jobs | grep -q Stopped; do sleep 0.1; done; echo is-st''opped")
    shell.hear("is-stopped")
    assert b" icanon" in shell.settings("meanwhile")
    shell.say("fg; echo code $?")
    assert b"from the job" in shell.hear("code 3")
    assert b" icanon" in shell.settings("afterwards")


# ---- standard streams that are no terminals, sizes ----------------------------------------------------------------


def test_input_from_a_pipe_reaches_the_container_and_keys_stay_signals(run: Relayed) -> None:
    read, write = os.pipe()
    session = run("trap 'exit 8' INT; read line; echo got $line; while :; do sleep 0.02; done", streams={0: read})
    os.write(write, b"piped\n")
    os.close(write)
    assert b"got piped" in read_until(session.master, lambda text: b"got piped" in text)
    assert not session.is_raw()
    os.write(session.master, b"\x03")
    run.ends(session, 8)
    os.close(read)


def test_input_from_a_file_and_output_to_a_file(run: Relayed, runtime: Runtime) -> None:
    source, target = runtime.work / "source", runtime.work / "target"
    source.write_bytes(b"".join(b"%d\n" % number for number in range(5000)) + b"\4")
    target.write_text("before\n")
    with source.open() as stdin, target.open("a") as stdout:
        session = run("stty -echo; sort -n | tail -n 1; exit 3", streams={0: stdin.fileno(), 1: stdout.fileno()})
    run.ends(session, 3)
    assert target.read_text().endswith("4999\n")
    assert target.read_text().startswith("before\n"), "appended, not overwritten"


def test_a_terminal_without_a_size_leaves_the_configured_one(run: Relayed) -> None:
    run.bundle.process["consoleSize"] = {"height": 12, "width": 34}
    session = run("stty size", size=(0, 0))
    assert b"12 34" in read_until(session.master, lambda text: b"\n" in text)
    run.ends(session, 0)


def test_a_storm_of_window_changes(run: Relayed) -> None:
    session = run("trap 'exit 7' TERM; echo ready; seq 1 20000; echo end; while :; do sleep 0.02; done")
    read_until(session.master, lambda text: b"ready" in text)
    for number in range(300):
        session.set_size(20 + number % 30, 80)
    assert b"20000" in read_until(session.master, lambda text: b"end" in text)
    session.set_size(77, 99)
    os.kill(session.pid, signal.SIGTERM)
    run.ends(session, 7)


def test_process_substitution(run: Relayed, runtime: Runtime) -> None:
    """bash's >(…) and <(…) are pipes."""
    argv = run.argv("read line; echo got $line; exit 3")
    out = runtime.work / "out"
    # Nobody waits for cat: the end of the session, which is a hang-up, may come before the words.
    line = f"{shlex.join(argv)} < <(echo words) > >(trap '' HUP; cat > {out})"
    session = Session(["bash", "-c", line], runtime.environment())
    assert session.finish() == 3
    host.wait_for("the output", lambda: "got words" in out.read_text())
