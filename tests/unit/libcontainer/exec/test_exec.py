"""`exec` up to its plan: which containers it accepts, and which cgroup it uses."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrunc import log
from pyrunc.errors import PyruncError
from pyrunc.libcontainer import saved_config, state
from pyrunc.libcontainer.exec import exec as further
from pyrunc.libcontainer.launch import handlers
from pyrunc.libcontainer.launch.ledger import MemoryLedger
from pyrunc.libcontainer.plan.host import HostFacts
from pyrunc.libcontainer.plan.model import LaunchPlan, Step
from pyrunc.libcontainer.plan.options import ExecOptions, LaunchOptions
from tests.support.records import record, record_of, saved, spec


@pytest.fixture(autouse=True)
def nothing_held() -> Iterator[None]:
    yield
    log.release()


def container(tmp_path: Path, made: state.Record) -> Path:
    """The state directory of a container `box`."""
    path = tmp_path / "box"
    path.mkdir()
    saved(path, made)
    fd = os.open(path, os.O_RDONLY)
    saved_config.save(fd, spec(process={"args": ["sh"], "cwd": "/"}), LaunchOptions(id="box"))
    os.close(fd)
    return path


def refused(tmp_path: Path, **options: object) -> PyruncError:
    with pytest.raises(PyruncError) as raised:
        further.execute(ExecOptions(**{"id": "box", "root": str(tmp_path), "args": ("true",), **options}))  # type: ignore[arg-type]
    return raised.value


def test_no_container(tmp_path: Path) -> None:
    assert refused(tmp_path).message == "container does not exist"
    assert "invalid container ID format" in refused(tmp_path, id="../box").message


def test_a_process_that_has_ended_or_another_one_with_its_pid(tmp_path: Path) -> None:
    done = subprocess.Popen(["true"])
    done.wait()
    path = container(tmp_path, record(done.pid, 1))
    assert refused(tmp_path).line() == "cannot exec in a stopped container (container not running)"
    (path / "state.json").unlink()
    saved(path, record(os.getpid(), 1))
    assert refused(tmp_path).message == "cannot exec in a stopped container"


def test_a_paused_container(tmp_path: Path) -> None:
    made = record_of(os.getpid())
    made.cgroup = str(tmp_path)
    (tmp_path / "cgroup.events").write_text("populated 1\nfrozen 1\n")
    container(tmp_path, made)
    line = refused(tmp_path).line()
    assert line == "cannot exec in a paused container (use --ignore-paused to override)"
    assert refused(tmp_path, ignore_paused=True, args=()).message == "exec args cannot be empty"


def test_descriptors_that_are_not_there(tmp_path: Path) -> None:
    assert "unable to stat preserved-fd" in refused(tmp_path, preserve_fds=500).message


@pytest.mark.parametrize(
    ("asked", "path"),
    [(["/"], "/cg"), (["sub"], "/cg/sub"), (["/sub"], "/cg/sub"), (["a//./b/"], "/cg/a/b"), (["..a"], "/cg/..a")],
)
def test_sub_cgroups(asked: list[str], path: str) -> None:
    assert further._sub_cgroup("/cg", tuple(asked)) == path


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ([".."], "bad sub cgroup path: .."),
        (["a/../../b"], "bad sub cgroup path: a/../../b"),
        (["a/.."], "bad sub cgroup path: a/.."),
        (["cpu:a"], "invalid --cgroup argument: cpu:a"),
        (["a", "b"], "invalid --cgroup argument: b"),
    ],
)
def test_what_is_no_sub_cgroup(asked: list[str], message: str) -> None:
    with pytest.raises(PyruncError) as raised:
        further._sub_cgroup("/cg", tuple(asked))
    assert raised.value.message == message


def joining() -> further.Joining:
    options = ExecOptions(id="box", args=("true",))
    made = record_of(os.getpid())
    made.cgroup = "/cg"
    return further.Joining(LaunchPlan((), (), {}), made, options, HostFacts())


def test_the_process_of_exec_has_a_record_of_its_own() -> None:
    one = joining()
    assert (one.container.cgroup, one.record.cgroup) == ("/cg", "")
    one.record.pid = 7
    assert one.container.pid == os.getpid()
    assert f'"status":"running","pid":{os.getpid()}' in one.agent_state
    assert one.error_prefix == "unable to start container process: "


def test_its_effects_are_undone_and_not_written_down(tmp_path: Path) -> None:
    one = joining()
    assert isinstance(one.ledger, MemoryLedger)
    handlers.HANDLERS["write_pid_file"](one, str(tmp_path / "pid"))
    assert [path.name for path in tmp_path.iterdir()] == ["pid"]
    one.undo()
    assert list(tmp_path.iterdir()) == []


def test_open_process(monkeypatch: pytest.MonkeyPatch) -> None:
    one = joining()
    handlers.HANDLERS["open_process"](one, "container", os.getpid(), one.container.startTime)
    signal.pidfd_send_signal(one.slots["container"], 0)
    os.close(one.slots.pop("container"))
    with pytest.raises(PyruncError, match="cannot exec in a stopped container"):
        handlers.HANDLERS["open_process"](one, "container", os.getpid(), one.container.startTime + 1)
    assert one.slots == {}


def test_the_own_oom_score_adj_comes_back() -> None:
    own = int(Path("/proc/self/oom_score_adj").read_text())
    one = joining()
    handlers.HANDLERS["inherit_oom_score_adj"](one, own)
    assert one.own_oom_score_adj is None
    handlers.HANDLERS["inherit_oom_score_adj"](one, own + 5)
    assert int(Path("/proc/self/oom_score_adj").read_text()) == own + 5
    handlers._restore_oom_score_adj(one)
    assert int(Path("/proc/self/oom_score_adj").read_text()) == own


def test_the_initial_cpu_affinity_is_the_runtime_s_own() -> None:
    before = os.sched_getaffinity(0)
    try:
        handlers.HANDLERS["initial_cpu_affinity"](joining(), (str(min(before)),))
        assert os.sched_getaffinity(0) == {min(before)}
    finally:
        os.sched_setaffinity(0, before)


def test_an_init_s_failure_has_runc_s_words() -> None:
    from pyrunc.libcontainer.launch import errors as launch_errors

    step = Step("process", "chdir", ("/x",), "/process/cwd")
    assert launch_errors.init_step_failed(step, 2, "chdir", "", joining().error_prefix).line() == (
        "unable to start container process: chdir: no such file or directory (step chdir, at /process/cwd; "
        "process.cwd is to be a directory in the container)"
    )
