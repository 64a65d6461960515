"""generate/core_stub.py: the stub of pyrunc._core has what the header declares."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from launcher import bindings
from pyrunc import _core

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from generate import core_stub  # noqa: E402
from generate.native_build import NATIVE  # noqa: E402


def test_the_stub_in_use_is_that_of_the_header() -> None:
    assert core_stub.OUTPUT.read_text() == core_stub.stub((NATIVE / "native.h").read_text()), (
        "run generate/core_stub.py"
    )


def test_it_has_the_functions_of_the_module() -> None:
    found = re.findall(r"^    def (pyrunc_\w+)\(self(.*?)\) -> int", core_stub.OUTPUT.read_text(), re.MULTILINE)
    assert {name for name, _ in found} == {name for name in dir(_core.lib) if callable(getattr(_core.lib, name))}
    # The launcher's generator reads the header separately.
    counts = {name: len(kinds) for _, name, kinds in bindings.functions((NATIVE / "native.h").read_text())}
    assert {name: words.count(": ") for name, words in found} == counts


def test_a_structure_has_its_fields() -> None:
    made = core_stub.stub(
        "struct point {\n    int x; /* across */\n    const char *name;\n};\nint f(struct point *at);\n"
    )
    assert "class point:\n    x: int\n    name: Characters\n" in made
    assert "def f(self, at: point, /) -> int: ..." in made
    assert 'def new(self, cdecl: Literal["struct point *"]) -> point: ...' in made


def test_a_name_that_is_a_keyword() -> None:
    assert "def f(self, from_: int, to: int, /) -> int: ..." in core_stub.stub("int f(int from, int to);\n")


@pytest.mark.parametrize("parameter", ["double x", "int **x", "..."])
def test_an_unknown_type_is_refused(parameter: str) -> None:
    with pytest.raises(core_stub.UntypedError, match=re.escape(parameter)):
        core_stub.stub(f"int f({parameter});\n")


def test_it_is_written_where_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "made.pyi"
    core_stub.main([str(path)])
    before = path.stat().st_mtime_ns
    core_stub.main([str(path)])
    assert (path.read_text(), path.stat().st_mtime_ns) == (core_stub.OUTPUT.read_text(), before)


def test_mypy_finds_a_call_that_cffi_would_refuse(tmp_path: Path) -> None:
    (tmp_path / "core.pyi").write_text(core_stub.OUTPUT.read_text())
    (tmp_path / "caller.py").write_text(
        "from core import ffi, lib\n\n"
        'text = ffi.new("char[]", 8)\n'
        "lib.pyrunc_mount_id(1, text, 8)\n"
        'lib.pyrunc_mount_id(1, b"constant", 8)\n'
        'lib.pyrunc_umount("/text")\n'
        "lib.pyrunc_unlock()\n"
        "lib.pyrunc_unlok(1)\n"
        'ffi.new("struct pyrunc_clone *").pidfds = 1\n'
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "--config-file="]
    done = subprocess.run([*command, "caller.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    found = re.findall(r"^caller\.py:(\d+): error:.*\[(.*)\]$", done.stdout, re.MULTILINE)
    kinds = ["arg-type", "arg-type", "call-arg", "attr-defined", "attr-defined"]
    assert found == [(str(line), kind) for line, kind in enumerate(kinds, 5)]
