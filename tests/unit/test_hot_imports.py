"""What the hot modules import: start-up is mostly imports, and a heavy one slips in easily.

tests/integration/test_hot_commands.py asks the same of whole commands.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import pyrunc
from pyrunc._generated.argv import COMMANDS
from tests.support.imports import heavy, imported_by

PACKAGE = Path(pyrunc.__file__).parent

# The modules that are free to import what they like: those of the cold commands, and those that only a failure needs.
COLD = {
    "pyrunc.cli", "pyrunc.commands.bundle", "pyrunc.commands.eventstream", "pyrunc.commands.garbage",
    "pyrunc.commands.matching", "pyrunc.commands.doctor", "pyrunc.libcontainer.doctor",
    "pyrunc.commands.hooks", "pyrunc.libcontainer.hooktrial",
    "pyrunc.commands.pstable", "pyrunc.libcontainer.garbage",
    "pyrunc.libcontainer.notify",
    "pyrunc.libcontainer.example", "pyrunc.libcontainer.explain",
    "pyrunc.libcontainer.features", "pyrunc.libcontainer.preflight",
    "pyrunc.libcontainer.show", "pyrunc.libcontainer.showdiff", "pyrunc.libcontainer.showrows",
    "pyrunc.libcontainer.showtable", "pyrunc.libcontainer.showtimeline", "pyrunc.libcontainer.showvalues",
    "pyrunc.libcontainer.seccomp.compiler", "pyrunc.libcontainer.seccomp.enosys",
    "pyrunc.libcontainer.spectypes", "pyrunc.libcontainer.systemd", "pyrunc.libcontainer.compile.systemd",
    "pyrunc._generated.schemas",
}  # fmt: skip


# The arguments with which a command stays in its hot part; the others get an id alone.
ARGUMENTS = {
    "list": [], "--version": [], "ps": ["--format", "json", "nobody"], "events": ["--stats", "nobody"],
}  # fmt: skip


def modules() -> list[str]:
    """Every module of the package that is not cold."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        if name not in COLD and not any(name.startswith(cold + ".") for cold in COLD):
            found.append(name)
    return found


def test_no_module_of_the_hot_path_imports_a_heavy_one(tmp_path: Path) -> None:
    names = modules()
    assert "pyrunc.libcontainer.launch" in names
    code = "\n".join(f"import {name}" for name in names)
    imported = imported_by(code, tmp_path / "modules")
    assert set(names) <= imported
    assert heavy(imported) == []
    assert not imported & COLD


@pytest.mark.parametrize("command", [*sorted(COMMANDS), "--version"])
def test_a_command_that_fails_or_has_nothing_to_do_is_light_too(command: str, tmp_path: Path) -> None:
    words = ARGUMENTS.get(command, ["nobody"])
    line = ["pyrunc", "--root", str(tmp_path), command, *words]
    code = f"from pyrunc.main import main\nimport posix\nposix.chdir({str(tmp_path)!r})\nmain({line!r})"
    imported = imported_by(code, tmp_path / "modules")
    assert "pyrunc.commands" in imported
    assert heavy(imported) == []
    assert not imported & COLD


def test_the_measure_itself_sees_a_heavy_module(tmp_path: Path) -> None:
    assert {"json", "re"} <= set(heavy(imported_by("import json", tmp_path / "modules")))
