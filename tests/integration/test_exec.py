"""`exec`: a further process in a container, in the ways in which engines and users run it."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support import host
from tests.support.agent import Agent
from tests.support.bundle import CAPABILITIES, Bundle
from tests.support.runtime import Container, Result, Runtime
from tests.support.seccomp import allowing
from tests.support.terminals import ConsoleSocket, Session, read_until

SLEEP = ("sleep", "1000")
LINKS = "for file in /proc/self/ns/*; do readlink $file; done"
MKDIR = 83


@pytest.fixture
def box(runtime: Runtime, bundle: Bundle) -> Container:
    """A running container."""
    return runtime.started(bundle.args(*SLEEP))


def exec_in(container: Container, *words: str | Path, **more: Any) -> Result:
    """Run `exec` with these options and, behind "::", the program; the id is between them."""
    at = words.index("::")
    return container.runtime("exec", *words[:at], container.id, *words[at + 1 :], **more)


def inside(container: Container, *words: str | Path, **more: Any) -> str:
    """The output of an `exec` that works."""
    result = exec_in(container, *words, **more)
    assert result.code == 0, result
    return result.out


def fails(container: Container, *words: str | Path, **more: Any) -> str:
    """The last line of an `exec` that can't start its process: it exits with 255 and leaves nothing."""
    before = container.runtime.left_over()
    result = exec_in(container, *words, **more)
    assert result.code == 255, result
    assert result.out == ""
    container.runtime.assert_nothing_left(before)
    return result.last_line


def write_process(container: Container, **process: Any) -> Path:
    """A process.json as an engine writes it."""
    path = container.runtime.work / "process.json"
    path.write_text(json.dumps({"cwd": "/", "args": ["true"], "env": ["PATH=/bin"], **process}))
    return path


def process_status(text: str, *names: str) -> list[str]:
    """The values of fields in the text of a /proc/PID/status."""
    return [host.status_field(text, name) for name in names]


@pytest.mark.purev2
def test_it_is_in_the_container(box: Container) -> None:
    out = inside(box, "::", "sh", "-c", "cat /etc/os-release; echo $PATH; pwd; " + LINKS)
    assert out.startswith("ID=busybox\n/bin\n/\n")
    for kind in ("pid", "ipc", "uts", "mnt", "net"):
        assert host.namespace(box.pid, kind) in out


@pytest.mark.purev2
@pytest.mark.parametrize(
    ("script", "code"),
    [("true", 0), ("exit 42", 42), ("kill -TERM $$", 143), ("kill -KILL $$", 137), ("exit 255", 255)],
)
def test_the_exit_code_is_the_process_s(box: Container, script: str, code: int) -> None:
    assert exec_in(box, "::", "sh", "-c", script).code == code


def test_words_behind_the_id_are_the_program_s(box: Container) -> None:
    assert inside(box, "::", "echo", "--tty", "-d", "--", "-e") == "--tty -d -- -e\n"


def test_stdin_reaches_it(box: Container) -> None:
    assert inside(box, "::", "cat", stdin="some words") == "some words"


def test_in_a_created_container(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.container(bundle.sh("cat /tmp/made"))
    assert inside(container, "::", "sh", "-c", "echo before > /tmp/made") == ""
    assert container.status == "created"
    assert container.finish() == "before\n"


@pytest.mark.purev2
def test_all_namespaces_are_joined(runtime: Runtime, bundle: Bundle) -> None:
    for kind in ("network", "cgroup", "time"):
        bundle.namespace(kind)
    bundle.linux["timeOffsets"] = {"boottime": {"secs": 1000000, "nanosecs": 0}}
    bundle.user_namespace()
    container = runtime.started(bundle.args(*SLEEP))
    out = inside(container, "::", "sh", "-c", LINKS + "; id -u; cut -d. -f1 /proc/uptime")
    for kind in ("pid", "ipc", "uts", "mnt", "net", "cgroup", "time", "user"):
        assert host.namespace(container.pid, kind) in out
    assert out.splitlines()[-2] == "0"
    assert int(out.splitlines()[-1]) > 1000000


@pytest.mark.parametrize("without", ["pid", "ipc", "uts"])
def test_inherited_namespaces_stay_the_caller_s(runtime: Runtime, bundle: Bundle, without: str) -> None:
    container = runtime.started(bundle.without_namespace(without).args(*SLEEP))
    assert host.namespace("self", without) in inside(container, "::", "readlink", f"/proc/self/ns/{without}")


def test_namespaces_that_the_container_joined(runtime: Runtime, bundle: Bundle, box: Container) -> None:
    """A user namespace of its own with a network namespace that belongs to the host's."""
    other = runtime.bundle("other").user_namespace().namespace("network", f"/proc/{box.pid}/ns/net")
    container = runtime.started(other.namespace("ipc", f"/proc/{box.pid}/ns/ipc").args(*SLEEP))
    out = inside(container, "::", "sh", "-c", LINKS)
    for kind, pid in (("ipc", box.pid), ("net", box.pid), ("user", container.pid)):
        assert host.namespace(pid, kind) in out


@pytest.mark.own("1.1 runs it in the host's root")
def test_without_a_mount_namespace_the_root_is_the_container_s(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["mounts"] = []
    container = runtime.started(bundle.without_namespace("mount").args("/bin/sleep", "1000"))
    assert inside(container, "::", "cat", "/etc/os-release") == "ID=busybox\n"


@pytest.mark.purev2
def test_it_is_in_the_container_s_cgroup(box: Container) -> None:
    process = box.runtime.background("exec", box.id, *SLEEP)
    try:
        pid = host.wait_for("the process", lambda: _sleeper(box, process.pid))
        assert host.cgroup_of(pid) == host.cgroup_of(box.pid)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def _sleeper(box: Container, parent: int) -> int:
    """The process that runs `sleep` below a runtime; 0 if it does not run yet."""
    return next((child for child, (name, _) in host.children(parent).items() if name == "sleep"), 0)


def cgroup_directory(container: Container) -> Path:
    return Path(host.cgroup2_mount() + host.cgroup_of(container.pid))


@pytest.mark.own("1.1 has other words on cgroup v1")
def test_a_sub_cgroup(box: Container) -> None:
    own = cgroup_directory(box)
    (own / "sub/deep").mkdir(parents=True)
    for path in ("sub/deep", "/sub/deep", "./sub//deep/"):
        out = inside(box, "--cgroup", path, "::", "cat", "/proc/self/cgroup")
        assert f"0::/{own.relative_to(host.cgroup2_mount())}/sub/deep\n" in out
    assert "0::/" + str(own.relative_to(host.cgroup2_mount())) + "\n" in inside(
        box, "--cgroup", "/", "::", "cat", "/proc/self/cgroup"
    )
    for path in ("..", "sub/../..", "../" + own.name):
        assert f"bad sub cgroup path: {path}" in fails(box, "--cgroup", path, "::", "true")
    for path in ("none", "cgroup.procs"):
        assert f"can't open cgroup {own}/{path}" in fails(box, "--cgroup", path, "::", "true")
    assert "invalid --cgroup argument: cpu:sub" in fails(box, "--cgroup", "cpu:sub", "::", "true")
    assert "invalid --cgroup argument: b" in fails(box, "--cgroup", "a", "--cgroup", "b", "::", "true")


@pytest.mark.own("the container's cgroup is on cgroup v2 here")
def test_the_cgroup_of_the_container_s_process_stands_in_for_one_that_is_gone(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.started(bundle.args(*SLEEP))
    own = cgroup_directory(container)
    other = own.with_name(own.name + "-moved")
    other.mkdir()
    try:
        (other / "cgroup.procs").write_text(str(container.pid))
        own.rmdir()
        out = inside(container, "::", "cat", "/proc/self/cgroup")
        assert f"0::/{other.relative_to(host.cgroup2_mount())}\n" in out
        assert "can't open cgroup" in fails(container, "--cgroup", "/", "::", "true")
    finally:
        container.kill()
        container.wait()
        host.wait_for("the cgroup to be empty", lambda: not (other / "cgroup.procs").read_text())
        other.rmdir()


def test_the_container_s_process_is_the_pattern(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process.update(
        user={"uid": 1000, "gid": 1000, "additionalGids": [5], "umask": 0o27},
        env=["PATH=/bin", "A=1"],
        cwd="/srv",
        rlimits=[{"type": "RLIMIT_NOFILE", "soft": 60, "hard": 61}],
        oomScoreAdj=77,
        capabilities={name: ["CAP_KILL"] for name in ("bounding", "permitted", "effective")},
    )
    bundle.linux["personality"] = {"domain": "LINUX32"}
    container = runtime.started(bundle.args(*SLEEP))
    script = (
        "id; pwd; umask; echo $A $HOME; ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj; uname -m; "
        "cat /proc/self/status"
    )
    out = inside(container, "::", "sh", "-c", script)
    machine = {"x86_64": "i686", "aarch64": "armv8l"}[os.uname().machine]
    assert out.splitlines()[:9] == [
        "uid=1000(tester) gid=1000(tester) groups=5(tty)", "/srv", "0027", "1 /home/tester", "60", "61", "77", machine,
        "Name:\tcat",
    ]  # fmt: skip
    fields = process_status(out, "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs")
    assert [int(field, 16) for field in fields] == [0, 0, 0, 0x20, 0, 1]
    assert int(Path("/proc/self/oom_score_adj").read_text()) != 77


def test_what_the_options_change(box: Container) -> None:
    script = "id; pwd; echo $A-$B-$HOME; cat /proc/self/status"
    options = ["--user", "1000:7", "-g", "8", "--additional-gids", "9", "--cwd", "/tmp", "-e", "A=1", "--env", "B=x=y"]
    out = inside(box, *options, "::", "sh", "-c", script)
    assert out.splitlines()[:3] == ["uid=1000(tester) gid=7 groups=8,9", "/tmp", "1-x=y-/home/tester"]
    assert inside(box, "-u", "1", "::", "id").strip() == "uid=1 gid=0(root)"
    assert inside(box, "-u", "4321", "::", "sh", "-c", "echo $HOME") == "/\n"
    assert inside(box, "-e", "HOME=/x", "::", "sh", "-c", "echo $HOME") == "/x\n"


def test_capabilities_and_privileges(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["noNewPrivileges"] = False
    container = runtime.started(bundle.args(*SLEEP))

    def fields(*options: str) -> list[str]:
        out = inside(container, *options, "::", "cat", "/proc/self/status")
        return process_status(out, "CapInh", "CapPrm", "CapEff", "CapBnd", "NoNewPrivs")

    inheritable, *others, privileges = fields()
    with_ptrace, *_ = [f"{int(value, 16) | 1 << 19:016x}" for value in others]
    assert privileges == "0"
    assert fields("--cap", "CAP_SYS_PTRACE", "--no-new-privs") == [inheritable, *[with_ptrace] * 3, "1"]
    assert fields("--no-new-privs=false")[-1] == "0"
    assert int(others[0], 16).bit_count() == len(CAPABILITIES)


def test_a_process_from_a_file(box: Container) -> None:
    path = write_process(
        box,
        args=["sh", "-c", "id; echo $A; ulimit -n; cat /proc/self/status"],
        env=["PATH=/bin", "A=file"],
        user={"uid": 3, "gid": 4, "additionalGids": [5]},
        rlimits=[{"type": "RLIMIT_NOFILE", "soft": 33, "hard": 33}],
        capabilities={},
    )
    out = inside(box, "--process", path, "::")
    assert out.splitlines()[:3] == ["uid=3 gid=4 groups=5(tty)", "file", "33"]
    assert process_status(out, "CapBnd", "NoNewPrivs") == ["0" * 16, "0"]


def test_a_process_from_a_file_without_limits_has_the_caller_s(runtime: Runtime, bundle: Bundle) -> None:
    """As with runc and crun. Without a file the limits are the container's."""
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 60, "hard": 61}]
    container = runtime.started(bundle.args(*SLEEP))
    words = ["sh", "-c", "ulimit -Sn; ulimit -Hn"]
    limits = [str(limit) for limit in resource.getrlimit(resource.RLIMIT_NOFILE)]
    members: dict[str, Any]
    for members in ({}, {"rlimits": []}):
        path = write_process(container, args=words, env=["PATH=/bin"], **members)
        assert inside(container, "--process", path, "::").split() == limits
    assert inside(container, "::", *words).split() == ["60", "61"]


def test_a_process_for_another_platform_is_warned_of(box: Container) -> None:
    path = write_process(box, args=["id", "-u"], user={"uid": 3, "gid": 4, "username": "someone"}, commandLine="id")
    done = exec_in(box, "--process", path, "::")
    assert done.code == 0, done
    assert done.out == "3\n"
    assert done.err.count("level=warning") == 1
    assert "/process/user/username: it is for another platform and has no effect on Linux" in done.err
    assert "(nor have /process/commandLine)" in done.err


@pytest.mark.parametrize("order", [["--pid-file", "--process", "--detach"], ["--process", "--detach", "--pid-file"]])
def test_detached_as_engines_call_it(box: Container, order: list[str]) -> None:
    pid_file = box.runtime.work / "pid"
    path = write_process(box, args=["sh", "-c", "echo out; exec sleep 1000"])
    values = {"--pid-file": [str(pid_file)], "--process": [str(path)], "--detach": []}
    words = [word for flag in order for word in (flag, *values[flag])]
    # Not through `inside`: its files would be removed while it uses them.
    result = exec_in(box, *words, "::")
    assert result.code == 0, result
    pid = int(pid_file.read_text())
    host.wait_for("its program", lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n")
    assert host.namespace(pid, "pid") == host.namespace(box.pid, "pid")
    assert os.stat(pid_file).st_mode & 0o777 == 0o644
    os.kill(pid, signal.SIGKILL)
    host.wait_for("its end", lambda: not host.is_alive(pid))
    assert box.status == "running"


def test_the_pid_file_of_the_foreground(box: Container) -> None:
    pid_file = box.runtime.work / "pid"
    box.runtime("exec", "--pid-file", "pid", box.id, "true")
    assert pid_file.read_text().isdigit()
    assert "no such file or directory" in fails(box, "--pid-file", "/no/where/pid", "::", "touch", "/tmp/ran")
    assert not (box.bundle.rootfs / "tmp/ran").exists()


@pytest.mark.own("1.1 has no such flag")
def test_a_pidfd_goes_to_its_socket(box: Container) -> None:
    path = box.runtime.work / "pidfd.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen()
        assert exec_in(box, "--detach", "--pidfd-socket", path, "--pid-file", "pid", "::", *SLEEP).code == 0
        connection, _ = server.accept()
        with connection:
            name, fds, _, _ = socket.recv_fds(connection, 64, 2)
    assert (name, len(fds)) == (b"setns", 1)
    pid = int((box.runtime.work / "pid").read_text())
    signal.pidfd_send_signal(fds[0], signal.SIGKILL)
    os.close(fds[0])
    host.wait_for("its end", lambda: not host.is_alive(pid))
    assert "connection refused" in fails(box, "--pidfd-socket", path, "::", "true")


def test_signals_go_to_the_process(box: Container) -> None:
    process = box.runtime.background(
        "exec", box.id, "sh", "-c", "trap 'echo got; exit 9' TERM; echo up; while :; do sleep 0.05; done"
    )
    out = box.runtime.work / "background.out"
    host.wait_for("the shell", lambda: "up" in out.read_text())
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 9
    assert out.read_text() == "up\ngot\n"


def test_the_end_of_the_container_ends_it(box: Container) -> None:
    process = box.runtime.background("exec", box.id, "sh", "-c", "echo up; exec sleep 1000")
    host.wait_for("the shell", lambda: "up" in (box.runtime.work / "background.out").read_text())
    box.kill()
    assert process.wait(60) == 137


def test_preserved_descriptors(box: Container) -> None:
    (box.runtime.work / "three").write_text("preserved\n")
    prefix = ["/bin/sh", "-c", 'exec 3<three 4<three; exec "$@"', "sh"]
    assert inside(box, "--preserve-fds", "1", "::", "sh", "-c", "cat <&3", prefix=prefix) == "preserved\n"
    for count in range(3):
        options = ["--preserve-fds", str(count)]
        listing = inside(box, *options, "::", "sh", "-c", "ls -l /proc/self/fd", prefix=prefix)
        assert listing.count("/three\n") == count
    assert "unable to stat preserved-fd 2 (of 3)" in fails(box, "--preserve-fds", "3", "::", "true", prefix=prefix)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["::", "nosuch"], 'unable to start container process: exec: "nosuch": executable file not found in $PATH'),
        (["::", "/nosuch"], 'exec: "/nosuch": stat /nosuch: no such file or directory'),
        (["::", "/etc"], 'exec: "/etc": is a directory'),
        (["::", "/etc/passwd"], 'exec: "/etc/passwd": permission denied'),
        (["--cwd", "/no", "::", "true"], 'chdir to cwd ("/no") of --cwd failed: no such file or directory'),
    ],
)
def test_what_fails_in_the_container(box: Container, words: list[str], message: str) -> None:
    line = fails(box, *words)
    assert "exec failed: unable to start container process: " in line.replace("\\", "")
    assert message in line.replace("\\", "")


@pytest.mark.own("1.1 says these otherwise, or takes them")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["::"], "exec args cannot be empty"),
        (["--cwd", "tmp", "::", "true"], "Cwd must be an absolute path"),
        (["-u", "root", "::", "true"], "bad uid"),
        (["-u", "1:x", "::", "true"], "bad gid"),
        (["-g", "-1", "::", "true"], "additional-gids must be a positive number -1"),
        (["-e", "A", "::", "true"], "invalid environment variable: missing '='"),
        (["-t", "-d", "::", "true"], "cannot allocate tty if pyrunc will detach without setting console socket"),
        (["--console-socket", "x", "::", "true"], "cannot use console socket if pyrunc will not detach"),
        (["--apparmor", "x", "::", "true"], "apparmor"),
        (["--process-label", "u:r:t:s0", "::", "true"], "selinux"),
        (["--process", "/no/such", "::"], "open /no/such: no such file or directory"),
        (["--process", "/etc/passwd", "::"], "/etc/passwd:1:1: "),
    ],
)
def test_what_is_refused(box: Container, words: list[str], message: str) -> None:
    if "apparmor" in message and os.path.exists("/sys/kernel/security/apparmor"):
        pytest.skip("AppArmor is at work here, and says so itself")
    line = fails(box, *words)
    assert line.find("exec failed: ") >= 0
    assert message in line.replace("\\", "")


def test_a_failed_execve_is_one_line(box: Container) -> None:
    script = box.bundle.rootfs / "run.sh"
    script.write_text("#!/mmnnttbb foo bar\nsh\n")
    script.chmod(0o755)
    result = exec_in(box, "::", "/run.sh")
    assert result.code == 255
    assert len(result.err.strip().splitlines()) == 1
    assert "exec /run.sh: no such file or directory" in result.err


def test_a_stopped_container(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.started(bundle.args("true"))
    container.wait()
    line = fails(container, "::", "true")
    assert "cannot exec in a stopped container" in line
    assert not runtime.is_own or "container not running" in line


def test_no_container(runtime: Runtime) -> None:
    for id in ("nobody", runtime.new_id()):
        result = runtime("exec", id, "true")
        assert (result.code, "exec failed: container does not exist" in result.last_line) == (255, True)


def test_another_process_with_the_same_pid_is_not_joined(runtime: Runtime, bundle: Bundle) -> None:
    """The start time in the state differs from that of the process that has the pid now."""
    container = runtime.started(bundle.args(*SLEEP))
    state = runtime.root / container.id / "state.json"
    before = state.read_text()
    values = json.loads(before)
    values["startTime"] += 1
    state.write_text(json.dumps(values))
    try:
        assert "cannot exec in a stopped container" in fails(container, "::", "true")
    finally:
        state.write_text(before)


def test_a_paused_container(box: Container) -> None:
    freeze = cgroup_directory(box) / "cgroup.freeze"
    freeze.write_text("1")
    host.wait_for("the freezer", lambda: box.status == "paused")
    try:
        assert "cannot exec in a paused container" in fails(box, "::", "true")
        process = box.runtime.background("exec", "--ignore-paused", box.id, "echo", "thawed")
        time.sleep(0.3)
        assert process.poll() is None
    finally:
        freeze.write_text("0")
    assert process.wait(60) == 0
    assert (box.runtime.work / "background.out").read_text() == "thawed\n"


def test_the_bundle_may_be_gone(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.started(bundle.args(*SLEEP))
    (bundle.path / "config.json").write_text("not json")
    assert inside(container, "::", "echo", "still") == "still\n"
    (bundle.path / "config.json").unlink()
    assert inside(container, "::", "echo", "here") == "here\n"


def test_cpu_affinity(runtime: Runtime, bundle: Bundle) -> None:
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("needs two CPUs")
    container = runtime.started(bundle.args(*SLEEP))
    show = ("::", "sh", "-c", "grep Cpus_allowed_list /proc/self/status | cut -f2")
    # The caller's CPU affinity is not passed on.
    bind = f"import os, sys; os.sched_setaffinity(0, [{cpus[0]}]); os.execv(sys.argv[1], sys.argv[1:])"
    allowed = inside(container, *show, prefix=[sys.executable, "-c", bind]).strip()
    assert allowed == inside(container, *show).strip()
    assert allowed not in (str(cpus[0]), str(cpus[1]))
    for affinity, expected in (
        ({"initial": str(cpus[0])}, cpus[0]),
        ({"final": str(cpus[1])}, cpus[1]),
        ({"initial": str(cpus[0]), "final": str(cpus[1])}, cpus[1]),
    ):
        args = ["grep", "Cpus_allowed_list", "/proc/self/status"]
        path = write_process(container, args=args, execCPUAffinity=affinity)
        assert inside(container, "--process", path, "::").split()[-1] == str(expected)


@pytest.mark.own("1.1 knows no memory policy")
def test_the_memory_policy_is_the_container_s(runtime: Runtime, bundle: Bundle) -> None:
    if not os.path.exists("/proc/self/numa_maps"):
        pytest.skip("this kernel has no NUMA")
    bundle.linux["memoryPolicy"] = {"mode": "MPOL_PREFERRED", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"]}
    container = runtime.started(bundle.args(*SLEEP))
    assert "prefer=relative:0 " in inside(container, "::", "head", "-n", "1", "/proc/self/numa_maps")


@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_the_seccomp_filter_is_on_it_too(runtime: Runtime, bundle: Bundle, no_new_privileges: bool) -> None:
    bundle.process["noNewPrivileges"] = no_new_privileges
    bundle.linux["seccomp"] = allowing("SCMP_ACT_ERRNO", "mkdir", "mkdirat")
    container = runtime.started(bundle.args(*SLEEP))
    script = "mkdir /tmp/x 2>&1; grep Seccomp: /proc/self/status"
    for options in ([], ["--user", "1000:1000"], ["--no-new-privs"]):
        out = inside(container, *options, "::", "sh", "-c", script)
        assert "Operation not permitted" in out
        assert out.split()[-1] == "2"


@pytest.mark.own("1.1 keeps the connection to the agent open")
def test_the_listener_of_its_filter_goes_to_the_agent(runtime: Runtime, bundle: Bundle) -> None:
    address = str(runtime.work / "agent.sock")
    agent = Agent(address, lambda number, args: -errno.ENOMEDIUM if number == MKDIR else None)
    try:
        bundle.linux["seccomp"] = {**allowing("SCMP_ACT_NOTIFY", "mkdir"), "listenerPath": address}
        container = runtime.started(bundle.args(*SLEEP))
        assert "No medium found" in inside(container, "::", "sh", "-c", "mkdir /tmp/a 2>&1 || true")
        first, second = agent.states
        assert (first["state"]["status"], first["pid"]) == ("creating", container.pid)
        assert second["state"] == {**first["state"], "status": "running"}
        assert second["pid"] != container.pid
    finally:
        agent.close()


@pytest.mark.own("1.1 has no timeline")
def test_the_timeline(box: Container) -> None:
    path = box.runtime.work / "trace.json"
    inside(box, "--timeline", path, "::", "true")
    names = [event["name"] for event in json.loads(path.read_text())["traceEvents"] if event["ph"] == "X"]
    assert names[0] == "open_process"
    assert {"clone", "set_nondumpable", "ready"} <= set(names)


def test_a_console_socket(box: Container) -> None:
    console = ConsoleSocket(box.runtime.work / "console.sock")
    path = write_process(
        box, args=["sh", "-c", "tty; stty size"], terminal=True, consoleSize={"height": 11, "width": 22}
    )
    words: list[str | Path] = ["--process", path, "--console-socket", console.path, "--detach", "--pid-file", "pid"]
    assert exec_in(box, *words, "::").code == 0
    master = console.receive()
    text = read_until(master, lambda text: b"22" in text)
    assert text.split() == [b"/dev/pts/0", b"11", b"22"]
    os.close(master)
    console.listener.close()


def test_the_terminal_of_the_foreground(box: Container) -> None:
    argv = box.runtime.argv("exec", "--tty", box.id, "sh", "-c", "stty size; read line; echo [$line]; exit 5")
    session = Session(argv, box.runtime.environment(), (33, 44))
    read_until(session.master, lambda text: b"33 44" in text)
    os.write(session.master, b"typed\n")
    assert b"[typed]" in read_until(session.master, lambda text: b"[typed]" in text)
    assert session.finish() == 5
    assert session.after == session.before


def test_a_terminal_without_devpts_leaves_nothing(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["mounts"] = [mount for mount in bundle.mounts if not mount["destination"].startswith("/dev")]
    container = runtime.started(bundle.args(*SLEEP))
    session = Session(runtime.argv("exec", "--tty", container.id, "true"), runtime.environment())
    text = read_until(session.master, lambda text: b"/dev/pts: no such file" in text)
    assert session.finish() == 255
    assert b"error:" in text
    assert not (bundle.rootfs / "dev/pts").exists()


def test_many_at_once(box: Container) -> None:
    with open(os.devnull, "r+b") as null:
        processes = [
            subprocess.Popen(
                box.runtime.argv("exec", box.id, "sh", "-c", f"exit {number}"),
                stdin=null,
                stdout=null,
                stderr=null,
                env=box.runtime.environment(),
            )
            for number in range(8)
        ]
    assert [process.wait(60) for process in processes] == list(range(8))


@pytest.mark.own("it is of pyrunc's state")
def test_nothing_of_it_is_in_the_container_s_state(box: Container) -> None:
    directory = box.runtime.root / box.id
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    inside(box, "--pid-file", "pid", "::", "true")
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before
    assert "pid_file" not in (directory / "ledger").read_text()
