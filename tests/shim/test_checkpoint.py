"""Checkpoint, and Create from a checkpoint, with a real CRIU: the container goes on where it was."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.shim import shims, wire
from tests.shim.client import RpcError
from tests.shim.shims import Place, Task
from tests.support.checkpoints import COUNTER, find
from tests.support.host import wait_for

# What a process has in its memory and in an open file goes on; it also answers what comes on stdin.
SCRIPT = f"{COUNTER} & while read line; do echo got $line; done; wait"


@pytest.fixture
def criu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CRIU in the shim's PATH that works here."""
    directory, reason = find()
    if reason:
        pytest.skip(reason)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")


class Counting:
    """A container that counts, and those that are restored from it; all with one root file system."""

    def __init__(self, place: Place, given: wire.Message | None = None, **config: Any) -> None:
        """given: the options of Create. config: members of `linux`; the id is appended to cgroupsPath."""
        self.place = place
        self.options = given or {}
        self.config = config
        self.rootfs = place.work / "root"
        self.images = place.work / "images"
        self._number = 0

    def task(self, checkpoint: str = "") -> Task:
        """A task of the next name: created, and started."""
        self._number += 1
        id = f"count{self._number}"
        bundle = self.place.bundle(id, "sh", "-c", SCRIPT)
        for key, value in self.config.items():
            bundle.config["linux"][key] = value
        if "cgroupsPath" in self.config:
            bundle.config["linux"]["cgroupsPath"] += id
        if self.rootfs.exists():
            shutil.rmtree(bundle.rootfs)
        else:
            bundle.rootfs.rename(self.rootfs)
        # The place that CRIU has in its images, the same for all.
        bundle.config["root"]["path"] = str(self.rootfs)
        bundle.write()
        (bundle.path / "work").mkdir()  # a link in containerd's bundles
        task = Task(self.place, id, self.place.connect(self.place.start(id)))
        given = wire.any_of("Options", self.options, "containerd.runc.v1.")
        task.create(checkpoint=checkpoint, stdin=True, options=given)
        task.pid = task.call("Start")["pid"]
        return task

    def numbers(self) -> list[int]:
        """What it has written, in whole lines."""
        path = self.rootfs / "count"
        return [int(line) for line in path.read_text().split("\n")[:-1]] if path.exists() else []

    def goes_on(self) -> None:
        """Wait for more, and assert that no number is left out."""
        before = len(self.numbers())
        wait_for("the counter to go on", lambda: len(self.numbers()) > before + 1)
        numbers = self.numbers()
        assert numbers == list(range(1, len(numbers) + 1))


def options(**fields: Any) -> wire.Message:
    """The options of a Checkpoint."""
    return wire.any_of("CheckpointOptions", fields, "containerd.runc.v1.")


def checkpointed(counting: Counting, task: Task, **fields: Any) -> None:
    """A checkpoint that ends the task, whose exit is reported; and its Delete."""
    waited = task.begin("Wait")
    task.call("Checkpoint", path=str(counting.images), options=options(exit=True, **fields))
    assert waited()["exit_status"] == 137
    counting.place.events.wait("/tasks/exit", container_id=task.id)
    task.call("Delete")
    assert not shims.processes(task.id)


def test_a_restored_task_goes_on(place: Place, criu: None) -> None:
    """Its memory, its file and its streams; then it is a task like any other."""
    counting = Counting(place)
    task = counting.task()
    counting.goes_on()
    checkpointed(counting, task)
    stopped = len(counting.numbers())
    again = counting.task(str(counting.images))
    assert len(counting.numbers()) >= stopped
    counting.goes_on()
    assert again.state()["status"] == shims.RUNNING
    assert again.state()["pid"] == again.pid
    created = place.events.wait("/tasks/create", container_id=again.id)
    assert created["checkpoint"] == str(counting.images)
    assert place.events.wait("/tasks/start", container_id=again.id)["pid"] == again.pid
    given = again.stdin()
    os.write(given, b"words\n")
    assert again.out is not None
    again.out.says(b"got words")
    os.close(given)
    again.exec("worker", "sh", "-c", "exit 4")
    assert again.call("Wait", exec_id="worker")["exit_status"] == 4
    again.call("Pause")
    again.call("Resume")
    counting.goes_on()
    assert again.end()["exit_status"] == 137


def test_the_task_runs_on(place: Place, criu: None) -> None:
    """Without `exit`; the images are whole, and nothing of CRIU's work is left in the bundle."""
    counting = Counting(place)
    task = counting.task()
    counting.goes_on()
    task.call("Checkpoint", path=str(counting.images), options=options())
    assert task.state()["status"] == shims.RUNNING
    counting.goes_on()
    assert (counting.images / "inventory.img").exists()
    assert not (task.path / "criu-work").exists()
    if shims.is_ours():  # the Go shim sends no such event
        event = place.events.wait("/tasks/checkpointed", container_id=task.id)
        assert event["checkpoint"] == str(counting.images)
    task.end()


def test_a_paused_task(place: Place, criu: None) -> None:
    """It can be dumped; the restored one runs."""
    counting = Counting(place)
    task = counting.task()
    counting.goes_on()
    task.call("Pause")
    checkpointed(counting, task)
    again = counting.task(str(counting.images))
    assert again.state()["status"] == shims.RUNNING
    counting.goes_on()
    again.end()


def test_a_work_path(place: Place, criu: None) -> None:
    """CRIU's logs of the dump are there afterwards."""
    counting = Counting(place)
    task = counting.task()
    work = place.work / "kept"
    task.call("Checkpoint", path=str(counting.images), options=options(work_path=str(work)))
    assert "Dumping finished successfully" in (work / "dump.log").read_text()
    task.end()


def test_images_that_are_not_there(place: Place, criu: None) -> None:
    """Start says so; the task can be deleted, and nothing is left."""
    counting = Counting(place)
    (place.work / "empty").mkdir()
    with pytest.raises(RpcError, match=r"restore failed"):
        counting.task(str(place.work / "empty"))
    task = Task(place, "count1", place.clients[-1])
    task.call("Delete")
    assert not shims.cgroup("count1").exists()
    assert not Path(shims.ROOT, shims.NAMESPACE, "count1").exists()
