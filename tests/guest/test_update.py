"""`update` with controllers: the kernel's files have the requested limits, and so have the unit's properties."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Container, Result, Runtime

MIB = 1 << 20


def read(container: Container, name: str) -> str:
    """A control file of a live container."""
    return (Path("/sys/fs/cgroup") / host.cgroup_of(container.pid)[1:] / name).read_text().strip()


def update(container: Container, *words: str, **resources: Any) -> Result:
    """Run `update` with options, or with resources on stdin."""
    if resources:
        return container.runtime("update", "-r", "-", container.id, stdin=json.dumps(resources))
    return container.runtime("update", *words, container.id)


@pytest.fixture
def container(runtime: Runtime, bundle: Bundle) -> Container:
    bundle.linux["resources"] = {
        "memory": {"limit": 64 * MIB, "swap": 96 * MIB},
        "cpu": {"quota": 50000, "period": 100000, "shares": 1024},
        "pids": {"limit": 50},
    }
    return runtime.started(bundle.sh("sleep 99"))


@pytest.mark.parametrize(
    ("words", "file", "value"),
    [
        (["--pids-limit", "20"], "pids.max", "20"),
        (["--pids-limit", "-1"], "pids.max", "max"),
        (["--memory", "32m"], "memory.max", str(32 * MIB)),
        (["--memory", "32m"], "memory.swap.max", str(64 * MIB)),
        (["--memory", "-1"], "memory.swap.max", "max"),
        (["--memory", "-1"], "memory.max", "max"),
        (["--memory-swap", "-1"], "memory.swap.max", "max"),
        (["--memory-reservation", "8m"], "memory.low", str(8 * MIB)),
        (["--cpu-quota", "20000"], "cpu.max", "20000 100000"),
        (["--cpu-quota", "-1"], "cpu.max", "max 100000"),
        (["--cpu-period", "200000"], "cpu.max", "50000 200000"),
        (["--cpu-share", "2"], "cpu.weight", "1"),
        (["--cpu-idle", "1"], "cpu.idle", "1"),
        (["--cpu-burst", "1000"], "cpu.max.burst", "1000"),
    ],
)
def test_an_option_is_a_control_file(container: Container, words: list[str], file: str, value: str) -> None:
    others = {name: read(container, name) for name in ("memory.high", "cpu.uclamp.max", "pids.max") if name != file
              and (Path("/sys/fs/cgroup") / host.cgroup_of(container.pid)[1:] / name).exists()}  # fmt: skip
    changed = update(container, *words)
    assert (changed.code, changed.err) == (0, "")
    assert read(container, file) == value
    assert {name: read(container, name) for name in others} == others


def test_what_docker_sends_changes_what_it_names(container: Container) -> None:
    """Every field is there, and those that stay the same are zeros."""
    sent = {
        "memory": {"limit": 80 * MIB, "reservation": 0, "swap": 0},
        "cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": ""},
        "blockIO": {"weight": 0},
    }
    assert update(container, **sent).code == 0
    assert read(container, "memory.max") == str(80 * MIB)
    assert read(container, "memory.swap.max") == str(16 * MIB)
    assert read(container, "cpu.max") == "50000 100000"
    assert read(container, "pids.max") == "50"


def test_a_later_update_starts_from_the_former(container: Container) -> None:
    assert update(container, "--memory", "32m").code == 0
    assert update(container, "--memory-swap", "40m").code == 0
    assert read(container, "memory.max") == str(32 * MIB)
    assert read(container, "memory.swap.max") == str(8 * MIB)
    refused = update(container, "--memory", "50m")
    assert (refused.code, "memory+swap limit should be >= memory limit" in refused.last_line) == (1, True)


def test_all_or_nothing(container: Container) -> None:
    before = {name: read(container, name) for name in ("memory.max", "memory.swap.max", "pids.max", "cpu.max")}
    refused = update(
        container, pids={"limit": 7}, memory={"limit": 80 * MIB, "swap": 90 * MIB}, cpu={"quota": 3000},
        unified={"memory.oom.group": "no"},
    )  # fmt: skip
    assert refused.code == 1
    assert "memory.oom.group: invalid argument" in refused.last_line
    assert {name: read(container, name) for name in before} == before


def test_a_limit_below_the_usage_is_rejected_where_asked(container: Container) -> None:
    refused = update(container, memory={"limit": 4096, "swap": 8192, "checkBeforeUpdate": True})
    assert (refused.code, "rejecting memory" in refused.last_line) == (1, True)
    assert read(container, "memory.max") == str(64 * MIB)


def test_a_limit_has_its_effect(runtime: Runtime, bundle: Bundle) -> None:
    script = "while :; do read line; (sleep 50 & sleep 50 & sleep 50 &) && echo forked || echo failed; done"
    container = runtime.started(bundle.sh("mkfifo /tmp/f; exec 0<>/tmp/f; echo ready; " + script))
    host.wait_for("its start", lambda: "ready" in container.output)
    assert update(container, "--pids-limit", "3").code == 0
    (bundle.rootfs / "tmp/f").open("w").write("go\n")
    host.wait_for("the fork's failure", lambda: "can't fork" in container.output or "failed" in container.output)


def test_controllers_are_enabled_for_a_container_that_had_no_limits(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.started(bundle.sh("sleep 99"))
    assert update(container, "--pids-limit", "9").code == 0
    assert read(container, "pids.max") == "9"


class Scope:
    """A container in a scope of systemd."""

    def __init__(self, runtime: Runtime, bundle: Bundle) -> None:
        self.unit = f"pyrunc-{runtime.token}.scope"
        bundle.linux["cgroupsPath"] = f"system.slice:pyrunc:{runtime.token}"
        bundle.linux["resources"] = {"memory": {"limit": 64 * MIB}, "pids": {"limit": 50}}
        self.runtime = runtime
        bundle.sh("sleep 99").write()
        self.id = runtime.new_id()
        created = runtime("--systemd-cgroup", "run", "--detach", "--bundle", bundle.path, self.id)
        assert created.code == 0, created

    def shown(self, name: str) -> str:
        done = subprocess.run(["systemctl", "show", "-P", name, self.unit], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def file(self, name: str) -> str:
        return (Path("/sys/fs/cgroup/system.slice") / self.unit / name).read_text().strip()

    def update(self, *words: str, **resources: Any) -> Result:
        if resources:
            return self.runtime("update", "-r", "-", self.id, stdin=json.dumps(resources))
        return self.runtime("update", *words, self.id)


@pytest.fixture
def scope(runtime: Runtime, bundle: Bundle) -> Iterator[Scope]:
    made = Scope(runtime, bundle)
    yield made
    runtime("delete", "--force", made.id)


def test_a_scope_has_the_properties_and_the_files(scope: Scope) -> None:
    changed = scope.update("--pids-limit", "20", "--memory", "32m", "--cpu-quota", "25000")
    assert (changed.code, changed.err) == (0, "")
    assert (scope.shown("TasksMax"), scope.file("pids.max")) == ("20", "20")
    assert (scope.shown("MemoryMax"), scope.file("memory.max")) == (str(32 * MIB), str(32 * MIB))
    assert (scope.shown("CPUQuotaPerSecUSec"), scope.file("cpu.max")) == ("250ms", "25000 100000")
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    assert (scope.file("pids.max"), scope.file("memory.max")) == ("20", str(32 * MIB))


def test_a_scope_gets_its_properties_back(scope: Scope) -> None:
    refused = scope.update(pids={"limit": 20}, memory={"limit": 32 * MIB}, unified={"memory.oom.group": "no"})
    assert (refused.code, "memory.oom.group" in refused.last_line) == (1, True)
    assert (scope.shown("TasksMax"), scope.file("pids.max")) == ("50", "50")
    assert (scope.shown("MemoryMax"), scope.file("memory.max")) == (str(64 * MIB), str(64 * MIB))


def test_mounts_and_limits_in_one_call_are_all_or_nothing(container: Container) -> None:
    runtime = container.runtime
    (runtime.work / "file").write_text("from the host\n")
    changed = update(
        container, "--pids-limit", "20", "--mount", f"type=bind,source={runtime.work},target=/mnt/x,ro", "--mount",
        "type=tmpfs,target=/mnt/t",
    )  # fmt: skip
    assert (changed.code, changed.err) == (0, "")
    assert read(container, "pids.max") == "20"
    assert runtime("exec", container.id, "cat", "/mnt/x/file").out == "from the host\n"
    held = os.open(f"/proc/{container.pid}/root/mnt/t", os.O_RDONLY)
    try:
        busy = update(container, "--pids-limit", "30", "--umount", "/mnt/x", "--umount", "/mnt/t")
    finally:
        os.close(held)
    assert (busy.code, "umount /mnt/t: device or resource busy" in busy.last_line) == (1, True), busy
    assert read(container, "pids.max") == "20"
    assert runtime("exec", container.id, "cat", "/mnt/x/file").out == "from the host\n"
    assert update(container, "--pids-limit", "30", "--umount", "/mnt/x", "--umount", "/mnt/t").code == 0
    assert read(container, "pids.max") == "30"
    assert "updated" not in container.state()
