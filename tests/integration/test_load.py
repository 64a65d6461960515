"""Many clients on one state root: no command disturbs another one, and `gc` removes what killed commands leave. Random
commands on few containers that share their cgroups end as they could one after the other."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import pytest

from tests.support.bundle import Bundle
from tests.support.effort import times
from tests.support.runtime import Runtime

CLIENTS = 16
# The ordinary build takes ten times as long for a command.
CONTAINERS = times(32, 200) if os.environ.get("PYRUNC_TEST_RUNTIME") else 24
# How many commands are killed in the second test.
KILLS = CONTAINERS // 2
# How many random commands each of so many clients runs.
RANDOM_CLIENTS = 8
RANDOM_COMMANDS = times(25, 300) if os.environ.get("PYRUNC_TEST_RUNTIME") else times(5, 40)


class Client(threading.Thread):
    """One of many clients of the runtime: it takes ids from a common list until none is left, and runs each container
    through its life.

    killed: the ids whose command SIGKILL ended. failures: commands that failed though no command on that id was killed
    before.
    """

    def __init__(self, runtime: Runtime, bundle: Bundle, ids: list[str], number: int) -> None:
        super().__init__()
        self.runtime = runtime
        self.bundle = bundle
        self.ids = ids
        self.output = runtime.work / f"client-{number}"
        self.process: subprocess.Popen[bytes] | None = None
        self.killed: set[str] = set()
        self.failures: list[str] = []

    def run(self) -> None:
        """Take ids until there are no more."""
        while True:
            try:
                id = self.ids.pop()
            except IndexError:
                return
            self.life(id)

    def life(self, id: str) -> None:
        """Every command that an engine runs for a container; after a killed command, the rest is left out."""
        commands: tuple[tuple[str, ...], ...] = (
            ("create", "--bundle", str(self.bundle.path), id),
            ("state", id),
            ("start", id),
            ("exec", id, "true"),
            ("list",),
            ("ps", "--format", "json", id),
            ("pause", id),
            ("resume", id),
            ("kill", id, "KILL"),
            ("delete", "--force", id),
        )
        for words in commands:
            if not self.command(id, *words):
                return

    def command(self, id: str, *words: str) -> bool:
        """Run a command to its end; returns whether it succeeded."""
        with open(self.output, "wb") as output:
            self.process = spawn(self.runtime, words, output)
            code = self.process.wait(120)
            self.process = None
        if code == -signal.SIGKILL:
            self.killed.add(id)
        elif code:
            self.failures.append(f"{words} exited {code}: {self.output.read_text(errors='replace')}")
        return code == 0


def spawn(runtime: Runtime, words: Iterable[str], output: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a command of a client, with both of its streams in a file."""
    return subprocess.Popen(
        runtime.argv(*words),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=runtime.environment(),
        cwd=runtime.work,
    )


def start(runtime: Runtime, bundle: Bundle) -> list[Client]:
    """Start the clients."""
    bundle.args("sleep", "1000").write()
    ids = [runtime.new_id() for _ in range(CONTAINERS)]
    clients = [Client(runtime, bundle, ids, number) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    return clients


def finish(clients: Iterable[Client]) -> list[str]:
    """Wait for the clients and return all their failures."""
    failures: list[str] = []
    for client in clients:
        client.join()
        failures += client.failures
    return failures


def test_many_clients(runtime: Runtime, bundle: Bundle) -> None:
    """Each command of each client succeeds, and nothing stays."""
    assert finish(start(runtime, bundle)) == []
    assert runtime("list", "--quiet").out == ""
    runtime.assert_nothing_left()


@pytest.mark.own("gc is pyrunc's")
def test_commands_that_are_killed(runtime: Runtime, bundle: Bundle) -> None:
    """Commands are killed at any moment. The others succeed, and after `gc` only containers that can be deleted are
    left."""
    clients = start(runtime, bundle)
    chance = random.Random(7)
    kills = 0
    while kills < KILLS and any(client.is_alive() for client in clients):
        time.sleep(chance.random() / 20)
        process = chance.choice(clients).process
        if process is not None and process.returncode is None:
            process.kill()
            kills += 1
    assert finish(clients) == []
    killed = set().union(*(client.killed for client in clients))
    assert killed, "no command was killed"
    assert runtime("gc").code == 0
    assert runtime("gc").out == "", "a second gc finds nothing"
    for id in runtime("list", "--quiet").out.split():
        assert id in killed
        result = runtime("delete", "--force", id)
        assert result.code == 0, result
    assert _left(runtime.root) == []
    runtime.assert_nothing_left()


class RandomClient(threading.Thread):
    """A client that runs random commands on random containers. results: the commands with exit code and output."""

    def __init__(self, runtime: Runtime, bundles: list[Bundle], ids: list[str], number: int) -> None:
        super().__init__()
        self.runtime = runtime
        self.bundles = [str(bundle.path) for bundle in bundles]
        self.ids = ids
        self.chance = random.Random(number)
        self.output = runtime.work / f"random-{number}"
        self.results: list[tuple[list[str], int, str]] = []

    def run(self) -> None:
        for _ in range(RANDOM_COMMANDS):
            words = self.words()
            with open(self.output, "wb") as output:
                code = spawn(self.runtime, words, output).wait(120)
            self.results.append((words, code, self.output.read_text(errors="replace")))

    def words(self) -> list[str]:
        """A random command."""
        id, bundle = self.chance.choice(self.ids), self.chance.choice(self.bundles)
        commands = {
            ("create", "--bundle", bundle, id): 8, ("run", "--detach", "--bundle", bundle, id): 4,
            ("start", id): 5, ("delete", id): 4, ("delete", "--force", id): 4, ("exec", id, "true"): 5,
            ("exec", "--detach", id, "sleep", "1000"): 2, ("kill", id, "KILL"): 3, ("kill", "--all", id, "KILL"): 2,
            ("kill", "--all", id, "TERM"): 1, ("pause", id): 2, ("resume", id): 3, ("ps", "--format", "json", id): 2,
            ("list",): 1, ("state", id): 1, ("events", "--stats", id): 1, ("update", "--resources", "r.json", id): 2,
            ("gc",): 1,
        }  # fmt: skip
        return list(self.chance.choices(list(commands), list(commands.values()))[0])


@pytest.mark.own("runc and crun kill what is in the cgroup")
def test_random_commands_on_few_containers(runtime: Runtime) -> None:
    """The containers have two cgroups, so one is often created where another one has just ended. With two of them
    every process of the cgroup is the container's to end."""
    bundles = []
    for number, place in enumerate(("above/one", "above/two", "other/deep/one", "above/one")):
        bundle = runtime.bundle(f"random{number}")
        bundle.linux["cgroupsPath"] = f"/{runtime.token}/{place}"
        if number % 2:
            bundle.without_namespace("pid")
        bundle.args("sleep", "1000").write()
        bundles.append(bundle)
    (runtime.work / "r.json").write_text('{"devices": []}')
    ids = [runtime.new_id() for _ in range(3)]
    clients = [RandomClient(runtime, bundles, ids, number) for number in range(RANDOM_CLIENTS)]
    for client in clients:
        client.start()
    while any(client.is_alive() for client in clients):
        clients[0].join(1)
        if not all(client.is_alive() for client in clients):  # an exec may wait in a paused container
            for id in ids:
                runtime("delete", "--force", id)
    for words, code, output in [result for client in clients for result in client.results]:
        allowed = (0, 255, 128 + signal.SIGKILL, 128 + signal.SIGTERM) if words[0] == "exec" else (0, 1)
        assert code in allowed, (words, code, output)
        assert "internal error" not in output, (words, output)
        assert "Traceback" not in output, (words, output)
        assert code or words[0] == "gc" or "warning" not in output, (words, output)
    for id in ids:
        result = runtime("delete", "--force", id)
        assert result.code == 0, result
    assert runtime("gc").out == ""
    runtime.assert_nothing_left()


def _left(root: Path) -> list[str]:
    """The entries of a state root that belong to a container."""
    return [path.name for path in root.iterdir() if not path.name.startswith(".")]
