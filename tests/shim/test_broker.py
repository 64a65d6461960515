"""Containers that ask for the broker of their shim, by the annotation org.pyrunc.broker."""

from __future__ import annotations

import json
import os
import platform
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.shim import shims
from tests.shim.client import UNKNOWN, RpcError
from tests.shim.policies import BROKER, CONFIG, POLICIES, given, write
from tests.shim.shims import Place, Task, alive, children
from tests.support.host import wait_for

pytestmark = [
    pytest.mark.ours("it has no broker"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the names of the calls are those of x86-64"),
]

MKNOD = "cd /tmp; mknod null c 1 3 && echo made; mknod zero c 1 5; mknod kmsg c 1 11"
WAIT = "while ! [ -e /tmp/go ]; do sleep 0.1; done"
SAID = ["made", "mknod: zero: Operation not permitted", "mknod: kmsg: Operation not permitted"]


@pytest.fixture(autouse=True)
def policies() -> Iterator[None]:
    """The administrator's file."""
    with given():
        yield


def asking(place: Place, id: str, policy: str | None, *args: str, group: str = "", form: str = "2.3") -> Task:
    """A task whose container asks for a policy. It is not created."""
    annotations = {BROKER: policy} if policy is not None else {}
    bundle = place.bundle(
        id, *args, annotations=annotations | ({"io.kubernetes.cri.sandbox-id": group} if group else {})
    )
    bundle.mount("/tmp", "tmpfs", "tmpfs")
    bundle.write()
    return Task(place, id, place.connect(place.start(id, form)))


def running(place: Place, id: str, policy: str | None, *args: str, group: str = "") -> Task:
    task = asking(place, id, policy, *(args or ("sleep", "1000")), group=group)
    task.create()
    task.call("Start")
    return task


def brokers(task: Task) -> list[int]:
    """The brokers of a task's shim."""
    return shims.brokers(task.call("Connect")["shim_pid"])


def sockets(place: Place) -> list[str]:
    """The sockets of brokers of the place's shims."""
    found = []
    for address in place.shims:
        path = Path(address.removeprefix("unix://"))
        found += [name for name in os.listdir(path.parent) if name.startswith(path.name + ".")]
    return found


def log(place: Place) -> str:
    """What is in the shim's log now; it is taken out."""
    try:
        return os.read(place.log, 1 << 16).decode()
    except BlockingIOError:
        return ""


def until_logged(place: Place, text: str) -> None:
    """Wait for a text in the shim's log."""
    said = ""

    def is_said() -> bool:
        nonlocal said
        said += log(place)
        return text in said

    wait_for(f"{text!r} in the log", is_said)


def test_calls_are_carried_out_by_the_policy(place: Place) -> None:
    task = asking(place, "box", "nodes", "sh", "-c", MKNOD)
    given = (task.path / "config.json").read_bytes()
    task.create()
    out, err = task.out, task.err
    assert out is not None
    assert err is not None
    [broker] = brokers(task)
    waited = task.begin("Wait")
    task.call("Start")
    waited()
    assert (out.says(b"made").decode() + err.says(b"kmsg: Operation not permitted\n").decode()).splitlines() == SAID
    assert (task.path / "config.json").read_bytes() == given
    until_logged(place, "mknodat is refused with EPERM: the device c 1:11")
    assert sockets(place)
    task.call("Delete")
    wait_for("the end of the broker", lambda: not alive(broker))
    wait_for("the end of its socket", lambda: not sockets(place))
    assert "ended with exit code" not in log(place)


def test_a_pod_has_one_broker_and_another_after_a_change_of_the_file(place: Place) -> None:
    tasks = [running(place, "box", "nodes", group="box"), running(place, "two", "info", group="box")]
    assert len(brokers(tasks[0])) == 1
    write(POLICIES | {"new": {"mknod": {}}})
    tasks.append(running(place, "three", "new", group="box"))
    both = brokers(tasks[0])
    assert len(both) == 2
    for task, refused in zip(tasks, (["zero", "kmsg"], [], ["kmsg"]), strict=True):  # `info` leaves mknod to the kernel
        task.exec("e", "sh", "-c", f"{MKNOD}; echo end >&2")
        assert task.err is not None
        said = task.err.says(b"end").decode()
        assert [name for name in ("null", "zero", "kmsg") if name in said] == refused
    tasks[2].end()
    wait_for("the end of its broker", lambda: len(brokers(tasks[0])) == 1)
    tasks[1].end()
    tasks[0].end()
    wait_for("the end of the other", lambda: not any(map(alive, both)))


def test_containers_that_do_not_ask_have_none(place: Place) -> None:
    """Also where the name of the annotation is elsewhere, and in a pod's own process."""
    task = running(place, "box", None)
    assert not brokers(task)
    assert not (task.path / "config-broker.json").exists()
    bundle = place.bundle("two", annotations={"note": BROKER, "io.kubernetes.cri.sandbox-id": "box"})
    bundle.write()
    other = Task(place, "two", place.connect(place.start("two")))
    other.create()
    assert not brokers(other)
    third = asking(place, "three", "nodes")
    config = json.loads((third.path / "config.json").read_text())
    config["annotations"]["io.kubernetes.cri.container-type"] = "sandbox"
    (third.path / "config.json").write_text(json.dumps(config))
    third.create()
    assert not brokers(third)


@pytest.mark.parametrize(
    ("policy", "file", "said"),
    [
        ("none", POLICIES, "the annotation org.pyrunc.broker asks for policy none: there is no policy none"),
        ("--help", POLICIES, "asks for policy --help: there is no policy --help"),
        ("", POLICIES, "the annotation org.pyrunc.broker names no policy"),
        ("nodes", None, "asks for policy nodes: /etc/pyrunc/broker.json: no such file or directory"),
        (
            "nodes",
            {"nodes": {"read": {}}},
            "asks for policy nodes: read can't be brokered (/etc/pyrunc/broker.json:1 at",
        ),
    ],
)
def test_what_can_t_be_had_is_an_error_of_create(place: Place, policy: str, file: Any, said: str) -> None:
    if file is None:
        CONFIG.unlink()
    else:
        write(file)
    task = asking(place, "box", policy)
    with pytest.raises(RpcError) as caught:
        task.create()
    assert caught.value.code == UNKNOWN
    assert said in str(caught.value)
    assert not Path(shims.ROOT, shims.NAMESPACE, "box").exists()
    wait_for("the end of the broker", lambda: not brokers(task))
    assert not sockets(place)
    # The same shim creates it once that is put right.
    write(POLICIES)
    config = json.loads((task.path / "config.json").read_text())
    config["annotations"][BROKER] = "nodes"
    (task.path / "config.json").write_text(json.dumps(config))
    task.create()
    assert len(brokers(task)) == 1


def test_a_profile_with_an_agent_of_its_own_is_refused(place: Place) -> None:
    task = asking(place, "box", "nodes")
    config = json.loads((task.path / "config.json").read_text())
    config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent.sock"}
    (task.path / "config.json").write_text(json.dumps(config))
    with pytest.raises(RpcError, match="asks for policy nodes: the profile has a listenerPath already"):
        task.create()


def test_a_shim_that_is_killed_leaves_no_broker(place: Place) -> None:
    task = running(place, "box", "nodes")
    [broker] = brokers(task)
    agents = children(broker)
    assert agents
    shims.kill(task.call("Connect")["shim_pid"])
    wait_for("the end of the broker", lambda: not any(map(alive, [broker, *agents])))
    assert place.run("box", "delete", "-bundle", str(task.path)).returncode == 0
    assert not sockets(place)


def test_both_are_killed(place: Place) -> None:
    """`delete` removes the socket."""
    task = running(place, "box", "nodes")
    [broker] = brokers(task)
    shim = task.call("Connect")["shim_pid"]
    os.kill(shim, signal.SIGSTOP)
    shims.kill(broker)
    shims.kill(shim)
    assert sockets(place)
    assert place.run("box", "delete", "-bundle", str(task.path)).returncode == 0
    assert not sockets(place)


def test_a_broker_that_is_killed_is_started_again(place: Place) -> None:
    """The agents of its containers go on; an Exec and a Create start it."""
    task = running(place, "box", "nodes", "sh", "-c", f"{WAIT}; {MKNOD}", group="box")
    err = task.err
    [broker] = brokers(task)
    shims.kill(broker)
    until_logged(place, f"the broker {broker} ended with exit code 137")
    task.exec("e", "sh", "-c", MKNOD)
    assert task.out is not None
    assert err is not None
    assert task.out.says(b"made")
    task.exec("go", "touch", "/tmp/go")
    assert b"mknod: null: File exists" in err.says(b"kmsg: Operation not permitted")  # as the broker sees it
    [again] = brokers(task)
    assert again != broker
    shims.kill(again)
    until_logged(place, f"the broker {again} ended with exit code 137")
    running(place, "two", "nodes", group="box")
    assert len(brokers(task)) == 1


def test_an_agent_that_is_killed(place: Place) -> None:
    """The calls of its container fail with ENOSYS, which the log tells; those of others do not."""
    task = running(place, "box", "nodes", "sh", "-c", f"{WAIT}; {MKNOD}")
    [broker] = brokers(task)
    [agent] = children(broker)
    shims.kill(agent)
    until_logged(place, f"the agent {agent} was ended by signal 9")
    err = task.err
    assert err is not None
    task.exec("e", "touch", "/tmp/go")
    assert b"null: Function not implemented" in err.says(b"kmsg")


def test_the_shim_is_terminated(place: Place) -> None:
    """Its brokers end with it, its containers go on."""
    task = running(place, "box", "nodes")
    [broker] = brokers(task)
    shim = task.call("Connect")["shim_pid"]
    os.kill(shim, signal.SIGTERM)
    wait_for("the end of both", lambda: not alive(shim) and not alive(broker))
    assert not sockets(place)
    assert alive(task.pid)


def test_a_container_that_is_restored(place: Place) -> None:
    task = asking(place, "box", "nodes")
    with pytest.raises(RpcError, match="a restored container can't have a broker asked"):
        task.create(checkpoint=str(place.work))
