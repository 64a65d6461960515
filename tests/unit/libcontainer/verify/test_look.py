"""The look from outside, at this process's own mounts and at fake directories."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from pathlib import Path

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.verify import look as looking
from pyrunc.libcontainer.verify.look import Look, Question, look


def _question(root: Path | str, *paths: str) -> Question:
    question = Question(-1, os.getpid(), [], str(root))
    question.paths |= {(path, True) for path in paths}
    return question


def test_places(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "file").chmod(0o640)
    (tmp_path / "link").symlink_to("/file")
    question = _question(tmp_path, "/file", "/link", "/none", "/")
    question.paths.add(("/link", False))
    seen = look(question)
    found = seen.place("/file")
    assert (found.error, stat.S_IMODE(found.mode), found.type) == (0, 0o640, "file")
    assert (found.dev, found.ino) == ((tmp_path / "file").stat().st_dev, (tmp_path / "file").stat().st_ino)
    assert found.path == str(tmp_path / "file")
    assert seen.place("/link").ino == found.ino
    assert (seen.place("/link", False).type, seen.place("/link", False).link) == ("symlink", "/file")
    assert seen.place("/none").error == errno.ENOENT
    mount = seen.mount_of(found)
    assert mount is not None
    assert str(tmp_path).startswith(mount.point)
    assert seen.mount_at(found) is None
    assert seen.point(found) == found.path


def test_the_root_of_a_mount() -> None:
    seen = look(_question("/", "/proc"))
    entry = seen.mount_at(seen.place("/proc"))
    assert entry is not None
    assert (entry.point, entry.fstype) == ("/proc", "proc")
    assert seen.point(seen.place("/proc")) == "/proc"


def test_links_do_not_lead_out_of_the_root(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("secret")
    root = tmp_path / "root"
    root.mkdir()
    for name, target in (("up", "../outside"), ("absolute", str(outside)), ("magic", "/proc/self/root/etc")):
        (root / name).symlink_to(target)
    (root / "loop").symlink_to("loop")
    names = ["/up", "/absolute", "/magic", "/loop", "/../outside"]
    seen = look(_question(root, *names))
    assert [seen.place(name).error for name in names] == [errno.ENOENT] * 3 + [errno.ELOOP, errno.ENOENT]


def test_nothing_is_opened_that_would_make_us_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    seen = look(_question(tmp_path, "/fifo", "/socket"), 5)
    assert [seen.place(name).type for name in ("/fifo", "/socket")] == ["fifo", "socket"]
    listener.close()


def test_files_and_sources(tmp_path: Path) -> None:
    (tmp_path / "source").write_text("")
    question = _question("/")
    question.files |= {"sys/kernel/ostype", "sys/no/such"}
    question.sources |= {(str(tmp_path / "source"), True), (str(tmp_path / "none"), True)}
    seen = look(question)
    assert seen.files == {"sys/kernel/ostype": "Linux\n", "sys/no/such": None}
    assert seen.sources[str(tmp_path / "source"), True].ino == (tmp_path / "source").stat().st_ino
    assert seen.sources[str(tmp_path / "none"), True].error == errno.ENOENT


@pytest.mark.skipif(os.geteuid() != 0, reason="device nodes take root")
def test_nodes_of_dev(tmp_path: Path) -> None:
    (tmp_path / "dev/deep").mkdir(parents=True)
    os.mknod(tmp_path / "dev/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(tmp_path / "dev/deep/disk", 0o600 | stat.S_IFBLK, os.makedev(8, 1))
    (tmp_path / "dev/file").write_text("")
    (tmp_path / "dev/elsewhere").symlink_to("/dev")
    question = _question(tmp_path)
    assert look(question).devices == {}
    question.dev = True
    found = look(question).devices
    assert {path: tuple(values[1:]) for path, values in found.items()} == {
        "/dev/null": (1, 3),
        "/dev/deep/disk": (8, 1),
    }
    (tmp_path / "dev").rename(tmp_path / "there")
    (tmp_path / "dev").symlink_to("there")
    assert look(question).devices == {}


def test_a_look_that_does_not_return_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "_place", lambda *_: os.read(os.pipe()[0], 1))
    with pytest.raises(PyruncError, match="takes too long"):
        look(_question("/", "/x"), 0.2)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_what_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PyruncError, match="looking into the container: reading: no such file or directory"):
        look(_question("/no/such/root"))
    question = _question("/")
    question.enter = ["mnt"]
    with pytest.raises(PyruncError, match="entering its namespaces: bad file descriptor"):
        look(question)
    monkeypatch.setattr(looking, "_seen", lambda _: os._exit(3))
    with pytest.raises(PyruncError, match="the look at it has ended"):
        look(_question("/"))
    monkeypatch.setattr(looking, "_seen", lambda _: int("x"))
    with pytest.raises(PyruncError, match="looking into the container: ValueError"):
        look(_question("/"))


def test_nothing_can_be_imported_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that was imported in the container's root would be the container's."""

    def place(*_: object) -> dict[str, object]:
        return {"path": f"{len(sys.path)} {len(sys.meta_path)}"}

    monkeypatch.setattr(looking, "_place", place)
    assert look(_question("/", "/x")).place("/x").path == "0 0"
    assert sys.path


def test_ids_by_the_eyes_that_see(monkeypatch: pytest.MonkeyPatch) -> None:
    assert look(_question("/")).maps["uid"]
    monkeypatch.setattr("pyrunc.libcontainer.verify.look.native.setns", lambda *_: None)
    question = _question("/")
    question.enter = ["user"]
    assert look(question).maps == {"uid": [(0, 0, 1 << 32)], "gid": [(0, 0, 1 << 32)]}


def test_a_mount_of_what_was_removed() -> None:
    line = "7 1 0:5 /null//deleted /proc/keys rw - tmpfs tmpfs rw"
    place = {"mount": 7, "path": "/proc/keys (deleted)"}
    seen = Look(
        {"mountinfo": line, "places": [["/proc/keys", True, place]], "sources": [], "files": {}, "devices": {}}, {}
    )
    assert seen.point(seen.place("/proc/keys")) == "/proc/keys"
