"""The state directory: who is trusted, its lock, which files are read, and the order of their removal."""

from __future__ import annotations

import errno
import os
import posix
import socket
import stat
from pathlib import Path

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer import statedir
from pyrunc.libcontainer.statedir import DamagedError, StateDir
from tests.support.records import opened


@pytest.fixture
def box(tmp_path: Path) -> Path:
    path = tmp_path / "box"
    path.mkdir(mode=0o700)
    return path


def write(path: Path, text: str = "text") -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


class TestTrust:
    def test_a1_of_the_owner_s_own_directory(self, box: Path) -> None:
        for mode in (0o700, 0o711, 0o755, 0o1711):
            box.chmod(mode)
            assert opened(box).distrust == ""

    @pytest.mark.parametrize("mode", [0o777, 0o1777, 0o720, 0o702])
    def test_a1_not_where_others_may_write(self, box: Path, mode: int) -> None:
        box.chmod(mode)
        with pytest.raises(PyruncError, match=r"is not trusted: others may write to it, by its mode .*chmod 711"):
            opened(box).require_trust()

    def test_a1_not_of_another_user(self, box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(posix, "geteuid", lambda: 4_000_000_000)
        with pytest.raises(PyruncError, match=r"is not trusted: it belongs to .*run this command as"):
            opened(box).require_trust()

    def test_a1_a_link_is_no_state_directory(self, tmp_path: Path, box: Path) -> None:
        (tmp_path / "link").symlink_to(box)
        (tmp_path / "file").touch()
        os.mkfifo(tmp_path / "fifo")
        for name in ("link", "file", "fifo", "none"):
            assert statedir.open_directory(str(tmp_path / name)) is None


class TestRead:
    def test_a_regular_file(self, box: Path) -> None:
        place = opened(box)
        write(box / "state.json", "")
        assert place.read("state.json") == ""
        write(box / "state.json", "x" * 70_000)
        assert len(place.read("state.json")) == 70_000
        (box / "state.json").write_bytes(b"\xff")
        assert place.read("state.json") == "\udcff"
        with pytest.raises(FileNotFoundError):
            place.read("ledger")

    @pytest.mark.parametrize(
        ("kind", "reason"),
        [
            ("fifo", "not a regular file"), ("directory", "not a regular file"), ("socket", "a socket"),
            ("link", "symbolic link"), ("hard", "hard link"), ("writable", "others may write"), ("huge", "bytes"),
        ],
    )  # fmt: skip
    def test_a6_anything_else_is_damage_and_does_not_hang(self, box: Path, kind: str, reason: str) -> None:
        path = box / "state.json"
        with socket.socket(socket.AF_UNIX) as listener:
            if kind == "fifo":
                os.mkfifo(path)
            elif kind == "directory":
                path.mkdir()
            elif kind == "socket":
                listener.bind(str(path))
            elif kind == "link":
                path.symlink_to("/dev/zero")
            else:
                write(path)
            if kind == "hard":
                os.link(path, box / "other")
            elif kind == "writable":
                path.chmod(0o620)
            elif kind == "huge":
                os.truncate(path, 1 << 40)
            with pytest.raises(DamagedError, match=reason):
                opened(box).read("state.json")

    def test_a6_of_another_user(self, box: Path) -> None:
        if os.geteuid() != 0:
            pytest.skip("needs root, to give a file away")
        os.chown(write(box / "state.json"), 65534, 0)
        with pytest.raises(DamagedError, match="it belongs to"):
            opened(box).read("state.json")


class TestLock:
    def test_excludes_and_is_given_up(self, box: Path) -> None:
        first, second = opened(box), opened(box)
        first.lock(0)
        with pytest.raises(BlockingIOError):
            second.lock(0.05)
        assert second.is_locked()
        first.unlock()
        second.lock(0)
        second.close()
        assert not first.is_locked()

    def test_notices_a_replaced_directory(self, tmp_path: Path, box: Path) -> None:
        place = opened(box)
        box.rename(tmp_path / "old")
        with pytest.raises(FileNotFoundError):
            place.lock(0)
        box.mkdir()
        with pytest.raises(FileNotFoundError):
            place.lock(0)

    def test_a_waiting_one_notices_it_too(self, tmp_path: Path, box: Path) -> None:
        holder, waiting = opened(box), opened(box)
        holder.lock(0)
        box.rmdir()
        with pytest.raises(FileNotFoundError):
            waiting.lock(60)


class TestMake:
    def test_marks_and_locks(self, tmp_path: Path) -> None:
        path = str(tmp_path / "new")
        made = statedir.make(path)
        assert made is not None
        assert made.marked
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o1711
        assert opened(path).is_locked()
        assert statedir.make(path) is None

    def test_a11_leaves_nothing_where_it_fails(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A11: a signal, or too many open files, after the mkdir."""
        path = tmp_path / "new"
        for error in (KeyboardInterrupt(), OSError(errno.EMFILE, "too many")):

            def fail(path: str, error: BaseException = error) -> StateDir:
                raise error

            with monkeypatch.context() as patched:
                patched.setattr(statedir, "open_directory", fail)
                with pytest.raises(type(error)):
                    statedir.make(str(path))
            assert not path.exists()

    def test_a11_spares_what_was_there(self, tmp_path: Path) -> None:
        for name, mode in (("foreign", 0o755), ("full", 0o1711)):
            path = tmp_path / name
            path.mkdir()
            path.chmod(mode)
        (tmp_path / "full" / "ledger").touch()
        for name in ("foreign", "full", "none"):
            statedir.withdraw(str(tmp_path / name))
        assert sorted(os.listdir(tmp_path)) == ["foreign", "full"]


class TestRemove:
    def fill(self, box: Path) -> None:
        for name in ("ledger", "state.json", "start.sock", "exec.json", ".state.json.7", "zzz"):
            (box / name).touch()

    def test_takes_everything_and_twice(self, box: Path) -> None:
        self.fill(box)
        (box / "state.json").unlink()
        (box / "state.json" / "deep" / "er").mkdir(parents=True)
        (box / "state.json" / "deep" / "file").touch()
        (box / "link").symlink_to("/etc")
        place = opened(box)
        place.remove()
        assert not box.exists()
        assert os.path.exists("/etc/passwd")
        place.remove()

    def test_a4_what_marks_it_goes_last(self, box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A4: the ledger and then state.json are removed last; a directory of an earlier version gets its mark
        before.
        """
        self.fill(box)
        gone: list[str] = []
        unlink = posix.unlink

        def watched(name: str, *, dir_fd: int) -> None:
            assert box.stat().st_mode & 0o1000
            gone.append(name)
            unlink(name, dir_fd=dir_fd)

        monkeypatch.setattr(posix, "unlink", watched)
        opened(box).remove()
        assert gone[-2:] == ["ledger", "state.json"]
        assert len(gone) == 6

    def test_f8_without_a_descriptor_for_the_listing(self, box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in statedir.FILES:
            (box / name).touch()
        place = opened(box)

        def listdir(fd: int) -> list[str]:
            raise OSError(errno.EMFILE, "too many open files")

        monkeypatch.setattr(posix, "listdir", listdir)
        place.remove()
        assert not box.exists()


def test_owner_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert statedir.owner_name(0) == "root"
    assert statedir.owner_name(3_999_999_999) == "#3999999999"


def test_a5_directories_of_any_depth_are_removed(tmp_path: Path) -> None:
    """A5: a recursive walk has a deepest level."""
    path = tmp_path / "box"
    path.mkdir(mode=statedir.MODE)
    inner = os.open(path, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=inner)
        os.mkdir("e", dir_fd=inner)
        outer, inner = inner, os.open("d", os.O_RDONLY, dir_fd=inner)
        os.close(outer)
    os.close(inner)
    place = opened(path)
    place.remove()
    place.close()
    assert not path.exists()
