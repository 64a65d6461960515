"""F14: file names that are not UTF-8. Paths are bytes, for the kernel and for the runtime."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Result, Runtime
from tests.support.seccomp import allowing
from tests.support.terminals import ConsoleSocket

pytestmark = pytest.mark.own("Go replaces such bytes, and runc fails or writes elsewhere")

ODD = os.fsdecode(b"r\xff\xc3(")
SHOWN = "r��("


def succeeds(result: Result) -> Result:
    assert result.code == 0, result
    assert "Traceback" not in result.err
    return result


@pytest.fixture
def odd(runtime: Runtime) -> Runtime:
    """A runtime whose root, and whose bundles, are in a directory with such a name."""
    runtime.root = runtime.work / ODD / "root"
    (runtime.work / ODD).mkdir()
    return runtime


@pytest.fixture
def odd_bundle(odd: Runtime) -> Bundle:
    return odd.bundle(ODD + "/bundle")


def test_f14_a_life(odd: Runtime, odd_bundle: Bundle) -> None:
    """create, state, list, start, exec, ps, update, pause, resume, kill and delete."""
    work = odd.work / ODD
    id = odd.new_id()
    odd_bundle.hook("createContainer", "/bin/sh", "sh", "-c", "cat >state; pwd >pwd", env=["PATH=/bin:/usr/bin"])
    odd_bundle.hook("poststop", "/bin/sh", "sh", "-c", f"cat >{odd.work}/stopped", env=["PATH=/bin:/usr/bin"])
    odd_bundle.args("sleep", "1000").write()
    succeeds(odd("create", "--bundle", odd_bundle.path, "--pid-file", work / "pid", "--timeline", work / "line", id))
    assert (odd_bundle.rootfs / "pwd").read_bytes() == os.fsencode(odd_bundle.rootfs) + b"\n"
    state = json.loads(succeeds(odd("state", id)).out)
    assert state["status"] == "created"
    assert state["bundle"].endswith(f"/{SHOWN}/bundle")
    assert str(state["pid"]) == (work / "pid").read_text()
    json.loads((work / "line").read_bytes())
    assert SHOWN in succeeds(odd("list")).out
    assert [item["id"] for item in json.loads(odd("list", "--format", "json").out)] == [id]
    succeeds(odd("start", id))
    result = succeeds(odd("exec", "--env", f"A={ODD}", id, "/bin/echo", "-n", ODD))
    assert result.out == ODD
    assert odd("exec", "--env", f"A={ODD}", id, "sh", "-c", "echo -n $A").out == ODD
    assert json.loads(succeeds(odd("ps", "--format", "json", id)).out) == [state["pid"]]
    for words in (("update", "--pids-limit", "0"), ("pause",), ("resume",), ("kill", "--all")):
        succeeds(odd(*words, id, *(("KILL",) if words[0] == "kill" else ())))
    host.wait_for("its end", lambda: not host.is_alive(state["pid"]))
    succeeds(odd("delete", id))
    assert not (odd.root / id).exists()
    assert b'"bundle":"' + os.fsencode(odd_bundle.path) in (odd.work / "stopped").read_bytes()


def test_f14_run_and_files_of_the_command_line(odd: Runtime, odd_bundle: Bundle) -> None:
    work = odd.work / ODD
    odd_bundle.args("sh", "-c", "echo ran").write()
    (odd_bundle.path / "config.json").rename(odd_bundle.path / (ODD + ".json"))
    id = odd.new_id()
    result = odd("--log", work / "log", "run", "-b", odd_bundle.path, "--config", ODD + ".json", id)
    assert (result.code, result.out) == (0, "ran\n"), result


@pytest.mark.parametrize("where", ["create", "exec"])
def test_f14_sockets(odd: Runtime, odd_bundle: Bundle, where: str) -> None:
    work = odd.work / ODD
    path = work / "socket"
    odd_bundle.args("sleep", "1000").write()
    id = odd.new_id()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(bytes(path))
        server.listen()
        flags = ("--pidfd-socket", path)
        if where == "exec":
            succeeds(odd("run", "--detach", "-b", odd_bundle.path, id))
            (work / "process.json").write_text('{"cwd": "/", "args": ["true"], "env": ["PATH=/bin"]}')
            succeeds(odd("exec", "--process", work / "process.json", *flags, id))
        else:
            succeeds(odd("create", "-b", odd_bundle.path, *flags, id))
        connection, _ = server.accept()
        with connection:
            _, fds, _, _ = socket.recv_fds(connection, 64, 2)
        assert len(fds) == 1
        os.close(fds[0])


@pytest.mark.parametrize(
    "words",
    [
        ("state", "none"), ("run", "-b", ODD + "x", "x"), ("run", "-b", ODD, "x"), ("delete", ODD), ("kill", "x", ODD),
        ("create", ODD), ("create", "--console-socket", ODD, "x"), ("exec", "--process", ODD, "x"),
        ("exec", "--cwd", ODD, "x", "true"), ("update", "-r", ODD, "x"), (ODD,), ("run", "--" + ODD, "x"),
        ("--log-format", ODD, "list"), ("--cgroup-manager", ODD, "list"), ("--rootless", ODD, "list"),
        ("create", "--preserve-fds", ODD, "x"), ("plan", "-b", ODD), ("validate", ODD), ("ps", ODD), ("events", ODD),
        ("list", "--format", ODD), ("gc",), ("spec", "-b", ODD + "/no"),
    ],
    ids=lambda words: "-".join(words).encode("ascii", "replace").decode(),
)  # fmt: skip
@pytest.mark.parametrize("log", [False, True])
def test_f14_a_failure_is_one_line(odd: Runtime, words: tuple[str, ...], log: bool) -> None:
    """The message is UTF-8, also in the log, and the JSON log is JSON."""
    path = odd.work / ODD / "log"
    given = ("--log", str(path), "--log-format", "json") if log and words[0] != "--log-format" else ()
    result = odd(*given, *words)
    err = Path(odd.work / f"{odd._count}.err").read_bytes()
    err.decode()
    Path(odd.work / f"{odd._count}.out").read_bytes().decode()
    assert b"Traceback" not in err
    assert b"internal error" not in err
    assert b"Unicode" not in err
    if words[0] != "gc":
        assert result.code != 0
    if given and path.exists():
        for line in path.read_bytes().decode().splitlines():
            json.loads(line)
    odd.assert_nothing_left()


@pytest.mark.parametrize("place", ["args", "env", "hostname", "annotations", "mount", "hook"])
def test_f14_half_a_surrogate_pair_is_no_text(runtime: Runtime, bundle: Bundle, place: str) -> None:
    """config.json is JSON, which can't express other bytes: the escape of half a surrogate pair is an error at its
    place.
    """
    half = "HALF"
    if place == "args":
        bundle.args("echo", half)
    elif place == "env":
        bundle.process["env"].append("A=" + half)
    elif place == "hostname":
        bundle.config["hostname"] = half
    elif place == "annotations":
        bundle.config["annotations"] = {"a": half}
    elif place == "mount":
        bundle.mount("/mnt", "bind", "/" + half, "bind")
    else:
        bundle.hook("createRuntime", "/" + half)
    bundle.write()
    path = bundle.path / "config.json"
    path.write_text(path.read_text().replace(half, "\\udcff"))
    result = runtime("create", "--bundle", bundle.path, runtime.new_id())
    assert result.code == 1
    assert "\\udcff is half of a surrogate pair" in result.last_line
    runtime.assert_nothing_left()


@pytest.mark.parametrize("kind", ["seccomp", "no mount namespace", "user namespace", "read-only, no pivot", "refused"])
def test_f14_kinds_of_containers(odd: Runtime, odd_bundle: Bundle, kind: str) -> None:
    """The launcher hands containers with seccomp and refused configurations over to the ordinary build."""
    flags: tuple[str, ...] = ()
    odd_bundle.sh("echo ran")
    if kind == "seccomp":
        odd_bundle.linux["seccomp"] = allowing("SCMP_ACT_ERRNO", "mkdir")
    elif kind == "no mount namespace":
        odd_bundle.linux["namespaces"] = [{"type": "pid"}]
        odd_bundle.config["mounts"] = [{"destination": "/mnt", "type": "tmpfs", "source": "tmpfs"}]
    elif kind == "user namespace":
        odd_bundle.namespace("user")
        for name in ("uidMappings", "gidMappings"):
            odd_bundle.linux[name] = [{"containerID": 0, "hostID": 0, "size": 1000}]
    elif kind == "read-only, no pivot":
        odd_bundle.config["root"]["readonly"] = True
        flags = ("--no-pivot",)
    else:
        odd_bundle.process["cwd"] = 5
    odd_bundle.write()
    result = odd("run", "--bundle", odd_bundle.path, *flags, odd.new_id())
    if kind == "refused":
        assert "config.json:" in result.last_line
        assert "/process/cwd" in result.last_line
    else:
        assert (result.code, result.out) == (0, "ran\n"), result
    odd.assert_nothing_left()


@pytest.mark.parametrize("words", [("plan",), ("plan", "--format=json"), ("plan", "--format=tree"), ("validate",)])
def test_f14_commands_that_only_look(odd: Runtime, odd_bundle: Bundle, words: tuple[str, ...]) -> None:
    odd_bundle.args("true").write()
    result = succeeds(odd(*words, "--bundle", odd_bundle.path))
    if "--format=json" in words:
        json.loads(result.out)


def test_f14_a_console_socket(odd: Runtime, odd_bundle: Bundle) -> None:
    odd_bundle.process["terminal"] = True
    odd_bundle.args("true").write()
    console = ConsoleSocket(odd.work / ODD / "console")
    succeeds(odd("create", "--bundle", odd_bundle.path, "--console-socket", odd.work / ODD / "console", odd.new_id()))
    os.close(console.receive())
