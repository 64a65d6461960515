"""The conversation with the init, and the undoing: with an init that is a thread of the test."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyrunc import log
from pyrunc.errors import INIT_FAILED, PyruncError
from pyrunc.libcontainer.kernel import interrupts, native
from pyrunc.libcontainer.launch import handlers, launch
from pyrunc.libcontainer.launch.init_process import InitProcess
from pyrunc.libcontainer.launch.model import Launch
from pyrunc.libcontainer.plan import wire
from pyrunc.libcontainer.plan.host import HostFacts
from pyrunc.libcontainer.plan.model import LaunchPlan, Step
from pyrunc.libcontainer.plan.options import LaunchOptions
from tests.support.launches import Init, launched, message
from tests.support.records import spec

READY = Step("ready", "ready")


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """Restore the signal handlers afterwards, since a launch sets some."""
    numbers = (signal.SIGCHLD, signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The arguments with which the handler of `prlimit` was called; resource 99 fails."""
    calls: list[Any] = []

    def prlimit(launched: Launch, *args: int) -> None:
        calls.append(args)
        if args[0] == 99:
            raise OSError(errno.EPERM, "x")

    monkeypatch.setitem(handlers.HANDLERS, "prlimit", prlimit)
    return calls


def sends(*words: Any) -> Callable[[int], None]:
    """An init that sends one message."""

    def run(sync: int) -> None:
        native.send(sync, message(*words))

    return run


def limit(resource: int) -> Step:
    return Step("process", "prlimit", (resource, 1, 2), f"/process/rlimits/{resource}")


@pytest.mark.parametrize(("whats", "heard_before"), [(("maps", "limits"), "A"), (("limits",), ""), ((), "")])
def test_what_can_wait_is_done_after_the_request_for_which_the_init_waits(
    tmp_path: Path, done: list[Any], whats: tuple[str, ...], heard_before: str
) -> None:
    made = launched(tmp_path, READY, served={"maps": (limit(1),), "limits": (limit(2),)})
    order: list[str] = []

    def talk(sync: int) -> None:
        for what in whats:
            native.send(sync, message(wire.REQUEST, what))
            native.recv(sync, 10)
        native.send(sync, message(wire.READY))

    init = Init(made, talk)
    launch.serve(made, "maps", lambda: order.append("A" * len(done)))
    init.join()
    assert order == [heard_before]
    made.init.close_sync()


def test_serve_does_not_repeat_what_has_been_carried_out(tmp_path: Path, done: list[Any]) -> None:
    made = launched(tmp_path, READY, served={"maps": (limit(1),), "limits": (limit(2),)})

    def talk(sync: int) -> None:
        for what in ("maps", "limits"):
            native.send(sync, message(wire.REQUEST, what))
            assert native.recv(sync, 10)
        native.send(sync, message(wire.READY))

    init = Init(made, talk)
    launch.serve(made, carried_out="maps")
    init.join()
    assert done == [(2, 1, 2)]
    made.init.close_sync()


def test_serve_answers_each_request_after_its_steps(tmp_path: Path, done: list[Any]) -> None:
    made = launched(tmp_path, READY, served={"limits": (limit(1), limit(2)), "ready": (limit(3),)})
    heard = []

    def talk(sync: int) -> None:
        for what in ("limits", "nothing"):
            native.send(sync, message(wire.REQUEST, what))
            heard.append((native.recv(sync, 10)[0], len(done)))
        native.send(sync, message(wire.READY))
        heard.append((native.recv(sync, 10)[0], len(done)))

    init = Init(made, talk)
    launch.serve(made)
    assert done == [(1, 1, 2), (2, 1, 2), (3, 1, 2)]
    assert heard == [(b"A", 2), (b"A", 2)], "READY is for the caller to answer"
    made.answer()
    init.join()
    assert heard[-1] == (b"A", 3)
    assert made.receive() is None
    made.init.close_sync()


def test_an_error_names_the_step(tmp_path: Path) -> None:
    step = Step("namespaces", "hostname", ("x",), "/hostname")
    for number, name in ((1, "hostname"), (wire.NO_STEP, "")):
        made = launched(tmp_path, READY, step)
        init = Init(made, sends(wire.ERROR, "why", number, errno.EPERM))
        with pytest.raises(PyruncError) as caught:
            launch.serve(made)
        assert caught.value.message == INIT_FAILED + "why"
        assert (caught.value.step, caught.value.errno) == (name, errno.EPERM)
        init.join()
        made.init.close_sync()


def test_a_step_that_fails_while_served_is_the_init_s_failure(tmp_path: Path, done: list[Any]) -> None:
    made = launched(tmp_path, READY, served={"limits": (limit(99), limit(1))})
    init = Init(made, sends(wire.REQUEST, "limits"))
    with pytest.raises(PyruncError) as caught:
        launch.serve(made)
    assert caught.value.line().startswith(INIT_FAILED + "setrlimit 99: operation not permitted (step prlimit, ")
    assert done == [(99, 1, 2)]
    init.join()
    made.init.close_sync()


def tried(resource: int, fallback_level: int = 0, *on_errno: int) -> Step:
    return Step("prepare", "prlimit", (resource, 1, 2), f"/limits/{resource}", fallback_level, on_errno)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([tried(1, 0, errno.EPERM), tried(2, 1), tried(3)], [1, 3]),
        ([tried(99, 0, errno.EPERM), tried(2, 1), tried(3)], [99, 2, 3]),
        ([tried(99, 0, errno.EPERM), tried(3), tried(2, 1)], [99, 3, 2]),
        ([tried(99, 0, errno.EPERM), tried(2, 1), tried(1, 0, errno.EPERM), tried(4, 1)], [99, 2, 1]),
        ([tried(99, 0, errno.EPERM), tried(99, 1, errno.EPERM), tried(5, 2)], [99, 99, 5]),
        ([tried(1, 0, errno.EPERM), tried(99, 1, errno.EPERM), tried(5, 2)], [1]),
    ],
)
def test_an_alternative_stands_in_for_what_failed(
    tmp_path: Path, done: list[Any], steps: list[Step], expected: list[int]
) -> None:
    launch.run_steps(launched(tmp_path), steps)
    assert [args[0] for args in done] == expected


@pytest.mark.parametrize(
    "steps", [[tried(99, 0, errno.ENOENT), tried(2, 1)], [tried(99, 0, errno.EPERM), tried(99, 1)]]
)
def test_a_failure_that_is_not_expected_ends_the_launch(tmp_path: Path, done: list[Any], steps: list[Step]) -> None:
    with pytest.raises(PyruncError) as caught:
        launch.run_steps(launched(tmp_path), steps)
    assert caught.value.errno == errno.EPERM
    assert 2 not in [args[0] for args in done]


def test_an_init_that_dies_is_told_from_its_status(tmp_path: Path) -> None:
    made = launched(tmp_path, READY)
    init = Init(made, lambda sync: None)
    child = subprocess.Popen(["sleep", "60"])
    made.init.pid, made.init.pidfd = child.pid, os.pidfd_open(child.pid)
    child.kill()
    with pytest.raises(PyruncError, match="killed by signal 9"):
        launch.serve(made)
    child.returncode = -9  # reaped already
    init.join()
    made.init.close_sync()


def test_an_init_that_died_before_the_answer_is_told_too(tmp_path: Path) -> None:
    made = launched(tmp_path, READY)
    init = Init(made, sends(wire.READY))
    child = subprocess.Popen(["sh", "-c", "exit 3"])
    made.init.pid, made.init.pidfd = child.pid, os.pidfd_open(child.pid)
    launch.serve(made)
    init.join()
    with pytest.raises(PyruncError, match="exited with status 3"):
        made.answer()
    child.returncode = 3
    made.init.close_sync()


@pytest.fixture
def gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the handler of `prlimit` fail as for a process that is gone."""

    def prlimit(launched: Launch, *args: int) -> None:
        raise OSError(errno.ESRCH, "x")

    monkeypatch.setitem(handlers.HANDLERS, "prlimit", prlimit)


def dying(made: Launch, *command: str) -> subprocess.Popen[bytes]:
    """A process that takes the place of the launch's init and has ended."""
    child = subprocess.Popen(command)
    made.init.pid, made.init.pidfd = child.pid, os.pidfd_open(child.pid)
    assert native.poll([made.init.pidfd], 10_000)
    child.returncode = 0  # the launch reaps it
    return child


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("kill -KILL $$", "the init was killed by signal 9"),
        ("kill -SYS $$", "the init was killed by signal 31"),
        ("exit 3", "the init exited with status 3"),
    ],
)
@pytest.mark.usefixtures("gone")
def test_a_step_beside_an_init_that_has_ended_is_no_cause(tmp_path: Path, command: str, told: str) -> None:
    made = launched(tmp_path, READY)
    dying(made, "sh", "-c", command)
    with pytest.raises(PyruncError) as caught:
        launch.run_steps(made, [limit(7)], "prefix: ")
    line = caught.value.line()
    assert line.startswith(f"{INIT_FAILED}{told}; step prlimit failed too: setrlimit RLIMIT_NOFILE: no such process")
    assert "no such process: no such process" not in line
    assert made.init.pidfd == -1


@pytest.mark.usefixtures("gone")
def test_what_an_init_has_reported_before_it_ended_is_the_cause_of_a_step_s_failure(tmp_path: Path) -> None:
    made = launched(tmp_path, READY)
    init = Init(made, sends(wire.ERROR, "why", 0, errno.EPERM))
    init.join()
    dying(made, "true")
    with pytest.raises(PyruncError) as caught:
        launch.run_steps(made, [limit(7)])
    expected = INIT_FAILED + "why: operation not permitted; step prlimit failed too: setrlimit RLIMIT_NOFILE: no such"
    assert caught.value.line().startswith(expected)
    assert caught.value.step == "ready"
    made.init.kill()
    made.init.close_sync()


def test_a_process_that_is_gone_and_has_not_ended_yet_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long its end takes on a busy machine."""
    made = launched(tmp_path, READY)
    with subprocess.Popen(["sleep", "0.3"]) as child:
        made.init.pid, made.init.pidfd = child.pid, os.pidfd_open(child.pid)
        failure = PyruncError("x", step="write_map", errno=errno.ESRCH)
        monkeypatch.setattr(InitProcess, "is_ending", lambda init: True)
        assert "exited with status 0; step write_map failed too: x: no such" in made.cause_of(failure).line()
        child.returncode = 0


def test_a_step_s_failure_beside_a_living_init_is_told_alone(tmp_path: Path) -> None:
    made = launched(tmp_path, READY)
    with subprocess.Popen(["sleep", "60"]) as child:
        made.init.pid, made.init.pidfd = child.pid, os.pidfd_open(child.pid)
        for number in (errno.EPERM, errno.ESRCH):
            failure = PyruncError("x", step="write_map", errno=number)
            assert made.cause_of(failure) is failure
        child.kill()
    os.close(made.init.pidfd)


def test_undo_kills_reaps_and_removes(tmp_path: Path) -> None:
    made = launched(tmp_path)
    handlers.HANDLERS["state_dir"](made, made.options.state_dir)
    child = subprocess.Popen(["sleep", "60"])
    made.init.pid, made.init.pidfd = child.pid, os.pidfd_open(child.pid)
    made.undo()
    assert not os.path.exists(made.options.state_dir)
    with pytest.raises(ChildProcessError):
        os.waitpid(child.pid, os.WNOHANG)
    child.returncode = -9
    made.undo()
    os.close(made.state_dir_fd)


def _launch(tmp_path: Path, *prepare: Step, **more: Any) -> Launch:
    options = LaunchOptions(id="box", root=str(tmp_path), bundle=str(tmp_path), **more)
    first = Step("prepare", "state_dir", (options.state_dir,))
    return launch.create(LaunchPlan((first, *prepare), (READY,), {}), spec(), options, HostFacts())


def test_a_failed_launch_leaves_nothing_and_keeps_its_first_cause(
    tmp_path: Path, done: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(log, "warning", warnings.append)
    with pytest.raises(PyruncError) as caught:
        _launch(tmp_path, limit(1), limit(99), limit(2))
    assert caught.value.message == "setrlimit 99"
    assert isinstance(caught.value.__cause__, PermissionError)
    assert done == [(1, 1, 2), (99, 1, 2)]
    assert os.listdir(tmp_path) == []
    assert warnings == []


def test_a_failed_launch_still_writes_its_timeline(tmp_path: Path, done: list[Any]) -> None:
    (tmp_path / "root").mkdir()
    with pytest.raises(PyruncError):
        _launch(tmp_path / "root", limit(99), timeline=str(tmp_path / "trace"))
    assert '"name":"prlimit"' in (tmp_path / "trace").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_undoes_the_launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    def wait(*args: object) -> None:
        signal.raise_signal(number)  # to this thread: other threads of the tests have not blocked it
        interrupts.poll([], 0)

    monkeypatch.setitem(handlers.HANDLERS, "prlimit", wait)
    with pytest.raises(interrupts.Interrupted) as caught:
        _launch(tmp_path, limit(1))
    assert caught.value.exit_code == 128 + number
    assert os.listdir(tmp_path) == []


def test_an_ignored_signal_stays_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: list[Any]) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def wait(*args: object) -> None:
        signal.raise_signal(signal.SIGHUP)
        interrupts.poll([], 1)

    monkeypatch.setitem(handlers.HANDLERS, "prlimit", wait)
    monkeypatch.setattr(launch, "serve", lambda *_: None)
    made = _launch(tmp_path, limit(1))
    made.undo()
    os.close(made.state_dir_fd)


def test_the_undoing_goes_on_past_what_fails(tmp_path: Path, done: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part of it fails, and so do the descriptors that are closed first."""
    monkeypatch.setattr(launch, "serve", lambda *_: None)
    warnings: list[str] = []
    monkeypatch.setattr(log, "warning", warnings.append)

    def fail(self: object) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    parts: tuple[tuple[type, str], ...] = (
        (Launch, "_move_devices_back"), (Launch, "close_network"), (InitProcess, "close_sync"), (InitProcess, "kill"),
    )  # fmt: skip
    for owner, name in parts:
        made = _launch(tmp_path, limit(1))
        closed = os.open(os.devnull, os.O_RDONLY)
        os.close(closed)
        made.slots["x"] = closed  # EBADF
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, fail)
            made.rollback()
        assert os.listdir(tmp_path) == []
        assert "cannot allocate memory" in warnings.pop()
        os.close(made.state_dir_fd)
    assert warnings == []
