"""newidmap: the arguments of newuidmap and newgidmap, and the messages for their refusals."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.launch import newidmap
from tests.support.host import open_descriptors

LINES = ["0 1000 1", "1 100000 65536"]


def tool(folder: Path, script: str, mode: int = 0o4755) -> str:
    path = folder / "newuidmap"
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(mode)
    return str(path)


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The files that pyrunc reads for a hint."""
    content = {"/proc/self/status": "Name:\tx\nNoNewPrivs:\t0\n", "/etc/subuid": ""}

    def read_file(path: str) -> str:
        if path not in content:
            raise FileNotFoundError(errno.ENOENT, "no such file")
        return content[path]

    monkeypatch.setattr(newidmap, "read_file", read_file)
    monkeypatch.setattr(newidmap, "owner_name", lambda uid: "tester")
    return content


def test_the_tool_gets_the_pid_and_the_map_in_words(tmp_path: Path) -> None:
    out = tmp_path / "out"
    newidmap.write_map(tool(tmp_path, f'echo "$0 $*" > {out}; cat >> {out}'), 77, "uid_map", LINES)
    assert out.read_text() == f"{tmp_path}/newuidmap 77 0 1000 1 1 100000 65536\n"


def test_it_leaves_no_descriptor_and_no_process(tmp_path: Path) -> None:
    before = open_descriptors()
    newidmap.write_map(tool(tmp_path, "exit 0"), 77, "uid_map", LINES)
    assert open_descriptors() == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.parametrize("script", ["head -c 200000000 /dev/zero | tr '\\0' x; echo the end; exit 1",
                                    "( sleep 30; touch late ) & echo the end; exit 1"])  # fmt: skip
def test_a8_what_it_says_is_bounded_and_not_waited_for(
    tmp_path: Path, files: dict[str, str], monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    """A8: only the end of the output is kept, and a process that keeps the pipe open delays nothing."""
    monkeypatch.chdir(tmp_path)
    error = refusal(tool(tmp_path, script))
    assert error.message.endswith("the end")
    assert len(error.message) < 20000
    assert not (tmp_path / "late").exists()


def refusal(path: str, file: str = "uid_map") -> PyruncError:
    with pytest.raises(PyruncError) as caught:
        newidmap.write_map(path, 77, file, LINES)
    return caught.value


def test_what_it_says_is_the_error(tmp_path: Path, files: dict[str, str]) -> None:
    error = refusal(tool(tmp_path, "echo 'newuidmap: uid range [0-1) ->' >&2; echo not allowed; exit 1"))
    assert error.message == "newuidmap: uid range [0-1) -> not allowed"
    assert error.pointer == "/linux/uidMappings"
    assert refusal(tool(tmp_path, "exit 3"), "gid_map").message == "newuidmap: exit status 3"
    assert refusal(tool(tmp_path, "kill -9 $$")).message == "newuidmap: signal: killed"
    assert refusal(str(tmp_path / "gone")).errno == errno.ENOENT


@pytest.mark.parametrize(
    ("subuid", "hint"),
    [
        ("", "/etc/subuid has no range for tester: usermod --add-subuids 100000-165535 tester"),
        ("other:5:10\n", "/etc/subuid has no range for tester: usermod --add-subuids 100000-165535 tester"),
        ("tester:100000:65536\nbad\ntester:x:1\ntester:7:0\n", "/etc/subuid gives tester only 100000-165535"),
    ],
)
def test_the_cure_is_in_the_user_s_ranges(tmp_path: Path, files: dict[str, str], subuid: str, hint: str) -> None:
    files["/etc/subuid"] = subuid
    assert refusal(tool(tmp_path, "exit 1")).hint == hint


def test_a_user_without_a_name_is_not_told_to_run_usermod(
    tmp_path: Path, files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(newidmap, "owner_name", lambda uid: f"#{uid}")
    files["/etc/subuid"] = ""
    hint = refusal(tool(tmp_path, "exit 1")).hint
    assert hint == f"/etc/subuid has no range for uid {os.geteuid()}, which has no name in /etc/passwd: add the user"


def test_ranges_are_known_by_the_user_s_number_too(tmp_path: Path, files: dict[str, str]) -> None:
    files["/etc/subgid"] = f"tester:5:2\n{os.geteuid()}:100:1\n"
    assert refusal(tool(tmp_path, "exit 1"), "gid_map").hint == "/etc/subgid gives tester only 5-6 and 100-100"
    del files["/etc/subgid"]
    assert refusal(tool(tmp_path, "exit 1"), "gid_map").hint == "/etc/subgid: no such file or directory"


def test_a_tool_that_gains_no_privileges(tmp_path: Path, files: dict[str, str]) -> None:
    assert "neither the setuid bit nor file capabilities" in refusal(tool(tmp_path, "exit 1", 0o755)).hint
    files["/proc/self/status"] = "Name:\tx\nNoNewPrivs:\t1\n"
    assert "no_new_privs" in refusal(tool(tmp_path, "exit 1")).hint


@pytest.mark.parametrize(
    ("inside", "subordinate", "mapped"),
    [
        (0, (0, 0), [(0, 1000, 1)]),
        (5, (0, 0), [(0, 1000, 1)]),
        (0, (100000, 65536), [(0, 1000, 1), (1, 100000, 65536)]),
        (5, (100000, 65536), [(0, 100000, 5), (5, 1000, 1), (6, 100005, 65531)]),
        (70000, (100000, 65536), [(0, 100000, 65536), (70000, 1000, 1)]),
    ],
)
def test_s6_a_user_namespace_without_mappings_gets_crun_s(
    monkeypatch: pytest.MonkeyPatch, inside: int, subordinate: tuple[int, int], mapped: list[tuple[int, int, int]]
) -> None:
    """S6: the process's id is the runtime's own, the others are subordinate ids."""
    monkeypatch.setattr(newidmap, "subordinate", lambda file, euid: subordinate)
    spec: Any = {
        "process": {"user": {"uid": inside, "gid": inside}},
        "linux": {"namespaces": [{"type": "user"}], "gidMappings": [{"containerID": 0, "hostID": 7, "size": 1}]},
    }
    newidmap.fill_mappings(spec, 1000, 1000)
    linux = spec["linux"]
    assert [tuple(row.values()) for row in linux["uidMappings"]] == mapped
    assert linux["gidMappings"] == [{"containerID": 0, "hostID": 7, "size": 1}]


@pytest.mark.parametrize("namespaces", [[], [{"type": "user", "path": "/p"}], [{"type": "pid"}]])
def test_other_namespaces_get_no_mappings(namespaces: list[dict[str, str]]) -> None:
    spec: Any = {"linux": {"namespaces": namespaces}}
    newidmap.fill_mappings(spec, 0, 0)
    assert "uidMappings" not in spec["linux"]
