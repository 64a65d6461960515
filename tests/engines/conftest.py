"""Each check, with pyrunc and beside it with runc; build/engines/RELEASE.jsonl has the results."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NamedTuple

import pytest

from tests.engines.checks import NEEDS
from tests.engines.engine import Engine
from tests.engines.kinds import KINDS
from tests.engines.machine import REPOSITORY, Machine
from tests.engines.outcomes import Outcome, attempt
from tests.engines.tree import furnish, tree

RESULTS = REPOSITORY / "build/engines"

# The Debian release to test: `make test-engines` sets it. Without it these are no tests.
RELEASE = os.environ.get("PYRUNC_TEST_ENGINES", "")
collect_ignore_glob = [] if RELEASE else ["test_*.py"]

# The engines to test.
CHOSEN = [name for name in os.environ.get("PYRUNC_TEST_ENGINES_KINDS", "").split() if name in KINDS] or list(KINDS)

# runc runs only if pyrunc fails, which takes half the time.
QUICK = os.environ.get("PYRUNC_TEST_ENGINES_QUICK", "") not in ("", "0")


def leave(number: int, frame: FrameType | None) -> None:
    """End the machine too when a signal comes."""
    pytest.exit(f"ended by {signal.Signals(number).name}", 128 + number)


class Ground(NamedTuple):
    """A machine on which an engine runs."""

    kind: str
    version: str
    machine: Machine

    def engine(self, runtime: str) -> Engine:
        """The engine with a runtime."""
        return KINDS[self.kind].adapter(self.machine, runtime)


class Grounds:
    """The machine of the engine that is tested now: made for its first check, ended when another engine's come."""

    def __init__(self) -> None:
        self.stack = contextlib.ExitStack()
        self.current: Ground | None = None
        self.broken: dict[str, str] = {}

    def of(self, name: str) -> Ground:
        """The machine of an engine. AssertionError if the engine has not started, also in an earlier call."""
        if self.current is not None and self.current.kind == name:
            return self.current
        assert name not in self.broken, self.broken[name]
        self.end()
        kind = KINDS[name]
        try:
            machine = self.stack.enter_context(Machine(tree(RELEASE)))
            furnish(machine)
            kind.prepare(machine)
            self.current = Ground(name, kind.adapter.up(machine), machine)
        except (AssertionError, OSError, subprocess.SubprocessError) as error:
            self.broken[name] = f"{name} did not start: {error}"
            raise
        return self.current

    def end(self) -> None:
        """End the machine."""
        self.current = None
        self.stack.close()


@pytest.fixture(scope="session")
def grounds() -> Iterator[Grounds]:
    """One machine at a time."""
    signal.signal(signal.SIGTERM, leave)
    grounds = Grounds()
    yield grounds
    grounds.end()


@pytest.fixture
def ground(request: pytest.FixtureRequest, grounds: Grounds) -> Ground:
    """The machine of the engine that the test names. Not a fixture of a wider scope: pytest 9.2 ends such a fixture
    after each test, because its parameter has another place in each."""
    return grounds.of(request.param)


def judge(ground: Ground, name: str, check: Callable[[Any], None], peer: str = "runc") -> None:
    """Fail if the peer passes the check and pyrunc does not; skip if the engine or the machine lacks something for it.
    With QUICK, pyrunc has to fail twice.

    peer: the runtime beside pyrunc, crun for what runc lacks.
    """
    start = time.monotonic()
    own = attempt(ground.engine("pyrunc"), check)
    needed = own.word == "failed" or (own.word == "passed" and not QUICK)
    other = attempt(ground.engine(peer), check) if needed else Outcome("")
    if QUICK and own.word == "failed" and not (other.word == "failed" and name in NEEDS):
        # Engines have races of their own, which show when the machine is busy.
        first, own = own, attempt(ground.engine("pyrunc"), check)
        if own.word == "passed":
            warnings.warn(f"passed at the second attempt only: {first.text}", stacklevel=1)
            own = Outcome("passed", first.text)
    record = {
        "kind": ground.kind, "version": ground.version, "check": name, "pyrunc": own.word, "runc": other.word,
        "peer": peer, "pyrunc_says": own.text, "runc_says": other.text, "seconds": round(time.monotonic() - start, 1),
    }  # fmt: skip
    RESULTS.mkdir(parents=True, exist_ok=True)
    with (RESULTS / f"{RELEASE}.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\n")
    if own.word == "lacks":
        pytest.skip(own.text)
    if own.word == other.word == "failed" and name in NEEDS:
        pytest.xfail(f"needs {NEEDS[name]}; with {peer}: {other.short[-200:]}")
    if own.word == "failed":
        pytest.fail(f"pyrunc: {own.text}\n{peer}: {other.word} {other.text}", pytrace=False)
