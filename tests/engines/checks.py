"""What people do with containers: the checks that run with every engine, with pyrunc and with runc.

A check is a function of an engine. It returns if the engine behaves as expected. Otherwise it raises AssertionError, or
Lacks if the engine's command line can't express the check.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.engines.engine import GRACE, Box, Engine, Wish
from tests.engines.machine import Done, wait_for
from tests.support.terminals import Session, read_until

Check = Callable[[Engine], None]

CHECKS: dict[str, Check] = {}

# What a machine may lack, so that a check may fail with every runtime.
NEEDS: dict[str, str] = {}


def check(function: Check) -> Check:
    """Put a check into the table, under its name."""
    CHECKS[function.__name__] = function
    return function


def needs(what: str) -> Callable[[Check], Check]:
    """Say what a check needs that a machine may lack."""

    def note(function: Check) -> Check:
        NEEDS[function.__name__] = what
        return function

    return note


def succeeds(done: Done) -> str:
    """The output of a command that must succeed."""
    assert done.code == 0, done.said
    return done.out


def fails(done: Done, *texts: str) -> None:
    """Assert that a command fails and prints one of these texts."""
    assert done.code != 0, f"it succeeds: {done.said}"
    assert not texts or any(text in done.out + done.err for text in texts), done.said


# ---- run ----


@check
def run(engine: Engine) -> None:
    """Output and exit code of a container in the foreground; nothing is left of it."""
    assert succeeds(engine.once("echo", "hello")) == "hello\n"


@check
def exit_codes(engine: Engine) -> None:
    """The engine's exit code is the command's; 128 and the number for a signal."""
    for script, code in (("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -KILL $$ & wait; sleep 9", None)):
        if code is not None:
            assert engine.once("sh", "-c", script).code == code, script
    box = engine.idle()
    engine.machine.kill([engine.pid(box)])
    box.becomes("exited")
    assert engine.exit_code(box) == 137


@check
def missing_program(engine: Engine) -> None:
    """The engine says which program is missing."""
    fails(engine_run(engine, "/no/such/program"), "no such file or directory")
    fails(engine_run(engine, "nosuchprogram"), "executable file not found in $PATH")


@check
def program_without_permission(engine: Engine) -> None:
    """A file that can't be executed is said so."""
    fails(engine_run(engine, "/etc/passwd"), "permission denied")


def engine_run(engine: Engine, *command: str) -> Done:
    """Try to run a container that can't start. If the engine has no foreground, the result is what the start prints."""
    try:
        return engine.once(*command)
    except AssertionError as error:
        return Done(1, "", str(error))


@check
def stdin(engine: Engine) -> None:
    """What comes in on stdin reaches the container, to its end."""
    text = "".join(f"line {number}\n" for number in range(2000))
    assert (
        succeeds(engine.once("sh", "-c", "cat | sort -rn -k2 | tail -n 1; cat", input=text, stdin=True)) == "line 0\n"
    )


@check
def much_output(engine: Engine) -> None:
    """Five megabytes of output arrive whole."""
    done = engine.once("sh", "-c", "dd if=/dev/zero bs=1000 count=5000 2>/dev/null | tr '\\0' x; echo; echo end >&2")
    assert (done.code, len(done.out.strip()), done.err.strip()[-3:]) == (0, 5000000, "end"), done.code


@check
def logs(engine: Engine) -> None:
    """The log of a container in the background, of both streams, also after its end."""
    box = engine.box("sh", "-c", "echo out; echo err >&2; exit 3")
    box.says("out")
    box.says("err")
    assert engine.exit_code(box) == 3


@check
def nothing_is_left(engine: Engine) -> None:
    """After a removal by force there is no process, cgroup or mount of the container."""
    box = engine.idle()
    pid = engine.pid(box)
    cgroup = engine.machine.cgroup(pid)
    assert cgroup.exists()
    box.do("remove")
    engine.boxes.clear()
    wait_for(lambda: not engine.machine.path(f"/proc/{pid}").exists(), "the process is still there")
    wait_for(lambda: not cgroup.exists(), f"{cgroup} is still there")
    assert engine.state(box) == ""


# ---- terminals ----


def at_terminal(engine: Engine, *command: str, **wish: Any) -> Session:
    """A container that runs in the foreground at a terminal of 30 lines and 100 columns."""
    words = engine.run_words(
        engine.new_name(), command, wish_of(tty=True, stdin=True, remove=True, **wish), detach=False
    )
    return engine.session(words, (30, 100))


def wish_of(**wish: Any) -> Wish:
    """Make a wish of keywords."""
    return Wish(**wish)


@check
def terminal(engine: Engine) -> None:
    """A container at a terminal: its device, what is typed, its exit code."""
    session = at_terminal(engine, "sh", "-c", 'tty; read line; echo "got $line"; exit 5')
    read_until(session.master, lambda text: b"/dev/pts/0" in text or b"/dev/console" in text)
    os.write(session.master, b"words\r")
    read_until(session.master, lambda text: b"got words" in text)
    assert session.finish() == 5


@check
def terminal_resize(engine: Engine) -> None:
    """The container's terminal takes the size of the user's, at once and after a change."""
    session = at_terminal(engine, "sh", "-c", "while :; do stty size; sleep 0.1; done")
    read_until(session.master, lambda text: b"30 100" in text)
    session.set_size(40, 132)
    read_until(session.master, lambda text: b"40 132" in text)
    os.write(session.master, b"\x03")
    session.finish()


@check
def terminal_interrupt(engine: Engine) -> None:
    """Control-C at the terminal is a SIGINT in the container."""
    session = at_terminal(engine, "sh", "-c", "trap 'echo got it; exit 9' INT; echo ready; while :; do sleep 0.1; done")
    read_until(session.master, lambda text: b"ready" in text)
    os.write(session.master, b"\x03")
    read_until(session.master, lambda text: b"got it" in text)
    assert session.finish() == 9


@check
def exec_terminal(engine: Engine) -> None:
    """exec with a terminal of its own."""
    box = engine.idle()
    words = engine.exec_words(box, ("sh", "-c", 'tty; read line; echo "got $line"; exit 6'), {"tty": True})
    session = engine.session(words, (30, 100))
    read_until(session.master, lambda text: b"/dev/pts/" in text)
    os.write(session.master, b"words\r")
    read_until(session.master, lambda text: b"got words" in text)
    assert session.finish() in (6, 1)  # crictl's own code is 1


# ---- exec ----


@check
def exec_output(engine: Engine) -> None:
    """exec: both streams and the exit code."""
    box = engine.idle()
    done = box.exec("sh", "-c", "echo out; echo err >&2; exit 4")
    assert (done.code, done.out) == (4, "out\n"), done.said
    assert "err" in done.err


@check
def exec_stdin(engine: Engine) -> None:
    """exec: what comes in."""
    assert succeeds(engine.idle().exec("cat", input="one\ntwo\n")) == "one\ntwo\n"


@check
def exec_missing_program(engine: Engine) -> None:
    """exec of a program that is not there says so, and the container runs on."""
    box = engine.idle()
    fails(box.exec("nosuchprogram"), "executable file not found in $PATH")
    assert box.state() == "running"


@check
def exec_directory(engine: Engine) -> None:
    """exec in a directory."""
    assert succeeds(engine.idle().exec("pwd", directory="/etc")) == "/etc\n"


@check
def exec_environment(engine: Engine) -> None:
    """exec with variables besides the container's."""
    box = engine.idle(environment={"A": "1"})
    assert succeeds(box.exec("sh", "-c", "echo $A $B", environment={"B": "2"})) == "1 2\n"


@check
def exec_user(engine: Engine) -> None:
    """exec as another user."""
    assert "uid=1000" in succeeds(engine.idle().exec("id", user="1000:1000"))


@check
def exec_detached(engine: Engine) -> None:
    """exec in the background."""
    box = engine.idle()
    succeeds(box.exec("sh", "-c", "echo there > /tmp/done; sleep 1000", detach=True))
    wait_for(lambda: box.exec("cat", "/tmp/done").out == "there\n", "the process has not run")


@check
def exec_privileged(engine: Engine) -> None:
    """exec with all capabilities."""
    box = engine.idle()
    before = succeeds(box.exec("grep", "CapEff", "/proc/self/status"))
    assert succeeds(box.exec("grep", "CapEff", "/proc/self/status", privileged=True)) > before


@check
def exec_many(engine: Engine) -> None:
    """Twenty execs at once: each gets its own output."""
    box = engine.idle()
    found = in_parallel([partial(box.exec, "sh", "-c", f"echo {n}; exit {n}") for n in range(20)])
    assert [done.code for done in found] == list(range(20)), [done.said for done in found]


def in_parallel(calls: list[Callable[[], Done]]) -> list[Done]:
    """Call several functions at once and return all results. Raises their first exception."""
    found: dict[int, Done | BaseException] = {}

    def call(number: int) -> None:
        try:
            found[number] = calls[number]()
        except BaseException as error:
            found[number] = error

    threads = [threading.Thread(target=call, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results = [found[number] for number in range(len(calls))]
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if isinstance(result, Done)]


# ---- signals and states ----


def trapping(engine: Engine, signal: str, **wish: Any) -> Box:
    """A container that ends with 42 when it gets the signal."""
    box = engine.box(
        "sh", "-c", f"trap 'echo got it; exit 42' {signal}; echo ready; while :; do sleep 0.1; done", **wish
    )
    box.says("ready")
    return box


@check
def kill_signal(engine: Engine) -> None:
    """kill with a signal that the container handles."""
    box = trapping(engine, "USR1")
    box.do("kill", "SIGUSR1")
    assert engine.exit_code(box) == 42


@check
def stop(engine: Engine) -> None:
    """stop: SIGTERM, and the container ends by itself."""
    box = trapping(engine, "TERM")
    box.do("stop")
    box.becomes("exited")
    assert engine.exit_code(box) == 42


@check
def stop_by_force(engine: Engine) -> None:
    """stop: SIGKILL after the time for SIGTERM."""
    box = engine.idle()
    box.do("stop")
    box.becomes("exited", GRACE + 60)
    assert engine.exit_code(box) == 137


@check
def restart(engine: Engine) -> None:
    """restart: another process, with what the container had written."""
    box = engine.idle()
    before = engine.pid(box)
    succeeds(box.exec("sh", "-c", "echo kept > /tmp/file"))
    box.do("restart")
    box.becomes("running")
    assert engine.pid(box) != before
    assert succeeds(box.exec("cat", "/tmp/file")) == "kept\n"


@check
def pause(engine: Engine) -> None:
    """pause: the process stands still and exec is refused, until resume."""
    box = engine.box("sh", "-c", "i=0; while :; do i=$((i+1)); echo $i > /tmp/now; sleep 0.05; done")
    box.do("pause")
    box.becomes("paused")
    fails(box.exec("true"), "paused", "only create exec sessions on running containers")
    box.do("resume")
    box.becomes("running")
    before = succeeds(box.exec("cat", "/tmp/now"))
    wait_for(lambda: box.exec("cat", "/tmp/now").out != before, "it stands still after resume")


@check
def kill_paused(engine: Engine) -> None:
    """A paused container can be removed by force."""
    box = engine.idle()
    box.do("pause")
    box.do("remove")
    assert engine.state(box) == ""


@check
def restart_policy(engine: Engine) -> None:
    """A container that fails is started again, as often as it may be."""
    box = engine.box("sh", "-c", "echo started; exit 1", restart="on-failure:2")
    wait_for(lambda: box.logs().out.count("started") == 3, "it was not started three times")
    box.becomes("exited")


@check
def health(engine: Engine) -> None:
    """A health check, run in the container by the engine."""
    box = engine.idle(health="test -e /tmp/well")
    assert not engine.healthy(box)
    succeeds(box.exec("touch", "/tmp/well"))
    wait_for(lambda: engine.healthy(box), "it is not healthy")


@check
def top(engine: Engine) -> None:
    """The container's processes."""
    box = engine.idle()
    succeeds(box.exec("sleep", "2000", detach=True)) if engine.name != "cri" else None
    assert str(engine.pid(box)) in succeeds(engine.top(box)) or "sleep" in engine.top(box).out


@check
@needs("the controller memory, as the CRI plugin does")
def stats(engine: Engine) -> None:
    """What it uses, as the engine shows it."""
    box = engine.idle()
    assert len(succeeds(engine.stats(box)).splitlines()) >= 2


# ---- limits ----


@check
@needs("the controllers memory and cpu")
def limits(engine: Engine) -> None:
    """Limits at the start, seen in the cgroup."""
    box = engine.idle(limits={"memory": "64m", "cpus": "0.5"})
    assert in_cgroup(engine, box, "memory.max") == str(64 << 20)
    assert in_cgroup(engine, box, "cpu.max") == "50000 100000"


@check
@needs("the controller pids")
def limit_of_processes(engine: Engine) -> None:
    """The limit of processes."""
    assert in_cgroup(engine, engine.idle(limits={"pids": "50"}), "pids.max") == "50"


@check
@needs("the controller memory")
def update(engine: Engine) -> None:
    """Limits are changed while it runs."""
    box = engine.idle(limits={"memory": "64m"})
    succeeds(engine.update(box, {"memory": "96m"}))
    assert in_cgroup(engine, box, "memory.max") == str(96 << 20)


@check
@needs("the controller memory; with Podman 4.3 and conmon 2.1.6 it fails all the same")
def oom(engine: Engine) -> None:
    """A container that needs more memory than it may have is killed, and the engine says why."""
    # awk writes to its memory itself. In User-Mode Linux, a limit that a system call reaches is the end of the kernel.
    # Where the engine ignores the limit, awk ends by itself.
    program = 'BEGIN { s = "0123456789"; while (length(s) < 100000000) s = s s }'
    # The first process outlives the kill: containerd's own shim may tell the end of a container before the kill.
    box = engine.box("sh", "-c", f"awk '{program}'; sleep 2; exit 3", limits={"memory": "24m"})
    box.becomes("exited", 60)
    assert engine.oom_killed(box), engine.logs(box).said


def in_cgroup(engine: Engine, box: Box, name: str) -> str:
    """The content of a file in the container's cgroup."""
    return (engine.machine.cgroup(engine.pid(box)) / name).read_text().strip()


@check
def rlimits(engine: Engine) -> None:
    """A resource limit of the process."""
    done = engine.once("sh", "-c", "ulimit -n", ulimits=["nofile=100:200", "nproc=1000:1000"])
    assert succeeds(done) == "100\n"


# ---- file systems ----


@check
def read_only(engine: Engine) -> None:
    """A read-only root."""
    done = engine.once("sh", "-c", "touch /file 2>&1; echo $?", read_only=True)
    assert "Read-only file system\n1\n" in succeeds(done)


@check
def tmpfs(engine: Engine) -> None:
    """A tmpfs with options, on a read-only root."""
    script = "touch /scratch/file && grep ' /scratch ' /proc/mounts"
    out = succeeds(engine.once("sh", "-c", script, read_only=True, tmpfs=["/scratch:size=1m,noexec"]))
    assert "tmpfs" in out
    assert "size=1024k" in out
    assert "noexec" in out


@check
def volumes(engine: Engine) -> None:
    """Directories of the host, one of them read-only."""
    machine = engine.machine
    machine.write("/srv/volume/file", "from the host\n")
    script = "cat /a/file; echo box > /a/new; touch /b/new 2>&1; echo $?"
    out = succeeds(engine.once("sh", "-c", script, volumes=["/srv/volume:/a", "/srv/volume:/b:ro"]))
    assert out.startswith("from the host\n")
    assert "Read-only file system\n1\n" in out
    assert machine.path("/srv/volume/new").read_text() == "box\n"


@check
def volume_of_a_file(engine: Engine) -> None:
    """One file of the host, where the image has nothing."""
    engine.machine.write("/srv/one", "one\n")
    assert succeeds(engine.once("cat", "/some/where/one", volumes=["/srv/one:/some/where/one:ro"])) == "one\n"


@check
def hidden_paths(engine: Engine) -> None:
    """What the engine hides of /proc, and what it makes read-only."""
    if engine.name == "cri":
        engine.lacks("paths to hide, where the kubelet names none")
    script = "cat /proc/kcore /proc/keys | wc -c; touch /proc/sys/kernel/domainname 2>&1; echo x > /proc/sysrq-trigger"
    done = engine.once("sh", "-c", script + " 2>&1; true")
    out = succeeds(done)
    if engine.name != "ctr":
        assert out.startswith("0\n"), out
    assert out.count("Read-only file system") + out.count("Permission denied") >= 1, out


@check
def copying(engine: Engine) -> None:
    """Files are copied into a running container and out of it."""
    copy = getattr(engine, "copy", None)
    if copy is None:
        engine.lacks("cp")
    box = engine.idle()
    engine.machine.write("/srv/copied", "copied\n")
    succeeds(copy("/srv/copied", f"{box.name}:/tmp/copied"))
    assert succeeds(box.exec("cat", "/tmp/copied")) == "copied\n"
    succeeds(copy(f"{box.name}:/tmp/copied", "/srv/back"))
    assert engine.machine.path("/srv/back").read_text() == "copied\n"


# ---- privileges ----


@check
def devices(engine: Engine) -> None:
    """A device that was asked for can be opened; another one can't, whoever makes the node."""
    script = "head -c 0 /dev/fuse && echo opened; mknod /tmp/loop c 10 237 && head -c 1 /tmp/loop"
    done = engine.once("sh", "-c", script + "; true", devices=["/dev/fuse"])
    assert "opened" in done.out, done.said
    assert "not permitted" in done.out + done.err, done.said


@check
def usual_devices(engine: Engine) -> None:
    """The devices that every container has."""
    script = (
        "for d in null zero full random urandom tty; do test -c /dev/$d || echo no $d; done; ls -l /dev/fd /dev/ptmx"
    )
    out = succeeds(engine.once("sh", "-c", script + "; echo > /dev/null; head -c 4 /dev/zero | wc -c"))
    assert "no " not in out
    assert out.endswith("4\n")


@check
def capabilities(engine: Engine) -> None:
    """Capabilities are added and dropped."""
    both = effective(engine, cap_add=["CAP_NET_ADMIN"], cap_drop=["CAP_CHOWN"])
    assert both & 1 << 12  # CAP_NET_ADMIN
    assert not both & 1 << 0  # CAP_CHOWN
    assert not effective(engine) & 1 << 12


def effective(engine: Engine, **wish: Any) -> int:
    """The effective capabilities of a container's process."""
    return int(succeeds(engine.once("grep", "CapEff", "/proc/self/status", **wish)).split()[1], 16)


@check
def no_capabilities(engine: Engine) -> None:
    """All capabilities are dropped."""
    assert effective(engine, cap_drop=["ALL"]) == 0


@check
@needs("every capability that the kernel knows")
def privileged(engine: Engine) -> None:
    """A privileged container: every capability, a writable /sys, all devices."""
    box = engine.idle(privileged=True)
    mine = engine.machine.run("grep", "CapBnd", "/proc/self/status").out.split()[1]
    assert succeeds(box.exec("grep", "CapEff", "/proc/self/status")).split()[1] == mine
    assert " rw," in succeeds(box.exec("grep", " /sys ", "/proc/mounts"))


@check
def seccomp_default(engine: Engine) -> None:
    """The engine's own filter is in force."""
    if engine.name in ("cri", "crio"):
        engine.lacks("filter, where none is asked for")
    assert "2" in succeeds(engine.once("grep", "Seccomp:", "/proc/self/status"))


@check
def seccomp_profile(engine: Engine) -> None:
    """A filter of the user's: mkdir gives EPERM, which no file mode explains."""
    machine = engine.machine
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}
    machine.write("/etc/seccomp.json", json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    done = engine.once("sh", "-c", "mkdir /tmp/new 2>&1; touch /tmp/file && echo made", profile="/etc/seccomp.json")
    assert "not permitted" in done.out, done.said
    assert "made" in done.out


@check
def seccomp_unconfined(engine: Engine) -> None:
    """No filter."""
    done = engine.once("grep", "Seccomp:", "/proc/self/status", profile="unconfined")
    assert succeeds(done).split() == ["Seccomp:", "0"]


@check
def user(engine: Engine) -> None:
    """A user by number, and by name, with the groups of the image's /etc/group."""
    assert "uid=1000(user) gid=1000(user)" in succeeds(engine.once("id", user="1000:1000"))
    out = succeeds(engine.once("id", user="user"))
    assert "uid=1000(user) gid=1000(user)" in out
    assert "2000(extra)" in out


@check
def groups(engine: Engine) -> None:
    """More groups."""
    assert "3000" in succeeds(engine.once("id", "-G", user="1000:1000", groups=["3000"]))


@check
def no_new_privileges(engine: Engine) -> None:
    """no_new_privs is set where it is asked for."""
    out = succeeds(engine.once("grep", "NoNewPrivs", "/proc/self/status", no_new_privileges=True))
    assert out.split()[1] == "1"


@check
def user_namespace(engine: Engine) -> None:
    """Root of the container is somebody else on the host."""
    box = engine.idle(mapped=True)
    assert succeeds(box.exec("cat", "/proc/self/uid_map")).split()[1] != "0"
    assert engine.machine.path(f"/proc/{engine.pid(box)}").stat().st_uid >= 100000
    assert "uid=0" in succeeds(box.exec("id"))


# ---- surroundings ----


@check
def environment(engine: Engine) -> None:
    """Variables and the working directory."""
    done = engine.once("sh", "-c", "echo $GREETING; pwd", environment={"GREETING": "good day"}, directory="/tmp")
    assert succeeds(done) == "good day\n/tmp\n"


@check
def hostname(engine: Engine) -> None:
    """A name of its own."""
    assert succeeds(engine.once("hostname", hostname="vessel")) == "vessel\n"


@check
def sysctls(engine: Engine) -> None:
    """A kernel parameter of the network namespace."""
    script = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start"
    assert succeeds(engine.once("sh", "-c", script, sysctls={"net.ipv4.ip_unprivileged_port_start": "77"})) == "77\n"


@check
def init(engine: Engine) -> None:
    """The engine's init is process 1, and reaps."""
    box = engine.idle(init=True)
    assert "sleep" not in succeeds(box.exec("cat", "/proc/1/comm"))


@check
def network_none(engine: Engine) -> None:
    """No network but the loopback."""
    if engine.name == "cri":
        engine.lacks("pod without a network")
    out = succeeds(engine.once("sh", "-c", "ls /sys/class/net; readlink /proc/self/ns/net"))
    assert out.split()[:-1] == ["lo"]
    assert out.split()[-1] != os.readlink(engine.machine.path("/proc/1/ns/net"))


@check
def network_host(engine: Engine) -> None:
    """The host's network."""
    out = succeeds(engine.once("readlink", "/proc/self/ns/net", network="host"))
    assert out.strip() == os.readlink(engine.machine.path("/proc/1/ns/net"))


@check
def network_bridge(engine: Engine) -> None:
    """A container reaches another over the engine's bridge."""
    server = engine.box("sh", "-c", "while :; do echo answer | nc -l -p 7000; done", network="bridge")
    wait_for(lambda: "eth0" in server.exec("ls", "/sys/class/net").out, "it has no eth0")
    words = succeeds(server.exec("ip", "-4", "-o", "addr", "show", "eth0")).split()
    address = words[words.index("inet") + 1].partition("/")[0]
    client = engine.idle(network="bridge")
    wait_for(lambda: "answer" in client.exec("nc", "-w", "2", address, "7000").out, f"{address} does not answer")


@check
def shared_network(engine: Engine) -> None:
    """The network namespace of another container."""
    first = engine.idle()
    second = engine.idle(network=f"box:{first.name}")
    assert namespace(second, "net") == namespace(first, "net")
    assert namespace(second, "mnt") != namespace(first, "mnt")


@check
def shared_pid(engine: Engine) -> None:
    """The pid namespace of another container: its processes are seen."""
    first = engine.box("sleep", "4321", pid="shareable")
    second = engine.idle(pid=f"box:{first.name}")
    assert namespace(second, "pid") == namespace(first, "pid")
    assert "4321" in succeeds(second.exec("ps"))
    # The second container ends without the first one.
    second.do("remove")
    assert first.state() == "running"


@check
def shared_ipc(engine: Engine) -> None:
    """The IPC namespace of another container."""
    first = engine.idle(ipc="shareable")
    second = engine.idle(ipc=f"box:{first.name}")
    assert namespace(second, "ipc") == namespace(first, "ipc")


@check
def host_namespaces(engine: Engine) -> None:
    """The host's pid and IPC namespaces."""
    box = engine.idle(pid="host", ipc="host")
    for kind in ("pid", "ipc"):
        assert namespace(box, kind) == os.readlink(engine.machine.path(f"/proc/1/ns/{kind}"))
    box.do("stop")
    box.becomes("exited")


@check
def host_uts(engine: Engine) -> None:
    """The host's UTS namespace."""
    assert succeeds(engine.once("hostname", uts="host")) == "engines\n"


@check
def cgroup_namespace(engine: Engine) -> None:
    """A cgroup namespace of its own, and the host's."""
    own = succeeds(engine.once("grep", "0::", "/proc/self/cgroup", cgroupns="private"))
    assert own == "0::/\n"
    assert succeeds(engine.once("grep", "0::", "/proc/self/cgroup", cgroupns="host")) != own


def namespace(box: Box, kind: str) -> str:
    """The identity of a container's namespace."""
    return os.readlink(box.engine.machine.path(f"/proc/{box.engine.pid(box)}/ns/{kind}"))


# ---- load and accidents ----


@check
def thirty_at_once(engine: Engine) -> None:
    """Thirty containers are run at once."""
    found = in_parallel([partial(engine.once, "sh", "-c", f"echo {n}; exit {n}") for n in range(30)])
    assert [done.code for done in found] == list(range(30)), [done.said for done in found if done.code > 29]
    assert [done.out.strip() for done in found] == [str(n) for n in range(30)]


@check
def daemon_killed(engine: Engine) -> None:
    """The daemon is killed and started again: the container runs on, and is under control."""
    box = trapping(engine, "TERM")
    pid = engine.pid(box)
    engine.restart_daemon()
    assert engine.machine.path(f"/proc/{pid}").exists()
    assert engine.pid(box) == pid
    assert succeeds(box.exec("echo", "hello")) == "hello\n"
    box.do("stop")
    box.becomes("exited")
    assert engine.exit_code(box) == 42


@check
def keeper_killed(engine: Engine) -> None:
    """The shim or conmon is killed: the engine can still remove the container, and nothing is left."""
    box = engine.idle()
    pid = engine.pid(box)
    parent = (engine.machine.path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]).split()[1]
    assert int(parent) in engine.machine.pids(engine.keeper), parent
    engine.machine.kill([int(parent)])
    wait_for(lambda: engine.act(box, "remove", ()).code == 0 or not engine.state(box), "it can't be removed")
    wait_for(lambda: not engine.machine.path(f"/proc/{pid}").exists(), f"{pid} is still there")
    assert succeeds(engine.once("echo", "hello")) == "hello\n"


@check
@needs("a CRIU that can dump on this kernel")
def checkpoint(engine: Engine) -> None:
    """A container is written to a checkpoint by CRIU and started from it again."""
    box = engine.box("sh", "-c", "i=0; while :; do i=$((i+1)); echo $i > /tmp/count; sleep 0.1; done")
    wait_for(lambda: box.exec("cat", "/tmp/count").out.strip() not in ("", "0"), "it does not count")
    box = engine.checkpoint(box)
    box.becomes("running")
    assert int(succeeds(box.exec("cat", "/tmp/count"))) > 0
