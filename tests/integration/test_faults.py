"""A fault at every system call of create, run, exec, start and delete, and of the init: lack of a resource, and
signals.

After each fault the command has truly succeeded, or gives the reason in one line and leaves nothing on the host; a
create of the same id works. `make test` tries a sample of the calls, LONG=1 a larger one, PYRUNC_TEST_EVERY_CALL=1 all.
"""

from __future__ import annotations

import errno
import functools
import importlib
import json
import os
import pkgutil
import platform
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import pyrunc
from tests.support import effort, faults
from tests.support.bundle import Bundle
from tests.support.faults import INIT, KILL, TERM, Outcome, Supervised
from tests.support.host import is_alive, wait_for
from tests.support.runtime import Runtime

pytestmark = [
    pytest.mark.own("the command runs in a fork of the test, or is the launcher"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers of system calls are those of x86-64"),
]

# What the poststop hook makes, which only the deletion of a container runs, not the undoing of a launch.
DELETED = "deleted"
EVERY_CALL = bool(os.environ.get("PYRUNC_TEST_EVERY_CALL"))
# How many calls are tried for each kind of fault and command.
SAMPLE = effort.times(6, 20)
# The init waits for the answer to its ready, and for the start: if it can't, it ends, and the container has stopped.
AFTER_READY = (f"number 45, of {INIT}", f"number 288, of {INIT}")
# The name of a file of the state directory without the directory.
BARE = re.compile(r"(?<![\w/.])\.?(state\.json|exec\.json|start\.sock)|[ \"](ledger|update|netns): ")
FAULTS = {
    **{name: getattr(errno, name) for name in ("EMFILE", "ENOSPC", "EROFS", "ENOMEM", "ENODEV", "EDQUOT")},
    "SIGKILL": KILL,
    "SIGTERM": TERM,
}


@pytest.fixture(scope="module", autouse=True)
def imported() -> None:
    """Import the modules that the commands import while they work: the test is not about the fork's own interpreter."""
    for module in pkgutil.walk_packages(pyrunc.__path__, "pyrunc."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


class Host:
    """The commands of one test, each in a fork, or as the launcher's program if the launcher is tested."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        given = os.environ.get("PYRUNC_TEST_RUNTIME")
        self.program = [given] if given else None
        self.err = runtime.work / "fault.err"

    def words(self, *arguments: str) -> list[str]:
        return ["--root", str(self.runtime.root), *arguments]

    @contextmanager
    def faulty(self, fault: int | str | None, at: int, *arguments: str) -> Iterator[Outcome]:
        """Run a command with a fault at a call. Processes that it leaves run until the end of the context."""
        supervised = Supervised(self.words(*arguments), self.err, fault, at, self.program)
        try:
            yield supervised.wait()
        finally:
            supervised.close()

    def attempt(self, fault: int | str | None, at: int, *arguments: str) -> Outcome:
        """The same for a command that leaves no process running that matters."""
        with self.faulty(fault, at, *arguments) as outcome:
            return outcome

    def call(self, *arguments: str) -> Outcome:
        """Run a command without a fault."""
        return faults.call(self.words(*arguments), self.err, self.program)

    def succeed(self, *arguments: str) -> None:
        """Run a command that must work and print nothing."""
        outcome = self.call(*arguments)
        assert (outcome.code, outcome.err) == (0, ""), outcome


@pytest.fixture
def host(runtime: Runtime) -> Host:
    return Host(runtime)


def points(calls: int, fault: str) -> Iterator[int]:
    """The calls to try, from 1 on: all, or a sample that differs from fault to fault."""
    step = 1 if EVERY_CALL else max(1, calls // SAMPLE)
    first = 1 if EVERY_CALL else 1 + list(FAULTS).index(fault) * step // len(FAULTS)
    return iter(range(first, calls + 1, step))


def check(outcome: Outcome, fault: int | str) -> bool:
    """Whether the command succeeded; AssertionError if its failure is not one line that gives the reason."""
    assert outcome.calls > 0
    for word in ("Traceback", "internal error", "Error:", "Exception"):
        assert word not in outcome.err, outcome
    errors = [line for line in outcome.err.splitlines() if "level=error" in line]
    if outcome.code == 0:
        assert not errors, outcome
        return True
    if fault == KILL:
        assert outcome.code == -signal.SIGKILL, outcome
        return False
    if fault == TERM and not errors and outcome.code in (-signal.SIGTERM, 128 + signal.SIGTERM):
        return False  # before there was anything to undo, or the process got the signal
    assert outcome.code > 0, outcome
    assert len(errors) == 1, outcome
    assert outcome.err.splitlines()[-1] == errors[0], outcome
    assert not BARE.search(errors[0]), outcome
    return False


def written(bundle: Bundle) -> Bundle:
    """A bundle with the usual steps, and hooks of the runtime."""
    bundle.args("touch", "/ran").namespace("network").namespace("cgroup")
    bundle.hook("createRuntime", "/bin/true")
    bundle.hook("poststop", "/usr/bin/touch", "touch", str(bundle.path / DELETED))
    bundle.write()
    return bundle


def cleaned(host: Host, id: str, fault: int | str) -> None:
    """Assert that a failed command leaves nothing. If it was killed, or failed after its container had ended, that is
    so after `delete --force`."""
    pid_file, ran = host.runtime.work / "pid", host.runtime.work / "bundle/rootfs/ran"
    deleted = host.runtime.work / "bundle" / DELETED
    if deleted.exists():
        pid_file.unlink(missing_ok=True)  # `run` has deleted the container; its caller removes the file
    if fault == KILL or ran.exists() or (fault == TERM and not host.err.read_text()):
        if ran.exists() or host.call("state", id).code == 0:
            pid_file.unlink(missing_ok=True)  # it was a container, and so its caller removes the file
        ran.unlink(missing_ok=True)
        outcome = host.call("delete", "--force", id)
        assert outcome.code == 0, outcome
    host.runtime.assert_nothing_left()
    assert not pid_file.exists()


def created(host: Host, id: str, pid_file: Path) -> None:
    """Assert that the container is created, by its state and its pid file."""
    outcome = host.call("state", id)
    assert outcome.code == 0, outcome
    state = json.loads((host.err.with_suffix(".out")).read_text())
    assert state["status"] == "created"
    assert pid_file.read_text() == str(state["pid"])


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("command", ["create", "run"])
def test_f8_a_fault_at_each_call_of_a_launch(host: Host, bundle: Bundle, command: str, name: str) -> None:
    fault = FAULTS[name]
    written(bundle)
    id = host.runtime.new_id()
    pid_file = host.runtime.work / "pid"
    words = [command, "--bundle", str(bundle.path), "--pid-file", str(pid_file), id]
    total = host.attempt(None, 0, *words)
    assert total.code == 0, total
    host.succeed("delete", "--force", id)
    pid_file.unlink()
    failed = 0
    for at in points(total.calls, name):
        (bundle.path / DELETED).unlink(missing_ok=True)
        try:
            with host.faulty(fault, at, *words) as outcome:
                succeeded = check(outcome, fault)
                if succeeded and command == "create" and not outcome.fired.endswith(AFTER_READY):
                    created(host, id, pid_file)
            if not outcome.fired:
                continue  # fewer calls than the time before
            if succeeded:
                if command == "create":
                    host.succeed("delete", "--force", id)
                host.runtime.assert_nothing_left()
                pid_file.unlink()
            else:
                failed += 1
                cleaned(host, id, fault)
                if failed % 4 == 1:
                    host.succeed("create", "--bundle", str(bundle.path), id)
                    host.succeed("delete", "--force", id)
        except AssertionError as error:
            raise AssertionError(f"{name} at call {at}: {outcome}\n{error}") from error
    assert failed > 0


@pytest.mark.parametrize("command", ["create", "run"])
def test_a11_a_signal_at_each_line_of_a_launch(host: Host, bundle: Bundle, command: str) -> None:
    """Between a call and the record of its effect, and in the middle of the undoing."""
    if host.program is not None:
        pytest.skip("the launcher's lines can't be traced")
    written(bundle)
    id = host.runtime.new_id()
    pid_file = host.runtime.work / "pid"
    words = host.words(command, "--bundle", str(bundle.path), "--pid-file", str(pid_file), id)
    total = faults.call_with_signal(words, host.err, signal.SIGTERM, 0)
    assert total.code == 0, total
    host.succeed("delete", "--force", id)
    pid_file.unlink()
    undone = 0
    for at in points(total.calls, "SIGTERM"):
        outcome = faults.call_with_signal(words, host.err, signal.SIGTERM, at)
        try:
            if check(outcome, TERM):
                pid_file.unlink()  # the signal came too late to end the command
                if command == "create":
                    host.succeed("delete", "--force", id)
                (bundle.rootfs / "ran").unlink(missing_ok=True)
            else:
                undone += bool(outcome.err)
                cleaned(host, id, TERM)
            host.runtime.assert_nothing_left()
        except AssertionError as error:
            raise AssertionError(f"SIGTERM at line {at}, {outcome}\n{error}") from error
    assert undone > 0


def has_ended(pid: int) -> bool:
    return not is_alive(pid)


@pytest.mark.parametrize("name", FAULTS)
def test_f8_a_fault_at_each_call_of_exec(host: Host, bundle: Bundle, name: str) -> None:
    fault = FAULTS[name]
    container = host.runtime.started(bundle.args("sleep", "1000"))
    pid_file = host.runtime.work / "pid"
    ran = bundle.rootfs / "ran"
    words = ["exec", "--pid-file", str(pid_file), container.id, "touch", "/ran"]
    before = host.runtime.left_over()
    total = host.attempt(None, 0, *words)
    assert total.code == 0, total
    pid_file.unlink()
    ran.unlink()
    failed = 0
    for at in points(total.calls, name):
        with host.faulty(fault, at, *words) as outcome:
            started = fault == KILL or pid_file.exists()
            if started and outcome.code > 0 and fault != TERM:
                # The command could not wait for its process, and kills it.
                ended = functools.partial(has_ended, int(pid_file.read_text()))
                wait_for("the end of the process", ended)
        if not outcome.fired:
            continue
        try:
            if check(outcome, fault):
                pid_file.unlink()
            else:
                failed += 1
                assert fault in (KILL, TERM) or outcome.code == 255
                if started and (fault != TERM or not outcome.err):
                    pid_file.unlink(missing_ok=True)
            ran.unlink(missing_ok=True)
            host.runtime.assert_nothing_left(before)
            assert not pid_file.exists()
            assert container.status == "running"
        except AssertionError as error:
            raise AssertionError(f"{name} at call {at}: {outcome}\n{error}") from error
    assert failed > 0 or not EVERY_CALL  # a sample may have only calls whose failure does no harm


@pytest.mark.parametrize("name", FAULTS)
def test_f8_a_fault_at_each_call_of_start(host: Host, bundle: Bundle, name: str) -> None:
    """Also the calls of the waiting init. After a failed start the container can be deleted."""
    fault = FAULTS[name]
    bundle.args("sleep", "1000").hook("poststart", "/bin/true").write()
    id = host.runtime.new_id()
    host.succeed("create", "--bundle", str(bundle.path), id)
    total = host.attempt(None, 0, "start", id).calls
    host.succeed("delete", "--force", id)
    for at in points(total, name):
        host.succeed("create", "--bundle", str(bundle.path), id)
        outcome = host.attempt(fault, at, "start", id)
        try:
            succeeded = check(outcome, fault)
            state = host.call("state", id)
            if succeeded:
                assert json.loads(host.err.with_suffix(".out").read_text())["status"] == "running"
            else:
                assert state.code == 0 or "does not exist" in state.err
            host.succeed("delete", "--force", id)
            host.runtime.assert_nothing_left()
        except AssertionError as error:
            raise AssertionError(f"{name} at call {at}: {outcome}\n{error}") from error


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("flags", [("--force",), ()], ids=["force", "created"])
def test_f8_a_fault_at_each_call_of_delete(host: Host, bundle: Bundle, flags: tuple[str, ...], name: str) -> None:
    """A failed delete can be repeated, and then nothing is left."""
    fault = FAULTS[name]
    written(bundle)
    id = host.runtime.new_id()
    host.succeed("create", "--bundle", str(bundle.path), id)
    total = host.attempt(None, 0, "delete", *flags, id).calls
    for at in points(total, name):
        host.succeed("create", "--bundle", str(bundle.path), id)
        outcome = host.attempt(fault, at, "delete", *flags, id)
        try:
            if not check(outcome, fault):
                again = host.call("delete", "--force", id)
                assert again.code == 0, again
            host.runtime.assert_nothing_left()
        except AssertionError as error:
            raise AssertionError(f"{name} at call {at}: {outcome}\n{error}") from error
