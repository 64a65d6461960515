"""The imports of the hot modules: start-up is mostly imports, and a heavy import slips in easily.

tests/integration/test_hot_commands.py tests the same for whole commands.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.freeze import EXTENSIONS, ON_DEMAND, reach
from pyrunc._generated.argv import COMMANDS
from tests.bench import engine_bundles
from tests.bench.bundles import BUSYBOX
from tests.support.imports import heavy, imported_by

# The arguments with which a command stays in its hot part; the other commands get only an id.
ARGUMENTS = {
    "list": [], "--version": [], "ps": ["--format", "json", "nobody"], "events": ["--stats", "nobody"],
}  # fmt: skip


# The shim, and the C modules that only it imports.
SHIM = "pyrunc.shim"
OF_THE_SHIM = {"_socket", "fcntl", "select"}


def modules() -> list[str]:
    """Every module that the launcher holds: launcher/freeze.py finds them from the hot commands."""
    return sorted(name for name, found in reach().items() if found is not None)


def cold(imported: set[str]) -> set[str]:
    """Those of these modules of the package that the launcher does not hold; cffi makes `pyrunc._core.lib`."""
    ours = {name for name in imported if name.startswith("pyrunc.")}
    return ours - set(modules()) - set(EXTENSIONS) - {"pyrunc._core.lib"}


def of_the_shim(names: list[str]) -> list[str]:
    return [name for name in names if name.startswith("pyrunc.shim")]


def test_the_shim_imports_builtin_modules_only(tmp_path: Path) -> None:
    names = of_the_shim(modules())
    assert "pyrunc.shim.loop" in names
    imported = imported_by("\n".join(f"import {name}" for name in names), tmp_path / "modules")
    assert set(heavy(imported)) == {"_socket", "fcntl", "select"}  # built into the launcher
    assert not cold(imported)


def test_no_module_of_the_hot_path_imports_a_heavy_one(tmp_path: Path) -> None:
    shim = of_the_shim(modules())
    names = [name for name in modules() if name not in shim]
    assert "pyrunc.libcontainer.launch.launch" in names
    code = "\n".join(f"import {name}" for name in names if not name.startswith(SHIM))
    assert heavy(imported_by(code, tmp_path / "commands")) == []
    code = "\n".join(f"import {name}" for name in names)
    imported = imported_by(code, tmp_path / "modules")
    assert set(names) <= imported
    assert heavy(imported - OF_THE_SHIM) == []
    assert not cold(imported)


@pytest.mark.parametrize("command", [*sorted(COMMANDS), "--version"])
def test_a_command_that_fails_or_has_nothing_to_do_is_light_too(command: str, tmp_path: Path) -> None:
    words = ARGUMENTS.get(command, ["nobody"])
    line = ["pyrunc", "--root", str(tmp_path), command, *words]
    code = f"from pyrunc.main import main\nimport posix\nposix.chdir({str(tmp_path)!r})\nmain({line!r})"
    imported = imported_by(code, tmp_path / "modules")
    assert "pyrunc.commands" in imported
    assert heavy(imported) == []
    assert not cold(imported)


@pytest.mark.skipif(not Path(BUSYBOX).exists(), reason="needs busybox")
def test_an_engine_s_configuration_needs_only_what_the_snapshot_has(tmp_path: Path) -> None:
    """Each other module would be run anew in every start of a container of an engine."""
    bundle = engine_bundles.docker(tmp_path, "/parent").short
    code = f"""
from pyrunc.libcontainer.compile.launch import compile_launch
from pyrunc.libcontainer.plan.host import HostFacts
from pyrunc.libcontainer.plan.options import LaunchOptions
from pyrunc.libcontainer.seccomp import cache
from pyrunc.libcontainer.spec.load import load
spec = load({str(bundle)!r}, "config.json")
options = LaunchOptions(id="x", bundle={str(bundle)!r}, root={str(tmp_path / "root")!r})
plan = compile_launch(spec, options, HostFacts())
assert cache.lookup(options.root, plan.profile, (6, 1)) is None
"""
    # compile/seccomp.py takes a name from this one when the snapshot is made.
    assert imported_by(code, tmp_path / "modules") & ON_DEMAND == {"pyrunc.libcontainer.spec.annotations"}


def test_the_measure_itself_sees_a_heavy_module(tmp_path: Path) -> None:
    assert {"json", "re"} <= set(heavy(imported_by("import json", tmp_path / "modules")))
