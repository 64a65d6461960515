"""What the checks ask of a container engine, whatever its command line is.

A check makes containers by `once`, `box` and `session`, with a Wish in words that all engines share, and drives a Box.
An adapter puts that into its engine's words, and raises Lacks for what the engine has no words for.
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
GRACE = 2

_numbers = itertools.count(1)


class Lacks(Exception):
    """The engine has no such thing, as its documentation says; the message says what."""


@dataclass(frozen=True)
class Wish:
    """What a container is asked to be. Paths of volumes and profiles are the machine's."""

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
    pid: str = ""  # host, box:ID, shareable: where it is to be shared
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
    """A container that was started."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.engine = engine
        self.name = name

    def exec(self, *command: str, input: str = "", **wish: Any) -> Done:
        """Run a command in it: `user`, `directory`, `environment`, `tty`, `privileged`, `detach`."""
        return self.engine.exec(self, command, input, wish)

    def state(self) -> str:
        """running, paused, exited or restarting; empty where there is no such container."""
        return self.engine.state(self)

    def becomes(self, state: str, seconds: float = 20) -> None:
        """Wait for a state."""
        wait_for(lambda: self.state() == state, f"{self.name} is {self.state()!r}, not {state!r}", seconds)

    def logs(self) -> Done:
        """What it has said."""
        return self.engine.logs(self)

    def says(self, text: str, seconds: float = 20) -> None:
        """Wait until its log has a text."""
        wait_for(lambda: text in self.logs().out + self.logs().err, f"{text!r} is not in {self.logs().said!r}", seconds)

    def do(self, word: str, *more: str) -> Done:
        """Kill, stop, pause, resume, restart, remove it; more: the signal of a kill. AssertionError where it fails."""
        done = self.engine.act(self, word, more)
        assert done.code == 0, f"{self.engine.name} {word}: {done.said}"
        return done


class Engine:
    """An engine with one runtime. A context manager; `up` starts its daemons, once for a machine."""

    name = ""
    # How the daemon's process is called that keeps a container, and the daemon's own.
    keeper = ""

    def __init__(self, machine: Machine, runtime: str) -> None:
        """runtime: the name under which the engine was told of it."""
        self.machine = machine
        self.runtime = runtime
        self.boxes: list[Box] = []

    @classmethod
    def up(cls, machine: Machine) -> str:
        """Start it, load the images, and return its version."""
        raise NotImplementedError

    def lacks(self, what: str) -> NoReturn:
        """Raise Lacks."""
        raise Lacks(f"{self.name} has no {what}")

    def new_name(self) -> str:
        """A container's name, unlike any other."""
        return f"box{next(_numbers)}-{self.runtime}"

    # In the engine's words, by the adapters.

    def run_words(self, name: str, command: Sequence[str], wish: Wish, detach: bool) -> list[str]:
        """The command line that runs a container."""
        raise NotImplementedError

    def exec(self, box: Box, command: Sequence[str], input: str, wish: Mapping[str, object]) -> Done:
        """Run a command in a box."""
        raise NotImplementedError

    def exec_words(self, box: Box, command: Sequence[str], wish: Mapping[str, object]) -> list[str]:
        """The command line of that."""
        raise NotImplementedError

    def state(self, box: Box) -> str:
        """A box's state, in Docker's words."""
        raise NotImplementedError

    def pid(self, box: Box) -> int:
        """The number of its first process on the machine."""
        raise NotImplementedError

    def exit_code(self, box: Box) -> int:
        """What it ended with."""
        raise NotImplementedError

    def logs(self, box: Box) -> Done:
        """A box's log."""
        raise NotImplementedError

    def act(self, box: Box, word: str, more: Sequence[str]) -> Done:
        """What `Box.do` does."""
        raise NotImplementedError

    def top(self, box: Box) -> Done:
        """Its processes."""
        return self.lacks("top")

    def stats(self, box: Box) -> Done:
        """What it uses."""
        return self.lacks("stats")

    def update(self, box: Box, limits: Mapping[str, str]) -> Done:
        """Change its limits."""
        return self.lacks("update")

    def healthy(self, box: Box) -> bool:
        """Whether its health check passes."""
        return self.lacks("health checks")

    def checkpoint(self, box: Box) -> Box:
        """Write a checkpoint, which ends it, and start it from that again."""
        return self.lacks("checkpoint")

    def restart_daemon(self) -> None:
        """Kill the daemon by SIGKILL and start it again."""
        self.lacks("daemon")

    # In terms of these.

    def call(self, *words: str, input: str = "", seconds: float = 60) -> Done:
        """A command of the engine's."""
        return self.machine.run(*words, input=input, seconds=seconds)

    def once(self, *command: str, input: str = "", **wish: Any) -> Done:
        """Run a container to its end, in the foreground, and remove it."""
        name = self.new_name()
        words = self.run_words(name, command, Wish(**{"remove": True, **wish}), detach=False)
        return self.call(*words, input=input)

    def box(self, *command: str, **wish: Any) -> Box:
        """Start a container in the background. AssertionError with what the engine says where it can't."""
        box = Box(self, self.new_name())
        self.boxes.append(box)
        done = self.call(*self.run_words(box.name, command, Wish(**wish), detach=True))
        assert done.code == 0, f"{self.name} run: {done.said}"
        return box

    def idle(self, **wish: Any) -> Box:
        """A container that sleeps."""
        return self.box("sleep", "1000", **wish)

    def session(self, words: Sequence[str], size: tuple[int, int] = (24, 80)) -> Session:
        """A terminal at which a command of the engine's runs."""
        return Session(self.machine.words(*words), {**ENVIRONMENT, "TERM": "xterm"}, size)

    def clean(self) -> None:
        """Remove what a check has left."""
        for box in self.boxes:
            self.act(box, "remove", ())
        self.boxes.clear()
