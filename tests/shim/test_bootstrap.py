"""`start`, `delete`, `-info` and `-v`, in each form that containerd has, and the process that serves."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from tests.shim import shims, wire
from tests.shim.client import TASK2, TASK3, Client, RpcError
from tests.shim.shims import FORMS, NAMESPACE, Place
from tests.support.host import files_of, wait_for

SANDBOX_ID = "io.kubernetes.cri.sandbox-id"


def pid_of(place: Place, started: shims.Started) -> int:
    """The pid of the shim at an address."""
    return place.shims[started.address]


@pytest.mark.ours("each of its versions knows some of the forms")
@pytest.mark.parametrize("form", FORMS)
def test_forms(place: Place, form: str) -> None:
    """What `start` reads and prints, from containerd 1.6 to 2.3: an address, JSON, a BootstrapResult."""
    task = place.running("sleep", "1000", form=form)
    assert task.client.service == (TASK2 if form == "1.6" else TASK3)
    task.shutdown()


@pytest.mark.ours("each of its versions has one of the services")
def test_both_services(place: Place) -> None:
    """A containerd of another version, after an upgrade, finds its service at the same address."""
    task = place.running()
    for service in (TASK2, TASK3):
        with Client(next(iter(place.shims)), service) as client:
            assert client.call("State", id=task.id)["pid"] == task.pid


def test_options_on_stdin(place: Place) -> None:
    """The shim's own options: shim_cgroup."""
    group = Path(f"/sys/fs/cgroup/{NAMESPACE}/shims")
    group.mkdir(parents=True)
    place.bundle("box")
    started = place.start("box", options={"shim_cgroup": f"/{NAMESPACE}/shims", "systemd_cgroup": False})
    assert str(pid_of(place, started)) in (group / "cgroup.procs").read_text().split()


@pytest.mark.ours("containerd 1.6 does not have it")
def test_directory_of_the_socket(place: Place) -> None:
    place.bundle("box")
    started = place.start("box", "2.3", socket_dir=str(place.work / "sockets"))
    assert started.address.startswith(f"unix://{place.work}/sockets/")
    assert Path(started.address.removeprefix("unix://")).is_socket()


def test_socket(place: Place) -> None:
    """Only root can use it, and it is gone with the shim."""
    task = place.running()
    path = Path(next(iter(place.shims)).removeprefix("unix://"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) & 0o066 == 0
    task.shutdown()
    assert not path.exists()


def test_long_names(place: Place) -> None:
    """An id may have 76 letters, and the address still fits into a socket's name."""
    task = place.running(id="a" * 76)
    assert task.state()["status"] == shims.RUNNING


def test_process(place: Place) -> None:
    """A process group of its own in containerd's session, a subreaper, with containerd's oom_score_adj and 1."""
    task = place.running("sh", "-c", "(setsid sleep 1000 &) ; sleep 1000; true")
    shim = task.call("Connect")["shim_pid"]
    assert os.getpgid(shim) == shim
    assert os.getsid(shim) == os.getsid(0)
    assert parent(task.pid) == shim
    own = int(Path("/proc/self/oom_score_adj").read_text())
    assert int(Path(f"/proc/{shim}/oom_score_adj").read_text()) == min(own + 1, 1000)
    assert os.readlink(f"/proc/{shim}/cwd") == str(task.path)


@pytest.mark.ours("it has about ten")
def test_one_thread(place: Place) -> None:
    task = place.running()
    assert len(os.listdir(f"/proc/{task.call('Connect')['shim_pid']}/task")) == 1


def test_descriptors(place: Place) -> None:
    """The server keeps nothing of its caller: `start`'s output is read to its end."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    place.bundle("box")
    started = place.start("box")
    pipe = os.readlink(f"/proc/self/fd/{writer}")
    os.close(writer)
    kept = files_of(pid_of(place, started)).values()
    os.close(reader)
    assert pipe not in kept
    assert [os.readlink(f"/proc/{pid_of(place, started)}/fd/{number}") for number in range(2)] == ["/dev/null"] * 2


def parent(pid: int) -> int:
    """The parent of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_start_twice(place: Place) -> None:
    """The second one finds the shim of the first."""
    place.bundle("box")
    first, second = place.start("box"), place.start("box")
    assert first.address == second.address
    assert len(set(place.shims.values())) == 1


def test_pod(place: Place) -> None:
    """The containers of a pod share one shim, which ends after the last of them."""
    tasks = []
    for id in ("pod", "one", "two"):
        place.bundle(id, annotations={SANDBOX_ID: "pod"})
        task = shims.Task(place, id, place.connect(place.start(id)))
        task.create()
        task.call("Start")
        tasks.append(task)
    assert len(place.shims) == 1
    shim = tasks[0].call("Connect")["shim_pid"]
    assert {parent(task.pid) for task in tasks} == {shim}
    for task in reversed(tasks):
        assert shims.alive(shim)
        task.end()
        task.call("Shutdown")
        done = place.run(task.id, "delete", "-bundle", str(task.path))
        assert done.returncode == 0, done
    wait_for("the end of the shim", lambda: not shims.alive(shim))


def test_end_of_a_pod_s_shim(place: Place) -> None:
    """A shim that was killed: `delete` of each container removes its own and nothing of the others."""
    tasks = []
    for id in ("pod", "one"):
        place.bundle(id, annotations={SANDBOX_ID: "pod"})
        task = shims.Task(place, id, place.connect(place.start(id)))
        task.create()
        task.call("Start")
        tasks.append(task)
    shims.kill(tasks[0].call("Connect")["shim_pid"])
    assert place.run("one", "delete", "-bundle", str(tasks[1].path)).returncode == 0
    assert not shims.processes("one")
    assert shims.processes("pod") == [tasks[0].pid]
    assert place.run("pod", "delete", "-bundle", str(tasks[0].path)).returncode == 0


def test_socket_of_a_dead_shim(place: Place) -> None:
    """A socket that nobody serves is replaced."""
    place.bundle("box")
    first = place.start("box")
    shims.kill(pid_of(place, first))
    second = place.start("box")
    assert pid_of(place, second) != 0
    assert shims.alive(pid_of(place, second))


def test_twenty_starts_at_once(place: Place) -> None:
    """One shim serves all starts of one pod, also if they come at the same time."""
    import concurrent.futures

    ids = [f"box{number}" for number in range(8)]
    for id in ids:
        place.bundle(id, annotations={SANDBOX_ID: "pod"})
    if not shims.is_ours():
        place.start(ids[0])  # it has a race here
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(place.start, ids))
    assert len({started.address for started in found}) == 1
    assert len(set(place.shims.values())) == 1


def test_start_with_a_bad_config(place: Place) -> None:
    """The error names the file, and no shim stays. Without the file it is a sandbox's bundle (test_sandbox.py)."""
    (place.bundle("box").path / "config.json").write_text("{")
    done = place.run("box", "start", input=bootstrap("box"), MAX_SHIM_VERSION="2")
    assert done.returncode != 0
    assert b"config.json" in done.stderr + done.stdout


def bootstrap(id: str) -> bytes:
    """The stdin of a `start`."""
    return wire.encode("BootstrapParams", {"instance_id": id, "namespace": NAMESPACE})


@pytest.mark.parametrize("words", [["start"], ["-namespace", NAMESPACE, "-id", "box", "fly"], ["-nonsense", "start"]])
@pytest.mark.ours("it serves, or takes an empty id")
def test_wrong_command_lines(place: Place, words: list[str]) -> None:
    """They fail at once, with a message."""

    place.bundle("box")
    done = subprocess.run(
        [*place.program, *words], cwd=place.work / "box", stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert done.stderr


def test_version(place: Place) -> None:

    done = subprocess.run([*place.program, "-v"], capture_output=True, text=True, timeout=60, check=True)
    assert "Version:" in done.stdout


@pytest.mark.ours("containerd 1.6 does not have it")
def test_info(place: Place) -> None:
    """containerd asks for the shim's features by an Any on stdin, which may be empty."""

    for options in (b"", wire.encode("Any", wire.any_of("Options", {"root": "/run/x"}, "containerd.runc.v1."))):
        done = subprocess.run([*place.program, "-info"], input=options, capture_output=True, timeout=60, check=True)
        info = wire.decode("RuntimeInfo", done.stdout)
        assert info["name"] == "io.containerd.pyrunc.v2"
        assert info["version"]["version"]
        assert info["features"]["type_url"].endswith("opencontainers/runtime-spec/1/features/Features")
        assert b"ociVersionMin" in info["features"]["value"]


@pytest.mark.parametrize("data", [b"\xff" * 40, b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x03box", b"{}"])
def test_stdin_that_is_nothing(place: Place, data: bytes) -> None:
    """`start` fails with a message, or takes it as no options; it does not hang."""
    place.bundle("box")
    done = place.run("box", "start", input=data, MAX_SHIM_VERSION="2")
    if done.returncode:
        assert done.stderr
        return
    address = done.stdout if done.stdout.startswith(b"unix") else b"unix://" + done.stdout.partition(b"unix://")[2]
    text = address.partition(b'"')[0].partition(b"\x1a")[0].decode()
    place.connect(shims.Started(done.stdout, text, 3 if shims.is_ours() else 2))


def test_log(place: Place) -> None:
    """The shim's log is the FIFO in the bundle, which containerd reads; its loss ends nothing."""
    task = place.running()
    shim = task.call("Connect")["shim_pid"]
    assert str(task.path / "log") in files_of(shim).values()
    os.close(place.log)
    place.log = os.open(task.path / "log", os.O_RDONLY | os.O_NONBLOCK)
    os.close(place.log)
    place.log = -1
    with pytest.raises(RpcError):
        task.exec("bad", "/no/such/program")
    assert task.state()["status"] == shims.RUNNING
