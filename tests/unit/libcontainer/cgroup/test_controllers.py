"""controllers: enabled down the tree, on a fake hierarchy that refuses what the kernel refuses."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.cgroup import controllers

MOUNT = "/mnt"
THREADED = {"cpu", "cpuset", "perf_event", "pids"}


class Hierarchy:
    """cgroup2 in memory: for each cgroup the controllers it enables, its type ("" for the root) and its processes."""

    def __init__(self, *paths: str, offered: str = "cpu memory pids") -> None:
        self.offered = offered.split()
        self.control: dict[str, list[str]] = {path: [] for path in (MOUNT, *paths)}
        self.type = dict.fromkeys(paths, "domain")
        self.procs: dict[str, str] = {}
        self.failures: dict[tuple[str, str], int] = {}
        self.writes: list[tuple[str, str]] = []

    def available(self, path: str) -> list[str]:
        return self.offered if path == MOUNT else self.control[path.rpartition("/")[0]]

    def read(self, path: str) -> str:
        directory, _, file = path.rpartition("/")
        if file == "cgroup.type" and directory not in self.type:
            raise FileNotFoundError(errno.ENOENT, path)
        return {
            "cgroup.controllers": " ".join(self.available(directory)) + "\n",
            "cgroup.subtree_control": " ".join(self.control[directory]) + "\n",
            "cgroup.type": self.type.get(directory, "") + "\n",
            "cgroup.procs": self.procs.get(directory, ""),
        }[file]

    def write(self, path: str, text: str) -> None:
        directory, _, file = path.rpartition("/")
        assert file == "cgroup.subtree_control"
        names = [word.removeprefix("+") for word in text.split()]
        for name in names:
            number = self.failures.get((directory, name), 0)
            if name not in self.available(directory):
                number = errno.ENOENT
            if number:
                raise OSError(number, os.strerror(number))
        self.writes.append((directory, text))
        self.control[directory] += [name for name in names if name not in self.control[directory]]


@pytest.fixture
def enable(monkeypatch: pytest.MonkeyPatch) -> Any:
    def call(hierarchy: Hierarchy, path: str, *needed: str) -> None:
        monkeypatch.setattr(controllers, "read_file", hierarchy.read)
        monkeypatch.setattr(controllers, "write_file", hierarchy.write)
        pointers = {name: "/linux/resources/" + name for name in needed}
        controllers.enable(path, MOUNT, pointers, tuple(hierarchy.offered))

    return call


def test_all_are_enabled_from_the_root_down(enable: Any) -> None:
    tree = Hierarchy("/mnt/a", "/mnt/a/b")
    enable(tree, "/mnt/a/b", "memory")
    assert tree.writes == [("/mnt", "+cpu +memory +pids"), ("/mnt/a", "+cpu +memory +pids")]
    assert tree.control["/mnt/a/b"] == []


def test_what_is_there_is_not_written_again(enable: Any) -> None:
    tree = Hierarchy("/mnt/a", "/mnt/a/b")
    tree.control["/mnt"] = ["memory", "pids"]
    enable(tree, "/mnt/a/b", "memory")
    assert tree.writes == [("/mnt", "+cpu"), ("/mnt/a", "+cpu +memory +pids")]
    tree.writes.clear()
    enable(tree, "/mnt/a/b", "memory", "pids")
    assert tree.writes == []


def test_the_hierarchy_s_root_needs_nothing_above(enable: Any) -> None:
    tree = Hierarchy()
    enable(tree, MOUNT, "memory")
    assert tree.writes == []


def test_one_that_is_not_needed_may_fail(enable: Any) -> None:
    tree = Hierarchy("/mnt/a", "/mnt/a/b")
    tree.failures["/mnt", "cpu"] = errno.EINVAL
    enable(tree, "/mnt/a/b", "pids")
    assert tree.available("/mnt/a/b") == ["memory", "pids"]


def test_a_needed_one_that_fails_is_an_error_with_its_cause(enable: Any) -> None:
    tree = Hierarchy("/mnt/a", "/mnt/a/b")
    tree.failures["/mnt", "cpu"] = errno.EINVAL
    with pytest.raises(PyruncError) as caught:
        enable(tree, "/mnt/a/b", "pids", "cpu")
    error = caught.value
    assert error.message == 'enabling controller "cpu" in /mnt'
    assert (error.errno, error.pointer, error.step) == (errno.EINVAL, "/linux/resources/cpu", "cgroup_controllers")
    assert "realtime" in error.hint


@pytest.mark.parametrize("needed", ["memory", "pids"])
def test_a_cgroup_with_processes_is_left_as_it_is(enable: Any, needed: str) -> None:
    """The kernel would accept +pids there, and make it a threaded domain in which no container can be."""
    tree = Hierarchy("/mnt/a", "/mnt/a/b")
    tree.procs["/mnt/a"] = "12\n"
    with pytest.raises(PyruncError) as caught:
        enable(tree, "/mnt/a/b", needed)
    assert caught.value.message == f'enabling controller "{needed}" in /mnt/a'
    assert caught.value.errno == errno.EBUSY
    assert "processes of its own" in caught.value.hint
    assert tree.control["/mnt/a"] == []


def test_the_root_may_have_processes(enable: Any) -> None:
    tree = Hierarchy("/mnt/a")
    tree.procs[MOUNT] = "1\n"
    enable(tree, "/mnt/a", "memory")
    assert tree.available("/mnt/a") == ["cpu", "memory", "pids"]


@pytest.mark.parametrize("type", ["domain threaded", "threaded", "domain invalid"])
def test_threaded_mode_is_explained(enable: Any, type: str) -> None:
    tree = Hierarchy("/mnt/a", "/mnt/a/b")
    tree.type["/mnt/a"] = type
    with pytest.raises(PyruncError) as caught:
        enable(tree, "/mnt/a/b", "pids")
    assert caught.value.errno == errno.EOPNOTSUPP
    assert "threaded mode" in caught.value.hint
    assert tree.control["/mnt/a"] == []


def test_the_first_obstacle_is_the_one_that_is_told(enable: Any) -> None:
    tree = Hierarchy("/mnt/a", "/mnt/a/b", "/mnt/a/b/c")
    tree.failures["/mnt/a", "memory"] = errno.EACCES
    with pytest.raises(PyruncError) as caught:
        enable(tree, "/mnt/a/b/c", "memory")
    assert caught.value.message == 'enabling controller "memory" in /mnt/a'
    assert "not delegated" in caught.value.hint


def test_what_the_hierarchy_never_had_is_an_error(enable: Any) -> None:
    tree = Hierarchy("/mnt/a")
    with pytest.raises(PyruncError) as caught:
        enable(tree, "/mnt/a", "io")
    assert caught.value.message == 'controller "io" is not available in /mnt/a'
    assert caught.value.pointer == "/linux/resources/io"


def owners(directory: Path) -> dict[str, int]:
    found = {path.name: path.lstat().st_uid for path in directory.iterdir()}
    return {**found, ".": directory.stat().st_uid}


def give(directory: Path, uid: int) -> None:
    fd = os.open(directory, os.O_RDONLY)
    try:
        controllers.delegate(fd, uid)
    finally:
        os.close(fd)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only it may give files away")
@pytest.mark.parametrize(
    ("listed", "given"),
    [
        ("cgroup.procs\nmemory.oom.group\nnot.here\n", {"cgroup.procs", "memory.oom.group"}),
        (None, {"cgroup.procs", "cgroup.subtree_control", "cgroup.threads"}),
    ],
)
def test_what_the_kernel_lists_changes_hands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: str | None, given: set[str]
) -> None:
    delegate = tmp_path / "delegate"
    if listed is not None:
        delegate.write_text(listed)
    monkeypatch.setattr(controllers, "_DELEGATE", str(delegate))
    cgroup = tmp_path / "cgroup"
    cgroup.mkdir()
    names = {"cgroup.procs", "cgroup.subtree_control", "cgroup.threads", "memory.max", "memory.oom.group"}
    for name in names:
        (cgroup / name).touch()
    give(cgroup, 12345)
    assert {name for name, uid in owners(cgroup).items() if uid == 12345} == given | {"."}
    assert cgroup.stat().st_gid == os.getegid()
