"""`events` with a memory controller: limits, usage, and notices of kills."""

from __future__ import annotations

import json
from typing import Any

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Runtime

MIB = 1 << 20


def test_limits_and_usage(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["resources"] = {"memory": {"limit": 64 * MIB, "swap": 96 * MIB}, "pids": {"limit": 9}}
    container = runtime.started(bundle.sh("sleep 99"))
    data: dict[str, Any] = json.loads(runtime("events", "--stats", container.id).out)["data"]
    assert data["memory"]["usage"]["limit"] == 64 * MIB
    assert data["memory"]["swap"]["limit"] == 96 * MIB
    assert 0 < data["memory"]["usage"]["usage"] < 64 * MIB
    assert data["memory"]["raw"]["anon"] > 0
    assert data["pids"] == {"current": 1, "limit": 9}


def test_each_kill_for_want_of_memory_is_an_event(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["resources"] = {"memory": {"limit": 24 * MIB, "swap": 24 * MIB}}
    grow = "tail -c 100m /dev/zero >/dev/null"
    container = runtime.started(bundle.sh(f"mkfifo /tmp/f; exec 3<>/tmp/f; while read x <&3; do {grow}; echo $?; done"))
    stream = runtime.background("events", "--interval", "500ms", container.id)
    out = runtime.work / "background.out"
    host.wait_for("the stream", lambda: '"stats"' in out.read_text())
    for turn in (1, 2):
        with (bundle.rootfs / "tmp/f").open("w") as pipe:
            pipe.write("grow\n")
        host.wait_for("the kill", lambda turn=turn: container.output.count("137") == turn)  # type: ignore[misc]
        host.wait_for("its event", lambda turn=turn: out.read_text().count('"type":"oom"') == turn)  # type: ignore[misc]
    container.kill("KILL")
    assert stream.wait(60) == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line for line in lines if line["type"] != "stats"] == [{"type": "oom", "id": container.id}] * 2


def test_the_kill_that_ends_a_container_of_systemd_is_an_event(runtime: Runtime, bundle: Bundle) -> None:
    """systemd may remove the cgroup with its count before `events` reads it."""
    bundle.linux["resources"] = {"memory": {"limit": 24 * MIB, "swap": 24 * MIB}}
    bundle.linux["cgroupsPath"] = f"system.slice:pyrunc:{runtime.token}"
    bundle.sh("mkfifo /tmp/f; read x </tmp/f; exec dd if=/dev/zero of=/dev/null bs=64M count=1")
    runtime.command.append("--systemd-cgroup")
    container = runtime.started(bundle)
    stream = runtime.background("events", "--interval", "500ms", container.id)
    out = runtime.work / "background.out"
    host.wait_for("the stream", lambda: '"stats"' in out.read_text())
    with (bundle.rootfs / "tmp/f").open("w") as pipe:
        pipe.write("go\n")
    assert stream.wait(60) == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line for line in lines if line["type"] != "stats"] == [{"type": "oom", "id": container.id}]
