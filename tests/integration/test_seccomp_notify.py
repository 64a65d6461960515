"""SCMP_ACT_NOTIFY: an agent gets the listener and answers for the kernel; nothing waits for an answer that can't
come.
"""

from __future__ import annotations

import errno
import os
import platform
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import host
from tests.support.agent import Agent, Answer
from tests.support.bundle import Bundle
from tests.support.runtime import Runtime
from tests.support.seccomp import allowing, rule

MKDIR, EXECVE = 83, 59

pytestmark = [
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the calls are numbered as on x86-64"),
    pytest.mark.own("1.1 keeps the connection to the agent open, and names no place in config.json"),
]
both = pytest.mark.parametrize("no_new_privileges", [False, True], ids=["privileged", "no-new-privileges"])

# All calls that the init may make once the filter is loaded, and a shell's calls, except write.
MANY = """
    accept accept4 access arch_prctl brk capget capset chdir clock_gettime clone close close_range connect dup dup2 dup3
    execve execveat exit exit_group faccessat faccessat2 fchown fcntl fork fstat futex getcwd getdents64 getegid geteuid
    getgid getpid getppid getrandom getuid ioctl kill lseek mmap mprotect munmap newfstatat open openat pidfd_open pipe
    pipe2 poll ppoll prctl prlimit64 read readlink readv recvfrom recvmsg rt_sigaction rt_sigprocmask rt_sigreturn
    sendfile sendmsg sendto set_tid_address setgroups setresgid setresuid setsid stat umask uname vfork wait4 waitid
    writev
""".split()


def mkdir_is_made_up(number: int, args: tuple[int, ...]) -> Answer:
    """mkdir fails with an errno that no other call gives; all other calls are made."""
    return -errno.ENOMEDIUM if number == MKDIR else None


@pytest.fixture
def agent_at(runtime: Runtime) -> Iterator[Callable[..., Agent]]:
    """Start an agent at an address: `agent_at(address, answer)`."""
    agents: list[Agent] = []

    def start(address: str, answer: Callable[[int, tuple[int, ...]], Answer] = mkdir_is_made_up) -> Agent:
        agents.append(Agent(address, answer))
        return agents[-1]

    yield start
    for agent in agents:
        agent.close()


def notifying(path: Path | str, *names: str, **more: Any) -> dict[str, Any]:
    return {**allowing("SCMP_ACT_NOTIFY", *names), "listenerPath": str(path), **more}


@pytest.fixture
def address(runtime: Runtime) -> str:
    return str(runtime.work / "agent.sock")


@both
@pytest.mark.parametrize("command", ["run", "create"])
def test_the_agent_answers(
    runtime: Runtime,
    bundle: Bundle,
    agent_at: Callable[..., Agent],
    address: str,
    command: str,
    no_new_privileges: bool,
) -> None:
    agent = agent_at(address)
    bundle.process["noNewPrivileges"] = no_new_privileges
    bundle.linux["seccomp"] = notifying(address, "mkdir", listenerMetadata="some/metadata=1")
    bundle.config["annotations"] = {"org.example.key": "v\u00e4lue"}
    bundle.sh("mkdir /tmp/a 2>&1; mkdir /tmp/b 2>&1; ls -d /tmp/[ab]; echo end")
    if command == "run":
        out = runtime.run(bundle).out
    else:
        container = runtime.container(bundle)
        assert agent.first_state()["pid"] == container.pid
        out = container.finish()
    assert out.splitlines() == [
        "mkdir: can't create directory '/tmp/a': No medium found",
        "mkdir: can't create directory '/tmp/b': No medium found",
        "end",
    ]
    assert agent.calls == [MKDIR, MKDIR]
    [state] = agent.states
    assert agent.fds == [1]
    assert list(state) == ["ociVersion", "fds", "pid", "metadata", "state"]
    assert state["fds"] == ["seccompFd"]
    assert state["metadata"] == "some/metadata=1"
    assert state["state"] == {
        "ociVersion": state["ociVersion"],
        "id": runtime.ids[0],
        "status": "creating",
        "pid": state["pid"],
        "bundle": str(bundle.path),
        "annotations": {"org.example.key": "v\u00e4lue"},
    }


def test_without_metadata_there_is_no_such_member(
    runtime: Runtime, bundle: Bundle, agent_at: Callable[..., Agent], address: str
) -> None:
    agent = agent_at(address)
    bundle.linux["seccomp"] = notifying(address, "mkdir")
    runtime.inside(bundle, "true")
    assert "metadata" not in agent.first_state()


@both
@pytest.mark.parametrize("command", ["run", "create"])
def test_calls_of_the_init_itself_may_be_asked_about(
    runtime: Runtime,
    bundle: Bundle,
    agent_at: Callable[..., Agent],
    address: str,
    command: str,
    no_new_privileges: bool,
) -> None:
    agent = agent_at(address)
    bundle.process.update(noNewPrivileges=no_new_privileges, user={"uid": 1000, "gid": 1000})
    bundle.linux["seccomp"] = notifying(address, *MANY, "mkdir")
    bundle.hook("startContainer", "/bin/true", "true")
    bundle.sh("mkdir /tmp/a 2>&1 || echo refused")
    out = runtime.run(bundle).out if command == "run" else runtime.container(bundle).finish()
    assert "refused" in out
    assert EXECVE in agent.calls


def test_an_abstract_address(runtime: Runtime, bundle: Bundle, agent_at: Callable[..., Agent]) -> None:
    agent = agent_at(f"\0{runtime.token}")
    bundle.linux["seccomp"] = notifying("@" + runtime.token, "mkdir")
    assert "No medium found" in runtime.inside(bundle, "mkdir /tmp/a 2>&1 || true")
    assert len(agent.states) == 1


def test_a_relative_and_a_long_address(
    runtime: Runtime, bundle: Bundle, agent_at: Callable[..., Agent], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = bundle.path / ("long" * 30)
    folder.mkdir()
    monkeypatch.chdir(folder)
    agent = agent_at("agent.sock")
    for path in (f"{folder.name}/agent.sock", str(folder / "agent.sock")):
        bundle.linux["seccomp"] = notifying(path, "mkdir")
        assert "No medium found" in runtime.inside(bundle, "mkdir /tmp/a 2>&1 || true")
    assert len(agent.states) == 2


def test_a_state_that_is_larger_than_a_socket_takes_at_once(
    runtime: Runtime, bundle: Bundle, agent_at: Callable[..., Agent], address: str
) -> None:
    agent = agent_at(address)
    bundle.linux["seccomp"] = notifying(address, "mkdir", listenerMetadata="m" * (1 << 20))
    runtime.inside(bundle, "true")
    assert len(agent.first_state()["metadata"]) == 1 << 20
    assert (agent.fds, agent.late_fds) == ([1], 0)


def test_an_agent_that_ends_leaves_enosys(
    runtime: Runtime, bundle: Bundle, agent_at: Callable[..., Agent], address: str
) -> None:
    agent = Agent(address, mkdir_is_made_up)
    bundle.linux["seccomp"] = notifying(address, "mkdir")
    bundle.sh("echo up; cat /tmp/fifo >/dev/null; mkdir /tmp/a 2>&1")
    os.mkfifo(bundle.rootfs / "tmp/fifo")
    container = runtime.started(bundle)
    host.wait_for("the shell", lambda: container.output)
    agent.close()
    (bundle.rootfs / "tmp/fifo").write_text("")
    container.wait()
    assert "Function not implemented" in container.output


@both
def test_wait_killable_recv(
    runtime: Runtime, bundle: Bundle, agent_at: Callable[..., Agent], address: str, no_new_privileges: bool
) -> None:
    agent_at(address)
    bundle.process["noNewPrivileges"] = no_new_privileges
    flags = ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", "SECCOMP_FILTER_FLAG_TSYNC"]
    bundle.linux["seccomp"] = notifying(address, "mkdir", flags=flags)
    bundle.sh("mkdir /tmp/a").write()
    result = runtime("--debug", "run", "--bundle", bundle.path, runtime.new_id())
    assert "No medium found" in result.err
    assert '"seccomp filter flags: 40"' in result.err


def test_a_filter_that_refuses_the_init_its_words(
    runtime: Runtime, bundle: Bundle, agent_at: Callable[..., Agent], address: str
) -> None:
    agent_at(address)
    bundle.linux["seccomp"] = notifying(address, "mkdir")
    bundle.linux["seccomp"]["syscalls"].append({"names": ["sendmsg"], "action": "SCMP_ACT_ERRNO"})
    result = runtime.refuse(bundle)
    assert "the init exited with status 1" in result.last_line
    assert "at /linux/seccomp/syscalls/1; linux.seccomp refuses sendmsg" in result.last_line


def test_a_hook_gets_no_descriptor_of_the_listener(
    runtime: Runtime, bundle: Bundle, agent_at: Callable[..., Agent], address: str
) -> None:
    agent_at(address)
    bundle.linux["seccomp"] = notifying(address, "mkdir")
    bundle.hook("startContainer", "/bin/sh", "sh", "-c", "ls /proc/self/fd | wc -l > /tmp/hook")
    # The three standard streams, and the directory that ls reads.
    assert runtime.inside(bundle, "cat /tmp/hook; ls /proc/self/fd | wc -l") == "4\n4\n"


def test_a_waiting_container_holds_no_listener(
    runtime: Runtime, bundle: Bundle, agent_at: Callable[..., Agent], address: str
) -> None:
    agent_at(address)
    bundle.linux["seccomp"] = notifying(address, "mkdir")
    container = runtime.container(bundle.sh("true"))
    assert host.process_status(container.pid, "Seccomp") == "2"
    assert not [link for link in host.files_of(container.pid).values() if "seccomp" in link or "memfd" in link]
    container.finish()


@both
@pytest.mark.parametrize("path", ["/no/such/agent.sock", "@no-such-agent", "dead.sock"])
def test_no_agent(
    runtime: Runtime, bundle: Bundle, agent_at: Callable[..., Agent], path: str, no_new_privileges: bool
) -> None:
    bundle.process["noNewPrivileges"] = no_new_privileges
    Agent(str(bundle.path / "dead.sock"), mkdir_is_made_up).close()
    bundle.linux["seccomp"] = notifying(path, "mkdir")
    reason = "no such file or directory" if path[0] == "/" else "connection refused"
    assert (
        f"failed to connect with seccomp agent specified in the seccomp profile: dial unix {path}: connect: {reason}"
        in runtime.refuse(bundle).last_line
    )


def test_a_create_that_waits_for_its_agent_can_be_interrupted(
    runtime: Runtime, bundle: Bundle, agent_at: Callable[..., Agent], address: str
) -> None:
    asked: list[int] = []
    ended = threading.Event()

    def never(number: int, args: tuple[int, ...]) -> Answer:
        asked.append(number)
        ended.wait(host.SECONDS)
        return -errno.EIO

    agent_at(address, never)
    bundle.linux["seccomp"] = notifying(address, "prctl", "sendmsg")
    bundle.write()
    process = runtime.background("create", "--bundle", bundle.path, runtime.new_id())
    host.wait_for("the first call", lambda: asked)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    ended.set()
    runtime.assert_nothing_left()


@pytest.mark.parametrize(
    ("change", "pointer", "words"),
    [
        ({"listenerPath": ""}, "/linux/seccomp/listenerPath", "seccomp listenerPath is not set"),
        (
            {"syscalls": [rule("SCMP_ACT_NOTIFY", "mkdir", "write")]},
            "/linux/seccomp/syscalls/0/names/1",
            "SCMP_ACT_NOTIFY cannot be used for the write syscall",
        ),
        (
            {"defaultAction": "SCMP_ACT_NOTIFY"},
            "/linux/seccomp/defaultAction",
            "SCMP_ACT_NOTIFY cannot be used as default action",
        ),
    ],
)
def test_what_is_refused(runtime: Runtime, bundle: Bundle, change: dict[str, Any], pointer: str, words: str) -> None:
    bundle.linux["seccomp"] = notifying("/agent.sock", "mkdir", **change)
    line = runtime.refuse(bundle).last_line
    assert words in line
    assert pointer in line


def test_the_listener_s_path_says_nothing_without_the_action(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/no/such/agent.sock", "listenerMetadata": "x",
    }  # fmt: skip
    assert runtime.inside(bundle, "echo here") == "here\n"
