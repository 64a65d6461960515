"""Commands on one container, each within a step of the other: both end as they would one after the other."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Container, Runtime
from tests.support.stopped import Beside, Stopped

pytestmark = pytest.mark.own("a fault is built into pyrunc")

PF_EXITING = 0x4


@pytest.fixture
def box(runtime: Runtime, bundle: Bundle) -> Container:
    """A running container."""
    return runtime.started(bundle.args("sleep", "1000"))


def is_exiting(pid: int) -> bool:
    """Whether the kernel ends a process (proc_pid_stat(5), flags)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return bool(int(fields[6]) & PF_EXITING)


def test_exec_of_a_container_that_is_deleted_before_its_configuration_is_read(runtime: Runtime, box: Container) -> None:
    stopped = Stopped(runtime, "saved_config", "load", "exec", box.id, "true")
    box.delete("--force")
    assert stopped.go_on() == 255
    assert "exec failed: cannot exec in a stopped container" in stopped.message


def test_exec_of_a_container_whose_process_takes_long_to_end(runtime: Runtime, box: Container) -> None:
    """The first process of a pid namespace ends after all others are reaped; here one has a parent that is stopped.
    Until then nobody can join the namespaces."""
    parent = runtime.background("exec", box.id, "sleep", "1000")
    host.wait_for("both processes", lambda: len(json.loads(runtime("ps", "--format", "json", box.id).out)) == 2)
    stopped = Stopped(runtime, "launch.clone", "clone", "exec", box.id, "true")
    parent.send_signal(signal.SIGSTOP)
    try:
        os.kill(box.pid, signal.SIGKILL)
        host.wait_for("the exit to begin", lambda: is_exiting(box.pid))
        assert stopped.go_on() == 255
        assert "exec failed: cannot exec in a stopped container" in stopped.message
        result = runtime("exec", box.id, "true")
        assert (result.code, result.last_line.count("cannot exec in a stopped container")) == (255, 1), result
    finally:
        parent.send_signal(signal.SIGCONT)
        parent.wait(60)


@pytest.mark.parametrize(
    ("module", "name", "words"),
    [("cgroup.stats", "event", ["events", "--stats"]), ("cgroup.stats", "gather", ["events", "--stats"])],
)
def test_statistics_of_a_container_that_is_deleted(
    runtime: Runtime, box: Container, module: str, name: str, words: list[str]
) -> None:
    stopped = Stopped(runtime, module, name, *words, box.id)
    box.delete("--force")
    assert stopped.go_on() == 1
    assert f"container with id {box.id} is not running" in stopped.message


@pytest.mark.parametrize(
    ("module", "name", "words", "message"),
    [
        ("ownership", "hold", ["pause"], "container not running"),
        ("ownership", "hold", ["resume"], "container not paused"),
        ("state", "status", ["exec"], "cannot exec in a stopped container"),
        ("process", "send_signal", ["kill"], "container not running"),
        ("lookup", "take_lock", ["start"], "container does not exist"),
        ("lookup", "take_lock", ["update", "--pids-limit", "10"], "container does not exist"),
        ("state", "load", ["state"], "container does not exist"),
        ("state", "load", ["ps", "--format", "json"], "container does not exist"),
        ("deletion", "take_lock", ["delete"], "container does not exist"),
        ("saved_config", "load", ["verify"], "container not running"),
        ("verify.compare", "_compare", ["verify"], "container not running"),
    ],
)
def test_a_container_is_deleted_within_another_command(
    runtime: Runtime, box: Container, module: str, name: str, words: list[str], message: str
) -> None:
    arguments = [words[0], *words[1:], box.id, *(["true"] if words[0] == "exec" else [])]
    stopped = Stopped(runtime, module, name, *arguments)
    box.delete("--force")
    assert stopped.go_on() in (1, 255)
    assert message in stopped.message
    runtime.assert_nothing_left()


@pytest.mark.parametrize(
    ("module", "name"),
    [("lifecycle", "_reach_init"), ("lifecycle", "_send_start"), ("launch.lifecycle_hooks", "poststart")],
)
@pytest.mark.parametrize("words", [["delete"], ["delete", "--force"], ["start"], ["kill"]])
def test_another_command_within_start(
    runtime: Runtime, bundle: Bundle, module: str, name: str, words: list[str]
) -> None:
    box = runtime.container(bundle.args("sleep", "1000"))
    stopped = Stopped(runtime, module, name, "start", box.id)
    arguments = [*words, box.id, *(["KILL"] if words == ["kill"] else [])]
    other = Beside(runtime, arguments)
    other.give_time()
    code = stopped.go_on()
    done = other.process.wait(60)
    if words == ["delete", "--force"]:
        assert done == 0, other.log.read_text()
        assert runtime("state", box.id).code == 1
        runtime.assert_nothing_left()
        return
    assert (done == 0) == (words == ["kill"]), other.log.read_text()
    if words == ["kill"]:
        box.wait()
        assert code == 0 or "that has stopped" in stopped.message or "was killed before" in stopped.message
        assert box.status == "stopped"
    else:
        assert code == 0, stopped.message
        assert box.status == "running"
