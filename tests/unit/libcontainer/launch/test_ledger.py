"""The undo ledger: written before the effect, undone in reverse, twice without harm, and by any command that finds
it.
"""

from __future__ import annotations

import errno
import os
import posix
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer import process, state, statedir
from pyrunc.libcontainer.kernel import native
from pyrunc.libcontainer.launch import ledger
from pyrunc.libcontainer.statedir import DamagedError, StateDir
from tests.support.records import opened, record


@pytest.fixture
def directory(tmp_path: Path) -> str:
    path = tmp_path / "box"
    path.mkdir(mode=0o700)
    return str(path)


def book_of(path: str) -> ledger.Ledger:
    return ledger.Ledger(opened(path))


def write(path: str, text: str) -> None:
    Path(path, "ledger").write_text(text)
    Path(path, "ledger").chmod(0o600)


def read(path: str) -> list[ledger.Entry]:
    contents = ledger.read(opened(path))
    assert contents.faults == []
    return contents.entries


def begun(path: str) -> ledger.Ledger:
    """A ledger in the state in which a create begins it."""
    book = book_of(path)
    book.record("state_dir", **record().values())
    return book


@pytest.fixture
def undone(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replacements of the effects `note` and `fail`, and the list of those that were undone."""
    done: list[str] = []

    def fail(entry: dict[str, Any]) -> None:
        done.append(entry["path"])
        raise OSError(errno.EBUSY, "busy", entry["path"])

    for effect in ("note", "fail"):
        monkeypatch.setitem(ledger._MEMBERS, effect, (("path", state.is_text),))
    monkeypatch.setitem(ledger._UNDO, "note", lambda entry: done.append(entry["path"]))
    monkeypatch.setitem(ledger._UNDO, "fail", fail)
    return done


def test_entries_are_on_disk_before_the_effect(directory: str, undone: list[str]) -> None:
    book = book_of(directory)
    for path in ("one", "two\n\udcff"):
        book.record("note", path=path)
        assert read(directory) == book.entries
        assert read(directory)[-1] == {"effect": "note", "path": path}
    book.close()


def test_an_entry_that_does_not_fit_is_an_error(directory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A11: on a full disk only a part of the line is written."""
    book = book_of(directory)
    monkeypatch.setattr(posix, "write", lambda fd, data: len(data) - 1)
    with pytest.raises(OSError, match="No space left"):
        book.record("note", path="x")
    assert book.entries == []


def test_a_line_that_a_kill_cut_off_does_not_count(directory: str, undone: list[str]) -> None:
    write(directory, '{"effect":"note","path":"one"}\n{"effect":"no')
    assert read(directory) == [{"effect": "note", "path": "one"}]
    os.unlink(directory + "/ledger")
    assert read(directory) == []


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("nonsense", "no JSON value"), ("5", "not an effect"), ("[]", "not an effect"), ("null", "not an effect"),
        ("{}", "not an effect"), ('{"effect":5}', "not an effect"),
        ('{"effect":"teleport"}', "'teleport' is not known"),
        ('{"effect":"cgroup"}', "path of cgroup is missing"), ('{"effect":"cgroup","path":5}', "wrong value"),
        ('{"effect":"cgroup","path":"relative"}', "wrong value"), ('{"effect":"process","pid":"1"}', "wrong value"),
        ('{"effect":"process","pid":-1,"startTime":1}', "wrong value"), ('{"effect":"state_dir"}', "not the first"),
        ('{"effect":"net_device","name":"a"}', "missing"), ('{"effect":"pid_file","path":null}', "wrong value"),
    ],
)  # fmt: skip
def test_a6_a_bad_line_does_not_hide_the_others(directory: str, undone: list[str], line: str, fault: str) -> None:
    """A6: an effect of a later version, and a line that is no effect."""
    write(directory, f'{{"effect":"note","path":"one"}}\n{line}\n{{"effect":"note","path":"two"}}\n')
    contents = ledger.read(opened(directory))
    assert [entry["path"] for entry in contents.entries] == ["one", "two"]
    assert len(contents.faults) == 1
    assert fault in contents.faults[0]
    with pytest.raises(DamagedError, match=r"the ledger in .* is damaged: line 2: .*delete --force box"):
        contents.require_whole(opened(directory))


def test_a6_members_of_a_later_version_are_ignored(directory: str) -> None:
    write(directory, '{"effect":"cgroup","path":"/x","new":[1]}\n')
    assert read(directory)[0]["path"] == "/x"


def test_a6_a_ledger_that_is_no_file_is_a_fault(directory: str) -> None:
    os.mkfifo(directory + "/ledger")
    contents = ledger.read(opened(directory))
    assert contents.entries == []
    assert "not a regular file" in contents.faults[0]


def test_f12_the_record_is_in_the_ledger(directory: str) -> None:
    """F12: state.json may be damaged; the ledger begins with its content, except the process."""
    begun(directory)
    claim = ledger.claim(ledger.read(opened(directory)), "box")
    assert claim is not None
    assert claim.bundle == "/bundle"
    assert ledger.claim(ledger.Contents([], []), "box") is None


def test_a7_what_was_another_s_is_withdrawn(directory: str) -> None:
    """A7: of two creates with one cgroupsPath, the refused one must not undo the other's cgroup."""
    book = book_of(directory)
    book.record("cgroup_parent", path="/a")
    book.record("cgroup", path="/a/b")
    book.withdraw("cgroup", "/a/b")
    assert book.entries == [{"effect": "cgroup_parent", "path": "/a"}]
    assert read(directory) == book.entries


def test_undo_goes_backwards_and_through_failures(directory: str, undone: list[str]) -> None:
    book = book_of(directory)
    for effect, path in (("note", "1"), ("fail", "2"), ("note", "3"), ("fail", "4")):
        book.record(effect, path=path)
    with pytest.raises(PyruncError, match="undoing fail 4: 4: device or resource busy"):
        book.undo(True)
    assert undone == ["4", "3", "2", "1"]


def test_undo_removes_the_state_directory(directory: str) -> None:
    book = book_of(directory)
    book.record("state_dir")
    book.undo(True)
    book.undo(True)
    assert not os.path.exists(directory)


def test_pid_file_belongs_to_the_caller_once_the_container_is_created(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text("4711")
    entries = [{"effect": "pid_file", "path": str(path), "content": "4711"}]
    ledger.undo(entries, deleting=True)
    assert path.exists()
    ledger.undo(entries)
    ledger.undo(entries)
    assert not path.exists()


def test_a1_a_pid_file_is_removed_only_where_it_is_the_one(tmp_path: Path) -> None:
    """A1: the path has another file than the one that the ledger records."""
    path = tmp_path / "pid"
    entry = {"effect": "pid_file", "path": str(path), "content": "4711", "draft": str(tmp_path / ".pid.7")}
    for text in ("4712", "47111", "precious", ""):
        path.write_text(text)
        ledger.undo([entry])
        assert path.exists()
    for text in ("precious", ""):  # of a version that did not record the content
        path.write_text(text)
        ledger.undo([{"effect": "pid_file", "path": str(path)}])
        assert path.exists()
    path.unlink()
    path.symlink_to("target")
    (tmp_path / "target").write_text("4711")
    ledger.undo([entry])
    assert path.is_symlink()
    path.unlink()
    os.mkfifo(path)
    ledger.undo([entry])
    assert path.exists()
    (tmp_path / ".pid.7").write_text("47")
    ledger.undo([entry])
    assert not (tmp_path / ".pid.7").exists(), "what a create that was killed had begun to write"


@pytest.mark.parametrize("effect", ["cgroup", "cgroup_parent", "resctrl_group", "resctrl_clos"])
def test_a1_a_ledger_can_have_nothing_removed_on_other_file_systems(tmp_path: Path, effect: str) -> None:
    path = tmp_path / "victim"
    path.mkdir()
    with pytest.raises(PyruncError, match="is on another file system than what was made"):
        ledger.undo([{"effect": effect, "path": str(path)}])
    assert path.exists()
    path.rmdir()
    ledger.undo([{"effect": effect, "path": str(path)}])


def test_a_cgroup_above_stays_while_others_use_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = tmp_path / "parent"
    parent.mkdir()
    entries = [{"effect": "cgroup_parent", "path": str(parent)}]
    monkeypatch.setattr(native, "fs_magic", lambda fd: native.CGROUP2_SUPER_MAGIC)
    with monkeypatch.context() as patched:
        # cgroupfs gives EBUSY where other file systems give ENOTEMPTY.
        patched.setattr(posix, "rmdir", lambda path: (_ for _ in ()).throw(OSError(errno.EBUSY, "busy")))
        ledger.undo(entries)
    ledger.undo(entries)
    ledger.undo(entries)
    assert not parent.exists()


def test_a_process_is_killed_only_with_its_start_time() -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        found = process.stat(child.pid)
        assert found is not None
        ledger.undo([{"effect": "process", "pid": child.pid, "startTime": found.start_time + 1}])
        assert child.poll() is None
        ledger.undo([{"effect": "process", "pid": child.pid, "startTime": found.start_time}])
        assert child.wait() == -9
        ledger.undo([{"effect": "process", "pid": child.pid, "startTime": found.start_time}])
    finally:
        child.kill()
        child.wait()


def test_a_unit_is_systemd_s_to_undo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyrunc.libcontainer.systemd.manager import Manager

    entry = {"effect": "systemd_unit", "unit": "x.scope", "user": False, "path": str(tmp_path / "none")}
    undone: list[str] = []
    monkeypatch.setattr(Manager, "__init__", lambda manager, user: None)
    monkeypatch.setattr(Manager, "__enter__", lambda manager: manager)
    monkeypatch.setattr(Manager, "__exit__", lambda *args: None)
    monkeypatch.setattr(Manager, "stop", lambda manager, unit: undone.append(unit))
    ledger.undo([entry], deleting=True)
    assert undone == ["x.scope"]


def test_gc_is_told_what_there_was_to_undo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "fs_magic", lambda fd: native.CGROUP2_SUPER_MAGIC)
    for name in ("empty", "used"):
        (tmp_path / name).mkdir()
    told: list[str] = []
    with monkeypatch.context() as patched:
        patched.setattr(posix, "rmdir", lambda path: (_ for _ in ()).throw(OSError(errno.EBUSY, "busy")))
        ledger.undo([{"effect": "cgroup_parent", "path": str(tmp_path / "used")}], tell=told.append)
    assert told == []
    ledger.undo([{"effect": "cgroup_parent", "path": str(tmp_path / "empty")}], tell=told.append)
    ledger.undo([{"effect": "cgroup_parent", "path": str(tmp_path / "empty")}], tell=told.append)
    assert told == [f"cgroup {tmp_path}/empty"]


class TestSweep:
    def test_of_a_dead_create(self, directory: str, undone: list[str]) -> None:
        begun(directory).record("note", path="x")
        assert ledger.sweep(directory) == ledger.FREE
        assert undone == ["x"]
        assert not os.path.exists(directory)
        assert ledger.sweep(directory) == ledger.FREE

    def test_spares_a_create_at_work(self, directory: str, undone: list[str]) -> None:
        book = begun(directory)
        book.record("note", path="x")
        book.place.lock(0)
        assert ledger.sweep(directory) == ledger.BUSY
        assert undone == []

    @pytest.mark.parametrize("kind", ["file", "directory", "fifo", "link"])
    def test_spares_a_container_damaged_or_not(self, directory: str, undone: list[str], kind: str) -> None:
        begun(directory).record("note", path="x")
        path = Path(directory, "state.json")
        makers: dict[str, Callable[[], object]] = {
            "file": path.touch, "directory": path.mkdir, "fifo": lambda: os.mkfifo(path),
            "link": lambda: path.symlink_to("x"),
        }  # fmt: skip
        makers[kind]()
        assert ledger.sweep(directory) == ledger.CONTAINER
        assert undone == []
        opened(directory).lock(0)

    @pytest.mark.parametrize("names", [[], ["precious"], ["ledger"], ["ledger", "a"], ["exec.json"], ["start.sock"]])
    def test_a2_spares_what_is_none_of_ours(self, directory: str, names: list[str]) -> None:
        """A2: an empty directory, and one whose files have names like ours."""
        for name in names:
            Path(directory, name).touch(0o600)
        assert ledger.sweep(directory) == ledger.FOREIGN
        assert sorted(os.listdir(directory)) == sorted(names)

    @pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770])
    def test_a1_spares_what_others_may_write_to(self, directory: str, undone: list[str], mode: int) -> None:
        begun(directory).record("note", path="x")
        os.chmod(directory, mode)
        assert ledger.sweep(directory) == ledger.FOREIGN
        assert undone == []

    def test_a1_spares_another_user_s(self, directory: str, undone: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        begun(directory).record("note", path="x")
        monkeypatch.setattr(posix, "geteuid", lambda: 4_000_000_000)
        assert ledger.sweep(directory) == ledger.FOREIGN
        assert undone == []

    def test_a1_spares_what_a_link_leads_to(self, tmp_path: Path, directory: str, undone: list[str]) -> None:
        begun(directory).record("note", path="x")
        (tmp_path / "link").symlink_to(directory)
        assert ledger.sweep(str(tmp_path / "link")) == ledger.FOREIGN
        assert undone == []

    def test_a1_spares_another_id_s(self, tmp_path: Path, directory: str, undone: list[str]) -> None:
        """A1: the owner of the state root can rename its entries."""
        begun(directory).record("note", path="x")
        os.rename(directory, tmp_path / "other")
        assert ledger.sweep(str(tmp_path / "other")) == ledger.FOREIGN
        assert undone == []

    def test_of_a_create_that_died_before_its_ledger(self, directory: str) -> None:
        os.chmod(directory, 0o1711)
        assert ledger.sweep(directory) == ledger.FREE
        assert not os.path.exists(directory)

    def test_a4_of_a_delete_that_an_earlier_version_was_killed_in(self, directory: str) -> None:
        """A4: exec.json was removed last."""
        Path(directory, "exec.json").write_text('{"noNewKeyring":false,"process":{},"root":{},"linux":{}}')
        Path(directory, "exec.json").chmod(0o600)
        assert ledger.sweep(directory) == ledger.FREE
        assert not os.path.exists(directory)

    def test_keeps_the_directory_while_something_is_left(self, directory: str, undone: list[str]) -> None:
        begun(directory).record("fail", path="x")
        with pytest.raises(PyruncError):
            ledger.sweep(directory)
        assert read(directory), "the next command tries again"

    def test_a6_keeps_what_a_later_version_has_begun(self, directory: str) -> None:
        begun(directory).record("teleport", path="x")
        with pytest.raises(PyruncError, match="'teleport' is not known"):
            ledger.sweep(directory)
        assert os.path.exists(directory)


class TestClaim:
    def test_of_a_free_id(self, directory: str) -> None:
        os.rmdir(directory)
        book = ledger.claim_id(directory)
        assert sorted(os.listdir(directory)) == ["ledger"]
        with pytest.raises(PyruncError, match=r"^container with given ID already exists: box in .*delete box\)$"):
            ledger.claim_id(directory)
        book.place.close()

    def test_a2_of_what_is_none_of_ours(self, directory: str) -> None:
        with pytest.raises(PyruncError, match=r"already exists: box in .* \(.*/box was not made by pyrunc"):
            ledger.claim_id(directory)

    def test_a7_where_another_create_is_faster_behind_the_mkdir(
        self, directory: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A7: the directory is exchanged before it is opened; the refusal is the usual one, and not O_EXCL's."""
        os.rmdir(directory)
        real = statedir.open_directory
        others: list[ledger.Ledger] = []

        def exchanged(path: str) -> StateDir | None:
            if not others:
                os.rmdir(path)
                monkeypatch.setattr(statedir, "open_directory", real)
                others.append(ledger.claim_id(path))
            return real(path)

        monkeypatch.setattr(statedir, "open_directory", exchanged)
        with pytest.raises(PyruncError, match=r"^container with given ID already exists: box in .*delete box\)$"):
            ledger.claim_id(directory)
        assert sorted(os.listdir(directory)) == ["ledger"]
        others[0].place.close()

    def test_a11_leaves_nothing_where_the_ledger_can_t_be_made(
        self, directory: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A11: a full disk, or a signal, between the mkdir and the ledger."""
        os.rmdir(directory)
        for error in (OSError(errno.ENOSPC, "full"), KeyboardInterrupt()):

            def fail(place: StateDir, error: BaseException = error) -> ledger.Ledger:
                raise error

            with monkeypatch.context() as patched:
                patched.setattr(ledger, "Ledger", fail)
                with pytest.raises(type(error)):
                    ledger.claim_id(directory)
            assert not os.path.exists(directory)
