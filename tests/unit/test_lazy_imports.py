"""Where functions may contain imports: at a command's door, and where the launcher's snapshot ends.

launcher/freeze.py has the only list of cold, on-demand and last modules. Everywhere else an import in a function hides
an arrow between two modules and gains nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher import freeze

ROOT = Path(__file__).resolve().parents[2]
# The functions of these modules are the doors: each imports what only its command needs.
DOORS = ("pyrunc.__main__", "pyrunc.cli", "pyrunc.commands", "pyrunc.libcontainer.lifecycle", "pyrunc.main")
# Other imports in functions: the importing module and the imported one, and why.
EXCEPTIONS = {
    ("pyrunc.engines.documents", "tomlkit"): "only Podman and containerd have TOML files",
    ("pyrunc.engines.documents", "tomlkit.exceptions"): "only Podman and containerd have TOML files",
    ("pyrunc.libcontainer.seccomp.compiler", "pyrunc._seccomp"): "libseccomp may be missing, which the error says",
    ("pyrunc.libcontainer.state", "time"): "importing time reads /etc/localtime, and few commands need the time",
    ("pyrunc.log", "time"): "importing time reads /etc/localtime, and few commands log something",
}


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted((ROOT / "pyrunc").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if "_generated" not in parts:
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports_in_functions(name: str, path: Path) -> set[str]:
    """The modules that functions of a module import."""
    tree = freeze.Stripper().visit(ast.parse(path.read_text()))
    found = set()
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                base = freeze.absolute(node, name, path.name == "__init__.py")
                children = [f"{base}.{alias.name}" for alias in node.names]
                below = {child for child in children if freeze.source_of(child) or child == "pyrunc._seccomp"}
                found |= below or {base}
    return found


def held_apart(name: str) -> bool:
    """Whether the launcher does not have a module, has it only on demand, or has it behind all others."""
    return freeze.is_cold(name) or name in freeze.ON_DEMAND or name.startswith(freeze.LAST)


@pytest.mark.parametrize(("name", "path"), [pytest.param(*module, id=module[0]) for module in modules()])
def test_an_import_in_a_function_has_a_reason(name: str, path: Path) -> None:
    if name.startswith(DOORS):
        return
    hidden = {found for found in imports_in_functions(name, path) if not held_apart(found)}
    assert hidden <= {imported for importer, imported in EXCEPTIONS if importer == name}


def test_every_exception_is_used() -> None:
    paths = dict(modules())
    unused = [pair for pair in EXCEPTIONS if pair[1] not in imports_in_functions(pair[0], paths[pair[0]])]
    assert unused == []


def test_the_test_itself_sees_an_import_in_a_function(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text("def f():\n    from ..kernel import native\n    from .a import b\n    import time\n")
    assert imports_in_functions("pyrunc.libcontainer.exec.x", path) == {
        "pyrunc.libcontainer.exec.a", "pyrunc.libcontainer.kernel.native", "time",
    }  # fmt: skip


def cold_by_docstring(name: str, path: Path) -> bool:
    return "Cold" in (ast.get_docstring(ast.parse(path.read_text())) or "").replace("\n", " ").split("Raises")[0]


def test_a_module_that_calls_itself_cold_is_not_in_the_launcher() -> None:
    held = {name for name, found in freeze.reach().items() if found is not None}
    assert [name for name, path in modules() if cold_by_docstring(name, path) and name in held] == []
