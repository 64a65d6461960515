"""Docker, Podman, containerd and pods with controllers and systemd: `make test-guest-engines`, whose image has them.

Each check is done with pyrunc and beside it with runc, in QEMU only some. It fails where pyrunc fails it, unless
runc fails it too and `@needs` says why. The host keeps the results for docs/engines.md.
"""

from __future__ import annotations

import platform
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping

import pytest

from tests.engines import guests
from tests.engines.checks import CHECKS, NEEDS
from tests.engines.engine import Engine
from tests.engines.guests import ENGINES, Local
from tests.engines.machine import wait_for
from tests.engines.outcomes import Outcome, attempt

pytestmark = pytest.mark.skipif(shutil.which("dockerd") is None, reason="make test-guest-engines")

# The checks for which a controller or systemd makes a difference. What User-Mode Linux can't is marked so. QEMU is too
# slow for all of what is the same in both.
NAMES = ("limits", "update", "stats", "pause", "whose_cgroup")
UML = ("run", "limit_of_processes", "nothing_is_left")
QEMU = {
    "top": "ps finds no time of the boot in User-Mode Linux",
    "oom": "User-Mode Linux panics if a system call reaches the limit",
    "checkpoint": "CRIU's check of the kernel fails in User-Mode Linux",
}
ALL = [*UML, *NAMES, *(pytest.param(name, marks=pytest.mark.qemu(why)) for name, why in QEMU.items())]


class Started:
    """The engine whose daemons run; the daemons of another one are ended before."""

    def __init__(self) -> None:
        self.machine = Local()
        self.machine.furnish()
        self.name = ""
        self.version = ""

    def engine(self, name: str, runtime: str) -> Engine:
        """An engine with a runtime."""
        adapter, _ = ENGINES[name]
        if self.name != name:
            self.end()
            self.version = adapter.up(self.machine)
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


# One after the other for an engine, whose daemons start once.
@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("kind", ENGINES)
def test_check(started: Started, record: Callable[[Mapping[str, str]], None], guest: str, kind: str, name: str) -> None:
    if name in UML and guest != "uml":
        pytest.skip("make test-guest-engines GUEST=uml, which is the same and faster")
    check = {**CHECKS, **guests.CHECKS}[name]
    own = attempt(started.engine(kind, "pyrunc"), check)
    # QEMU emulates every instruction, so runc does there only what is for QEMU, and what pyrunc fails.
    needed = own.word == "failed" or (own.word == "passed" and (guest == "uml" or name in QEMU))
    beside = attempt(started.engine(kind, "runc"), check) if needed else Outcome("")
    record(
        {
            "release": platform.freedesktop_os_release()["VERSION_CODENAME"], "guest": guest, "kind": kind,
            "version": started.version,
            "check": name, "pyrunc": own.word, "runc": beside.word, "pyrunc_says": own.text, "runc_says": beside.text,
        }
    )  # fmt: skip
    if own.word == "lacks":
        pytest.skip(own.text)
    if own.word == beside.word == "failed" and name in NEEDS:
        pytest.xfail(f"needs {NEEDS[name]}; with runc: {beside.short[-200:]}")
    if own.word == "failed":
        pytest.fail(f"pyrunc: {own.text}\nrunc: {beside.word} {beside.text}", pytrace=False)
