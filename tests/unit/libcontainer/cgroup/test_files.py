"""cgroup.files: paths and decisions, on directories that look like cgroups; tests/integration tests it in the
kernel.
"""

from __future__ import annotations

import errno
import os
import posix
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.cgroup import files
from pyrunc.libcontainer.plan.host import HostFacts
from tests.support.host import open_descriptors


@pytest.mark.parametrize(
    ("spec_path", "own", "expected"),
    [
        ("/kubepods/pod1/c1", "/user.slice/s.scope", "/cg/kubepods/pod1/c1"),
        ("/", "/a/b", "/cg"),
        ("/../../../etc/x", "/a/b", "/cg/etc/x"),
        ("/a//b/./c/../d/", "/", "/cg/a/b/d"),
        ("rel/x", "/user.slice/s.scope", "/cg/user.slice/rel/x"),
        ("../../../../rel", "/user.slice/s.scope", "/cg/user.slice/rel"),
        ("", "/user.slice/s.scope", "/cg/user.slice/c1"),
        ("", "/", "/cg/c1"),
        ("rel", "/", "/cg/rel"),
        ("..", "/a/b", "/cg/a"),
    ],
)
def test_path_for(spec_path: str, own: str, expected: str) -> None:
    facts = HostFacts(cgroup_mount="/cg", cgroup_self=own)
    assert files.path_for(spec_path, "c1", facts) == expected


def test_path_for_without_a_hierarchy() -> None:
    facts = HostFacts(cgroup_mount="", cgroup_self="")
    with pytest.raises(PyruncError, match="no cgroup v2 hierarchy is mounted") as caught:
        files.path_for("/x", "c1", facts)
    assert caught.value.pointer == "/linux/cgroupsPath"


_segments = st.sampled_from(["..", ".", "", "a", "b c", "...", "é"])


@given(st.lists(_segments).map("/".join), st.lists(_segments).map("/".join))
def test_no_path_leads_out_of_the_hierarchy(spec_path: str, own: str) -> None:
    facts = HostFacts(cgroup_mount="/cg", cgroup_self="/" + own)
    path = files.path_for(spec_path, "c1", facts)
    assert path == os.path.normpath(path)
    assert path == "/cg" or path.startswith("/cg/")


def test_create_records_each_directory_before_it_is_made(tmp_path: Path) -> None:
    path = str(tmp_path / "a" / "b" / "c")
    seen: list[tuple[str, bool]] = []
    files.create(path, lambda directory: seen.append((directory, os.path.exists(directory))))
    base = str(tmp_path)
    assert seen == [(base + "/a", False), (base + "/a/b", False), (base + "/a/b/c", False)]
    assert os.path.isdir(path)


def test_create_of_an_existing_empty_cgroup_records_nothing(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").write_text("")
    seen: list[str] = []
    files.create(str(tmp_path), seen.append)
    assert seen == []


def test_create_goes_on_when_another_makes_the_parent_first(tmp_path: Path) -> None:
    path = str(tmp_path / "a" / "b")
    files.create(path, lambda directory: os.mkdir(directory) if directory.endswith("/a") else None)
    assert os.path.isdir(path)


def test_create_goes_on_when_another_removes_the_parent(tmp_path: Path) -> None:
    path = str(tmp_path / "a" / "b")
    removed: list[str] = []

    def record(directory: str) -> None:
        if directory == path and not removed:
            os.rmdir(tmp_path / "a")
            removed.append("a")

    files.create(path, record)
    assert removed == ["a"]
    assert os.path.isdir(path)


def test_create_gives_up_when_the_parent_never_stays(tmp_path: Path) -> None:
    path = str(tmp_path / "a" / "b")
    with pytest.raises(PyruncError, match=r"creating cgroup .*/a/b: no such file"):
        files.create(path, lambda directory: os.rmdir(tmp_path / "a") if directory == path else None)


def test_create_refuses_a_cgroup_in_use(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").write_text("")
    child = tmp_path / "child"
    child.mkdir()
    (child / "cgroup.procs").write_text("12\n345\n")
    with pytest.raises(PyruncError, match=r"^container's cgroup is not empty: 2 process\(es\) found") as caught:
        files.create(str(tmp_path), lambda directory: None)
    assert caught.value.pointer == "/linux/cgroupsPath"


def test_create_refuses_a_frozen_cgroup(tmp_path: Path) -> None:
    (tmp_path / "cgroup.freeze").write_text("1\n")
    with pytest.raises(PyruncError, match="container's cgroup unexpectedly frozen"):
        files.create(str(tmp_path), lambda directory: None)


def test_procs_is_recursive_and_leaves_out_foreign_namespaces(tmp_path: Path) -> None:
    deep = tmp_path
    for level in range(40):
        deep = deep / "d"
        deep.mkdir()
        (deep / "cgroup.procs").write_text(f"{level + 1}\n0\n")
    assert files.procs(str(tmp_path)) == list(range(1, 41))
    assert files.procs(str(tmp_path / "absent")) == []


def test_is_empty_reads_the_events_or_else_the_processes(tmp_path: Path) -> None:
    assert files.is_empty(str(tmp_path / "absent"))
    (tmp_path / "cgroup.procs").write_text("7\n")
    assert not files.is_empty(str(tmp_path))
    (tmp_path / "cgroup.events").write_text("populated 0\nfrozen 0\n")
    assert files.is_empty(str(tmp_path))
    (tmp_path / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    assert not files.is_empty(str(tmp_path))


def test_a_freeze_that_does_not_come_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PATIENCE_SECONDS", 0.0)
    (tmp_path / "cgroup.freeze").write_text("0")
    (tmp_path / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    with pytest.raises(PyruncError, match="did not become frozen: connection timed out"):
        files.freeze(str(tmp_path))
    assert (tmp_path / "cgroup.freeze").read_text() == "0"


def test_thaw_below_a_frozen_cgroup_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PATIENCE_SECONDS", 0.0)
    (tmp_path / "cgroup.freeze").write_text("1")
    (tmp_path / "cgroup.events").write_text("populated 1\nfrozen 1\n")
    with pytest.raises(PyruncError, match="did not become unfrozen"):
        files.thaw(str(tmp_path))


def test_what_is_gone_needs_no_kill_and_no_removal(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    files.kill(gone)
    files.remove(gone)
    assert not files.is_frozen(gone)
    with pytest.raises(PyruncError, match=r"writing .*/gone/cgroup\.freeze: no such file or directory"):
        files.freeze(gone)


def test_kill_failures_are_told(tmp_path: Path) -> None:
    (tmp_path / "cgroup.kill").mkdir()
    with pytest.raises(PyruncError, match="is a directory"):
        files.kill(str(tmp_path))


def deep(path: Path, levels: int, name: str) -> None:
    """Nest directories deeper than a path can be long."""
    fd = os.open(path, os.O_RDONLY)
    for level in range(levels):
        os.mkdir(name, dir_fd=fd)
        inner = os.open(name, os.O_RDONLY, dir_fd=fd)
        with os.fdopen(os.open("cgroup.procs", os.O_WRONLY | os.O_CREAT, dir_fd=inner), "w") as file:
            file.write(f"{level + 1}\n")
        os.close(fd)
        fd = inner
    os.close(fd)


def test_a5_processes_are_found_deeper_than_a_path_is_long(tmp_path: Path) -> None:
    """A5: 60 nested cgroups with names of 200 characters, and siblings beside them."""
    for name in ("first", "a\nb", "zz"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cgroup.procs").write_text("1000\n")
    deep(tmp_path, 60, "x" * 200)
    before = len(open_descriptors())
    assert sorted(files.procs(str(tmp_path))) == [*range(1, 61), 1000, 1000, 1000]
    assert len(open_descriptors()) == before


def test_a5_few_descriptors_are_open_at_a_time(tmp_path: Path) -> None:
    deep(tmp_path, 60, "x" * 200)
    most = [0]
    real = os.scandir

    def scandir(fd: int) -> object:
        most[0] = max(most[0], len(os.listdir("/proc/self/fd")))
        return real(fd)

    before = len(open_descriptors())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(posix, "scandir", scandir)
        files.procs(str(tmp_path))
    assert most[0] <= before + 2


def test_a5_what_goes_meanwhile_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "inner").mkdir(parents=True)
        (tmp_path / name / "cgroup.procs").write_text("7\n")
    real = os.open

    def vanishing(path: str, *args: int, **more: int) -> int:
        if path == "a":
            raise OSError(errno.ENODEV, "gone")
        return real(path, *args, **more)

    monkeypatch.setattr(posix, "open", vanishing)
    assert files.procs(str(tmp_path)) == [7]


def test_a7_who_finds_it_made_has_not_made_it(tmp_path: Path) -> None:
    """A7: another runtime makes the cgroup in between; the undoing must not remove it."""
    path = tmp_path / "cg"
    withdrawn: list[str] = []
    assert not files.create(str(path), os.mkdir, withdrawn.append)
    assert withdrawn == [str(path)]
