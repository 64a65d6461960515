"""Terminals: the console socket, and a pty that `run` relays in the foreground."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import struct
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Container, Runtime
from tests.support.terminals import ConsoleSocket, Session, lines, read_until


@pytest.fixture
def console(runtime: Runtime) -> Iterator[ConsoleSocket]:
    """A console socket."""
    value = ConsoleSocket(runtime.work / "console.sock")
    yield value
    value.listener.close()


def until_closed(_: bytes) -> bool:
    """Read to the end."""
    return False


def with_terminal(runtime: Runtime, bundle: Bundle, console: ConsoleSocket, script: str) -> tuple[Container, int]:
    """A created container with a terminal, and its master."""
    bundle.process["terminal"] = True
    container = runtime.container(bundle.sh(script), "--console-socket", str(console.path))
    return container, console.receive()


@pytest.mark.purev2
def test_console_socket_receives_the_master(runtime: Runtime, bundle: Bundle, console: ConsoleSocket) -> None:
    script = "tty; for fd in 0 1 2; do readlink /proc/self/fd/$fd; done; stat -c '%F' /dev/console"
    container, master = with_terminal(runtime, bundle, console, script)
    container.start()
    text = read_until(master, until_closed)
    os.close(master)
    assert lines(text) == ["/dev/pts/0"] * 4 + ["character special file"]
    assert container.output == ""


def test_what_is_typed_reaches_the_container(runtime: Runtime, bundle: Bundle, console: ConsoleSocket) -> None:
    container, master = with_terminal(runtime, bundle, console, "read line; echo got $line")
    container.start()
    os.write(master, b"some words\n")
    text = read_until(master, lambda text: b"got" in text and text.endswith(b"\n"))
    assert lines(text) == ["some words", "got some words"]
    os.close(master)
    container.wait()


def test_terminal_is_the_controlling_one(runtime: Runtime, bundle: Bundle, console: ConsoleSocket) -> None:
    script = "trap 'echo interrupted; exit 0' INT; echo ready; while :; do sleep 0.02; done"
    container, master = with_terminal(runtime, bundle, console, script)
    container.start()
    read_until(master, lambda text: b"ready" in text)
    os.write(master, b"\x03")
    assert b"interrupted" in read_until(master, until_closed)
    os.close(master)
    container.wait()


def test_console_is_the_same_terminal(runtime: Runtime, bundle: Bundle, console: ConsoleSocket) -> None:
    script = "echo by console > /dev/console; cat /proc/self/mountinfo"
    container, master = with_terminal(runtime, bundle, console, script)
    container.start()
    text = read_until(master, until_closed).decode()
    os.close(master)
    assert text.startswith("by console\r\n")
    mount = host.mount_at(text, "/dev/console")
    assert mount.fstype == "devpts"
    assert mount.root == "/0"


@pytest.mark.parametrize(("height", "width"), [(40, 100), (7, 13)])
def test_console_size(runtime: Runtime, bundle: Bundle, console: ConsoleSocket, height: int, width: int) -> None:
    bundle.process["consoleSize"] = {"height": height, "width": width}
    container, master = with_terminal(runtime, bundle, console, "stty size")
    size = fcntl.ioctl(master, termios.TIOCGWINSZ, bytes(8))
    assert struct.unpack("HHHH", size)[:2] == (height, width)
    container.start()
    assert read_until(master, until_closed) == f"{height} {width}\r\n".encode()
    os.close(master)


def test_onlcr_is_left_to_who_has_the_console_socket(runtime: Runtime, bundle: Bundle, console: ConsoleSocket) -> None:
    """Docker's client puts its terminal in raw mode and relies on the carriage returns of the container's."""
    container, master = with_terminal(runtime, bundle, console, "stty -a; echo end")
    assert termios.tcgetattr(master)[1] & termios.ONLCR
    container.start()
    text = read_until(master, until_closed)
    assert b" onlcr" in text
    assert text.endswith(b"\r\nend\r\n")
    os.close(master)


def test_terminal_belongs_to_the_user(runtime: Runtime, bundle: Bundle, console: ConsoleSocket) -> None:
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    del bundle.process["capabilities"]
    container, master = with_terminal(
        runtime, bundle, console, "stat -c '%u %g %a' /dev/pts/0; echo opened > /dev/pts/0"
    )
    container.start()
    # devpts gives the group of its option gid=5, and mode=620.
    assert read_until(master, until_closed) == b"1000 5 620\r\nopened\r\n"
    os.close(master)


def test_console_socket_without_a_terminal_is_refused(runtime: Runtime, bundle: Bundle, console: ConsoleSocket) -> None:
    result = runtime.refuse(bundle, "--console-socket", str(console.path))
    assert "console socket" in result.last_line


def test_terminal_without_a_console_socket_is_refused(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["terminal"] = True
    result = runtime.refuse(bundle)
    assert "console socket" in result.last_line or "console-socket" in result.last_line


def test_console_socket_that_nobody_listens_on(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["terminal"] = True
    result = runtime.refuse(bundle, "--console-socket", str(runtime.work / "nobody.sock"))
    assert "no such file or directory" in result.last_line


@pytest.mark.own("it waits for ever")
def test_a11_a_console_socket_whose_queue_is_full(runtime: Runtime, bundle: Bundle, console: ConsoleSocket) -> None:
    bundle.process["terminal"] = True
    console.listener.listen(0)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as waiting:
        waiting.connect(str(console.path))
        result = runtime.refuse(bundle, "--console-socket", str(console.path))
        assert str(console.path) in result.last_line
        assert "queue is full" in result.last_line


@pytest.mark.own("it waits for ever")
def test_a11_a_signal_gets_through_while_the_console_socket_s_queue_is_full(
    runtime: Runtime, bundle: Bundle, console: ConsoleSocket
) -> None:
    bundle.process["terminal"] = True
    bundle.write()
    console.listener.listen(0)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as waiting:
        waiting.connect(str(console.path))
        words = "create", "--bundle", str(bundle.path), "--console-socket", str(console.path), runtime.new_id()
        process = runtime.background(*words)
        host.wait_for("the state directory", lambda: list(runtime.root.glob("[!:]*")))
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM
    runtime.assert_nothing_left()


def test_console_size_is_ignored_without_a_terminal(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["consoleSize"] = {"height": 10, "width": 20}
    assert runtime.run(bundle.args("echo", "ran")).out == "ran\n"


def test_long_path_of_a_console_socket(runtime: Runtime, bundle: Bundle) -> None:
    """A path longer than the 107 bytes of sockaddr_un: engines' state directories have such paths."""
    if not runtime.is_own:
        pytest.skip("not of runc: it fails with such a path")
    folder = runtime.work / ("long" * 20) / ("path" * 20)
    folder.mkdir(parents=True)
    here = os.open(folder, os.O_RDONLY)
    console = ConsoleSocket(Path(f"/proc/self/fd/{here}/console.sock"))
    console.path = folder / "console.sock"
    container, master = with_terminal(runtime, bundle, console, "tty")
    container.start()
    assert read_until(master, until_closed) == b"/dev/pts/0\r\n"
    for number in (master, here):
        os.close(number)
    console.listener.close()


def foreground(runtime: Runtime, bundle: Bundle, script: str, **more: Any) -> Session:
    """`run` on a terminal of its own."""
    bundle.process["terminal"] = True
    bundle.sh(script).write()
    return Session(runtime.argv("run", "--bundle", bundle.path, runtime.new_id()), runtime.environment(), **more)


@pytest.mark.purev2
def test_foreground_relays_the_user_s_terminal(runtime: Runtime, bundle: Bundle) -> None:
    session = foreground(runtime, bundle, "echo question; read answer; echo answer was $answer; exit 5")
    read_until(session.master, lambda text: b"question" in text)
    # The user's terminal is raw: the container's own terminal turns the key into what its program reads.
    os.write(session.master, b"42\r")
    text = read_until(session.master, lambda text: b"answer was 42" in text)
    assert b"answer was 42" in text
    assert session.finish() == 5
    assert session.after == session.before
    runtime.assert_nothing_left()


def test_foreground_adds_carriage_returns_once(runtime: Runtime, bundle: Bundle) -> None:
    """The container's terminal adds none (ONLCR is off before the process starts); the user's own terminal still
    does.
    """
    session = foreground(runtime, bundle, "stty -a | grep -o '.onlcr'; printf 'a\\nb\\r\\nend'")
    text = read_until(session.master, lambda text: text.endswith(b"end"))
    assert text == b"-onlcr\r\na\r\nb\r\r\nend"
    assert session.finish() == 0


def test_foreground_gives_the_size_and_its_changes(runtime: Runtime, bundle: Bundle) -> None:
    script = "trap 'stty size' WINCH; stty size; echo ready; while :; do sleep 0.02; done"
    session = foreground(runtime, bundle, script, size=(30, 90))
    assert b"30 90" in read_until(session.master, lambda text: b"ready" in text)
    session.set_size(50, 132)
    assert b"50 132" in read_until(session.master, lambda text: b"50 132" in text)
    os.kill(session.pid, signal.SIGTERM)
    id = runtime.ids[-1]
    assert runtime("kill", id, "KILL").code == 0
    assert session.finish() == 137
    assert session.after == session.before


def test_interrupt_key_goes_to_the_container(runtime: Runtime, bundle: Bundle) -> None:
    script = "trap 'echo interrupted; exit 3' INT; echo ready; while :; do sleep 0.02; done"
    session = foreground(runtime, bundle, script)
    read_until(session.master, lambda text: b"ready" in text)
    os.write(session.master, b"\x03")
    read_until(session.master, lambda text: b"interrupted" in text)
    assert session.finish() == 3


def test_a_lot_of_output_arrives_whole(runtime: Runtime, bundle: Bundle) -> None:
    session = foreground(runtime, bundle, "seq 1 20000; echo done")
    text = read_until(session.master, lambda text: b"done" in text[-20:])
    lines = text.replace(b"\r", b"").split(b"\n")
    assert [int(line) for line in lines[:20000]] == list(range(1, 20001))
    assert session.finish() == 0


def test_terminal_is_restored_when_the_start_fails(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["terminal"] = True
    bundle.args("no-such-program").write()
    session = Session(runtime.argv("run", "--bundle", bundle.path, runtime.new_id()), runtime.environment())
    text = read_until(session.master, lambda text: b"not found" in text)
    assert b"executable file not found in $PATH" in text
    assert session.finish() != 0
    assert session.after == session.before
    runtime.assert_nothing_left()


def test_foreground_falls_back_to_dev_tty(runtime: Runtime, bundle: Bundle) -> None:
    """Standard streams are files, but there is a controlling terminal: `run` finds it as /dev/tty."""
    bundle.process["terminal"] = True
    bundle.sh("tty; stty size").write()
    command = runtime.argv("run", "--bundle", bundle.path, runtime.new_id())
    out = runtime.work / "redirected"
    shell = ["sh", "-c", f'exec "$@" < /dev/null > {out} 2>&1', "sh", *command]
    session = Session(shell, runtime.environment(), size=(33, 77))
    if session.finish() != 0:
        pytest.fail(out.read_text())
    assert "/dev/pts/0" in out.read_text()


def test_foreground_without_any_terminal_is_refused(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["terminal"] = True
    result = runtime.run(bundle.args("true"), ok=False, prefix=["setsid", "--wait"])
    assert result.code != 0
    assert result.last_line
    runtime.assert_nothing_left()


def test_detached_with_a_console_socket(runtime: Runtime, bundle: Bundle, console: ConsoleSocket) -> None:
    bundle.process["terminal"] = True
    runtime.run(bundle.sh("tty"), "--detach", "--console-socket", str(console.path))
    master = console.receive()
    assert read_until(master, until_closed) == b"/dev/pts/0\r\n"
    os.close(master)


@pytest.mark.own("it needs a devpts mount")
def test_terminal_without_devpts_is_told(runtime: Runtime, bundle: Bundle, console: ConsoleSocket) -> None:
    bundle.process["terminal"] = True
    bundle.mounts.pop()
    result = runtime.refuse(bundle, "--console-socket", str(console.path))
    assert result.last_line
