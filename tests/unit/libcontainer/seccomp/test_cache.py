from __future__ import annotations

import itertools
import os
import posix
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrunc import log
from pyrunc.libcontainer.kernel import native
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
    for name in ("VERSION", "FILTERS"):
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
    monkeypatch.setattr(cache, "_hash", lambda content: file.name)
    other: Any = {**PROFILE, "defaultErrnoRet": 1}
    assert cache.lookup(str(root), other, KERNEL) is None
    assert looked_up(root) == PROGRAM


def keyed(*names: list[str]) -> bytes:
    """The key of a profile that has a rule for each of these lists."""
    rules = [{"names": listed, "action": "SCMP_ACT_ERRNO"} for listed in names]
    return cache.key({**PROFILE, "syscalls": rules}, KERNEL)  # type: ignore[typeddict-item]


def test_each_list_of_names_has_a_key_of_its_own() -> None:
    lists = (["a", "b"], ["a"], ["b"], ["a\nb"], ["ab"], ["a", "b", "c"], ["\ud800"], ["\udc80"], ["é"])
    keys = [keyed(*chosen) for count in (0, 1, 2) for chosen in itertools.product(lists, repeat=count)]
    assert len(set(keys)) == len(keys) == 1 + 9 + 81


def test_each_member_of_a_rule_is_in_the_key() -> None:
    rule = {"names": ["a"], "action": "SCMP_ACT_ERRNO"}
    arg = {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}
    changes: list[Any] = [
        {}, {"names": ["b"]}, {"action": "SCMP_ACT_LOG"}, {"errnoRet": 1}, {"args": [arg]},
        {"args": [{**arg, "index": 1}]},
        {"args": [{**arg, "value": 2}]}, {"args": [{**arg, "valueTwo": 2}]},
        {"args": [{**arg, "op": "SCMP_CMP_NE"}]},
    ]  # fmt: skip
    profiles: list[Any] = [{**PROFILE, "syscalls": [{**rule, **change}]} for change in changes]
    assert len({cache.key(profile, KERNEL) for profile in profiles}) == len(changes)


@given(st.binary())
def test_every_single_change_has_another_checksum(data: bytes) -> None:
    found = {native.checksum(data), native.checksum(data + b"\0")}
    for at in range(len(data)):
        found.add(native.checksum(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]))
    assert len(found) == len(data) + 2
    assert all(0 <= number < 1 << 63 for number in found)


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
        assert b"again" not in file.read_bytes()
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


def test_a_file_of_any_size_is_not_read_whole(root: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    read = posix.read

    def noted(fd: int, size: int) -> bytes:
        sizes.append(size)
        return read(fd, size)

    monkeypatch.setattr(posix, "read", noted)
    os.truncate(file, 1 << 42)
    assert looked_up(root) is None
    assert max(sizes) < 1 << 17


def test_random_damage_is_none(root: Path, file: Path) -> None:
    """A byte of the file is another one, missing or there twice: nothing but the same program is given, or None."""
    data, generator = file.read_bytes(), random.Random(1)
    for at in range(len(data)):
        byte = bytes([generator.choice((0, 10, 48, 255, generator.randrange(256)))])
        for damaged in (data[:at] + byte + data[at + 1 :], data[:at] + data[at + 1 :], data[:at] + byte + data[at:]):
            file.write_bytes(damaged)
            assert looked_up(root) in (None, PROGRAM)


def test_commands_that_make_room_at_once(root: Path, file: Path, library: Path) -> None:
    """What one has removed meanwhile, and what can't be removed, keeps no other from storing its filter."""
    children = []
    (file.parent / "0000000000000000").mkdir()
    for child in range(4):
        pid = os.fork()
        if not pid:
            cache.MOST_FILES = 3
            kept = 0
            for number in range(150):
                other: Any = {**PROFILE, "defaultErrnoRet": child * 1000 + number}
                cache.store(str(root), other, KERNEL, PROGRAM, str(library))
                kept += cache.lookup(str(root), other, KERNEL) in (None, PROGRAM)
            os._exit(kept != 150)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
    assert len(list(file.parent.iterdir())) <= 3 + 4 + 1
    assert not [path for path in file.parent.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("damage", ["cut", "format", "longer", "empty", "key", "program", "length"])
def test_a_damaged_file_is_none(root: Path, file: Path, damage: str) -> None:
    data = file.read_bytes()
    length = data.split(b"\n")[4]
    file.write_bytes({
        "cut": data[:-40], "format": data.replace(cache.FORMAT, b"pyrunc-seccomp-0", 1), "longer": data + b"x",
        "empty": b"", "key": data.replace(b"mkdir", b"rmdir"), "program": data[:-1] + b"x",
        "length": data.replace(b"\n" + length + b"\n", b"\n1" + length + b"\n", 1),
    }[damage])  # fmt: skip
    assert looked_up(root) is None
    file.write_bytes(data)
    assert looked_up(root) == PROGRAM


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
