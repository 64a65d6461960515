"""containerd-shim-pyrunc-v2 with controllers and systemd, by the client of tests/shim: out-of-memory kills, Stats,
Update, systemd's cgroups, a cgroup of the shim's own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pyrunc.shim import messages, metrics
from tests.shim import shims, wire
from tests.shim.client import RpcError
from tests.shim.conftest import place, template
from tests.support import host

__all__ = ["place", "template"]

MIB = 1 << 20
KILLED = 137

# containerd's own shim, of the package containerd.
GO_SHIM = "/usr/bin/containerd-shim-runc-v2"

# Takes so much memory at once: a read of a block of this size, by a child and by the first process itself.
HOG = ("dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1")

LIMITS = {
    "memory": {"limit": 48 * MIB, "swap": 64 * MIB},
    "cpu": {"shares": 512, "quota": 60000, "period": 100000},
    "pids": {"limit": 40},
}


@pytest.fixture(autouse=True)
def program(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shim beside the tested runtime: that of the launcher, or the ordinary build's."""
    if runtime := os.environ.get("PYRUNC_TEST_RUNTIME"):
        monkeypatch.setenv("PYRUNC_TEST_SHIM", str(Path(runtime).with_name("containerd-shim-pyrunc-v2")))
    else:
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))


@pytest.fixture
def go_place(program: None, template: Path) -> Iterator[shims.Place]:
    """A place with containerd's own shim and runc."""
    if not Path(GO_SHIM).exists():
        pytest.skip("needs containerd's own shim: make test-guest-engines")
    work = Path(tempfile.mkdtemp(prefix="g", dir="/run"))
    value = shims.Place(work, template, [GO_SHIM])
    yield value
    value.close()
    shutil.rmtree(work, ignore_errors=True)


def made(
    place: shims.Place,
    *args: str,
    resources: Mapping[str, Any] | None = None,
    options: wire.Message | None = None,
    form: str = shims.DEFAULT_FORM,
    disk: Path | None = None,
) -> shims.Task:
    """A task that was created with these limits and options, and not started. disk: is at /mnt."""
    id = f"box{place.work.name}{len(place.clients)}"
    bundle = place.bundle(id, *args)
    if disk is not None:
        bundle.config["mounts"] += [{"destination": "/mnt", "source": str(disk), "options": ["bind"]}]
    bundle.linux["resources"] = dict(resources or {})
    if (options or {}).get("systemd_cgroup"):
        bundle.linux["cgroupsPath"] = f"system.slice:shim:{id}"
    bundle.write()
    task = shims.Task(place, id, place.connect(place.start(id, form, options)))
    task.create(options=wire.any_of("Options", options or {}, "containerd.runc.v1."))
    return task


def running(place: shims.Place, *args: str, **wish: Any) -> shims.Task:
    """The same, started."""
    task = made(place, *args, **wish)
    task.call("Start")
    return task


def cgroup(task: shims.Task) -> Path:
    """The cgroup of a live task."""
    return Path("/sys/fs/cgroup") / host.cgroup_of(task.pid)[1:]


def read(task: shims.Task, name: str) -> str:
    """A file of a task's cgroup."""
    return (cgroup(task) / name).read_text().strip()


def stats(task: shims.Task) -> wire.Message:
    """The metrics of a task."""
    return wire.decode("Metrics", task.call("Stats")["stats"]["value"])


def unit(task: shims.Task, *properties: str) -> list[str]:
    """Properties of a task's unit."""
    words = ["systemctl", "show", *(f"--property={name}" for name in properties), f"shim-{task.id}.scope"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()


SYSTEMD = pytest.mark.parametrize("systemd", [False, True], ids=["cgroupfs", "systemd"])


# ---- out-of-memory kills


@SYSTEMD
def test_the_first_process_is_killed(place: shims.Place, systemd: bool) -> None:
    """TaskOOM comes before TaskExit, and once, also if systemd removes the cgroup with its count before the shim reads
    it, which is the rule on one processor."""
    memory = {"memory": {"limit": 24 * MIB, "swap": 24 * MIB}}
    task = made(place, *HOG, resources=memory, options={"systemd_cgroup": systemd})
    waited = task.begin("Wait")
    task.call("Start")
    assert waited()["exit_status"] == KILLED
    place.events.wait("/tasks/exit", container_id=task.id)
    assert place.events.topics(task.id) == ["/tasks/create", "/tasks/start", "/tasks/oom", "/tasks/exit"]
    assert task.call("Delete")["exit_status"] == KILLED
    if systemd:
        host.wait_for("the end of the unit", lambda: "ActiveState=active" not in unit(task, "ActiveState"))


def test_another_end_beside_a_killed_neighbour(place: shims.Place) -> None:
    """The cgroup above has counted the kill of the neighbour. A first process that somebody ends by SIGKILL is none."""
    task = running(place, options={"systemd_cgroup": True})
    memory = {"memory": {"limit": 24 * MIB, "swap": 24 * MIB}}
    neighbour = running(place, *HOG, resources=memory, options={"systemd_cgroup": True})
    place.events.wait("/tasks/oom", container_id=neighbour.id)
    place.events.wait("/tasks/exit", container_id=neighbour.id)
    os.kill(task.pid, signal.SIGKILL)
    place.events.wait("/tasks/exit", container_id=task.id)
    assert place.events.topics(task.id) == ["/tasks/create", "/tasks/start", "/tasks/exit"]


def test_the_process_of_an_exec_is_killed(place: shims.Place) -> None:
    """Its exit comes after TaskOOM; the container runs on, and a second kill is a second event."""
    task = running(place, resources={"memory": {"limit": 24 * MIB, "swap": 24 * MIB}})
    for number in (1, 2):
        name = f"hog{number}"
        task.exec(name, *HOG, start=False)
        waited = task.begin("Wait", exec_id=name)
        task.call("Start", exec_id=name)
        assert waited()["exit_status"] == KILLED
        place.events.wait("/tasks/exit", container_id=task.id, id=name)
        topics = place.events.topics(task.id)
        assert topics.count("/tasks/oom") == number
        assert topics[-2:] == ["/tasks/oom", "/tasks/exit"]
    assert task.state()["status"] == shims.RUNNING
    assert stats(task)["memory_events"]["oom_kill"] == 2


def test_a_child_is_killed(place: shims.Place) -> None:
    """TaskOOM comes while the container runs on."""
    task = running(
        place, "sh", "-c", f"{' '.join(HOG)}; sleep 1000", resources={"memory": {"limit": 24 * MIB, "swap": 24 * MIB}}
    )
    place.events.wait("/tasks/oom", container_id=task.id)
    assert task.state()["status"] == shims.RUNNING
    task.end()
    place.events.wait("/tasks/delete", container_id=task.id)
    assert place.events.topics(task.id)[2:] == ["/tasks/oom", "/tasks/exit", "/tasks/delete"]


def test_nobody_is_killed(place: shims.Place, tmp_path: Path) -> None:
    """A limit that is reached without a kill, by files of a disk, and an end by SIGKILL, are no events."""
    script = "dd if=/dev/zero of=/mnt/file bs=1M count=40 2>/dev/null; sleep 1000"
    memory = {"memory": {"limit": 24 * MIB, "swap": 24 * MIB}}
    task = running(place, "sh", "-c", script, resources=memory, disk=tmp_path)
    file = tmp_path / "file"
    host.wait_for("the file", lambda: file.exists() and file.stat().st_size == 40 * MIB)
    host.wait_for("reclaim", lambda: stats(task)["memory_events"]["max"] > 0)
    assert stats(task)["memory_events"]["oom_kill"] == 0
    task.end()
    place.events.wait("/tasks/delete", container_id=task.id)
    assert "/tasks/oom" not in place.events.topics(task.id)


# ---- Stats


@SYSTEMD
def test_stats_are_the_kernels(place: shims.Place, systemd: bool) -> None:
    """What Stats says is what the files of the cgroup say."""
    task = running(
        place, "sh", "-c", "sleep 1000 & sleep 1000; true", resources=LIMITS, options={"systemd_cgroup": systemd}
    )
    host.wait_for("two processes", lambda: read(task, "pids.current") == "3")
    task.call("Pause")
    found = stats(task)
    assert found["pids"] == {"current": 3, "limit": 40}
    assert found["memory"]["usage_limit"] == 48 * MIB
    assert found["memory"]["swap_limit"] == 16 * MIB
    assert found["memory"]["usage"] == int(read(task, "memory.current"))
    lines = dict(line.split() for line in read(task, "memory.stat").splitlines())
    for name in ("anon", "file", "kernel_stack", "shmem", "pgfault", "inactive_anon"):
        assert found["memory"][name] == int(lines[name]), name
    used = dict(line.split() for line in read(task, "cpu.stat").splitlines())
    assert found["cpu"]["usage_usec"] == int(used["usage_usec"]) > 0
    assert found["cpu"]["nr_periods"] == int(used["nr_periods"])
    task.call("Resume")


def known(found: Any) -> Any:
    """A message without pressure, whose averages the kernel computes when they are read."""
    if isinstance(found, list):
        return [known(value) for value in found]
    if not isinstance(found, dict):
        return found
    return {name: known(value) for name, value in found.items() if name != "psi"}


# What containerd 1.6 does not know of: later members of the message.
LATER = {
    "cpu": ("nr_bursts", "burst_usec"), "memory": ("max_usage", "swap_max_usage"), "memory_events": ("oom_group_kill",),
}  # fmt: skip


@SYSTEMD
def test_stats_are_those_of_containerds_own_shim(go_place: shims.Place, systemd: bool) -> None:
    """The same container, standing still: both shims say the same of it, member by member."""
    script = f"{' '.join(HOG)}; dd if=/dev/zero of=/tmp/file bs=1M count=2 2>/dev/null; sleep 1000; true"
    task = running(go_place, "sh", "-c", script, resources=LIMITS, options={"systemd_cgroup": systemd}, form="1.6")
    file = go_place.work / task.id / "rootfs/tmp/file"
    host.wait_for("the file", lambda: file.exists() and file.stat().st_size == 2 * MIB)
    host.wait_for("the sleep", lambda: "sleep" in [name for name, _ in host.children(task.pid).values()])
    task.call("Pause")
    for _ in range(50):
        # The kernel may still count a period that began before.
        theirs = known(stats(task))
        ours = known(wire.decode("Metrics", messages.encode("Metrics", metrics.gather(str(cgroup(task))))))
        if theirs == known(stats(task)):
            break
    for member, names in LATER.items():
        for name in names:
            assert not theirs[member].pop(name), name
            ours[member].pop(name)
    assert theirs["memory_events"]["oom_kill"] == 1, "the message is not empty"
    assert ours == theirs
    task.call("Resume")
    task.end()


# ---- Update


@SYSTEMD
def test_update(place: shims.Place, systemd: bool) -> None:
    """Each limit is changed in the cgroup, and in systemd's unit; what is not named stays."""
    task = running(place, resources=LIMITS, options={"systemd_cgroup": systemd})
    changed = {"memory": {"limit": 64 * MIB}, "cpu": {"quota": 30000, "period": 100000}, "pids": {"limit": 50}}
    task.call("Update", resources=linux_resources(changed))
    assert read(task, "memory.max") == str(64 * MIB)
    assert read(task, "cpu.max") == "30000 100000"
    assert read(task, "pids.max") == "50"
    assert stats(task)["pids"]["limit"] == 50
    task.call("Update", resources=linux_resources({"memory": {"reservation": 8 * MIB}}))
    assert read(task, "memory.low") == str(8 * MIB)
    assert read(task, "memory.max") == str(64 * MIB)
    if systemd:
        assert unit(task, "MemoryMax", "TasksMax", "CPUQuotaPerSecUSec") == [
            "CPUQuotaPerSecUSec=300ms", f"MemoryMax={64 * MIB}", "TasksMax=50",
        ]  # fmt: skip


def test_an_update_that_the_kernel_refuses(place: shims.Place) -> None:
    """It names the limit, and nothing else is changed."""
    task = running(place, resources=LIMITS)
    with pytest.raises(RpcError, match=r"cpu\.max"):
        task.call("Update", resources=linux_resources({"pids": {"limit": 41}, "cpu": {"quota": 1, "period": 1}}))
    assert task.state()["status"] == shims.RUNNING
    task.call("Update", resources=linux_resources({"pids": {"limit": 42}}))
    assert read(task, "pids.max") == "42"


def linux_resources(resources: Mapping[str, Any]) -> wire.Message:
    """The resources of an Update."""
    return wire.any_of(
        "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources", json.dumps(resources).encode()
    )


# ---- systemd and the shim's own cgroup


def test_the_container_is_a_unit(place: shims.Place) -> None:
    """SystemdCgroup: a scope with the limits, also for an exec; gone after Delete."""
    task = running(place, resources=LIMITS, options={"systemd_cgroup": True})
    assert host.cgroup_of(task.pid) == f"/system.slice/shim-{task.id}.scope"
    assert unit(task, "ActiveState", "MemoryMax", "TasksMax") == [
        f"MemoryMax={48 * MIB}", "TasksMax=40", "ActiveState=active",
    ]  # fmt: skip
    pid = task.exec("worker", "sleep", "1000")
    assert host.cgroup_of(pid) == host.cgroup_of(task.pid)
    assert {process["pid"] for process in task.call("Pids")["processes"]} == {task.pid, pid}
    path = cgroup(task)
    task.shutdown()
    host.wait_for("the end of the cgroup", lambda: not path.exists())
    host.wait_for("the end of the unit", lambda: "ActiveState=inactive" in unit(task, "ActiveState"))


def test_a_killed_shim_leaves_no_unit(place: shims.Place) -> None:
    """`delete` knows from the bundle that systemd has the cgroup."""
    task = running(place, "sh", "-c", "sleep 1000 & sleep 1000; true", options={"systemd_cgroup": True})
    path = cgroup(task)
    shims.kill(task.call("Connect")["shim_pid"])
    assert place.run(task.id, "delete", "-bundle", str(task.path)).returncode == 0
    host.wait_for("the end of the container", lambda: not shims.alive(task.pid))
    host.wait_for("the end of the cgroup", lambda: not path.exists())
    host.wait_for("the end of the unit", lambda: "ActiveState=inactive" in unit(task, "ActiveState"))


def test_the_shim_has_a_cgroup_of_its_own(place: shims.Place) -> None:
    """ShimCgroup: its limits are the shim's and its commands', not the containers'."""
    group = Path("/sys/fs/cgroup", shims.NAMESPACE, "own")
    group.mkdir(parents=True)
    (group.parent / "cgroup.subtree_control").write_text("+memory +pids")
    (group / "pids.max").write_text("20")
    (group / "memory.max").write_text(str(96 * MIB))
    options = {"shim_cgroup": f"/{shims.NAMESPACE}/own"}
    task = made(place, "sh", "-c", "for i in $(seq 30); do sleep 1000 & done; sleep 1000; true", options=options)
    task.call("Start")
    shim = task.call("Connect")["shim_pid"]
    assert host.cgroup_of(shim) == f"/{shims.NAMESPACE}/own"
    assert host.cgroup_of(task.pid) == f"/{shims.NAMESPACE}/{task.id}"
    host.wait_for("32 processes", lambda: read(task, "pids.current") == "32")
    task.exec("worker", "true")
    assert task.call("Wait", exec_id="worker")["exit_status"] == 0
    assert (group / "cgroup.procs").read_text().split() == [str(shim)]
    assert (group / "pids.events").read_text().split()[1] == "0"
    task.end()


def test_a_cgroup_for_the_shim_that_is_not_there(place: shims.Place) -> None:
    """`start` fails, names it, and leaves no shim."""
    place.bundle("none")
    given = wire.any_of("Options", {"shim_cgroup": "/no/such"}, "containerd.runc.v1.")
    done = place.run("none", "start", input=wire.encode("Any", given))
    assert done.returncode != 0
    assert b"/no/such" in done.stderr
