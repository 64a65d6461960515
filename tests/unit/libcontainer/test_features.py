from __future__ import annotations

import json
import sys
from pathlib import Path

import jsonschema
import pytest

from pyrunc.libcontainer import features
from pyrunc.libcontainer.example import example
from pyrunc.libcontainer.explain import problems

SCHEMA = Path(__file__).resolve().parents[3] / "spec-schemas" / "features.json"


def test_the_structure_is_the_specifications() -> None:
    schema = json.loads(next(SCHEMA.parent.glob("features*.json")).read_text())
    jsonschema.Draft202012Validator(schema).validate(features.features())


def test_what_is_listed_is_accepted() -> None:
    structure = features.features()
    for version in (structure["ociVersionMin"], structure["ociVersionMax"]):
        assert problems({**example(), "ociVersion": version}) == []
    hooks = {name: [{"path": "/bin/true"}] for name in structure["hooks"]}
    assert problems({**example(), "hooks": hooks}) == []
    linux = {**example()["linux"], "namespaces": [{"type": name} for name in structure["linux"]["namespaces"]]}
    assert problems({**example(), "linux": linux}) == []


def test_every_memory_policy_that_is_listed_is_accepted() -> None:
    listed = features.features()["linux"]["memoryPolicy"]
    for mode in listed["modes"]:
        linux = {**example()["linux"], "memoryPolicy": {"mode": mode, "flags": listed["flags"]}}
        assert problems({**example(), "linux": linux}) == []


def test_the_options_that_the_specification_asks_for_are_listed() -> None:
    options = features.features()["mountOptions"]
    assert options == sorted(set(options))
    for word in ("bind", "rbind", "ro", "rro", "rnosuid", "nosymfollow", "tmpcopyup", "shared", "runbindable"):
        assert word in options


def test_seccomp_is_what_is_built_in_and_what_the_kernel_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    structure = features.features()
    seccomp = structure["linux"]["seccomp"]
    assert seccomp["enabled"] is True
    assert {"SCMP_ACT_NOTIFY", "SCMP_ACT_KILL_PROCESS"} <= set(seccomp["actions"])
    assert "SCMP_CMP_MASKED_EQ" in seccomp["operators"]
    assert set(seccomp["supportedFlags"]) <= set(seccomp["knownFlags"])
    assert structure["annotations"]["io.github.seccomp.libseccomp.version"].startswith("2.")
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": seccomp["archs"],
        "flags": [name for name in seccomp["knownFlags"] if "KILLABLE" not in name],
        "syscalls": [{"names": ["mkdir"], "action": name} for name in seccomp["actions"] if "NOTIFY" not in name],
    }
    config = example()
    config["linux"]["seccomp"] = profile
    assert problems(config) == []
    monkeypatch.setitem(sys.modules, "pyrunc._seccomp", None)
    monkeypatch.delattr("pyrunc._seccomp", raising=False)
    structure = features.features()
    assert structure["linux"]["seccomp"] == {"enabled": False}
    assert "io.github.seccomp.libseccomp.version" not in structure["annotations"]
