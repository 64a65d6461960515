"""checkpoint and restore that fail or are killed at every stage: the container is as before, or does not exist.

tests/support/harness.py injects the faults.
"""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.checkpoints import Checkpoints, assert_counts, count, counting
from tests.support.runtime import Runtime

pytestmark = pytest.mark.own("the harness is pyrunc's")

# The first message to try. Message 0 is CRIU's version: pyrunc does not notice that CRIU is killed after it.
FIRST = {"kill": 1}
# More messages, steps and records than there are.
MANY = 40


def call(runtime: Runtime, faults: list[str], *arguments: object) -> tuple[int, str]:
    """Run the harness to its end: exit code (negative for a signal) and stderr. Its streams are of the same kind as the
    container's were."""
    words = [sys.executable, "-m", "tests.support.harness", *faults, "--", "--root", str(runtime.root)]
    err = runtime.work / "harness.err"
    with open(err, "wb") as stream:
        done = subprocess.run(
            [*words, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
            env=runtime.environment(), check=False, timeout=60,
        )  # fmt: skip
    return done.returncode, err.read_text()


def others(runtime: Runtime) -> list[str]:
    """The processes of this test that are CRIU's."""
    return [line for line in host.processes_of(runtime.token) if "swrk" in line]


def assert_criu_ends(runtime: Runtime) -> None:
    """Assert that CRIU ends by itself when nobody is connected to it any more."""
    host.wait_for("CRIU to end by itself", lambda: not others(runtime))


@pytest.mark.parametrize("what", ["die", "kill", "fail", "term"])
def test_a_checkpoint_that_ends_at_any_stage(runtime: Runtime, bundle: Bundle, criu: Checkpoints, what: str) -> None:
    container = counting(runtime, bundle, stdin=subprocess.DEVNULL)
    told: list[str] = []
    for number in range(FIRST.get(what, 0), MANY):
        code, err = call(
            runtime, ["--at-message", str(number), what], "checkpoint", "--image-path", criu.images, container.id
        )
        if code == 0:
            break
        assert_criu_ends(runtime)
        told.append(err)
        if what == "die":
            assert code == -signal.SIGKILL
        else:
            # CRIU's log may stay, and what was there before.
            left = [path.name for path in criu.images.glob("*") if path.name != "dump.log"]
            assert code == (128 + signal.SIGTERM if what == "term" else 1), err
        found = runtime("state", container.id)
        if found.code != 0 or '"status": "stopped"' in found.out:
            # CRIU had written all images when it ended the processes.
            restored = criu.restore(bundle, stdin=subprocess.DEVNULL)
            assert_counts(bundle)
            assert runtime("delete", "--force", restored.id).code == 0
            break
        assert container.status == "running", err
        assert what == "die" or left == []
        assert_counts(bundle)
    assert len(told) > 2, "the faults were not reached"
    assert runtime("delete", "--force", container.id).code == 0
    runtime.assert_nothing_left()


@pytest.mark.parametrize("what", ["die", "kill", "fail", "term"])
def test_a_restore_that_ends_at_any_stage(runtime: Runtime, bundle: Bundle, criu: Checkpoints, what: str) -> None:
    bundle.hook("createRuntime", "/bin/true")
    container = counting(runtime, bundle, stdin=subprocess.DEVNULL)
    criu.dump(container)
    there = count(bundle)
    id = runtime.new_id()
    told = []
    for number in range(FIRST.get(what, 0), MANY):
        if count(bundle) != there:
            break  # it ran: the remaining stages come after that
        code, err = call(runtime, ["--at-message", str(number), what], *criu.words(bundle), id)
        if code == 0:
            break
        told.append(err)
        if what == "die":
            assert code == -signal.SIGKILL
            assert_criu_ends(runtime)
            if runtime("state", id).code == 0:
                # Everything is restored, and no error was reported.
                break
            assert runtime("gc").code == 0
        else:
            # Until the command has an effect, the signal ends it as usual.
            assert code in ((128 + signal.SIGTERM, -signal.SIGTERM) if what == "term" else (1,)), err
        runtime.assert_nothing_left()
    assert len(told) > 2, "the faults were not reached"
    assert runtime("delete", "--force", id).code == 0
    runtime.assert_nothing_left()


@pytest.mark.parametrize("fault", ["--before-step", "--after-record"])
def test_a_restore_killed_at_every_step(runtime: Runtime, bundle: Bundle, criu: Checkpoints, fault: str) -> None:
    bundle.hook("createRuntime", "/bin/true")
    container = counting(runtime, bundle, stdin=subprocess.DEVNULL)
    criu.dump(container)
    pid_file = runtime.work / "pid"
    id = runtime.new_id()
    for number in range(MANY):
        code, err = call(runtime, [fault, str(number)], *criu.words(bundle, "--pid-file", str(pid_file)), id)
        if code == 0:
            break
        assert code == -signal.SIGKILL, err
        host.wait_for("all to end by itself", lambda: not host.processes_of(runtime.token))
        left = runtime("state", id)
        assert left.code != 0 or '"status": "stopped"' in left.out
        assert runtime("gc" if left.code else "delete", *([] if left.code else [id])).code == 0
        runtime.assert_nothing_left()
        assert not pid_file.exists()
    assert number >= (4 if fault == "--before-step" else 2), "the faults were not reached"
    assert_counts(bundle)
    assert runtime("delete", "--force", id).code == 0
    runtime.assert_nothing_left()
