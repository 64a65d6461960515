"""CVE-2016-9962 for `exec`: the process that enters the container's pid namespace must not be one that the container's
processes can trace, or by which they reach the host. CVE-2019-5736: the program of that process, which they can reach,
must not be one of the host's.

The init stops before the first step of its plan: between the clone and that step, the processes in the pid namespace
are the same. A process with CAP_SYS_PTRACE may look at the init whatever it does (ptrace(2)); it finds nothing.

Seen to fail: the first with PR_SET_DUMPABLE set to 1 in csrc/init/join.c; test_a_tracer_finds_nothing_of_the_host with
the descriptors of the namespaces left open there; test_nothing_in_the_pid_namespace_executes_the_init with a clone that
enters the pid namespace before it executes the image, as csrc/native/clone.c did at first.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import CAPABILITIES, Bundle
from tests.support.init import build
from tests.support.runtime import Container, Runtime

pytestmark = pytest.mark.own("the harness is pyrunc's")

# All links in /proc that lead out, except those of the process that looks.
LOOK = """
for process in /proc/[0-9]*; do
    case $process in /proc/1|/proc/$$) continue;; esac
    [ "$(cat $process/comm)" = "pyrunc:[init]" ] || continue
    echo found
    for name in exe cwd root ns/mnt; do readlink $process/$name && echo seen $name; done
    for file in $process/fd/*; do readlink $file && echo seen fd; done
    ls $process/root/ $process/cwd/
done 2>&1
"""


@pytest.fixture(scope="module")
def faulty_init() -> Path:
    """The init that stops at a given step."""
    return build("init-faults")


def looking(bundle: Bundle, *more: str) -> Bundle:
    """A container whose root looks at what enters its pid namespace, when the test tells it to."""
    for name in ("bounding", "permitted", "effective"):
        bundle.process["capabilities"][name] = [*CAPABILITIES, *more]
    return bundle.sh(f"while [ ! -e /tmp/go ]; do sleep 0.02; done; {LOOK}\necho done; sleep 1000")


class Standing:
    """An `exec` whose init has stopped before the first step."""

    def __init__(self, container: Container, image: Path) -> None:
        runtime = container.runtime
        faults = ["--image", str(image), "--init-fault", "0", "1"]
        line = [sys.executable, "-m", "tests.support.harness", *faults, "--", "--root", str(runtime.root)]
        with open(os.devnull, "r+b") as null:
            self.process = subprocess.Popen(
                [*line, "exec", container.id, "true"], stdin=null, stdout=null, stderr=null, env=runtime.environment()
            )
        self.init = host.wait_for("the init", self._find)

    def _find(self) -> int:
        assert self.process.poll() is None
        for child, what in host.children(self.process.pid).items():
            if what == ("pyrunc:[init]", "T"):
                return child
        return 0

    def end(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        host.wait_for("the init's end", lambda: not host.is_alive(self.init))


@pytest.fixture
def standing(faulty_init: Path) -> Iterator[object]:
    """`standing(container)` starts an `exec` that stops; it ends with the test."""
    made: list[Standing] = []

    def start(container: Container) -> Standing:
        made.append(Standing(container, faulty_init))
        return made[-1]

    yield start
    for one in made:
        one.end()


def looked(container: Container) -> str:
    (container.bundle.rootfs / "tmp/go").touch()
    host.wait_for("the look", lambda: "done" in container.output)
    return container.output


def test_root_of_a_user_namespace_looks_in_vain_whatever_it_may(
    runtime: Runtime, bundle: Bundle, standing: object
) -> None:
    container = runtime.started(looking(bundle.user_namespace(), "CAP_SYS_PTRACE", "CAP_SYS_ADMIN"))
    standing(container)  # type: ignore[operator]
    out = looked(container)
    assert "found" in out
    assert "seen" not in out


def test_a_tracer_finds_nothing_of_the_host(runtime: Runtime, bundle: Bundle, standing: object) -> None:
    """With CAP_SYS_PTRACE on the host the kernel lets it look."""
    (bundle.rootfs / "mark-of-the-container").touch()
    container = runtime.started(looking(bundle, "CAP_SYS_PTRACE"))
    one = standing(container)  # type: ignore[operator]
    # The standard streams, the socket to the runtime, and the container's /proc.
    held = {link for number, link in host.files_of(one.init).items() if number > 2}
    assert {link for link in held if not link.startswith("socket:")} <= {"/proc"}
    assert os.readlink(f"/proc/{one.init}/exe").startswith("/memfd:pyrunc-init")
    for name in ("root", "cwd"):
        assert os.path.exists(f"/proc/{one.init}/{name}/mark-of-the-container")
    out = looked(container)
    assert "seen exe" in out
    assert out.count("mark-of-the-container") == 2


def test_nothing_in_the_pid_namespace_executes_the_init(runtime: Runtime, bundle: Bundle) -> None:
    """Before its exec a process has the runtime's memory and program. So the init is executed outside: the process in
    the pid namespace executes only the container's program."""
    container = runtime.started(bundle.args("sleep", "1000"))
    log = runtime.work / "strace"
    line = ["strace", "-f", "-qq", "-e", "trace=execve,execveat,setns,clone,clone3,vfork", "-o", str(log)]
    try:
        result = runtime("exec", container.id, "true", prefix=line)
    except FileNotFoundError:
        pytest.skip("needs strace")
    assert result.code == 0, result
    joined = set()
    for entry in log.read_text().splitlines():
        pid, call = entry.split(None, 1)
        if call.startswith("setns("):
            joined.add(pid)
        if call.startswith("execveat("):
            assert pid not in joined
            assert not joined
    assert len(joined) == 1
    [stage] = joined
    calls = [entry.split(None, 1) for entry in log.read_text().splitlines()]
    executed = [call for pid, call in calls if call.startswith("execve(") and '"/bin/true"' in call]
    assert len(executed) == 1
    assert not [call for pid, call in calls if pid == stage and call.startswith("execve(")]
