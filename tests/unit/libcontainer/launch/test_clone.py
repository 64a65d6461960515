"""The parts of the init's clone that need no container; tests/integration clones real ones."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer import process
from pyrunc.libcontainer.kernel import native
from pyrunc.libcontainer.kernel.constants import CLONE_FLAGS, NS_FILES
from pyrunc.libcontainer.launch import clone, clone_errors
from pyrunc.libcontainer.plan.host import cgroup_directory
from pyrunc.libcontainer.plan.model import LaunchPlan, Step
from tests.support.host import open_descriptors
from tests.support.launches import launched


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    made = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield made
    made.kill()
    made.wait()


def test_the_cgroup_of_a_process_is_looked_up(tmp_path: Path) -> None:
    launch = launched(tmp_path)
    assert cgroup_directory(launch.facts, "/some/where") == "/some/where"
    if any(line.startswith("0::") for line in Path("/proc/self/cgroup").read_text().splitlines()):
        assert cgroup_directory(launch.facts, "/proc/self/cgroup").startswith(launch.facts.cgroup_mount + "/")
    with pytest.raises(PyruncError, match="can't open cgroup /no/where: no such file or directory"):
        clone._open_cgroup(launch, "/no/where")
    assert clone._open_cgroup(launch, "") == -1


def test_namespaces_are_those_of_a_thread_that_lives(tmp_path: Path, child: subprocess.Popen[bytes]) -> None:
    launch = launched(tmp_path)
    launch.plan = LaunchPlan((Step("prepare", "open_process", ("container", child.pid, 0)),), (), {})
    launch.slots["container"] = os.pidfd_open(child.pid)
    joins = clone._by_living_thread(launch, ["mount", "network", "uts"])
    assert [kind for _, kind in joins] == [native.CLONE_NEWNS, native.CLONE_NEWNET, native.CLONE_NEWUTS]
    for fd, kind in joins:
        assert native.namespace_type(fd) == kind
        os.close(fd)
    child.kill()
    child.wait()
    before = open_descriptors()
    assert clone._by_living_thread(launch, ["mount"]) == []
    assert open_descriptors() == before
    os.close(launch.slots["container"])


def test_an_image_that_can_t_be_made_names_its_sysctl(monkeypatch: pytest.MonkeyPatch) -> None:
    """F4: the memfd fails, and so does the tmpfs in its place."""
    cause = OSError(1, "x")

    def refuse() -> int:
        raise OSError(13, "x") from cause

    monkeypatch.setattr(native, "init_image", refuse)
    for value, said in ((2, "vm.memfd_noexec is 2"), (0, "")):
        monkeypatch.setattr(clone_errors, "sysctl", lambda name, value=value: value)
        with pytest.raises(PyruncError, match="memfd_create for the init's program: permission denied") as caught:
            clone._image()
        assert said in caught.value.hint
        assert bool(said) == bool(caught.value.hint)
        assert ("operation not permitted" in caught.value.hint) == bool(said)


def test_every_kind_of_namespace_has_a_file() -> None:
    for kind in CLONE_FLAGS:
        assert os.path.exists(f"/proc/self/ns/{NS_FILES[kind]}")
    assert process.living_thread(os.getpid()) == os.getpid()
