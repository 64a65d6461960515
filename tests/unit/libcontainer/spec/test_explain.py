"""explain: every problem, in words, in the order of the file."""

from __future__ import annotations

from typing import Any

import pytest

from pyrunc.libcontainer.spec import explain
from pyrunc.libcontainer.spec.problems import WARNING
from tests.support.full_config import full_config


def lines(value: Any) -> list[str]:
    return [f"{problem.pointer}: {problem.message}; {problem.hint_text()}" for problem in explain.problems(value)]


def test_nothing_to_say_of_a_valid_value() -> None:
    assert explain.problems(full_config()) == []
    assert explain.problems(full_config()["process"], "process") == []
    assert explain.problems(full_config()["linux"]["resources"], "resources") == []


def test_every_problem_in_the_order_of_the_file() -> None:
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


def test_one_problem_a_place() -> None:
    value = full_config()
    value["process"]["ioPriority"]["priority"] = 8.5
    value["linux"]["personality"]["domain"] = 5
    assert [problem.pointer for problem in explain.problems(value)] == [
        "/process/ioPriority/priority", "/linux/personality/domain",
    ]  # fmt: skip


def test_every_missing_member() -> None:
    assert [(problem.pointer, problem.message) for problem in explain.problems({})] == [
        ("/ociVersion", "ociVersion is missing"), ("/root", "root is missing"),
    ]  # fmt: skip


def test_missing_and_misspelt_member() -> None:
    value = full_config()
    value["process"]["cdw"] = value["process"].pop("cwd")
    assert lines(value) == ['/process/cwd: cwd is missing, "cdw" is unknown; rename it to cwd']


def test_members_that_belong_together() -> None:
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


def test_args_must_not_be_empty() -> None:
    value = full_config()
    value["process"]["args"] = []
    assert lines(value) == ["/process/args: args must have at least one entry; "]


@pytest.mark.parametrize(
    ("word", "words", "meant"),
    [
        ("netwrok", ["pid", "network"], "network"),
        ("PID", ["pid", "network"], "pid"),
        ("sys_admim", ["CAP_SYS_ADMIN", "CAP_SYS_TIME"], "CAP_SYS_ADMIN"),
        ("CAP_SYS_TIM", ["CAP_SYS_ADMIN", "CAP_SYS_TIME"], "CAP_SYS_TIME"),
        ("RLIMIT_FOO", ["RLIMIT_CORE", "RLIMIT_CPU"], ""),
        ("RLIMIT_COER", ["RLIMIT_CORE", "RLIMIT_CPU"], "RLIMIT_CORE"),
        ("masked_paths", ["maskedPaths", "readonlyPaths"], "maskedPaths"),
        ("zzz", ["pid", "network"], ""),
        ("x", [], ""),
    ],
)
def test_nearest(word: str, words: Any, meant: Any) -> None:
    assert explain.nearest(word, words) == meant


def test_unknown_properties() -> None:
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
