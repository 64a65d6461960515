"""`verify` with controllers: it finds limits that were changed behind the runtime's back."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Container, Runtime

MIB = 1 << 20


def cgroup(container: Container) -> Path:
    """The directory of a live container's cgroup."""
    return Path("/sys/fs/cgroup") / host.cgroup_of(container.pid)[1:]


def found(container: Container) -> list[tuple[str, str, str]]:
    """The findings of `verify`, as (pointer, expected, found)."""
    result = container.runtime("verify", "--format", "json", container.id)
    value = json.loads(result.out)
    assert result.code == int(bool(value["differences"])), result
    return [(entry["pointer"], entry["expected"], entry["found"]) for entry in value["differences"]]


@pytest.fixture(params=[(), ("--systemd-cgroup",)], ids=["cgroupfs", "systemd"])
def container(request: pytest.FixtureRequest, runtime: Runtime, bundle: Bundle) -> Container:
    bundle.linux["resources"] = {
        "memory": {"limit": 64 * MIB + 5, "swap": 96 * MIB, "reservation": 8 * MIB},
        "cpu": {"quota": 50000, "shares": 512},
        "pids": {"limit": 50},
        "unified": {"memory.high": "60000000"},
        "devices": [{"allow": False, "access": "rwm"}],
    }
    if request.param:
        bundle.linux["cgroupsPath"] = f"system.slice:pyrunc:{runtime.token}"
    return runtime.started(bundle.sh("sleep 99"), *request.param)


@pytest.mark.parametrize(
    ("file", "value", "expected"),
    [
        ("memory.max", "max", ("/linux/resources/memory/limit", str(64 * MIB + 5), "max")),
        ("memory.low", "0", ("/linux/resources/memory/reservation", str(8 * MIB), "0")),
        ("memory.high", "max", ("/linux/resources/unified/memory.high", "60000000", "max")),
        ("cpu.max", "max", ("/linux/resources/cpu/quota", "50000 100000", "max 100000")),
        ("cpu.weight", "7", ("/linux/resources/cpu/shares", "59", "7")),
        ("pids.max", "51", ("/linux/resources/pids/limit", "50", "51")),
    ],
)
def test_a_limit_that_was_changed(container: Container, file: str, value: str, expected: tuple[str, str, str]) -> None:
    assert found(container) == []
    before = (cgroup(container) / file).read_text()
    (cgroup(container) / file).write_text(value)
    assert found(container) == [expected]
    (cgroup(container) / file).write_text(before)
    assert found(container) == []


def test_what_update_has_changed_is_expected(container: Container) -> None:
    result = container.runtime("update", "--pids-limit", "20", "--memory", "32m", container.id)
    assert result.code == 0, result
    assert found(container) == []
    (cgroup(container) / "pids.max").write_text("50")
    assert found(container) == [("/linux/resources/pids/limit", "20", "50")]


@pytest.mark.qemu("User-Mode Linux has no cpuset controller")
def test_the_cpus(runtime: Runtime, bundle: Bundle) -> None:
    """The affinity is the set of all processors that cpuset.cpus allows."""
    bundle.linux["resources"] = {"cpu": {"cpus": "0"}}
    container = runtime.started(bundle.sh("sleep 99"))
    assert os.sched_getaffinity(container.pid) == {0}
    assert found(container) == []
    (cgroup(container) / "cpuset.cpus").write_text("0-1")
    assert ("/linux/resources/cpu/cpus", "0", "0-1") in found(container)
