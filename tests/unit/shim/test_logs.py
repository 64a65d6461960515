"""Where output goes: URIs, log files, loggers as programs."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from pyrunc.errors import PyruncError
from pyrunc.shim import logs
from pyrunc.shim.logs import Logger
from tests.support.shimloop import ProbeLoop


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("", (logs.NULL, "", [])),
        ("/run/containerd/fifo/1/box-stdout", (logs.FIFO, "/run/containerd/fifo/1/box-stdout", [])),
        ("relative", (logs.FIFO, "relative", [])),
        ("/with?question%20mark", (logs.FIFO, "/with?question%20mark", [])),
        ("fifo:///run/x", (logs.FIFO, "/run/x", [])),
        ("file:///var/log/a%20b.log", (logs.FILE, "/var/log/a b.log", [])),
        ("file://host/log?x=1#part", (logs.FILE, "/log", [])),
        ("binary:///bin/logger", (logs.LOGGER, "/bin/logger", [])),
        ("binary:///bin/logger?a=1&b=&c", (logs.LOGGER, "/bin/logger", ["a", "1", "b", "", "c", ""])),
        ("binary:///bin/logger?a=1&a=2&=x&&", (logs.LOGGER, "/bin/logger", ["a", "1", "", "x"])),
        ("binary-v2:///l?k=a+b%26%3D%c3%a9&p=100%", (logs.STRICT_LOGGER, "/l", ["k", "a b&=é", "p", "100%"])),
        ("binary:///l?k=%zz% 1%+1", (logs.LOGGER, "/l", ["k", "%zz% 1% 1"])),
        ("binary:///l?k=%ff", (logs.LOGGER, "/l", ["k", "\udcff"])),
    ],
)
def test_a_uri_says_where_output_goes(uri: str, expected: tuple[str, str, list[str]]) -> None:
    assert logs.parse(uri) == expected


def test_an_unknown_scheme_is_an_error() -> None:
    with pytest.raises(PyruncError, match="the scheme must be fifo, file, binary or binary-v2, not npipe"):
        logs.parse("npipe://./pipe/x")


def test_a_log_file_is_made_with_its_directories_and_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "box.log"
    for line in (b"one\n", b"two\n"):
        fd = logs.open_file(str(path))
        os.write(fd, line)
        os.close(fd)
    assert path.read_bytes() == b"one\ntwo\n"
    assert path.stat().st_mode & 0o777 == 0o644 & ~_umask()


def _umask() -> int:
    before = os.umask(0)
    os.umask(before)
    return before


def test_a_log_file_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PyruncError, match=r"opening the log file .*/file/box.log: not a directory"):
        logs.open_file(str(tmp_path / "file" / "box.log"))


@pytest.mark.parametrize(("own", "blocking"), [("", (True, True)), ("read", (False, True)), ("write", (True, False))])
def test_only_the_shim_s_end_of_a_pipe_does_not_block(own: str, blocking: tuple[bool, bool]) -> None:
    ends = logs.open_pipe(own)
    assert (os.get_blocking(ends[0]), os.get_blocking(ends[1])) == blocking
    assert not any(os.get_inheritable(fd) for fd in ends)
    for fd in ends:
        os.close(fd)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_pipe_belongs_to_the_user_of_the_container() -> None:
    ends = logs.open_pipe("read", (1000, 1001))
    for fd in ends:
        assert (os.fstat(fd).st_uid, os.fstat(fd).st_gid) == (1000, 1001)
        os.close(fd)


READ_ALL = """
import os, sys
os.write(5, b"x")
os.close(5)
out = open(sys.argv[2], "wb")
for fd in (3, 4):
    while data := os.read(fd, 65536):
        out.write(data)
"""


class Trial:
    """A logger that is a Python program, and what became of it."""

    def __init__(self, loop: ProbeLoop, directory: Path, code: str, strict: bool = False) -> None:
        self.loop = loop
        self.out = directory / "out"
        script = directory / "logger"
        script.write_text(f"#!{sys.executable}\n{code}")
        script.chmod(0o755)
        self.answers: list[PyruncError | None] = []
        self.ends: list[float] = []
        self.logger = Logger(loop)
        self.logger.start(str(script), ["out", str(self.out)], ("box", "k8s.io"), (0, 0), strict, self.answers.append)

    def answer(self) -> PyruncError | None:
        self.loop.until(lambda: self.answers)
        assert len(self.answers) == 1
        return self.answers[0]

    def close(self) -> None:
        self.logger.close(lambda: self.ends.append(time.monotonic()))
        self.loop.until(lambda: self.ends)


def test_a_logger_gets_both_streams_up_to_the_end(loop: ProbeLoop, tmp_path: Path) -> None:
    trial = Trial(loop, tmp_path, READ_ALL, strict=True)
    assert trial.answer() is None
    os.write(trial.logger.stdout, b"out ")
    os.write(trial.logger.stderr, b"err")
    trial.close()
    assert trial.out.read_bytes() == b"out err"
    assert len(trial.ends) == 1


def test_a_logger_s_surroundings(loop: ProbeLoop, tmp_path: Path) -> None:
    """Its arguments, environment, descriptors and signals: nothing of the shim reaches it."""
    leaked, other = os.pipe()
    os.set_inheritable(leaked, True)
    code = """
import json, os, signal, sys
state = {"argv": sys.argv[1:2], "env": sorted(os.environ.items()), "fds": {}}
for name in os.listdir("/proc/self/fd"):
    try:
        state["fds"][name] = os.readlink("/proc/self/fd/" + name).split(":")[0]
    except OSError:
        pass
state["blocked"] = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
json.dump(state, open(sys.argv[2], "w"))
os.close(5)
os.read(3, 1)
"""
    trial = Trial(loop, tmp_path, code)
    assert trial.answer() is None
    os.close(leaked)
    os.close(other)
    import json

    state = json.loads(trial.out.read_text())
    trial.close()
    assert state["argv"] == ["out"]
    env = dict(state["env"])
    assert env.pop("LC_CTYPE", "C.UTF-8") == "C.UTF-8"  # Python's own
    assert env == {"CONTAINER_ID": "box", "CONTAINER_NAMESPACE": "k8s.io"}
    assert {fd: state["fds"][fd] for fd in "012345"} == {
        "0": "/dev/null", "1": "/dev/null", "2": "/dev/null", "3": "pipe", "4": "pipe", "5": "pipe",
    }  # fmt: skip
    assert not [fd for fd, target in state["fds"].items() if target == "pipe" and int(fd) > 5]
    assert state["blocked"] == []


@pytest.mark.parametrize("strict", [False, True])
def test_a_logger_that_ends_before_it_is_ready(loop: ProbeLoop, tmp_path: Path, strict: bool) -> None:
    """For binary:// an end of file means ready, as it always has; binary-v2:// wants a byte."""
    trial = Trial(loop, tmp_path, "", strict)
    failure = trial.answer()
    if strict:
        assert "has not said that it is ready" in str(failure)
    else:
        assert failure is None
    trial.close()


def test_a_logger_that_is_never_ready(loop: ProbeLoop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "READY_SECONDS", 0.1)
    trial = Trial(loop, tmp_path, "import time; time.sleep(100)")
    assert "was not ready after 0 s" in str(trial.answer())
    monkeypatch.setattr(logs, "END_SECONDS", 0.0)
    trial.close()


def test_a_logger_that_does_not_start(loop: ProbeLoop, tmp_path: Path) -> None:
    for path, args, expected in (
        (str(tmp_path / "absent"), [], "no such file or directory"),
        (str(tmp_path), [], "permission denied"),
        ("/bin/true", ["a\0b"], "invalid argument"),
    ):
        with pytest.raises(PyruncError, match=f"starting the logger {path}: {expected}"):
            Logger(loop).start(path, args, ("box", "ns"), (0, 0), False, lambda failure: None)


def test_a_logger_that_dies_is_told_of(loop: ProbeLoop, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    trial = Trial(loop, tmp_path, "import os; os.close(5); os.kill(os.getpid(), 9)")
    assert trial.answer() is None
    loop.until(lambda: trial.logger._ended)
    assert "has ended with 137 before the container" in capfd.readouterr().err
    with pytest.raises(BrokenPipeError):
        os.write(trial.logger.stdout, b"x")
    trial.close()


IGNORE = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: open(sys.argv[2], "a").write("term") and {end})
os.close(5)
while True:
    time.sleep(1)
"""


@pytest.mark.parametrize("end", ["os._exit(0)", "None"])
def test_a_logger_that_reads_on_is_ended(
    loop: ProbeLoop, tmp_path: Path, end: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logs, "END_SECONDS", 0.05)
    monkeypatch.setattr(logs, "TERM_SECONDS", 0.2 if end == "None" else 20.0)
    trial = Trial(loop, tmp_path, IGNORE.format(end=end))
    assert trial.answer() is None
    trial.close()
    if end != "None":  # else it may have been killed before its handler
        assert trial.out.read_text() == "term"
    assert ("it is killed" in capfd.readouterr().err) == (end == "None")


def test_a_logger_that_is_closed_before_it_is_ready(loop: ProbeLoop, tmp_path: Path) -> None:
    trial = Trial(loop, tmp_path, "import os; os.read(3, 1)")
    trial.close()
    assert trial.answers == []
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
