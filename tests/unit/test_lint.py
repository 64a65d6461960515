"""The linter and the type checker report nothing, and the code keeps the rules that they don't know."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import lint  # noqa: E402


@pytest.mark.parametrize("tool", lint.TOOLS)
def test_the_tool_has_nothing_to_say(tool: str) -> None:
    done = lint.run(tool)
    assert done.returncode == 0, done.stdout


def test_the_files_of_each_tool_are_found() -> None:
    names = {tool: lint.command(tool, False) for tool in lint.TOOLS}
    assert "scripts/packages.sh" in names["shellcheck"]
    assert ".ci/run" in names["shellcheck"]
    assert "scripts/lint.py" not in names["shellcheck"]
    assert "csrc/init/init.c" in names["clang-format"]
    assert not [name for name in names["clang-format"] if ".gen." in name]
    assert "README.md" in names["codespell"]


def test_pre_commit_runs_the_tools_of_make_lint() -> None:
    text = (ROOT / ".pre-commit-config.yaml").read_text()
    assert re.findall(r"repo: *(\S+)", text) == ["local"]
    hooks = [words.split() for words in re.findall(r"entry: .venv/bin/python scripts/lint.py (.+)", text)]
    assert sorted(tool for hook in hooks for tool in hook) == sorted(lint.TOOLS)


def test_every_module_has_its_tests() -> None:
    tests = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    # Declarations, wiring and the click commands, which test_fast_argv.py and test_commands.py test.
    without = {"__init__.py", "__main__.py", "types.py"}
    missing = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "pyrunc").rglob("*.py")
        if path.name not in without
        and not {"_generated", "cli", "compile"} & set(path.parts)
        and f"test_{path.name}" not in tests
    ]
    assert missing == []


def test_nothing_is_left_to_do_later() -> None:
    places = [path for name in ("pyrunc", "csrc", "generate", "launcher") for path in (ROOT / name).rglob("*.[pch]*")]
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    found = [str(path) for path in places if path.suffix in (".py", ".c", ".h") and marks.search(path.read_text())]
    assert found == []


def test_hot_modules_use_neither_open_nor_print() -> None:
    # An interpreter with only its core has neither (docs/architecture.md).
    from tests.unit.test_hot_imports import modules

    found = []
    for name in modules():
        path = ROOT.joinpath(*name.split(".")).with_suffix(".py")
        if not path.exists():
            path = path.with_suffix("") / "__init__.py"
        if re.search(r"(?<![\w.])(?<!def )(open|print|input)\(", re.sub(r'"""[\s\S]*?"""', "", path.read_text())):
            found.append(name)
    assert found == []
