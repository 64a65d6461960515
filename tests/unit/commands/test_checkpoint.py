"""checkpoint and restore: the command line's words in the form that the library gets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pyrunc import log
from pyrunc.cli import program as cli
from pyrunc.commands import dispatch
from pyrunc.commands.settings import Settings
from pyrunc.errors import PyruncError
from pyrunc.libcontainer.criu import checkpoint as dumping
from pyrunc.libcontainer.criu import restore as restoring
from pyrunc.libcontainer.criu.options import CriuOptions
from pyrunc.libcontainer.plan.options import LaunchOptions

SETTINGS = Settings("pyrunc", "/r", False, "cgroupfs", None)


def call(*words: str) -> int:
    """Run a command line."""
    read = cli.read("pyrunc", list(words))
    assert not isinstance(read, int)
    return dispatch.execute(read[1], SETTINGS, read[2])


@pytest.fixture
def dumped(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    seen: list[Any] = []
    monkeypatch.setattr(dumping, "checkpoint", lambda *words: seen.append(words))
    return seen


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch) -> list[tuple[LaunchOptions, CriuOptions]]:
    seen: list[tuple[LaunchOptions, CriuOptions]] = []

    def restore(launch: LaunchOptions, options: CriuOptions) -> int:
        seen.append((launch, options))
        return 3

    monkeypatch.setattr(restoring, "restore", restore)
    return seen


def test_the_defaults_of_checkpoint(dumped: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("checkpoint", "c") == 0
    assert dumped == [("/r", "c", CriuOptions(str(tmp_path / "checkpoint")))]


def test_every_option_of_checkpoint(dumped: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "before").mkdir()
    (tmp_path / "i").mkdir()
    flags = (
        "leave-running", "tcp-established", "tcp-skip-in-flight", "link-remap", "ext-unix-sk", "shell-job",
        "lazy-pages", "file-locks", "pre-dump", "auto-dedup",
    )  # fmt: skip
    values = (
        "--image-path=i", "--work-path=w", "--parent-path=../before", "--status-fd=5", "--page-server=h:27",
        "--manage-cgroups-mode=full", "--empty-ns=network", "--network-lock=skip",
    )  # fmt: skip
    call("checkpoint", *[f"--{flag}" for flag in flags], *values, "c")
    options = dumped[0][2]
    for flag in flags:
        assert getattr(options, flag.replace("-", "_")) is True, flag
    assert (options.images, options.work, options.parent) == (str(tmp_path / "i"), str(tmp_path / "w"), "../before")
    assert (options.status_fd, options.page_server) == (5, ("h", 27))
    assert (options.cgroup_mode, options.network_lock) == ("full", "skip")


def test_every_option_of_restore(
    restored: list[tuple[LaunchOptions, CriuOptions]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b").mkdir()
    flags = ("tcp-established", "ext-unix-sk", "shell-job", "file-locks", "auto-dedup", "lazy-pages", "tcp-close")
    own = ("detach", "no-subreaper", "no-pivot")
    values = (
        "--image-path=i", "--work-path=w", "--manage-cgroups-mode=ignore", "--empty-ns=network", "--bundle=b",
        "--pid-file=p", "--console-socket=s", "--lsm-profile=apparmor:x", "--lsm-mount-context=l",
    )  # fmt: skip
    assert call("restore", *[f"--{flag}" for flag in (*flags, *own)], *values, "c") == 3
    launch, options = restored[0]
    for flag in flags:
        assert getattr(options, flag.replace("-", "_")) is True, flag
    for flag in own:
        assert getattr(launch, flag.replace("-", "_")) is True, flag
    assert (options.images, options.work) == (str(tmp_path / "i"), str(tmp_path / "w"))
    assert (options.lsm_profile, options.lsm_mount_context, options.cgroup_mode) == ("apparmor:x", "l", "ignore")
    assert (launch.id, launch.root, launch.command) == ("c", "/r", "restore")
    assert (launch.bundle, launch.pid_file) == (str(tmp_path / "b"), str(tmp_path / "p"))
    assert (launch.console_socket, launch.cgroup_manager) == (str(tmp_path / "s"), "cgroupfs")


def test_a_bundle_that_is_not_there(restored: list[Any]) -> None:
    with pytest.raises(PyruncError, match="chdir /nowhere: no such file or directory"):
        call("restore", "--bundle", "/nowhere", "c")
    assert restored == []


def test_a_failed_restore_says_so_and_names_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def restore(launch: LaunchOptions, options: CriuOptions) -> int:
        raise PyruncError("what it was", pointer="/mounts/1")

    monkeypatch.setattr(restoring, "restore", restore)
    with pytest.raises(PyruncError) as caught:
        call("restore", "c")
    assert caught.value.message == "pyrunc restore failed: what it was"
    assert caught.value.document == ("config.json", os.getcwd() + "/config.json")


@pytest.mark.parametrize("command", ["checkpoint", "restore"])
@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--manage-cgroups-mode=x", "invalid manage-cgroups-mode value"),
        ("--empty-ns=pid", 'namespace "pid" is not supported'),
    ],
)
def test_words_that_are_refused(command: str, flag: str, message: str) -> None:
    with pytest.raises(PyruncError, match=message):
        call(command, flag, "c")


def test_rootless_is_warned_of(dumped: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(log, "warning", said.append)
    call("checkpoint", "c")
    assert said == ([] if os.geteuid() == 0 else said)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    call("checkpoint", "c")
    assert said[-1] == "pyrunc checkpoint is untested with rootless containers"
