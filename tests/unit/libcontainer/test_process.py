"""F11: a process has ended when its pidfd is readable, whatever the state of its first thread is."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer import process
from pyrunc.libcontainer.kernel import native
from tests.support import host

# A process whose first thread ends while another lives on.
THREAD_LEFT = """
import ctypes, os, threading, time
threading.Thread(target=time.sleep, args=(60,)).start()
print(flush=True)
ctypes.CDLL(None).syscall(93 if os.uname().machine == "aarch64" else 60, 0)  # exit, not exit_group
"""

# A process whose second thread executes the program again and again, and so becomes the first thread each time.
HOPPING = """
import os, sys, threading
line = [sys.executable, "-I", "-S", "-c", sys.argv[1], sys.argv[1]]
threading.Thread(target=os.execv, args=(line[0], line)).start()
threading.Event().wait()
"""


def test_stat_is_read_whatever_the_name_is(tmp_path: Path) -> None:
    program = tmp_path / "a) Z 1 (b"
    program.symlink_to("/bin/sleep")
    child = subprocess.Popen([str(program), "60"])
    try:
        found = process.stat(child.pid)
        while found is not None and found.name != "a) Z 1 (b":
            found = process.stat(child.pid)
        assert found is not None
        assert process.find(child.pid, found.start_time) is not None
        stat = Path(f"/proc/{child.pid}/stat").read_text()
        assert found.start_time == int(stat.rpartition(")")[2].split()[19])
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        zombie = process.stat(child.pid)
        assert zombie is not None
        assert zombie.letter == "Z"
        assert process.find(child.pid, zombie.start_time) is None
        assert process.open_process(child.pid, zombie.start_time) == -1
        assert not process.send_signal(child.pid, zombie.start_time)
    finally:
        child.kill()
        child.wait()
    assert process.stat(child.pid) is None


@pytest.fixture
def threaded() -> Iterator[subprocess.Popen[bytes]]:
    """A process whose first thread has ended."""
    child = subprocess.Popen([sys.executable, "-I", "-S", "-c", THREAD_LEFT], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()

    def zombie() -> bool:
        found = process.stat(child.pid)
        return found is not None and found.letter == "Z"

    host.wait_for("the first thread to end", zombie)
    yield child
    child.kill()
    child.wait()
    child.stdout.close()


def start_time(pid: int) -> int:
    found = process.stat(pid)
    assert found is not None
    return found.start_time


def test_a_first_thread_that_has_ended_is_no_end_of_the_process(threaded: subprocess.Popen[bytes]) -> None:
    begun = start_time(threaded.pid)
    assert process.find(threaded.pid, begun) is not None
    assert process.find(threaded.pid, begun + 1) is None
    pidfd = process.open_process(threaded.pid, begun)
    try:
        assert pidfd >= 0
        assert not process.has_ended(pidfd)
        thread = process.living_thread(threaded.pid)
        assert thread not in (0, threaded.pid)
        assert process.send_signal(threaded.pid, begun, signal.SIGTERM)
        assert threaded.wait(60) == -signal.SIGTERM
        assert process.has_ended(pidfd)
        assert process.find(threaded.pid, begun) is None
        assert process.living_thread(threaded.pid) == 0
    finally:
        os.close(pidfd)


def test_a_process_is_there_while_another_thread_takes_the_first_one_s_place() -> None:
    child = subprocess.Popen([sys.executable, "-I", "-S", "-c", HOPPING, HOPPING])
    try:
        begun = start_time(child.pid)
        letters = set()
        end = time.monotonic() + 30
        while "Z" not in letters and time.monotonic() < end:
            found = process.stat(child.pid)
            assert found is not None
            assert found.start_time == begun, "the start time changed"
            letters.add(found.letter)
            assert process.find(child.pid, begun) is not None
        assert process.send_signal(child.pid, begun, 0)
    finally:
        child.kill()
        child.wait()


def test_a_thread_s_id_is_no_process() -> None:
    ready, leave = threading.Event(), threading.Event()

    def wait() -> None:
        ready.set()
        leave.wait()

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        ready.wait()
        assert thread.native_id is not None
        begun = start_time(thread.native_id)
        assert process.open_process(thread.native_id, begun) == -1
        assert not process.send_signal(thread.native_id, begun, 0)
    finally:
        leave.set()
        thread.join()


def test_whether_a_pid_has_a_process() -> None:
    with subprocess.Popen(["sleep", "99"]) as child:
        assert process.exists(child.pid)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert process.exists(child.pid), "until it is reaped"
    assert [pid for pid in (child.pid, 0, -1, 1 << 30) if process.exists(pid)] == []


def test_of_another_user_too() -> None:
    pid = os.fork()
    if pid == 0:
        os.setresuid(65534, 65534, 65534)
        os._exit(process.exists(os.getppid()))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1


def test_what_never_was() -> None:
    assert process.stat(2**22 + 1) is None
    assert process.find(2**22 + 1, 0) is None
    assert process.open_process(2**22 + 1, 0) == -1
    assert process.living_thread(2**22 + 1) == 0


@pytest.fixture(params=[errno.ENOENT, errno.EPERM])
def hidden(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A /proc that shows no process (hidepid=2), or refuses access to them (hidepid=1)."""

    def read_record(path: str) -> str:
        raise OSError(request.param, path)

    monkeypatch.setattr(native, "read_record", read_record)


@pytest.mark.usefixtures("hidden")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_f5_a_process_that_proc_hides_is_found_in_a_procfs_of_our_own() -> None:
    """F5: it has not ended only because /proc does not show it."""
    found = process.stat(os.getpid())
    assert found is not None
    assert found.start_time > 0
    assert process.find(os.getpid(), found.start_time) is not None


@pytest.mark.usefixtures("hidden")
def test_f5_a_process_that_is_hidden_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """F5: an error, and never `stopped`: a delete would remove the files of a running container."""

    def procfs() -> int:
        raise PermissionError(errno.EPERM, "fsopen")

    monkeypatch.setattr(native, "procfs", procfs)
    with pytest.raises(PyruncError, match="/proc hides the process") as caught:
        process.find(os.getpid(), 1)
    assert "CAP_SYS_PTRACE" in caught.value.hint


@pytest.mark.usefixtures("hidden")
def test_f5_no_process_is_none_in_a_proc_that_hides() -> None:
    """F5: a pid that no process has."""
    child = subprocess.Popen(["true"])
    child.wait()
    assert process.stat(child.pid) is None


def test_a_process_that_lives_is_not_ending_and_one_that_has_ended_is() -> None:
    own = process.stat(os.getpid())
    assert own is not None
    assert not own.exiting
    assert not process.is_ending(os.getpid(), own.start_time)
    assert process.is_ending(os.getpid(), own.start_time + 1)


@pytest.mark.parametrize(("letter", "ending"), [("S", True), ("D", True), ("Z", False)])
def test_a_process_whose_first_thread_is_exiting_is_ending(
    monkeypatch: pytest.MonkeyPatch, letter: str, ending: bool
) -> None:
    """A zombie's other threads may live: `find` has looked whether they do."""
    found = process.Stat("init", letter, 7, str(0x400104))
    monkeypatch.setattr(process, "find", lambda pid, start_time: found)
    assert process.is_ending(1, 7) is ending
