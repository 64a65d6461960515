"""Pods of the real containerd 2 whose sandbox the shim keeps: no pause image is anywhere (docs/shim.md).

They need `make build/engines/bin/containerd/.built build/engines/bin/cri-tools/.built`.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engines import images
from tests.shim import policies, shims
from tests.shim.inside import REPOSITORY
from tests.shim.test_containerd import NEW, RUNTIME, Containerd, Done
from tests.support.host import SECONDS, wait_for

pytestmark = pytest.mark.ours("it keeps no sandbox")

CRICTL = REPOSITORY / "build/engines/bin/crictl"
IMAGE = "localhost/box:1"
FILES = Path("/run/containerd-shim-pyrunc-v2/k8s.io")

# A network plugin by its protocol: the namespace is a pod's own, and nothing of it is needed but an address.
NETWORK = """#!/bin/sh
cat >/dev/null
case $CNI_COMMAND in
ADD) echo '{"cniVersion":"0.4.0","interfaces":[{"name":"eth0","sandbox":"'$CNI_NETNS'"}],
    "ips":[{"version":"4","interface":0,"address":"10.77.0.2/16"}]}' ;;
VERSION) echo '{"cniVersion":"0.4.0","supportedVersions":["0.3.1","0.4.0"]}' ;;
esac
"""

# Namespace modes of the CRI
OF_POD, OF_CONTAINER, OF_NODE = 0, 1, 2


class Cri(Containerd):
    """A containerd with its CRI plugin, and crictl."""

    def __init__(self, programs: Path, work: Path, template: Path) -> None:
        (work / "cni").mkdir()
        for name in ("loopback", "given"):
            (work / "cni" / name).write_text(NETWORK)
            (work / "cni" / name).chmod(0o755)
        network = {"cniVersion": "0.4.0", "name": "pods", "plugins": [{"type": "given"}]}
        (work / "cni/10-pods.conflist").write_text(json.dumps(network))
        super().__init__(programs, work, template)
        self.namespace = "k8s.io"
        wait_for("the plugin", lambda: self.call("info").code == 0)
        applets = ["sh", "sleep", "cat", "echo", "hostname", "ls", "wc", "kill", "ps", "true", "id", "mknod"]
        images.archive(images.busybox(template, IMAGE, applets), work / "box.tar")
        self.must("images", "import", str(work / "box.tar"))

    def configuration(self) -> str:
        runtime = "io.containerd.cri.v1.runtime"
        return f"""version = 3
root = "{self.work}/root"
state = "{self.work}/state"
[grpc]
  address = "{self.socket}"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "native"
[plugins."{runtime}"]
  restrict_oom_score_adj = true
[plugins."{runtime}".cni]
  bin_dirs = ["{self.work}/cni"]
  conf_dir = "{self.work}/cni"
[plugins."{runtime}".containerd]
  default_runtime_name = "pyrunc"
[plugins."{runtime}".containerd.runtimes.pyrunc]
  runtime_type = "{RUNTIME}"
  sandboxer = "shim"
  disable_pause_image_pull = true
  pod_annotations = ["{policies.BROKER}"]
"""

    def call(self, *words: str, seconds: float = 2 * SECONDS) -> Done:
        """Run crictl."""
        command = [str(CRICTL), "--runtime-endpoint", f"unix://{self.socket}", "--timeout", f"{SECONDS:.0f}s", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
        return Done(done.returncode, done.stdout, done.stderr)

    def need(self, *words: str) -> str:
        """The output of crictl. AssertionError if it fails."""
        done = self.call(*words)
        assert done.code == 0, (words, done, self.log())
        return done.out.strip()

    def write(self, value: Any) -> str:
        """A new file for crictl."""
        path = self.work / f"{self.name()}.json"
        path.write_text(json.dumps(value))
        return str(path)

    def clean(self) -> None:
        self.call("rmp", "--all", "--force")
        super().clean()


class Pod:
    """A pod by crictl."""

    def __init__(self, cri: Cri, **fields: Any) -> None:
        self.cri = cri
        name = cri.name()
        self.logs = cri.work / f"logs-{name}"
        self.config = {
            "metadata": {"name": name, "namespace": "tests", "uid": name, "attempt": 0},
            "hostname": "web-0",
            "log_directory": str(self.logs),
            "linux": {"cgroup_parent": f"/{name}", **fields.pop("linux", {})},
            **fields,
        }
        self.id = cri.need("runp", cri.write(self.config))
        self.pid = int(self.inspect()["info"]["pid"])

    def inspect(self) -> dict[str, Any]:
        """What `crictl inspectp` says."""
        found: dict[str, Any] = json.loads(self.cri.need("inspectp", self.id))
        return found

    @property
    def state(self) -> str:
        """SANDBOX_READY or SANDBOX_NOTREADY."""
        return str(self.inspect()["status"]["state"])

    def run(self, *command: str, **fields: Any) -> str:
        """The id of a new container that runs."""
        name = self.cri.name()
        config = {"metadata": {"name": name}, "image": {"image": IMAGE}, "command": list(command), "log_path": name}
        id = self.cri.need("create", self.id, self.cri.write({**config, **fields}), self.cri.write(self.config))
        self.cri.need("start", id)
        return id

    def pid_of(self, id: str) -> int:
        """The pid of a container."""
        return int(json.loads(self.cri.need("inspect", id))["info"]["pid"])

    def remove(self) -> None:
        """Stop and remove the pod; nothing of it is left."""
        self.cri.need("stopp", self.id)
        self.cri.need("rmp", self.id)
        self.gone()

    def gone(self) -> None:
        """No shim, process, cgroup, mount, directory or bundle of the pod is there."""
        wait_for("the end of the shim", lambda: not self.cri.shims())
        assert not shims.alive(self.pid)
        assert not (FILES / self.id).exists()
        assert self.id not in Path("/proc/self/mountinfo").read_text()
        assert not list(Path("/sys/fs/cgroup", self.config["metadata"]["name"]).glob(f"{self.id}*"))
        assert not Path(shims.ROOT, "k8s.io", self.id).exists()
        for kind in ("io.containerd.sandbox.controller.v1.shim", "io.containerd.runtime.v2.task"):
            assert not list((self.cri.work / "state" / kind).glob("k8s.io/*"))


@pytest.fixture(scope="module")
def daemon(template: Path) -> Iterator[Cri]:
    """A containerd for all tests."""
    for program in (NEW / "containerd", CRICTL):
        if not program.exists():
            pytest.skip(f"needs {program}")
    work = Path(tempfile.mkdtemp(prefix="k", dir="/run"))
    value = Cri(NEW, work, template)
    yield value
    value.down()
    shutil.rmtree(work, ignore_errors=True)


@pytest.fixture
def cri(daemon: Cri) -> Iterator[Cri]:
    """The same; what a test leaves is removed. One test at a time: all workers have the namespace k8s.io."""
    with open("/run/cri.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield daemon
        daemon.clean()


def namespace(pid: int | str, kind: str) -> str:
    """The identity of a process's namespace."""
    return os.readlink(f"/proc/{pid}/ns/{kind}")


def test_a_pod(cri: Cri) -> None:
    """Two containers share network, IPC, host name and shared memory; exec, logs, stop and remove; without an image."""
    dns = {"servers": ["10.0.0.9"], "searches": ["svc.local"], "options": []}
    pod = Pod(cri, dns_config=dns)
    assert "pause" not in cri.must("images", "ls", "--quiet")
    assert Path(f"/proc/{pod.pid}/comm").read_text() == "pause\n"
    assert pod.state == "SANDBOX_READY"
    own = {"linux": {"security_context": {"namespace_options": {"pid": OF_CONTAINER}}}}
    one = pod.run("sh", "-c", "echo shared >/dev/shm/x; echo logged; sleep 1000", **own)
    two = pod.run("sleep", "1000", **own)
    wait_for("its log", lambda: cri.need("logs", one) == "logged")
    pids = pod.pid_of(one), pod.pid_of(two)
    for kind in ("net", "ipc", "uts"):
        assert len({namespace(pid, kind) for pid in (*pids, pod.pid)}) == 1
        assert namespace(pod.pid, kind) != namespace("self", kind)
    assert namespace(pids[0], "pid") != namespace(pids[1], "pid")
    assert len(cri.shims()) == 1, "one shim for all"
    script = "cat /dev/shm/x /etc/hostname /etc/resolv.conf; hostname"
    said = cri.need("exec", two, "sh", "-c", script)
    assert said.split("\n") == ["shared", "web-0", "search svc.local", "nameserver 10.0.0.9", "web-0"]
    assert json.loads(cri.need("statsp", "--id", pod.id, "--output", "json"))["stats"][0]["attributes"]["id"] == pod.id
    cri.need("stop", "--timeout=0", one)
    cri.need("rm", one)
    assert pod.state == "SANDBOX_READY"
    cri.need("stopp", pod.id)
    assert pod.state == "SANDBOX_NOTREADY"
    wait_for("the end of all", lambda: not any(map(shims.alive, (*pids, pod.pid))))
    pod.remove()


def test_a_shared_pid_namespace(cri: Cri) -> None:
    """The sandbox's process is process 1 of all containers, and reaps what they leave."""
    pod = Pod(cri, linux={"security_context": {"namespace_options": {"pid": OF_POD}}})
    context = {"linux": {"security_context": {"namespace_options": {"pid": OF_POD}}}}
    one = pod.run("sleep", "1000", **context)
    assert namespace(pod.pid_of(one), "pid") == namespace(pod.pid, "pid")
    assert cri.need("exec", one, "cat", "/proc/1/comm") == "pause"
    cri.need("exec", one, "sh", "-c", "sh -c 'sleep 0.1 & sleep 0.2 &'")
    children = Path(f"/proc/{pod.pid}/task/{pod.pid}/children")
    wait_for("no orphans", lambda: len(children.read_text().split()) == 0)
    pod.remove()


def test_the_node_s_namespaces(cri: Cri) -> None:
    options = {"namespace_options": {"network": OF_NODE, "pid": OF_NODE, "ipc": OF_NODE}}
    pod = Pod(cri, hostname="", linux={"security_context": options})
    one = pod.run("sleep", "1000", linux={"security_context": options})
    for kind in ("net", "ipc", "uts", "pid"):
        assert namespace(pod.pid_of(one), kind) == namespace(pod.pid, kind) == namespace("self", kind)
    pod.remove()


def test_containerd_is_killed(cri: Cri) -> None:
    """The pod goes on; the next containerd has it as it was, and its end too."""
    pod = Pod(cri)
    one = pod.run("sleep", "1000")
    pid = pod.pid_of(one)
    shim = cri.shims()
    cri.down()
    cri.up()
    wait_for("the plugin", lambda: cri.call("info").code == 0)
    assert pod.state == "SANDBOX_READY"
    assert (pod.pid_of(one), cri.shims()) == (pid, shim)
    assert int(pod.inspect()["info"]["pid"]) == pod.pid
    assert cri.need("exec", one, "echo", "again") == "again"
    two = pod.run("sh", "-c", "hostname")
    wait_for("its log", lambda: cri.need("logs", two) == "web-0")
    os.kill(pod.pid, signal.SIGTERM)
    wait_for("not ready", lambda: pod.state == "SANDBOX_NOTREADY")
    pod.remove()


def test_the_process_ends_while_containerd_is_away(cri: Cri) -> None:
    pod = Pod(cri)
    cri.down()
    os.kill(pod.pid, signal.SIGKILL)
    cri.up()
    wait_for("the plugin", lambda: cri.call("info").code == 0)
    wait_for("not ready", lambda: pod.state == "SANDBOX_NOTREADY")
    pod.remove()


def test_the_shim_is_killed(cri: Cri) -> None:
    """The pod and its containers end, and are removed."""
    pod = Pod(cri)
    pid = pod.pid_of(pod.run("sh", "-c", "sleep 1000 & sleep 1000; true"))
    (shim,) = cri.shims()
    os.kill(shim, signal.SIGKILL)
    wait_for("the end of the pod", lambda: not shims.alive(pod.pid) and not shims.alive(pid))
    # Until containerd has seen the end, it asks the shim.
    wait_for("its state", lambda: cri.call("inspectp", pod.id).code == 0)
    wait_for("not ready", lambda: pod.state == "SANDBOX_NOTREADY")
    wait_for("its removal", lambda: cri.call("rmp", "--force", pod.id).code == 0)
    pod.gone()


def test_the_shim_is_killed_while_containerd_is_away(cri: Cri) -> None:
    pod = Pod(cri)
    pid = pod.pid_of(pod.run("sleep", "1000"))
    (shim,) = cri.shims()
    cri.down()
    os.kill(shim, signal.SIGKILL)
    cri.up()
    wait_for("the plugin", lambda: cri.call("info").code == 0)
    wait_for("the end of the pod", lambda: not shims.alive(pod.pid) and not shims.alive(pid))
    wait_for("its removal", lambda: cri.call("rmp", "--force", pod.id).code == 0)
    pod.gone()


def test_a_start_that_fails(cri: Cri) -> None:
    """Its reason is the answer, and nothing is left."""
    config = {
        "metadata": {"name": "bad", "namespace": "tests", "uid": "bad", "attempt": 0},
        "linux": {"cgroup_parent": "/bad", "sysctls": {"net.core.somaxconn": "none"}},
    }
    done = cri.call("runp", cri.write(config))
    assert done.code != 0
    assert "somaxconn" in done.err
    wait_for("the end of the shim", lambda: not cri.shims())
    assert not FILES.exists() or not list(FILES.iterdir())
    assert not cri.need("pods", "--quiet")


def test_a_container_that_fails_leaves_the_pod(cri: Cri) -> None:
    pod = Pod(cri)
    name = cri.name()
    config = {"metadata": {"name": name}, "image": {"image": IMAGE}, "command": ["/none"], "log_path": name}
    id = cri.need("create", pod.id, cri.write(config), cri.write(pod.config))
    done = cri.call("start", id)
    assert done.code != 0
    assert "/none" in done.err
    assert pod.state == "SANDBOX_READY"
    assert cri.need("exec", pod.run("sleep", "1000"), "echo", "well") == "well"
    pod.remove()


def test_a_pod_with_a_broker(cri: Cri) -> None:
    """Its containers have one for all of them, its own process none; nothing is left of it."""
    script = "cd /dev; mknod a c 1 3 && echo made; mknod b c 1 5 2>/dev/null || echo refused; sleep 1000"
    with policies.given():
        pod = Pod(cri, annotations={policies.BROKER: "nodes"})
        ids = [pod.run("sh", "-c", script) for _ in range(2)]
        said = ["made", "refused"]
        wait_for("the output", lambda: all(cri.need("logs", id).splitlines() == said for id in ids))
        assert cri.need("exec", ids[1], "sh", "-c", "mknod /dev/c c 1 5 2>/dev/null || echo refused") == "refused"
        [shim] = cri.shims()
        brokers = shims.brokers(shim)
        assert len(brokers) == 1
        assert "Seccomp:\t0" in Path(f"/proc/{pod.pid}/status").read_text()
        pod.remove()
        wait_for("the end of the broker", lambda: not any(map(shims.alive, brokers)))


def test_a_pod_whose_policy_is_not_there(cri: Cri) -> None:
    with policies.given():
        pod = Pod(cri, annotations={policies.BROKER: "none"})
        name = cri.name()
        config = cri.write(
            {"metadata": {"name": name}, "image": {"image": IMAGE}, "command": ["true"], "log_path": name}
        )
        done = cri.call("start", cri.need("create", pod.id, config, cri.write(pod.config)))
    assert f"the annotation {policies.BROKER} asks for policy none: there is no policy none" in done.err
    pod.remove()
