"""B1: input that can be read only once. The installed launcher hands commands over to the ordinary build after it has
read their input: with it, these tests show that nothing is read twice."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundle import Bundle
from tests.support.runtime import Container, Result, Runtime
from tests.support.seccomp import allowing

KINDS = ("descriptor", "fifo", "stdin", "socket")


class Once:
    """Runs commands with a file that can be read once: `call` puts the file's path in place of "@"."""

    def __init__(self, kind: str, runtime: Runtime) -> None:
        self.kind = kind
        self.runtime = runtime

    def __call__(self, text: str, *words: str | Path) -> Result:
        if self.kind == "fifo":
            return self._fifo(text, words)
        if self.kind == "socket":
            ours, theirs = socket.socketpair()
            with ours, theirs:
                ours.sendall(text.encode())
                ours.shutdown(socket.SHUT_WR)
                return self.runtime(*self._named("/dev/stdin", words), stdin=theirs.fileno())
        reader, writer = os.pipe()
        try:
            os.write(writer, text.encode())
            os.close(writer)
            if self.kind == "stdin":
                return self.runtime(*self._named("/dev/stdin", words), stdin=reader)
            return self.runtime(*self._named(f"/dev/fd/{reader}", words), pass_fds=(reader,))
        finally:
            os.close(reader)

    def _fifo(self, text: str, words: tuple[str | Path, ...]) -> Result:
        path = self.runtime.work / "fifo"
        if not path.exists():
            os.mkfifo(path)
        thread = threading.Thread(target=path.write_text, args=(text,), daemon=True)
        thread.start()
        result = self.runtime(*self._named(str(path), words))
        thread.join(60)
        assert not thread.is_alive(), "nobody has read the FIFO"
        return result

    @staticmethod
    def _named(path: str, words: tuple[str | Path, ...]) -> Iterator[str | Path]:
        return (path if word == "@" else word for word in words)


@pytest.fixture(params=KINDS)
def once(request: pytest.FixtureRequest, runtime: Runtime) -> Once:
    if request.param == "socket" and not runtime.is_own:
        pytest.skip("only pyrunc reads a socket by the name /dev/stdin")
    return Once(request.param, runtime)


def filtered(bundle: Bundle) -> None:
    """A filter that is in no cache yet."""
    bundle.linux["seccomp"] = allowing("SCMP_ACT_ERRNO", "mkdir")


def plain(bundle: Bundle) -> None:
    """A configuration without anything cold."""


@pytest.mark.parametrize("change", [plain, filtered])
@pytest.mark.parametrize("command", ["run", "create"])
def test_b1_a_configuration(once: Once, bundle: Bundle, command: str, change: Callable[[Bundle], None]) -> None:
    bundle.sh("echo ran; mkdir /tmp/made").process["terminal"] = False
    change(bundle)
    id = once.runtime.new_id()
    result = once(json.dumps(bundle.config), command, "--bundle", bundle.path, "--config", "@", id)
    if command == "run":
        assert result.out == "ran\n", result
        assert (bundle.rootfs / "tmp/made").exists() is (change is plain)
    else:
        assert result.code == 0, result


@pytest.mark.own("the words are pyrunc's")
def test_b1_a_refused_configuration_is_explained(once: Once, bundle: Bundle) -> None:
    bundle.process["cwd"] = 5
    result = once(
        json.dumps(bundle.config, indent=1), "run", "--bundle", bundle.path, "--config", "@", once.runtime.new_id()
    )
    assert result.code == 1
    assert "at /process/cwd" in result.last_line, result
    line = json.dumps(bundle.config, indent=1).split("\n").index('  "cwd": 5,') + 1
    assert f":{line} at" in result.last_line, result


@pytest.mark.own("the words are pyrunc's")
def test_b1_what_is_no_json(once: Once, bundle: Bundle) -> None:
    result = once('{"ociVersion":\n "1.0.2"', "run", "--bundle", bundle.path, "--config", "@", once.runtime.new_id())
    assert result.code == 1
    assert ":2:" in result.last_line, result


@pytest.mark.own("only pyrunc has the command")
@pytest.mark.parametrize("command", ["validate", "plan"])
def test_b1_commands_that_only_look(once: Once, bundle: Bundle, command: str) -> None:
    bundle.process["cwd"] = "there"
    result = once(json.dumps(bundle.config), command, "--bundle", bundle.path, "--config", "@")
    assert result.code == 1
    assert "/process/cwd" in result.out + result.err, result


PROCESS: dict[str, Any] = {"cwd": "/tmp", "args": ["pwd"], "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}}


@pytest.fixture
def box(runtime: Runtime, bundle: Bundle) -> Container:
    filtered(bundle)
    return runtime.started(bundle.args("sleep", "1000"))


@pytest.mark.parametrize("cold", [False, True])
def test_b1_a_process(once: Once, box: Container, cold: bool) -> None:
    if cold:
        for path in (box.runtime.root / ":seccomp").glob("*"):
            path.unlink()
    result = once(json.dumps(PROCESS), "exec", "--process", "@", box.id)
    assert (result.code, result.out) == (0, "/tmp\n"), result


@pytest.mark.own("the words are pyrunc's")
def test_b1_a_refused_process(once: Once, box: Container) -> None:
    result = once(json.dumps({**PROCESS, "cwd": 7}), "exec", "--process", "@", box.id)
    assert result.code == 255
    assert "/cwd" in result.last_line, result
    assert "expecting value" not in result.err, result


@pytest.mark.own("the words are pyrunc's")
@pytest.mark.parametrize("name", ["@", "-"])
def test_b1_resources(once: Once, box: Container, name: str) -> None:
    if name == "-" and once.kind in ("fifo", "descriptor"):
        pytest.skip("- is standard input")
    text = json.dumps({"pids": {"limit": "many"}})
    result = once(text, "update", "--resources", name, box.id)
    assert result.code == 1
    assert "/pids/limit" in result.last_line, result
    assert once("{}", "update", "--resources", name, box.id).code == 0


CLOSED = ["/bin/sh", "-c", 'exec "$@" <&-', "sh"]
READING = {
    "resources": ("update", "--resources", "-", "BOX"),
    "resources of a path": ("update", "--resources", "/dev/stdin", "BOX"),
    "process": ("exec", "--process", "/dev/fd/0", "BOX", "true"),
    "config of run": ("run", "--bundle", "BUNDLE", "--config", "/dev/stdin", "NEW"),
    "config of create": ("create", "--bundle", "BUNDLE", "--config", "/proc/self/fd/0", "NEW"),
    "profile of run": ("run", "--bundle", "BUNDLE", "--seccomp-profile", "/dev/stdin", "NEW"),
    "mounts": ("mounts", "add", "BOX", "-"),
    "config of validate": ("validate", "--config", "/dev/stdin", "BUNDLE"),
    "config of plan": ("plan", "--bundle", "BUNDLE", "--config", "/dev/stdin"),
    "timeline": ("plan", "--timeline", "/dev/stdin"),
    "profile of explain": ("seccomp", "explain", "--profile", "/dev/stdin", "mkdir"),
    "config of the broker": ("broker", "--config", "/dev/stdin", "--socket", "BUNDLE/socket"),
}


@pytest.mark.own("the words are pyrunc's")
@pytest.mark.parametrize("what", READING)
def test_a_closed_standard_input_is_no_empty_file(runtime: Runtime, box: Container, bundle: Bundle, what: str) -> None:
    places = {"BOX": box.id, "NEW": runtime.new_id(), "BUNDLE": str(bundle.path)}
    words = [places.get(word, word.replace("BUNDLE", places["BUNDLE"])) for word in READING[what]]
    result = runtime(*words, prefix=CLOSED)
    text = result.out + result.err
    assert result.code == (255 if what == "process" else 1), result
    assert "bad file descriptor" in text
    assert "standard input is closed" in text
    assert "empty" not in text
    assert runtime("update", "--resources", "-", box.id, stdin="").last_line.count("the file is empty") == 1


# Commands that write to the file FILE.
WRITING: dict[str, tuple[str, ...]] = {
    "log": ("--log", "FILE", "state", "BOX"),
    "spec": ("spec", "--bundle", "EMPTY", "--file", "FILE"),
    "timeline of run": ("run", "--bundle", "BUNDLE", "--timeline", "FILE", "NEW"),
    "timeline of create": ("create", "--bundle", "BUNDLE", "--timeline", "FILE", "NEW"),
    "timeline of start": ("start", "--timeline", "FILE", "CREATED"),
    "timeline of exec": ("exec", "--timeline", "FILE", "BOX", "true"),
    "seccomp record": ("seccomp", "record", "--output", "FILE", "BUNDLE"),
    "hooks": ("run", "--bundle", "HOOKED", "NEW"),
    "pid file of run": ("run", "--bundle", "BUNDLE", "--pid-file", "FILE", "NEW"),
    "pid file of exec": ("exec", "--pid-file", "FILE", "BOX", "true"),
}


@pytest.mark.own("the words are pyrunc's")
@pytest.mark.parametrize("stream", ["output", "error"])
@pytest.mark.parametrize("what", WRITING)
def test_a_closed_stream_is_no_file_for_output(
    runtime: Runtime, box: Container, bundle: Bundle, tmp_path: Path, what: str, stream: str
) -> None:
    """The content would be lost in /dev/null."""
    number, file = (1, "/dev/stdout") if stream == "output" else (2, "/proc/self/fd/2")
    bundle.write()
    places = {"BOX": box.id, "NEW": runtime.new_id(), "BUNDLE": str(bundle.path), "FILE": file, "EMPTY": str(tmp_path)}
    if what == "hooks":
        bundle.config["annotations"] = {"run.oci.hooks.stdout": file}
        bundle.hook("createRuntime", "/bin/true").write()
        places["HOOKED"] = str(bundle.path)
    if what == "timeline of start":
        places["CREATED"] = runtime.container(bundle).id
    words = [places.get(word, word) for word in WRITING[what]]
    log = tmp_path / "log"
    prefix = ["/bin/sh", "-c", f'exec "$@" {number}>&-', "sh"]
    result = runtime(*([] if what == "log" else ["--log", str(log)]), *words, prefix=prefix)
    assert result.code != 0
    said = log.read_text() if what != "log" else result.err
    if what != "log" or stream == "output":
        assert "bad file descriptor" in said
        assert f"standard {stream} is closed" in said
    if what == "timeline of start":
        assert json.loads(runtime("state", places["CREATED"]).out)["status"] == "created"
    assert places["NEW"] not in runtime("list").out


# With a /dev that can't be written to, a fault does not replace the host's files.
READ_ONLY_DEV = ["unshare", "-m", "--propagation", "private", "/bin/sh", "-ec"]
READ_ONLY_DEV += ['mount --bind /dev /dev; mount -o remount,bind,ro /dev; exec "$@"', "sh"]


@pytest.mark.own("runc replaces the file in /dev")
@pytest.mark.parametrize("path", ["/dev/stdout", "/dev/null", "/proc/self/fd/1"])
def test_a_pid_file_replaces_no_device(runtime: Runtime, bundle: Bundle, path: str) -> None:
    bundle.args("true").write()
    result = runtime("run", "--bundle", bundle.path, "--pid-file", path, runtime.new_id(), prefix=READ_ONLY_DEV)
    assert result.code == 0, result
    assert result.out.isdigit() == (path != "/dev/null")
