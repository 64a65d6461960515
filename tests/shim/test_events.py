"""Events: their order, and containerd away."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from tests.shim import shims, wire
from tests.shim.shims import Place
from tests.support.host import wait_for


def test_order_of_many(place: Place) -> None:
    """Each container's events come in the order in which the shim made them."""
    task = place.running()
    for number in range(10):
        id = f"e{number}"
        task.exec(id, "true")
        task.call("Wait", exec_id=id)
        task.call("Delete", exec_id=id)
    task.end()
    place.events.wait("/tasks/delete", container_id=task.id)
    wanted = ["/tasks/create", "/tasks/start"]
    wanted += ["/tasks/exec-added", "/tasks/exec-started", "/tasks/exit"] * 10
    assert place.events.topics(task.id) == [*wanted, "/tasks/exit", "/tasks/delete"]


def test_create_tells_everything(place: Place) -> None:
    task = place.task("sleep", "1000")
    event = place.events.wait("/tasks/create", container_id=task.id)
    assert event["bundle"] == str(task.path)
    assert event["pid"] == task.pid
    assert event["io"]["stdout"] == str(task.path / "init.out")
    assert event["io"]["terminal"] is False


def test_containerd_is_away(place: Place) -> None:
    """Calls are answered meanwhile, and the events come in order when containerd is back."""
    task = place.running()
    place.events.wait("/tasks/start", container_id=task.id)
    place.events.away()
    for number in range(5):
        task.exec(f"e{number}", "true")
        task.call("Wait", exec_id=f"e{number}")
        task.call("Delete", exec_id=f"e{number}")
    waited = task.begin("Wait")
    task.call("Kill", signal=9)
    assert waited()["exit_status"] == 137
    place.events.back()
    place.events.wait("/tasks/exit", container_id=task.id, id=task.id)
    topics = place.events.topics(task.id)[2:]
    if shims.is_ours():  # the Go shim sends each event again by itself
        assert topics == ["/tasks/exec-added", "/tasks/exec-started", "/tasks/exit"] * 5 + ["/tasks/exit"]


def test_containerd_never_answers(place: Place) -> None:
    """A peer that takes the event and says nothing does not keep the shim from its work."""
    place.events.away()

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.bind(str(place.events.path))
        silent.listen(1)
        task = place.running()
        for number in range(3):
            task.exec(f"e{number}", "true")
            task.call("Wait", exec_id=f"e{number}")
        task.end()
    os.unlink(place.events.path)


@pytest.mark.ours("it publishes by ttrpc alone")
def test_publish_binary(place: Place) -> None:
    """Without the address of the event service, events go through the program that containerd names."""
    place.events.away()
    told = place.work / "told"
    program = place.work / "publisher"
    script = f'n=$(ls {told} | wc -l); echo "$*" > {told}/$n.args; cat > {told}/new; mv {told}/new {told}/$n.event'
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    told.mkdir()
    place.bundle("box")
    words = place.words("box", "start")
    words[words.index("-publish-binary") + 1] = str(program)
    fields = {"instance_id": "box", "namespace": shims.NAMESPACE, "containerd_binary": str(program)}

    environment = {key: value for key, value in os.environ.items() if key != "TTRPC_ADDRESS"}
    done = subprocess.run(
        words, cwd=place.work / "box", input=wire.encode("BootstrapParams", fields), capture_output=True, timeout=60,
        check=True, env=environment,
    )  # fmt: skip
    task = shims.Task(place, "box", place.connect(place.parse(done.stdout, "2.3")))
    task.create()
    task.call("Start")
    task.end()
    wait_for("four events", lambda: len(list(told.glob("*.event"))) == 4)
    topics = []
    for number in range(0, 8, 2):
        words = (told / f"{number}.args").read_text().split()
        topics.append(words[words.index("--topic") + 1])
        assert words[words.index("--namespace") + 1] == shims.NAMESPACE
        assert words[-1] == "publish" or "publish" in words
    assert topics == ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]
    box = wire.decode("Any", (told / "0.event").read_bytes())
    assert wire.decode("TaskCreate", box["value"])["container_id"] == "box"


def test_oom(place: Place) -> None:
    """A container whose memory is used up: the event comes."""
    if "memory" not in Path("/sys/fs/cgroup/cgroup.controllers").read_text().split():
        pytest.skip("needs the controller memory")
    bundle = place.bundle("greedy", "sh", "-c", "tail /dev/zero; echo survived; sleep 1000")
    bundle.config["linux"]["resources"] = {"memory": {"limit": 16 << 20, "swap": 16 << 20}}
    bundle.write()
    task = shims.Task(place, "greedy", place.connect(place.start("greedy")))
    task.create()
    task.call("Start")
    place.events.wait("/tasks/oom", container_id="greedy")
