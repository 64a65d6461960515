"""What Kubernetes does with pods, by crictl: the checks of the CRI besides those that all engines share."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tests.engines.checks import namespace, succeeds
from tests.engines.cri import Cri
from tests.engines.engine import NGINX, Box, Wish
from tests.engines.machine import wait_for

Check = Callable[[Cri], None]

CHECKS: dict[str, Check] = {}


def check(function: Check) -> Check:
    """Put a check into the table, under its name."""
    CHECKS[function.__name__] = function
    return function


NGINX_COMMAND = ("/usr/sbin/nginx", "-g", "daemon off;")


def web(cri: Cri, **wish: str) -> Box:
    """A pod with an nginx that answers."""
    box = cri.box(*NGINX_COMMAND, image=NGINX, **wish)
    wait_for(
        lambda: "served by nginx" in box.exec("wget", "-qO-", "http://127.0.0.1/").out, "nginx does not answer", 30
    )
    return box


@check
def nginx(cri: Cri) -> None:
    """A pod of nginx: requests over the pod's network, exec, the access log, stop in time."""
    box = web(cri)
    address = cri.address(box)
    assert "served by nginx" in succeeds(cri.call("busybox", "wget", "-qO-", f"http://{address}/"))
    assert "master process" in succeeds(box.exec("ps"))
    box.says('"GET / HTTP/1.1" 200')
    box.do("stop")
    box.becomes("exited")
    assert cri.exit_code(box) == 0, "nginx ends by itself at SIGTERM"


@check
def two_containers(cri: Cri) -> None:
    """Two containers of a pod share its network, IPC and UTS namespaces, and not mount and pid namespaces."""
    box = web(cri)
    second = cri.box("sleep", "1000", network=f"box:{box.name}", ipc=f"box:{box.name}")
    for kind in ("net", "ipc", "uts"):
        assert namespace(second, kind) == namespace(box, kind), kind
    for kind in ("mnt", "pid"):
        assert namespace(second, kind) != namespace(box, kind), kind
    assert "served by nginx" in succeeds(second.exec("wget", "-qO-", "http://127.0.0.1/"))
    assert succeeds(second.exec("hostname")) == succeeds(box.exec("hostname"))
    # The pod's first container keeps the namespaces: the second container ends and another one comes.
    second.do("remove")
    third = cri.box("sleep", "1000", network=f"box:{box.name}", ipc=f"box:{box.name}")
    assert namespace(third, "net") == namespace(box, "net")


@check
def port_forward(cri: Cri) -> None:
    """A port of the pod, forwarded to the node."""
    box = web(cri)
    forward = cri.machine.start("forward", "crictl", "port-forward", cri.pods[box.name].id, "8089:80")
    try:
        wait_for(
            lambda: "served by nginx" in cri.call("busybox", "wget", "-qO-", "http://127.0.0.1:8089/").out,
            "the forwarded port does not answer", 30,
        )  # fmt: skip
    finally:
        cri.machine.kill(cri.machine.pids("crictl", "port-forward"))
        forward.wait()


@check
def probes(cri: Cri) -> None:
    """Ten probes by exec in a row, as a kubelet's liveness probe, one of which fails."""
    box = web(cri)
    codes = [cri.must("exec", "--sync", cri.ids[box.name], "test", "-e", "/run/nginx.pid") for _ in range(10)]
    assert codes == [""] * 10
    assert cri.call("crictl", "exec", "--sync", cri.ids[box.name], "test", "-e", "/missing").code != 0


@check
def rolling_replacement(cri: Cri) -> None:
    """Three replicas are replaced one after the other: two of them answer all the time."""
    replicas = [web(cri) for _ in range(3)]
    for number in range(3):
        old, new = replicas[number], web(cri)
        others = [box for box in replicas if box is not old]
        done = threading.Event()
        failed: list[str] = []

        def watch(boxes: list[Box], done: threading.Event = done, failed: list[str] = failed) -> None:
            addresses = [cri.address(box) for box in boxes]
            while not done.is_set():
                for address in addresses:
                    if "served" not in cri.call("timeout", "5", "busybox", "wget", "-qO-", f"http://{address}/").out:
                        failed.append(address)
                done.wait(0.2)

        watcher = threading.Thread(target=watch, args=([*others, new],))
        watcher.start()
        try:
            old.do("remove")
        finally:
            done.set()
            watcher.join()
        assert not failed, failed
        replicas[number] = new
    assert all(box.state() == "running" for box in replicas)


@check
def crash_is_seen(cri: Cri) -> None:
    """The first process is killed: the pod stays, the container is exited with 137 and can be made again in the pod."""
    box = web(cri)
    cri.machine.kill([cri.pid(box)])
    box.becomes("exited")
    assert cri.exit_code(box) == 137
    pod = cri.pods[box.name]
    cri.must("rm", cri.ids[box.name])
    cri.container(f"{box.name}-again", pod, NGINX_COMMAND, Wish(image=NGINX))
    again = Box(cri, f"{box.name}-again")
    wait_for(lambda: "served by nginx" in again.exec("wget", "-qO-", "http://127.0.0.1/").out, "it does not answer")


@check
def pod_is_stopped(cri: Cri) -> None:
    """A pod is stopped and removed: nothing of its processes, network and cgroup is left."""
    box = web(cri)
    pod = cri.pods[box.name].id
    pid = cri.pid(box)
    cgroup = cri.machine.cgroup(pid)
    cri.must("stopp", pod)
    wait_for(lambda: not cri.machine.path(f"/proc/{pid}").exists(), "nginx is still there")
    cri.must("rmp", pod)
    assert pod not in cri.must("pods", "--quiet")
    wait_for(lambda: not cgroup.exists(), f"{cgroup} is still there")
