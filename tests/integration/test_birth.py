"""The init's start: what the host and the caller may do to it, with a correct bundle (F3, F4, F6, F13, A7)."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.rootless import RootlessRuntime
from tests.support.runtime import REPOSITORY, Runtime


def kernel() -> tuple[int, ...]:
    return tuple(int(number) for number in os.uname().release.split(".")[:2])


class Cgroups:
    """Cgroups of this test in which cgroup.kill has been written; `runtime`'s commands may start in one."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.command = runtime.command
        self.mount = Path(host.cgroup2_mount())
        self.token = runtime.token
        self.made: list[Path] = []

    def killed(self, name: str, times: int = 1) -> Path:
        path = self.mount / f"{self.token}-{name}"
        path.mkdir()
        self.made.append(path)
        for _ in range(times):
            (path / "cgroup.kill").write_text("1")
        return path

    def start_in(self, cgroup: Path) -> None:
        """Start the runtime's commands in a cgroup."""
        self.runtime.command = ["sh", "-c", f'echo 0 >{cgroup}/cgroup.procs && exec "$@"', "sh", *self.command]

    def close(self) -> None:
        """Delete the containers and the cgroups."""
        self.runtime.command = self.command
        for id in self.runtime.ids:
            self.runtime("delete", "--force", id)
        for path in filter(Path.exists, self.made):
            host.wait_for("the cgroup to be empty", lambda path=path: not (path / "cgroup.procs").read_text())  # type: ignore[misc]
            path.rmdir()


@pytest.fixture
def cgroups(runtime: Runtime) -> Iterator[Cgroups]:
    made = Cgroups(runtime)
    yield made
    made.close()


@pytest.mark.parametrize("times", [1, 3])
def test_f3_from_a_cgroup_in_which_others_were_killed(
    runtime: Runtime, bundle: Bundle, cgroups: Cgroups, times: int
) -> None:
    """F3: run, create, exec, and a container that joins namespaces."""
    cgroups.start_in(cgroups.killed("service", times))
    assert runtime.inside(bundle, "cat /proc/self/cgroup").count("\n") >= 1
    container = runtime.started(bundle.sh("sleep 1000"))
    assert container.id in host.cgroup_of(container.pid)
    done = runtime("exec", container.id, "echo", "here")
    assert (done.code, done.out) == (0, "here\n"), done
    joining = runtime.bundle("joining").namespace("uts", f"/proc/{container.pid}/ns/uts")
    joining.namespace("pid", f"/proc/{container.pid}/ns/pid").args("hostname")
    runtime.run(joining)


def test_f3_into_a_cgroup_in_which_others_were_killed(runtime: Runtime, bundle: Bundle, cgroups: Cgroups) -> None:
    """F3: linux.cgroupsPath names an existing cgroup that was killed before; each kill raises the kernel's counter."""
    path = cgroups.killed("old")
    bundle.linux["cgroupsPath"] = "/" + path.name
    container = runtime.container(bundle.sh("sleep 1000"))
    assert host.cgroup_of(container.pid) == "/" + path.name
    container.start()
    assert runtime("exec", container.id, "true").code == 0
    container.delete("--force")
    path.mkdir(exist_ok=True)
    (path / "cgroup.kill").write_text("1")
    runtime.run(bundle.args("true"))


def test_f3_exec_into_a_container_whose_cgroup_was_killed(runtime: Runtime, bundle: Bundle) -> None:
    """F3: as after `kill --all`: a cgroup below is killed, and the first process is in another one and lives on."""
    container = runtime.started(bundle.sh("sleep 1000"))
    below = Path(host.cgroup2_mount() + host.cgroup_of(container.pid)) / "below"
    below.mkdir()
    (below / "cgroup.kill").write_text("1")
    done = runtime("exec", "--cgroup", "below", container.id, "cat", "/proc/self/cgroup")
    assert done.code == 0, done
    assert "/below" in done.out


def test_f3_an_init_that_is_killed_has_no_guessed_cause(runtime: Runtime, bundle: Bundle) -> None:
    """F3: SIGKILL while a hook delays the launch: the message says nothing of memory."""
    script = bundle.script("hook", 'pid=$(sed "s/.*pid.:\\([0-9]*\\).*/\\1/"); kill -9 $pid; sleep 0.1')
    result = runtime.refuse(bundle.hook("createRuntime", script))
    assert "the init was killed by signal 9" in result.last_line
    assert "memory" not in result.last_line


def noexec(value: int) -> list[str]:
    """A prefix that runs a command in a pid namespace with this vm.memfd_noexec."""
    script = f'echo {value} >/proc/sys/vm/memfd_noexec && exec "$@"'
    return ["unshare", "-pf", "--mount-proc", "sh", "-c", script, "sh"]


needs_memfd_noexec = pytest.mark.skipif(
    not os.path.exists("/proc/sys/vm/memfd_noexec"), reason="needs the sysctl vm.memfd_noexec of Linux 6.3"
)


@needs_memfd_noexec
@pytest.mark.parametrize("value", [1, 2])
def test_f4_without_executable_memfds(runtime: Runtime, bundle: Bundle, value: int) -> None:
    """F4: run with seccomp and a timeline, and exec."""
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}
    bundle.write()
    runtime.run(bundle.args("true"))  # so that the filter is in the cache
    before = Path("/proc/self/mountinfo").read_text()
    outside, id = list(runtime.command), runtime.new_id()
    command = f"{' '.join(outside)} --root {runtime.root} exec {id} echo by exec"
    hook = bundle.script("hook", f"{command} >{runtime.work}/said; touch {bundle.rootfs}/go")
    bundle.hook("poststart", hook)
    runtime.command = [*noexec(value), *outside]
    timeline = runtime.work / "timeline"
    bundle.sh("readlink /proc/self/exe; until [ -e /go ]; do sleep 0.02; done")
    result = runtime.run(bundle, "--timeline", str(timeline), id=id)
    runtime.command = outside
    assert result.out == "/bin/busybox\n"
    assert (runtime.work / "said").read_text() == "by exec\n"
    assert timeline.exists()
    assert Path("/proc/self/mountinfo").read_text() == before


@needs_memfd_noexec
def test_f4_the_init_can_t_be_written_to(runtime: Runtime, bundle: Bundle) -> None:
    """F4, CVE-2019-5736: the waiting init's program is on a read-only file system that is mounted nowhere."""
    ready = runtime.work / "ready"
    script = (
        "echo 2 >/proc/sys/vm/memfd_noexec; id=$1; shift; "
        f'"$@" || exit 9; pid=$({" ".join(runtime.command)} --root {runtime.root} state $id | '
        "sed -n 's/.*\"pid\": \\([0-9]*\\),/\\1/p'); readlink /proc/$pid/exe; "
        "(echo x >>/proc/$pid/exe) 2>&1; (: >/proc/$pid/exe) 2>&1; chmod 777 /proc/$pid/exe 2>&1; true"
    )
    bundle.args("true").write()
    id = runtime.new_id()
    words = ["unshare", "-pf", "--mount-proc", "sh", "-c", script, "sh", id, *runtime.command, "--root", runtime.root]
    done = subprocess.run(
        [*map(str, words), "create", "--bundle", str(bundle.path), id],
        stdin=subprocess.DEVNULL, stdout=open(ready, "w"), stderr=subprocess.STDOUT, check=False, timeout=60,
    )  # fmt: skip
    told = ready.read_text()
    assert done.returncode == 0, told
    assert "/pyrunc-init" in told
    assert told.count("Read-only file system") + told.count("Text file busy") == 3, told


@needs_memfd_noexec
def test_f4_rootless(rootless: RootlessRuntime) -> None:
    """F4: an ordinary user's tmpfs is mounted in a user namespace."""
    bundle = rootless.bundle().args("echo", "here")
    bundle.write()
    words = [*noexec(2), *rootless.as_user(), *rootless.own_command]
    words += ["--root", str(rootless.root), "run", "--bundle", str(bundle.path), rootless.new_id()]
    with open(rootless.work / "said", "w") as said:
        subprocess.run(words, stdin=subprocess.DEVNULL, stdout=said, stderr=said, timeout=60, check=False)
    assert (rootless.work / "said").read_text() == "here\n"


def cpus() -> set[int]:
    return os.sched_getaffinity(0)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")
def test_f6_the_caller_s_cpus_are_not_the_container_s(runtime: Runtime, bundle: Bundle) -> None:
    """F6: create, run and exec by a command that is bound to one CPU."""
    runtime.command = ["taskset", "-c", str(min(cpus())), *runtime.command]
    wanted = f"{len(cpus())}\n"
    assert runtime.inside(bundle, "nproc") == wanted
    container = runtime.started(bundle.sh("sleep 1000"))
    allowed = host.process_status(container.pid, "Cpus_allowed_list")
    assert allowed == host.status_field(Path("/proc/self/status").read_text(), "Cpus_allowed_list")
    assert runtime("exec", container.id, "nproc").out == wanted


def test_f13_a_pid_namespace_whose_first_process_has_ended(runtime: Runtime, bundle: Bundle) -> None:
    """F13: the message names the cause, at the entry's path, and does not guess about memory."""
    other = runtime.started(runtime.bundle("other").sh("sleep 1000"))
    kept = runtime.work / "pidns"
    kept.touch()
    subprocess.run(["mount", "--bind", f"/proc/{other.pid}/ns/pid", kept], check=True)
    try:
        runtime.run(runtime.bundle("first").namespace("pid", str(kept)).args("true"))
        other.delete("--force")
        result = runtime.refuse(bundle.namespace("pid", str(kept)))
    finally:
        subprocess.run(["umount", kept], check=True)
    assert "cannot allocate memory" in result.last_line
    assert "memory limit" not in result.last_line
    at = len(bundle.linux["namespaces"]) - 1
    assert f"at /linux/namespaces/{at}/path" in result.last_line
    assert "the first process of that namespace has ended" in result.last_line


def in_user_namespace(script: str) -> list[str]:
    """A prefix that runs a command as root of a user namespace, after the script has run there."""
    return ["unshare", "-Ur", "sh", "-c", script + ' && exec "$@"', "sh"]


@pytest.mark.parametrize("kind", ["uts", "ipc", "pid"])
def test_f13_a_limit_of_namespaces(runtime: Runtime, bundle: Bundle, kind: str) -> None:
    """F13: ENOSPC of a clone names the limit that is reached."""
    bundle.user_namespace(0, 1)
    bundle.mounts[2]["options"].remove("gid=5")
    outside = runtime.command
    runtime.command = [*in_user_namespace(f"echo 0 >/proc/sys/user/max_{kind}_namespaces"), *outside]
    result = runtime.run(bundle, ok=False)
    runtime.command = outside
    assert result.code == 1
    assert "no space left on device" in result.last_line
    assert f"the limit user.max_{kind}_namespaces (0) is reached" in result.last_line
    assert "cpuset" not in result.last_line


def waits_for_an_answer(pid: int) -> bool:
    """Whether a process waits for a message on a socket, which it does by ppoll(2)."""
    return "poll" in Path(f"/proc/{pid}/wchan").read_text()


@pytest.mark.parametrize("waits", [False, True])
def test_a7_start_tells_of_an_init_that_dies_meanwhile(runtime: Runtime, bundle: Bundle, waits: bool) -> None:
    """A7: an init is killed while `start` works, before or after the connect: `start` never fails without a message."""
    for _ in range(4):
        container = runtime.container(bundle.args("true"))
        os.kill(container.pid, signal.SIGSTOP)  # from outside, the first process of a pid namespace is stopped too
        starting = runtime.background("start", container.id)
        if waits:
            # A stopped init's socket accepts the connection and the byte; the init's death closes the connection.
            host.wait_for("the connection", functools.partial(waits_for_an_answer, starting.pid))
        os.kill(container.pid, signal.SIGKILL)
        assert starting.wait(60) == 1
        said = (runtime.work / "background.err").read_text()
        assert said.strip(), "an empty stderr"
        assert "killed before it executed the program" in said or "has stopped" in said, said
        container.delete("--force")


@pytest.mark.parametrize("families", [("2", "10"), ("2", "10", "16", "17")], ids=["unix-netlink", "unix"])
def test_f5_only_some_families_of_sockets(runtime: Runtime, bundle: Bundle, families: tuple[str, ...]) -> None:
    """F5: lo is up without a socket of AF_INET, and without one of AF_NETLINK."""
    bundle.namespace("network").mount("/sys", "sysfs", "sysfs", "ro")
    outside = runtime.command
    runtime.command = [sys.executable, str(REPOSITORY / "tests/support/families.py"), *families, "--", *outside]
    said = runtime.inside(bundle, "cat /sys/class/net/lo/flags; ifconfig lo 2>&1 | grep -c socket")
    runtime.command = outside
    assert said.split() == ["0x9", "1"], "lo is not up, or the filter is not at work"
