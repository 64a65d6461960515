"""F11: a container runs until the last thread of its process has ended, even if the first thread ends before."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Container, Runtime

# The second thread executes the program again and again, and becomes the first thread each time.
HOP = """
#include <pthread.h>
#include <unistd.h>
static void *hop(void *unused) { execv("/bin/hop", (char *[]){"/bin/hop", 0}); return unused; }
int main(void) { pthread_t thread; pthread_create(&thread, 0, hop, 0); for (;;) pause(); }
"""

# The first thread ends, and the second stays until SIGTERM.
LEFT = """
#include <pthread.h>
#include <unistd.h>
static void *stay(void *unused) { for (;;) pause(); return unused; }
int main(void) { pthread_t thread; pthread_create(&thread, 0, stay, 0); pthread_exit(0); }
"""

# The program takes the init's command name.
MIMIC = """
#include <sys/prctl.h>
#include <unistd.h>
int main(void) { prctl(PR_SET_NAME, "pyrunc:[init]"); for (;;) pause(); }
"""


def build(bundle: Bundle, name: str, source: str) -> Bundle:
    """Put a program into the rootfs and make it the container's."""
    if shutil.which("musl-gcc") is None:
        pytest.skip("needs musl-gcc (package musl-tools)")
    target = bundle.rootfs / "bin" / name
    command = ["musl-gcc", "-static", "-O1", "-Wall", "-pthread", "-o", target, "-xc", "-"]
    subprocess.run([str(word) for word in command], check=True, input=source.encode())
    return bundle.args("/bin/" + name)


def first_thread_has_ended(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.fixture
def left(runtime: Runtime) -> Container:
    """A running container whose process has lost its first thread."""
    container = runtime.started(build(runtime.bundle(), "left", LEFT))
    host.wait_for("the first thread's end", lambda: first_thread_has_ended(container.pid))
    return container


def test_while_a_thread_executes_a_program(runtime: Runtime) -> None:
    container = runtime.started(build(runtime.bundle(), "hop", HOP))
    end = time.monotonic() + 4
    while time.monotonic() < end:
        assert container.status == "running"
        assert json.loads(runtime("list", "--format", "json").out)[0]["status"] == "running"
        container.kill("CONT")


def test_state_list_ps_and_kill(left: Container) -> None:
    assert left.status == "running"
    [listed] = json.loads(left.runtime("list", "--format", "json").out)
    assert (listed["status"], listed["pid"]) == ("running", left.pid)
    assert json.loads(left.runtime("ps", "--format", "json", left.id).out) == [left.pid]
    refused = left.runtime("delete", left.id)
    assert refused.code == 1
    assert f"cannot delete container {left.id} that is not stopped: running" in refused.err
    left.kill("KILL")
    host.wait_for("the end", lambda: left.status == "stopped")
    left.delete()


def test_pause_resume_and_delete(left: Container) -> None:
    left.runtime("pause", left.id)
    assert left.status == "paused"
    left.runtime("resume", left.id)
    assert left.status == "running"
    left.delete("--force")
    host.wait_for("the end", lambda: not host.processes_of(left.runtime.token))


def test_run_waits_for_the_last_thread(runtime: Runtime) -> None:
    bundle = build(runtime.bundle(), "left", LEFT.replace("for (;;) pause()", "sleep(1); _exit(5)"))
    assert runtime.run(bundle, ok=False).code == 5


def test_a_program_with_the_init_s_name_is_not_created(runtime: Runtime) -> None:
    container = runtime.started(build(runtime.bundle(), "mimic", MIMIC))
    name = f"/proc/{container.pid}/comm"
    host.wait_for("the name", lambda: Path(name).read_text() == "pyrunc:[init]\n")
    # what a killed `start` leaves
    path = runtime.root / container.id / "start.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
    assert path.is_socket()
    assert container.status == "running"
    assert runtime("start", container.id).code == 1
    assert runtime("delete", container.id).code == 1
    assert container.status == "running"


def test_exec_joins_by_a_thread_that_lives(left: Container) -> None:
    """The pidfd of a process whose first thread has ended does not lead to its namespaces."""
    done = left.runtime("exec", left.id, "readlink", "/proc/self/ns/pid")
    assert done.code == 0, done
    assert done.out.strip() == host.namespace(f"{left.pid}/task/{living_thread(left.pid)}", "pid")


def living_thread(pid: int) -> int:
    return max(int(name) for name in os.listdir(f"/proc/{pid}/task"))


def test_exec_while_a_thread_executes_a_program(runtime: Runtime) -> None:
    container = runtime.started(build(runtime.bundle(), "hop", HOP))
    for _ in range(10):
        done = runtime("exec", container.id, "true")
        assert done.code == 0, done


def test_kill_of_what_the_first_process_has_left(runtime: Runtime, bundle: Bundle) -> None:
    """B2: without a pid namespace of its own, a container's other processes outlive the first."""
    container = runtime.started(bundle.without_namespace("pid").sh("sleep 1000 & exec true"))
    host.wait_for("the first process's end", lambda: container.status == "stopped")
    [other] = json.loads(runtime("ps", "--format", "json", container.id).out)
    refused = runtime("kill", container.id, "TERM")
    assert refused.code == 1
    assert "container not running" in refused.last_line
    container.kill("KILL")
    host.wait_for("the other's end", lambda: not host.is_alive(other))
    refused = runtime("kill", container.id, "KILL")
    assert refused.code == 1
    assert "container not running" in refused.last_line
