"""The streams of tasks: FIFOs, terminals, logs, readers that stall or die."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from tests.shim import shims, wire
from tests.shim.client import RpcError
from tests.shim.shims import RUNNING, Place
from tests.support.host import SECONDS, wait_for

LARGE = 20 << 20


def test_streams_are_separate(place: Place) -> None:
    task = place.running("sh", "-c", "echo out; echo err >&2")
    task.call("Wait")
    task.call("Delete")
    assert task.out is not None
    assert task.err is not None
    assert (task.out.all(), task.err.all()) == (b"out\n", b"err\n")


def test_much_output(place: Place) -> None:
    """Every byte arrives, in order, before the task is deleted."""
    script = f"yes 'a line of some length' | head -c {LARGE}; echo end"
    task = place.running("sh", "-c", script)
    task.call("Wait")
    task.call("Delete")
    assert task.out is not None
    data = task.out.all()
    line = b"a line of some length\n"
    wanted = (line * (LARGE // len(line) + 1))[:LARGE] + b"end\n"
    assert hashlib.sha256(data).digest() == hashlib.sha256(wanted).digest()


def test_stdin(place: Place) -> None:
    """What is written arrives, and CloseIO ends it."""
    task = place.running("cat", stdin=True)
    fd = task.stdin()
    os.write(fd, b"some text\n")
    assert task.out is not None
    task.out.says(b"some text\n")
    os.close(fd)
    waited = task.begin("Wait")
    assert shims.settled(waited.done, 0.3), "a writer that goes does not end the stream: another one may come"
    task.call("CloseIO", stdin=True)
    assert waited()["exit_status"] == 0


def test_much_input(place: Place) -> None:
    task = place.running("wc", "-c", stdin=True)
    fd = task.stdin()
    data = bytes(1 << 16)
    for _ in range(64):
        os.write(fd, data)
    os.close(fd)
    waited = task.begin("Wait")
    task.call("CloseIO", stdin=True)
    waited()
    task.call("Delete")
    assert task.out is not None
    assert task.out.all().strip() == str(64 << 16).encode()


def test_no_streams(place: Place) -> None:
    """Without FIFOs the streams are the null device, and stdin has an end."""
    task = place.task("sh", "-c", "cat; echo out; echo err >&2; exit 7", streams={})
    waited = task.begin("Wait")
    task.call("Start")
    assert waited()["exit_status"] == 7
    task.call("Delete")


@pytest.mark.ours("it opens both FIFOs or none")
def test_stdout_alone(place: Place) -> None:
    out = shims.Output(place.work / "out")
    task = place.task("sh", "-c", "echo out; echo err >&2", streams={"stdout": str(out.path)})
    task.call("Start")
    task.call("Wait")
    task.call("Delete")
    assert out.all() == b"out\n"


def test_terminal(place: Place) -> None:
    """A terminal: one stream, its size, signals by control characters."""
    script = (
        "echo ready; trap 'echo interrupted' INT; read line; echo got $line; stty size; while :; do read more; done"
    )
    task = place.running("sh", "-c", script, terminal=True, stdin=True)
    assert task.out is not None
    assert task.state()["terminal"] is True
    task.out.says(b"ready\r\n")
    task.call("ResizePty", width=132, height=43)
    fd = task.stdin()
    os.write(fd, b"word\n")
    task.out.says(b"got word\r\n")
    task.out.says(b"43 132\r\n")
    os.write(fd, b"\x03")
    task.out.says(b"interrupted")
    os.close(fd)
    task.end()
    assert task.out.all().startswith(b"ready\r\n")


def test_terminal_of_an_exec(place: Place) -> None:
    task = place.running()
    task.exec("tty", "sh", "-c", "tty; stty size; read x; stty size", terminal=True, stdin=True)
    assert task.out is not None
    task.out.says(b"/dev/pts/0")
    task.call("ResizePty", exec_id="tty", width=100, height=30)
    fd = task.stdin("tty")
    os.write(fd, b"\n")
    os.close(fd)
    task.call("Wait", exec_id="tty")
    task.call("Delete", exec_id="tty")
    assert b"30 100\r\n" in task.out.all()


def test_much_output_of_a_terminal(place: Place) -> None:
    task = place.running("sh", "-c", "yes 0123456789 | head -n 200000; echo end", terminal=True)
    task.call("Wait")
    task.call("Delete")
    assert task.out is not None
    assert task.out.all() == b"0123456789\r\n" * 200000 + b"end\r\n"


def test_resize_without_a_terminal(place: Place) -> None:
    """containerd asks for it in any case, so it is no error."""
    place.running().call("ResizePty", width=80, height=24)


def test_stdin_of_an_exec(place: Place) -> None:
    task = place.running()
    task.exec("cat", "cat", stdin=True)
    fd = task.stdin("cat")
    os.write(fd, b"to the exec\n")
    os.close(fd)
    task.call("CloseIO", exec_id="cat", stdin=True)
    assert task.call("Wait", exec_id="cat")["exit_status"] == 0
    task.call("Delete", exec_id="cat")
    assert task.out is not None
    assert task.out.all() == b"to the exec\n"


def test_reader_that_stalls(place: Place) -> None:
    """It blocks its own container only, and what was written is not lost."""
    fd, err = place.fifo("slow"), place.fifo("err")
    task = place.task("sh", "-c", "head -c 3000000 /dev/zero; echo end", streams=paths(place, "slow", "err"))
    task.call("Start")
    waited = task.begin("Wait")
    for number in range(20):
        assert task.state()["status"] == RUNNING
        task.exec(f"other{number}", "true")
        task.call("Wait", exec_id=f"other{number}")
    assert not waited.done()
    data = b""
    end = time.monotonic() + SECONDS
    while len(data) < 3000004 and time.monotonic() < end:
        try:
            data += os.read(fd, 1 << 16)
        except BlockingIOError:
            time.sleep(0.001)
    assert data == bytes(3000000) + b"end\n"
    assert waited()["exit_status"] == 0
    os.close(fd)
    os.close(err)


def test_delete_with_a_reader_that_stalls(place: Place) -> None:
    """Output that nobody reads keeps neither the exit nor, for ever, the delete waiting."""
    fd, err = place.fifo("slow"), place.fifo("err")
    task = place.task("sh", "-c", "head -c 100000 /dev/zero", streams=paths(place, "slow", "err"))
    other = place.running()
    task.call("Start")
    assert task.begin("Wait")()["exit_status"] == 0
    deleted = task.begin("Delete")
    assert other.state()["status"] == RUNNING
    assert deleted()["exit_status"] == 0
    os.close(fd)
    os.close(err)


def test_reader_that_dies(place: Place) -> None:
    """The container goes on, and a reader that comes later gets the output again."""
    first, err = place.fifo("out"), place.fifo("err")
    task = place.task("sh", "-c", "while :; do echo line; sleep 0.01; done", streams=paths(place, "out", "err"))
    task.call("Start")
    wait_for("a line", lambda: readable(first))
    os.close(first)
    time.sleep(0.3)
    assert task.state()["status"] == RUNNING
    second = os.open(place.work / "out", os.O_RDONLY | os.O_NONBLOCK)
    wait_for("a line again", lambda: readable(second))
    os.close(second)
    os.close(err)


@pytest.mark.ours("what a FIFO holds is lost when the shim closes it at the end of the output")
def test_last_words_while_containerd_is_away(place: Place) -> None:
    """A task that writes and ends then: the next containerd gets its output, and then its exit."""
    fd, err = place.fifo("out"), place.fifo("err")
    script = "while [ ! -e /tmp/go ]; do sleep 0.01; done; echo last words; echo bad >&2; exit 7"
    task = place.task("sh", "-c", f"mkdir -p /tmp; {script}", streams=paths(place, "out", "err"))
    task.call("Start")
    place.events.wait("/tasks/start", container_id=task.id)
    os.close(fd)
    os.close(err)
    place.events.away()
    waited = task.begin("Wait")
    Path(f"/proc/{task.pid}/root/tmp/go").touch()
    assert waited()["exit_status"] == 7
    for name, said in (("out", b"last words\n"), ("err", b"bad\n")):
        reader = os.open(place.work / name, os.O_RDONLY | os.O_NONBLOCK)
        assert os.read(reader, 100) == said
        os.close(reader)
    place.events.back()
    place.events.wait("/tasks/exit", container_id=task.id, exit_status=7)
    task.call("Delete")


def paths(place: Place, stdout: str, stderr: str) -> dict[str, str]:
    """FIFOs of the place as the fields of Create and Exec."""
    return {"stdout": str(place.work / stdout), "stderr": str(place.work / stderr)}


def readable(fd: int) -> bytes:
    """The bytes that can be read, or none."""
    try:
        return os.read(fd, 4096)
    except BlockingIOError:
        return b""


@pytest.mark.ours("it leaves the container's process")
def test_fifos_that_are_missing(place: Place) -> None:
    """An error that names the path; nothing is left."""
    place.bundle("box")
    task = shims.Task(place, "box", place.connect(place.start("box")))
    with pytest.raises(RpcError, match="/no/such/dir/out"):
        task.create(streams={"stdout": "/no/such/dir/out"})
    assert not shims.processes("box")
    assert task.call("Connect")["shim_pid"] > 0


def test_log_file(place: Place) -> None:
    log = place.work / "logs/box.log"
    task = place.task(
        "sh", "-c", "echo out; echo err >&2", streams={"stdout": f"file://{log}", "stderr": f"file://{log}"}
    )
    waited = task.begin("Wait")
    task.call("Start")
    waited()
    task.call("Delete")
    assert sorted(log.read_text().splitlines()) == ["err", "out"]


LOGGER = """#!/bin/sh
# fd 3: stdout, fd 4: stderr, fd 5: closed when ready; arguments: by the URI's query.
trap '' TERM # which a shim may send when the streams have ended
exec 5>&-
{
    echo "id $CONTAINER_ID namespace $CONTAINER_NAMESPACE arguments $*"
    sed 's/^/out /' <&3
    sed 's/^/err /' <&4
} > %s
"""


def test_log_program(place: Place) -> None:
    """binary://: the program gets the streams as 3 and 4, and tells by closing 5 that it is ready."""
    program = place.work / "logger"
    log = place.work / "logged"
    program.write_text(LOGGER % log)
    program.chmod(0o755)
    task = place.task(
        "sh",
        "-c",
        "echo one; echo two; echo three >&2",
        streams=dict.fromkeys(("stdout", "stderr"), f"binary://{program}?key=value"),
    )
    waited = task.begin("Wait")
    task.call("Start")
    waited()
    task.call("Delete")
    wait_for("the logger's end", lambda: "err three" in log.read_text())
    first, *rest = log.read_text().splitlines()
    assert first == f"id {task.id} namespace {shims.NAMESPACE} arguments key value"
    assert rest == ["out one", "out two", "err three"]


def test_log_program_that_is_missing(place: Place) -> None:
    place.bundle("box")
    task = shims.Task(place, "box", place.connect(place.start("box")))
    uri = "binary:///no/such/logger"
    with pytest.raises(RpcError, match="logger"):
        task.create(streams={"stdout": uri, "stderr": uri})
    assert not shims.processes("box")


def test_log_program_that_ends(place: Place) -> None:
    """It keeps neither Create nor the container waiting."""
    program = place.work / "logger"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    task = place.running()
    place.bundle("box", "sh", "-c", "yes | head -c 1000000; exit 0")
    box = shims.Task(place, "box", place.connect(place.start("box")))
    uri = f"binary://{program}"
    box.create(streams={"stdout": uri, "stderr": uri})
    waited = box.begin("Wait")
    box.call("Start")
    waited()
    box.call("Delete")
    assert task.state()["status"] == RUNNING


def test_unknown_kind_of_log(place: Place) -> None:
    place.bundle("box")
    task = shims.Task(place, "box", place.connect(place.start("box")))
    with pytest.raises(RpcError, match="gopher"):
        task.create(streams={"stdout": "gopher://there", "stderr": "gopher://there"})


def test_many_tasks_with_much_output(place: Place) -> None:
    """Ten containers of one pod write at once; every one's output is whole."""
    annotations = {"io.kubernetes.cri.sandbox-id": "pod"}
    tasks = []
    for number in range(10):
        id = f"box{number}"
        script = f"yes {number}{number}{number} | head -c 2000000"
        place.bundle(id, "sh", "-c", script, annotations=annotations)
        task = shims.Task(place, id, place.connect(place.start(id)))
        task.create()
        tasks.append(task)
    for task in tasks:
        task.call("Start")
    for number, task in enumerate(tasks):
        task.call("Wait")
        task.call("Delete")
        assert task.out is not None
        line = str(number).encode() * 3 + b"\n"
        assert task.out.all() == (line * (2000000 // 4 + 1))[:2000000]


def test_the_last_byte_comes_before_the_exit(place: Place) -> None:
    """When the exit is known, everything that was written can be read without waiting."""
    task = place.running()
    for number in range(20):
        fd, err = place.fifo(f"out{number}"), place.fifo(f"err{number}")
        process = {"args": ["sh", "-c", "head -c 30000 /dev/zero; echo end"], "cwd": "/", "env": ["PATH=/bin"]}
        spec = wire.any_of("Process", json.dumps(process | {"user": {"uid": 0, "gid": 0}}).encode())
        task.call("Exec", exec_id=f"e{number}", spec=spec, **paths(place, f"out{number}", f"err{number}"))
        task.call("Start", exec_id=f"e{number}")
        task.call("Wait", exec_id=f"e{number}")
        task.call("Delete", exec_id=f"e{number}")
        assert readable_all(fd) == 30004
        os.close(fd)
        os.close(err)


def readable_all(fd: int) -> int:
    """How many bytes a FIFO holds."""
    count = 0
    while data := readable(fd):
        count += len(data)
    return count


@pytest.mark.ours("it closes them some time later")
def test_descriptors_stay_the_same(place: Place) -> None:
    """Each process's descriptors are closed when it is deleted."""
    task = place.running(terminal=True, stdin=True)
    shim = task.call("Connect")["shim_pid"]

    def round(number: int) -> None:
        for terminal in (False, True):
            id = f"e{number}{terminal}"
            task.exec(id, "true", terminal=terminal, stdin=True)
            task.call("Wait", exec_id=id)
            task.call("Delete", exec_id=id)

    place.events.wait("/tasks/start", container_id=task.id)  # so the shim has its connection
    round(0)
    before = len(os.listdir(f"/proc/{shim}/fd"))
    for number in range(1, 10):
        round(number)
    wait_for("as many descriptors", lambda: len(os.listdir(f"/proc/{shim}/fd")) <= before)
    assert Path(f"/proc/{shim}").exists()


def test_reader_that_comes_after_the_end(place: Place) -> None:
    """ctr opens a FIFO in a thread of its own, which may be late, and waits for its end before it asks for Delete."""
    task = place.running()
    fd, err = place.fifo("out"), place.fifo("err")
    os.close(fd)
    process = {"args": ["echo", "said"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}}
    spec = wire.any_of("Process", json.dumps(process).encode())
    task.call("Exec", exec_id="late", spec=spec, **paths(place, "out", "err"))
    if not shims.is_ours():
        pytest.skip("the Go shim waits for the reader before the start")
    task.call("Start", exec_id="late")
    task.call("Wait", exec_id="late")
    time.sleep(0.2)
    with (place.work / "out").open("rb") as late:
        assert late.read() == b"said\n"
    os.close(err)
