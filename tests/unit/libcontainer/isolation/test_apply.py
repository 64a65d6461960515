"""--isolation, --network and --seccomp-profile: what they read, and which they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.isolation import apply as isolation
from pyrunc.libcontainer.launch import newidmap
from pyrunc.libcontainer.plan.host import HostFacts
from pyrunc.libcontainer.plan.options import LaunchOptions
from tests.support.plans import compiled, find, kinds, minimal, values

PROFILE = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}


def options(**given: Any) -> LaunchOptions:
    return LaunchOptions(**{"id": "box", "isolation": "sandbox", **given})


def files(monkeypatch: pytest.MonkeyPatch, **texts: str) -> None:
    def read(path: str) -> str:
        if path.rpartition("/")[2] not in texts:
            raise FileNotFoundError(2, "no such file", path)
        return texts[path.rpartition("/")[2]]

    monkeypatch.setattr(newidmap, "read_file", read)


def mapped(id: str = "box") -> tuple[int, int, int, int]:
    spec = minimal()
    isolation.apply(spec, options(id=id), 0)
    uids, gids = spec["linux"]["uidMappings"][0], spec["linux"]["gidMappings"][0]
    return uids["hostID"], uids["size"], gids["hostID"], gids["size"]


def test_root_s_ids_without_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    files(monkeypatch)
    first, size, first_gid, _ = mapped()
    assert first == first_gid
    assert size == 65536
    assert isolation.DEFAULT_FIRST <= first < isolation.DEFAULT_FIRST + isolation.DEFAULT_COUNT
    assert isolation.DEFAULT_FIRST + isolation.DEFAULT_COUNT == 1 << 31
    assert first % 65536 == 0
    assert mapped() == mapped()
    assert len({mapped(f"box-{number}")[0] for number in range(100)}) > 90


def test_root_s_ids_by_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    files(monkeypatch, subuid="root:100:9\ncontainers:3000000:65536\n", subgid="root:7000000:100\n")
    assert mapped() == (3000000, 65536, 7000000, 100)
    files(monkeypatch, subuid="containers:3000000:200000\n", subgid="")
    assert {mapped(f"box-{number}")[0] for number in range(50)} == {3000000, 3065536, 3131072}


@pytest.mark.parametrize(
    ("uids", "expected"),
    [
        ("0 1000 1\n", [(0, 0, 1)]),
        ("0 1000 1\n1 100000 65536\n", [(0, 0, 1), (1, 1, 65536)]),
    ],
)
def test_a_root_of_another_user_namespace_keeps_its_ids(
    monkeypatch: pytest.MonkeyPatch, uids: str, expected: list[tuple[int, int, int]]
) -> None:
    monkeypatch.setattr(isolation, "in_userns", lambda: True)
    monkeypatch.setattr(isolation, "read_file", lambda path: uids if path == "/proc/self/uid_map" else "0 1000 1\n")
    spec, chosen = minimal(), options()
    isolation.apply(spec, chosen, 0)
    rows = [(row["containerID"], row["hostID"], row["size"]) for row in spec["linux"]["uidMappings"]]
    assert rows == expected
    assert spec["linux"]["gidMappings"] == [{"containerID": 0, "hostID": 0, "size": 1}]
    assert not chosen.map_rootfs
    assert "sandbox: /linux/gidMappings: 0 is the host's 0" in chosen.changes


def test_the_host_s_root_in_a_user_namespace_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with systemd's PrivateUsers=full: its id 0 is the host's."""
    files(monkeypatch)
    monkeypatch.setattr(isolation, "in_userns", lambda: True)
    monkeypatch.setattr(isolation, "read_file", lambda path: "0 0 4294967295\n")
    spec, chosen = minimal(), options()
    isolation.apply(spec, chosen, 0)
    assert spec["linux"]["uidMappings"][0]["hostID"] >= isolation.DEFAULT_FIRST
    assert chosen.map_rootfs


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ("mount", "pid", "ipc", "uts", "cgroup", "network")),
        ({"network": "none"}, ("mount", "pid", "ipc", "uts", "cgroup", "network")),
        ({"network": "host"}, ("mount", "pid", "ipc", "uts", "cgroup")),
        ({"isolation": ""}, ()),
    ],
)
def test_the_namespaces_that_are_added(given: dict[str, str], expected: tuple[str, ...]) -> None:
    assert isolation.added(options(**given)) == expected


def test_the_rootfs_is_mounted_with_mapped_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    files(monkeypatch)
    spec = minimal()
    chosen = options()
    isolation.apply(spec, chosen, 0)
    assert chosen.map_rootfs
    found = compiled(spec, HostFacts(landlock=7), isolation="sandbox", map_rootfs=True, changes=chosen.changes)
    line = f"0 {spec['linux']['uidMappings'][0]['hostID']} 65536"
    assert values(find(found, "make_idmap")[0], "uids", "gids") == ((line,), (line,))
    source = find(found, "open_mapped_source")[0]
    assert values(source, "slot", "path", "recursive", "below") == ("source:rootfs", "/bundle/rootfs", True, False)
    assert values(find(found, "rootfs")[0], "source") == ("source:rootfs",)
    after = kinds(found)[kinds(found).index("rootfs") :]
    assert after[1] == "remount"
    assert values(find(found, "remount")[0], "target", "attr_set") == ("/", 6)
    assert [note for note in found.notes if note.startswith("sandbox: /linux/seccomp: ")]


def test_a_user_s_sandbox_and_a_user_namespace_of_the_configuration_map_no_rootfs() -> None:
    chosen = options()
    isolation.apply(minimal(), chosen, 1000)
    assert not chosen.map_rootfs
    spec = minimal()
    spec["linux"]["namespaces"].append({"type": "user"})
    mapping = [{"containerID": 0, "hostID": 5000, "size": 10}]
    spec["linux"].update(uidMappings=mapping, gidMappings=mapping)
    isolation.apply(spec, chosen, 0)
    assert not chosen.map_rootfs
    assert spec["linux"]["uidMappings"] == mapping


def test_a_kernel_without_landlock_has_no_sandbox() -> None:
    spec = minimal()
    isolation.apply(spec, options(), 0)
    with pytest.raises(PyruncError, match="a sandbox needs Landlock"):
        compiled(spec, HostFacts(landlock=0), isolation="sandbox")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"isolation": "vm"}, 'unknown isolation "vm"'),
        ({"network": "bridge"}, 'unknown network "bridge"'),
        ({"isolation": "", "network": "host"}, "--network needs --isolation sandbox"),
        ({"no_pivot": True}, "--no-pivot is refused"),
        ({"no_new_keyring": True}, "--no-new-keyring is refused"),
    ],
)
def test_options_that_make_no_sense(given: dict[str, Any], message: str) -> None:
    with pytest.raises(PyruncError, match=message) as caught:
        isolation.apply(minimal(), options(**given), 0)
    assert caught.value.hint


def test_a_profile_with_and_without_a_sandbox(tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    file.write_text(json.dumps(PROFILE))
    for word in ("", "sandbox"):
        spec = minimal()
        spec["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}
        isolation.apply(spec, options(isolation=word, seccomp_profile=str(file)), 0)
        assert spec["linux"]["seccomp"] == PROFILE


@pytest.mark.parametrize(
    ("text", "message", "pointer"),
    [
        ("{", "profile.json:1:2", ""),
        ("[]", "seccomp", ""),
        ('{"ociVersion": "1.0.0", "linux": {}}', "a config.json and no profile", ""),
        ('{"syscalls": []}', "defaultAction", "/defaultAction"),
        ('{"defaultAction": "SCMP_ACT_NO"}', "SCMP_ACT_NO", "/defaultAction"),
        ('{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["a"], "action": "x"}]}', '"x"',
         "/syscalls/0/action"),
        ('{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["a"], "action": "SCMP_ACT_ALLOW", '
         '"includes": {"caps": ["x"]}}]}', "Docker's own form", "/syscalls/0"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_profile(tmp_path: Path, text: str, message: str, pointer: str) -> None:
    file = tmp_path / "profile.json"
    file.write_text(text)
    with pytest.raises(PyruncError, match=message) as caught:
        isolation.apply(minimal(), options(seccomp_profile=str(file)), 0)
    assert caught.value.pointer == pointer
    assert caught.value.document == (str(file), str(file))


def test_what_exec_adds_is_bound() -> None:
    process: Any = {"args": ["x"], "cwd": "/", "noNewPrivileges": True}
    process["capabilities"] = {"bounding": ["CAP_SYS_ADMIN"]}
    assert isolation.bound(process) == ["/process/capabilities: without CAP_SYS_ADMIN"]


def test_a_symlink_to_the_host_s_own_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/proc")
    mount: Any = {"destination": "/x", "type": "bind", "source": str(tmp_path / "link"), "options": ["bind"]}
    with pytest.raises(PyruncError, match="bind mount of the host's /proc is refused") as caught:
        isolation.apply(minimal(mounts=[mount]), options(), 0)
    assert caught.value.pointer == "/mounts/0/source"
    mount["source"] = str(tmp_path / "nothing")
    isolation.apply(minimal(mounts=[mount]), options(), 0)
