"""Docker, Podman and containerd with controllers and systemd: `make test-guest-engines`, whose image has them.

Each check is done with pyrunc and, if that fails, with runc.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator

import pytest

from tests.engines.checks import CHECKS, succeeds
from tests.engines.engine import Engine, Lacks
from tests.engines.guests import ENGINES, Local
from tests.engines.machine import wait_for

pytestmark = pytest.mark.skipif(shutil.which("dockerd") is None, reason="make test-guest-engines")

# The checks for which a controller or systemd makes a difference. What User-Mode Linux can't is marked so.
NAMES = ("run", "limits", "limit_of_processes", "update", "stats", "pause", "nothing_is_left", "whose_cgroup")
QEMU = {
    "top": "ps finds no time of the boot in User-Mode Linux",
    "oom": "User-Mode Linux panics if a system call reaches the limit",
    "checkpoint": "CRIU's check of the kernel fails in User-Mode Linux",
}
ALL = [*NAMES, *(pytest.param(name, marks=pytest.mark.qemu(why)) for name, why in QEMU.items())]


class Started:
    """The engine whose daemons run; the daemons of another one are ended before."""

    def __init__(self) -> None:
        self.machine = Local()
        self.machine.furnish()
        self.name = ""

    def engine(self, name: str, runtime: str) -> Engine:
        """An engine with a runtime."""
        adapter, _ = ENGINES[name]
        if self.name != name:
            self.end()
            adapter.up(self.machine)
            self.name = name
        return adapter(self.machine, runtime)

    def end(self) -> None:
        """End the daemons."""
        self.name = ""
        for daemon in ("dockerd", "containerd"):
            if pids := self.machine.pids(daemon):
                self.machine.kill(pids, signal.SIGTERM)
                wait_for(lambda daemon=daemon: not self.machine.pids(daemon), f"{daemon} is still there", 60)  # type: ignore[misc]


@pytest.fixture(scope="session")
def started() -> Iterator[Started]:
    started = Started()
    yield started
    started.end()


def attempt(engine: Engine, check: Callable[[Engine], None]) -> str:
    """Do a check. Returns what went wrong, or nothing. Skips what the engine has no words for."""
    try:
        check(engine)
    except Lacks as error:
        pytest.skip(str(error))
    except (AssertionError, ValueError, KeyError, OSError, IndexError) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        engine.clean()
    return ""


def whose_cgroup(engine: Engine) -> None:
    """The container's cgroup is a unit of systemd with the limit among its properties, or not systemd's."""
    box = engine.idle(limits={"memory": "64m"})
    cgroup = engine.machine.cgroup(engine.pid(box))
    assert (cgroup / "memory.max").read_text() == f"{64 << 20}\n"
    scopes = [part for part in cgroup.parts if part.endswith(".scope")]
    assert bool(scopes) is dict(ENGINES.values())[type(engine)], cgroup
    if scopes:
        words = ("systemctl", "show", "--property=MemoryMax,ActiveState", scopes[-1])
        assert succeeds(engine.machine.run(*words)).split() == [f"MemoryMax={64 << 20}", "ActiveState=active"]


# One after the other for an engine, whose daemons start once.
@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("kind", ENGINES)
def test_check(started: Started, kind: str, name: str) -> None:
    check = whose_cgroup if name == "whose_cgroup" else CHECKS[name]
    said = attempt(started.engine(kind, "pyrunc"), check)
    if said:
        beside = attempt(started.engine(kind, "runc"), check) or "passed"
        pytest.fail(f"pyrunc: {said}\nrunc: {beside}", pytrace=False)
