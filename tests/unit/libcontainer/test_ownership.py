from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pyrunc import jsonio
from pyrunc.libcontainer import ownership, state
from pyrunc.libcontainer.cgroup import claims, files
from pyrunc.libcontainer.launch import ledger
from pyrunc.libcontainer.statedir import StateDir
from tests.support.records import opened, record, record_of


@pytest.fixture
def cgroup(tmp_path: Path) -> Path:
    path = tmp_path / "cgroup"
    path.mkdir()
    (path / "cgroup.kill").write_text("")
    return path


@pytest.fixture
def own(tmp_path: Path) -> StateDir:
    (tmp_path / "own/box").mkdir(parents=True, mode=0o700)
    return opened(str(tmp_path / "own/box"))


@pytest.fixture
def other(tmp_path: Path, cgroup: Path, monkeypatch: pytest.MonkeyPatch) -> StateDir:
    """The state directory that the cgroup's attribute names."""
    path = tmp_path / "other/box"
    path.mkdir(parents=True, mode=0o700)
    marks = [(cgroup.stat().st_ino, str(path))]
    monkeypatch.setattr(claims, "other_marks", lambda *args: marks)
    return opened(str(path))


def save(place: StateDir, cgroup: Path) -> None:
    """Make the record of a container that has the cgroup."""
    state.save(place.fd, record(cgroup=str(cgroup)))


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_container_s_own_cgroup_is_claimed_until_the_end(cgroup: Path, own: StateDir) -> None:
    before = open_files()
    with ownership.hold(str(cgroup), own) as held:
        assert held.found == ownership.OWN
        with pytest.raises(BlockingIOError):
            claims.claim(str(cgroup))
    os.close(claims.claim(str(cgroup)))
    assert open_files() == before


def test_a_cgroup_that_is_gone(tmp_path: Path, own: StateDir) -> None:
    with ownership.hold(str(tmp_path / "gone"), own) as held:
        assert held.found == ownership.GONE


def test_another_s_cgroup_is_not_claimed(cgroup: Path, own: StateDir, other: StateDir) -> None:
    save(other, cgroup)
    with ownership.hold(str(cgroup), own) as held:
        assert held.found == ownership.OTHER
        os.close(claims.claim(str(cgroup)))


def test_the_cgroup_of_a_living_process_is_the_container_s_own(
    cgroup: Path, own: StateDir, other: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long claim is not waited for: the container's own `run` may have it."""
    looks: list[bool] = []

    def other_marks(path: str, own: str, below: bool) -> list[tuple[int, str]]:
        looks.append(below)
        return []

    monkeypatch.setattr(claims, "other_marks", other_marks)
    living = record_of(os.getpid())
    claim = claims.claim(str(cgroup))
    with ownership.hold(str(cgroup), own, living) as held:
        assert held.found == ownership.OWN
    os.close(claim)
    with ownership.hold(str(cgroup), own, living) as held:
        assert held.found == ownership.OWN
    assert not any(looks)  # only at the cgroup itself


def test_the_cgroup_of_a_process_that_is_ending_may_be_another_s(cgroup: Path, own: StateDir, other: StateDir) -> None:
    """It counts as living until the end, and has left the cgroup before."""
    save(other, cgroup)
    with ownership.hold(str(cgroup), own, record_of(os.getpid())) as held:
        assert held.found == ownership.OTHER
    claim = claims.claim(str(cgroup))
    with ownership.hold(str(cgroup), own, record_of(os.getpid())) as held:
        assert held.found == ownership.OTHER
    os.close(claim)


def test_a_lock_that_does_not_end_hinders_no_command(
    cgroup: Path, own: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container may have left it to a process elsewhere."""
    monkeypatch.setattr(ownership, "_PATIENCE_SECONDS", 0.01)
    claim = claims.claim(str(cgroup))
    with ownership.hold(str(cgroup), own) as held:
        assert held.found == ownership.OWN
    os.close(claim)


def test_a_cgroup_is_given_up_to_a_create_that_has_it(
    cgroup: Path, own: StateDir, other: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up: list[str] = []
    monkeypatch.setattr(files, "mark_parent", given_up.append)
    save(other, cgroup)
    claim = claims.claim(str(cgroup))
    with ownership.hold_to_remove(str(cgroup), own) as held:
        assert held.found == ownership.OTHER
    assert given_up == [str(cgroup)]
    os.close(claim)


def test_a_cgroup_of_a_create_that_fails_meanwhile_is_removed(
    cgroup: Path, own: StateDir, other: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The create has removed its state directory before it could see that it was to remove the cgroup."""
    save(other, cgroup)
    monkeypatch.setattr(files, "mark_parent", lambda path: os.unlink("state.json", dir_fd=other.fd))
    with ownership.hold_to_remove(str(cgroup), own) as held:
        assert held.found == ownership.OWN


def test_a_create_at_work_has_the_cgroup_of_its_ledger(cgroup: Path, own: StateDir, other: StateDir) -> None:
    ledger.Ledger(other).record("state_dir", **record(cgroup=str(cgroup)).values())
    assert not ownership.is_anothers(str(cgroup), own)  # it was killed
    other.lock(0)
    assert ownership.is_anothers(str(cgroup), own)


@pytest.mark.parametrize(
    "text", ["", "{}\n", "[]\n", "no JSON\n", '{"effect": "state_dir"}\n', '{"effect": "state_dir"']
)
def test_a_damaged_ledger_of_a_create_names_no_cgroup(cgroup: Path, own: StateDir, other: StateDir, text: str) -> None:
    Path(other.path, "ledger").write_text(text)
    other.lock(0)
    assert not ownership.is_anothers(str(cgroup), own)


def test_a7_a_create_that_ends_between_two_looks_has_the_cgroup(
    cgroup: Path, own: StateDir, other: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A7: it has no record at the first look, and no lock at the second one."""

    def end(place: StateDir) -> bool:
        save(place, cgroup)
        return False

    monkeypatch.setattr(StateDir, "is_locked", end)
    assert ownership.is_anothers(str(cgroup), own)


@pytest.mark.parametrize(
    "change",
    [
        lambda place, cgroup: save(place, cgroup.parent),  # a container may set the attribute of its own cgroup
        lambda place, cgroup: Path(place.path, "state.json").write_text(jsonio.dumps({"cgroup": str(cgroup)})),
        lambda place, cgroup: os.rmdir(place.path),
    ],
)
def test_an_attribute_alone_is_not_believed(
    cgroup: Path, own: StateDir, other: StateDir, change: Callable[[StateDir, Path], object]
) -> None:
    change(other, cgroup)
    assert not ownership.is_anothers(str(cgroup), own)
