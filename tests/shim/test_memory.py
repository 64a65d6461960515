"""The memory of months: a shim that serves for long keeps its descriptors and its private memory.

The long form (LONG=1) has 10,000 execs and 100,000 calls of State; docs/shim.md has its figures.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.shim import wire
from tests.shim.client import RpcError
from tests.shim.shims import Place, Task, command
from tests.support.effort import times
from tests.support.host import wait_for

EXECS = times(150, 10_000, "PYRUNC_TEST_SHIM_EXECS")
STATES = times(2_000, 100_000, "PYRUNC_TEST_SHIM_STATES")
# The launcher's memory is a snapshot, whose free blocks the allocator uses up first: each page of it that is written
# for the first time becomes private. After some 2,000 execs there are none left, and the number stays the same.
SPARE_KIB = 512
# The private memory of an idle shim with one container, with a margin, and the least that it gives back, in KiB.
IDLE_KIB = 800
GIVEN_KIB = 200


def private_memory(pid: int) -> int:
    """KiB of memory that only this process has. Private_Dirty has also pages of a file that was just written."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1])
    raise AssertionError("no Anonymous")


def look(shim: int) -> tuple[int, int]:
    """Descriptors and private memory."""
    return len(os.listdir(f"/proc/{shim}/fd")), private_memory(shim)


def rest(shim: int, most: int) -> None:
    """Wait until the shim has given memory back and has at most so many KiB."""
    wait_for("memory to be given back", lambda: private_memory(shim) <= most)


@pytest.fixture
def task(place: Place) -> Task:
    return place.running(stdin=True)


def add(task: Task, exec_id: str, command: str, terminal: bool, **streams: str) -> None:
    """Add a process with streams of the test's own."""
    config = json.loads((task.path / "config.json").read_text())["process"]
    config |= {"args": [command], "terminal": terminal}
    spec = wire.any_of("types.containerd.io/opencontainers/runtime-spec/1/Process", json.dumps(config).encode())
    task.call("Exec", exec_id=exec_id, terminal=terminal, spec=spec, **streams)


def same(task: Task, what: str, before: tuple[int, int]) -> None:
    """After the last Delete all is as it was."""
    shim = task.call("Connect")["shim_pid"]
    wait_for("as many descriptors", lambda: look(shim)[0] <= before[0])
    after = look(shim)
    print(f"{what}: descriptors {before[0]} to {after[0]}, private memory {before[1]} to {after[1]} KiB")
    assert after[1] <= before[1] + SPARE_KIB, (before, after)


def test_execs(task: Task, tmp_path: Path) -> None:
    """One process after the other, with all three streams; every tenth has a terminal, and every tenth fails."""
    shim = task.call("Connect")["shim_pid"]
    streams = {}
    held = []
    for name in ("stdin", "stdout", "stderr"):
        path = tmp_path / name
        os.mkfifo(path)
        held.append(os.open(path, os.O_RDWR | os.O_NONBLOCK))
        streams[name] = str(path)

    def one(number: int) -> None:
        id = f"e{number}"
        terminal, fails = number % 10 == 0, number % 10 == 5
        given = {**streams, "stderr": "" if terminal else streams["stderr"]}
        add(task, id, "absent" if fails else "true", terminal=terminal, **given)
        if fails:
            with pytest.raises(RpcError, match="absent"):
                task.call("Start", exec_id=id)
        else:
            task.call("Start", exec_id=id)
            assert task.call("Wait", exec_id=id)["exit_status"] == 0
        task.call("Delete", exec_id=id)

    for number in range(60):
        one(number)
    before = look(shim)
    for number in range(60, 60 + EXECS):
        one(number)
    same(task, f"{EXECS} execs", before)
    for fd in held:
        os.close(fd)


@pytest.mark.ours("the Go shim has another allocator")
def test_an_idle_shim_gives_memory_back(task: Task) -> None:
    """Pages of the snapshot that were written to and are equal to the file's again; and what malloc has free."""
    if "containerd-shim-pyrunc-v2" not in command()[-1]:
        pytest.skip("only the launcher has a snapshot")
    shim = task.call("Connect")["shim_pid"]
    rest(shim, IDLE_KIB)
    idle = private_memory(shim)
    print(f"idle: private memory {idle} KiB")

    def busy() -> int:
        for method in ("Stats", "Pids", "Pause", "Resume", "State"):
            task.call(method)
        found = private_memory(shim)  # if this process stood still meanwhile, the shim has given memory back already
        return found if found >= idle + GIVEN_KIB else 0

    for _ in range(3):
        most = wait_for("a busy shim to have more", busy)
        rest(shim, most - GIVEN_KIB)
        print(f"busy {most}, idle {private_memory(shim)} KiB")
    add(task, "e", "true", terminal=False)
    task.call("Start", exec_id="e")
    assert task.call("Wait", exec_id="e")["exit_status"] == 0
    task.call("Delete", exec_id="e")


def test_states(task: Task) -> None:
    shim = task.call("Connect")["shim_pid"]

    def calls(count: int) -> None:
        for _ in range(count // 50):
            waiting = [task.begin("State") for _ in range(50)]
            for wait in waiting:
                assert wait()["pid"] == task.pid

    calls(1000)
    before = look(shim)
    calls(STATES)
    same(task, f"{STATES} calls of State", before)


def test_statistics_and_pauses(task: Task) -> None:
    """What reads files, and what runs the runtime without a process in the container."""
    shim = task.call("Connect")["shim_pid"]

    def one() -> None:
        for method in ("Stats", "Pids", "Pause", "Resume", "Connect"):
            task.call(method)

    for _ in range(20):
        one()
    before = look(shim)
    for _ in range(EXECS // 10):
        one()
    same(task, f"{EXECS // 10} times Stats, Pids, Pause and Resume", before)


def test_lives_of_one_pod(place: Place) -> None:
    """Containers that come and go in the shim of a pod."""
    pod = {"io.kubernetes.cri.sandbox-id": "pod"}

    def begin(id: str) -> Task:
        place.bundle(id, annotations=pod)
        task = Task(place, id, place.connect(place.start(id)))
        task.create()
        task.call("Start")
        return task

    first = begin("pod")
    shim = first.call("Connect")["shim_pid"]
    clients = len(place.clients)

    def one(number: int) -> None:
        other = begin(f"c{number}")
        assert other.call("Connect")["shim_pid"] == shim
        other.end()
        while len(place.clients) > clients:
            place.clients.pop().close()

    for number in range(10):
        one(number)
    before = look(shim)
    for number in range(10, 10 + EXECS // 10):
        one(number)
    same(first, f"{EXECS // 10} containers", before)
