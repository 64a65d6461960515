from __future__ import annotations

import os
import posix
from pathlib import Path
from typing import Any

import pytest

from pyrunc import log
from pyrunc.libcontainer.seccomp import cache
from tests.support.seccomp import allowing

PROFILE = allowing("SCMP_ACT_ERRNO", "mkdir")
PROGRAM = bytes(range(256)) * 3
KERNEL = (6, 1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "run" / "root"


@pytest.fixture
def library(tmp_path: Path) -> Path:
    path = tmp_path / "libseccomp.so.2"
    path.write_text("the library")
    return path


@pytest.fixture
def file(root: Path, library: Path) -> Path:
    """The file of PROFILE's filter, stored."""
    cache.store(str(root), PROFILE, KERNEL, PROGRAM, str(library))
    [path] = (root / cache.DIRECTORY).iterdir()
    return path


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(log, "warning", found.append)
    return found


def looked_up(root: Path) -> bytes | None:
    return cache.lookup(str(root), PROFILE, KERNEL)


def test_what_is_stored_is_found(root: Path, file: Path) -> None:
    assert looked_up(root) == PROGRAM
    assert file.stat().st_mode & 0o7777 == 0o600
    assert file.parent.stat().st_mode & 0o7777 == 0o700


def test_nothing_is_found_where_nothing_was_stored(root: Path, warnings: list[str]) -> None:
    assert looked_up(root) is None
    root.mkdir(parents=True)
    assert looked_up(root) is None
    assert warnings == []


def test_listener_and_flags_are_not_the_filters(root: Path, file: Path) -> None:
    more: Any = {**PROFILE, "listenerPath": "/a", "listenerMetadata": "b", "flags": ["SECCOMP_FILTER_FLAG_LOG"]}
    assert cache.lookup(str(root), more, KERNEL) == PROGRAM


@pytest.mark.parametrize(
    "change",
    [
        {"defaultAction": "SCMP_ACT_LOG"}, {"defaultErrnoRet": 1}, {"architectures": ["SCMP_ARCH_X86"]},
        {"syscalls": []}, {"syscalls": [{**PROFILE["syscalls"][0], "errnoRet": 2}]},
    ],
)  # fmt: skip
def test_another_profile_is_another(root: Path, file: Path, change: Any) -> None:
    other: Any = {**PROFILE, **change}
    assert cache.lookup(str(root), other, KERNEL) is None


def test_another_kernel_or_build_is_another(root: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache.lookup(str(root), PROFILE, (6, 2)) is None
    for name in ("VERSION", "COMMIT"):
        with monkeypatch.context() as patch:
            patch.setattr(cache, name, "another")
            assert looked_up(root) is None
    assert looked_up(root) == PROGRAM


def test_another_libseccomp_is_another(root: Path, file: Path, library: Path) -> None:
    library.write_text("an upgrade")
    assert looked_up(root) is None
    library.unlink()
    assert looked_up(root) is None


def test_a_chance_of_the_hash_is_no_hit(root: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = cache._hash
    monkeypatch.setattr(cache, "_hash", lambda content: hashed(content) if "\n" in content else file.name)
    other: Any = {**PROFILE, "defaultErrnoRet": 1}
    assert cache.lookup(str(root), other, KERNEL) is None
    assert looked_up(root) == PROGRAM


def test_a_key_is_one_line_whatever_the_profile_says() -> None:
    strange: Any = {**PROFILE, "syscalls": [{"names": ["a\nb\0c\ud800"], "action": "SCMP_ACT_ERRNO"}]}
    content = cache.key(strange, KERNEL)
    assert "\n" not in content
    assert content.encode().isascii()


@pytest.mark.parametrize(
    ("what", "mode"),
    [("directory", 0o720), ("directory", 0o702), ("directory", 0o755), ("file", 0o620), ("file", 0o602)],
)
def test_what_others_may_touch_is_not_read(root: Path, file: Path, warnings: list[str], what: str, mode: int) -> None:
    (file.parent if what == "directory" else file).chmod(mode)
    assert looked_up(root) is None
    assert "is not used: others may have written to it" in warnings[0]
    cache.store(str(root), PROFILE, KERNEL, b"again", "/lib")
    if what == "directory":
        assert "again" not in file.read_text()
        assert os.listdir(file.parent) == [file.name]


def test_another_owner_is_others_too(
    root: Path, file: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = os.geteuid()
    monkeypatch.setattr(posix, "geteuid", lambda: uid + 1)
    assert looked_up(root) is None
    assert len(warnings) == 1


def test_links_are_not_followed(root: Path, file: Path, warnings: list[str]) -> None:
    elsewhere = file.rename(root / "file")
    file.symlink_to(elsewhere)
    assert looked_up(root) is None
    file.unlink()
    elsewhere.rename(file)
    assert looked_up(root) == PROGRAM
    folder = file.parent.rename(root / "folder")
    (root / cache.DIRECTORY).symlink_to(folder)
    assert looked_up(root) is None
    assert len(warnings) == 2


def test_a_fifo_does_not_stop_us(root: Path, file: Path, warnings: list[str]) -> None:
    file.unlink()
    os.mkfifo(file, 0o600)
    assert looked_up(root) is None
    assert len(warnings) == 1


@pytest.mark.parametrize("damage", ["cut", "format", "longer", "empty"])
def test_a_damaged_file_is_none(root: Path, file: Path, damage: str) -> None:
    text = file.read_text()
    file.write_text({
        "cut": text[:-40], "format": text.replace(cache.FORMAT, "pyrunc-seccomp-0", 1), "longer": text + "x\n",
        "empty": "",
    }[damage])  # fmt: skip
    assert looked_up(root) is None


def test_a_cache_that_can_not_be_made_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "root").write_text("a file")
    cache.store(str(tmp_path / "root"), PROFILE, KERNEL, PROGRAM, "/lib")
    assert (tmp_path / "root").read_text() == "a file"


def test_the_oldest_make_room(root: Path, file: Path, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MOST_FILES", 3)
    for number in range(5):
        for age, path in enumerate(sorted(file.parent.iterdir(), key=lambda path: path.stat().st_mtime_ns)):
            os.utime(path, ns=(age, age))
        other: Any = {**PROFILE, "defaultErrnoRet": number}
        cache.store(str(root), other, KERNEL, PROGRAM, str(library))
        assert cache.lookup(str(root), other, KERNEL) == PROGRAM
    assert len(list(file.parent.iterdir())) == 3
    assert looked_up(root) is None
