"""`create` and `exec` killed or failing at every step of their plans: nothing stays on the host.

tests/support/harness.py injects the faults; in the init its build with -DPYRUNC_FAULTS does.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.init import build
from tests.support.runtime import Runtime
from tests.support.seccomp import allowing

pytestmark = pytest.mark.own("the harness is pyrunc's")

# What /proc/PID/syscall shows of a process in pause(): pause on x86-64; ppoll on arm64, which has no pause.
PAUSE = {"x86_64": "34", "aarch64": "73"}
ENDED = -1


@pytest.fixture(scope="module")
def faulty_init() -> Path:
    """The init that stops or fails at a given step."""
    return build("init-faults")


def command(runtime: Runtime, faults: list[str], *arguments: str) -> list[str]:
    """The harness's command line."""
    return [sys.executable, "-m", "tests.support.harness", *faults, "--", "--root", str(runtime.root), *arguments]


def call(runtime: Runtime, faults: list[str], *arguments: str) -> tuple[int, str]:
    """Run the harness to its end: exit code (negative for a signal) and stderr."""
    err = runtime.work / "harness.err"
    with open(err, "wb") as stream:
        done = subprocess.run(
            command(runtime, faults, *arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stream,
            env=runtime.environment(),
            check=False,
            timeout=60,
        )
    return done.returncode, err.read_text()


def pyrunc(runtime: Runtime, *arguments: str) -> tuple[int, str]:
    """The command without faults."""
    return call(runtime, [], *arguments)


def everything(runtime: Runtime, bundle: Bundle) -> Bundle:
    """A config that has a step of nearly every kind."""
    source = runtime.work / "source"
    source.mkdir()
    bundle.namespace("network").namespace("cgroup")
    if Path("/proc/self/ns/time").exists():
        bundle.namespace("time")
        bundle.linux["timeOffsets"] = {"boottime": {"secs": 10, "nanosecs": 0}}
    bundle.config.update(hostname="killed", domainname="killed")
    bundle.config["root"]["readonly"] = True
    bundle.process.update(
        cwd="/var/new", oomScoreAdj=10, user={"uid": 1000, "gid": 1000, "additionalGids": [5], "umask": 0o27}
    )
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64}]
    bundle.mount("/mnt", "bind", str(source), "rbind", "ro", "rslave")
    bundle.mount("/srv", "tmpfs", "tmpfs", "tmpcopyup", "ro")
    bundle.mount("/dev/mqueue", "mqueue", "mqueue")
    bundle.mount("/sys", "sysfs", "sysfs", "ro")
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro")
    bundle.linux.update(
        cgroupsPath=f"/{runtime.token}/above/own",
        sysctl={"net.ipv4.ip_forward": "1"},
        maskedPaths=["/etc/passwd"],
        readonlyPaths=["/proc/sys"],
        rootfsPropagation="private",
        resources={"devices": [{"allow": False, "access": "rwm"}]},
        seccomp=allowing("SCMP_ACT_ERRNO", "swapon"),
        devices=[{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666, "uid": 0, "gid": 0}],
    )
    for kind in ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"):
        bundle.hook(kind, "/bin/true")
    bundle.write()
    return bundle


def in_user_namespace(runtime: Runtime, bundle: Bundle) -> Bundle:
    """The steps that only a user namespace has."""
    source = runtime.work / "source"
    source.mkdir()
    bundle.user_namespace()
    bundle.namespace("network")
    bundle.mount("/mnt", "bind", str(source), "bind", "ro")
    bundle.write()
    return bundle


@pytest.fixture(params=[everything, in_user_namespace], ids=["everything", "user-namespace"])
def rich(request: pytest.FixtureRequest, runtime: Runtime, bundle: Bundle) -> Bundle:
    """A bundle with many steps."""
    result: Bundle = request.param(runtime, bundle)
    return result


@pytest.fixture
def console(runtime: Runtime) -> Iterator[list[str]]:
    """The flag that gives a console socket; the test leaves the received master alone."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(runtime.work / "console"))
    listener.listen(100)
    yield ["--console-socket", str(runtime.work / "console")]
    listener.close()


def plan_of(runtime: Runtime, bundle: Bundle) -> tuple[list[str], list[str]]:
    """The kinds of the runtime's steps and of the init's, in order."""
    done = subprocess.run(
        command(runtime, [], "plan", "--bundle", str(bundle.path), "--format", "json", "some-id"),
        capture_output=True,
        text=True,
        env=runtime.environment(),
        check=True,
    )
    steps = json.loads(done.stdout)["steps"]
    kinds: dict[str, list[str]] = {"runtime": [], "init": []}
    for step in steps:
        kinds[step["actor"]].append(step["kind"])
    return kinds["runtime"], kinds["init"]


def numbers(bundle: Bundle, kinds: list[str]) -> range:
    """The init's steps up to `ready`: all of them, and a third of them for the second bundle, which differs little."""
    return range(0, kinds.index("ready") + 1, 3 if "uidMappings" in bundle.linux else 1)


def gone_by_themselves(runtime: Runtime, who: str = "init") -> None:
    """Whether no process of the container is left, without a cleanup."""
    host.wait_for(f"the {who} to end by itself", lambda: not host.processes_of(runtime.token))


def sweep(runtime: Runtime, bundle: Bundle, id: str, round: int) -> None:
    """Run the next command that names the id: `delete --force`, or sometimes a new `create`."""
    if round % 4 == 3:
        assert pyrunc(runtime, "create", "--bundle", str(bundle.path), id)[0] == 0
    code, err = pyrunc(runtime, "delete", "--force", id)
    assert (code, err) == (0, "")
    runtime.assert_nothing_left()


@pytest.mark.parametrize("fault", ["--before-step", "--after-record"])
def test_runtime_killed_at_every_step(runtime: Runtime, rich: Bundle, console: list[str], fault: str) -> None:
    """SIGKILL before each step of the runtime, and after each entry of its ledger, before the entry's effect."""
    if "timeOffsets" in rich.linux:
        rich.process["terminal"] = True
        rich.write()
    else:
        console = []
    id = runtime.new_id()
    pid_file = runtime.work / "pid"
    arguments = ["create", "--bundle", str(rich.path), "--pid-file", str(pid_file), *console, id]
    recorded: list[bool] = []
    for number in range(100):
        code, err = call(runtime, [fault, str(number)], *arguments)
        if code == 0:
            break
        assert code == -signal.SIGKILL, err
        gone_by_themselves(runtime)
        # No command works on the container any more, so it is not `creating`. If its state was saved, its process has
        # ended.
        code, err = pyrunc(runtime, "state", id)
        assert code == 0 or "container does not exist" in err
        assert code == 1 or runtime.state(id)["status"] == "stopped"
        recorded.append(code == 0)
        if rich.process["terminal"] or code == 0:
            code, err = pyrunc(runtime, "delete", "--force", id)
            assert (code, err) == (0, "")
            runtime.assert_nothing_left()
        else:
            sweep(runtime, rich, id, number)
        assert not pid_file.exists()
    assert code == 0
    assert sorted(recorded) == recorded, "saving the state is what makes it a container"
    assert number >= (8 if fault == "--before-step" else 3), "the faults were not reached"
    assert pyrunc(runtime, "delete", "--force", id)[0] == 0
    runtime.assert_nothing_left()


@pytest.mark.skipif(
    not Path("/proc/self/syscall").exists(), reason="this kernel has no /proc/PID/syscall, to see where a process waits"
)
def test_runtime_killed_while_init_is_at_every_step(runtime: Runtime, rich: Bundle, faulty_init: Path) -> None:
    """The init has stopped before step N when its runtime is killed: the init ends at once, at any step."""
    kinds = plan_of(runtime, rich)[1]
    id = runtime.new_id()
    for number in numbers(rich, kinds):
        fault = ["--image", str(faulty_init), "--init-fault", str(number), "1"]
        with open(runtime.work / "harness.err", "wb") as err:
            process = subprocess.Popen(
                command(runtime, fault, "create", "--bundle", str(rich.path), id),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=err,
                env=runtime.environment(),
            )
        try:
            init = host.wait_for("the init", partial(_standing_init, process))
        finally:
            process.kill()
            process.wait()
        if init == ENDED:  # an alternative that was not needed: there was nothing to stop at
            assert pyrunc(runtime, "delete", "--force", id)[0] == 0
            continue
        gone_by_themselves(runtime, f"init before step {number}, {kinds[number]}")
        sweep(runtime, rich, id, number)


def _standing_init(runtime: subprocess.Popen[bytes]) -> int:
    """The init's pid once it has stopped before its step; 0 while it is on its way; ENDED if the runtime has ended."""
    if runtime.poll() is not None:
        assert runtime.returncode == 0
        return ENDED
    for pid, (name, state) in host.children(runtime.pid).items():
        if name != "pyrunc:[init]":
            continue
        try:
            call_number = Path(f"/proc/{pid}/syscall").read_text().split()[0]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state == "T" or call_number == PAUSE[platform.machine()]:
            return pid
    return 0


def test_init_failing_at_every_step(runtime: Runtime, rich: Bundle, faulty_init: Path) -> None:
    """Each step of the init fails with EIO: `create` names the step and leaves nothing."""
    kinds = plan_of(runtime, rich)[1]
    told: list[bool] = []
    id = runtime.new_id()
    for number in numbers(rich, kinds):
        fault = ["--image", str(faulty_init), "--init-fault", str(number), "2"]
        code, err = call(runtime, fault, "create", "--bundle", str(rich.path), id)
        told.append(code != 0)
        if code == 0:  # an alternative that was not needed
            assert pyrunc(runtime, "delete", "--force", id)[0] == 0
            continue
        assert "input/output error" in err.splitlines()[-1], f"{kinds[number]}: {err}"
        assert f"step {kinds[number]}" in err.splitlines()[-1], err
        runtime.assert_nothing_left()
    assert sum(told) > len(told) / 2


def test_init_failing_after_start(runtime: Runtime, rich: Bundle, faulty_init: Path) -> None:
    """The steps behind `ready`: `start` tells the failure, the container is stopped and can be deleted. If a hook
    fails, the runtime deletes the container (runtime.md, Lifecycle)."""
    kinds = plan_of(runtime, rich)[1]
    id = runtime.new_id()
    for number in range(kinds.index("await_start") + 1, len(kinds)):
        fault = ["--image", str(faulty_init), "--init-fault", str(number), "2"]
        code, err = call(runtime, fault, "create", "--bundle", str(rich.path), id)
        assert code == 0, err
        code, err = pyrunc(runtime, "start", id)
        assert code != 0
        assert "input/output error" in err, f"{kinds[number]}: {err}"
        gone_by_themselves(runtime)
        if kinds[number] != "container_hook":
            code, err = pyrunc(runtime, "delete", id)
            assert (code, err) == (0, ""), err
        runtime.assert_nothing_left()


def test_concurrent_create_and_delete(runtime: Runtime, bundle: Bundle) -> None:
    """Many commands on one id at once: each ends, and nothing stays."""
    bundle.write()
    id = runtime.new_id()
    processes = []
    for _ in range(5):
        for arguments in (["create", "--bundle", str(bundle.path), id], ["delete", "--force", id], ["start", id]):
            with open(os.devnull, "r+b") as null:
                processes.append(
                    subprocess.Popen(
                        runtime.argv(*arguments), stdin=null, stdout=null, stderr=null, env=runtime.environment()
                    )
                )
    for process in processes:
        assert process.wait(60) >= 0
    assert runtime("delete", "--force", id).code == 0
    runtime.assert_nothing_left()


def entered(runtime: Runtime, faults: list[str], id: str) -> tuple[int, str]:
    """An `exec` with a pid file and faults in the container."""
    return call(runtime, faults, "exec", "--pid-file", str(runtime.work / "pid"), "--user", "5:5", id, "true")


@pytest.fixture
def living(runtime: Runtime, rich: Bundle) -> str:
    """The id of a running container with many steps for an `exec` too."""
    rich.config.pop("hooks", None)
    return runtime.started(rich.args("sleep", "1000")).id


def assert_only(runtime: Runtime, id: str, before: list[str]) -> None:
    """Assert that the container is as it was, and that nothing else is there."""
    runtime.assert_nothing_left(before)
    assert runtime.state(id)["status"] == "running"
    assert not (runtime.work / "pid").exists()


def test_exec_killed_at_every_step(runtime: Runtime, living: str) -> None:
    """SIGKILL before each step of the runtime: the init ends by itself."""
    before = runtime.left_over()
    for number in range(100):
        code, err = entered(runtime, ["--before-step", str(number)], living)
        if code == 0:
            break
        assert code == -signal.SIGKILL, err
        assert_only(runtime, living, before)
    assert code == 0
    assert number >= 3, "the faults were not reached"


def test_exec_killed_while_its_init_is_at_every_step(runtime: Runtime, living: str, faulty_init: Path) -> None:
    """The init has stopped before step N when its runtime is killed: the init ends at once, unless it is behind
    `ready`.
    """
    before = runtime.left_over()
    ended = 0
    for number in range(30):
        fault = ["--image", str(faulty_init), "--init-fault", str(number), "1"]
        with open(os.devnull, "r+b") as null:
            process = subprocess.Popen(
                command(runtime, fault, "exec", living, "true"),
                stdin=null,
                stdout=null,
                stderr=null,
                env=runtime.environment(),
            )
        try:
            init = host.wait_for("the init", partial(_standing_init, process))
        finally:
            process.kill()
            process.wait()
        if init == ENDED:  # an alternative that was not needed, or there is no such step any more
            continue
        try:
            host.wait_for("its end", lambda init=init: not host.is_alive(init), 3)  # type: ignore[misc]
            ended += 1
        except AssertionError:
            os.kill(init, signal.SIGKILL)  # the last steps
        assert_only(runtime, living, before)
    assert ended > 10


def test_the_init_of_exec_failing_at_every_step(runtime: Runtime, living: str, faulty_init: Path) -> None:
    """Each step of the init fails with EIO: `exec` exits with 255, names the step and leaves nothing."""
    before = runtime.left_over()
    names = set()
    for number in range(30):
        fault = ["--image", str(faulty_init), "--init-fault", str(number), "2"]
        code, err = entered(runtime, fault, living)
        if code == 0:  # an alternative that was not needed, or there is no such step any more
            (runtime.work / "pid").unlink()
            continue
        assert code == 255, err
        assert "input/output error" in err.splitlines()[-1], err
        names.add(err.splitlines()[-1].rpartition("step ")[2].split(",")[0].split(")")[0].split(";")[0])
        assert_only(runtime, living, before)
    assert {"set_nondumpable", "chdir", "user", "find_executable", "ready", "execute"} <= names


@pytest.mark.parametrize("hooks", [False, True], ids=["plain", "hooks"])
@pytest.mark.parametrize(
    "call",
    ["flock", "connect", "pidfd_open", "sendmsg", "rt_sigprocmask", "unlinkat", "ppoll", "recvfrom", "exit_group"],
)
def test_start_killed_at_a_call(runtime: Runtime, bundle: Bundle, call: str, hooks: bool) -> None:
    """The container is still created, and can be started, or it runs. No call leaves it between the two."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    if hooks:
        for kind in ("startContainer", "poststart"):
            bundle.config.setdefault("hooks", {})[kind] = [{"path": "/bin/true"}]
    container = runtime.container(bundle.args("sleep", "1000"))
    inject = ["strace", "-qq", "-o", os.devnull, "-e", f"inject={call}:signal=KILL:when=1"]
    assert runtime("start", container.id, prefix=inject).code == -signal.SIGKILL
    program = Path(f"/proc/{container.pid}/comm")
    if call in ("ppoll", "recvfrom", "exit_group"):
        host.wait_for("the program", lambda: program.read_text() == "sleep\n")
    status = container.status
    assert status == "running" or call not in ("ppoll", "recvfrom", "exit_group")
    again = runtime("start", container.id)
    if again.code:
        assert "cannot start an already running container" in again.last_line
        assert status == "running" or call in ("sendmsg", "unlinkat")
    host.wait_for("the program", lambda: program.read_text() == "sleep\n")
    assert container.status == "running"
    assert runtime("delete", container.id).code == 1
    container.delete("--force")
    host.wait_for("the end", lambda: not host.processes_of(runtime.token))
