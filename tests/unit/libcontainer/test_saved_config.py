"""The part of a configuration that is saved for `exec`."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer import saved_config
from pyrunc.libcontainer.kernel import native
from pyrunc.libcontainer.plan.options import LaunchOptions
from pyrunc.libcontainer.statedir import EXEC_FILE
from tests.support.full_config import full_config
from tests.support.records import opened
from tests.support.runtime import REPOSITORY


def save(path: Path, spec: dict[str, object], **options: bool) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    saved_config.save(fd, spec, LaunchOptions(id="box", **options))  # type: ignore[arg-type]
    os.close(fd)


def load(path: Path) -> Any:
    place = opened(path)
    try:
        return saved_config.load(place)
    finally:
        place.close()


def test_what_exec_needs_comes_back_as_it_was(tmp_path: Path) -> None:
    spec = full_config()
    save(tmp_path, spec, no_new_keyring=True)
    kept = load(tmp_path)
    assert kept["noNewKeyring"] is True
    assert (kept["process"], kept["root"]) == (spec["process"], spec["root"])
    for name in ("namespaces", "seccomp", "personality", "uidMappings", "memoryPolicy", "intelRdt", "resources"):
        assert kept["linux"][name] == spec["linux"][name]
    assert (kept["mounts"], kept["linux"]["devices"]) == (spec["mounts"], spec["linux"]["devices"])
    assert kept["devicePaths"] == [device["path"] for device in spec["linux"]["devices"]]


def test_other_members_of_linux_take_the_place_of_the_old(tmp_path: Path) -> None:
    save(tmp_path, full_config())
    before = load(tmp_path)
    saved_config.replace_linux(opened(tmp_path).fd, {"resources": {"pids": {"limit": 1}}, "intelRdt": None})
    after = load(tmp_path)
    assert after["linux"].pop("resources") == {"pids": {"limit": 1}}
    assert (before["linux"].pop("resources"), before["linux"].pop("intelRdt")) != (None, None)
    assert after == before
    assert os.listdir(tmp_path) == [EXEC_FILE]


def test_members_beside_linux_too(tmp_path: Path) -> None:
    save(tmp_path, full_config())
    before = load(tmp_path)
    updated = {"mounts": [{"destination": "/x", "named": "/y", "id": 1, "unique": 2}]}
    saved_config.replace_linux(opened(tmp_path).fd, {}, {"updated": updated, "mounts": None})
    after = load(tmp_path)
    assert after.pop("updated") == updated
    assert before.pop("mounts")
    assert after == before


def test_the_file_is_its_owner_s_alone(tmp_path: Path) -> None:
    save(tmp_path, {"process": {"args": ["true"], "cwd": "/"}, "root": {"path": "r"}})
    assert stat.S_IMODE((tmp_path / EXEC_FILE).stat().st_mode) == 0o600
    kept = load(tmp_path)
    del kept["pipes"], kept["files"]  # of whatever pytest's own streams are
    assert kept == {
        "version": "1.2", "devicePaths": [], "mounts": [], "noNewKeyring": False,
        "rest": {"linux": {}, "noPivot": False, "rootless": None, "notify": False},
        "process": {"args": ["true"], "cwd": "/"}, "root": {"path": "r"}, "linux": {},
    }  # fmt: skip


def test_a_file_that_is_missing_or_damaged_is_told(tmp_path: Path) -> None:
    with pytest.raises(PyruncError, match=r"exec\.json: no such file or directory"):
        load(tmp_path)
    for text, reason in (
        ("{", "line 1"),
        ("[]", "not an object"),
        ("null", "not an object"),
        ('{"process":{}}', "root is not an object"),
        ('{"process":{},"root":{},"linux":{}}', "path of root is missing"),
        ('{"process":{"cwd":"/","args":5},"root":{"path":"r"},"linux":{}}', r"process\.args has a wrong value"),
        ('{"process":{"cwd":"/"},"root":{"path":"r"},"linux":{"namespaces":[5]}}', r"linux\.namespaces\.0 has"),
        ('{"version":"2.0","process":{},"root":{"path":"r"},"linux":{}}', r"its format is 2\.0"),
    ):
        (tmp_path / EXEC_FILE).write_text(text)
        (tmp_path / EXEC_FILE).chmod(0o600)
        with pytest.raises(PyruncError, match=rf"exec\.json is damaged: .*{reason}"):
            load(tmp_path)


@pytest.mark.parametrize("damage", [
    {"process": {}}, {"process": {"cwd": 5}}, {"process": {"cwd": "/", "env": [5]}}, {"linux": {"resources": 5}},
    {"process": {"cwd": "/", "rlimits": [{}]}}, {"process": {"cwd": "/", "capabilities": {"bounding": [{}]}}},
    {"process": {"cwd": "/", "user": {"additionalGids": "12"}}}, {"linux": {"seccomp": {"syscalls": [1]}}},
    {"linux": {"namespaces": [{"type": []}]}}, {"mounts": 5}, {"mounts": [{}]}, {"updated": []},
    {"updated": {"devices": 5}}, {"updated": {"mounts": [5]}}, {"devicePaths": 5}, {"devicePaths": [5]},
    {"updated": {"mounts": [{"destination": "/x", "named": "/x", "id": "1", "unique": 1}]}}, {"isolation": 5},
    {"pipes": [[]]}, {"files": 5}, {"files": [[]]}, {"files": [[], [1], []]}, {"files": [[], [1, "2"], []]},
    {"isolation": ["sandbox"]}, {"annotations": {"org.pyrunc.landlock": 5}},
])  # fmt: skip
def test_a6_a_wrong_value_at_any_depth_is_damage(tmp_path: Path, damage: dict[str, object]) -> None:
    """A6: `exec` and `update` ended in an internal error if a part of a member was wrong."""
    path = tmp_path / EXEC_FILE
    path.write_text(json.dumps({"process": {"cwd": "/"}, "root": {"path": "r"}, "linux": {}, **damage}))
    path.chmod(0o600)
    with pytest.raises(PyruncError, match=r"exec\.json is damaged: \S+ has a wrong value"):
        load(tmp_path)


@pytest.mark.parametrize("damage", [{"mounts": 5}, {"mounts": [{}]}])
def test_exec_does_not_check_the_mounts_that_it_does_not_use(tmp_path: Path, damage: dict[str, object]) -> None:
    path = tmp_path / EXEC_FILE
    path.write_text(json.dumps({"process": {"cwd": "/"}, "root": {"path": "r"}, "linux": {}, **damage}))
    path.chmod(0o600)
    place = opened(tmp_path)
    try:
        assert saved_config.load(place, mounts=False)["process"] == {"cwd": "/"}
    finally:
        place.close()


def test_a6_a_file_of_another_minor_version_is_read(tmp_path: Path) -> None:
    """A6: members of a later version are ignored, and defaults replace the members that an earlier version lacks."""
    path = tmp_path / EXEC_FILE
    path.write_text('{"version":"1.9","new":[],"process":{"cwd":"/","new":1},"root":{"path":"r"},"linux":{}}')
    path.chmod(0o600)
    kept = load(tmp_path)
    assert (kept["noNewKeyring"], kept["devicePaths"], kept["pipes"], kept["files"]) == (False, [], [], [])


def test_the_standard_streams_that_are_pipes_and_files_are_kept(tmp_path: Path) -> None:
    """The process may change them before a checkpoint."""
    saving = (
        "import os, sys; from tests.unit.libcontainer.test_saved_config import save; from pathlib import Path; "
        "save(Path(sys.argv[1]), {'process': {'args': ['true'], 'cwd': '/'}, 'root': {'path': 'r'}})"
    )
    (tmp_path / "state").mkdir()
    with open(tmp_path / "out", "wb") as out:
        done = subprocess.run(
            [sys.executable, "-c", saving, tmp_path / "state"], stdin=subprocess.DEVNULL, stdout=out,
            stderr=subprocess.PIPE, cwd=REPOSITORY, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done
        mount = native.mount_id(out.fileno())[0]
    kept = load(tmp_path / "state")
    assert kept["files"] == [[], [mount, (tmp_path / "out").stat().st_ino], []]
    assert [bool(inode) for inode in kept["pipes"]] == [False, False, True]


def test_a6_a_link_is_not_followed(tmp_path: Path) -> None:
    """A6, A1: exec.json that is a link to another file is damaged."""
    (tmp_path / "other").write_text('{"process":{},"root":{"path":"r"},"linux":{}}')
    (tmp_path / EXEC_FILE).symlink_to("other")
    with pytest.raises(PyruncError, match="symbolic link"):
        load(tmp_path)
