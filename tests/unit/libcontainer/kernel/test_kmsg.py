"""kernel/kmsg.py: records of the kernel's log."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pyrunc.libcontainer import process
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
    assert kmsg.is_oom_kill(record, 77, 7.0)
    assert not kmsg.is_oom_kill(record, 7, 7.0)
    assert not kmsg.is_oom_kill(record, 77, 7.1), "an earlier process with the pid"


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
        KILL.replace("3,1209,7086417,-", "3"),
        KILL.replace("7086417", "x"),
        "3,1,1,-;Memory cgroup out of memory: none\n x: Killed process 77 (dd)",
    ],
)
def test_no_kill(record: str) -> None:
    assert not kmsg.is_oom_kill(record, 77, 0.0)


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
    assert kmsg.oom_killed(77, 0.0) is None
    monkeypatch.setattr(kmsg, "_LOG", str(tmp_path))  # a directory, whose read fails
    monkeypatch.setattr(kmsg, "_FIRST_PID_NAMESPACE", os.stat("/proc/self/ns/pid").st_ino)
    assert kmsg.oom_killed(77, 0.0) is None
    monkeypatch.setattr(kmsg, "_FIRST_PID_NAMESPACE", 1)
    monkeypatch.setattr(kmsg, "_LOG", "/dev/null")
    assert kmsg.open_log() == -1


@pytest.mark.parametrize("kind", ["pid", "time"])
def test_a_log_of_another_namespace_is_not_read(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(kmsg, "_LOG", "/dev/null")
    monkeypatch.setattr(kmsg, "_FIRST_PID_NAMESPACE", os.stat("/proc/self/ns/pid").st_ino)
    monkeypatch.setattr(kmsg, "_FIRST_TIME_NAMESPACE", os.stat("/proc/self/ns/time").st_ino)
    fd = kmsg.open_log()
    assert fd >= 0
    os.close(fd)
    monkeypatch.setattr(kmsg, f"_FIRST_{kind.upper()}_NAMESPACE", 1)
    assert kmsg.open_log() == -1


def test_a_process_begins_after_the_record_of_an_earlier_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log's clock stands still while the machine is suspended, and a start time does not."""
    clocks = {time.CLOCK_MONOTONIC: 1000.0, time.CLOCK_BOOTTIME: 1600.0}  # 600 s suspended
    monkeypatch.setattr("time.clock_gettime", lambda clock: clocks[clock])
    ticks = os.sysconf("SC_CLK_TCK")
    begun = kmsg.begun(1500 * ticks)  # 100 s ago: at 900 s
    assert begun == pytest.approx(900 * 0.999 - 1)
    assert not kmsg.is_oom_kill(KILL.replace("7086417", "890000000"), 77, begun)
    assert kmsg.is_oom_kill(KILL.replace("7086417", "900000000"), 77, begun)
    assert kmsg.begun(900 * ticks) < 300, "before or in the suspension: no later than its start"
    assert kmsg.begun(0) == 0.0
    assert kmsg.now() == pytest.approx(998)


def test_the_start_of_this_process_is_on_the_log_s_clock() -> None:
    found = process.stat(os.getpid())
    assert found is not None
    begun = kmsg.begun(found.start_time)
    assert 0 < begun <= kmsg.now() + 0.1


def test_the_log_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kmsg, "open_log", lambda: os.open("/dev/null", os.O_RDONLY))
    monkeypatch.setattr(kmsg, "records", lambda fd: iter(["3,1,1,-;other", KILL]))
    assert kmsg.oom_killed(77, 0.0) is True
    assert kmsg.oom_killed(78, 0.0) is False
