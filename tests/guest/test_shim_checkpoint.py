"""The shim's tests of Checkpoint and restore, with controllers: those of tests/shim, and limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.guest.test_shim import program
from tests.shim import shims
from tests.shim.conftest import place, template
from tests.shim.test_checkpoint import (
    Counting,
    checkpointed,
    criu,
    test_a_paused_task,
    test_a_restored_task_goes_on,
    test_a_work_path,
    test_images_that_are_not_there,
    test_the_task_runs_on,
)
from tests.support import host

__all__ = [
    "criu", "place", "program", "template", "test_a_paused_task", "test_a_restored_task_goes_on", "test_a_work_path",
    "test_images_that_are_not_there", "test_the_task_runs_on",
]  # fmt: skip

pytestmark = pytest.mark.qemu("CRIU's check of the kernel fails in User-Mode Linux")

MIB = 1 << 20

LIMITS = {"memory": {"limit": 96 * MIB}, "pids": {"limit": 30}, "cpu": {"quota": 90000, "period": 100000}}


@pytest.mark.parametrize("systemd", [False, True], ids=["cgroupfs", "systemd"])
def test_a_restored_task_has_its_limits(place: shims.Place, criu: None, systemd: bool) -> None:
    """In a cgroup of its own, or in a unit; an out-of-memory kill in it is reported."""
    config: dict[str, Any] = {"resources": LIMITS}
    if systemd:
        config["cgroupsPath"] = "system.slice:shim:"
    counting = Counting(place, {"systemd_cgroup": systemd}, **config)
    task = counting.task()
    counting.goes_on()
    checkpointed(counting, task)
    again = counting.task(str(counting.images))
    counting.goes_on()
    group = host.cgroup_of(again.pid)
    assert group == (f"/system.slice/shim-{again.id}.scope" if systemd else f"/{shims.NAMESPACE}/{again.id}")
    path = Path("/sys/fs/cgroup") / group[1:]
    assert (path / "memory.max").read_text() == f"{96 * MIB}\n"
    assert (path / "pids.max").read_text() == "30\n"
    assert (path / "cpu.max").read_text() == "90000 100000\n"
    again.exec("hog", "dd", "if=/dev/zero", "of=/dev/null", "bs=128M", "count=1")
    place.events.wait("/tasks/oom", container_id=again.id, seconds=60)
    again.end()
    host.wait_for("the end of the cgroup", lambda: not path.exists())
