"""The newest peers: what was made once is used, and without a network the bench goes on without them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.bench import peers


def test_programs_that_are_there_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "_make", lambda cache: pytest.fail("made again"))
    (tmp_path / "bin").mkdir()
    for name in peers.NAMES:
        (tmp_path / "bin" / name).touch()
    assert peers.newest(tmp_path) == {name: tmp_path / "bin" / name for name in peers.NAMES}


def test_without_an_archive_there_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: Path) -> None:
        raise subprocess.CalledProcessError(100, ["apt-get"], stderr=b"no archive")

    monkeypatch.setattr(peers, "_make", fail)
    assert peers.newest(tmp_path) == {}
    assert "no archive" in capsys.readouterr().err
