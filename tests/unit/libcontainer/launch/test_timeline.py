"""The timeline: its output is in Chrome's trace-event form, on one clock."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from pyrunc.libcontainer.kernel import native
from pyrunc.libcontainer.launch.hooks import HookError
from pyrunc.libcontainer.launch.timeline import INIT_TRACK, RUNTIME_TRACK, Timeline, monotonic_offset
from pyrunc.libcontainer.plan.model import LaunchPlan, Step

CLONE = Step("clone", "clone", (0, "", ()), "/linux/namespaces")


def plan(*steps: Step) -> LaunchPlan:
    return LaunchPlan((CLONE,), steps, {})


def times(*pairs: tuple[int, int]) -> int:
    """A memfd with a plan of 8 bytes and the times behind it."""
    data = b"".join(number.to_bytes(8, "little") for pair in pairs for number in pair)
    return native.memfd("plan", bytes(8) + data)


def test_the_file_is_a_chrome_trace_in_microseconds(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    line = Timeline(str(path))
    line.add(CLONE, 5_000, 7_500)
    hostname = Step("namespaces", "hostname", ("x",), "/hostname")
    fd = times((3_000, 4_000))
    line.add_init(plan(hostname), fd, 8)
    os.close(fd)
    line.write()
    trace = json.loads(path.read_text())
    names = {event["tid"]: event["args"]["name"] for event in trace["traceEvents"] if event["ph"] == "M"}
    assert names == {RUNTIME_TRACK: "runtime", INIT_TRACK: "init"}
    events = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert [(event["name"], event["cat"], event["tid"], event["ts"], event["dur"]) for event in events] == [
        ("hostname", "namespaces", INIT_TRACK, 3.0, 1.0),
        ("clone", "clone", RUNTIME_TRACK, 5.0, 2.5),
    ]
    assert [event["args"]["pointer"] for event in events] == ["/hostname", "/linux/namespaces"]


def test_steps_that_did_not_run_or_end_are_left_out(tmp_path: Path) -> None:
    line = Timeline(str(tmp_path / "trace"))
    steps = [Step("ready", kind) for kind in ("set_nondumpable", "new_session", "ready")]
    fd = times((1_000, 2_000), (0, 0), (3_000, 0))
    line.add_init(plan(*steps), fd, 8)
    os.close(fd)
    assert [event["name"] for event in line.events] == ["set_nondumpable"]


def test_a_new_time_namespace_does_not_shift_the_times(tmp_path: Path) -> None:
    """From `enter_time` on, the init's CLOCK_MONOTONIC is the one of its namespace."""
    offset = 1_000_000_000 * 3600 + 5
    steps = (
        Step("namespaces", "time_offset", ("boottime", 9, 9)),
        Step("namespaces", "time_offset", ("monotonic", 3600, 5)),
        Step("namespaces", "enter_time"),
        Step("namespaces", "hostname", ("x",)),
    )
    assert monotonic_offset(plan(*steps)) == offset
    assert monotonic_offset(plan(steps[0])) == 0
    line = Timeline(str(tmp_path / "trace"))
    fd = times((10_000, 20_000), (30_000, 40_000), (50_000, 60_000 + offset), (70_000 + offset, 80_000 + offset))
    line.add_init(plan(*steps), fd, 8)
    os.close(fd)
    spans = [(event["ts"], event["dur"]) for event in line.events]
    assert spans == [(10.0, 10.0), (30.0, 10.0), (50.0, 10.0), (70.0, 10.0)]


def hook(name: str, index: int, kind: str = "container_hook") -> Step:
    """A step of a hook; its other fields do not matter here."""
    return Step("rootfs", kind, (name, index, "/bin/hook", (), (), 0), f"/hooks/{name}/{index}")


def test_hooks_of_the_init_and_how_they_ended(tmp_path: Path) -> None:
    line = Timeline(str(tmp_path / "trace"))
    made = plan(hook("createContainer", 0), hook("createContainer", 1), hook("createContainer", 2))
    line.fail(made, 1, 0, "exit status 3 after 0.004 s, stdout: , stderr: no")
    line.fail(made, 2, 2, "fork/exec /bin/hook")
    line.fail(made, 0xFFFFFFFF, 2, "the plan")
    fd = times((1_000, 2_000), (3_000, 5_000), (6_000, 7_000))
    line.add_init(made, fd, 8)
    os.close(fd)
    assert [event["args"] for event in line.events] == [
        {"pointer": f"/hooks/createContainer/{index}", "level": 0, "hook": "createContainer", "index": index,
         "path": "/bin/hook", "end": end}
        for index, end in enumerate(["exit status 0", "exit status 3", "not started: no such file or directory"])
    ]  # fmt: skip
    assert [event["dur"] for event in line.events] == [1.0, 2.0, 1.0]


def test_a_hook_of_the_runtime_s_and_how_it_ended(tmp_path: Path) -> None:
    def fail(text: str, end: str) -> None:
        raise HookError(text, "/hooks/prestart/0", end)

    line = Timeline(str(tmp_path / "trace"))
    done: list[int] = []
    line.run_step(hook("prestart", 0, "runtime_hook"), done.append, 5)
    with pytest.raises(HookError):
        line.run_step(hook("prestart", 1, "runtime_hook"), fail, "it failed", "exit status 4")
    assert done == [5]
    assert [event["args"]["end"] for event in line.events] == ["exit status 0", "exit status 4"]


def test_a_file_that_can_t_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Timeline(str(tmp_path / "none" / "trace")).write()


def fill(fd: int) -> None:
    """Write until no more is accepted."""
    while True:
        try:
            os.write(fd, bytes(4096))
        except BlockingIOError:
            return


def test_a_fifo_is_written_to_once(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    line = Timeline(str(path))
    line.add(CLONE, 5_000, 7_500)
    line.write()
    line.add(CLONE, 8_000, 9_500)
    line.write()
    trace = json.loads(os.read(reader, 1 << 16))
    os.close(reader)
    assert len([event for event in trace["traceEvents"] if event["ph"] == "X"]) == 1
    assert path.is_fifo()


def test_a_fifo_that_nobody_reads_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with pytest.raises(OSError, match="fifo") as caught:
        Timeline(str(path)).write()
    assert caught.value.errno == errno.ENXIO
    monkeypatch.setattr(native, "PATIENCE_MS", 30)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    filler = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    fill(filler)
    with pytest.raises(OSError, match="fifo") as caught:
        Timeline(str(path)).write()
    assert caught.value.errno == errno.EAGAIN
    os.close(filler)
    os.close(reader)


def test_a_link_and_a_device_stay(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("file")
    line = Timeline(str(tmp_path / "link"))
    for _ in range(2):
        line.write()
        assert (tmp_path / "link").is_symlink()
        assert "traceEvents" in json.loads((tmp_path / "file").read_text())
    Timeline("/dev/null").write()
    assert Path("/dev/null").is_char_device()
