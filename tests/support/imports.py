"""Which modules a command imports, found by a fresh interpreter that starts as the hot path does: `python -I -S`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import _cffi_backend

import pyrunc

# The modules that are built into Python and cost next to nothing.
BUILT_IN = {"__future__", "_json", "_signal", "errno", "posix", "sys", "time"}
# The C parts: pyrunc._core, cffi's run-time library below it, and python-prctl's, for the subreaper of `run`.
EXTENSIONS = {"_cffi_backend", "_prctl"}

PROGRAM = """
import sys
sys.path[:0] = {paths!r}
before = set(sys.modules)
{code}
with open({output!r}, "w") as file:
    file.write("\\n".join(sorted(set(sys.modules) - before)))
"""

_PATHS = [str(Path(pyrunc.__file__).parents[1]), str(Path(_cffi_backend.__file__).parent)]


def imported_by(code: str, output: Path) -> set[str]:
    """The names of the modules that running `code` has imported; `output` is a file to use."""
    program = PROGRAM.format(paths=_PATHS, code=code, output=str(output))
    # A created container keeps these streams open: files, not pipes.
    with open(output.with_suffix(".log"), "wb") as log:
        subprocess.run(
            [sys.executable, "-I", "-S", "-c", program], check=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    return set(output.read_text().split("\n"))


def heavy(modules: Iterable[str]) -> list[str]:
    """Those of the modules that a hot command must not import."""
    ours = ("pyrunc", "pyrunc.")
    return sorted(
        name
        for name in modules
        if name not in BUILT_IN | EXTENSIONS and name != ours[0] and not name.startswith(ours[1])
    )
