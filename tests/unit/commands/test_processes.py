"""ps, pause and resume, with a replacement for the library behind them."""

from __future__ import annotations

from typing import Any

import pytest

from pyrunc.commands import dispatch, processes
from pyrunc.commands.settings import Settings
from pyrunc.errors import PyruncError
from pyrunc.libcontainer import processes as library

SETTINGS = Settings("pyrunc", "/r", False, "cgroupfs", None)


def test_json_is_an_array_of_ints(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(library, "pids", lambda root, id: [3, 44] if (root, id) == ("/r", "c1") else [])
    assert dispatch.execute("ps", SETTINGS, {"id": "c1", "arguments": (), "format": "json"}) == 0
    assert processes.ps(SETTINGS, "c2", (), "json") == 0
    assert capfd.readouterr().out == "[3,44]\n[]\n"


def test_another_format_is_refused_before_the_container_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PyruncError, match="invalid format option"):
        processes.ps(SETTINGS, "c1", (), "yaml")


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_pause_and_resume_name_the_container(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(library, command, lambda *words: seen.append(words))
    assert dispatch.execute(command, SETTINGS, {"id": "c1"}) == 0
    assert seen == [("/r", "c1")]
