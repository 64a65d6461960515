"""What the checks need from a container engine, independent of its command line.

A check makes containers by `once`, `box` and `session`, with a Wish in words that all engines share, and drives a Box.
An adapter translates the wish to its engine's options, and raises Lacks for what these can't express.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from tests.engines.machine import ENVIRONMENT, Done, Machine, wait_for
from tests.support.terminals import Session

# The image of the checks, and one with a name of its own for the pods' first container.
BUSYBOX = "localhost/busybox:1"
PAUSE = "localhost/pause:1"
NGINX = "localhost/nginx:1"

# Seconds from a stop's SIGTERM to its SIGKILL.
GRACE = 5

_numbers = itertools.count(1)


class Lacks(Exception):
    """The engine has no such feature, according to its documentation; the message names it."""


@dataclass(frozen=True)
class Wish:
    """The wanted properties of a container. Paths of volumes and profiles are the machine's."""

    image: str = BUSYBOX
    tty: bool = False
    stdin: bool = False
    user: str = ""
    groups: Sequence[str] = ()
    directory: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    hostname: str = ""
    read_only: bool = False
    tmpfs: Sequence[str] = ()  # PATH or PATH:OPTIONS
    volumes: Sequence[str] = ()  # SOURCE:TARGET[:OPTIONS]
    devices: Sequence[str] = ()
    cap_add: Sequence[str] = ()
    cap_drop: Sequence[str] = ()
    privileged: bool = False
    profile: str = ""  # a seccomp profile; `unconfined`
    no_new_privileges: bool = False
    network: str = "none"  # or bridge, host, box:ID
    pid: str = ""  # host, box:ID, shareable: another container may join it
    ipc: str = ""  # likewise
    uts: str = ""  # host
    cgroupns: str = ""  # host, private
    mapped: bool = False  # a user namespace with other ids
    init: bool = False
    ulimits: Sequence[str] = ()  # NAME=SOFT:HARD
    sysctls: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, str] = field(default_factory=dict)  # pids, memory, cpus
    restart: str = ""
    health: str = ""  # a shell command, every second
    remove: bool = False


class Box:
    """A started container."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.engine = engine
        self.name = name

    def exec(self, *command: str, input: str = "", **wish: Any) -> Done:
        """Run a command in the box: `user`, `directory`, `environment`, `tty`, `privileged`, `detach`."""
        return self.engine.exec(self, command, input, wish)

    def state(self) -> str:
        """running, paused, exited or restarting; empty if there is no such container."""
        return self.engine.state(self)

    def becomes(self, state: str, seconds: float = 60) -> None:
        """Wait until the box has a state."""
        wait_for(lambda: self.state() == state, f"{self.name} is {self.state()!r}, not {state!r}", seconds)

    def logs(self) -> Done:
        """The box's log."""
        return self.engine.logs(self)

    def says(self, text: str, seconds: float = 60) -> None:
        """Wait until the box's log has a text."""
        wait_for(lambda: text in self.logs().out + self.logs().err, f"{text!r} is not in {self.logs().said!r}", seconds)

    def do(self, word: str, *more: str) -> Done:
        """Kill, stop, pause, resume, restart or remove the box; more: the signal of a kill. AssertionError if that
        fails.
        """
        done = self.engine.act(self, word, more)
        assert done.code == 0, f"{self.engine.name} {word}: {done.said}"
        return done


class Engine:
    """An engine with one runtime. A context manager; `up` starts its daemons, once for a machine."""

    name = ""
    # The name of the daemon's process that keeps a container, and the daemon's name.
    keeper = ""

    def __init__(self, machine: Machine, runtime: str) -> None:
        """runtime: the name by which the engine knows it."""
        self.machine = machine
        self.runtime = runtime
        self.boxes: list[Box] = []

    @classmethod
    def up(cls, machine: Machine) -> str:
        """Start the engine, load the images, and return its version."""
        raise NotImplementedError

    def lacks(self, what: str) -> NoReturn:
        """Raise Lacks."""
        raise Lacks(f"{self.name} has no {what}")

    def new_name(self) -> str:
        """A new, unique name for a container."""
        return f"box{next(_numbers)}-{self.runtime}"

    # Each adapter implements these, with its engine's options.

    def run_words(self, name: str, command: Sequence[str], wish: Wish, detach: bool) -> list[str]:
        """The command line that runs a container."""
        raise NotImplementedError

    def exec(self, box: Box, command: Sequence[str], input: str, wish: Mapping[str, object]) -> Done:
        """Run a command in a box."""
        raise NotImplementedError

    def exec_words(self, box: Box, command: Sequence[str], wish: Mapping[str, object]) -> list[str]:
        """The command line that runs a command in a box."""
        raise NotImplementedError

    def state(self, box: Box) -> str:
        """A box's state, in Docker's words."""
        raise NotImplementedError

    def pid(self, box: Box) -> int:
        """The pid of the box's first process on the machine."""
        raise NotImplementedError

    def exit_code(self, box: Box) -> int:
        """The box's exit code."""
        raise NotImplementedError

    def logs(self, box: Box) -> Done:
        """A box's log."""
        raise NotImplementedError

    def act(self, box: Box, word: str, more: Sequence[str]) -> Done:
        """Do the action of `Box.do`."""
        raise NotImplementedError

    def top(self, box: Box) -> Done:
        """The box's processes."""
        return self.lacks("top")

    def stats(self, box: Box) -> Done:
        """The box's use of resources."""
        return self.lacks("stats")

    def update(self, box: Box, limits: Mapping[str, str]) -> Done:
        """Change the box's limits."""
        return self.lacks("update")

    def healthy(self, box: Box) -> bool:
        """Whether the box's health check passes."""
        return self.lacks("health checks")

    def oom_killed(self, box: Box) -> bool:
        """Whether the engine says of an ended box that it had not enough memory."""
        return self.lacks("word for a kill for want of memory")

    def checkpoint(self, box: Box) -> Box:
        """Write a checkpoint, which ends the box, and start the box from it again."""
        return self.lacks("checkpoint")

    def restart_daemon(self) -> None:
        """Kill the daemon by SIGKILL and start it again."""
        self.lacks("daemon")

    # The methods above implement these.

    def call(self, *words: str, input: str = "", seconds: float = 60) -> Done:
        """Run a command of the engine."""
        return self.machine.run(*words, input=input, seconds=seconds)

    def once(self, *command: str, input: str = "", **wish: Any) -> Done:
        """Run a container to its end, in the foreground, and remove it."""
        name = self.new_name()
        words = self.run_words(name, command, Wish(**{"remove": True, **wish}), detach=False)
        return self.call(*words, input=input)

    def box(self, *command: str, **wish: Any) -> Box:
        """Start a container in the background. AssertionError with the engine's message if it can't start."""
        box = Box(self, self.new_name())
        self.boxes.append(box)
        done = self.call(*self.run_words(box.name, command, Wish(**wish), detach=True))
        assert done.code == 0, f"{self.name} run: {done.said}"
        return box

    def idle(self, **wish: Any) -> Box:
        """A container that sleeps."""
        return self.box("sleep", "1000", **wish)

    def session(self, words: Sequence[str], size: tuple[int, int] = (24, 80)) -> Session:
        """A terminal at which a command of the engine runs."""
        return Session(self.machine.words(*words), {**ENVIRONMENT, "TERM": "xterm"}, size)

    def clean(self) -> None:
        """Remove what a check has left."""
        for box in self.boxes:
            self.act(box, "remove", ())
        self.boxes.clear()
