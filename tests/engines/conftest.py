"""Each check, with pyrunc and beside it with runc; what came of it is in build/engines/RELEASE.jsonl."""

from __future__ import annotations

import json
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NamedTuple

import pytest

from tests.engines.checks import NEEDS
from tests.engines.engine import Engine, Lacks
from tests.engines.kinds import KINDS
from tests.engines.machine import REPOSITORY, Machine
from tests.engines.tree import furnish, tree

RESULTS = REPOSITORY / "build/engines"

# The Debian release that is tested: `make test-engines` sets it. Without it these are no tests.
RELEASE = os.environ.get("PYRUNC_TEST_ENGINES", "")
collect_ignore_glob = [] if RELEASE else ["test_*.py"]

# The engines.
CHOSEN = [name for name in os.environ.get("PYRUNC_TEST_ENGINES_KINDS", "").split() if name in KINDS] or list(KINDS)

# runc is run only where pyrunc fails, which takes half the time.
QUICK = os.environ.get("PYRUNC_TEST_ENGINES_QUICK", "") not in ("", "0")


def leave(number: int, frame: FrameType | None) -> None:
    """A signal ends the machine too."""
    pytest.exit(f"ended by {signal.Signals(number).name}", 128 + number)


class Ground(NamedTuple):
    """A machine with an engine on it, which is up."""

    kind: str
    version: str
    machine: Machine

    def engine(self, runtime: str) -> Engine:
        """The engine with a runtime."""
        return KINDS[self.kind].adapter(self.machine, runtime)


@pytest.fixture(scope="module")
def ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    """A machine of its own for each engine."""
    signal.signal(signal.SIGTERM, leave)
    kind = KINDS[request.param]
    with Machine(tree(RELEASE)) as machine:
        furnish(machine)
        kind.prepare(machine)
        yield Ground(request.param, kind.adapter.up(machine), machine)


class Outcome(NamedTuple):
    """How a check went: passed, failed, lacks, or empty where it was not run; and what was said."""

    word: str
    text: str = ""

    @property
    def short(self) -> str:
        """Its last line that says something, and not only where help is to be had."""
        lines = [line.strip() for line in self.text.splitlines() if line.strip() and not line.startswith("See ")]
        return lines[-1] if lines else ""


def attempt(engine: Engine, check: Callable[[Any], None]) -> Outcome:
    """Run a check with an engine, and remove what it has left."""
    try:
        check(engine)
        return Outcome("passed")
    except Lacks as error:
        return Outcome("lacks", str(error))
    except (AssertionError, ValueError, KeyError, OSError, IndexError) as error:
        frames = traceback.extract_tb(error.__traceback__)
        where = next((frame for frame in frames if frame.name == check.__name__), frames[-1])
        return Outcome("failed", f"{where.line}: {type(error).__name__}: {error}")
    finally:
        engine.clean()


def judge(ground: Ground, name: str, check: Callable[[Any], None]) -> None:
    """Fail where runc passes the check and pyrunc does not; skip where the engine or the machine has no such thing."""
    start = time.monotonic()
    own = attempt(ground.engine("pyrunc"), check)
    needed = own.word == "failed" or (own.word == "passed" and not QUICK)
    other = attempt(ground.engine("runc"), check) if needed else Outcome("")
    record = {
        "kind": ground.kind, "version": ground.version, "check": name, "pyrunc": own.word, "runc": other.word,
        "pyrunc_says": own.text, "runc_says": other.text, "seconds": round(time.monotonic() - start, 1),
    }  # fmt: skip
    RESULTS.mkdir(parents=True, exist_ok=True)
    with (RESULTS / f"{RELEASE}.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\n")
    if own.word == "lacks":
        pytest.skip(own.text)
    if own.word == other.word == "failed" and name in NEEDS:
        pytest.xfail(f"needs {NEEDS[name]}; with runc: {other.short[-200:]}")
    if own.word == "failed":
        pytest.fail(f"pyrunc: {own.text}\nrunc: {other.word} {other.text}", pytrace=False)
