"""`exec` on a cgroup2 mounted with nsdelegate, as systemd mounts it, and in cgroups that enable controllers for
others.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Container, Runtime


@pytest.fixture
def box(runtime: Runtime, bundle: Bundle) -> Container:
    """A container with a cgroup namespace, whose process may make cgroups."""
    bundle.namespace("cgroup").mount("/sys", "sysfs", "sysfs").mount("/sys/fs/cgroup", "cgroup", "cgroup")
    return runtime.started(bundle.args("sleep", "1000"))


def inside(box: Container, *words: str) -> str:
    result = box.runtime("exec", *words)
    assert result.code == 0, result
    return result.out


def test_the_cgroup_namespace_is_entered_from_outside(box: Container) -> None:
    """The kernel moves no process across the border of a delegated cgroup namespace (cgroups(7), nsdelegate)."""
    if "nsdelegate" not in host.mount_at(Path("/proc/self/mountinfo").read_text(), "/sys/fs/cgroup").super_options:
        pytest.skip("cgroup2 is mounted without nsdelegate")
    assert inside(box, box.id, "cat", "/proc/self/cgroup") == "0::/\n"
    assert host.cgroup_of(box.pid) != host.cgroup_of(os.getpid())


def test_a_cgroup_that_hands_controllers_out_takes_no_process(box: Container) -> None:
    move = "mkdir /sys/fs/cgroup/own && echo 1 > /sys/fs/cgroup/own/cgroup.procs"
    inside(box, box.id, "sh", "-c", move)
    # No controller is enabled yet.
    assert inside(box, box.id, "cat", "/proc/self/cgroup") == "0::/\n"
    enable = "echo $$ > /sys/fs/cgroup/own/cgroup.procs; echo +memory > /sys/fs/cgroup/cgroup.subtree_control"
    inside(box, box.id, "sh", "-c", enable)
    assert inside(box, box.id, "cat", "/proc/self/cgroup") == "0::/own\n"
    assert inside(box, "--cgroup", "own", box.id, "cat", "/proc/self/cgroup") == "0::/own\n"
    result = box.runtime("exec", "--cgroup", "/", box.id, "true")
    assert result.code == 255
    # runc's message.
    assert "adding pid" in result.last_line
    assert "to cgroups: clone3: device or resource busy" in result.last_line
    assert "hands out controllers" in result.last_line


def test_a_cgroup_beside_threaded_ones(box: Container) -> None:
    """A cgroup that is outside the threads' domain may have no processes (cgroups(7), Thread mode)."""
    script = "cd /sys/fs/cgroup; mkdir threads beside; echo threaded > threads/cgroup.type; cat beside/cgroup.type"
    assert inside(box, box.id, "sh", "-c", script) == "domain invalid\n"
    assert inside(box, "--cgroup", "threads", box.id, "echo", "in") == "in\n"
    result = box.runtime("exec", "--cgroup", "beside", box.id, "true")
    assert result.code == 255
    assert "to cgroups: clone3: operation not supported" in result.last_line
    assert "threaded mode" in result.last_line


def test_a_process_of_exec_counts_for_the_container_s_limits(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["resources"] = {"pids": {"limit": 8}}
    container = runtime.started(bundle.args("sleep", "1000"))
    result = runtime("exec", container.id, "sh", "-c", "for n in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; true")
    assert "can't fork" in result.err or result.code != 0
    container.kill("KILL", "--all")
