"""The init, run without the runtime: small hand-made plans, sent as the runtime sends them."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pyrunc.libcontainer.plan import wire
from pyrunc.libcontainer.plan.kinds import KINDS
from pyrunc.libcontainer.plan.model import LaunchPlan, Step

REPOSITORY = Path(__file__).resolve().parents[2]
CSRC = REPOSITORY / "csrc" / "init"
NAMESPACES = ("--mount", "--pid", "--uts", "--ipc", "--net", "--fork", "--kill-child")
PATIENCE = 30.0
SHELL_ENV = ("PATH=/bin",)

Value = str | int | tuple[str, ...] | None
DEFAULTS: dict[str, Value] = {"str": "", "strv": (), "fd": None}


def step(kind: str, fallback_level: int = 0, on_errno: tuple[int, ...] = (), **values: Value) -> Step:
    """A step of `kind` with the given fields; the others are 0, empty or none."""
    fields = dict(KINDS[kind].fields)
    assert set(values) <= set(fields), f"{kind} has no {set(values) - set(fields)}"
    args = tuple(values.get(name, DEFAULTS.get(type_, 0)) for name, type_ in fields.items())
    return Step("process", kind, args, fallback_level=fallback_level, on_errno=on_errno)


def shell(script: str, env: tuple[str, ...] = SHELL_ENV) -> Step:
    """The last step of a plan: a shell script as the program."""
    return step("execute", args=("/bin/sh", "-c", script), env=env)


def plan_of(steps: tuple[Step, ...] | list[Step]) -> LaunchPlan:
    return LaunchPlan((), tuple(steps), {})


def build(target: str) -> Path:
    """Build a program of csrc/init/Makefile and return its path.

    The guest has no make: the programs that run there are built already.
    """
    if shutil.which("make") is None:
        if not (CSRC / "build" / target).exists():
            pytest.skip(f"needs make and a compiler for {target}")
        return CSRC / "build" / target
    with open(CSRC / "Makefile") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # pytest-xdist's workers build in one directory
        done = subprocess.run(
            ["make", "-C", str(CSRC), f"build/{target}", f"PYTHON={sys.executable}"],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    return CSRC / "build" / target


class Outcome:
    """The result of a plan: the details of the init's requests in order, whether the init was ready, its error (None
    without one), the program's exit code and output, and the plan's memfd as the init left it."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.ready = False
        self.error: wire.Message | None = None
        self.code = 0
        self.out = ""
        self.err = ""
        self.blob = b""

    def __repr__(self) -> str:
        error = self.error and f"step {self.error.step}, error {self.error.error}, {self.error.detail}"
        return f"<exit {self.code}, error: {error}, out: {self.out!r}, err: {self.err!r}>"


class Launch:
    """A started init. `sync` is the runtime's end of the socket."""

    def __init__(
        self, program: Path, blob: bytes, room: int = 0, namespaces: tuple[str, ...] = (), fds: tuple[int, ...] = ()
    ) -> None:
        self.out = tempfile.TemporaryFile()
        self.err = tempfile.TemporaryFile()
        self.sync, sync = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sync.settimeout(PATIENCE)
        self.plan = os.memfd_create("plan")
        os.write(self.plan, blob)
        os.ftruncate(self.plan, len(blob) + room)
        prefix = ["unshare", *namespaces] if namespaces else []
        # a signal that the caller ignores, for the init to reset
        with sync:
            self.process = subprocess.Popen(
                [*prefix, str(program), str(sync.fileno()), str(self.plan)],
                stdin=subprocess.DEVNULL,
                stdout=self.out,
                stderr=self.err,
                pass_fds=(sync.fileno(), self.plan, *fds),
                env={},
                cwd="/",
                restore_signals=False,
            )

    def message(self) -> wire.Message | None:
        """The init's next message; None at end of file. Descriptors that come along are put into `received`."""
        data, received, _, _ = socket.recv_fds(self.sync, wire.MESSAGE_SIZE, 1)
        self.received = received
        return wire.decode_message(data) if data else None

    def answer(self) -> None:
        self.sync.send(wire.GO_ON)

    def serve(self, outcome: Outcome) -> None:
        """Answer the init's requests until end of file."""
        while (message := self.message()) is not None:
            if message.type == wire.ERROR:
                outcome.error = message
                continue
            if message.type == wire.READY:
                outcome.ready = True
            else:
                outcome.requests.append(message.detail)
            for fd in self.received:
                os.close(fd)
            self.answer()

    def finish(self, outcome: Outcome) -> Outcome:
        """Wait for the end and collect the program's output."""
        outcome.code = self.process.wait(PATIENCE)
        for name in ("out", "err"):
            file = getattr(self, name)
            file.seek(0)
            setattr(outcome, name, file.read().decode(errors="replace"))
        outcome.blob = os.pread(self.plan, os.fstat(self.plan).st_size, 0)
        return outcome

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.sync.close()
        os.close(self.plan)
        self.out.close()
        self.err.close()


def run(
    program: Path,
    *steps: Step,
    namespaces: tuple[str, ...] = (),
    slots: dict[str, int] | None = None,
    timeline: bool = False,
    fault: tuple[int, int] = (-1, 0),
) -> Outcome:
    """Carry a plan out to its end, answering every request."""
    slots = slots or {}
    blob = wire.encode(plan_of(steps), slots, timeline=timeline, fault=fault)
    room = wire.times_offset(len(blob)) - len(blob) + 16 * len(steps) if timeline else 0
    launch = Launch(program, blob, room, namespaces, tuple(slots.values()))
    try:
        outcome = Outcome()
        launch.serve(outcome)
        return launch.finish(outcome)
    finally:
        launch.close()
