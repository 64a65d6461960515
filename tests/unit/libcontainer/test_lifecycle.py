"""The life-cycle on state directories whose containers are ordinary processes; tests/integration has real
containers.
"""

from __future__ import annotations

import errno
import json
import os
import posix
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyrunc import log
from pyrunc.errors import PyruncError
from pyrunc.libcontainer import deletion, lifecycle, state, statedir
from pyrunc.libcontainer.kernel import hostmounts, native
from pyrunc.libcontainer.launch import ledger
from pyrunc.libcontainer.plan import wire
from pyrunc.libcontainer.plan.host import HostFacts
from pyrunc.libcontainer.plan.options import LaunchOptions
from tests.support.boxes import Box
from tests.support.launches import message
from tests.support.plans import minimal
from tests.support.records import opened, record


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path)
    yield made
    made.end()


def status(box: Box) -> str:
    return str(lifecycle.state(box.root, "box")["status"])


def missing(call: Any, *args: Any) -> None:
    with pytest.raises(PyruncError, match=r"^container does not exist$"):
        call(*args)


def test_what_does_not_exist(tmp_path: Path) -> None:
    root = str(tmp_path)
    missing(lifecycle.state, root, "box")
    missing(lifecycle.start, root, "box")
    missing(lifecycle.kill, root, "box", 15, False)
    missing(lifecycle.kill, root, "box", 15, True)
    missing(deletion.delete, root, "box", False)
    deletion.delete(root, "box", True)
    assert lifecycle.list_states(root) == []
    assert lifecycle.list_states(root + "/none") == []


def test_ids_do_not_lead_out_of_the_root(box: Box) -> None:
    inside = str(box.path / "inside")
    for call in (
        lambda: lifecycle.state(inside, "../../box"),
        lambda: lifecycle.start(inside, ".."),
        lambda: lifecycle.kill(inside, "../box", 9, False),
        lambda: deletion.delete(inside, "../../box", True),
        lambda: lifecycle.create(LaunchOptions(id="../box", root=inside)),
    ):
        with pytest.raises(PyruncError, match="invalid container ID format"):
            call()
    assert status(box) == "running"


def test_state_follows_the_process(box: Box) -> None:
    assert lifecycle.state(box.root, "box") == box.record.describe("running")
    box.end()
    assert lifecycle.state(box.root, "box") == box.record.describe("stopped")


class TestCreating:
    """A state directory without state.json."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "box"
        path.mkdir()
        book = ledger.Ledger(opened(path))
        book.record("state_dir", **record().values())
        book.close()
        return path

    def test_is_told_while_its_creator_is_at_work(self, tmp_path: Path, path: Path) -> None:
        creator = opened(path)
        creator.lock(0)
        assert lifecycle.state(str(tmp_path), "box")["status"] == "creating"
        assert [item["status"] for item in lifecycle.list_states(str(tmp_path))] == ["creating"]
        missing(lifecycle.kill, str(tmp_path), "box", 15, False)
        creator.close()

    @pytest.mark.parametrize("call", ["state", "list", "kill", "start"])
    def test_a1_is_left_alone_by_what_only_looks(
        self, tmp_path: Path, path: Path, call: str, warnings: list[str]
    ) -> None:
        """A1: only gc, delete and a create of that id act on a ledger."""
        root = str(tmp_path)
        if call == "list":
            assert lifecycle.list_states(root) == []
            assert warnings == ["container box was left behind by a command that was killed: gc or delete removes it"]
        else:
            missing(getattr(lifecycle, call), root, "box", *{"kill": (15, False)}.get(call, ()))
        assert os.listdir(path) == ["ledger"]

    @pytest.mark.parametrize("force", [False, True])
    def test_is_swept_by_delete(self, tmp_path: Path, path: Path, force: bool) -> None:
        if force:
            deletion.delete(str(tmp_path), "box", True)
        else:
            missing(deletion.delete, str(tmp_path), "box", False)
        assert not path.exists()


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    told: list[str] = []
    monkeypatch.setattr(log, "warning", told.append)
    return told


def test_a6_list_leaves_out_what_is_damaged_and_no_container(box: Box, warnings: list[str]) -> None:
    """A6, A2: a damaged container gets one line of warning; an entry that is not ours gets none."""
    root = Path(box.root)
    for name, text in (("damaged", "{"), ("list", "[]"), ("number", "5"), ("null", "null"), ("empty", "")):
        (root / name).mkdir()
        (root / name / "state.json").write_text(text)
    (root / "fifo").mkdir()
    os.mkfifo(root / "fifo" / "state.json")
    (root / "file").touch()
    (root / "link").symlink_to(box.path)
    (root / "bad name").mkdir()
    (root / "void").mkdir()
    (root / "others").mkdir()
    (root / "others" / "precious").touch()
    (root / "books").mkdir()
    (root / "books" / "ledger").touch()
    before = sorted(map(str, root.rglob("*")))
    states = lifecycle.list_states(box.root)
    assert [(item["id"], item["owner"]) for item in states] == [("box", statedir.owner_name(os.getuid()))]
    assert sorted(line.split()[2] for line in warnings) == ["damaged:", "empty:", "fifo:", "list:", "null:", "number:"]
    assert all("damaged" in line for line in warnings)
    assert sorted(map(str, root.rglob("*"))) == before


def test_a7_list_goes_on_where_one_container_can_t_be_looked_at(
    box: Box, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A7: for any error of the kernel about one container, the others are listed."""

    def status(path: str, made: state.Record, shared: state.Shared) -> str:
        raise OSError(errno.EIO, "input/output error", path)

    monkeypatch.setattr(state, "status", status)
    assert lifecycle.list_states(box.root) == []
    assert "load container box" in warnings[0]


@pytest.mark.parametrize("situation", ["running", "created", "paused", "paused before its start", "stopped"])
def test_list_and_state_say_the_same(tmp_path: Path, situation: str) -> None:
    waits = situation in ("created", "paused before its start")
    box = Box(tmp_path, state.INIT_NAME if waits else "sleep")
    box.record.cgroup = str(box.path)
    (box.path / "cgroup.events").write_text(f"populated 1\nfrozen {int('paused' in situation)}\n")
    box.save()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as waiting:
        if waits:
            waiting.bind(str(box.path / "start.sock"))
            waiting.listen()
        if situation == "stopped":
            box.end()
        found = lifecycle.state(box.root, "box")
        [listed] = lifecycle.list_states(box.root)
    box.end()
    assert found["status"] == situation.partition(" ")[0]
    assert listed == {**found, "owner": statedir.owner_name(os.geteuid())}


class TestForeign:
    """A1: the state directory of another user."""

    @pytest.fixture(autouse=True)
    def other(self, box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
        real = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: real)
        monkeypatch.setattr("posix.geteuid", lambda: 4_000_000_000)
        monkeypatch.setattr(state, "load_own", lambda root, id, shared: None)  # C asks the kernel who we are

    def test_a1_is_listed_with_its_owner_and_told(self, box: Box) -> None:
        assert [item["owner"] for item in lifecycle.list_states(box.root)] == [statedir.owner_name(os.getuid())]
        assert lifecycle.state(box.root, "box")["status"] == "running"

    @pytest.mark.parametrize("call", ["start", "kill", "delete", "force"])
    def test_a1_is_not_acted_upon(self, box: Box, call: str) -> None:
        acts = {
            "start": lambda: lifecycle.start(box.root, "box"),
            "kill": lambda: lifecycle.kill(box.root, "box", 9, False),
            "delete": lambda: deletion.delete(box.root, "box", False),
            "force": lambda: deletion.delete(box.root, "box", True),
        }
        with pytest.raises(PyruncError, match="is not trusted: it belongs to"):
            acts[call]()
        assert box.process.poll() is None
        assert box.path.exists()

    def test_a1_its_cgroup_is_looked_at_only_where_cgroups_are(self, box: Box) -> None:
        (box.path / "cgroup.events").write_text("frozen 1\n")
        for cgroup in (str(box.path), f"/sys/fs/cgroup/../../..{box.path}"):
            box.record.cgroup = cgroup
            box.save()
            assert lifecycle.state(box.root, "box")["status"] == "running"


class TestKill:
    def test_sends_the_signal(self, box: Box) -> None:
        lifecycle.kill(box.root, "box", 0, False)
        lifecycle.kill(box.root, "box", signal.SIGUSR1, False)
        assert box.process.wait() == -signal.SIGUSR1

    def test_of_what_has_stopped(self, box: Box) -> None:
        box.end()
        with pytest.raises(PyruncError, match=r"^container not running$"):
            lifecycle.kill(box.root, "box", 9, False)
        lifecycle.kill(box.root, "box", 9, True)

    def test_spares_a_process_that_got_the_pid_later(self, box: Box) -> None:
        box.record.startTime -= 1
        box.save()
        with pytest.raises(PyruncError, match="container not running"):
            lifecycle.kill(box.root, "box", 9, False)
        assert box.process.poll() is None

    def test_with_a_number_that_is_no_signal(self, box: Box) -> None:
        with pytest.raises(PyruncError, match="unable to signal init: invalid argument"):
            lifecycle.kill(box.root, "box", 4711, False)

    @pytest.mark.parametrize(("private_pids", "number", "all", "by_cgroup"), [
        (True, 9, False, False), (True, 9, True, True), (False, 9, False, True), (False, 15, False, False),
    ])  # fmt: skip
    def test_sigkill_goes_to_the_cgroup_where_no_pid_namespace_ends(
        self, box: Box, monkeypatch: pytest.MonkeyPatch, private_pids: bool, number: int, all: bool, by_cgroup: bool
    ) -> None:
        from pyrunc.libcontainer.cgroup import files

        killed: list[str] = []
        monkeypatch.setattr(files, "kill", killed.append)
        box.record.cgroup, box.record.private_pid_namespace = str(box.path), private_pids
        box.save()
        lifecycle.kill(box.root, "box", number, all)
        assert bool(killed) == by_cgroup
        if not by_cgroup:
            assert box.process.wait() == -number

    def test_all_signals_every_process_of_the_cgroup(self, box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
        from pyrunc.libcontainer.cgroup import files

        other = subprocess.Popen(["sleep", "60"])
        left = subprocess.Popen(["sleep", "60"])
        try:
            # The second search no longer finds `left`: by now another process may have its pid.
            looks = iter([[box.process.pid, other.pid, left.pid, 2**22 + 1], [box.process.pid, other.pid]])
            monkeypatch.setattr(files, "procs", lambda path: next(looks))
            box.record.cgroup = str(box.path)
            box.save()
            lifecycle.kill(box.root, "box", 15, True)
            assert (box.process.wait(), other.wait()) == (-15, -15)
            assert left.poll() is None
        finally:
            for process in (other, left):
                process.kill()
                process.wait()


class TestStart:
    @pytest.fixture
    def created(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
        made = Box(tmp_path, "pyrunc:[init]")
        monkeypatch.setattr(native, "peer", lambda fd: made.record.pid)  # the tests listen in the init's place
        made.record.startSteps = [[7, "execute", [["/run.sh"], []], "/process/args"]]
        made.save()
        yield made
        made.end()

    def listen(self, box: Box, reply: bytes, dies: bool = False) -> tuple[threading.Thread, list[bytes]]:
        """An init's listener that accepts one start and answers it. dies: the init ends, and is not reaped."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(str(box.path / "start.sock"))
        listener.listen()
        got: list[bytes] = []

        def run() -> None:
            connection, _ = listener.accept()
            got.append(connection.recv(10))
            if reply:
                connection.send(reply)
                box.process.kill()
            if dies:
                box.process.kill()
                os.waitid(os.P_PID, box.process.pid, os.WEXITED | os.WNOWAIT)
            connection.close()
            listener.close()

        thread = threading.Thread(target=run)
        thread.start()
        return thread, got

    def test_says_so_and_removes_the_socket(self, created: Box) -> None:
        thread, got = self.listen(created, b"")
        assert status(created) == "created"
        lifecycle.start(created.root, "box")
        thread.join()
        assert got == [b"S"]
        assert status(created) == "running"
        assert not (created.path / "start.sock").exists()
        with pytest.raises(PyruncError, match=r"^cannot start an already running container$"):
            lifecycle.start(created.root, "box")

    def test_names_the_step_that_failed(self, created: Box) -> None:
        thread, _ = self.listen(created, message(wire.ERROR, "exec /run.sh", 7, 2))
        with pytest.raises(PyruncError, match=r"exec /run\.sh: no such file or directory \(step execute, at /process/"):
            lifecycle.start(created.root, "box")
        thread.join()
        assert status(created) == "stopped"
        with pytest.raises(PyruncError, match=r"^cannot start a container that has stopped$"):
            lifecycle.start(created.root, "box")

    def test_tells_of_the_oom_killer_in_a_step_s_failure(self, created: Box) -> None:
        (created.path / "memory.events").write_text("oom 1\noom_kill 1\n")
        created.record.cgroup = str(created.path)
        created.save()
        thread, _ = self.listen(created, message(wire.ERROR, "exec /run.sh", 7, errno.ENOMEM))
        with pytest.raises(PyruncError, match=r"container init was OOM-killed \(memory limit too low\?\): exec /run"):
            lifecycle.start(created.root, "box")
        thread.join()

    @pytest.mark.parametrize("oom", [False, True])
    def test_tells_of_an_init_that_is_killed_before_its_program(self, created: Box, oom: bool) -> None:
        """The socket is closed without a message, as by an execve; the process still has the init's name."""
        (created.path / "memory.events").write_text(f"oom_kill {int(oom)}\n")
        created.record.cgroup = str(created.path)
        created.save()
        thread, _ = self.listen(created, b"", dies=True)
        with pytest.raises(PyruncError, match="OOM-killed" if oom else "the init was killed before it executed the"):
            lifecycle.start(created.root, "box")
        thread.join()

    @pytest.mark.parametrize("error", [errno.ENOENT, errno.EACCES])
    @pytest.mark.parametrize("dies", [False, True])
    def test_waits_for_the_end_of_an_init_without_a_program(
        self, created: Box, monkeypatch: pytest.MonkeyPatch, error: int, dies: bool
    ) -> None:
        """A process that ends has no program while its descriptors are closed, and may take its time after it. Of a
        program that can't be seen 50 ms decide."""

        def readlink(path: str) -> str:
            if dies:
                timer.start()
            raise OSError(error, "")

        timer = threading.Timer(0.2 if error == errno.ENOENT else 0, created.process.kill)
        monkeypatch.setattr(lifecycle, "EXEC_POLL_ATTEMPTS", 5000 if dies else 50)
        monkeypatch.setattr(lifecycle, "KILL_TIMEOUT_MS", 5000 if dies else 50)
        monkeypatch.setattr(posix, "readlink", readlink)
        thread, _ = self.listen(created, b"")
        if dies or error == errno.ENOENT:
            with pytest.raises(PyruncError, match="the init was killed before it executed the"):
                lifecycle.start(created.root, "box")
        else:
            lifecycle.start(created.root, "box")
        thread.join()

    def test_of_an_init_that_dies_just_then(self, created: Box, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(str(created.path / "start.sock"))
        monkeypatch.setattr(state, "status", lambda path, record: "created")
        with pytest.raises(PyruncError, match=r"^cannot start a container that has stopped$"):
            lifecycle.start(created.root, "box")

    def test_a_timeline_has_the_start_and_its_hooks(self, created: Box, tmp_path: Path) -> None:
        created.record.hooks = {"poststart": [{"path": "/bin/true"}, {"path": "/bin/false"}]}
        created.record.hooks |= {"poststop": [{"path": "/bin/true"}]}
        created.save()
        thread, _ = self.listen(created, b"")
        with pytest.raises(PyruncError, match="error running poststart hook #1"):
            lifecycle.start(created.root, "box", timeline=str(tmp_path / "trace"))
        thread.join()
        created.process.wait()
        events = json.loads((tmp_path / "trace").read_text())["traceEvents"]
        told = [(event["name"], event["cat"], event["args"].get("end")) for event in events if event["ph"] == "X"]
        assert told == [
            ("start", "start", None), ("runtime_hook", "start", "exit status 0"),
            ("runtime_hook", "start", "exit status 1"), ("runtime_hook", "stop", "exit status 0"),
        ]  # fmt: skip

    def test_a_timeline_that_cannot_be_written_is_a_warning(
        self, created: Box, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        thread, _ = self.listen(created, b"")
        lifecycle.start(created.root, "box", timeline=str(tmp_path / "none" / "trace"))
        thread.join()
        assert status(created) == "running"
        assert "writing the timeline: " in capfd.readouterr().err

    def test_a_poststart_hook_that_fails_ends_the_container(self, created: Box) -> None:
        created.record.hooks = {"poststart": [{"path": "/bin/false"}]}
        created.save()
        thread, _ = self.listen(created, b"")
        with pytest.raises(PyruncError, match="error running poststart hook #0"):
            lifecycle.start(created.root, "box")
        thread.join()
        assert created.process.wait() == -9
        assert not created.path.exists()

    def test_a_hook_s_failure_is_told_where_not_all_can_be_deleted(
        self, created: Box, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        def stuck(place: statedir.StateDir) -> None:
            raise PyruncError("stuck")

        created.record.hooks = {"poststart": [{"path": "/bin/false"}]}
        created.save()
        monkeypatch.setattr(statedir.StateDir, "remove", stuck)
        thread, _ = self.listen(created, b"")
        with pytest.raises(PyruncError, match="error running poststart hook #0"):
            lifecycle.start(created.root, "box")
        thread.join()
        assert "deleting box after its failed start: stuck" in capfd.readouterr().err

    def test_of_a_paused_container(self, created: Box) -> None:
        created.record.cgroup = str(created.path)
        created.save()
        (created.path / "cgroup.events").write_text("frozen 1\n")
        with pytest.raises(PyruncError, match="cannot start a container in the paused state"):
            lifecycle.start(created.root, "box")


@pytest.mark.parametrize(
    ("fds", "pid", "count"), [("2", "own", 2), ("2", "1", 0), ("2", None, 0), ("x", "own", 0), (None, "own", 0)]
)
def test_listen_fds_are_those_meant_for_this_process(
    monkeypatch: pytest.MonkeyPatch, fds: str | None, pid: str | None, count: int
) -> None:
    environment = {}
    if fds is not None:
        environment[b"LISTEN_FDS"] = fds.encode()
    if pid is not None:
        environment[b"LISTEN_PID"] = str(os.getpid()).encode() if pid == "own" else pid.encode()
    monkeypatch.setattr(posix, "environ", environment)
    assert lifecycle.listen_fds() == count


@pytest.mark.parametrize(("limit", "refused"), [(1001, True), (1002, False), (0, False)])
def test_more_mounts_than_the_kernel_takes_are_refused(
    monkeypatch: pytest.MonkeyPatch, limit: int, refused: bool
) -> None:
    monkeypatch.setattr(hostmounts, "most", lambda: limit)
    spec = minimal(mounts=[{"destination": "/m", "type": "tmpfs"}] * 1002)
    options = LaunchOptions(id="box", bundle="/bundle", command="run")
    if not refused:
        lifecycle.host_facts(spec, options, HostFacts())
        return
    with pytest.raises(
        PyruncError, match=r"1002 mounts are too many: .* at most 1001 \(at /mounts; /proc/sys/fs/mount-max"
    ):
        lifecycle.host_facts(spec, options, HostFacts())
