"""How many page faults the commands of a container's life take, compared with page_faults.json.

Most are first accesses to the launcher's snapshot, and writes to it. If a count grows: what does the command import or
touch that it did not before (docs/launcher.md, The snapshot)? PYRUNC_UPDATE_GOLDEN=1 writes the file.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import purev2
from tests.bench import bundles, engine_bundles
from tests.support.built import launcher_of
from tests.support.runtime import Runtime

GOLDEN = Path(__file__).with_name("page_faults.json")
# Counts differ by 3 percent between runs and builds.
MARGIN = 1.05
ROUNDS = 3
# How much a fault maps around it depends on the kernel, and what a start touches on the interpreter.
GROUND = {
    "kernel": ".".join(platform.release().split(".")[:2]),
    "machine": platform.machine(),
    "python": ".".join(map(str, sys.version_info[:2])),
}


def faults(runtime: Runtime, *words: str | Path) -> int:
    """Run a command and return its minor faults, with those of the children that it has waited for."""
    line = runtime.argv(*words)
    null = os.open(os.devnull, os.O_RDWR)
    streams = [(os.POSIX_SPAWN_DUP2, null, fd) for fd in range(3)]
    pid = os.posix_spawnp(line[0], line, runtime.environment(), file_actions=streams)
    os.close(null)
    _, status, usage = os.wait4(pid, 0)
    assert status == 0, words
    return usage.ru_minflt


def life(runtime: Runtime, short: Path, long: Path, docker: Path) -> dict[str, int]:
    """The faults of each command in one life of a container, and of `run` of a container of Docker."""
    id = f"{runtime.token}-life"
    commands: dict[str, tuple[str | Path, ...]] = {
        "run": ("--bundle", short, id),
        "run of Docker's": ("--bundle", docker, id),
        "create": ("--bundle", long, id),
        "start": (id,),
        "state": (id,),
        "exec": (id, "/bin/true"),
        "list": (),
        "kill": (id, "KILL"),
        "delete": ("--force", id),
    }
    return {name: faults(runtime, name.partition(" ")[0], *words) for name, words in commands.items()}


@pytest.fixture
def program(runtime: Runtime) -> Iterator[Path]:
    """The launcher on a tmpfs: how much of a file on disk one fault maps depends on how it was read and written."""
    launcher = launcher_of(runtime)
    if not launcher:
        pytest.skip("needs the launcher with its snapshot: make launcher, or make test-launcher")
    directory = runtime.work / "tmpfs"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", directory], check=True)
    yield Path(shutil.copy(launcher[0], directory))
    subprocess.run(["umount", "--lazy", directory], check=True)


@pytest.mark.own("the counts are pyrunc's")
def test_no_more_page_faults_than_before(runtime: Runtime, program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    golden = json.loads(GOLDEN.read_text())
    update = bool(os.environ.get("PYRUNC_UPDATE_GOLDEN"))
    if golden["ground"] != GROUND and not update:
        differing = " ".join(sorted(name for name in GROUND if GROUND[name] != golden["ground"][name]))
        pytest.skip(f"the counts were taken with another {differing}")
    monkeypatch.setattr(runtime, "command", [str(program)])
    short, long = bundles.small(runtime.work)
    docker = engine_bundles.docker(runtime.work, f"/{runtime.token}").short
    config = json.loads((docker / "config.json").read_text())
    del config["linux"]["seccomp"]  # this copy of the launcher has no ordinary build beside it, which compiles filters
    (docker / "config.json").write_text(json.dumps(config))
    results = runtime.work / "faults.json"

    def count() -> None:
        lives = [life(runtime, short, long, docker) for _ in range(ROUNDS)]
        results.write_text(json.dumps({name: min(found[name] for found in lives) for name in lives[0]}))

    purev2.run(count)
    found = json.loads(results.read_text())
    if update:
        golden = {"ground": GROUND, "faults": found}
        GOLDEN.write_text(json.dumps(golden, indent=2) + "\n")
    assert {name: count for name, count in found.items() if count > golden["faults"][name] * MARGIN} == {}
