"""cgroup.files on real cgroups: in the host's hierarchy, and with cgroup2 alone at /sys/fs/cgroup. Needs root."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.cgroup import claims, files
from pyrunc.libcontainer.plan import host
from tests import purev2

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

Scenario = Callable[[str], None]


def _spawn_in(cgroup: str, *command: str) -> subprocess.Popen[bytes]:
    def enter() -> None:
        with open(cgroup + "/cgroup.procs", "w") as file:
            file.write("0")

    return subprocess.Popen(command, preexec_fn=enter)  # noqa: PLW1509 (a test with one thread)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _kills_and_removes_a_tree(base: str) -> None:
    path = base + "/c1"
    made: list[str] = []
    files.create(path, made.append)
    assert made == [base, path]
    nested = path + "/inner/most"
    os.makedirs(nested)
    processes = [_spawn_in(path, "sleep", "1000"), _spawn_in(nested, "sleep", "1000")]
    try:
        assert sorted(files.procs(path)) == sorted(process.pid for process in processes)
        assert not files.is_empty(path)
        with pytest.raises(PyruncError, match=r"container's cgroup is not empty: 2 process\(es\) found"):
            files.create(path, made.append)
        # the test reaps the zombies only after the removal: a container's zombies are reaped by its engine
        files.kill(path)
        files.remove(path)
        assert not os.path.exists(path)
        assert [process.wait() for process in processes] == [-signal.SIGKILL, -signal.SIGKILL]
    finally:
        for process in processes:
            _end(process)
    assert files.procs(path) == []
    claims.remove_if_unused(base)
    assert not os.path.exists(base)


def _freezes_and_thaws(base: str) -> None:
    files.create(base, lambda directory: None)
    process = _spawn_in(base, "sleep", "1000")
    try:
        assert not files.is_frozen(base)
        files.freeze(base)
        assert files.is_frozen(base)
        files.kill(base)  # reaches frozen processes
        assert process.wait() == -signal.SIGKILL
        files.thaw(base)
        assert not files.is_frozen(base)
        files.create(base, lambda directory: None)
        files.freeze(base)
        with pytest.raises(PyruncError, match="container's cgroup unexpectedly frozen"):
            files.create(base, lambda directory: None)
    finally:
        _end(process)
        files.remove(base)


def _remove_waits_for_the_dying(base: str) -> None:
    files.create(base, lambda directory: None)
    process = _spawn_in(base, "sleep", "1000")
    timer = threading.Timer(0.1, process.kill)
    timer.start()
    try:
        files.remove(base)
        assert not os.path.exists(base)
    finally:
        timer.cancel()
        _end(process)


def _remove_gives_up_on_the_living(base: str) -> None:
    files.create(base + "/above", lambda directory: None)
    process = _spawn_in(base + "/above", "sleep", "1000")
    patience = files.PATIENCE_SECONDS
    files.PATIENCE_SECONDS = 0.05
    try:
        with pytest.raises(PyruncError, match=r"device or resource busy \(processes are still in it"):
            files.remove(base + "/above")
        claims.remove_if_unused(base)  # in use: it stays, without an error
        assert os.path.exists(base)
    finally:
        files.PATIENCE_SECONDS = patience
        _end(process)
        files.remove(base)


def _remove_kills_those_who_came_late(base: str) -> None:
    files.create(base, lambda directory: None)
    process = _spawn_in(base, "sleep", "1000")
    Path(base, "cgroup.freeze").write_text("1")
    try:
        files.remove(base, killing=True)
        assert not os.path.exists(base)
        assert process.wait(60) == -9
    finally:
        _end(process)


SCENARIOS = [
    _remove_kills_those_who_came_late,
    _kills_and_removes_a_tree,
    _freezes_and_thaws,
    _remove_waits_for_the_dying,
    _remove_gives_up_on_the_living,
]


@pytest.fixture
def base() -> Iterator[str]:
    """A name for a cgroup in the host's hierarchy."""
    facts = host.gather()
    if not facts.cgroup_mount:
        pytest.skip("no cgroup2 hierarchy here")
    path = f"{facts.cgroup_mount}/pyrunc-test-{os.getpid()}"
    yield path
    files.kill(path)
    files.remove(path)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_on_the_host(scenario: Scenario, base: str) -> None:
    scenario(base)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_where_cgroup2_is_alone(scenario: Scenario, base: str) -> None:
    name = base.rpartition("/")[2]

    def inside() -> None:
        facts = host.gather()
        assert facts.cgroup_pure
        assert files.path_for("/" + name, "x", facts) == "/sys/fs/cgroup/" + name
        scenario("/sys/fs/cgroup/" + name)

    purev2.run(inside)


def test_the_host_keeps_its_mounts() -> None:
    with open("/proc/self/mounts") as table:
        before = table.read()
    purev2.run(lambda: None)
    with open("/proc/self/mounts") as table:
        assert table.read() == before
