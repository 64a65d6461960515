"""The streams of a process: a real process on one side, real FIFOs, files, loggers and ptys on the other."""

from __future__ import annotations

import array
import contextlib
import fcntl
import gc
import os
import resource
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrunc.errors import PyruncError
from pyrunc.shim import stdio as module
from pyrunc.shim.logs import Logger
from pyrunc.shim.pumps import Input, Output, Target
from pyrunc.shim.stdio import Stdio
from tests.support.host import open_descriptors
from tests.support.shimloop import ProbeLoop


class Trial:
    """A process with its streams: in the place of the container, with a runtime that does nothing more."""

    def __init__(
        self,
        loop: ProbeLoop,
        directory: Path,
        stdin: str,
        stdout: str,
        stderr: str,
        terminal: bool,
        input_later: bool = False,
    ) -> None:
        self.loop = loop
        self.directory = directory
        self.answers: list[PyruncError | None] = []
        self.stdio = Stdio(loop, (stdin, stdout, stderr), terminal, ("box", "default"))
        self.stdio.open(str(directory), self.answers.append, input_later)
        self.exits: list[float] = []
        self.ends: list[float] = []

    def ready(self) -> PyruncError | None:
        self.loop.until(lambda: self.answers)
        assert len(self.answers) == 1
        return self.answers[0]

    def start(self, script: str) -> subprocess.Popen[bytes]:
        assert self.ready() is None
        stdin, stdout, stderr = self.stdio.given
        process = subprocess.Popen(["/bin/sh", "-c", script], stdin=stdin, stdout=stdout, stderr=stderr)
        self.stdio.launched()
        assert self.stdio.given == (-1, -1, -1)
        return process

    def start_with_terminal(self, script: str) -> subprocess.Popen[bytes]:
        """As the runtime does it: the master by the console socket."""
        assert self.ready() is None
        master, slave = os.openpty()
        program = ["setsid", "--ctty", "/bin/sh", "-c", script]
        process = subprocess.Popen(program, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sender:
            with contextlib.chdir(os.path.dirname(self.stdio.console_socket)):
                sender.connect(os.path.basename(self.stdio.console_socket))
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [master]))]
            sender.sendmsg([b"/dev/ptmx"], rights)
        os.close(master)
        self.stdio.launched()
        assert not os.path.lexists(self.stdio.console_socket)
        return process

    def wait(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for the process, and for the end of its output."""
        self.loop.until(lambda: process.poll() is not None)
        self.stdio.exited(lambda: self.exits.append(time.monotonic()))
        self.loop.until(lambda: self.exits)
        return process.returncode

    def close(self) -> None:
        if not self.ends:
            self.stdio.close(lambda: self.ends.append(time.monotonic()))
            self.loop.until(lambda: self.ends)
        self.stdio.abort()


class Fifo:
    """A FIFO of containerd's, and its end of it."""

    def __init__(self, path: Path, flags: int) -> None:
        self.path = str(path)
        os.mkfifo(path)
        # Until the shim has opened it, a writer would find no reader.
        self.fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self.flags = flags | os.O_NONBLOCK

    def narrow(self) -> None:
        """Be a reader or a writer only, as soon as the shim has the other end."""
        fd = os.open(self.path, self.flags)
        os.close(self.fd)
        self.fd = fd

    def read(self) -> bytes:
        try:
            return os.read(self.fd, 1 << 20)
        except BlockingIOError:
            return b"(nothing)"

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@pytest.fixture
def fifos(loop: ProbeLoop, tmp_path: Path) -> Iterator[tuple[Fifo, Fifo, Fifo]]:
    made = (
        Fifo(tmp_path / "stdin", os.O_WRONLY),
        Fifo(tmp_path / "stdout", os.O_RDONLY),
        Fifo(tmp_path / "stderr", os.O_RDONLY),
    )
    yield made
    for fifo in made:
        fifo.close()


Three = tuple[Fifo, Fifo, Fifo]


def trial_of(loop: ProbeLoop, directory: Path, fifos: Three, terminal: bool = False) -> Trial:
    stdin, stdout, stderr = fifos
    trial = Trial(loop, directory, stdin.path, stdout.path, "" if terminal else stderr.path, terminal)
    for fifo in fifos:
        fifo.narrow()
    return trial


def test_all_three_streams(loop: ProbeLoop, tmp_path: Path, fifos: Three) -> None:
    trial = trial_of(loop, tmp_path, fifos)
    process = trial.start("read line; echo got $line; echo bad >&2; exit 3")
    os.write(fifos[0].fd, b"text\n")
    assert trial.wait(process) == 3
    assert (fifos[1].read(), fifos[2].read()) == (b"got text\n", b"bad\n"), "all is there before the exit"
    assert (fifos[1].read(), fifos[2].read()) == (b"", b"")
    trial.close()


def test_without_streams_there_is_dev_null(loop: ProbeLoop, tmp_path: Path) -> None:
    trial = Trial(loop, tmp_path, "", "", "", False)
    process = trial.start("test ! -t 0 && test /proc/self/fd/0 -ef /dev/null && test /proc/self/fd/2 -ef /dev/null")
    assert trial.wait(process) == 0
    trial.close()


@pytest.mark.parametrize("which", [0, 1, 2])
def test_one_stream_alone(loop: ProbeLoop, tmp_path: Path, fifos: Three, which: int) -> None:
    paths = [fifo.path if number == which else "" for number, fifo in enumerate(fifos)]
    trial = Trial(loop, tmp_path, paths[0], paths[1], paths[2], False)
    for fifo in fifos:
        fifo.narrow() if fifo is fifos[which] else None
    process = trial.start('cat > "%s"; echo out; echo err >&2' % (tmp_path / "copy"))
    if which == 0:
        os.write(fifos[0].fd, b"in")
        trial.stdio.close_stdin()
        fifos[0].close()
    assert trial.wait(process) == 0
    assert (tmp_path / "copy").read_bytes() == (b"in" if which == 0 else b"")
    if which:
        assert fifos[which].read() == (b"out\n", b"err\n")[which - 1]
    trial.close()


def test_the_last_byte_is_there_before_the_exit(loop: ProbeLoop, tmp_path: Path, fifos: Three) -> None:
    """60 KiB in one write, and at once the end: the loop has seen nothing of it before."""
    trial = trial_of(loop, tmp_path, fifos)
    process = trial.start("head -c 60000 /dev/zero")
    process.wait()
    trial.stdio.exited(lambda: trial.exits.append(1))
    trial.loop.until(lambda: trial.exits)
    assert len(fifos[1].read()) == 60000
    trial.close()


@pytest.mark.parametrize("script", ["echo last", "sleep 1000 & echo last"], ids=["ended", "held open"])
def test_the_exit_comes_when_readers_have_taken_the_last_output(
    loop: ProbeLoop, tmp_path: Path, fifos: Three, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    """ctr closes a FIFO at the exit, though it has not begun to read."""
    monkeypatch.setattr(module, "_LAST_WAIT", 1000.0)
    trial = trial_of(loop, tmp_path, fifos)
    process = trial.start(f"{script}; echo $!")
    process.wait()
    trial.stdio.exited(lambda: trial.exits.append(1))
    trial.loop.idle()
    assert not trial.exits
    text = fifos[1].read()
    assert text.startswith(b"last\n")
    trial.loop.until(lambda: trial.exits)
    if rest := text.split()[1:]:
        os.kill(int(rest[0]), 9)
    trial.close()


@pytest.mark.parametrize("leave", [False, True], ids=["stalls", "none"])
def test_without_a_reader_that_takes_it_the_exit_comes_too(
    loop: ProbeLoop, tmp_path: Path, fifos: Three, leave: bool
) -> None:
    trial = trial_of(loop, tmp_path, fifos)
    if leave:
        for fifo in fifos:
            fifo.close()
    before = len(open_descriptors())
    process = trial.start("echo out; echo err >&2")
    assert trial.wait(process) == 0
    if not leave:
        assert fifos[1].read() == b"out\n"
        assert len(open_descriptors()) <= before, "what counts the bytes is closed"
    trial.close()


def test_a_reader_that_stalls_delays_the_exit_and_does_not_prevent_it(
    loop: ProbeLoop, tmp_path: Path, fifos: Three, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "EXIT_SECONDS", 0.1)
    trial = trial_of(loop, tmp_path, fifos)
    process = trial.start("head -c 100000 /dev/zero")
    assert trial.wait(process) == 0
    assert "box: nobody takes the last output of stdout" in capfd.readouterr().err
    count = 0
    while count < 100_000:
        data = fifos[1].read()
        if data != b"(nothing)":
            count += len(data)
        loop.idle()
    trial.close()
    assert fifos[1].read() == b""
    assert count == 100_000, "what was left came after the exit"


def test_what_processes_that_are_left_write_comes_until_the_deletion(
    loop: ProbeLoop, tmp_path: Path, fifos: Three
) -> None:
    trial = trial_of(loop, tmp_path, fifos)
    os.mkfifo(tmp_path / "go")
    process = trial.start("(read x < %s; echo late) & echo first" % (tmp_path / "go"))
    assert trial.wait(process) == 0
    assert fifos[1].read() == b"first\n"
    with open(tmp_path / "go", "w") as go:
        go.write("\n")
    trial.close()
    assert fifos[1].read() == b"late\n"
    assert fifos[1].read() == b""


def test_the_deletion_does_not_wait_for_ever(
    loop: ProbeLoop, tmp_path: Path, fifos: Three, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "CLOSE_SECONDS", 0.2)
    trial = trial_of(loop, tmp_path, fifos)
    os.mkfifo(tmp_path / "go")
    process = trial.start("(read x < %s) & echo first" % (tmp_path / "go"))
    trial.wait(process)
    trial.close()
    assert "box: stdout and stderr did not end 0 s after the process" in capfd.readouterr().err
    assert fifos[1].read() == b"first\n"
    assert fifos[1].read() == b""
    with open(tmp_path / "go", "w") as go:
        go.write("\n")


def test_a_deletion_during_the_exit_ends_both(loop: ProbeLoop, tmp_path: Path, fifos: Three) -> None:
    trial = trial_of(loop, tmp_path, fifos)
    process = trial.start("head -c 100000 /dev/zero")
    loop.until(lambda: process.poll() is not None)
    trial.stdio.exited(lambda: trial.exits.append(1))
    trial.stdio.close(lambda: trial.ends.append(1))
    assert not trial.exits
    assert not trial.ends
    loop.until(lambda: fifos[1].read() and trial.ends)
    assert trial.exits
    trial.close()


def test_a_task_that_ends_while_containerd_is_away(loop: ProbeLoop, tmp_path: Path, fifos: Three) -> None:
    trial = trial_of(loop, tmp_path, fifos)
    for fifo in fifos:
        fifo.close()
    process = trial.start("echo nobody hears; echo nor this >&2")
    assert trial.wait(process) == 0
    found = []
    for fifo in fifos[1:]:
        fifo.fd = os.open(fifo.path, os.O_RDONLY | os.O_NONBLOCK)
        found.append(fifo.read())
    assert found == [b"nobody hears\n", b"nor this\n"]
    trial.close()


def test_a_file_gets_both_streams_in_order(loop: ProbeLoop, tmp_path: Path) -> None:
    log = tmp_path / "logs" / "box.log"
    for expected in (b"out\nerr\n", b"out\nerr\n" * 2):
        trial = Trial(loop, tmp_path, "", f"file://{log}", f"file://{log}", False)
        process = trial.start("echo out; sleep 0.2; echo err >&2")
        assert trial.wait(process) == 0
        assert log.read_bytes() == expected
        trial.close()


def test_a_plain_file_in_the_place_of_a_fifo(loop: ProbeLoop, tmp_path: Path) -> None:
    log = tmp_path / "plain"
    log.write_text("before\n")
    trial = Trial(loop, tmp_path, "", str(log), "/dev/null", False)
    process = trial.start("echo out; echo err >&2; head -c 300000 /dev/zero")
    assert trial.wait(process) == 0
    assert log.read_bytes() == b"before\nout\n" + bytes(300_000)
    trial.close()


LOGGER = """
import os, sys
path = sys.argv[sys.argv.index("to") + 1]
os.write(5, b"x")
os.close(5)
with open(path, "ab") as log:
    for fd, name in ((3, b"3:"), (4, b"4:")):
        while data := os.read(fd, 65536):
            log.write(name + data)
"""


def logger_uri(directory: Path, code: str = LOGGER, scheme: str = "binary") -> str:
    script = directory / "logger"
    script.write_text(f"#!{sys.executable}\n{code}")
    script.chmod(0o755)
    return f"{scheme}://{script}?to={directory}/log"


@pytest.mark.parametrize("scheme", ["binary", "binary-v2"])
def test_a_logger_has_read_all_when_the_deletion_is_over(loop: ProbeLoop, tmp_path: Path, scheme: str) -> None:
    uri = logger_uri(tmp_path, scheme=scheme)
    trial = Trial(loop, tmp_path, "", uri, uri, False)
    process = trial.start("head -c 50000 /dev/zero; echo bad >&2")
    assert trial.wait(process) == 0
    trial.close()
    written = (tmp_path / "log").read_bytes()
    assert written.replace(b"3:", b"") == bytes(50_000) + b"4:bad\n"


def test_a_logger_of_a_terminal(loop: ProbeLoop, tmp_path: Path) -> None:
    trial = Trial(loop, tmp_path, "", logger_uri(tmp_path), "", True)
    process = trial.start_with_terminal("echo shown")
    assert trial.wait(process) == 0
    trial.close()
    assert (tmp_path / "log").read_bytes() == b"3:shown\r\n"


def test_a_logger_that_fails_leaves_nothing_open(loop: ProbeLoop, tmp_path: Path) -> None:
    trial = Trial(loop, tmp_path, "", logger_uri(tmp_path, "", "binary-v2"), "", True)
    assert "has not said that it is ready" in str(trial.ready())
    assert not list(tmp_path.glob("*.sock"))
    logger = trial.stdio._logger
    assert logger is None
    loop.until(lambda: loop.watched == 0 and not loop._timers)


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (("", "{0}/absent", ""), "opening {0}/absent: no such file or directory"),
        (("", "{0}/stdout", "{0}/absent"), "opening {0}/absent: no such file or directory"),
        (("{0}/absent", "{0}/stdout", ""), "opening {0}/absent: no such file or directory"),
        (("{0}/plain", "{0}/stdout", ""), "opening {0}/plain: it is no FIFO"),
        (("", "{0}/a\0b", ""), "preparing the standard streams: invalid argument"),
        (("", "{0}/stdout", "{0}/a\0b"), "preparing the standard streams: invalid argument"),
        (("{0}/a\0b", "{0}/stdout", ""), "preparing the standard streams: invalid argument"),
        (("", "file://{0}/a%00b", ""), "preparing the standard streams: invalid argument"),
        (("", "nntp://x", ""), "the scheme must be"),
        (("", "binary://{0}/absent", ""), "starting the logger {0}/absent: no such file or directory"),
        (("", "file:///dev/null/x", ""), "opening the log file /dev/null/x: not a directory"),
    ],
)
@pytest.mark.parametrize("terminal", [False, True])
def test_what_cannot_be_opened_is_named_and_nothing_is_left(
    loop: ProbeLoop, tmp_path: Path, fifos: Three, paths: tuple[str, str, str], expected: str, terminal: bool
) -> None:
    if terminal and paths[2]:
        pytest.skip("a terminal has no standard error")
    (tmp_path / "plain").touch()
    stdin, stdout, stderr = [path.format(tmp_path) for path in paths]
    trial = Trial(loop, tmp_path, stdin, stdout, stderr, terminal)
    assert expected.format(tmp_path) in str(trial.ready())
    assert not list(tmp_path.glob("*.sock"))
    assert trial.stdio.given == (-1, -1, -1)


def test_a_terminal_moves_both_ways_and_has_a_size(loop: ProbeLoop, tmp_path: Path, fifos: Three) -> None:
    trial = trial_of(loop, tmp_path, fifos, terminal=True)
    process = trial.start_with_terminal("stty raw -echo; echo ready; read line; stty size; echo got $line")
    got = bytearray()

    def seen(text: bytes) -> bool:
        got.extend(fifos[1].read().replace(b"(nothing)", b""))
        return text in got

    loop.until(lambda: seen(b"ready"))
    trial.stdio.resize(132, 43)
    os.write(fifos[0].fd, b"typed\n")
    assert trial.wait(process) == 0
    seen(b"")
    assert b"43 132" in got
    assert b"got typed" in got
    assert fifos[1].read() == b"", "its reader is told of the end at the exit"
    trial.stdio.resize(1, 1)
    trial.close()


def test_a_size_beyond_a_terminal_s_is_the_largest(loop: ProbeLoop, tmp_path: Path, fifos: Three) -> None:
    trial = trial_of(loop, tmp_path, fifos, terminal=True)
    process = trial.start_with_terminal("read x")
    trial.stdio.resize(2**32 - 1, 70_000)
    size = fcntl.ioctl(trial.stdio._master, termios.TIOCGWINSZ, bytes(8))
    assert struct.unpack("HHHH", size)[:2] == (65535, 65535)
    process.kill()
    trial.wait(process)
    trial.close()


def test_without_a_terminal_there_is_nothing_to_resize(loop: ProbeLoop, tmp_path: Path) -> None:
    trial = Trial(loop, tmp_path, "", "", "", False)
    process = trial.start("true")
    trial.stdio.resize(80, 25)
    trial.wait(process)
    trial.close()


def test_the_end_of_a_terminal_s_input_hangs_it_up_after_its_output(
    loop: ProbeLoop, tmp_path: Path, fifos: Three
) -> None:
    trial = trial_of(loop, tmp_path, fifos, terminal=True)
    process = trial.start_with_terminal("trap 'exit 7' HUP; echo up; while :; do sleep 0.05; done")
    loop.until(lambda: fifos[1].read().startswith(b"up"))
    trial.stdio.close_stdin()
    fifos[0].close()
    assert trial.wait(process) == 7
    trial.close()


def test_the_console_socket_is_root_s_alone_at_a_path_of_any_length(loop: ProbeLoop, tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    trial = Trial(loop, deep, "", "", "", True)
    assert trial.ready() is None
    assert os.stat(trial.stdio.console_socket).st_mode & 0o777 == 0o600
    process = trial.start_with_terminal("exit 4")
    assert trial.wait(process) == 4
    trial.close()


def test_a_runtime_that_sends_no_master_is_an_error(loop: ProbeLoop, tmp_path: Path) -> None:
    trial = Trial(loop, tmp_path, "", "", "", True)
    assert trial.ready() is None
    with pytest.raises(PyruncError, match="receiving the pty's master from the runtime"):
        trial.stdio.launched()
    trial.stdio.abort()
    with socket.socket(socket.AF_UNIX) as sender:
        trial = Trial(loop, tmp_path, "", "", "", True)
        sender.connect(trial.stdio.console_socket)
        sender.send(b"no descriptor")
        with pytest.raises(PyruncError, match="the runtime has not sent the pty's master"):
            trial.stdio.launched()
    trial.stdio.abort()
    assert not list(tmp_path.glob("*.sock"))


def living() -> list[object]:
    """What is left of the streams of processes."""
    return [found for found in gc.get_objects() if type(found) in (Stdio, Output, Input, Target, Logger)]


@pytest.mark.parametrize("kind", ["fifos", "terminal", "stalled", "logger", "failure"])
def test_at_its_end_all_is_freed_without_the_collector(
    loop: ProbeLoop, tmp_path: Path, fifos: Three, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The launcher has no collector of cycles, and a shim serves for months."""
    monkeypatch.setattr(module, "EXIT_SECONDS", 0.1)
    stdin, stdout, stderr = [fifo.path for fifo in fifos]
    if kind == "failure":
        stderr = str(tmp_path / "absent")
    if kind == "logger":
        stdout = logger_uri(tmp_path)
    gc.collect()
    gc.disable()
    try:
        trial = Trial(loop, tmp_path, stdin, stdout, "" if kind == "terminal" else stderr, kind == "terminal")
        assert living()
        if kind == "failure":
            assert trial.ready() is not None
        elif kind == "terminal":
            trial.wait(trial.start_with_terminal("echo x; exit 3"))
        elif kind == "stalled":
            trial.wait(trial.start("head -c 200000 /dev/zero & sleep 0.2"))
            ends = trial.ends
            trial.stdio.close(lambda: ends.append(1))
            loop.until(lambda: fifos[1].read() and ends)
        else:
            trial.wait(trial.start("echo x; exit 3"))
        trial.close()
        trial.answers.clear()  # a failure has a traceback
        del trial
        assert not living()
    finally:
        gc.enable()


def test_a_terminal_with_a_logger_has_input(loop: ProbeLoop, tmp_path: Path, fifos: Three) -> None:
    trial = Trial(loop, tmp_path, fifos[0].path, logger_uri(tmp_path), "", True)
    process = trial.start_with_terminal("stty -echo; read line; echo got $line")
    os.write(fifos[0].fd, b"word\n")
    assert trial.wait(process) == 0
    trial.close()
    assert b"got word" in (tmp_path / "log").read_bytes()


@pytest.mark.parametrize("terminal", [False, True])
def test_an_end_of_input_that_is_asked_for_before_it_is_open(
    loop: ProbeLoop, tmp_path: Path, fifos: Three, terminal: bool
) -> None:
    stdin, stdout, _ = fifos
    trial = Trial(loop, tmp_path, stdin.path, stdout.path, "", terminal, input_later=True)
    script = "trap 'exit 7' HUP; echo up; while :; do sleep 0.05; done" if terminal else "echo up; cat; exit 7"
    process = trial.start_with_terminal(script) if terminal else trial.start(script)
    stdout.narrow()
    loop.until(lambda: stdout.read().startswith(b"up"))
    trial.stdio.close_stdin()
    trial.stdio.open_input()
    stdin.narrow()
    if not terminal:
        os.write(stdin.fd, b"all")
    stdin.close()
    assert trial.wait(process) == 7
    assert terminal or stdout.read() == b"all"
    trial.close()


@pytest.mark.parametrize("kind", ["fifos", "terminal", "logger", "file"])
def test_without_descriptors_it_fails_and_leaves_nothing(
    loop: ProbeLoop, tmp_path: Path, fifos: Three, kind: str
) -> None:
    """EMFILE at each descriptor in turn."""
    stdout = {"logger": logger_uri(tmp_path), "file": f"file://{tmp_path}/log"}.get(kind, fifos[1].path)
    stderr = "" if kind == "terminal" else fifos[2].path
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    failures = 0
    for more in range(30):
        before = set(open_descriptors())
        spare = [os.open("/dev/null", os.O_RDONLY) for _ in range(40)]
        limit = max(spare) + 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        for fd in spare[:more]:
            os.close(fd)
        try:
            trial = Trial(loop, tmp_path, fifos[0].path, stdout, stderr, kind == "terminal")
            loop.until(lambda answers=trial.answers: answers)  # type: ignore[misc]
        finally:
            for fd in spare[more:]:
                os.close(fd)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        failure = trial.answers[0]
        failures += failure is not None
        assert failure is None or "too many open files" in str(failure)
        if failure is None:
            trial.close()
        loop.until(lambda: loop.watched == 0)
        assert set(open_descriptors()) == before, more
        if failure is None:
            break
    assert failures >= 3


def test_a_hundred_processes_leave_no_descriptor(loop: ProbeLoop, tmp_path: Path, fifos: Three) -> None:
    before = len(open_descriptors())
    for _ in range(100):
        trial = Trial(loop, tmp_path, fifos[0].path, fifos[1].path, fifos[2].path, False)
        trial.wait(trial.start("echo x"))
        trial.close()
    assert len(open_descriptors()) == before
