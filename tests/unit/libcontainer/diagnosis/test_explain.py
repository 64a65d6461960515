"""explain: every problem, in words, in the order of the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pyrunc.libcontainer.diagnosis import explain
from pyrunc.libcontainer.spec.checks import ERROR, WARNING
from tests.support.full_config import full_config, runnable_config


def bundle_with(directory: Path, value: Any, rootfs: bool = True) -> str:
    """A bundle with a config.json and, if wanted, its root file system."""
    (directory / "config.json").write_text(json.dumps(value))
    if rootfs:
        (directory / "rootfs").mkdir()
    return str(directory)


def lines(value: Any) -> list[str]:
    return [f"{problem.pointer}: {problem.message}; {problem.hint()}" for problem in explain.problems(value)]


def test_nothing_to_say_of_a_valid_value():
    assert explain.problems(full_config()) == []
    assert explain.problems(full_config()["process"], "process") == []
    assert explain.problems(full_config()["linux"]["resources"], "resources") == []


def test_every_problem_in_the_order_of_the_file():
    value = full_config()
    value["process"]["rlimits"][0]["soft"] = 1.0
    value["process"]["env"][1] = "no variable"
    del value["root"]["path"]
    value["mounts"][0]["options"] = ["ro", 3]
    value["hooks"]["poststop"][1]["timeout"] = 0
    value["annotations"][""] = "x"
    value["linux"]["timeOffsets"]["monotonik"] = {}
    value["linux"]["rootfsPropagation"] = "SLAVE"
    assert lines(value) == [
        "/process/env/1: env[1] must be NAME=VALUE without NUL characters, not \"no variable\"; ",
        "/process/rlimits/0/soft: soft must be an integer from 0 to 18446744073709551615, not 1.0; ",
        "/root/path: path is missing; the specification requires it",
        "/mounts/0/options/1: options[1] must be text without NUL characters, not 3; ",
        "/hooks/poststop/1/timeout: timeout must be an integer from 1 to 9223372036854775807, not 0; ",
        "/annotations/: \"\" has a name that must be text without NUL characters, not empty; ",
        '/linux/timeOffsets/monotonik: monotonik has a name that must be one of "monotonic", "boottime"; '
        'did you mean "monotonic"?',
        '/linux/rootfsPropagation: rootfsPropagation must be one of "", "shared", "slave", "private", "unbindable", '
        '"rshared", "rslave", "rprivate", "runbindable", not "SLAVE"; did you mean "slave"?',
    ]  # fmt: skip


def test_one_problem_a_place():
    value = full_config()
    value["process"]["ioPriority"]["priority"] = 8.5
    value["linux"]["personality"]["domain"] = 5
    assert [problem.pointer for problem in explain.problems(value)] == [
        "/process/ioPriority/priority", "/linux/personality/domain",
    ]  # fmt: skip


def test_every_missing_member():
    assert [(problem.pointer, problem.message) for problem in explain.problems({})] == [
        ("/ociVersion", "ociVersion is missing"), ("/root", "root is missing"),
    ]  # fmt: skip


def test_missing_and_misspelt_member():
    value = full_config()
    value["process"]["cdw"] = value["process"].pop("cwd")
    assert lines(value) == ['/process/cwd: cwd is missing, "cdw" is unknown; rename it to cwd']


def test_members_that_belong_together():
    value = full_config()
    del value["linux"]["seccomp"]["listenerPath"]
    del value["mounts"][1]["uidMappings"]
    value["linux"]["resources"]["blockIO"]["weightDevice"] = [{"major": 8, "minor": 0}]
    del value["linux"]["devices"][0]["minor"]
    assert lines(value) == [
        "/mounts/1/uidMappings: uidMappings is missing beside gidMappings; the specification requires it",
        "/linux/devices/0/minor: minor is missing; the specification requires it",
        "/linux/resources/blockIO/weightDevice/0: weightDevice[0] needs weight or leafWeight; ",
        "/linux/seccomp/listenerPath: listenerPath is missing beside listenerMetadata; the specification requires it",
    ]


def test_args_must_not_be_empty():
    value = full_config()
    value["process"]["args"] = []
    assert lines(value) == ["/process/args: args must have at least one entry; "]


@pytest.mark.parametrize(
    ("word", "words", "meant"),
    [
        ("netwrok", ["pid", "network"], "network"),
        ("PID", ["pid", "network"], "pid"),
        ("sys_admim", ["CAP_SYS_ADMIN", "CAP_SYS_TIME"], "CAP_SYS_ADMIN"),
        ("masked_paths", ["maskedPaths", "readonlyPaths"], "maskedPaths"),
        ("zzz", ["pid", "network"], ""),
        ("x", [], ""),
    ],
)
def test_nearest(word, words, meant):
    assert explain.nearest(word, words) == meant


def test_unknown_properties():
    value = full_config()
    value["mounts"][1]["option"] = []
    value["linux"]["resources"]["devices"][0]["x"] = 1
    value["linux"]["rdma"] = {}
    value["windows"]["anything"] = 1
    value["annotations"]["any key"] = "x"
    problems = explain.unknown_properties(value)
    assert [(problem.severity, problem.pointer) for problem in problems] == [
        (WARNING, "/mounts/1/option"), (WARNING, "/linux/resources/devices/0/x"), (WARNING, "/linux/rdma"),
    ]  # fmt: skip


def test_bundle_without_a_problem(tmp_path):
    assert explain.validate_bundle(bundle_with(tmp_path, runnable_config()), host=False) == []


def test_bundle_with_every_sort_of_problem(tmp_path):
    value = runnable_config()
    value["process"]["capabilities"]["bounding"].append("CAP_SYS_ADMN")
    value["process"]["cwd"] = "relative"
    value["linux"]["namespaces"].append({"type": "pid"})
    value["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_NOTIFY"}
    value["linux"]["netDevices"] = {"eth:0": {}}
    value["linux"]["maskedPath"] = []
    problems = explain.validate_bundle(bundle_with(tmp_path, value, rootfs=False))
    assert [(problem.severity, problem.pointer, problem.nearest) for problem in problems] == [
        (ERROR, "/process/cwd", ""),
        (WARNING, "/process/capabilities/bounding/2", "CAP_SYS_ADMIN"),
        (ERROR, "/root/path", ""),
        (ERROR, "/linux/namespaces/8", ""),
        (ERROR, "/linux/netDevices/eth:0", ""),
        (ERROR, "/linux/seccomp/defaultAction", ""),
        (WARNING, "/linux/maskedPath", "maskedPaths"),
    ]


def test_no_problem_that_follows_from_another(tmp_path):
    value = runnable_config()
    value["linux"]["namespaces"][4]["type"] = "utz"
    problems = explain.validate_bundle(bundle_with(tmp_path, value))
    assert [problem.pointer for problem in problems] == ["/linux/namespaces/4/type"]


def test_rootfs_that_is_no_directory(tmp_path):
    value = runnable_config()
    value["root"]["path"] = str(tmp_path / "config.json")
    problems = explain.validate_bundle(bundle_with(tmp_path, value))
    assert [problem.pointer for problem in problems] == ["/root/path"]
    assert problems[0].message.endswith("is not a directory")


@pytest.mark.parametrize("text", ["", "[1,", "{", '{"a": NaN}'])
def test_file_that_is_no_json(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    problems = explain.validate_bundle(str(tmp_path))
    assert [(problem.severity, problem.pointer) for problem in problems] == [(ERROR, "")]
    assert problems[0].message.startswith("config.json:1:")


def test_missing_file(tmp_path):
    [problem] = explain.validate_bundle(str(tmp_path), "other.json")
    assert problem.line().startswith(f"error: /: JSON specification file other.json not found in {tmp_path}; ")


@pytest.mark.parametrize("text", ["null", "[]", "3", '"x"'])
def test_configuration_that_is_no_object(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    [problem] = explain.validate_bundle(str(tmp_path))
    assert problem.message == f"config must be an object, not {text}"


def test_what_only_the_compiler_refuses(tmp_path):
    value = runnable_config()
    count = len(value["mounts"])
    value["mounts"] += [
        {"destination": "/a", "source": "/tmp", "type": "bind", "options": ["rbind", "nosiud"]},
        {"destination": "/b", "type": "bind", "options": ["bind"]},
    ]
    problems = explain.validate_bundle(bundle_with(tmp_path, value))
    assert [(problem.severity, problem.pointer) for problem in problems] == [
        (ERROR, f"/mounts/{count}/options/1"),
        (ERROR, f"/mounts/{count + 1}/source"),
    ]
    assert "nosuid" in problems[0].hint()
