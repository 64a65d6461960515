"""One cgroup for two containers, of two state roots or of one. They exclude each other; ending the first container, or
undoing what is left of it, does not end the second one."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Result, Runtime

pytestmark = [
    pytest.mark.skipif(not host.cgroup2_mount(), reason="needs a cgroup2 hierarchy"),
    pytest.mark.own("runc and crun kill what is in the cgroup"),
]

ROUNDS = 5


class Other:
    """A container of another state root, in the same cgroup."""

    def __init__(self, runtime: Runtime, bundle: Bundle) -> None:
        self.runtime = runtime
        self.root = runtime.work / "other-root"
        self.id = f"{runtime.token}-other"
        bundle.write()
        result = self("create", "--bundle", str(bundle.path), self.id)
        assert result.code == 0, result

    def __call__(self, *words: str) -> Result:
        return self.runtime("--root", str(self.root), *words, with_root=False)

    def assert_untouched(self) -> None:
        """Assert that the container still waits for its start."""
        assert '"created"' in self("state", self.id).out, self.id

    def delete(self) -> None:
        """Start the container and delete it; its cgroup is removed too."""
        assert self("start", self.id).code == 0
        assert '"running"' in self("state", self.id).out
        assert self("delete", "--force", self.id).code == 0
        assert not cgroup(self.runtime).exists()
        removed_above(self.runtime)
        self.runtime.assert_nothing_left()


@pytest.fixture
def shared(runtime: Runtime, bundle: Bundle) -> Bundle:
    bundle.linux["cgroupsPath"] = f"/{runtime.token}/shared"
    return bundle.args("sleep", "1000")


def cgroup(runtime: Runtime) -> Path:
    return Path(f"{host.cgroup2_mount()}/{runtime.token}/shared")


def removed_above(runtime: Runtime) -> None:
    """Remove the cgroup above: the test made it, or it was in use when the container that made it was deleted."""
    if cgroup(runtime).parent.exists():
        cgroup(runtime).parent.rmdir()


def killed_before_the_clone(runtime: Runtime, bundle: Bundle) -> str:
    """A create that is killed when it has made the cgroup, and nothing is in it. Returns the id."""
    id = runtime.new_id()
    bundle.write()
    plan = runtime("plan", "--bundle", bundle.path, "--format", "json", id)
    kinds = [step["kind"] for step in json.loads(plan.out)["steps"] if step["actor"] == "runtime"]
    words = ["--before-step", str(kinds.index("clone")), "--", "--root", str(runtime.root)]
    command = [sys.executable, "-m", "tests.support.harness", *words, "create", "--bundle", str(bundle.path), id]
    done = subprocess.run(command, env=runtime.environment(), check=False, timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode == -signal.SIGKILL
    assert cgroup(runtime).is_dir()
    return id


def test_a_cgroup_that_another_create_has_claimed_is_refused_and_stays(runtime: Runtime, shared: Bundle) -> None:
    """The other create may have another state root: the claim is on the cgroup itself."""
    cgroup(runtime).mkdir(parents=True)
    with open(cgroup(runtime) / "cgroup.kill", "w", encoding="ascii") as claim:
        fcntl.flock(claim, fcntl.LOCK_EX)
        line = runtime.refuse(shared).last_line
        assert "container's cgroup is not empty: another container is being created in it" in line
        assert "/linux/cgroupsPath" in line
        assert cgroup(runtime).is_dir()
    runtime.container(shared).delete()
    removed_above(runtime)


def test_any_user_s_lock_on_the_directory_hinders_nobody(runtime: Runtime, shared: Bundle) -> None:
    cgroup(runtime).mkdir(parents=True)
    directory = os.open(cgroup(runtime), os.O_RDONLY)
    fcntl.flock(directory, fcntl.LOCK_EX)
    runtime.container(shared).delete()
    os.close(directory)
    removed_above(runtime)


def test_of_creates_at_once_in_different_roots_one_has_the_cgroup(runtime: Runtime, shared: Bundle) -> None:
    shared.write()
    for attempt in range(ROUNDS):
        roots = [runtime.work / f"root-{attempt}-{number}" for number in range(3)]
        id = f"{runtime.token}-race"
        words = ["create", "--bundle", str(shared.path), id]
        creates = [
            subprocess.Popen(
                [*runtime.command, "--root", str(root), *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=runtime.environment(),
            )
            for root in roots
        ]
        codes = [create.wait(60) for create in creates]
        made = [root for root, code in zip(roots, codes, strict=True) if code == 0]
        assert len(made) <= 1
        if made:
            state = json.loads(runtime("--root", made[0], "state", id, with_root=False).out)
            assert state["status"] == "created"
            assert (cgroup(runtime) / "cgroup.procs").read_text().split() == [str(state["pid"])]
            assert runtime("--root", made[0], "delete", id, with_root=False).code == 0
        removed_above(runtime)  # the cgroup stays if the container that made it is not the last one that used it
        runtime.assert_nothing_left()


@pytest.mark.parametrize("words", [("delete", "--force", "ID"), ("delete", "ID"), ("gc",), ("create",)])
def test_what_a_killed_create_left_is_another_s_by_now(runtime: Runtime, shared: Bundle, words: list[str]) -> None:
    id = killed_before_the_clone(runtime, shared)
    other = Other(runtime, shared)
    if words[0] == "create":
        result = runtime("create", "--bundle", shared.path, id)
        assert "container's cgroup is not empty" in result.last_line
    else:
        runtime(*[id if word == "ID" else word for word in words])
    assert runtime("state", id).code == 1
    assert not (runtime.root / id).exists()
    other.assert_untouched()
    other.delete()


@pytest.mark.parametrize("has_pids", [True, False], ids=["own-pids", "host-pids"])
@pytest.mark.parametrize("words", [("delete", "--force"), ("delete",), ("kill", "--all"), ("kill",)])
def test_a_stopped_container_s_cgroup_is_another_s_by_now(
    runtime: Runtime, shared: Bundle, words: tuple[str, ...], has_pids: bool
) -> None:
    if not has_pids:
        shared.without_namespace("pid")
    first = runtime.started(shared.args("true"))
    first.wait()
    host.wait_for("its cgroup to be empty", lambda: not (cgroup(runtime) / "cgroup.procs").read_text())
    other = Other(runtime, shared.args("sleep", "1000"))
    result = runtime(*words, first.id, *(["KILL"] if words[0] == "kill" else []))
    assert result.code == int(words == ("kill",)), result
    other.assert_untouched()
    first.delete("--force")
    assert not (runtime.root / first.id).exists()
    other.assert_untouched()
    other.delete()


def test_a_container_below_what_a_killed_create_left(runtime: Runtime, shared: Bundle) -> None:
    id = killed_before_the_clone(runtime, shared)
    shared.linux["cgroupsPath"] += "/below"
    other = Other(runtime, shared)
    runtime("delete", "--force", id)
    other.assert_untouched()
    assert other("delete", "--force", other.id).code == 0
    runtime.assert_nothing_left()  # what was above the other's was left to it


def test_a_mark_that_is_not_true_is_not_believed(runtime: Runtime, shared: Bundle) -> None:
    """A container may write on its own cgroup, but not what another container says of itself."""
    shared.without_namespace("pid")
    first = runtime.started(shared)
    elsewhere = runtime.started(runtime.bundle("elsewhere").args("sleep", "1000"))
    os.setxattr(cgroup(runtime), "user.pyrunc.container", os.fsencode(runtime.root / elsewhere.id))
    os.kill(first.pid, signal.SIGSTOP)
    first.delete("--force")
    assert not cgroup(runtime).exists()
    assert elsewhere.status == "running"
