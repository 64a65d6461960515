"""bundle_check: every problem of a bundle, also those of the rootfs and those that only the compiler finds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pyrunc.libcontainer.diagnosis import bundle_check
from pyrunc.libcontainer.spec.problems import ERROR, WARNING
from tests.support.full_config import runnable_config


def bundle_with(directory: Path, value: Any, rootfs: bool = True) -> str:
    """A bundle with a config.json and, if wanted, its root file system."""
    (directory / "config.json").write_text(json.dumps(value))
    if rootfs:
        (directory / "rootfs").mkdir()
    return str(directory)


def test_bundle_without_a_problem(tmp_path: Path) -> None:
    assert bundle_check.validate_bundle(bundle_with(tmp_path, runnable_config()), host=False) == []


def test_bundle_with_every_sort_of_problem(tmp_path: Path) -> None:
    value = runnable_config()
    value["process"]["capabilities"]["bounding"].append("CAP_SYS_ADMN")
    value["process"]["cwd"] = "relative"
    value["linux"]["namespaces"].append({"type": "pid"})
    value["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_NOTIFY"}
    value["linux"]["netDevices"] = {"eth:0": {}}
    value["linux"]["maskedPath"] = []
    problems = bundle_check.validate_bundle(bundle_with(tmp_path, value, rootfs=False))
    assert [(problem.severity, problem.pointer, problem.nearest) for problem in problems] == [
        (ERROR, "/process/cwd", ""),
        (WARNING, "/process/capabilities/bounding/2", "CAP_SYS_ADMIN"),
        (ERROR, "/root/path", ""),
        (ERROR, "/linux/namespaces/8", ""),
        (ERROR, "/linux/netDevices/eth:0", ""),
        (ERROR, "/linux/seccomp/defaultAction", ""),
        (WARNING, "/linux/maskedPath", "maskedPaths"),
    ]


def test_no_problem_that_follows_from_another(tmp_path: Path) -> None:
    value = runnable_config()
    value["linux"]["namespaces"][4]["type"] = "utz"
    problems = bundle_check.validate_bundle(bundle_with(tmp_path, value))
    assert [problem.pointer for problem in problems] == ["/linux/namespaces/4/type"]


def test_rootfs_that_is_no_directory(tmp_path: Path) -> None:
    value = runnable_config()
    value["root"]["path"] = str(tmp_path / "config.json")
    problems = bundle_check.validate_bundle(bundle_with(tmp_path, value))
    assert [problem.pointer for problem in problems] == ["/root/path"]
    assert problems[0].message.endswith("is not a directory")


@pytest.mark.parametrize("text", ["", "[1,", "{", '{"a": NaN}'])
def test_file_that_is_no_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    problems = bundle_check.validate_bundle(str(tmp_path))
    assert [(problem.severity, problem.pointer) for problem in problems] == [(ERROR, "")]
    assert problems[0].message.startswith("config.json:1:")


def test_missing_file(tmp_path: Path) -> None:
    [problem] = bundle_check.validate_bundle(str(tmp_path), "other.json")
    assert problem.line().startswith(f"error: /: JSON specification file other.json not found in {tmp_path}; ")


@pytest.mark.parametrize("text", ["null", "[]", "3", '"x"'])
def test_configuration_that_is_no_object(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    [problem] = bundle_check.validate_bundle(str(tmp_path))
    assert problem.message == f"config must be an object, not {text}"


def test_what_only_the_compiler_refuses(tmp_path: Path) -> None:
    value = runnable_config()
    count = len(value["mounts"])
    value["mounts"] += [
        {"destination": "/a", "source": "/tmp", "type": "bind", "options": ["rbind", "nosiud"]},
        {"destination": "/b", "type": "bind", "options": ["bind"]},
    ]
    problems = bundle_check.validate_bundle(bundle_with(tmp_path, value))
    assert [(problem.severity, problem.pointer) for problem in problems] == [
        (ERROR, f"/mounts/{count}/options/1"),
        (ERROR, f"/mounts/{count + 1}/source"),
    ]
    assert "nosuid" in problems[0].hint_text()
