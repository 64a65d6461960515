"""commands/broker.py: options, and the profile that is printed. tests/integration/test_broker.py runs brokers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pyrunc.commands import broker
from pyrunc.commands.settings import Settings
from pyrunc.errors import PyruncError
from pyrunc.libcontainer.spec.example import example

SETTINGS = Settings("pyrunc", "/r", False, "cgroupfs", None)


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "broker.json"
    path.write_text(json.dumps({"policies": {"default": {"sysinfo": {}}, "web": {"mknod": {}}}}))
    return str(path)


def run(**options: Any) -> int:
    given = {
        "socket": "/run/b",
        "config": "",
        "print_profile": False,
        "base": "",
        "no_flags": False,
        "policy": "",
        "parent": 0,
        **options,
    }
    return broker.broker(SETTINGS, **given)


@pytest.mark.parametrize("missing", ["socket", "config"])
def test_what_is_missing(config: str, missing: str) -> None:
    with pytest.raises(PyruncError, match=f"--{missing} is missing"):
        run(**{"socket": "/run/b", "config": config, missing: ""})


@pytest.mark.parametrize(("option", "value"), [("base", "x.json"), ("no_flags", True), ("policy", "web")])
def test_options_of_the_profile_alone(config: str, option: str, value: str) -> None:
    with pytest.raises(PyruncError, match="no effect without --print-profile"):
        run(config=config, **{option: value})


def test_a_parent_is_of_a_broker_that_runs(config: str) -> None:
    with pytest.raises(PyruncError, match="--parent has no effect with --print-profile"):
        run(config=config, print_profile=True, parent=1)
    with pytest.raises(PyruncError, match="--parent is a pid, not -1"):
        run(config=config, parent=-1)


def test_a_policy_that_is_not_there(config: str) -> None:
    with pytest.raises(PyruncError) as caught:
        run(config=config, print_profile=True, policy="x")
    assert str(caught.value) == "there is no policy x (from --policy; there are default, web)"


def test_it_runs_as_root(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 5)
    with pytest.raises(PyruncError, match="runs as root"):
        run(config=config)


def test_a_profile(config: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(config=config, print_profile=True, policy="web", socket="/run/x/b") == 0
    made = json.loads(capfd.readouterr().out)
    assert (made["listenerPath"], made["listenerMetadata"]) == ("/run/x/b", "web")
    assert made["defaultAction"] == "SCMP_ACT_ALLOW"


@pytest.mark.parametrize("has_profile", [False, True])
def test_a_whole_configuration(
    config: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], has_profile: bool
) -> None:
    spec: Any = example()
    if has_profile:
        spec["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{"names": ["read", "sysinfo"], "action": "SCMP_ACT_ALLOW"}],
        }
    base = tmp_path / "config.json"
    base.write_text(json.dumps(spec))
    assert run(config=config, print_profile=True, base=str(base)) == 0
    made = json.loads(capfd.readouterr().out)
    seccomp = made["linux"].pop("seccomp")
    spec["linux"].pop("seccomp", None)
    assert made == spec
    assert seccomp["defaultAction"] == ("SCMP_ACT_ERRNO" if has_profile else "SCMP_ACT_ALLOW")
    names = [rule["names"] for rule in seccomp["syscalls"]]
    if has_profile:
        assert "sendmsg" in names.pop(1)  # what the init calls under the filter
    assert names == ([["read"], ["sysinfo"]] if has_profile else [["sysinfo"]])


def test_a_base_that_is_no_profile(config: str, tmp_path: Path) -> None:
    base = tmp_path / "x.json"
    base.write_text("[]")
    with pytest.raises(PyruncError, match="no seccomp profile"):
        run(config=config, print_profile=True, base=str(base))
