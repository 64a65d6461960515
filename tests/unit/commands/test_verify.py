"""commands/verify.py: the table, the JSON and the exit code. tests/unit/libcontainer/verify tests the findings."""

from __future__ import annotations

import json

import pytest

from pyrunc.commands import verify
from pyrunc.commands.settings import Settings
from pyrunc.errors import PyruncError
from pyrunc.libcontainer.verify.differences import Findings

SETTINGS = Settings("pyrunc", "/r", False, "cgroupfs", None)


@pytest.fixture
def findings(monkeypatch: pytest.MonkeyPatch) -> Findings:
    made = Findings()
    monkeypatch.setattr("pyrunc.libcontainer.verify.compare.verify", lambda root, id: made)
    return made


def test_nothing_differs(findings: Findings, capfd: pytest.CaptureFixture[str]) -> None:
    assert verify.verify(SETTINGS, "box", "table") == 0
    assert capfd.readouterr().out == "box: as its plan\n"
    findings.miss("/x", "thing", "nobody can tell")
    assert verify.verify(SETTINGS, "box", "table") == 0
    assert capfd.readouterr().out == "box: as its plan\nnot compared: thing (/x): nobody can tell\n"
    assert verify.verify(SETTINGS, "box", "json") == 0
    assert json.loads(capfd.readouterr().out) == {
        "id": "box", "differences": [], "unseen": [{"pointer": "/x", "what": "thing", "why": "nobody can tell"}],
    }  # fmt: skip


def test_what_differs(findings: Findings, capfd: pytest.CaptureFixture[str]) -> None:
    findings.differ("/hostname", "hostname", "box", "\x1b[31mred\n")
    assert verify.verify(SETTINGS, "box", "table") == 1
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].split() == ["POINTER", "WHAT", "EXPECTED", "FOUND"]
    assert lines[1].split() == ["/hostname", "hostname", "box", "\\x1b[31mred"]
    assert verify.verify(SETTINGS, "box", "json") == 1
    assert json.loads(capfd.readouterr().out)["differences"][0]["found"] == "\x1b[31mred\n"


def test_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PyruncError, match="invalid format option"):
        verify.verify(SETTINGS, "box", "yaml")

    def fail(root: str, id: str) -> Findings:
        raise PermissionError(13, "denied", "/proc/5/ns/mnt")

    monkeypatch.setattr("pyrunc.libcontainer.verify.compare.verify", fail)
    with pytest.raises(PyruncError, match="looking at box: /proc/5/ns/mnt: permission denied"):
        verify.verify(SETTINGS, "box", "table")
