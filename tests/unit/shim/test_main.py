"""The shim's program by its command line. The server is in tests/shim."""

from __future__ import annotations

import pytest

from pyrunc.shim import main


def test_version(capfd: pytest.CaptureFixture[str]) -> None:
    assert main.main(["containerd-shim-pyrunc-v2", "-version"]) == 0
    assert capfd.readouterr().out.startswith("containerd-shim-pyrunc-v2:\n  Version:  ")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "shim namespace cannot be empty"),
        (["-namespace", "n", "stop"], "unknown action stop (start and delete are known)"),
        (["-other"], "flag provided but not defined: -other (see containerd-shim-pyrunc-v2(8))"),
    ],
)
def test_mistakes(words: list[str], text: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main.main(["shim", *words]) == 1
    assert capfd.readouterr().err == f"containerd-shim-pyrunc-v2: {text}\n"


def test_a_bug_is_told_with_its_place(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def fail(flags: object) -> int:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(main, "_main", fail)
    assert main.main(["shim"]) == 1
    assert "internal error: ZeroDivisionError: a bug (" in capfd.readouterr().err
