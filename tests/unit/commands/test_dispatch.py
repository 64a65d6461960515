"""dispatch: from a parsed command line to the handler, and from its failure to the exit code."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import click
import pytest

from launcher import freeze
from pyrunc._generated.argv import MODULES
from pyrunc.cli import help, program
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


@pytest.mark.parametrize("group", program.GROUPS, ids=lambda group: group.__name__)
def test_a_module_carries_out_the_commands_that_its_namesake_declares(group: Any) -> None:
    module = importlib.import_module(group.__name__.replace(".cli.", ".commands."))
    assert list(module.HANDLERS) == [command.name for command in group.COMMANDS]


def test_every_module_with_commands_has_a_namesake() -> None:
    folder = Path(dispatch.__file__).parent
    handlers = {path.stem for path in folder.glob("*.py") if "\nHANDLERS" in path.read_text()}
    declared = {path.stem for path in (folder.parent / "cli").glob("*.py") if "\nCOMMANDS: list" in path.read_text()}
    assert declared - handlers == {"help"}, "click answers it by itself"
    assert handlers <= declared
    assert {group.__name__.rpartition(".")[2] for group in program.GROUPS} == handlers


def test_the_table_has_every_command() -> None:
    context = click.Context(program.program)
    own = {command.name for command in help.COMMANDS}
    assert set(MODULES) == set(program.program.list_commands(context)) - own


def test_the_launcher_has_the_modules_of_the_table() -> None:
    found = freeze.commands_of(dispatch.__name__)
    assert found == sorted({f"pyrunc.commands.{name}" for name in MODULES.values()})
    assert set(found) <= set(freeze.reach())
    assert freeze.commands_of("pyrunc.main") == []


def test_a_table_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "pyrunc/_generated").mkdir(parents=True)
    (tmp_path / "pyrunc/_generated/argv.py").write_text("OTHERS: dict = {}\n")
    with pytest.raises(freeze.FreezeError, match="MODULES"):
        freeze.commands_of(dispatch.__name__, tmp_path)
