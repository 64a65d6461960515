"""What is kept of a configuration for `exec`."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pyrunc.libcontainer import execconfig
from pyrunc.libcontainer.options import LaunchOptions
from pyrunc.report import PyruncError
from tests.support.full_config import full_config


def save(path: Path, spec: dict[str, object], **options: bool) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    execconfig.save(fd, spec, LaunchOptions(id="box", **options))  # type: ignore[arg-type]
    os.close(fd)


def test_what_exec_needs_comes_back_as_it_was(tmp_path: Path) -> None:
    spec = full_config()
    save(tmp_path, spec, no_new_keyring=True)
    kept = execconfig.load(str(tmp_path))
    assert kept["noNewKeyring"] is True
    assert (kept["process"], kept["root"]) == (spec["process"], spec["root"])
    for name in ("namespaces", "seccomp", "personality", "uidMappings", "memoryPolicy", "intelRdt", "resources"):
        assert kept["linux"][name] == spec["linux"][name]
    assert "mounts" not in kept
    assert kept["devicePaths"] == [device["path"] for device in spec["linux"]["devices"]]


def test_other_members_of_linux_take_the_place_of_the_old(tmp_path: Path) -> None:
    save(tmp_path, full_config())
    before = execconfig.load(str(tmp_path))
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    execconfig.replace_linux(fd, {"resources": {"pids": {"limit": 1}}, "intelRdt": None})
    os.close(fd)
    after = execconfig.load(str(tmp_path))
    assert after["linux"].pop("resources") == {"pids": {"limit": 1}}
    assert (before["linux"].pop("resources"), before["linux"].pop("intelRdt")) != (None, None)
    assert after == before
    assert os.listdir(tmp_path) == [execconfig.FILE]


def test_the_file_is_its_owner_s_alone(tmp_path: Path) -> None:
    save(tmp_path, {"process": {"args": ["true"]}, "root": {"path": "r"}})
    assert stat.S_IMODE((tmp_path / execconfig.FILE).stat().st_mode) == 0o600
    assert execconfig.load(str(tmp_path)) == {
        "devicePaths": [], "noNewKeyring": False, "process": {"args": ["true"]}, "root": {"path": "r"}, "linux": {},
    }  # fmt: skip


def test_a_file_that_is_missing_or_damaged_is_told(tmp_path: Path) -> None:
    with pytest.raises(PyruncError, match=r"exec\.json: no such file or directory"):
        execconfig.load(str(tmp_path))
    (tmp_path / execconfig.FILE).write_text("{")
    with pytest.raises(PyruncError, match=r"exec\.json is damaged: line 1"):
        execconfig.load(str(tmp_path))
