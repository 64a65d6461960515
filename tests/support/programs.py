"""Programs in C that tests put into containers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.runtime import REPOSITORY


def static_program(directory: Path, name: str, *flags: str) -> Path:
    """tests/support/NAME.c as a static program in a directory; the test is skipped without musl-gcc."""
    if shutil.which("musl-gcc") is None:
        pytest.skip("needs musl-gcc (package musl-tools)")
    target = directory / name
    source = REPOSITORY / f"tests/support/{name}.c"
    subprocess.run(["musl-gcc", "-static", "-O1", "-Wall", "-Werror", *flags, "-o", target, source], check=True)
    return target
