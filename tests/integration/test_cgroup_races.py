"""Commands of two containers with one cgroup, each within a step of the other's command: neither harms the other
container, and nothing is left."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Container, Runtime
from tests.support.stopped import Beside, Stopped

pytestmark = [
    pytest.mark.skipif(not host.cgroup2_mount(), reason="needs a cgroup2 hierarchy"),
    pytest.mark.own("a fault is built into pyrunc"),
]


@pytest.fixture
def shared(runtime: Runtime, bundle: Bundle) -> Bundle:
    """The bundle of all containers: they have one cgroup."""
    bundle.linux["cgroupsPath"] = f"/{runtime.token}/shared"
    return bundle.args("sleep", "1000")


@pytest.fixture
def ended(runtime: Runtime, shared: Bundle) -> Container:
    """A container that has stopped. Without a pid namespace of its own, all in its cgroup is to be killed."""
    shared.linux["namespaces"] = [entry for entry in shared.linux["namespaces"] if entry["type"] != "pid"]
    container = runtime.started(shared)
    container.kill()
    container.wait()
    return container


def cgroup(runtime: Runtime) -> Path:
    return Path(f"{host.cgroup2_mount()}/{runtime.token}/shared")


def create(runtime: Runtime, bundle: Bundle) -> tuple[str, list[str]]:
    """The id of a new container, and the command that creates it."""
    bundle.write()
    id = runtime.new_id()
    return id, ["create", "--bundle", str(bundle.path), id]


def assert_lives(runtime: Runtime, id: str) -> None:
    """Assert that a container works, alone in its cgroup; delete it."""
    assert runtime("start", id).code == 0
    state = runtime.state(id)
    assert state["status"] == "running"
    assert (cgroup(runtime) / "cgroup.procs").read_text().split() == [str(state["pid"])]
    assert runtime("delete", "--force", id).code == 0
    runtime.assert_nothing_left()


@pytest.mark.parametrize(
    ("module", "name", "words"),
    [
        ("cgroup.files", "kill", ["delete"]),
        ("cgroup.files", "kill", ["delete", "--force"]),
        ("cgroup.files", "remove", ["delete"]),
        ("launch.ledger", "undo", ["delete"]),
        ("launch.ledger", "undo", ["delete", "--force"]),
        ("cgroup.files", "kill", ["kill", "--all", "KILL"]),
        ("cgroup.files", "signal_all", ["kill", "--all", "TERM"]),
    ],
)
def test_another_is_created_in_the_cgroup_of_one_that_has_ended(
    runtime: Runtime, shared: Bundle, ended: Container, module: str, name: str, words: list[str]
) -> None:
    options = [word for word in words[1:] if word.startswith("--")]
    rest = [word for word in words[1:] if not word.startswith("--")]
    id, command = create(runtime, shared)
    stopped = Stopped(runtime, module, name, words[0], *options, ended.id, *rest)
    other = Beside(runtime, command)
    other.give_time()
    assert stopped.go_on() == 0, stopped.message
    other.end()
    if words[0] == "kill":
        ended.delete()
    assert_lives(runtime, id)


def test_run_deletes_its_container_while_another_is_created_in_its_cgroup(runtime: Runtime, shared: Bundle) -> None:
    shared.args("true").write()
    first = runtime.new_id()
    stopped = Stopped(runtime, "cgroup.files", "remove", "run", "--bundle", str(shared.path), first)
    id, command = create(runtime, shared.args("sleep", "1000"))
    other = Beside(runtime, command)
    other.give_time()
    assert stopped.go_on() == 0, stopped.message
    other.end()
    assert_lives(runtime, id)


def test_a_pause_freezes_no_other_container(runtime: Runtime, shared: Bundle) -> None:
    """The one that it was to freeze ends, and another one is created in the cgroup."""
    first = runtime.started(shared)
    id, command = create(runtime, shared)
    stopped = Stopped(runtime, "cgroup.files", "freeze", "pause", first.id)
    first.kill()
    first.wait()
    other = Beside(runtime, command)
    other.give_time()
    stopped.go_on()
    if other.process.wait(60):  # it came after the pause, in the cgroup that stays frozen
        assert "container's cgroup unexpectedly frozen" in other.log.read_text()
        first.delete()
        assert runtime(*command).code == 0
    else:
        first.delete()
    assert_lives(runtime, id)


def test_a_resume_thaws_no_other_container(runtime: Runtime, shared: Bundle) -> None:
    """The one that it was to thaw is deleted, and another one with its cgroup is created and paused."""
    first = runtime.started(shared)
    assert runtime("pause", first.id).code == 0
    id, command = create(runtime, shared)
    stopped = Stopped(runtime, "cgroup.files", "thaw", "resume", first.id)
    other = Beside(runtime, ["delete", "--force", first.id], command, ["pause", id])
    other.give_time()
    stopped.go_on()
    other.end()
    assert runtime.state(id)["status"] == "paused"
    assert runtime("resume", id).code == 0
    assert_lives(runtime, id)


def test_an_update_changes_no_other_container(runtime: Runtime, shared: Bundle) -> None:
    first = runtime.started(shared)
    shared.linux["resources"] = {"unified": {"cgroup.max.depth": "3"}}
    id, command = create(runtime, shared)
    resources = runtime.work / "resources.json"
    resources.write_text(json.dumps({"unified": {"cgroup.max.depth": "7"}}))
    words = ["update", "--resources", str(resources), first.id]
    stopped = Stopped(runtime, "update.apply", "_write_limits", *words)
    first.kill()
    first.wait()
    other = Beside(runtime, command)
    other.give_time()
    stopped.go_on()
    other.end()
    assert (cgroup(runtime) / "cgroup.max.depth").read_text() == "3\n"
    first.delete()
    assert_lives(runtime, id)


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_cgroup_that_a_delete_has_left_to_a_create_goes_if_that_fails(
    runtime: Runtime, shared: Bundle, ended: Container, is_killed: bool
) -> None:
    id, command = create(runtime, shared.args("no-such-program"))
    stopped = Stopped(runtime, "launch.clone", "clone", *command)
    ended.delete()
    assert cgroup(runtime).is_dir()
    if is_killed:
        stopped.process.kill()
        stopped.process.wait()
        assert runtime("gc").code == 0
    else:
        assert stopped.go_on() == 1
        assert "no-such-program" in stopped.message
    runtime.assert_nothing_left()
    assert runtime("state", id).code == 1


def test_a_cgroup_that_its_maker_did_not_get_goes_if_the_other_create_fails(runtime: Runtime, shared: Bundle) -> None:
    _, command = create(runtime, shared.args("no-such-program"))
    maker = Stopped(runtime, "cgroup.claims", "_claim", *command)
    _, command = create(runtime, shared)
    other = Stopped(runtime, "launch.launch", "serve", *command)
    assert maker.go_on() == 1
    assert "container's cgroup is not empty" in maker.message
    assert other.go_on() == 1
    assert "no-such-program" in other.message
    runtime.assert_nothing_left()


def test_a_parent_that_another_process_makes_meanwhile_stays(runtime: Runtime, shared: Bundle) -> None:
    id, command = create(runtime, shared)
    stopped = Stopped(runtime, "cgroup.files", "_mkdir", *command)
    parent = cgroup(runtime).parent
    parent.mkdir()
    assert stopped.go_on() == 0, stopped.message
    assert runtime("delete", id).code == 0
    assert not cgroup(runtime).exists()
    parent.rmdir()


def test_another_is_created_in_the_cgroup_of_a_process_that_takes_long_to_end(runtime: Runtime, shared: Bundle) -> None:
    """The first process of a pid namespace ends after all others are reaped; here one has a parent that is stopped.
    Both have left the cgroup before that."""
    first = runtime.started(shared)
    parent = runtime.background("exec", first.id, "sleep", "1000")
    host.wait_for("both processes", lambda: len(json.loads(runtime("ps", "--format", "json", first.id).out)) == 2)
    parent.send_signal(signal.SIGSTOP)
    try:
        first.kill()
        host.wait_for("the cgroup to be empty", lambda: not (cgroup(runtime) / "cgroup.procs").read_text())
        id, command = create(runtime, shared)
        assert runtime(*command).code == 0
        assert first.status == "running", "it has ended"
        assert runtime("kill", "--all", first.id, "KILL").code == 0
        assert runtime("kill", "--all", first.id, "TERM").code == 0
        assert "container not running" in runtime("pause", first.id).err
    finally:
        parent.send_signal(signal.SIGCONT)
        parent.wait(60)
    first.wait()
    first.delete("--force")
    assert_lives(runtime, id)
