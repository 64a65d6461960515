"""The process that `exec` starts, from the command line and from a file."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.exec import process as exec_process
from pyrunc.libcontainer.plan.options import ExecOptions

OWN: Any = {
    "args": ["sleep", "1"],
    "cwd": "/work",
    "env": ["PATH=/bin"],
    "terminal": True,
    "user": {"uid": 5, "gid": 6, "umask": 7, "additionalGids": [8]},
    "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]},
    "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}],
    "noNewPrivileges": True,
    "apparmorProfile": "own",
    "oomScoreAdj": 3,
}


def made(own: Any = OWN, linux: dict[str, Any] | None = None, **options: Any) -> Any:
    kept: Any = {"process": copy.deepcopy(own), "linux": linux or {}}
    process = exec_process.process_of(kept, ExecOptions(**{"id": "box", "args": ("ls", "-l"), **options}))
    assert kept["process"] == own, "the container's own is left alone"
    return process


def refused(**options: Any) -> PyruncError:
    with pytest.raises(PyruncError) as raised:
        made(**options)
    return raised.value


def test_the_container_s_own_process_with_another_program() -> None:
    assert made() == {**OWN, "args": ["ls", "-l"], "terminal": False}


def test_what_the_options_change() -> None:
    process = made(
        cwd="/x", env=("A=1", "B=2"), tty=True, apparmor="other", process_label="l", no_new_privs=False, user="9:10",
        additional_gids=(11, 12),
    )  # fmt: skip
    changed = {
        "cwd": "/x", "env": ["PATH=/bin", "A=1", "B=2"], "terminal": True, "apparmorProfile": "other",
        "selinuxLabel": "l", "noNewPrivileges": False,
        "user": {"uid": 9, "gid": 10, "umask": 7, "additionalGids": [8, 11, 12]},
    }  # fmt: skip
    assert process == {**OWN, "args": ["ls", "-l"], **changed}


def test_capabilities_are_added_and_never_inheritable() -> None:
    sets = made(cap=("CAP_CHOWN", "CAP_BPF"))["capabilities"]
    both = ["CAP_KILL", "CAP_CHOWN", "CAP_BPF"]
    assert sets == {"bounding": both, "effective": both, "permitted": both}
    own = {**OWN, "capabilities": {**OWN["capabilities"], "inheritable": ["CAP_KILL"]}}
    sets = made(own, cap=("CAP_CHOWN",))["capabilities"]
    assert (sets["inheritable"], sets["ambient"]) == (["CAP_KILL"], ["CAP_CHOWN"])
    bare = {name: value for name, value in OWN.items() if name != "capabilities"}
    assert made(bare, cap=("CAP_CHOWN",))["capabilities"]["effective"] == ["CAP_CHOWN"]


@pytest.mark.parametrize(
    ("text", "ids"),
    [("0", (0, None)), ("1", (1, None)), ("007", (7, None)), ("1:2", (1, 2)), ("4294967294:0", (4294967294, 0))],
)
def test_users(text: str, ids: tuple[int, int | None]) -> None:
    assert exec_process.parse_user(text) == ids


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "1:", ":1", "root", "1:root", "-1", "+1", "1:-1", "1:2:3", " 1", "1 ", "1\n", "0x1", "1_0",
        "1e3", "4294967295", "4294967296", "18446744073709551616",
        "1:4294967295", "9" * 5000, "\u0661", "\u00b2", "1\0",
    ],
)  # fmt: skip
def test_what_is_no_user(text: str) -> None:
    with pytest.raises(PyruncError, match=r"bad [ug]id"):
        exec_process.parse_user(text)


@pytest.mark.parametrize("gid", [-1, 4294967295, 1 << 40])
def test_what_is_no_additional_gid(gid: int) -> None:
    assert f"additional-gids must be a positive number {gid}" in refused(additional_gids=(gid,)).message


def test_what_is_refused_of_the_command_line() -> None:
    assert refused(args=()).message == "exec args cannot be empty"
    assert refused(cwd="here").message == "Cwd must be an absolute path"
    mapping = [{"containerID": 0, "hostID": 100000, "size": 10}]
    linux = {"namespaces": [{"type": "user"}], "uidMappings": mapping, "gidMappings": mapping}
    assert refused(linux=linux, user="11:0").pointer == "/process/user/uid"
    assert refused(linux=linux, additional_gids=(99,)).pointer == "/process/user/additionalGids/1"


def write(path: Path, **process: Any) -> str:
    file = path / "process.json"
    file.write_text(json.dumps({"cwd": "/", "args": ["id"], **process}))
    return str(file)


def test_a_file_tells_the_process_and_the_container_what_it_leaves_out(tmp_path: Path) -> None:
    assert made(process=write(tmp_path, terminal=None, env=["A=1"]), args=()) == {
        "cwd": "/", "args": ["id"], "env": ["A=1"], "user": {"uid": 0, "gid": 0, "umask": 7},
        "capabilities": OWN["capabilities"], "apparmorProfile": "own", "oomScoreAdj": 3,
    }  # fmt: skip


def test_what_a_file_says_counts(tmp_path: Path) -> None:
    said = {
        "user": {"uid": 1, "gid": 2, "umask": 18}, "capabilities": {}, "oomScoreAdj": 0, "apparmorProfile": "x",
        "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}], "execCPUAffinity": {}, "noNewPrivileges": False,
    }  # fmt: skip
    assert made(process=write(tmp_path, **said), args=()) == {"cwd": "/", "args": ["id"], **said}
    empty = made(process=write(tmp_path, rlimits=[], apparmorProfile=""), args=())
    assert (empty["rlimits"], empty["apparmorProfile"]) == ([], "own")


@pytest.mark.parametrize(
    ("changes", "pointer", "message"),
    [
        ({"cwd": "x"}, "/process/cwd", "cwd must be an absolute path"),
        ({"args": []}, "/process/args", "args must"),
        ({"args": [1]}, "/process/args/0", "must be"),
        ({"user": {"uid": -1, "gid": 0}}, "/process/user/uid", "uid"),
        ({"rlimits": [{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}]}, "/process/rlimits/0", "above hard limit"),
        ({"execCPUAffinity": {"initial": "3-1"}}, "/process/execCPUAffinity/initial", "bad CPUAffinity"),
    ],
)
def test_a_file_that_is_refused(tmp_path: Path, changes: Any, pointer: str, message: str) -> None:
    error = refused(process=write(tmp_path, **changes), args=())
    assert error.pointer == pointer
    assert message in error.message


def test_options_that_a_file_leaves_without_effect_are_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    made(process=write(tmp_path), env=("A=1",), tty=True)
    told = capfd.readouterr().err
    assert "--env has no effect: --process tells the whole process" in told
    assert told.count("\n") == 1
