"""ps, pause and resume on real containers."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Container, Runtime

COUNTING = "echo $$; i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done"


def ticks(container: Container) -> int:
    """How many lines the container has written."""
    return container.output.count("\n")


def assert_stands_still(container: Container) -> None:
    """A frozen process writes nothing; a running one writes thirty lines in that time."""
    before = ticks(container)
    time.sleep(0.3)
    assert ticks(container) == before


@pytest.mark.purev2
def test_a_paused_container_stands_still_until_it_is_resumed(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.started(bundle.sh(COUNTING))
    host.wait_for("its output", lambda: ticks(container) > 1)
    assert runtime("pause", container.id).code == 0
    assert container.status == "paused"
    assert [item["status"] for item in json.loads(runtime("list", "--format", "json").out)] == ["paused"]
    assert_stands_still(container)
    assert runtime("resume", container.id).code == 0
    assert container.status == "running"
    before = ticks(container)
    host.wait_for("more output", lambda: ticks(container) > before)


def test_what_a_paused_container_refuses(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.started(bundle.sh(COUNTING))
    assert runtime("resume", container.id).last_line.count("container not paused") == 1
    assert runtime("pause", container.id).code == 0
    again = runtime("pause", container.id)
    assert (again.code, "container not running" in again.last_line) == (1, True)
    refused = runtime("exec", container.id, "true")
    assert (refused.code, "cannot exec in a paused container" in refused.last_line) == (255, True)
    assert runtime("delete", container.id).code == 1
    assert container.status == "paused"


def test_exec_that_ignores_the_pause_waits_for_the_resume(runtime: Runtime, bundle: Bundle) -> None:
    """The process is made in the frozen cgroup, as with runc."""
    container = runtime.started(bundle.sh(COUNTING))
    assert runtime("pause", container.id).code == 0
    command = runtime.background("exec", "--ignore-paused", container.id, "echo", "further")
    time.sleep(0.3)
    assert command.poll() is None
    assert runtime("resume", container.id).code == 0
    assert command.wait(60) == 0
    assert (runtime.work / "background.out").read_text() == "further\n"


def test_a_paused_container_is_not_started_however_often_that_is_tried(runtime: Runtime, bundle: Bundle) -> None:
    """Its init accepts no connection: one more than its queue takes would be waited for."""
    container = runtime.container(bundle.sh("echo begun"))
    assert runtime("pause", container.id).code == 0
    for _ in range(10):
        refused = runtime("start", container.id)
        assert (refused.code, "cannot start a container in the paused state" in refused.last_line) == (1, True)
    assert runtime("resume", container.id).code == 0
    assert container.finish() == "begun\n"


def test_a_paused_container_can_be_killed_and_deleted(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.started(bundle.sh(COUNTING))
    assert runtime("pause", container.id).code == 0
    container.kill("KILL")
    container.wait()
    assert container.status == "stopped"
    container.delete()
    assert runtime("pause", container.id).code == 1


def test_a_signal_reaches_a_paused_process_when_it_is_resumed(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.started(bundle.sh("trap 'echo got; exit 3' TERM; echo ready; while :; do sleep 0.01; done"))
    host.wait_for("its output", lambda: container.output == "ready\n")
    assert runtime("pause", container.id).code == 0
    container.kill("TERM")
    assert container.output == "ready\n"
    assert runtime("resume", container.id).code == 0
    container.wait()
    assert container.output == "ready\ngot\n"


def test_a_created_container_can_be_paused(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.container(bundle.sh("echo started; sleep 99"))
    assert runtime("pause", container.id).code == 0
    assert container.status == "paused"
    refused = runtime("start", container.id)
    assert (refused.code, "paused" in refused.last_line) == (1, True)
    assert runtime("resume", container.id).code == 0
    assert container.status == "created"
    container.start()
    host.wait_for("its output", lambda: container.output == "started\n")


def test_ps_tells_every_process_and_no_other(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.started(bundle.sh("sleep 98 & sleep 99 & wait"))
    others = host.wait_for("its children", lambda: found if len(found := host.children(container.pid)) == 2 else [])
    listed = json.loads(runtime("ps", "--format", "json", container.id).out)
    assert listed == sorted([container.pid, *others])
    runtime("exec", "--detach", "--pid-file", runtime.work / "pid", container.id, "sleep", "97")
    further = int((runtime.work / "pid").read_text())
    assert further in json.loads(runtime("ps", "-f", "json", container.id).out)
    table = runtime("ps", container.id).out.splitlines()
    assert table[0].split()[:2] == ["UID", "PID"]
    assert sorted(int(line.split()[1]) for line in table[1:]) == sorted([container.pid, *others, further])
    narrow = runtime("ps", container.id, "-e", "-o", "pid,args").out.splitlines()
    assert narrow[0].split() == ["PID", "COMMAND"]
    assert f"{container.pid} /bin/sh -c sleep 98 & sleep 99 & wait" in [line.strip() for line in narrow]


def test_ps_of_a_stopped_container_is_empty(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.started(bundle.args("true"))
    container.wait()
    assert runtime("ps", "--format", "json", container.id).out == "[]\n"
    assert len(runtime("ps", container.id).out.splitlines()) == 1


def test_ps_of_a_stopped_container_whose_processes_go_on(runtime: Runtime, bundle: Bundle) -> None:
    """Without a pid namespace of its own the other processes outlive the first."""
    bundle.linux["namespaces"] = [item for item in bundle.linux["namespaces"] if item["type"] != "pid"]
    container = runtime.started(bundle.sh("sleep 96 & echo $!"))
    container.wait()
    assert json.loads(runtime("ps", "--format", "json", container.id).out) == [int(container.output)]


@pytest.mark.parametrize("words", [["ps"], ["ps", "--format", "json"], ["pause"], ["resume"]])
def test_an_unknown_container(words: list[str], runtime: Runtime) -> None:
    result = runtime(*words, "nobody")
    assert (result.code, "does not exist" in result.last_line) == (1, True)


def test_a_container_without_a_cgroup(runtime: Runtime, bundle: Bundle) -> None:
    bundle.sh("sleep 99").write()
    id = runtime.new_id()
    created = runtime("--cgroup-manager", "disabled", "create", "--bundle", bundle.path, id)
    assert created.code == 0, created
    for words in (["pause"], ["ps", "--format", "json"]):
        result = runtime(*words, id)
        assert (result.code, "without a cgroup" in result.last_line) == (1, True)


def test_a_frozen_container_whose_freezer_others_hold_is_told_as_paused(runtime: Runtime, bundle: Bundle) -> None:
    """The kernel reports the status: an engine may freeze the cgroup itself."""
    container = runtime.started(bundle.sh(COUNTING))
    cgroup = Path(host.cgroups_of(runtime.token)[0])
    (cgroup / "cgroup.freeze").write_text("1")
    host.wait_for("it to be paused", lambda: container.status == "paused")
    assert runtime("resume", container.id).code == 0
    assert "frozen 0" in (cgroup / "cgroup.events").read_text()


def test_sigkill_of_pause_leaves_a_container_that_can_be_resumed(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.started(bundle.sh(COUNTING))
    freeze = Path(host.cgroups_of(runtime.token)[0]) / "cgroup.freeze"
    for _ in range(5):
        process = runtime.background("pause", container.id)
        time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert container.status in ("running", "paused")
        if freeze.read_text() == "1\n":
            host.wait_for("the freezer", lambda: container.status == "paused")
            assert runtime("resume", container.id).code == 0
    assert container.status == "running"
