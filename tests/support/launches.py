"""Launches whose init is a thread of the test: it plays the init's side of the wire."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from pyrunc.libcontainer.kernel import native
from pyrunc.libcontainer.launch.model import Launch
from pyrunc.libcontainer.plan.host import HostFacts
from pyrunc.libcontainer.plan.model import LaunchPlan, Step
from pyrunc.libcontainer.plan.options import LaunchOptions

from .records import record


def launched(tmp_path: Path, *init: Step, served: dict[str, tuple[Step, ...]] | None = None) -> Launch:
    """A launch in `tmp_path`, of a plan with these steps of the init."""
    options = LaunchOptions(id="box", root=str(tmp_path / "root"), bundle=str(tmp_path))
    return Launch(LaunchPlan((), init, served or {}), record(), options, HostFacts())


def message(kind: int, detail: str = "", step: int = 0, error: int = 0) -> bytes:
    """A message of the init."""
    data = detail.encode()
    head = [number.to_bytes(4, "little") for number in (kind, step)]
    return b"".join([*head, error.to_bytes(4, "little", signed=True), len(data).to_bytes(4, "little"), data])


class Init:
    """The init's side of a launch's sync socket: `talk(socket)` runs in a thread, and then the socket is closed."""

    def __init__(self, launch: Launch, talk: Callable[[int], None]) -> None:
        launch.init.sync, theirs = native.socketpair()

        def run() -> None:
            talk(theirs)
            os.close(theirs)

        self.thread = threading.Thread(target=run)
        self.thread.start()

    def join(self) -> None:
        self.thread.join()
