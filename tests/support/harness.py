"""The pyrunc command with a fault built in: `python -m tests.support.harness FAULT… -- ARGUMENTS OF PYRUNC`.

Faults:

- `--before-step N`: SIGKILL before the Nth step of the runtime (from 0)
- `--after-record N`: SIGKILL after the Nth effect was written to the ledger, before it is made
- `--image FILE`: another build of the init
- `--at-message N WHAT`: at the Nth message of any CRIU (from 0), before the answer: `die` by SIGKILL, `kill` CRIU,
  `fail` as a stage that fails at this message does, or get SIGTERM (`term`)
- `--wait-before MODULE NAME FILE`: make FILE before the function NAME of a module of pyrunc.libcontainer is called for
  the first time, and wait until it is removed
- `--init-fault STEP KIND`: the init stops (1) or fails (2) before the STEP of its plan; needs an init-faults image
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from pyrunc import main
from pyrunc.errors import PyruncError
from pyrunc.libcontainer import lifecycle
from pyrunc.libcontainer.criu import swrk
from pyrunc.libcontainer.exec import exec
from pyrunc.libcontainer.kernel import native
from pyrunc.libcontainer.launch import handlers, ledger
from tests.support.host import wait_for


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_before_step(number: int) -> None:
    """Count the runtime's steps as they begin, and die at step `number`."""
    begun = [0]

    def wrapped(handler: Callable[..., None]) -> Callable[..., None]:
        def step(*args: Any) -> None:
            if begun[0] == number:
                _die()
            begun[0] += 1
            handler(*args)

        return step

    for kind, handler in handlers.HANDLERS.items():
        handlers.HANDLERS[kind] = wrapped(handler)


def _kill_after_record(number: int) -> None:
    """Count the entries written to the ledger, and die after entry `number`."""
    written = [0]
    original = ledger.Ledger.record

    def record(self: ledger.Ledger, *args: Any, **fields: Any) -> None:
        original(self, *args, **fields)
        if written[0] == number:
            _die()
        written[0] += 1

    ledger.Ledger.record = record  # type: ignore[method-assign]


def _wait_before(module: str, name: str, file: str) -> None:
    """Tell by a file that a function is about to be called, and wait until the file is removed."""
    place = importlib.import_module(f"pyrunc.libcontainer.{module}")
    original = getattr(place, name)

    def waiting(*args: Any, **more: Any) -> Any:
        setattr(place, name, original)
        with open(file, "x", encoding="ascii"):
            pass
        wait_for(f"the removal of {file}", lambda: not os.path.exists(file))
        return original(*args, **more)

    setattr(place, name, waiting)


def _at_message(number: int, what: str) -> None:
    """Count CRIU's messages, and act at message `number`. The first one is the version."""
    received = [0]
    original = swrk.Criu._receive

    def receive(self: swrk.Criu, kind: int) -> tuple[dict[str, Any], list[int]]:
        message = original(self, kind)
        received[0] += 1
        if received[0] - 1 == number:
            if what == "die":
                _die()
            if what == "kill":
                os.kill(self.pid, signal.SIGKILL)
            if what == "fail":
                raise PyruncError("a stage fails here")
            if what == "term":
                os.kill(os.getpid(), signal.SIGTERM)
        return message

    swrk.Criu._receive = receive  # type: ignore[method-assign]


def _use_image(path: str) -> None:
    """Give the parent another program for the init, in a memfd like that of its own."""

    def image() -> int:
        image = os.memfd_create("pyrunc-init")
        with open(path, "rb") as file:
            os.write(image, file.read())
        return image

    native.init_image = image


def _use_fault(fault: tuple[int, int]) -> None:
    """Let `create`, `run` and `exec` put a fault into the init's plan."""
    for module, name in ((lifecycle, "create"), (lifecycle, "run"), (exec, "execute")):
        original = getattr(module, name)
        setattr(module, name, lambda options, original=original: original(options, fault))


def run(arguments: list[str]) -> int:
    """Install the faults, run the command, and return its exit code."""
    at = arguments.index("--")
    parser = argparse.ArgumentParser()
    parser.add_argument("--before-step", type=int)
    parser.add_argument("--after-record", type=int)
    parser.add_argument("--at-message", nargs=2, metavar=("N", "WHAT"))
    parser.add_argument("--wait-before", nargs=3, metavar=("MODULE", "NAME", "FILE"))
    parser.add_argument("--image")
    parser.add_argument("--init-fault", type=int, nargs=2)
    faults = parser.parse_args(arguments[:at])
    if faults.before_step is not None:
        _kill_before_step(faults.before_step)
    if faults.after_record is not None:
        _kill_after_record(faults.after_record)
    if faults.at_message:
        _at_message(int(faults.at_message[0]), faults.at_message[1])
    if faults.wait_before:
        _wait_before(*faults.wait_before)
    if faults.image:
        _use_image(faults.image)
    if faults.init_fault:
        _use_fault((faults.init_fault[0], faults.init_fault[1]))
    return main.main(["pyrunc", *arguments[at + 1 :]])


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
