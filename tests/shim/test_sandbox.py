"""The sandbox service, by a client of the tests: a pod without containerd and without a pause image."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.shim import shims, wire
from tests.shim.client import (
    ALREADY_EXISTS,
    FAILED_PRECONDITION,
    INVALID_ARGUMENT,
    NOT_FOUND,
    UNIMPLEMENTED,
    Client,
    RpcError,
)
from tests.support.host import wait_for

pytestmark = pytest.mark.ours("it keeps no sandbox")

FILES = Path("/run/containerd-shim-pyrunc-v2", shims.NAMESPACE)
NODE = 2


class Pod:
    """A pod by its client, and its bundle."""

    def __init__(self, place: shims.Place, id: str, **config: Any) -> None:
        self.place, self.id, self.path = place, id, place.work / id
        self.path.mkdir()
        (self.path / "rootfs").mkdir()
        os.mkfifo(self.path / "log")
        self.log = os.open(self.path / "log", os.O_RDWR | os.O_NONBLOCK)
        self.started = place.start(id, options={})
        self.client = place.connect(self.started)
        metadata = {"name": "web", "uid": "u1", "namespace": "default"}
        linux = {"cgroup_parent": f"/{shims.NAMESPACE}", **config.pop("linux", {})}
        self.config = {"metadata": metadata, "hostname": "web-0", "linux": linux, **config}
        self.pid = 0

    def call(self, method: str, **fields: Any) -> wire.Message:
        """A call of the sandbox service about this pod."""
        return self.client.call(method, sandbox_id=self.id, **fields)

    def create(self, **fields: Any) -> None:
        """Create the sandbox."""
        box = wire.any_of("PodSandboxConfig", self.config, "runtime.v1.")
        self.call("CreateSandbox", bundle_path=str(self.path), **{"options": box, **fields})

    def start(self) -> Pod:
        """Create and start it."""
        self.create()
        self.pid = self.call("StartSandbox")["pid"]
        return self

    def container(self, name: str, *args: str, users: list[dict[str, int]] | None = None) -> shims.Task:
        """A container of the pod as containerd makes it: in the pod's namespaces, created and started."""
        annotations = {"io.kubernetes.cri.sandbox-id": self.id, "io.kubernetes.cri.container-type": "container"}
        bundle = self.place.bundle(name, *args, annotations=annotations)
        kinds = {"network": "net", "ipc": "ipc", "uts": "uts"}
        if users:
            kinds["user"] = "user"
            bundle.config["linux"] |= {"uidMappings": users, "gidMappings": users}
            for above, names, files in os.walk(bundle.path / "rootfs"):
                for entry in (".", *names, *files):
                    os.lchown(os.path.join(above, entry), users[0]["hostID"], users[0]["hostID"])
        rest = [it for it in bundle.config["linux"]["namespaces"] if it["type"] not in kinds]
        joined = [{"type": kind, "path": f"/proc/{self.pid}/ns/{file}"} for kind, file in kinds.items()]
        bundle.config["linux"]["namespaces"] = rest + joined
        bundle.config.pop("hostname", None)
        shm = {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "mode=1777"]}
        bundle.config["mounts"].append(shm)
        bundle.write()
        task = shims.Task(self.place, name, self.client)
        task.create()
        task.call("Start")
        return task

    def shutdown(self) -> None:
        """Remove it and have `delete` look after it, as containerd does."""
        pid = self.client.call("Connect", id=self.id)["shim_pid"]
        self.call("ShutdownSandbox")
        wait_for("the end of the shim", lambda: not shims.alive(pid))
        assert self.place.run(self.id, "delete", "-bundle", str(self.path)).returncode == 0
        self.gone()

    def gone(self) -> None:
        """Nothing of the sandbox is left but what is containerd's."""
        assert not FILES.exists()
        assert str(FILES) not in Path("/proc/self/mountinfo").read_text()
        assert not shims.cgroup(self.id).exists()
        assert not Path(shims.ROOT, shims.NAMESPACE, self.id).exists()
        assert not list((self.path / "rootfs").iterdir())
        if self.pid:
            assert not shims.alive(self.pid)
        assert not os.path.exists(self.started.address.removeprefix("unix://"))


@pytest.fixture
def pod(place: shims.Place) -> Pod:
    """A pod that is not created yet."""
    return Pod(place, "pod1")


def namespace(pid: int | str, kind: str) -> str:
    """The identity of a process's namespace."""
    return os.readlink(f"/proc/{pid}/ns/{kind}")


def status_of(pid: int) -> str:
    """/proc/PID/status of a process."""
    return Path(f"/proc/{pid}/status").read_text()


def code(pod: Pod, method: str, **fields: Any) -> int:
    """The status of a call that fails."""
    with pytest.raises(RpcError) as caught:
        pod.call(method, **fields)
    return caught.value.code


def test_life(pod: Pod) -> None:
    pod.create()
    assert pod.call("SandboxStatus")["state"] == "SANDBOX_NOTREADY"
    started = pod.call("StartSandbox")
    pod.pid = started["pid"]
    assert started["created_at"]["seconds"] > 1_700_000_000
    assert started["spec"]["type_url"] == "types.containerd.io/opencontainers/runtime-spec/1/Spec"
    assert json.loads(started["spec"]["value"])["process"]["args"] == ["/pause"]
    status = pod.call("SandboxStatus")
    assert (status["pid"], status["state"], status["info"]) == (pod.pid, "SANDBOX_READY", [])
    assert status["created_at"] == started["created_at"]
    (info,) = pod.call("SandboxStatus", verbose=True)["info"]
    assert (info["key"], json.loads(info["value"])["pid"]) == ("info", pod.pid)
    pod.call("PingSandbox")
    assert pod.call("Platform")["platform"] == {
        "os": "linux", "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine], "variant": "",
        "os_version": "",
    }  # fmt: skip
    waited = pod.client.begin("WaitSandbox", sandbox_id=pod.id)
    pod.call("StopSandbox", timeout_secs=10)
    ended = waited()
    assert ended["exit_status"] == 137
    status = pod.call("SandboxStatus")
    assert (status["pid"], status["state"]) == (0, "SANDBOX_NOTREADY")
    assert status["exited_at"] == ended["exited_at"]
    assert pod.call("WaitSandbox") == ended, "also later"
    pod.call("StopSandbox")
    pod.shutdown()


def test_the_process(pod: Pod) -> None:
    """It has no rights, and namespaces of its own."""
    pod.start()
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pod.pid}/status").read_text().splitlines())
    assert status["Name"] == "pause"
    assert status["Uid"].split() == ["65535"] * 4
    assert status["Gid"].split() == ["65535"] * 4
    assert {status[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    for kind in ("net", "ipc", "uts", "pid", "mnt"):
        assert namespace(pod.pid, kind) != namespace("self", kind)
    rollup = Path(f"/proc/{pod.pid}/smaps_rollup").read_text()
    pss = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    assert pss <= 100, rollup
    assert os.listdir(f"/proc/{pod.pid}/fd") == ["0", "1", "2"]
    assert int(Path(f"/proc/{pod.pid}/oom_score_adj").read_text()) <= 0
    pod.shutdown()


def test_namespaces_of_the_node(place: shims.Place) -> None:
    security = {"namespace_options": {"network": NODE, "pid": NODE, "ipc": NODE}}
    pod = Pod(place, "pod1", linux={"security_context": security}).start()
    for kind in ("net", "ipc", "uts", "pid"):
        assert namespace(pod.pid, kind) == namespace("self", kind)
    assert not (FILES / "pod1/shm").exists()
    pod.shutdown()


def test_the_network_that_is_given(pod: Pod) -> None:
    """With the sysctls of the pod, and containerd's own."""
    subprocess.run(["ip", "netns", "add", "podnet"], check=True)
    try:
        pod.config["linux"]["sysctls"] = [{"key": "net.core.somaxconn", "value": "77"}]
        pod.create(netns_path="/run/netns/podnet")
        pod.pid = pod.call("StartSandbox")["pid"]
        assert os.stat(f"/proc/{pod.pid}/ns/net").st_ino == os.stat("/run/netns/podnet").st_ino

        def setting(name: str) -> str:
            words = ["nsenter", "--target", str(pod.pid), "--net", "cat", f"/proc/sys/{name}"]
            return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()

        assert setting("net/core/somaxconn") == "77"
        assert setting("net/ipv4/ip_unprivileged_port_start") == "0"
        assert setting("net/ipv4/ping_group_range").split() == ["0", "2147483647"]
        pod.shutdown()
    finally:
        subprocess.run(["ip", "netns", "del", "podnet"], check=True)


def test_containers_share(pod: Pod) -> None:
    """Two containers see each other's shared memory, the pod's host name and its name servers."""
    pod.config["dns_config"] = {"servers": ["10.0.0.1", "10.0.0.2"], "searches": ["a.b", "c"], "options": ["ndots:5"]}
    pod.start()
    one = pod.container("one", "sh", "-c", "echo shared >/dev/shm/x; sleep 1000")
    shared = Path(f"/proc/{one.pid}/root/dev/shm/x")
    wait_for("its file", lambda: shared.exists() and shared.read_text() == "shared\n")
    two = pod.container("two", "sh", "-c", "hostname; cat /etc/hostname /etc/resolv.conf /dev/shm/x; sleep 1000")
    assert two.out is not None
    said = two.out.says(b"shared\n")
    wanted = b"web-0\nweb-0\nsearch a.b c\nnameserver 10.0.0.1\nnameserver 10.0.0.2\noptions ndots:5\nshared\n"
    assert said == wanted
    for kind in ("net", "ipc", "uts"):
        assert namespace(one.pid, kind) == namespace(two.pid, kind) == namespace(pod.pid, kind)
    assert namespace(one.pid, "pid") != namespace(two.pid, "pid")
    assert two.exec("e1", "sh", "-c", "wc -l </etc/hosts") > 0
    one.end()
    two.end()
    pod.shutdown()


def test_a_container_does_not_fill_the_hosts_run(pod: Pod) -> None:
    pod.start()
    one = pod.container(
        "one", "sh", "-c", "dd if=/dev/zero bs=4000 count=999 2>&- >>/etc/hosts; wc -c </etc/hosts; sleep 99"
    )
    assert one.out is not None
    assert 4000 < int(one.out.says(b"\n")) <= 1 << 20
    one.end()
    pod.shutdown()


def test_what_a_container_brings_itself_stays(pod: Pod, place: shims.Place) -> None:
    """A mount of its own at one of the files, and a read-only root, which makes the files read-only."""
    pod.start()
    (place.work / "mine").write_text("mine\n")
    annotations = {"io.kubernetes.cri.sandbox-id": pod.id, "io.kubernetes.cri.container-type": "container"}
    script = "cat /etc/hosts; echo x >/etc/hostname || echo refused"
    bundle = place.bundle("own", "sh", "-c", script, annotations=annotations)
    mount = {"destination": "/etc/hosts", "type": "bind", "source": str(place.work / "mine"), "options": ["rbind"]}
    bundle.config["mounts"].append(mount)
    for name in ("etc/hosts", "etc/hostname", "etc/resolv.conf"):
        (bundle.path / "rootfs" / name).parent.mkdir(exist_ok=True)
        (bundle.path / "rootfs" / name).touch()
    bundle.config["root"]["readonly"] = True
    bundle.write()
    task = shims.Task(place, "own", pod.client)
    task.create()
    task.call("Start")
    assert task.out is not None
    assert task.out.says(b"refused\n").startswith(b"mine\n")
    task.call("Wait")
    task.call("Delete")
    pod.shutdown()


def test_a_container_of_another_pod_is_left_alone(pod: Pod, place: shims.Place) -> None:
    pod.start()
    annotations = {"io.kubernetes.cri.sandbox-id": "other", "io.kubernetes.cri.container-type": "container"}
    bundle = place.bundle("foreign", annotations=annotations)
    before = (bundle.path / "config.json").read_bytes()
    task = shims.Task(place, "foreign", pod.client)
    task.create()
    assert (bundle.path / "config.json").read_bytes() == before
    task.call("Kill", signal=9)
    task.call("Wait")
    task.call("Delete")
    pod.shutdown()


@pytest.mark.parametrize("signal", [2, 15, 9])
def test_the_process_ends(pod: Pod, signal: int) -> None:
    pod.start()
    waited = pod.client.begin("WaitSandbox", sandbox_id=pod.id)
    wait_for("its own first steps", lambda: "SigIgn:\t0000000000010000" in status_of(pod.pid))
    os.kill(pod.pid, signal)
    assert waited()["exit_status"] == (137 if signal == 9 else 0)
    assert pod.call("SandboxStatus")["state"] == "SANDBOX_NOTREADY"
    pod.shutdown()


def test_it_reaps(pod: Pod) -> None:
    """In a pid namespace of the pod, processes whose parents have ended become children of its process."""
    pod.start()
    words = ["nsenter", "--target", str(pod.pid), "--pid", "sh", "-c", "sleep 0.2 & sleep 0.1 & exit 0"]
    subprocess.run(words, check=True)

    # A zombie is a child, too. The others' parent has ended, so they are its children.
    wait_for("the orphans to end and to be reaped", lambda: not shims.children(pod.pid))
    pod.shutdown()


def test_shutdown_ends_what_runs(pod: Pod) -> None:
    """Also without a stop; a container that still runs goes with `delete`, as containerd runs it for each."""
    pod.start()
    task = pod.container("left", "sleep", "1000")
    pod.shutdown()
    assert pod.place.run("left", "delete", "-bundle", str(task.path)).returncode == 0
    wait_for("the end of the container", lambda: not shims.alive(task.pid))
    assert not shims.cgroup("left").exists()


def test_stop_ends_the_containers(pod: Pod) -> None:
    pod.start()
    task = pod.container("one", "sleep", "1000")
    waited = task.begin("Wait")
    pod.call("StopSandbox")
    assert waited()["exit_status"] == 137
    task.call("Delete")
    pod.shutdown()


def test_the_shim_is_killed(pod: Pod) -> None:
    """`delete` removes the process, the cgroup, the files, the mount and the socket."""
    pod.start()
    shims.kill(pod.client.call("Connect", id=pod.id)["shim_pid"])
    assert shims.alive(pod.pid)
    done = pod.place.run(pod.id, "delete", "-bundle", str(pod.path))
    assert done.returncode == 0, done
    assert wire.decode("DeleteResponse", done.stdout)["exit_status"] == 137
    wait_for("the end of the process", lambda: not shims.alive(pod.pid))
    pod.gone()


def test_a_task_does_not_end_the_shim(pod: Pod) -> None:
    """Its Shutdown, and its Delete of the sandbox's process."""
    pod.create()
    pod.client.call("Shutdown", id="some")
    pod.pid = pod.call("StartSandbox")["pid"]
    pod.client.call("Shutdown", id="some")
    with pytest.raises(RpcError) as caught:
        pod.client.call("Delete", id=pod.id)
    assert caught.value.code == FAILED_PRECONDITION
    assert pod.client.call("State", id=pod.id)["pid"] == pod.pid
    pod.shutdown()


def test_no_events_of_the_process(pod: Pod, place: shims.Place) -> None:
    """containerd knows it as no task: only the container's events come."""
    pod.start()
    task = pod.container("one", "true")
    task.call("Wait")
    task.call("Delete")
    pod.call("StopSandbox")
    pod.shutdown()
    place.events.wait("/tasks/delete")
    assert {event["container_id"] for _, event in place.events.seen} == {"one"}


def test_the_order_of_calls(pod: Pod) -> None:
    assert code(pod, "StartSandbox") == NOT_FOUND
    pod.create()
    with pytest.raises(RpcError) as caught:
        pod.create()
    assert caught.value.code == ALREADY_EXISTS
    pod.call("StopSandbox")  # of one that does not run
    pod.pid = pod.call("StartSandbox")["pid"]
    assert code(pod, "StartSandbox") == FAILED_PRECONDITION
    with pytest.raises(RpcError) as caught:
        pod.client.call("PingSandbox", sandbox_id="other")
    assert caught.value.code == NOT_FOUND
    assert code(pod, "UpdateSandbox") == UNIMPLEMENTED
    pod.shutdown()


def test_shutdown_before_the_start(pod: Pod) -> None:
    pod.create()
    pod.shutdown()


def test_shutdown_without_a_sandbox(pod: Pod) -> None:
    """containerd does it after a CreateSandbox that failed."""
    with pytest.raises(RpcError) as caught:
        pod.create(rootfs=[{"type": "tmpfs"}])
    assert caught.value.code == INVALID_ARGUMENT
    pod.shutdown()


@pytest.mark.parametrize(
    "fields",
    [
        {"options": {"type_url": "runtime.v1.PodSandboxConfig", "value": b"\x0a\xff"}},
        {"options": {"type_url": "other.Config", "value": b""}},
        {"rootfs": [{"type": "tmpfs", "source": "none"}]},
    ],
)
def test_what_is_refused(pod: Pod, fields: Any) -> None:
    with pytest.raises(RpcError) as caught:
        pod.create(**fields)
    assert caught.value.code == INVALID_ARGUMENT
    pod.shutdown()


def test_a_start_that_fails(pod: Pod) -> None:
    """The runtime's message is the answer, and nothing is left."""
    pod.config["linux"]["sysctls"] = [{"key": "net.core.somaxconn", "value": "none"}]
    pod.create()
    waited = pod.client.begin("WaitSandbox", sandbox_id=pod.id)
    with pytest.raises(RpcError) as caught:
        pod.call("StartSandbox")
    assert "net.core.somaxconn" in caught.value.message or "somaxconn" in caught.value.message
    assert waited()["exit_status"] == 255
    assert pod.call("SandboxStatus")["state"] == "SANDBOX_NOTREADY"
    pod.shutdown()


def test_a_user_namespace(pod: Pod) -> None:
    """The one that owns the network namespace, as containerd makes it; the containers join it."""
    maps = [{"host_id": 100000, "container_id": 0, "length": 65536}]
    options = {"mode": 0, "uids": maps, "gids": maps}
    pod.config["linux"]["security_context"] = {"namespace_options": {"userns_options": options}}
    holder = subprocess.Popen(["unshare", "--user", "--net", "sleep", "1000"])
    try:
        wait_for("the namespaces", lambda: namespace(holder.pid, "net") != namespace("self", "net"))
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{holder.pid}/{name}").write_text("0 100000 65536\n")
        pod.create(netns_path=f"/proc/{holder.pid}/ns/net")
        pod.pid = pod.call("StartSandbox")["pid"]
        assert namespace(pod.pid, "user") == namespace(holder.pid, "user")
        assert namespace(pod.pid, "net") == namespace(holder.pid, "net")
        assert f"Uid:\t{100000 + 65535}" in Path(f"/proc/{pod.pid}/status").read_text()
        mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        task = pod.container("one", "sh", "-c", "echo x >/dev/shm/x; cat /etc/hostname; sleep 1000", users=mapping)
        assert task.out is not None
        assert task.out.says(b"\n") == b"web-0\n"
        assert namespace(task.pid, "user") == namespace(holder.pid, "user")
        task.end()
        pod.shutdown()
    finally:
        holder.kill()
        holder.wait()


def test_options_of_start(place: shims.Place) -> None:
    """The sandbox is told the runtime's options only there."""
    with contextlib.ExitStack() as stack:
        root = place.work / "root"
        path = place.work / "pod9"
        path.mkdir()
        (path / "rootfs").mkdir()
        os.mkfifo(path / "log")
        stack.callback(os.close, os.open(path / "log", os.O_RDWR | os.O_NONBLOCK))
        client: Client = place.connect(place.start("pod9", options={"root": str(root)}))
        linux = {"cgroup_parent": f"/{shims.NAMESPACE}"}
        box = wire.any_of("PodSandboxConfig", {"linux": linux}, "runtime.v1.")
        client.call("CreateSandbox", sandbox_id="pod9", bundle_path=str(path), options=box)
        client.call("StartSandbox", sandbox_id="pod9")
        assert (root / shims.NAMESPACE / "pod9").exists()
        client.call("ShutdownSandbox", sandbox_id="pod9")
        assert not (root / shims.NAMESPACE / "pod9").exists()
