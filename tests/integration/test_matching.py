"""kill --regex and delete --regex; kill --all; --criu; --pidfd-socket of create and run."""

from __future__ import annotations

import json
import os
import signal
import socket

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Container, Runtime

LOOP = "trap 'echo got; exit 0' USR1; echo up; while :; do sleep 0.05; done"


@pytest.fixture
def boxes(runtime: Runtime, bundle: Bundle) -> list[Container]:
    """Three started containers; ids end with -0, -1 and -2."""
    found = [runtime.started(bundle.sh(LOOP)) for _ in range(3)]
    for box in found:
        host.wait_for("its trap", lambda box=box: "up" in box.output)  # type: ignore[misc]
    return found


@pytest.mark.own("crun's")
def test_kill_regex_signals_all_that_match_and_no_other(runtime: Runtime, boxes: list[Container]) -> None:
    assert runtime("kill", "--regex", "[-][01]$", "USR1").code == 0
    for box in boxes[:2]:
        box.wait()
        assert box.output == "up\ngot\n"
    assert [box.status for box in boxes] == ["stopped", "stopped", "running"]
    again = runtime("kill", "-r", f"^{runtime.token}", "KILL")
    assert again.code == 0
    assert again.err.count("container not running") == 2
    boxes[2].wait()
    assert boxes[2].status == "stopped"
    assert runtime("kill", "-r", "--all", ".", "KILL").err == ""


@pytest.mark.own("crun's")
def test_delete_regex_deletes_all_that_match_and_no_other(runtime: Runtime, boxes: list[Container]) -> None:
    boxes[0].kill("KILL")
    boxes[0].wait()
    result = runtime("delete", "--regex", ".")
    assert result.code == 0
    assert result.err.count("that is not stopped: running") == 2
    listed = json.loads(runtime("list", "-f", "json").out)
    assert [item["id"] for item in listed] == [boxes[1].id, boxes[2].id]
    assert runtime("delete", "-f", "-r", "[-]1$").code == 0
    assert [item["id"] for item in json.loads(runtime("list", "-f", "json").out)] == [boxes[2].id]


@pytest.mark.own("crun's")
@pytest.mark.parametrize("words", [("kill", "--regex", "(", "9"), ("delete", "--force", "--regex", "(")])
def test_a_bad_expression_does_nothing(runtime: Runtime, bundle: Bundle, words: tuple[str, ...]) -> None:
    box = runtime.container(bundle)
    result = runtime(*words)
    assert result.code == 1
    assert "invalid regular expression (: " in result.last_line
    assert box.status == "created"


def test_kill_all_is_no_error_where_nothing_runs(runtime: Runtime, bundle: Bundle) -> None:
    """Engines call it whether or not the container has stopped meanwhile; an unknown container is an error."""
    box = runtime.container(bundle)
    box.finish()
    for number in ("TERM", "KILL", "0"):
        assert runtime("kill", "--all", box.id, number).code == 0
        assert "container not running" in runtime("kill", box.id, number).last_line
    box.delete()
    gone = runtime("kill", "--all", box.id, "KILL")
    assert (gone.code, "container does not exist" in gone.last_line) == (1, True)


def test_kill_all_ends_what_a_stopped_container_has_left(runtime: Runtime, bundle: Bundle) -> None:
    """Without a pid namespace of its own a container's children outlive its process."""
    bundle.without_namespace("pid").sh("sleep 1000 & echo $! > /tmp/pid; exit 0")
    box = runtime.started(bundle)
    box.wait()
    pid = int(host.wait_for("its child", lambda: (bundle.rootfs / "tmp/pid").read_text().strip()))
    assert (box.status, host.is_alive(pid)) == ("stopped", True)
    assert runtime("kill", "--all", box.id, "9").code == 0
    host.wait_for("the child to be gone", lambda: not host.is_alive(pid))


@pytest.mark.own("runc 1.1 takes another criu by it, 1.2 to 1.4 warn, 1.5 has it not")
def test_criu_is_said_to_be_without_effect(runtime: Runtime, bundle: Bundle) -> None:
    runtime.root.mkdir()
    for words in (("--criu", "/x/criu", "list"), ("list", "--criu=/x/criu"), ("--criu", "", "list")):
        result = runtime(*words)
        assert result.code == 0
        assert result.err.count("--criu is without effect: criu is looked for in $PATH") == 1
        assert "level=warning" in result.err
    bundle.args("true").write()
    result = runtime("--criu", "criu", "run", "--bundle", bundle.path, runtime.new_id())
    assert (result.code, result.err.count("--criu is without effect")) == (0, 1)


@pytest.mark.own("since runc 1.5")
@pytest.mark.parametrize("command", ["create", "run"])
def test_the_pidfd_of_the_container_goes_to_its_socket(runtime: Runtime, bundle: Bundle, command: str) -> None:
    path = runtime.work / "pidfd.sock"
    bundle.args("sleep", "1000").write()
    id = runtime.new_id()
    more = ["--detach"] if command == "run" else []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen()
        result = runtime(command, *more, "--pidfd-socket", path, "--bundle", bundle.path, id)
        assert result.code == 0, result
        connection, _ = server.accept()
        with connection:
            name, fds, _, _ = socket.recv_fds(connection, 64, 2)
    assert (name, len(fds)) == (b"standard", 1)
    signal.pidfd_send_signal(fds[0], signal.SIGKILL)
    os.close(fds[0])
    host.wait_for("its end", lambda: runtime.state(id)["status"] == "stopped")
