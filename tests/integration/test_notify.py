"""NOTIFY_SOCKET: run and start relay the notifications of a container to its service manager (sd_notify(3))."""

from __future__ import annotations

import array
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.rootless import RootlessRuntime
from tests.support.runtime import Runtime

# The container's side; busybox has no program that sends datagrams.
SENDER = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>
#include <sys/un.h>

/* notify MESSAGE…: a datagram each, \n in a message is a newline; "sleep" waits, "barrier" waits for a barrier's end */
int main(int argc, char **argv)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, getenv("NOTIFY_SOCKET"), sizeof address.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        perror("connect");
        return 1;
    }
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "sleep") == 0) {
            sleep(1000);
            continue;
        }
        if (strncmp(argv[i], "exit", 4) == 0)
            return atoi(argv[i] + 4);
        char text[8192];
        size_t length = 0;
        for (const char *at = argv[i]; *at != 0; at++)
            text[length++] = at[0] == '\\' && at[1] == 'n' ? (at++, '\n') : *at;
        int ends[2] = {-1, -1};
        union { char space[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } rights;
        struct iovec part = {text, length};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
        if (strcmp(argv[i], "BARRIER=1") == 0 || strcmp(argv[i], "FDSTORE=1") == 0) {
            if (pipe(ends) < 0)
                return 2;
            message.msg_control = rights.space;
            message.msg_controllen = sizeof rights.space;
            struct cmsghdr *header = CMSG_FIRSTHDR(&message);
            header->cmsg_level = SOL_SOCKET;
            header->cmsg_type = SCM_RIGHTS;
            header->cmsg_len = CMSG_LEN(sizeof(int));
            memcpy(CMSG_DATA(header), &ends[1], sizeof(int));
        }
        if (sendmsg(fd, &message, 0) < 0) {
            perror("sendmsg");
            return 3;
        }
        if (ends[0] >= 0) {
            close(ends[1]);
            char byte;
            if (read(ends[0], &byte, 1) == 0)
                printf("passed %s\n", argv[i]);
            fflush(stdout);
        }
    }
    return 0;
}
"""


@pytest.fixture(scope="session")
def sender(session_directory: Path) -> Path:
    source = session_directory / "notify.c"
    source.write_text(SENDER)
    program = session_directory / "notify"
    subprocess.run(["cc", "-static", "-O1", "-o", program, source], check=True)
    return program


class Manager:
    """The service manager's socket. `fds` keeps received descriptors until `release` closes them."""

    def __init__(self, name: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + name[1:] if name.startswith("@") else name)
        self.socket.settimeout(60)
        self.fds: list[int] = []

    def receive(self) -> str:
        """The next datagram."""
        size = array.array("i").itemsize
        data, control, _, _ = self.socket.recvmsg(8192, socket.CMSG_SPACE(16 * size))
        for level, kind, content in control:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds = array.array("i")
                fds.frombytes(content[: len(content) - len(content) % size])
                self.fds += fds
        return data.decode()

    def all(self) -> list[str]:
        """All datagrams that have come so far."""
        found = []
        self.socket.setblocking(False)
        try:
            while True:
                found.append(self.receive())
        except BlockingIOError:
            return found
        finally:
            self.socket.settimeout(60)

    def release(self) -> None:
        for fd in self.fds:
            os.close(fd)
        self.fds.clear()


@pytest.fixture
def manager(runtime: Runtime) -> Iterator[Manager]:
    path = str(runtime.work / "manager.sock")
    made = Manager(path)
    runtime.variables["NOTIFY_SOCKET"] = path
    yield made
    made.release()
    made.socket.close()


@pytest.fixture
def notifying(bundle: Bundle, sender: Path) -> Bundle:
    """A bundle with the program /notify."""
    program = bundle.rootfs / "notify"
    program.write_bytes(sender.read_bytes())
    program.chmod(0o755)
    return bundle


def test_run_in_the_foreground_relays_until_its_end(runtime: Runtime, notifying: Bundle, manager: Manager) -> None:
    notifying.args("/notify", "STATUS=begins", "READY=1", "RELOADING=1\\nMONOTONIC_USEC=12", "READY=1", "STOPPING=1")
    notifying.write()
    command = runtime.background("run", "--bundle", notifying.path, runtime.new_id())
    assert command.wait(60) == 0
    assert manager.all() == [
        "STATUS=begins",
        f"READY=1\nMAINPID={command.pid}",
        "RELOADING=1\nMONOTONIC_USEC=12",
        "READY=1",
        "STOPPING=1",
    ]


def test_what_a_container_may_not_say(runtime: Runtime, notifying: Bundle, manager: Manager) -> None:
    """MAINPID would have the manager watch another process, FDSTORE keep descriptors; an unknown field could do
    worse.
    """
    messages = [
        "MAINPID=1", "MAINPID=1\\nREADY=0", "FDNAME=x\\nSTATUS=ok\\nMAINPID=7", "FDSTORE=1", "X_SOMETHING=1",
        "READY=11", "MONOTONIC_USEC=-1", "STATUS=\x1b[31m", "A" * 5000, "NOTIFYACCESS=all", "WATCHDOG=trigger",
        "BUSERROR=x", "READY=1\\nMAINPID=1\\nMAINPIDFDID=3",
    ]  # fmt: skip
    notifying.args("/notify", *messages).write()
    result = runtime("run", "--bundle", notifying.path, runtime.new_id())
    assert (result.code, result.out) == (0, "passed FDSTORE=1\n"), result
    found = manager.all()
    assert found[0] == "STATUS=ok"
    assert found[1].startswith("READY=1\nMAINPID=")
    assert found[1].count("MAINPID") == 1
    assert len(found) == 2
    assert manager.fds == []


def test_a_barrier_ends_when_the_manager_has_ended_it(runtime: Runtime, notifying: Bundle, manager: Manager) -> None:
    notifying.args("/notify", "STATUS=a", "BARRIER=1", "STATUS=b").write()
    command = runtime.background("run", "--bundle", notifying.path, runtime.new_id())
    assert [manager.receive(), manager.receive()] == ["STATUS=a", "BARRIER=1"]
    assert len(manager.fds) == 1
    time.sleep(0.3)
    assert manager.all() == []  # the container still waits
    assert (runtime.work / "background.out").read_text() == ""
    manager.release()
    assert manager.receive() == "STATUS=b"
    assert command.wait(60) == 0
    assert (runtime.work / "background.out").read_text() == "passed BARRIER=1\n"


def test_detached_run_returns_when_the_container_is_ready(
    runtime: Runtime, notifying: Bundle, manager: Manager
) -> None:
    notifying.sh("/notify STATUS=x; while [ ! -e /go ]; do sleep 0.05; done; /notify READY=1; exec sleep 1000").write()
    id = runtime.new_id()
    command = runtime.background("run", "--detach", "--bundle", notifying.path, id)
    assert manager.receive() == "STATUS=x"
    time.sleep(0.3)
    assert command.poll() is None
    pid = runtime.state(id)["pid"]  # nobody has to wait for the command
    (notifying.rootfs / "go").touch()
    assert manager.receive() == f"READY=1\nMAINPID={pid}"
    assert manager.receive() == "BARRIER=1"
    time.sleep(0.2)
    assert command.poll() is None  # the command still exists while the manager looks up the sender
    manager.release()
    assert command.wait(60) == 0
    assert runtime.state(id)["status"] == "running"


def test_create_and_start(runtime: Runtime, notifying: Bundle, manager: Manager) -> None:
    notifying.args("/notify", "READY=1", "sleep")
    container = runtime.container(notifying)
    assert manager.all() == []
    command = runtime.background("start", container.id)
    assert manager.receive() == f"READY=1\nMAINPID={container.pid}"
    assert manager.receive() == "BARRIER=1"
    manager.release()
    assert command.wait(60) == 0
    container.kill("KILL")
    container.wait()
    container.delete()


@pytest.mark.parametrize("detached", [True, False])
def test_no_start_outlasts_a_container_that_is_never_ready(
    runtime: Runtime, notifying: Bundle, manager: Manager, detached: bool
) -> None:
    notifying.args("/notify", "STATUS=x", "sleep").write()
    id = runtime.new_id()
    if detached:
        command = runtime.background("run", "--detach", "--bundle", notifying.path, id)
    else:
        assert runtime("create", "--bundle", notifying.path, id).code == 0
        command = runtime.background("start", id)
    assert manager.receive() == "STATUS=x"
    assert runtime("kill", id, "KILL").code == 0
    assert manager.receive() == "BARRIER=1"
    manager.release()
    assert command.wait(60) == 0
    assert runtime("delete", id).code == 0


def test_a_signal_ends_the_wait_and_not_the_container(runtime: Runtime, notifying: Bundle, manager: Manager) -> None:
    notifying.args("/notify", "STATUS=x", "sleep")
    container = runtime.container(notifying)
    command = runtime.background("start", container.id)
    assert manager.receive() == "STATUS=x"
    command.send_signal(signal.SIGTERM)
    assert command.wait(60) == 128 + signal.SIGTERM
    assert container.status == "running"


def test_start_without_the_variable_waits_for_nothing(runtime: Runtime, notifying: Bundle, manager: Manager) -> None:
    container = runtime.container(notifying.sh("sleep 1000"))
    del runtime.variables["NOTIFY_SOCKET"]
    container.start()
    assert container.status == "running"


def test_a_container_without_a_socket_is_started_by_a_service(
    runtime: Runtime, notifying: Bundle, manager: Manager
) -> None:
    path = runtime.variables.pop("NOTIFY_SOCKET")
    container = runtime.container(notifying.sh("echo [$NOTIFY_SOCKET]; sleep 1000"))
    runtime.variables["NOTIFY_SOCKET"] = path
    container.start()
    host.wait_for("its output", lambda: container.output)
    assert container.output == "[]\n"


def test_the_socket_is_on_a_read_only_mount(runtime: Runtime, notifying: Bundle, manager: Manager) -> None:
    notifying.process["env"].append("NOTIFY_SOCKET=/elsewhere")
    out = runtime.inside(
        notifying,
        "echo $NOTIFY_SOCKET; stat -c %a /run/notify /run/notify/notify.sock; rm /run/notify/notify.sock 2>&1;"
        "grep ' /run/notify ' /proc/self/mountinfo",
    )
    first, directory, file, refused, mount = out.splitlines()
    assert (first, directory, file) == ("/run/notify/notify.sock", "755", "666")
    assert "Read-only file system" in refused
    assert set(mount.split()[5].split(",")) >= {"ro", "nosuid", "nodev", "noexec"}


def test_in_a_user_namespace(runtime: Runtime, notifying: Bundle, manager: Manager) -> None:
    notifying.user_namespace().args("/notify", "READY=1").write()
    result = runtime("run", "--bundle", notifying.path, runtime.new_id())
    assert result.code == 0, result
    assert manager.receive().startswith("READY=1\nMAINPID=")


def test_an_abstract_socket_and_a_long_id(runtime: Runtime, notifying: Bundle) -> None:
    name = "@" + runtime.token
    made = Manager(name)
    runtime.variables["NOTIFY_SOCKET"] = name
    notifying.args("/notify", "READY=1").write()
    id = runtime.new_id() + "x" * 150
    runtime.ids.append(id)
    assert runtime("run", "--bundle", notifying.path, id).code == 0
    assert made.receive().startswith("READY=1\nMAINPID=")
    made.socket.close()


@pytest.mark.parametrize("name", ["/no/such/socket", "relative", "vsock:2:1"])
def test_a_manager_that_is_not_there_is_a_warning(runtime: Runtime, notifying: Bundle, name: str) -> None:
    runtime.variables["NOTIFY_SOCKET"] = name
    words = ["/notify", "READY=1"] if name.startswith("/") else ["true"]
    notifying.args(*words).write()
    result = runtime("run", "--bundle", notifying.path, runtime.new_id())
    assert result.code == 0, result
    assert "level=warning" in result.err
    assert f"NOTIFY_SOCKET {name}" in result.err


def test_with_a_terminal(runtime: Runtime, notifying: Bundle, manager: Manager) -> None:
    """One loop relays the terminal and the notifications."""
    notifying.process["terminal"] = True
    notifying.args("/notify", "READY=1", "STOPPING=1", "exit7").write()
    import pty

    master, slave = pty.openpty()
    command = subprocess.Popen(
        runtime.argv("run", "--bundle", notifying.path, runtime.new_id()),
        stdin=slave, stdout=slave, stderr=slave, env=runtime.environment(), cwd=runtime.work,
    )  # fmt: skip
    os.close(slave)
    assert command.wait(60) == 7
    assert manager.all() == [f"READY=1\nMAINPID={command.pid}", "STOPPING=1"]
    os.close(master)


def test_a_failed_start_leaves_nothing(runtime: Runtime, notifying: Bundle, manager: Manager) -> None:
    runtime.refuse(notifying.args("/no/such/program"))
    assert manager.all() == []


def test_the_plan_shows_it(runtime: Runtime, notifying: Bundle, manager: Manager) -> None:
    notifying.args("true").write()
    result = runtime("plan", "--bundle", notifying.path, "--format", "json")
    assert result.code == 0, result
    steps = json.loads(result.out)
    text = json.dumps(steps)
    assert '"notify_socket"' in text
    assert '"/run/notify"' in text
    assert "NOTIFY_SOCKET=/run/notify/notify.sock" in text
    del runtime.variables["NOTIFY_SOCKET"]
    assert "notify" not in runtime("plan", "--bundle", notifying.path, "--format", "json").out


def test_any_user_of_the_container_may_notify(runtime: Runtime, notifying: Bundle, manager: Manager) -> None:
    notifying.process["user"] = {"uid": 1234, "gid": 1234}
    notifying.process["capabilities"] = {}
    runtime.run(notifying.args("/notify", "READY=1"))
    assert manager.receive().startswith("READY=1\nMAINPID=")


def test_of_an_ordinary_user(rootless: RootlessRuntime, sender: Path) -> None:
    bundle = rootless.bundle()
    program = bundle.rootfs / "notify"
    program.write_bytes(sender.read_bytes())
    program.chmod(0o755)
    made = Manager(str(rootless.work / "manager.sock"))
    os.chmod(rootless.work / "manager.sock", 0o666)
    rootless.variables["NOTIFY_SOCKET"] = str(rootless.work / "manager.sock")
    rootless.run(bundle.args("/notify", "READY=1"))
    assert made.receive().startswith("READY=1\nMAINPID=")
    made.socket.close()


def test_a_killed_command_leaves_what_delete_removes(runtime: Runtime, notifying: Bundle, manager: Manager) -> None:
    """The fixture checks at the end of each test that nothing is left of its containers."""
    notifying.args("/notify", "STATUS=x", "sleep").write()
    for words in (("run", "--detach"), ("run",)):
        id = runtime.new_id()
        command = runtime.background(*words, "--bundle", notifying.path, id)
        assert manager.receive() == "STATUS=x"
        command.kill()
        command.wait()
        assert runtime.state(id)["status"] == "running"
        assert runtime("delete", "--force", id).code == 0
        assert not (runtime.root / id).exists()
