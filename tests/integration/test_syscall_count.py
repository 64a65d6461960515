"""How many system calls `create`, `run` and `exec` of the bench's bundle make, compared with syscall_count.json.

Look at a count that changes: does the plan need the call? PYRUNC_UPDATE_GOLDEN=1 writes the file. The init's calls are
counted in any build. The runtime's calls are counted if the launcher has an up-to-date build with a snapshot, or is
under test: otherwise the interpreter's start would hide them.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from tests import purev2
from tests.bench import bundles
from tests.support.built import launcher_of
from tests.support.host import SECONDS
from tests.support.runtime import Runtime

GOLDEN = Path(__file__).with_name("syscall_count.json")

# The C library's own: memory, threads, start.
OF_LIBRARY = set(
    "arch_prctl brk execve futex getrandom gettid madvise mmap mprotect mremap munmap readlink rseq set_robust_list "
    "set_tid_address sysinfo".split()
)
# Names of one call: the C library may use either.
SAME = {"access": "faccessat", "faccessat2": "faccessat", "newfstatat": "fstat", "open": "openat", "stat": "fstat"}
# The number of these depends on the machine's capabilities, the components of the bundle's path, or the time it takes.
VARIES = re.compile(r"prctl\(PR_CAPBSET_|mount_setattr\(.*= -1 EINVAL|clock_nanosleep\(|restart_syscall\(")
# On a busy machine a command may have to look again, for the end of a process or an empty cgroup.
ATTEMPTS = 5
CALL = re.compile(r"(\d+) +(\w+)\(")
BEGUN = re.compile(r"(\d+) +(.*)<unfinished \.\.\.>$")
THREAD = re.compile(r"\d+ +clone3\(.*CLONE_THREAD.* = (\d+)$")
RESUMED = re.compile(r"(\d+) +<\.\.\. \w+ resumed>(.*)")


def whole_calls(log: str) -> list[str]:
    """The lines of a log, with one line for a call that strace has split in two because another process's call came in
    between. The result is in the second part."""
    lines: list[str] = []
    begun: dict[str, int] = {}
    for line in log.splitlines():
        if match := BEGUN.match(line):
            begun[match[1]] = len(lines)
            lines.append(f"{match[1]} {match[2]}")
        elif (match := RESUMED.match(line)) and match[1] in begun:
            lines[begun.pop(match[1])] += match[2]
        else:
            lines.append(line)
    return lines


def counts(log: str) -> tuple[Counter[str], Counter[str]]:
    """Count the calls of the first process with its threads, and those of the init up to its execve, by name; if a
    separate process joins the namespaces, its calls too."""
    found: dict[str, Counter[str]] = {}
    done: set[str] = set()
    threads: set[str] = set()
    for line in whole_calls(log):
        if thread := THREAD.match(line):
            threads.add(thread[1])
        match = CALL.match(line)
        if match is None or match[1] in done:
            continue
        pid, name = match.groups()
        if pid in threads:
            pid = next(iter(found))
        if name == "exit_group" or (name == "execve" and found.get(pid)):
            done.add(pid)
        elif name not in OF_LIBRARY and VARIES.search(line) is None:
            found.setdefault(pid, Counter())[SAME.get(name, name)] += 1
    runtime, *others = found.values()
    return runtime, sum(others, Counter())


def proc_paths() -> list[str]:
    """The paths for which the bundle has a step that makes no further calls if the kernel lacks the file."""
    linux = bundles.config()["linux"]
    return ["/proc/kcore", *linux["maskedPaths"], *linux["readonlyPaths"]]


def trace(runtime: Runtime, command: str) -> tuple[dict[str, int], dict[str, int]]:
    """Trace a command for a new container with strace, and kill the container that `create` leaves."""
    launcher = launcher_of(runtime)
    runtime.root.mkdir(exist_ok=True)
    id = runtime.new_id()
    work = runtime.work / f"traced-{id}"
    work.mkdir()
    short, long = bundles.small(work)
    log = work / "strace"
    log.touch()
    line = ["strace", "-f", "-qq", "-e", "signal=none", "-o", str(log), *(launcher or runtime.command)]
    create = ["--bundle", str(long if command != "run" else short), id]
    line += ["--root", str(runtime.root), command, *([id, "/bin/true"] if command == "exec" else create)]

    def traced() -> None:
        if command == "exec":
            assert runtime("run", "--detach", *create).code == 0
        with open(runtime.work / "out", "wb") as out:
            process = subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=runtime.work, env=runtime.environment()
            )
        if command == "create":
            until = time.monotonic() + SECONDS
            while process.poll() is None and "accept4(" not in log.read_text():
                assert time.monotonic() < until, log.read_text()
                time.sleep(0.02)
            # The init has its last answer, so the trace of the create is complete; strace ends with the init.
            assert runtime("kill", id, "KILL").code == 0
        assert process.wait(60) == 0 or command == "create", (runtime.work / "out").read_text()
        if command != "run":
            assert runtime("delete", "--force", id).code == 0

    purev2.run(traced)
    of_runtime, of_init = counts(log.read_text())
    return (dict(sorted(of_runtime.items())) if launcher else {}), dict(sorted(of_init.items()))


@pytest.mark.own("the counts are pyrunc's")
@pytest.mark.parametrize("command", ["create", "run", "exec"])
def test_no_more_system_calls_than_before(runtime: Runtime, command: str) -> None:
    if shutil.which("strace") is None:
        pytest.skip("needs strace, which counts the calls")
    if platform.machine() != "x86_64":
        pytest.skip("the counts were taken on x86-64, whose calls have other names elsewhere")
    golden = json.loads(GOLDEN.read_text())
    there = [path for path in proc_paths() if os.path.exists(path)]
    if there != golden["paths"] and not os.environ.get("PYRUNC_UPDATE_GOLDEN"):
        differing = " ".join(sorted(set(there) ^ set(golden["paths"])))
        pytest.skip(f"the counts were taken on a kernel that differs in {differing}")
    for _ in range(ATTEMPTS):
        of_runtime, of_init = trace(runtime, command)
        if (of_runtime or golden[command]["runtime"], of_init) == (golden[command]["runtime"], golden[command]["init"]):
            break
    if os.environ.get("PYRUNC_UPDATE_GOLDEN"):
        golden["paths"] = there
        golden[command] = {"runtime": of_runtime or golden.get(command, {}).get("runtime", {}), "init": of_init}
        GOLDEN.write_text(json.dumps(golden, indent=2) + "\n")
    assert of_init == golden[command]["init"]
    if of_runtime:
        assert of_runtime == golden[command]["runtime"]
