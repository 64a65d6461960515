"""The command that has a state directory's lock."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrunc.libcontainer import holder
from pyrunc.libcontainer.statedir import StateDir
from tests.support import host
from tests.support.records import opened

# Locks the directory, runs a child that runs another one, and ends when the child has; `stubborn` runs it again.
SCRIPT = """
import fcntl, os, subprocess, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
fcntl.flock(fd, fcntl.LOCK_EX)
open(sys.argv[1] + "/ready", "w").close()
while True:
    subprocess.run(["sh", "-c", "sleep 1000; true"])
    if sys.argv[2] != "stubborn":
        break
"""


@pytest.fixture
def place(tmp_path: Path) -> StateDir:
    path = tmp_path / "box"
    path.mkdir()
    return opened(path)


@contextlib.contextmanager
def hold(place: StateDir, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has the lock, with a child; it and all processes that it has started are killed afterwards."""
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, place.path, *words], start_new_session=True)
    try:
        host.wait_for("the lock", lambda: os.path.exists(place.path + "/ready"))
        host.wait_for("its child", lambda: host.children(process.pid))
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):  # all of them have ended
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_it_is_found_and_described(place: StateDir) -> None:
    assert holder.find(place) == 0
    assert holder.describe(place) == "another command is at work on it"
    other = opened(place.path)
    other.lock(0)
    assert holder.find(place) == os.getpid()
    assert f"process {os.getpid()} is at work on it: " in holder.describe(place)
    other.close()


@pytest.mark.parametrize(
    ("lines", "pid"),
    [
        (["FLOCK  ADVISORY  WRITE 11 OTHER:INODE 0 EOF", "FLOCK  ADVISORY  WRITE 12 DEVICE:INODE 0 EOF"], 12),
        (["FLOCK  ADVISORY  WRITE 11 OTHER:INODE 0 EOF"], 11),  # as where stat(2) tells another device
        (["FLOCK  ADVISORY  WRITE 0 DEVICE:INODE 0 EOF", "POSIX  ADVISORY  WRITE 13 DEVICE:INODE 0 EOF"], 0),
        (["FLOCK  ADVISORY  WRITE 14 DEVICE:1INODE 0 EOF"], 0),
    ],
)
def test_a_lock_on_a_file_of_another_file_system_is_another_one(
    place: StateDir, monkeypatch: pytest.MonkeyPatch, lines: list[str], pid: int
) -> None:
    """Any user can lock a file that has the same inode number elsewhere."""
    device = f"{os.major(place.device):02x}:{os.minor(place.device):02x}"
    text = "".join([f"{number}: {line}\n" for number, line in enumerate(lines, 1)])
    for name, value in (("DEVICE", device), ("OTHER", "ff:ff"), ("INODE", str(place.inode))):
        text = text.replace(name, value)
    monkeypatch.setattr(holder, "read_file", lambda path: text)
    assert holder.find(place) == pid


@pytest.mark.parametrize("kind", ["create", "stubborn"])
def test_a10_its_descendants_are_ended_and_then_it(place: StateDir, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """A10: the process that it waits for is killed, with all that this one has started; a holder that goes on gets
    SIGTERM.
    """
    monkeypatch.setattr(holder, "_TERMINATE_SECONDS", 0.6 if kind == "stubborn" else host.SECONDS)
    monkeypatch.setattr(holder, "_PATIENCE_SECONDS", host.SECONDS)
    with hold(place, kind, "create", "box") as process:
        child = next(iter(host.children(process.pid)))
        grandchild = host.wait_for("the grandchild", lambda: next(iter(host.children(child)), 0))
        holder.end(place)
        assert process.wait(60) == (-15 if kind == "stubborn" else 0)
        host.wait_for("the end of all", lambda: not host.is_alive(child) and not host.is_alive(grandchild))
        place.lock(0)


@pytest.mark.parametrize("words", [("create", "other"), ("x", "box"), ("x", "y")])
def test_a10_who_is_no_command_of_this_container_is_spared(place: StateDir, words: tuple[str, str]) -> None:
    with hold(place, "once", *words) as process:
        holder.end(place)
        assert process.poll() is None
        assert holder.find(place) == process.pid


def test_a_child_that_is_forked_meanwhile_is_killed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its parent is killed only when a search has found no further child: later the child could not be found any
    more.
    """
    looks = [{10: 1, 20: 10}, {10: 1, 20: 10, 30: 20, 99: 1}, {10: 1, 20: 10, 30: 20, 99: 1}]
    sent: list[tuple[int, int]] = []

    def processes() -> dict[int, holder.Process]:
        return {pid: holder.Process(pid, parent, 7) for pid, parent in looks.pop(0).items()}

    def send(process: holder.Process, number: int) -> None:
        sent.append((process.pid, number))

    monkeypatch.setattr(holder, "processes", processes)
    monkeypatch.setattr(holder, "_send", send)
    holder._kill_descendants(10)
    assert looks == []
    assert sent == [(20, signal.SIGSTOP), (30, signal.SIGSTOP), (20, signal.SIGKILL), (30, signal.SIGKILL)]


def test_a_tree_is_killed_from_its_root_on(place: StateDir) -> None:
    with hold(place, "stubborn") as process:
        (child,) = host.children(process.pid)
        host.wait_for("the grandchild", lambda: host.children(child))
        (grandchild,) = host.children(child)
        holder.kill_tree(process.pid)
        assert process.wait(60) == -signal.SIGKILL
        host.wait_for("the end of all", lambda: not host.is_alive(child) and not host.is_alive(grandchild))
    holder.kill_tree(process.pid)  # it is gone
