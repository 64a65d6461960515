"""checkpoint and restore where there are controllers and systemd: limits and the unit are there again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.checkpoints import Checkpoints, assert_counts, counting
from tests.support.runtime import Container, Runtime

pytestmark = pytest.mark.qemu("CRIU's check of the kernel fails in User-Mode Linux")

MIB = 1 << 20


def limits(container: Container) -> dict[str, str]:
    """What the kernel limits a container to."""
    cgroup = Path("/sys/fs/cgroup") / host.cgroup_of(container.pid)[1:]
    return {name: (cgroup / name).read_text().strip() for name in ("memory.max", "pids.max", "cpu.max")}


@pytest.mark.parametrize("manager", ["cgroupfs", "systemd"])
def test_a_restored_container_has_its_limits(runtime: Runtime, bundle: Bundle, criu: Checkpoints, manager: str) -> None:
    flags = ["--systemd-cgroup"] if manager == "systemd" else []
    bundle.linux["resources"] = {
        "memory": {"limit": 256 * MIB},
        "cpu": {"quota": 80000, "period": 100000},
        "pids": {"limit": 50},
    }
    if flags:
        bundle.linux["cgroupsPath"] = f"system.slice:pyrunc:{runtime.token}"
    bundle.write()
    id = runtime.new_id()
    bundle.sh("exec 5>>/count; i=0; while :; do i=$((i+1)); echo $i >&5; sleep 0.05; done").write()
    result = runtime(*flags, "run", "--detach", "--bundle", bundle.path, id)
    assert result.code == 0, result
    container = Container(runtime, id, bundle, runtime.work / "none")
    wanted = limits(container)
    assert wanted["memory.max"] == str(256 * MIB)
    criu.dump(container)
    result = runtime(*flags, *criu.words(bundle), id)
    assert result.code == 0, result
    restored = Container(runtime, id, bundle, runtime.work / "none")
    assert limits(restored) == wanted
    if flags:
        assert host.cgroup_of(restored.pid) == f"/system.slice/pyrunc-{runtime.token}.scope"
    assert_counts(bundle)
    assert runtime("update", "--pids-limit", "40", id).code == 0
    assert limits(restored)["pids.max"] == "40"
    assert runtime("pause", id).code == 0
    assert restored.status == "paused"
    assert runtime("resume", id).code == 0
    assert_counts(bundle)


@pytest.mark.parametrize("mode", ["full", "soft"])
def test_manage_cgroups_mode(runtime: Runtime, bundle: Bundle, criu: Checkpoints, mode: str) -> None:
    criu.dump(counting(runtime, bundle), "--manage-cgroups-mode", mode)
    container = criu.restore(bundle, "--manage-cgroups-mode", mode)
    assert_counts(bundle)
    assert host.cgroup_of(container.pid).rpartition("/")[2] == container.id
