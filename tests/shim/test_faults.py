"""What goes wrong around a shim: a kill at any moment, no descriptors, times that are up, names that no file has."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from tests.shim import shims, wire
from tests.shim.client import (
    DEADLINE_EXCEEDED,
    INVALID_ARGUMENT,
    REQUEST,
    UNKNOWN,
    RpcError,
    connect,
    frame,
    read_frame,
    request,
)
from tests.shim.shims import RUNNING, STOPPED, Place, cgroup, processes
from tests.support.host import SECONDS, wait_for

pytestmark = pytest.mark.ours("it does otherwise, or is not of interest here")

SPEC = {"args": ["true"], "cwd": "/", "user": {"uid": 0, "gid": 0}}


def spec() -> Any:
    return wire.any_of("types.containerd.io/opencontainers/runtime-spec/1/Process", json.dumps(SPEC).encode())


@pytest.mark.parametrize("seconds", [0, 0.005, 0.01, 0.02, 0.04])
def test_shim_is_killed_during_create(place: Place, seconds: float) -> None:
    """The command that it has left does not make the container after `delete`."""
    place.bundle("box")
    client = place.connect(place.start("box"))
    shim = client.call("Connect", id="box")["shim_pid"]
    client.begin("Create", id="box", bundle=str(place.work / "box"))
    time.sleep(seconds)
    shims.kill(shim)
    done = place.run("box", "delete", "-bundle", str(place.work / "box"))
    assert done.returncode == 0, done
    assert shims.settled(lambda: processes("box") or Path(shims.ROOT, shims.NAMESPACE, "box").exists())
    assert not cgroup("box").exists()


def test_shim_is_killed_during_delete(place: Place) -> None:
    """Its command goes on, and runs all hooks."""
    bundle = place.bundle("box")
    ended = place.work / "ended"
    hooks = [{"path": "/bin/sleep", "args": ["sleep", "1"]}, {"path": "/bin/touch", "args": ["touch", str(ended)]}]
    bundle.config["hooks"] = {"poststop": hooks}
    bundle.write()
    client = place.connect(place.start("box"))
    shim = client.call("Connect", id="box")["shim_pid"]
    client.call("Create", id="box", bundle=str(bundle.path))
    client.begin("Delete", id="box")
    wait_for("the end of the process", lambda: not processes("box"))
    wait_for("the end of the state directory", lambda: not Path(shims.ROOT, shims.NAMESPACE, "box").exists())
    shims.kill(shim)
    assert place.run("box", "delete", "-bundle", str(bundle.path)).returncode == 0
    wait_for("the last hook", ended.exists)


@pytest.mark.parametrize("uri", ["/run/a\0b", "file:///run/a%00b"])
def test_names_of_streams_with_a_nul(place: Place, uri: str) -> None:
    """They fail as any stream that can't be opened; the exec can be deleted, and the task ends."""
    task = place.running()
    task.call("Exec", exec_id="e", spec=spec(), stdout=uri)
    with pytest.raises(RpcError, match="preparing the standard streams: invalid argument"):
        task.call("Start", exec_id="e")
    assert task.state("e")["status"] == STOPPED
    assert task.call("Delete", exec_id="e")["exit_status"] == 255
    assert task.end()["exit_status"] == 137
    place.bundle("box")
    with pytest.raises(RpcError, match="preparing the standard streams: invalid argument"):
        task.client.call("Create", id="box", bundle=str(place.work / "box"), stdout=uri)
    assert task.client.call("Create", id="box", bundle=str(place.work / "box"))["pid"]


def test_names_of_files_with_a_nul(place: Place) -> None:
    """Those that the runtime's command line would have: the call fails, and the next one has its turn."""
    task = place.running()
    with pytest.raises(RpcError, match="the command line of checkpoint: embedded null"):
        task.call("Checkpoint", path="/run/a\0b")
    task.call("Pause")
    task.call("Resume")
    place.bundle("box")
    task.client.call("Create", id="box", bundle=str(place.work / "box"), checkpoint="/run/a\0b")
    with pytest.raises(RpcError, match="the command line of restore: embedded null"):
        task.client.call("Start", id="box")
    task.client.call("Delete", id="box")


@pytest.mark.parametrize("number", [65, 1 << 31, (1 << 32) - 1])
def test_signals_that_there_are_not(place: Place, number: int) -> None:
    task = place.running()
    task.exec("e", "sleep", "1000")
    for exec_id in ("", "e"):
        with pytest.raises(RpcError) as caught:
            task.call("Kill", exec_id=exec_id, signal=number)
        assert caught.value.code == INVALID_ARGUMENT
    assert task.state()["status"] == RUNNING


def test_time_is_up_before_the_command(place: Place) -> None:
    """A logger that takes the client's whole time: nothing is made for a client that has been told so."""
    logger, on = place.work / "logger", place.work / "on"
    logger.write_text(f"#!/bin/sh\nuntil [ -e {on} ]; do sleep 0.05; done\nexec 5>&-\ncat <&3 >/dev/null\n")
    logger.chmod(0o755)
    task = place.running()
    place.bundle("box")
    task.call("Exec", exec_id="e", spec=spec(), stdout=f"binary://{logger}")
    fields = {"id": "box", "bundle": str(place.work / "box"), "stdout": f"binary://{logger}"}
    calls = [
        ("Create", wire.encode("CreateTaskRequest", fields)),
        ("Start", wire.encode("StartRequest", {"id": task.id, "exec_id": "e"})),
    ]
    for method, payload in calls:
        with connect(next(iter(place.shims))) as peer:
            peer.sendall(frame(1, REQUEST, request(task.client.service, method, payload, 100_000_000)))
            status = wire.decode("Response", read_frame(peer)[3])["status"]
            assert status["code"] == DEADLINE_EXCEEDED
    on.touch()
    wait_for("the end of the exec", lambda: task.state("e")["status"] == STOPPED)
    assert task.state("e")["pid"] == 0
    assert shims.settled(lambda: processes("box"), 1.5)
    assert not Path(shims.ROOT, shims.NAMESPACE, "box").exists()
    assert task.client.call("Create", id="box", bundle=str(place.work / "box"))["pid"]


def test_address_that_can_not_be_written(place: Place) -> None:
    """`start` fails, and leaves no server and no socket that nobody knows."""
    bundle = place.bundle("box")
    group = f"{place.work}/containerd.sock/{shims.NAMESPACE}/box"
    socket = Path("/run/containerd/s", hashlib.sha256(group.encode()).hexdigest())
    (bundle.path / "address").symlink_to("/dev/full")
    done = place.run("box", "start")
    assert done.returncode == 1
    assert b"o space left on device" in done.stderr
    assert not socket.exists()
    words = f"\0-id\0box\0-address\0{place.work}/".encode()
    wait_for("the end of the server", lambda: not any(words in line for line in command_lines()))
    (bundle.path / "address").unlink()
    assert place.start("box").address == f"unix://{socket}"


def command_lines() -> list[bytes]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def test_no_descriptors(place: Place) -> None:
    """A new client waits without work for the shim; what fails leaves nothing; later all is well."""
    task = place.running()
    shim = task.call("Connect")["shim_pid"]
    place.events.wait("/tasks/start", container_id=task.id)  # so it has its connection
    wait_for("the end of the start", lambda: shims.children(shim) == [task.pid])
    count = len(os.listdir(f"/proc/{shim}/fd"))
    resource.prlimit(shim, resource.RLIMIT_NOFILE, (3, 4096))
    waiting = connect(next(iter(place.shims)))
    before = ticks(shim)
    time.sleep(1)
    assert ticks(shim) - before < 30
    payload = wire.encode("StateRequest", {"id": task.id})
    waiting.sendall(frame(1, REQUEST, request(task.client.service, "State", payload)))
    failures = 0
    for number in range(count, count + 16):
        resource.prlimit(shim, resource.RLIMIT_NOFILE, (number, 4096))
        id = f"e{number}"
        waited = None
        try:
            task.exec(id, "true", terminal=bool(number % 2), stdin=True)
            waited = task.begin("Wait", exec_id=id)
        except RpcError:
            failures += 1
        if waited is not None:
            waited(60)
        task.call("Delete", exec_id=id)
    assert failures
    resource.prlimit(shim, resource.RLIMIT_NOFILE, (4096, 4096))
    assert read_frame(waiting)[0] == 1
    waiting.close()
    wait_for("all descriptors closed", lambda: len(os.listdir(f"/proc/{shim}/fd")) <= count)
    wait_for("the end of the execs", lambda: processes(task.id) == [task.pid])
    assert not list(task.path.glob("process-*"))
    task.exec("last", "true")


def test_bundle_that_vanishes(place: Place) -> None:
    """What needs a file in it fails, and names it; the rest goes on."""
    task = place.running()
    task.call("Exec", exec_id="e", spec=spec())
    for path in task.path.iterdir():
        if path.name not in ("rootfs", "log"):
            path.unlink()
    task.path.rename(place.work / "elsewhere")
    calls: list[tuple[str, dict[str, Any]]] = [
        ("Update", {"id": task.id}),
        ("Start", {"id": task.id, "exec_id": "e"}),
        ("Create", {"id": "x", "bundle": str(task.path)}),
    ]
    for method, fields in calls:
        with pytest.raises(RpcError, match=r"writing .*\.json: no such file or directory") as caught:
            task.client.call(method, **fields)
        assert caught.value.code == UNKNOWN
    assert task.call("Delete", exec_id="e")["exit_status"] == 255
    assert task.state()["status"] == RUNNING
    (place.work / "elsewhere").rename(task.path)
    assert task.end()["exit_status"] == 137


def test_ids_that_look_like_flags(place: Place) -> None:
    place.bundle("box")
    client = place.connect(place.start("box"))
    for id in ("--help", "-v", "--no-pivot"):
        with pytest.raises(RpcError, match="is not valid") as caught:
            client.call("Create", id=id, bundle=str(place.work / "box"))
        assert caught.value.code == INVALID_ARGUMENT


def ticks(pid: int) -> int:
    """The processor time of a process, in hundredths of a second."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_bundle_that_is_gone_for_good(place: Place) -> None:
    """Its container can be ended, paused and deleted all the same, and nothing of it stays."""
    task = place.running()
    task.call("Exec", exec_id="e", spec=spec())
    shutil.rmtree(task.path)
    task.call("Pause")
    task.call("Resume")
    assert task.end()["exit_status"] == 137
    assert not cgroup(task.id).exists()
    assert not Path(shims.ROOT, shims.NAMESPACE, task.id).exists()
    assert not list(Path("/run").glob("log-*.json"))
    task.call("Shutdown")


# It identifies this test's processes beside those of other workers.
LONG = str(98_000_000 + os.getpid())


def hooked(place: Place, name: str, kind: str) -> Any:
    """A bundle with a hook that hangs, in a session of its own, and has a child."""
    bundle = place.bundle(name)
    args = ["setsid", "sh", "-c", f"sleep {LONG} & sleep {LONG}"]
    bundle.config["hooks"] = {kind: [{"path": "/usr/bin/setsid", "args": args}]}
    bundle.write()
    return bundle


def hangs() -> bool:
    return any(LONG.encode() in line for line in command_lines())


@pytest.mark.parametrize("kind", ["prestart", "createRuntime"])
def test_hook_of_a_create_whose_shim_is_killed(place: Place, kind: str) -> None:
    """`delete` ends it with the command."""
    hooked(place, "box", kind)
    client = place.connect(place.start("box"))
    shim = client.call("Connect", id="box")["shim_pid"]
    client.begin("Create", id="box", bundle=str(place.work / "box"))
    wait_for("the hook", hangs)
    shims.kill(shim)
    assert place.run("box", "delete", "-bundle", str(place.work / "box")).returncode == 0
    wait_for("the end of the hook", lambda: not hangs())
    assert not processes("box")


@pytest.mark.parametrize(("kind", "method"), [("createRuntime", "Create"), ("poststart", "Start")])
def test_hook_when_the_time_is_up(place: Place, kind: str, method: str) -> None:
    """It ends with the command of the call."""
    for seconds in (2, 10, 50):  # on a slow machine the first time may be up before the hook
        id = f"box{seconds}"
        hooked(place, id, kind)
        client = place.connect(place.start(id))
        fields: dict[str, Any] = {"id": id, "bundle": str(place.work / id)}
        if method == "Start":
            client.call("Create", **fields)
            fields.pop("bundle")
        payload = wire.encode("CreateTaskRequest" if method == "Create" else "StartRequest", fields)
        waited = client.send(client.service, method, payload, seconds)
        wait_for("the hook", lambda waited=waited: hangs() or waited.done())  # type: ignore[misc]
        came = hangs()
        status = wire.decode("Response", waited.result(2 * SECONDS))["status"]
        assert status["code"] == DEADLINE_EXCEEDED
        if came:
            break
    assert came, "the hook has never run in time"
    wait_for("the end of the hook", lambda: not hangs())
    client.call("Connect", id=id)


def test_no_descriptors_when_a_command_has_ended(place: Place) -> None:
    """What it has made is watched: descriptors for its pid file and its state are kept while it runs."""
    bundle = place.bundle("box", "sh", "-c", "exit 7")
    here, on = place.work / "here", place.work / "on"
    script = f"touch {here}; until [ -e {on} ]; do sleep 0.05; done"
    bundle.config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}
    bundle.write()
    client = place.connect(place.start("box"))
    shim = client.call("Connect", id="box")["shim_pid"]
    created = client.begin("Create", id="box", bundle=str(bundle.path))
    wait_for("the hook", here.exists)
    limit = min(set(range(4096)) - {int(name) for name in os.listdir(f"/proc/{shim}/fd")})
    resource.prlimit(shim, resource.RLIMIT_NOFILE, (limit, 4096))
    on.touch()
    assert created()["pid"] > 0
    resource.prlimit(shim, resource.RLIMIT_NOFILE, (4096, 4096))
    waited = client.begin("Wait", id="box")
    client.call("Start", id="box")
    assert waited(60)["exit_status"] == 7
    client.call("Delete", id="box")


def test_exit_status_of_a_process_that_had_ended(place: Place) -> None:
    """`delete` after the shim's kill tells it, and its time; a container that still ran was killed."""
    task = place.running("sh", "-c", "exit 5")
    ended = task.call("Wait")
    shims.kill(task.call("Connect")["shim_pid"])
    done = place.run(task.id, "delete", "-bundle", str(task.path))
    found = wire.decode("DeleteResponse", done.stdout)
    assert (found["exit_status"], found["exited_at"], found["pid"]) == (5, ended["exited_at"], task.pid)


def test_exit_status_of_an_earlier_container(place: Place) -> None:
    """The bundle is used again: what is kept there is none of the next one's."""
    task = place.running("sh", "-c", "exit 5")
    task.call("Wait")
    task.call("Delete")
    (task.path / "exit.json").stat()
    task.create(streams={})
    shims.kill(task.call("Connect")["shim_pid"])
    done = place.run(task.id, "delete", "-bundle", str(task.path))
    assert wire.decode("DeleteResponse", done.stdout)["exit_status"] == 137


def test_binary_name_is_logged(place: Place) -> None:
    """The option has no effect, and somebody is told."""
    place.bundle("box")
    client = place.connect(place.start("box"))
    options = wire.any_of("Options", {"binary_name": "/usr/bin/crun"}, "containerd.runc.v1.")
    client.call("Create", id="box", bundle=str(place.work / "box"), options=options)
    assert b"/usr/bin/crun" in os.read(place.log, 1 << 16)
