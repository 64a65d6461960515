"""dispatch: from a parsed command line to the handler, and from its failure to the exit code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pyrunc.commands import dispatch
from pyrunc.errors import PyruncError

OPTIONS: dict[str, Any] = {
    "debug": False, "log": "", "log_format": "text", "log_level": "info", "systemd_cgroup": False,
    "cgroup_manager": "", "criu": None, "rootless": "auto",
}  # fmt: skip


def test_a_missing_container_is_named_with_the_root(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code = dispatch.run_command("pyrunc", {**OPTIONS, "root": str(tmp_path)}, "state", {"id": "nobody"})
    assert code == 1
    assert f"container does not exist: nobody in {tmp_path}" in capfd.readouterr().err


def test_the_handler_s_exit_code_is_the_command_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "execute", lambda command, settings, params: 42)
    assert dispatch.run_command("pyrunc", {**OPTIONS, "root": str(tmp_path)}, "run", {"id": "x"}) == 42


def test_an_option_that_is_not_allowed_is_a_failure(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    given = {**OPTIONS, "root": str(tmp_path), "log_format": "xml"}
    assert dispatch.run_command("pyrunc", given, "list", {}) == 1
    assert "invalid log-format: xml" in capfd.readouterr().err


def test_other_errors_keep_their_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(command: str, settings: object, params: object) -> int:
        raise PyruncError("broken", exit_code=7)

    monkeypatch.setattr(dispatch, "execute", fail)
    assert dispatch.run_command("pyrunc", {**OPTIONS, "root": str(tmp_path)}, "state", {"id": "x"}) == 7
