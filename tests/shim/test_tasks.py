"""Every call of the task service, on real containers, without containerd."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.shim import shims, wire
from tests.shim.client import ALREADY_EXISTS, METHODS, NOT_FOUND, RpcError
from tests.shim.shims import CREATED, PAUSED, RUNNING, STOPPED, Place, cgroup, processes
from tests.support.host import wait_for

LIFE = ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]


def fails(task: shims.Task, method: str, **fields: object) -> RpcError:
    """The error of a call that must fail."""
    with pytest.raises(RpcError) as caught:
        task.call(method, **fields)
    return caught.value


def test_life(place: Place) -> None:
    task = place.task("sh", "-c", "echo hello; exit 3")
    state = task.state()
    assert (state["id"], state["bundle"], state["status"]) == (task.id, str(task.path), CREATED)
    assert state["pid"] == task.pid
    assert state["stdout"] == str(task.path / "init.out")
    assert processes(task.id) == [task.pid]
    waited = task.begin("Wait")
    assert task.call("Start")["pid"] == task.pid
    answer = waited()
    assert answer["exit_status"] == 3
    state = task.state()
    assert (state["status"], state["exit_status"]) == (STOPPED, 3)
    assert state["exited_at"] == answer["exited_at"]
    deleted = task.call("Delete")
    assert deleted == {"pid": task.pid, "exit_status": 3, "exited_at": answer["exited_at"]}
    assert task.out is not None
    assert task.out.all() == b"hello\n"
    assert fails(task, "State").code == NOT_FOUND
    event = place.events.wait("/tasks/exit", container_id=task.id)
    assert (event["id"], event["pid"], event["exit_status"]) == (task.id, task.pid, 3)
    place.events.wait("/tasks/delete", container_id=task.id, exit_status=3)
    assert place.events.topics(task.id) == LIFE
    assert place.events.namespaces == {shims.NAMESPACE}


def test_nothing_is_left(place: Place) -> None:
    task = place.running("sleep", "1000")
    connect = task.call("Connect")
    assert connect["task_pid"] == task.pid
    address = next(iter(place.shims))
    task.shutdown()
    assert not shims.alive(connect["shim_pid"])
    assert not cgroup(task.id).exists()
    assert not Path(shims.ROOT, shims.NAMESPACE, task.id).exists()
    assert not os.path.exists(address.removeprefix("unix://"))


def test_many_short_tasks(place: Place) -> None:
    """The start is told before the exit, however short the program is."""
    first = place.running("sleep", "1000")
    for number in range(12):
        id = f"short{number}"
        place.bundle(id, "true")
        task = shims.Task(place, id, first.client)
        task.create()
        waited = task.begin("Wait")
        task.call("Start")
        assert waited()["exit_status"] == 0
        task.call("Delete")
        place.events.wait("/tasks/delete", container_id=id)
        assert place.events.topics(id) == LIFE


@pytest.mark.parametrize(("number", "status"), [(15, 143), (9, 137)])
def test_kill(place: Place, number: int, status: int) -> None:
    script = "trap 'exit 143' TERM; echo ready; while :; do sleep 0.05; done"
    task = place.running("sh", "-c", script)
    assert task.out is not None
    task.out.says(b"ready")
    waited = task.begin("Wait")
    task.call("Kill", signal=number)
    assert waited()["exit_status"] == status
    assert fails(task, "Kill", signal=9).code == NOT_FOUND
    task.call("Delete")


def test_kill_of_all(place: Place) -> None:
    """Without a pid namespace the init's end does not end the others: the shim kills them."""
    bundle = place.bundle("shared", "sh", "-c", "setsid sleep 1000 & echo ready; sleep 1000; true")
    bundle.without_namespace("pid").write()
    task = shims.Task(place, "shared", place.connect(place.start("shared")))
    task.create()
    task.call("Start")
    wait_for("three processes", lambda: len(processes(task.id)) == 3)
    waited = task.begin("Wait")
    os.kill(task.pid, 9)
    assert waited()["exit_status"] == 137
    wait_for("the end of all", lambda: not processes(task.id))
    task.call("Delete")


def test_kill_of_all_by_its_field(place: Place) -> None:
    task = place.running("sh", "-c", "sleep 1000 & sleep 1000 & wait")
    wait_for("three processes", lambda: len(processes(task.id)) == 3)
    waited = task.begin("Wait")
    task.call("Kill", signal=9, all=True)
    waited()
    assert not processes(task.id)
    task.call("Delete")


def test_unknown_task(place: Place) -> None:
    task = place.running()
    for method in METHODS:
        if method in ("Create", "Connect", "Shutdown"):
            continue
        with pytest.raises(RpcError) as caught:
            task.client.call(method, id="nobody")
        assert caught.value.code == NOT_FOUND, method
    assert task.client.call("Connect", id="nobody")["task_pid"] == 0


def test_unknown_process(place: Place) -> None:
    task = place.running()
    for method in ("State", "Start", "Delete", "Kill", "Wait", "ResizePty", "CloseIO"):
        code = fails(task, method, exec_id="nobody").code
        assert code == NOT_FOUND or (method == "CloseIO" and not shims.is_ours()), method


def test_wrong_order(place: Place) -> None:
    """What a state does not allow fails and changes nothing."""
    task = place.task("sleep", "1000")
    for method in ("Pause", "Resume", "Checkpoint"):
        fails(task, method)
    task.call("Start")
    for method in ("Start", "Delete", "Resume"):
        fails(task, method)
    assert task.state()["status"] == RUNNING
    task.call("Pause")
    for method in ("Pause", "Start", "Delete"):
        fails(task, method)
    assert task.state()["status"] == PAUSED
    task.call("Resume")
    waited = task.begin("Wait")
    task.call("Kill", signal=9)
    waited()
    for method in ("Start", "Pause", "Resume", "Checkpoint", "Update"):
        fails(task, method)
    assert task.state()["status"] == STOPPED


def test_create_twice(place: Place) -> None:
    task = place.running()
    fails(task, "Create", bundle=str(task.path))
    assert task.state()["status"] == RUNNING
    assert processes(task.id) == [task.pid]


def test_create_that_fails(place: Place) -> None:
    """The error has the runtime's reason, nothing is left, and the same id can be created then."""
    bundle = place.bundle("bad", "/no/such/program")
    client = place.connect(place.start("bad"))
    task = shims.Task(place, "bad", client)

    def both() -> None:
        task.create()
        task.call("Start")  # runc finds it here

    with pytest.raises(RpcError, match="/no/such/program") as caught:
        both()
    assert "no such file" in caught.value.message.lower()
    if shims.is_ours():
        assert not cgroup("bad").exists()
        assert not Path(shims.ROOT, shims.NAMESPACE, "bad").exists()
        assert fails(task, "State").code == NOT_FOUND
        bundle.args("sleep", "1000").write()
        again = shims.Task(place, "bad", client)
        again.create(streams={})
        again.call("Start")
        assert again.state()["status"] == RUNNING


def test_config_that_is_wrong(place: Place) -> None:
    place.bundle("wrong").path.joinpath("config.json").write_text('{"ociVersion": "1.0.2", "process": 3}')
    with pytest.raises(RpcError, match=r"process|root"):
        shims.Task(place, "wrong", place.connect(place.start("wrong"))).create(streams={})


def test_pause(place: Place) -> None:
    task = place.running("sh", "-c", "while :; do echo .; sleep 0.01; done")
    assert task.out is not None
    task.out.says(b".")
    task.call("Pause")
    assert task.state()["status"] == PAUSED
    assert "frozen 1" in (cgroup(task.id) / "cgroup.events").read_text()
    out = task.out

    def is_empty() -> bool:
        size = len(out.data)
        return shims.settled(lambda: len(out.data) != size, 0.2)

    wait_for("the pipe to run empty", is_empty)
    task.call("Resume")
    assert task.state()["status"] == RUNNING
    size = len(task.out.data)
    wait_for("more output", lambda: task.out is not None and len(task.out.data) > size)
    place.events.wait("/tasks/paused", container_id=task.id)
    place.events.wait("/tasks/resumed", container_id=task.id)


def test_end_of_a_paused_task(place: Place) -> None:
    task = place.running()
    task.call("Pause")
    waited = task.begin("Wait")
    task.call("Kill", signal=9)
    assert waited()["exit_status"] == 137
    task.call("Delete")


def test_stats(place: Place) -> None:
    task = place.running("sh", "-c", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; sleep 1000")
    if shims.is_ours():  # the Go shim reads it only with the controller
        wait_for("some use", lambda: stats(task)["cpu"]["usage_usec"] > 10000)
    metrics = stats(task)
    for name in ("pids", "memory"):
        if (cgroup(task.id) / f"{name}.current").exists():
            assert metrics[name], name
    if (cgroup(task.id) / "pids.current").exists():
        wait_for("the shell to have its child", lambda: stats(task)["pids"]["current"] == 2)


def stats(task: shims.Task) -> wire.Message:
    """The metrics of a task."""
    given = task.call("Stats")["stats"]
    assert given["type_url"] == "io.containerd.cgroups.v2.Metrics"
    return wire.decode("Metrics", given["value"])


def test_update(place: Place) -> None:
    task = place.running()
    resources = wire.any_of(
        "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources",
        json.dumps({"unified": {"cgroup.max.depth": "7"}}).encode(),
    )
    task.call("Update", resources=resources)
    if shims.is_ours():  # runc 1.1 ignores this member in an update
        assert (cgroup(task.id) / "cgroup.max.depth").read_text() == "7\n"
    fails(task, "Update", resources=wire.any_of("x", b'{"unified": 3}'))


def test_pids(place: Place) -> None:
    task = place.running()
    pid = task.exec("worker", "sleep", "1000")
    found = {process["pid"]: process["info"] for process in task.call("Pids")["processes"]}
    assert set(found) == {task.pid, pid}
    assert found[task.pid] is None
    assert found[pid]["type_url"] == "containerd.runc.v1.ProcessDetails"
    assert wire.decode("ProcessDetails", found[pid]["value"])["exec_id"] == "worker"


def test_exec(place: Place) -> None:
    task = place.running()
    task.exec("worker", "sh", "-c", "echo out; echo err >&2; exit 5", start=False)
    out, err = task.out, task.err
    assert out is not None
    assert err is not None
    state = task.state("worker")
    assert (state["pid"], state["status"]) == (0, CREATED)
    waited = task.begin("Wait", exec_id="worker")
    pid = task.call("Start", exec_id="worker")["pid"]
    assert waited()["exit_status"] == 5
    state = task.state("worker")
    assert (state["status"], state["exit_status"], state["pid"]) == (STOPPED, 5, pid)
    deleted = task.call("Delete", exec_id="worker")
    assert (deleted["pid"], deleted["exit_status"]) == (pid, 5)
    assert (out.all(), err.all()) == (b"out\n", b"err\n")
    assert fails(task, "State", exec_id="worker").code == NOT_FOUND
    place.events.wait("/tasks/exec-added", container_id=task.id, exec_id="worker")
    place.events.wait("/tasks/exec-started", container_id=task.id, exec_id="worker", pid=pid)
    place.events.wait("/tasks/exit", container_id=task.id, id="worker", pid=pid, exit_status=5)
    assert task.state()["status"] == RUNNING


def test_exec_of_the_same_name(place: Place) -> None:
    task = place.running()
    task.exec("worker", "sleep", "1000")
    with pytest.raises(RpcError) as caught:
        task.exec("worker", "true")
    assert caught.value.code == ALREADY_EXISTS
    assert task.state("worker")["status"] == RUNNING


def test_exec_that_fails(place: Place) -> None:
    task = place.running()
    with pytest.raises(RpcError, match="/no/such/program"):
        task.exec("bad", "/no/such/program")
    task.call("Delete", exec_id="bad")
    task.exec("good", "true")
    assert task.call("Wait", exec_id="good")["exit_status"] == 0


def test_exec_is_killed_alone(place: Place) -> None:
    task = place.running()
    pid = task.exec("worker", "sleep", "1000")
    waited = task.begin("Wait", exec_id="worker")
    task.call("Kill", exec_id="worker", signal=9)
    assert waited()["exit_status"] == 137
    assert not shims.alive(pid)
    assert fails(task, "Kill", exec_id="worker", signal=9).code == NOT_FOUND
    assert task.state()["status"] == RUNNING


def test_exec_in_a_task_that_ended(place: Place) -> None:
    task = place.running("true")
    task.call("Wait")
    with pytest.raises(RpcError):
        task.exec("late", "true")
    task.call("Delete")


def test_the_exit_of_the_init_comes_last(place: Place) -> None:
    """The exec's processes end with the container: their exits are told before that of the init."""
    task = place.running()
    for number in range(3):
        task.exec(f"worker{number}", "sleep", "1000")
    task.end()
    place.events.wait("/tasks/delete", container_id=task.id)
    exits = [event["id"] for topic, event in place.events.seen if topic == "/tasks/exit"]
    assert exits[-1] == task.id
    assert sorted(exits[:-1]) == ["worker0", "worker1", "worker2"]


def test_many_waits_and_states(place: Place) -> None:
    task = place.running()
    waits = [task.begin("Wait") for _ in range(50)]
    states = [task.begin("State") for _ in range(50)]
    assert {answer()["status"] for answer in states} == {RUNNING}
    other = place.connect(
        shims.Started(b"", next(iter(place.shims)), 3 if task.client.service.endswith("v3.Task") else 2)
    )
    gone = other.begin("Wait", id=task.id)
    other.close()
    with pytest.raises(EOFError):
        gone()
    task.call("Kill", signal=9)
    assert {answer()["exit_status"] for answer in waits} == {137}
    assert task.call("Wait")["exit_status"] == 137  # and after the end


def test_shutdown_waits_for_the_last_task(place: Place) -> None:
    task = place.running()
    task.call("Shutdown")
    task.call("Shutdown", now=True)
    assert task.state()["status"] == RUNNING
    task.shutdown()


def test_rootfs_is_mounted_and_unmounted(place: Place) -> None:
    bundle = place.bundle("mounted", "cat", "/etc/os-release")
    source = place.work / "image"
    shutil.move(bundle.rootfs, source)
    bundle.rootfs.mkdir()
    task = shims.Task(place, "mounted", place.connect(place.start("mounted")))
    task.create(rootfs=[{"type": "bind", "source": str(source), "options": ["rbind", "rw"]}])
    waited = task.begin("Wait")
    task.call("Start")
    assert waited()["exit_status"] == 0
    task.call("Delete")
    assert task.out is not None
    assert task.out.all() == b"ID=busybox\n"
    assert str(bundle.rootfs) not in Path("/proc/self/mountinfo").read_text()
    assert not list(bundle.rootfs.iterdir())


def test_rootfs_of_an_overlay(place: Place) -> None:
    bundle = place.bundle("layers", "sh", "-c", "cat /layer; echo new > /written")
    lower, upper, work = (place.work / name for name in ("lower", "upper", "work"))
    shutil.move(bundle.rootfs, lower)
    for path in (bundle.rootfs, upper, work):
        path.mkdir()
    (upper / "layer").write_text("upper\n")
    task = shims.Task(place, "layers", place.connect(place.start("layers")))
    options = [f"lowerdir={lower}", f"upperdir={upper}", f"workdir={work}"]
    task.create(rootfs=[{"type": "overlay", "source": "overlay", "options": options}])
    waited = task.begin("Wait")
    task.call("Start")
    assert waited()["exit_status"] == 0
    task.call("Delete")
    assert task.out is not None
    assert task.out.all() == b"upper\n"
    assert (upper / "written").read_text() == "new\n"


MAPPED = ["uidmap=0:1000:65536", "gidmap=0:2000:65536"]


def mapped(place: Place, name: str, kind: str) -> shims.Task:
    """A task whose root file system, of two layers, has its ids mapped."""
    bundle = place.bundle(name, "stat", "-c", "%u %g", "/etc/os-release", "/layer")
    lower, top = place.work / "layers/1/fs", place.work / "layers/2/fs"
    lower.parent.mkdir(parents=True)
    shutil.move(bundle.rootfs, lower)
    for path in (bundle.rootfs, top):
        path.mkdir(parents=True)
    (top / "layer").touch()
    (lower / "layer").touch()
    task = shims.Task(place, name, place.connect(place.start(name)))
    if kind == "bind":
        task.create(rootfs=[{"type": "bind", "source": str(lower), "options": ["rbind", "rw", *MAPPED]}])
    else:
        options = [f"lowerdir={top}:{lower}", *MAPPED]
        task.create(rootfs=[{"type": "overlay", "source": "overlay", "options": options}])
    return task


@pytest.mark.parametrize("kind", ["bind", "overlay"])
@pytest.mark.ours("Debian's maps no ids")
def test_rootfs_with_mapped_ids(place: Place, kind: str) -> None:
    """As containerd 2 has it for a pod with a user namespace; nothing is left but the containers' own mounts."""
    task = mapped(place, "mapped", kind)
    assert not task.path.joinpath("rootfs.layers").exists()
    waited = task.begin("Wait")
    task.call("Start")
    assert waited()["exit_status"] == 0
    task.call("Delete")
    assert task.out is not None
    assert task.out.all() == b"1000 2000\n1000 2000\n"
    assert str(place.work) not in Path("/proc/self/mountinfo").read_text()


def test_rootfs_of_an_image_file(place: Place) -> None:
    """The option loop, as of containerd's blockfile snapshotter; the device is free again after the Delete."""
    bundle = place.bundle("looped", "cat", "/etc/os-release")
    image = place.work / "image.ext4"
    words = ["mkfs.ext4", "-q", "-d", str(bundle.rootfs), str(image), "16M"]
    if shutil.which("mkfs.ext4") is None or not os.path.exists("/dev/loop-control"):
        pytest.skip("needs mkfs.ext4 and loop devices")
    subprocess.run(words, check=True, capture_output=True)
    shutil.rmtree(bundle.rootfs)
    bundle.rootfs.mkdir()
    task = shims.Task(place, "looped", place.connect(place.start("looped")))
    try:
        task.create(rootfs=[{"type": "ext4", "source": str(image), "options": ["loop", "ro"]}])
    except RpcError as error:
        if "no such device" in error.message:
            pytest.skip(f"this machine has no loop devices: {error}")
        raise
    waited = task.begin("Wait")
    task.call("Start")
    assert waited()["exit_status"] == 0
    task.call("Delete")
    assert task.out is not None
    assert task.out.all() == b"ID=busybox\n"
    wait_for("the device to be free", lambda: str(image) not in attached())


def attached() -> set[str]:
    """The files of all loop devices. Others, of the whole machine, come and go meanwhile."""
    found = set()
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            found.add(path.read_text().strip())
    return found


def test_rootfs_that_can_not_be_mounted(place: Place) -> None:
    place.bundle("unmounted")
    task = shims.Task(place, "unmounted", place.connect(place.start("unmounted")))
    with pytest.raises(RpcError, match="/no/such/layer"):
        task.create(rootfs=[{"type": "bind", "source": "/no/such/layer", "options": ["rbind"]}])
    assert str(task.path) not in Path("/proc/self/mountinfo").read_text()
    assert not cgroup("unmounted").exists()


def test_options(place: Place) -> None:
    """The options of Create: another state root, and the owner of the pipes."""
    place.bundle("other", "stat", "-L", "-c", "%g", "/proc/self/fd/1")
    task = shims.Task(place, "other", place.connect(place.start("other")))
    root = place.work / "state"
    given = {"root": str(root), "io_uid": 0, "io_gid": 1001}
    task.create(options=wire.any_of("Options", given, "containerd.runc.v1."))
    assert (root / shims.NAMESPACE / "other").is_dir()
    waited = task.begin("Wait")
    task.call("Start")
    waited()
    task.call("Delete")
    assert task.out is not None
    assert task.out.all() == b"1001\n"
    assert not (root / shims.NAMESPACE / "other").exists()


def test_user_namespace(place: Place) -> None:
    bundle = place.bundle("mapped", "sh", "-c", "cat /proc/self/uid_map; echo x > /proc/self/fd/1")
    bundle.user_namespace().write()
    task = shims.Task(place, "mapped", place.connect(place.start("mapped")))
    owner = {"io_uid": 100000, "io_gid": 100000}
    task.create(options=wire.any_of("Options", owner, "containerd.runc.v1."))
    waited = task.begin("Wait")
    task.call("Start")
    assert waited()["exit_status"] == 0
    task.call("Delete")
    assert task.out is not None
    assert re.match(rb" +0 +100000 +65536\nx\n", task.out.all())


def test_checkpoint_without_criu(place: Place) -> None:
    """The error says why, and the task runs on."""
    if shutil.which("criu"):
        pytest.skip("needs a machine without CRIU")
    task = place.running()
    error = fails(task, "Checkpoint", path=str(place.work / "images"))
    assert "criu" in error.message.lower()
    assert task.state()["status"] == RUNNING


def test_shim_is_killed(place: Place) -> None:
    """`delete` removes what a shim that was killed has left, and answers with the pid and SIGKILL's status."""
    task = place.running("sh", "-c", "sleep 1000 & sleep 1000; true")
    wait_for("three processes", lambda: len(processes(task.id)) == 3)
    shims.kill(task.call("Connect")["shim_pid"])
    done = place.run(task.id, "delete", "-bundle", str(task.path))
    assert done.returncode == 0, done
    answer = wire.decode("DeleteResponse", done.stdout)
    assert (answer["pid"], answer["exit_status"]) == (task.pid, 137)
    assert answer["exited_at"]["seconds"] > 0
    wait_for("the end of all", lambda: not processes(task.id))
    assert not cgroup(task.id).exists()
    assert not Path(shims.ROOT, shims.NAMESPACE, task.id).exists()
    again = place.run(task.id, "delete", "-bundle", str(task.path))
    assert again.returncode == 0, again


@pytest.mark.ours("it fails, because its options were not written yet")
def test_delete_of_what_never_was(place: Place) -> None:
    place.bundle("never")
    done = place.run("never", "delete", "-bundle", str(place.work / "never"))
    assert done.returncode == 0, done
    assert wire.decode("DeleteResponse", done.stdout)["exit_status"] == 137


@pytest.mark.ours("its `start` ends with an error")
def test_the_next_shim_after_a_killed_one(place: Place) -> None:
    task = place.running()
    shims.kill(task.call("Connect")["shim_pid"])
    place.run(task.id, "delete", "-bundle", str(task.path))
    again = shims.Task(place, task.id, place.connect(place.start(task.id)))
    again.create(streams={})
    again.call("Start")
    assert again.state()["status"] == RUNNING


def test_no_process_of_the_runtime_stays(place: Place) -> None:
    """A running task is the shim and the container's process."""
    task = place.running()
    shim = task.call("Connect")["shim_pid"]
    # A zombie is a child, too.
    wait_for("the end of the runtime's processes", lambda: shims.children(shim) == [task.pid])
