"""`create` of configurations that are wrong in any way: it works, or names the mistake in one line; nothing is left.

The tests try them in a sandbox (tests/support/sandbox.py), which sees whatever they make, most of them in a fork that
has imported pyrunc. PYRUNC_BAD_CONFIGS=N tries N other ones, new each time, in place of the few that every run tries;
PYRUNC_TEST_RUNTIME is tried as a command.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from tests.support import host, mutations
from tests.support.bundle import BUSYBOX
from tests.support.effort import times
from tests.support.runtime import Runtime
from tests.support.sandbox import Outcome, Sandbox

pytestmark = pytest.mark.own("it crashes, or words it otherwise")

EXAMPLES = int(os.environ.get("PYRUNC_BAD_CONFIGS", "0"))

# How many configurations, always the same, if the environment gives no number.
FIXED = times(60, 300)

# Failures that come from the file, not from a configuration in it: it is not valid at all.
NO_CONFIG = re.compile(r"config\.json:[\d:]* |config must be an object")
AT = re.compile(r"[(, ]at /")
# A profile may make its container's start fail; the runtime can't prevent that.
FILTERED = "at /linux/seccomp"


@contextmanager
def opened(directory: Path, fork: bool) -> Iterator[Sandbox]:
    """A sandbox. fork: run commands in a fork, if pyrunc's own ordinary build is tested."""
    if not os.path.exists(BUSYBOX):
        pytest.skip(f"needs {BUSYBOX} (package busybox-static)")
    if not host.cgroup2_mount():
        pytest.skip("needs a cgroup2 hierarchy, in which the sandbox gets one of its own")
    work = Path(tempfile.mkdtemp(prefix="mutated", dir=directory))
    work.chmod(0o755)
    command = Runtime(work, work).command
    value = Sandbox(work, [] if fork and "PYRUNC_TEST_RUNTIME" not in os.environ else command)
    try:
        yield value
    finally:
        value.close()


@pytest.fixture(scope="module")
def sandbox(session_directory: Path) -> Iterator[Sandbox]:
    with opened(session_directory, True) as value:
        yield value


@pytest.fixture(scope="module")
def real(session_directory: Path) -> Iterator[Sandbox]:
    """A sandbox that starts the command as a process."""
    with opened(session_directory, False) as value:
        yield value


def judge(outcome: Outcome) -> None:
    """Check what must be true of every configuration."""
    assert not outcome.left, outcome.left
    for command, (code, err) in {"create": (outcome.code, outcome.err), **outcome.later}.items():
        assert code >= 0, f"{command} was ended by signal {-code}"
        assert "Traceback" not in err, f"{command}: {err}"
        assert code == 0 or err.strip(), f"{command} failed without a word"
    if outcome.code == 0:
        assert outcome.later["state"][0] == 0
        assert outcome.later["delete"][0] == 0
        code, err = outcome.later["start"]
        assert code == 0 or AT.search(err), err
        return
    line = outcome.last_line
    assert "the init was killed" not in line or FILTERED in line, line
    assert "the init exited" not in line, line
    assert AT.search(line) or NO_CONFIG.search(line), line


def attempt(sandbox: Sandbox, random: Random) -> None:
    config: Any = mutations.harmless(mutations.mutated(random, mutations.RUNNABLE), sandbox.bundle)
    text = mutations.text_of(random, config)
    note(repr(text[:5000]))
    judge(sandbox.attempt(text, mutations.has_terminal(config) and random.random() < 0.7))


@settings(max_examples=EXAMPLES or FIXED, derandomize=not EXAMPLES)
@given(random=st.randoms(use_true_random=bool(EXAMPLES)))
def test_a_mutated_config_is_carried_out_or_refused(sandbox: Sandbox, random: Random) -> None:
    attempt(sandbox, random)


@settings(max_examples=EXAMPLES // 20 or 8, derandomize=not EXAMPLES)
@given(random=st.randoms(use_true_random=bool(EXAMPLES)))
def test_the_same_by_the_command_itself(real: Sandbox, random: Random) -> None:
    attempt(real, random)


def test_what_is_not_mutated_works(sandbox: Sandbox) -> None:
    """Without this the other tests would show nothing."""
    for name in mutations.RUNNABLE:
        outcome = sandbox.attempt(mutations.plain_text(mutations.bases()[name]))
        assert outcome.code == 0, outcome.err
        assert {command: code for command, (code, _) in outcome.later.items()} == {"state": 0, "start": 0, "delete": 0}
        judge(outcome)


def test_the_sandbox_sees_what_is_left(session_directory: Path) -> None:
    """A hook leaves something of every kind behind; the test of what is left must be able to fail."""
    script = "touch /run/file; mkdir /sys/fs/cgroup/left; sleep 99 >/dev/null 2>&1 & mount -t tmpfs none data"
    config = mutations.bases()["plain"]
    hook = {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin:/sbin:/usr/sbin"]}
    config["hooks"] = {"createRuntime": [hook]}
    with opened(session_directory, True) as sandbox:
        left = " ".join(sandbox.attempt(mutations.plain_text(config)).left)
        for what in ("file /run/file", "mount ", "cgroup /sys/fs/cgroup/left", "process "):
            assert what in left


REGRESSIONS: dict[str, Any] = {
    # The init tried to exit for ever, and `start` waited for it.
    "a filter without exit": ("plain", {"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO"}}}),
    "a filter that interrupts": (
        "plain", {"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4}}},
    ),
    # The container was created and its init had ended: there was no descriptor for the connection of `start`.
    "two open files": ("plain", {"process": {"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 2, "hard": 1024}]}}),
}  # fmt: skip


@pytest.mark.parametrize("name", REGRESSIONS)
def test_what_was_found(sandbox: Sandbox, name: str) -> None:
    base, changes = REGRESSIONS[name]
    config = mutations.bases()[base]
    for parent, members in changes.items():
        config[parent].update(members)
    judge(sandbox.attempt(mutations.plain_text(config)))
