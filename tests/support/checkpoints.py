"""Containers that a real CRIU dumps and restores: a container that counts, and checks that it goes on."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import socket
import subprocess
from pathlib import Path
from typing import Any

from tests.support import criu, host
from tests.support.bundle import Bundle
from tests.support.runtime import Container, Result, Runtime

# The program counts in memory and in an open file; after a checkpoint both continue where they were.
COUNTER = "exec 5>>/count; i=0; while :; do i=$((i+1)); echo $i >&5; sleep 0.05; done"


LOCAL = "127.0.0.1"

# One check by CRIU takes a quarter of a second.
find = functools.cache(criu.find)


class Checkpoints:
    """Dumps and restores of a test. images: the directory of all images."""

    def __init__(self, runtime: Runtime, directory: str) -> None:
        """Put the CRIU of a directory into the PATH of every command."""
        runtime.variables["PATH"] = f"{directory}:{os.environ['PATH']}"
        self.runtime = runtime
        self.images = runtime.work / "images"

    def dump(self, container: Container, *flags: str, ok: bool = True, **more: Any) -> Result:
        """Run `checkpoint`, which must work unless `ok` is false."""
        result = self.runtime("checkpoint", "--image-path", self.images, *flags, container.id, **more)
        assert not ok or result.code == 0, result
        return result

    def words(self, bundle: Bundle, *flags: str) -> list[str | Path]:
        """The arguments of `restore --detach`, without the id."""
        return ["restore", "--detach", "--image-path", self.images, "--bundle", bundle.path, *flags]

    def restore(self, bundle: Bundle, *flags: str, id: str = "", **more: Any) -> Container:
        """Run `restore --detach`, which must work."""
        id = id or self.runtime.new_id()
        result = self.runtime(*self.words(bundle, *flags), id, **more)
        assert result.code == 0, result
        return Container(self.runtime, id, bundle, self.runtime.work / f"{self.runtime._count}.out")

    def refuse(self, bundle: Bundle, *flags: str, **more: Any) -> Result:
        """Run `restore`, which must fail and leave nothing."""
        before = self.runtime.left_over()
        result = self.runtime(*self.words(bundle, *flags), self.runtime.new_id(), **more)
        assert result.code != 0, result
        self.runtime.assert_nothing_left(before)
        return result


def count(bundle: Bundle) -> int:
    """The counter's last number."""
    return len(counted(bundle))


def counted(bundle: Bundle) -> list[int]:
    """The numbers that the counter has written in whole lines."""
    path = bundle.rootfs / "count"
    return [int(line) for line in path.read_text().split("\n")[:-1]] if path.exists() else []


def assert_counts(bundle: Bundle) -> None:
    """Assert that the counter runs, and has left out no number."""
    before = count(bundle)
    host.wait_for("the counter to go on", lambda: count(bundle) > before + 1)
    numbers = counted(bundle)
    assert numbers == list(range(1, len(numbers) + 1))


def counting(runtime: Runtime, bundle: Bundle, **more: Any) -> Container:
    """A container that counts."""
    container = runtime.started(bundle.sh(COUNTER), **more)
    host.wait_for("the counter to begin", lambda: count(bundle) > 1)
    return container


def wait_until_running(runtime: Runtime, id: str) -> None:
    """Wait until a container is restored; before, `state` shows it as `creating`."""

    def runs() -> bool:
        result = runtime("state", id)
        return result.code == 0 and bool(json.loads(result.out)["status"] == "running")

    host.wait_for("the container to run", runs)


def free_port() -> int:
    """A port that nobody listens on, and that nobody gets without asking for it: it is above those that the kernel
    gives to connections and to tests that bind to port 0."""
    for port in random.SystemRandom().sample(range(61000, 65536), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((LOCAL, port))
            return port
    raise AssertionError("no port is free")


def criu_command(runtime: Runtime, *words: str | Path) -> subprocess.Popen[bytes]:
    """Start CRIU itself, as an engine that migrates containers does."""
    with open(runtime.work / "criu.err", "ab") as err:
        return subprocess.Popen(
            ["criu", *map(str, words)], stdin=subprocess.DEVNULL, stdout=err, stderr=err, env=runtime.environment()
        )


def is_listened_to(port: int) -> bool:
    """Whether a process listens at a port; makes no connection."""
    tables = [path for path in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")) if path.exists()]
    return any(
        line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"
        for table in tables
        for line in table.read_text().splitlines()[1:]
    )
