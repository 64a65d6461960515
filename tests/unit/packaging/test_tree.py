"""An installation runs beside its place first, and is then moved into it (N1)."""

from __future__ import annotations

from pathlib import Path

import pytest
import tree
from check import CheckError

# A launcher that passes check.py as long as its modules are beside it.
LAUNCHER = """#!/bin/sh
home=$(dirname "$0")/../lib/pyrunc
[ -e "$home/modules/thing/VERSION" ] && [ -x "$home/bin/python3" ] || exit 1
echo "pyrunc version 1, ID  PID, Usage: pyrunc X, ociVersionMin" | sed 's/ociVersionMin/"&"/'
"""


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    """Modules as pip --target puts them."""
    folder = tmp_path / "modules"
    for name in ("__init__.py", "VERSION", "tests/test_thing.py", "benchmarks/x.py", "bin/thing"):
        (folder / "thing" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "thing" / name).write_text("")
    return folder


def install(tmp_path: Path, modules: Path, launcher: str) -> Path:
    (tmp_path / "launcher").write_text(launcher)
    top = tmp_path / "root/opt"
    tree.install(top, Path("/opt"), tree.Parts(tmp_path / "launcher", modules))
    return top


def test_an_installation_replaces_an_earlier_one(tmp_path: Path, modules: Path) -> None:
    install(tmp_path, modules, LAUNCHER)
    (modules / "thing/NEW").touch()
    top = install(tmp_path, modules, LAUNCHER + "# later\n")
    assert (top / "bin/pyrunc").read_text().endswith("# later\n")
    assert (top / "lib/pyrunc/modules/thing/NEW").exists()
    assert sorted(path.name for path in top.iterdir()) == ["bin", "lib"]


@pytest.mark.parametrize("broken", ["kill -SEGV $$\n", "exit 1\n", "true\n"])
def test_what_does_not_work_is_not_installed(tmp_path: Path, modules: Path, broken: str) -> None:
    """N1: `make install` exited 0 with a launcher that crashed at every command. Now the earlier installation stays."""
    top = install(tmp_path, modules, LAUNCHER)
    (modules / "thing/NEW").touch()
    with pytest.raises(CheckError):
        install(tmp_path, modules, "#!/bin/sh\n" + broken)
    assert (top / "bin/pyrunc").read_text() == LAUNCHER
    assert not (top / "lib/pyrunc/modules/thing/NEW").exists()
    assert sorted(path.name for path in top.iterdir()) == ["bin", "lib"]


def test_no_tests_of_dependencies_are_installed(tmp_path: Path, modules: Path) -> None:
    """N10."""
    top = install(tmp_path, modules, LAUNCHER)
    names = {path.name for path in (top / "lib/pyrunc/modules").rglob("*")}
    assert not names & {"tests", "benchmarks", "bin"}
    assert "thing" in names


@pytest.mark.parametrize("compiled", [True, False])
def test_modules_are_compiled_or_not(tmp_path: Path, modules: Path, compiled: bool) -> None:
    (tmp_path / "launcher").write_text(LAUNCHER)
    tree.install(tmp_path / "root", Path("/opt"), tree.Parts(tmp_path / "launcher", modules, compiled=compiled))
    assert bool(list((tmp_path / "root/lib").rglob("*.pyc"))) == compiled


def test_nothing_tells_where_it_was_built(tmp_path: Path, modules: Path) -> None:
    """pip notes the directory of the sources; RECORD has a digest of that note."""
    folder = modules / "thing-1.0.dist-info"
    folder.mkdir()
    for name in ("METADATA", "direct_url.json", "INSTALLER", "REQUESTED"):
        (folder / name).write_text("x")
    names = ["METADATA", "direct_url.json", "INSTALLER", "REQUESTED", "RECORD"]
    (folder / "RECORD").write_text(
        "".join([f"{folder.name}/{name},sha256=x,1\n" for name in names]) + "../../bin/x,,\n"
    )
    top = install(tmp_path, modules, LAUNCHER)
    there = top / "lib/pyrunc/modules" / folder.name
    assert sorted(path.name for path in there.iterdir()) == ["METADATA", "RECORD"]
    assert (there / "RECORD").read_text() == f"{folder.name}/METADATA,,\n{folder.name}/RECORD,,\n"
