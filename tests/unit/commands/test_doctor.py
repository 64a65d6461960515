"""commands/doctor.py: the table, the JSON and the exit code. diagnosis/test_doctor.py tests the findings."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pyrunc.commands import doctor
from pyrunc.commands.settings import Settings
from pyrunc.errors import PyruncError
from pyrunc.libcontainer.diagnosis.doctor import NO, YES, Finding
from pyrunc.libcontainer.plan import host as plan_host
from pyrunc.libcontainer.plan.host import HostFacts
from tests.support.plans import minimal

FOUND = [Finding("cgroups", "pids", NO, "not there", "boot anew"), Finding("seccomp", "log", YES, "a\x1b[31m")]
SETTINGS = Settings("pyrunc", "/r", False, "cgroupfs", None)


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> HostFacts:
    facts = HostFacts()
    monkeypatch.setattr(doctor, "examine", lambda _: FOUND)
    monkeypatch.setattr(plan_host, "gather", lambda landlock=False: facts)
    return facts


def bundle(path: Path, **changes: Any) -> str:
    (path / "rootfs/bin").mkdir(parents=True)
    program = path / "rootfs/bin/true"
    program.write_text("#!/bin/true\n")
    program.chmod(0o755)
    spec = minimal(**changes)
    spec["process"]["args"] = ["/bin/true"]
    (path / "config.json").write_text(json.dumps(spec))
    return str(path)


def test_the_table(capfd: pytest.CaptureFixture[str]) -> None:
    assert doctor.doctor(SETTINGS, "", "config.json", "table") == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["AREA", "NAME", "STATE"], ["cgroups", "pids", "no"], ["seccomp", "log", "yes"],
    ]  # fmt: skip
    assert lines[1].endswith("   not there; boot anew")
    assert "\x1b" not in lines[2]


def test_json(capfd: pytest.CaptureFixture[str]) -> None:
    assert doctor.doctor(SETTINGS, "", "config.json", "json") == 0
    value = json.loads(capfd.readouterr().out)
    pids = {"area": "cgroups", "name": "pids", "state": "no", "detail": "not there", "hint": "boot anew"}
    assert value["host"][0] == pids
    assert "hint" not in value["host"][1]
    assert "bundle" not in value


def test_a_bundle_that_runs_and_one_that_does_not(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = bundle(tmp_path)
    assert doctor.doctor(SETTINGS, path, "config.json", "json") == 0
    assert json.loads(capfd.readouterr().out)["bundle"] == {"file": f"{path}/config.json", "problems": []}
    (tmp_path / "rootfs/bin/true").unlink()
    assert doctor.doctor(SETTINGS, path, "config.json", "table") == 1
    last = capfd.readouterr().out.splitlines()[-1]
    assert re.match(re.escape(path) + r"/config\.json:[0-9]+: error: /process/args/0: ", last), last
    assert doctor.doctor(SETTINGS, path + "/no", "config.json", "table") == 1


def test_a_limit_without_its_controller(tmp_path: Path, host: HostFacts, capfd: pytest.CaptureFixture[str]) -> None:
    path = bundle(tmp_path)
    spec = json.loads((tmp_path / "config.json").read_text())
    spec["linux"]["resources"] = {"pids": {"limit": 9}}
    (tmp_path / "config.json").write_text(json.dumps(spec))
    host.controllers = ("cpu",)
    assert doctor.doctor(SETTINGS, path, "config.json", "json") == 1
    (problem,) = json.loads(capfd.readouterr().out)["bundle"]["problems"]
    assert problem["pointer"] == "/linux/resources/pids/limit"
    assert problem["line"] > 0
    assert '"pids" not available' in problem["message"]
    host.controllers = ("pids",)
    assert doctor.doctor(SETTINGS, path, "config.json", "json") == 0


def test_a_format_that_is_none() -> None:
    with pytest.raises(PyruncError, match="invalid format option"):
        doctor.doctor(SETTINGS, "", "config.json", "yaml")
