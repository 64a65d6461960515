from __future__ import annotations

import errno
import os
import posix
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyrunc import log
from pyrunc._generated.argv import GLOBAL_DEFAULTS
from pyrunc.commands import settings as module
from pyrunc.errors import PyruncError


def settle(**options: Any) -> module.Settings:
    return module.settle("pyrunc", {**GLOBAL_DEFAULTS, **options})


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    yield
    log.configure("", "text", "info")


def test_the_defaults_of_the_hosts_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_is_host_root", lambda: True)
    settings = settle()
    assert (settings.root, settings.root_given) == ("/run/pyrunc", False)
    assert (settings.cgroup_manager, settings.rootless) == ("cgroupfs", None)


def test_others_have_their_root_in_the_runtime_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_is_host_root", lambda: False)
    monkeypatch.setitem(posix.environ, b"XDG_RUNTIME_DIR", str(tmp_path).encode())
    for _ in range(2):
        assert settle().root == f"{tmp_path}/pyrunc"
    assert stat.S_IMODE((tmp_path / "pyrunc").stat().st_mode) == 0o1700


def test_a1_the_root_in_the_runtime_directory_is_changed_only_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A1: a command that only reads works although it can't write to the directory."""
    monkeypatch.setattr(module, "_is_host_root", lambda: False)
    monkeypatch.setitem(posix.environ, b"XDG_RUNTIME_DIR", str(tmp_path).encode())
    settle()

    def refuse(*args: object) -> None:
        raise OSError(errno.EROFS, "read-only file system")

    for name in ("mkdir", "chmod"):
        monkeypatch.setattr(posix, name, refuse)
    assert settle().root == f"{tmp_path}/pyrunc"
    (tmp_path / "pyrunc").rmdir()
    assert settle().root == f"{tmp_path}/pyrunc"


def test_who_is_the_hosts_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posix, "geteuid", lambda: 1000)
    assert not module._is_host_root()
    monkeypatch.setattr(posix, "geteuid", lambda: 0)
    monkeypatch.setitem(posix.environ, b"USER", b"root")
    assert module._is_host_root()


def test_a_root_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = settle(root="a/../b")
    assert (settings.root, settings.root_given) == (f"{os.getcwd()}/b", True)


@pytest.mark.parametrize("root", ["/", "/..", "//"])
def test_the_hosts_root_directory_is_no_root(root: str) -> None:
    with pytest.raises(PyruncError, match="--root argument should not be set to /"):
        settle(root=root)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("log_format", "xml", "invalid log-format: xml"),
        ("log_level", "loud", 'not a valid log level: "loud"'),
        ("cgroup_manager", "none", 'invalid cgroup manager "none"'),
        ("rootless", "perhaps", 'invalid --rootless value "perhaps"'),
    ],
)
def test_what_is_not_allowed(option: str, value: str, message: str) -> None:
    with pytest.raises(PyruncError, match=message):
        settle(**{option: value})


@pytest.mark.parametrize(
    ("options", "manager"),
    [
        ({"systemd_cgroup": True}, "systemd"),
        ({"systemd_cgroup": True, "cgroup_manager": "cgroupfs"}, "cgroupfs"),
        ({"cgroup_manager": "disabled"}, "disabled"),
    ],
)
def test_the_cgroup_manager(options: dict[str, Any], manager: str) -> None:
    assert settle(**options).cgroup_manager == manager


@pytest.mark.parametrize(("text", "value"), [("auto", None), ("", None), ("AUTO", None), ("true", True), ("0", False)])
def test_rootless(text: str, value: bool | None) -> None:
    assert settle(rootless=text).rootless is value


def test_debug_and_the_log_file(tmp_path: Path) -> None:
    settle(debug=True, log=str(tmp_path / "log"))
    assert log.debugging()
    assert (tmp_path / "log").exists()
    settle(log_level="warning")
    assert not log.debugging()
