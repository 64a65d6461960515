"""The options of `update` for mounts and devices."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.update import words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a,b", ["a", "b"]),
        ("", [""]),
        ('"a,b",c', ["a,b", "c"]),
        ('a"b,c', ['a"b', "c"]),
        ('"say ""hi""",x', ['say "hi"', "x"]),
        ("a,,b", ["a", "", "b"]),
    ],
)
def test_fields_of_csv(text: str, found: list[str]) -> None:
    assert words.fields(text) == found


@pytest.mark.parametrize(
    ("text", "source", "target", "options"),
    [
        ("type=bind,source=/a,target=/b", "/a", "/b", ["rbind", "rprivate"]),
        ("src=/a,dst=/b/../c/,ro", "/a", "/c", ["rbind", "ro", "rprivate"]),
        ("source=a,destination=/b", "/cwd/a", "/b", ["rbind", "rprivate"]),
        ("source=../a,target=/b,bind,rslave", "/a", "/b", ["bind", "rslave"]),
        ("source=/a,target=/b,readonly=0,bind-propagation=shared", "/a", "/b", ["rbind", "rw", "shared"]),
        ('"source=/a,b",target=/b,idmap=uids=0-1-1;gids=0-1-1', "/a,b", "/b",
         ["rbind", "idmap=uids=0-1-1;gids=0-1-1", "rprivate"]),
    ],
)  # fmt: skip
def test_a_bind_mount(text: str, source: str, target: str, options: list[str]) -> None:
    assert words.mount(text, "/cwd") == {"type": "bind", "source": source, "destination": target, "options": options}


def test_a_tmpfs() -> None:
    assert words.mount("type=tmpfs,target=/b,tmpfs-size=1m,tmpfs-mode=700,noexec", "/cwd") == {
        "type": "tmpfs", "source": "tmpfs", "destination": "/b", "options": ["size=1m", "mode=700", "noexec"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("type=overlay,target=/b", 'type "overlay" can\'t be made'),
        ("source=/a", "no target"),
        ("target=/b", "the mount on /b has no source"),
        ("source=/a,target=b", "not an absolute path"),
        ("source=/a,target=/b/..", "the root of a running container"),
        ("source=/a,target=/b,remount,ro", "can't be changed"),
        ('"source=/a', "a quote is not closed"),
    ],
)
def test_what_is_no_mount(text: str, part: str) -> None:
    with pytest.raises(PyruncError) as caught:
        words.mount(text, "/cwd")
    assert part in caught.value.message
    assert caught.value.origin == "--mount"


@pytest.mark.parametrize(
    ("text", "path", "access"),
    [
        ("/dev/null:/dev/own", "/dev/own", "rwm"),
        ("/dev/null:/dev/own:r", "/dev/own", "r"),
        ("/dev/null:/dev/./own", "/dev/own", "rwm"),
    ],
)
def test_a_device(text: str, path: str, access: str) -> None:
    found = words.device(text)
    assert found == {
        "source": "/dev/null", "path": path, "type": "c", "major": 1, "minor": 3, "access": access,
        "fileMode": os.stat("/dev/null").st_mode & 0o777, "uid": 0, "gid": 0,
    }  # fmt: skip
    assert set(words.entry_of(found)) == {"path", "type", "major", "minor", "fileMode", "uid", "gid"}


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("/dev/null", "every container has a /dev/null"),
        ("/dev/null:rw", "every container has a /dev/null"),
        ("/dev/null:/dev/x:q", "no access"),
        ("/dev/none", "no such file or directory"),
        ("/etc", "not a device"),
        ("dev", "not an absolute path"),
    ],
)
def test_what_is_no_device(text: str, part: str) -> None:
    with pytest.raises(PyruncError) as caught:
        words.device(text)
    assert part in caught.value.line()
    assert caught.value.origin == "--device"


def test_entries_of_config_json() -> None:
    wanted = words.Asked(cwd="/cwd")
    wanted.add_entries([
        {"destination": "b/", "source": "a", "options": ["bind", "ro"]},
        {"destination": "/t", "type": "tmpfs"},
        {"destination": "/m", "type": "none", "source": "/s", "options": ["rbind"],
         "uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]},
    ])  # fmt: skip
    assert wanted.mounts == [
        {"destination": "/b", "type": "bind", "source": "/cwd/a", "options": ["bind", "ro"]},
        {"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": []},
        {"destination": "/m", "type": "bind", "source": "/s", "options": ["rbind"],
         "uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]},
    ]  # fmt: skip
    with pytest.raises(PyruncError, match="/t is named twice"):
        wanted.remove_entries([{"destination": "t"}])
    with pytest.raises(PyruncError, match='type "proc"'):
        wanted.add_entries([{"destination": "/p", "type": "proc"}])


def asked(**more: Any) -> words.Asked:
    options = {"mounts": (), "umounts": (), "devices": (), "removals": (), **more}
    return words.Asked(**options, cwd="/")


@pytest.mark.parametrize(
    "more",
    [
        {"mounts": ("type=tmpfs,target=/x", "type=tmpfs,target=/x/")},
        {"mounts": ("type=tmpfs,target=/x",), "umounts": ("/y/../x",)},
        {"umounts": ("/x", "/x")},
        {"devices": ("/dev/null:/dev/x",), "removals": ("/dev/x",)},
    ],
)
def test_a_path_is_named_once(more: Any) -> None:
    with pytest.raises(PyruncError, match="/x is named twice"):
        asked(**more)


def test_nothing_is_asked_for() -> None:
    assert not asked()
    assert asked(removals=("/dev/x",))
    with pytest.raises(PyruncError, match="every container has a /dev/tty"):
        asked(removals=("/dev/tty",))


def test_rules_follow_the_devices() -> None:
    one: Any = {"type": "c", "major": 1, "minor": 3, "access": "r"}
    two: Any = {"type": "b", "major": 7, "minor": 0}
    base: Any = [{"allow": False, "access": "rwm"}]
    added = words.rules_with(base, [one], [])
    assert added == [*base, {"allow": True, **one}]
    assert words.rules_with(added, [], [two]) == [*added, {"allow": False, **two, "access": "rwm"}]
    plain: Any = {"type": "c", "major": 1, "minor": 3}  # an entry of linux.devices has no access
    gone = words.rules_with(added, [], [plain])
    assert gone == [*base, {"allow": False, **plain, "access": "rwm"}]
    assert words.rules_with(gone, [one], []) == added


def test_a_relative_source_counts_from_the_working_directory(tmp_path: Path) -> None:
    assert words.mount("source=.,target=/x", str(tmp_path))["source"] == str(tmp_path)
