"""`delete`, also of damaged containers; tests/integration has real ones."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from pyrunc import jsonio, log
from pyrunc.errors import PyruncError
from pyrunc.libcontainer import deletion, holder, lifecycle, lookup, process
from pyrunc.libcontainer.launch import ledger
from tests.support.boxes import Box
from tests.support.records import opened, record


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path)
    yield made
    made.end()


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    told: list[str] = []
    monkeypatch.setattr(log, "warning", told.append)
    return told


def status(box: Box) -> str:
    return str(lifecycle.state(box.root, "box")["status"])


def damage(path: Path, how: str) -> None:
    """Replace a file by something else."""
    path.unlink(missing_ok=True)
    if how == "fifo":
        os.mkfifo(path)
    elif how == "directory":
        (path / "inner").mkdir(parents=True)
        (path / "inner" / "file").touch()
    elif how == "link":
        path.symlink_to("/etc/passwd")
    elif how == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    elif how == "huge":
        path.touch(0o600)
        os.truncate(path, 1 << 40)
    elif how == "hard":
        path.write_text("{}")
        os.link(path, path.with_name("other-" + path.name))
    elif how == "writable":
        path.write_text("{}")
        path.chmod(0o666)
    elif how != "missing":
        path.write_bytes(how.encode("utf-8", "surrogateescape"))
        path.chmod(0o600)


DAMAGE = [
    "", "[]", "5", "null", '"x"', "{", "{}", "\udcff\udcfe", "[" * 5000, '{"id":"box","pid":"1"}', '{"version":"2.0"}',
    "fifo", "directory", "link", "socket", "huge", "hard", "writable",
]  # fmt: skip


class TestDamaged:
    """F12, A6: a container one of whose files is damaged."""

    def begin(self, box: Box) -> None:
        """The ledger as a create without a cgroup writes it."""
        (box.path / "ledger").unlink()
        book = ledger.Ledger(opened(box.path))
        book.record("state_dir", **{**box.record.values(), "pid": 0, "startTime": 0})
        book.record("process", pid=box.record.pid, startTime=box.record.startTime)
        book.close()

    @pytest.mark.parametrize("how", DAMAGE)
    def test_f12_a_damaged_state_is_deleted_by_the_ledger(self, box: Box, warnings: list[str], how: str) -> None:
        """F12: the ledger names the process, which is killed; without --force the error stays."""
        self.begin(box)
        damage(box.path / "state.json", how)
        with pytest.raises(PyruncError, match=r"damaged: .*\(delete --force box removes what is known of it\)"):
            deletion.delete(box.root, "box", False)
        assert box.process.poll() is None
        deletion.delete(box.root, "box", True)
        assert box.process.wait() == -9
        assert not box.path.exists()
        assert os.path.exists("/etc/passwd")

    @pytest.mark.parametrize("how", [*DAMAGE, '{"effect":"teleport"}\n'])
    def test_a6_a_damaged_ledger(self, box: Box, warnings: list[str], how: str) -> None:
        """A6: state.json suffices for --force; the ledger's effects are not known."""
        damage(box.path / "ledger", how)
        deletion.delete(box.root, "box", True)
        assert box.process.wait() == -9
        assert not box.path.exists()

    @pytest.mark.parametrize("how", DAMAGE)
    def test_a6_both_are_damaged(self, box: Box, warnings: list[str], how: str) -> None:
        """A6: the directory's mode shows that it is ours, and it is removed; the process is not known."""
        box.path.chmod(0o1711)
        damage(box.path / "ledger", how)
        damage(box.path / "state.json", how)
        deletion.delete(box.root, "box", True)
        assert not box.path.exists()
        assert box.process.poll() is None
        assert any("are not known" in line for line in warnings)

    @pytest.mark.parametrize("name", ["exec.json", "start.sock"])
    @pytest.mark.parametrize("how", DAMAGE)
    def test_a6_another_file_is_damaged(self, box: Box, how: str, name: str) -> None:
        box.end()
        damage(box.path / name, how)
        deletion.delete(box.root, "box", False)
        assert not box.path.exists()

    def test_a2_what_is_not_known_to_be_ours_stays(self, tmp_path: Path) -> None:
        """A2: another runtime has a state.json too."""
        path = tmp_path / "box"
        path.mkdir()
        for text in ('{"id":"box","init_process_pid":1}', "{"):
            (path / "state.json").write_text(text)
            for force in (False, True):
                with pytest.raises(PyruncError, match="damaged"):
                    deletion.delete(str(tmp_path), "box", force)
            assert os.listdir(path) == ["state.json"]

    @pytest.mark.parametrize("name", ["", "precious", "ledger"])
    def test_a2_force_spares_what_is_none_of_ours(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / "box"
        path.mkdir()
        if name:
            (path / name).touch()
        deletion.delete(str(tmp_path), "box", True)
        assert os.listdir(path) == [name] * bool(name)

    def test_a4_a_delete_killed_at_any_unlink_is_gone_on_with(self, box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
        """A4: the container exists until the last unlink."""
        self.begin(box)
        box.end()
        for name in ("exec.json", "start.sock", "zzz"):
            (box.path / name).touch()
        unlink = os.unlink

        def killed(name: str, *, dir_fd: int) -> None:
            unlink(name, dir_fd=dir_fd)
            raise KeyboardInterrupt

        monkeypatch.setattr("posix.unlink", killed)
        left = []
        while box.path.exists():
            left.append(sorted(os.listdir(box.path)))
            if left[-1]:
                assert status(box) == "stopped"
                with pytest.raises(KeyboardInterrupt):
                    deletion.delete(box.root, "box", False)
            else:
                box.path.chmod(0o1711)
                deletion.delete(box.root, "box", True)
        assert left[-2:] == [["state.json"], []]

    def test_a6_a_left_create_with_a_damaged_ledger_needs_force(self, tmp_path: Path, warnings: list[str]) -> None:
        path = tmp_path / "box"
        path.mkdir(mode=0o700)
        book = ledger.Ledger(opened(path))
        book.record("state_dir", **record().values())
        book.record("teleport", path="/x")
        with pytest.raises(PyruncError, match="'teleport' is not known"):
            deletion.delete(str(tmp_path), "box", False)
        deletion.delete(str(tmp_path), "box", True)
        assert not path.exists()
        assert any("'teleport' is not known" in line for line in warnings)


class TestLocked:
    """A10: another command has the lock."""

    @pytest.mark.parametrize("call", ["delete", "start"])
    def test_a10_the_wait_ends_and_names_who_it_is_for(
        self, box: Box, monkeypatch: pytest.MonkeyPatch, call: str
    ) -> None:
        monkeypatch.setattr(lookup, "LOCK_TIMEOUT_SECONDS", 0.05)
        other = opened(box.path)
        other.lock(0)
        act = partial(deletion.delete, force=False) if call == "delete" else lifecycle.start
        with pytest.raises(PyruncError, match=rf"container box is in use \(process {os.getpid()} is at work on it: "):
            act(box.root, "box")
        other.close()
        assert box.path.exists()

    def test_a10_force_spares_who_is_no_command_of_this_container(
        self, box: Box, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lookup, "LOCK_TIMEOUT_SECONDS", 0.05)
        monkeypatch.setattr(holder, "_kill_descendants", lambda pid: pytest.fail("killed"))
        other = opened(box.path)
        other.lock(0)
        with pytest.raises(PyruncError, match="container box is in use"):
            deletion.delete(box.root, "box", True)
        other.close()


def test_a6_a_released_version_s_container_is_deleted(box: Box) -> None:
    """A6: no version in its state.json and ledger, and no mark on its directory."""
    values = box.record.values()
    del values["version"]
    (box.path / "state.json").write_text(jsonio.dumps(values))
    entries = [{"effect": "state_dir", **values}, {"effect": "pid_file", "path": "/x"}]
    (box.path / "ledger").write_text("".join([jsonio.dumps(entry) + "\n" for entry in entries]))
    assert status(box) == "running"
    box.end()
    deletion.delete(box.root, "box", False)
    assert not box.path.exists()


class TestDelete:
    def test_refuses_what_runs(self, box: Box) -> None:
        with pytest.raises(PyruncError, match=r"^cannot delete container box that is not stopped: running \(kill it"):
            deletion.delete(box.root, "box", False)
        assert status(box) == "running"

    def test_removes_what_has_stopped_but_the_caller_s_files(self, box: Box, tmp_path: Path) -> None:
        box.end()
        (tmp_path / "pid").write_text("1")
        (box.path / "ledger").write_text(f'{{"effect":"pid_file","path":"{tmp_path}/pid","content":"1"}}\n')
        deletion.delete(box.root, "box", False)
        assert sorted(os.listdir(tmp_path)) == ["pid"]

    def test_force_kills_and_waits(self, box: Box) -> None:
        deletion.delete(box.root, "box", True)
        assert not box.path.exists()
        assert process.find(box.process.pid, box.record.startTime) is None

    def test_a_created_container_needs_no_force(self, tmp_path: Path) -> None:
        box = Box(tmp_path, "pyrunc:[init]")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(str(box.path / "start.sock"))
            deletion.delete(box.root, "box", False)
        assert not box.path.exists()
        assert box.process.wait() == -9

    def test_poststop_hooks_run_when_all_is_gone(self, box: Box, tmp_path: Path) -> None:
        box.end()
        script = f"ls {box.root} > {tmp_path}/out; cat >> {tmp_path}/out"
        box.record.hooks = {"poststop": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}
        box.save()
        deletion.delete(box.root, "box", False)
        told = (tmp_path / "out").read_text()
        assert "box\n" not in told
        assert '"status":"stopped"' in told

    def test_force_does_not_wait_for_a_start_that_hangs(self, box: Box) -> None:
        """`start` has the lock until the process that it waits for ends; so that process is killed first."""
        holder = opened(box.path)
        holder.lock(0)

        def start() -> None:
            box.process.wait()
            holder.close()

        thread = threading.Thread(target=start)
        thread.start()
        deletion.delete(box.root, "box", True)
        thread.join()
        assert not box.path.exists()
