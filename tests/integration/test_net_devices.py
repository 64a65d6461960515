"""linux.netDevices: devices of the host in the container's network namespace, and their place if no namespace is
made.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Runtime

pytestmark = pytest.mark.own("1.1 does not know the field")

ADDRESS, ADDRESS_6 = "192.0.2.7/24", "2001:db8::7/64"


def ip(*words: str) -> Any:
    """The output of `ip -json`."""
    done = subprocess.run(["ip", "-json", *words], capture_output=True, text=True, check=True)
    return json.loads(done.stdout or "[]")


def addresses(*where: str, name: str) -> list[str]:
    """The addresses of global scope of a device; where: `-n NAMESPACE`, or nothing."""
    [device] = ip(*where, "address", "show", "dev", name)
    return [f"{item['local']}/{item['prefixlen']}" for item in device["addr_info"] if item["scope"] == "global"]


def exists(name: str) -> bool:
    return os.path.exists("/sys/class/net/" + name)


class Device:
    """A veth device of the test, whose peer stays on the host."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.peer = name + "p"
        self.make()

    def make(self) -> None:
        ip("link", "add", self.name, "type", "veth", "peer", "name", self.peer)

    def remove(self) -> None:
        """Remove the device. If its peer's namespace has ended, the kernel may be removing it already."""
        subprocess.run(["ip", "link", "delete", self.peer], check=False, stderr=subprocess.DEVNULL)
        host.wait_for(f"the end of {self.name}", lambda: not exists(self.peer))


@pytest.fixture
def device(runtime: Runtime, request: pytest.FixtureRequest) -> Iterator[Device]:
    value = Device("pt" + runtime.token[-8:].replace("_", "x"))
    yield value
    value.remove()


@pytest.fixture
def namespace(runtime: Runtime) -> Iterator[str]:
    """The name of a network namespace that exists as long as the test runs."""
    name = runtime.token
    ip("netns", "add", name)
    yield name
    ip("netns", "delete", name)


@pytest.fixture
def networked(bundle: Bundle, device: Device) -> Bundle:
    """A bundle with a new network namespace that gets the device."""
    bundle.linux["netDevices"] = {device.name: {}}
    return bundle.namespace("network").sh("ip address; sleep 100")


def inside(pid: int, *words: str) -> str:
    done = subprocess.run(
        ["nsenter", f"--net=/proc/{pid}/ns/net", "ip", *words], capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.parametrize("userns", [False, True], ids=["", "user-namespace"])
def test_the_device_is_in_the_container(runtime: Runtime, networked: Bundle, device: Device, userns: bool) -> None:
    ip("link", "set", device.name, "mtu", "1789", "address", "02:11:22:33:44:55")
    ip("address", "add", ADDRESS, "dev", device.name)
    if userns:
        networked.user_namespace()
    out = runtime.run(networked.sh("ip address")).out
    line = next(line for line in out.splitlines() if f"{device.name}@" in line)
    assert "mtu 1789" in line
    assert ",UP" in line
    assert "link/ether 02:11:22:33:44:55" in out
    assert f"inet {ADDRESS} " in out
    assert not exists(device.name)


def test_while_the_container_runs_the_host_has_it_not(runtime: Runtime, networked: Bundle, device: Device) -> None:
    container = runtime.started(networked)
    assert not exists(device.name)
    assert device.name in inside(container.pid, "link")
    container.kill()
    container.wait()
    host.wait_for("the kernel to destroy the pair with the namespace", lambda: not exists(device.peer))


@pytest.mark.parametrize(("given", "found"), [("renamed0", "renamed0"), ("net%d", "net0")])
def test_rename(runtime: Runtime, networked: Bundle, device: Device, given: str, found: str) -> None:
    ip("address", "add", ADDRESS, "dev", device.name, "label", device.name + ":1")
    networked.linux["netDevices"][device.name] = {"name": given}
    out = runtime.run(networked.sh("ip address")).out
    assert f"{found}@" in out
    assert device.name not in out
    assert f"{found}:1" in out


def test_template_beside_a_device_of_the_name(
    runtime: Runtime, networked: Bundle, device: Device, namespace: str
) -> None:
    ip("-n", namespace, "link", "add", "net0", "type", "veth", "peer", "name", "net0p")
    networked.namespace("network", f"/run/netns/{namespace}")
    networked.linux["netDevices"][device.name] = {"name": "net%d"}
    runtime.run(networked.args("true"))
    names = {item["ifname"] for item in ip("-n", namespace, "link")}
    assert names == {"lo", "net0", "net0p", "net1"}


def test_addresses_of_a_device_that_is_up(runtime: Runtime, networked: Bundle, device: Device, namespace: str) -> None:
    """Permanent addresses of global scope are kept, also IPv6 ones, which the kernel drops when the device goes
    down.
    """
    networked.namespace("network", f"/run/netns/{namespace}")
    ip("link", "set", device.name, "up")
    for address in (ADDRESS, "192.0.2.8/24", ADDRESS_6):
        ip("address", "add", address, "dev", device.name)
    ip("address", "add", "192.0.2.9/24", "dev", device.name, "valid_lft", "1000", "preferred_lft", "1000")
    ip("address", "add", "127.0.0.33", "dev", device.name, "scope", "link")
    runtime.run(networked.args("true"))
    assert addresses("-n", namespace, name=device.name) == [ADDRESS, "192.0.2.8/24", ADDRESS_6]
    [link] = ip("-n", namespace, "link", "show", "dev", device.name)
    assert "UP" in link["flags"]


def test_the_device_stays_in_a_namespace_that_was_joined(
    runtime: Runtime, networked: Bundle, device: Device, namespace: str
) -> None:
    networked.namespace("network", f"/run/netns/{namespace}")
    container = runtime.started(networked)
    container.delete("--force")
    assert not exists(device.name)
    ip("-n", namespace, "link", "set", device.name, "netns", "1")
    assert exists(device.name)


def test_what_becomes_of_it_in_the_container_is_not_the_runtime_s_business(
    runtime: Runtime, networked: Bundle, device: Device, namespace: str
) -> None:
    """config-linux.md, Namespace Lifecycle: later commands leave the device as others left it."""
    networked.namespace("network", f"/run/netns/{namespace}")
    container = runtime.started(networked)
    ip("-n", namespace, "link", "set", device.name, "down", "mtu", "1234", "name", "mine0")
    container.state()
    container.kill()
    container.wait()
    container.state()
    container.delete()
    [link] = ip("-n", namespace, "link", "show", "dev", "mine0")
    assert (link["mtu"], "UP" in link["flags"]) == (1234, False)
    assert not exists(device.name)


def test_several(runtime: Runtime, networked: Bundle, device: Device) -> None:
    second = Device(device.name[:-1] + "2")
    try:
        networked.linux["netDevices"][second.name] = {"name": "eth1"}
        out = runtime.run(networked.sh("ip link")).out
        assert f"{device.name}@" in out
        assert "eth1@" in out
    finally:
        second.remove()


def test_hooks_find_it_moved(runtime: Runtime, networked: Bundle, device: Device) -> None:
    record = runtime.work / "links"
    look = f"test -e /sys/class/net/{device.name}; echo $? > {record}"
    networked.hook("createRuntime", "/bin/sh", "sh", "-c", look)
    runtime.run(networked.args("true"))
    assert record.read_text() == "1\n"


def before_and_after(device: Device) -> tuple[Any, list[str]]:
    [link] = ip("link", "show", "dev", device.name)
    kept = {key: link[key] for key in ("ifindex", "ifname", "mtu", "address")}
    kept["up"] = "UP" in link["flags"]
    return kept, addresses(name=device.name)


@pytest.fixture
def as_before(device: Device) -> Callable[[], None]:
    """Check that the device is on the host again, as it was."""
    ip("link", "set", device.name, "up", "mtu", "1400")
    ip("address", "add", ADDRESS, "dev", device.name, "label", device.name + ":x")
    ip("address", "add", ADDRESS_6, "dev", device.name, "nodad")
    before = before_and_after(device)

    def check() -> None:
        assert before_and_after(device) == before

    return check


def test_failure_after_the_move(
    runtime: Runtime, networked: Bundle, device: Device, as_before: Callable[[], None]
) -> None:
    networked.linux["netDevices"][device.name] = {"name": "eth0"}
    runtime.refuse(networked.args("/no/such/program"))
    as_before()


def test_failure_of_a_hook_in_a_namespace_that_was_joined(
    runtime: Runtime, networked: Bundle, device: Device, namespace: str, as_before: Callable[[], None]
) -> None:
    networked.namespace("network", f"/run/netns/{namespace}").hook("createRuntime", "/bin/false")
    runtime.refuse(networked)
    as_before()


@pytest.mark.parametrize("joined", [True, False])
def test_killed_create(
    runtime: Runtime, networked: Bundle, device: Device, namespace: str, as_before: Callable[[], None], joined: bool
) -> None:
    """A11: gc gives the device back: from a joined namespace, and from a new one that has lost its only process.
    Meanwhile the state directory has a mount of the new namespace."""
    if joined:
        networked.namespace("network", f"/run/netns/{namespace}")
    ready = runtime.work / "ready"
    networked.hook("createRuntime", networked.script("wait", f"touch {ready}; sleep 100 & exec sleep 100\n"))
    networked.write()
    id = runtime.new_id()
    process = runtime.background("create", "--bundle", str(networked.path), id, start_new_session=True)
    host.wait_for("the hook", ready.exists)
    assert not exists(device.name)
    process.send_signal(signal.SIGKILL)
    process.wait()
    os.killpg(process.pid, signal.SIGKILL)
    host.wait_for("the init's end", lambda: not any("init" in line for line in host.processes_of(runtime.token)))
    dry = runtime("gc", "--dry-run")
    assert f"would undo: network device {device.name}" in dry.out
    result = runtime("gc")
    assert result.code == 0, result
    assert f"undone: network device {device.name}" in result.out
    as_before()
    assert not (runtime.root / id).exists()


@pytest.mark.parametrize("command", [["delete", "--force"], ["create"]])
def test_a_device_comes_back_before_its_id_is_used_again(
    runtime: Runtime, networked: Bundle, device: Device, as_before: Callable[[], None], command: list[str]
) -> None:
    """A11: `delete --force`, and a create of the same id, undo what the killed create has left."""
    ready = runtime.work / "ready"
    networked.hook("createRuntime", networked.script("wait", f"touch {ready}; sleep 100 & exec sleep 100\n"))
    networked.write()
    id = runtime.new_id()
    process = runtime.background("create", "--bundle", str(networked.path), id, start_new_session=True)
    host.wait_for("the hook", ready.exists)
    process.send_signal(signal.SIGKILL)
    process.wait()
    os.killpg(process.pid, signal.SIGKILL)
    del networked.config["hooks"], networked.linux["netDevices"]
    networked.write()
    words = ["--bundle", str(networked.path)] if command == ["create"] else []
    assert runtime(*command, *words, id).code == 0
    as_before()


def test_nothing_keeps_the_namespace_of_a_created_container(
    runtime: Runtime, networked: Bundle, device: Device
) -> None:
    container = runtime.container(networked)
    assert not (runtime.root / container.id / "netns").exists()
    container.delete("--force")
    host.wait_for("the kernel to destroy the pair with the namespace", lambda: not exists(device.peer))


def test_missing_device(runtime: Runtime, networked: Bundle, device: Device) -> None:
    networked.linux["netDevices"] = {device.name: {}, "nosuchdev0": {}}
    line = runtime.refuse(networked).last_line
    assert "link not found for interface nosuchdev0 on runtime namespace" in line
    assert "at /linux/netDevices/nosuchdev0" in line
    assert exists(device.name)


def test_name_that_is_taken(runtime: Runtime, networked: Bundle, device: Device) -> None:
    networked.linux["netDevices"][device.name] = {"name": "lo"}
    line = runtime.refuse(networked).last_line
    assert "the container's network namespace has a device lo: file exists" in line
    assert exists(device.name)


def test_device_that_can_not_be_moved(runtime: Runtime, networked: Bundle) -> None:
    networked.linux["netDevices"] = {"lo": {"name": "lo1"}}
    line = runtime.refuse(networked).last_line
    assert "at /linux/netDevices/lo; " in line


def test_without_a_network_namespace(runtime: Runtime, networked: Bundle) -> None:
    networked.without_namespace("network")
    assert "unable to move network devices without a NET namespace" in runtime.refuse(networked).last_line


def test_nothing_of_the_namespace_is_held(runtime: Runtime, networked: Bundle, device: Device) -> None:
    """`run` in the foreground must not keep the namespace of a container that has ended."""
    networked.write()
    process = runtime.background("run", "--bundle", str(networked.path), runtime.new_id())
    id = runtime.ids[-1]
    output = runtime.work / "background.out"
    host.wait_for("the container to run", lambda: device.name in output.read_text())
    assert not [name for name in host.files_of(process.pid).values() if name.startswith("net:")]
    assert runtime("kill", id, "KILL").code == 0
    process.wait()
