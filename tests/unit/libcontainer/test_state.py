"""The state directory: ids, the record, the lock, and the status as the kernel tells it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from pyrunc.libcontainer import state
from pyrunc.report import PyruncError
from tests.support.records import record, record_of, spec


@pytest.mark.parametrize("id", ["a", "A9_b+c-d.e", "...", "-", "x" * 255])
def test_legal_ids(id: str) -> None:
    assert state.directory("/run/pyrunc/", id) == "/run/pyrunc/" + id


@pytest.mark.parametrize("id", ["", ".", "..", "a/b", "../a", "a b", "a\n", "ä", "a:b", "x" * 256, "\u0663"])
def test_ids_that_are_none(id: str) -> None:
    with pytest.raises(PyruncError, match=r"container ID format|cannot be empty"):
        state.directory("/run/pyrunc", id)


def test_new_record_takes_from_the_spec_what_later_commands_need() -> None:
    hooks = {"poststart": [{"path": "/a"}], "poststop": [], "createRuntime": [{"path": "/b"}]}
    config = spec(
        hooks=hooks,
        annotations={"k": "v"},
        linux={"namespaces": [{"type": "mount"}, {"type": "pid", "path": "/proc/1/ns/pid"}]},
    )
    made = state.new_record(config, id="box", bundle="/bundle/", cgroup="/sys/fs/cgroup/box")
    assert made.hooks == {"poststart": [{"path": "/a"}]}
    assert made.rootfs == "/bundle/rootfs"
    assert made.annotations == {"k": "v"}
    assert made.ociVersion == "1.2.0"
    assert made.ownPids is False, "a joined pid namespace does not end with the container"
    config["linux"]["namespaces"][1] = {"type": "pid"}
    config["root"]["path"] = "/elsewhere"
    made = state.new_record(config, id="box", bundle="/bundle", cgroup="")
    assert (made.ownPids, made.rootfs) == (True, "/elsewhere")


def test_a_record_outlives_its_process(tmp_path: Path) -> None:
    made = record(17, 4711, "/sys/fs/cgroup/b\u00f6x")
    dirfd = state.open_directory(str(tmp_path))
    state.save(dirfd, made)
    state.save(dirfd, made)
    os.close(dirfd)
    assert os.listdir(tmp_path) == ["state.json"]
    assert (tmp_path / "state.json").stat().st_mode & 0o777 == 0o600
    loaded = state.load(str(tmp_path))
    assert loaded is not None
    assert loaded.values() == made.values()


def test_load_finds_none_and_tells_damage(tmp_path: Path) -> None:
    assert state.load(str(tmp_path / "none")) is None
    assert state.load(str(tmp_path)) is None
    for text in ("{", '{"id": "x"}'):
        (tmp_path / "state.json").write_text(text)
        with pytest.raises(PyruncError, match="damaged"):
            state.load(str(tmp_path))


def test_describe_has_runcs_fields_in_runcs_order() -> None:
    made = record(17)
    made.annotations = {"k": "v"}
    fields = ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "annotations", "owner"]
    assert list(made.describe("running", "root")) == fields
    assert made.describe("running")["pid"] == 17
    assert made.describe("stopped")["pid"] == 0
    made.annotations = {}
    assert "annotations" not in made.describe("running")


def test_hook_state_has_the_specifications_fields() -> None:
    made = record(17)
    made.annotations = {"k": "v"}
    assert '"status":"creating","pid":17,"bundle":"/bundle","annotations":{"k":"v"}' in made.hook_state("creating")
    assert '"pid"' not in made.hook_state("stopped")


def test_now_is_rfc_3339_in_utc_with_nanoseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    for nanoseconds, text in ((0, "Z"), (120, ".00000012Z"), (500_000_000, ".5Z")):
        monkeypatch.setattr(time, "time_ns", lambda extra=nanoseconds: 1_700_000_000 * 10**9 + extra)
        assert state.now() == "2023-11-14T22:13:20" + text


class TestStatus:
    @pytest.fixture
    def child(self) -> Any:
        child = subprocess.Popen(["sleep", "60"])
        yield child
        child.kill()
        child.wait()

    def test_running(self, child: Any, tmp_path: Path) -> None:
        assert state.status(str(tmp_path), record_of(child.pid)) == "running"

    def test_a_stale_socket_makes_no_created_container(self, child: Any, tmp_path: Path) -> None:
        (tmp_path / "start.sock").touch()
        assert state.status(str(tmp_path), record_of(child.pid)) == "running"

    def test_created_is_an_init_with_a_socket(self, tmp_path: Path) -> None:
        one, two = socket.socketpair()
        child = os.fork()
        if child == 0:
            one.close()
            Path("/proc/self/comm").write_text("pyrunc:[init]")
            two.send(b"x")
            two.recv(1)
            os._exit(0)
        two.close()
        one.recv(1)
        made = record_of(child)
        try:
            assert state.status(str(tmp_path), made) == "running"
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
                listener.bind(str(tmp_path / "start.sock"))
                listener.listen()
                listener.setblocking(False)
                assert state.status(str(tmp_path), made) == "created"
                with pytest.raises(BlockingIOError):  # nobody has connected to find that out
                    listener.accept()
            # F11: a program that has taken the init's name, and a socket that a killed `start` has left
            assert state.status(str(tmp_path), made) == "running"
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    def test_paused_is_a_frozen_cgroup(self, child: Any, tmp_path: Path) -> None:
        made = record_of(child.pid)
        made.cgroup = str(tmp_path)
        for events, status in (("populated 1\nfrozen 1\n", "paused"), ("populated 1\nfrozen 0\n", "running")):
            (tmp_path / "cgroup.events").write_text(events)
            assert state.status(str(tmp_path), made) == status

    def test_stopped_when_gone_a_zombie_or_another_process(self, child: Any, tmp_path: Path) -> None:
        made = record_of(child.pid)
        made.startTime -= 1
        assert state.status(str(tmp_path), made) == "stopped"
        made.startTime += 1
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert state.status(str(tmp_path), made) == "stopped"
        child.wait()
        assert state.status(str(tmp_path), made) == "stopped"


def test_lock_excludes_and_notices_a_replaced_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "box"
    path.mkdir()
    fd = state.lock(str(path))
    with pytest.raises(BlockingIOError):
        state.lock(str(path), wait=False)
    os.close(fd)

    def replace(fd: int, exclusive: bool, wait: bool) -> None:
        # What another command does while this one waits for the lock.
        path.rename(tmp_path / "old")
        path.mkdir()

    monkeypatch.setattr(state.native, "flock", replace)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        state.lock(str(path))
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(FileNotFoundError):
        state.lock(str(tmp_path / "none"))


def test_replace_leaves_the_old_file_and_no_draft_on_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pid"
    state.replace(str(path), "1", 0o644)
    with monkeypatch.context() as patched:
        patched.setattr(state.posix, "rename", lambda *a, **k: (_ for _ in ()).throw(OSError(28, "full")))
        with pytest.raises(OSError, match="full"):
            state.replace(str(path), "2", 0o644)
    assert path.read_text() == "1"
    assert os.listdir(tmp_path) == ["pid"]


def test_make_root_makes_what_is_missing(tmp_path: Path) -> None:
    root = tmp_path / "a" / "b" / "c"
    state.make_root(str(root))
    state.make_root(str(root))
    assert root.stat().st_mode & 0o777 == 0o700


def test_owner_name() -> None:
    assert state.owner_name(0) == "root"
    assert state.owner_name(3_999_999_999) == "#3999999999"


def test_remove_takes_everything_and_twice(tmp_path: Path) -> None:
    path = tmp_path / "box"
    path.mkdir()
    for name in ("ledger", "state.json", "start.sock"):
        (path / name).touch()
    state.remove(str(path))
    state.remove(str(path))
    assert not path.exists()
