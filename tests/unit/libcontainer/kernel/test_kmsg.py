"""kernel/kmsg.py: records of the kernel's log."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyrunc.libcontainer.kernel import kmsg

KILL = (
    "3,1209,7086417,-;Memory cgroup out of memory: Killed process 77 (dd) total-vm:70160kB, anon-rss:22328kB, "
    "file-rss:1140kB, shmem-rss:0kB, UID:0 pgtables:160kB oom_score_adj:0\n SUBSYSTEM=x\n"
)


@pytest.mark.parametrize(
    "begin", ["Memory cgroup out of memory: ", "Out of memory: ", "Out of memory (oom_kill_allocating_task): "]
)
def test_a_kill(begin: str) -> None:
    record = KILL.replace("Memory cgroup out of memory: ", begin)
    assert kmsg.is_oom_kill(record, 77)
    assert not kmsg.is_oom_kill(record, 7)


@pytest.mark.parametrize(
    "record",
    [
        "",
        "3,1,1,-;something else",
        KILL.replace("3,", "11,", 1),  # written to /dev/kmsg by a process
        KILL.replace("Killed process", "Would kill process"),
        KILL.replace("Memory", "init: Memory"),
        KILL.replace("process 77 (dd)", "process 1 (process 77 (dd))"),
        # a program's end by SIGSEGV has names that its owner chooses
        "6,1,1,-;Out of memory[5]: segfault at 0 ip 0 sp 0 error 4 in x: Killed process 77 (dd)[55,1000]",
        "6,1,1,-;Memory cgroup out of memory: Killed process 5: Killed process 77 (dd)",
        KILL.replace("Memory cgroup out of memory", "Out of memory (a)"),
        "3,1,1,-;Memory cgroup out of memory: none\n x: Killed process 77 (dd)",
    ],
)
def test_no_kill(record: str) -> None:
    assert not kmsg.is_oom_kill(record, 77)


def test_records_and_their_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: list[OSError | bytes] = [OSError(32, "overwritten"), b"one", b"t\xff", BlockingIOError(11, "no more")]

    def read(fd: int, size: int) -> bytes:
        del fd, size
        found = given.pop(0)
        if isinstance(found, bytes):
            return found
        raise found

    monkeypatch.setattr("posix.read", read)
    assert list(kmsg.records(-1)) == ["one", "t\ufffd"]


def test_a_log_that_can_t_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(kmsg, "_LOG", str(tmp_path / "nothing"))
    assert kmsg.oom_killed(77) is None
    monkeypatch.setattr(kmsg, "_LOG", str(tmp_path))  # a directory, whose read fails
    monkeypatch.setattr(kmsg, "_FIRST_PID_NAMESPACE", os.stat("/proc/self/ns/pid").st_ino)
    assert kmsg.oom_killed(77) is None
    monkeypatch.setattr(kmsg, "_FIRST_PID_NAMESPACE", 1)
    monkeypatch.setattr(kmsg, "_LOG", "/dev/null")
    assert kmsg.open_log() == -1


def test_the_log_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kmsg, "open_log", lambda: os.open("/dev/null", os.O_RDONLY))
    monkeypatch.setattr(kmsg, "records", lambda fd: iter(["3,1,1,-;other", KILL]))
    assert kmsg.oom_killed(77) is True
    assert kmsg.oom_killed(78) is False
